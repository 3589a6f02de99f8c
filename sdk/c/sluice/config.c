/* Reads the `config` table: JSON that the collector made of TOML. What is nested in it is handed on as text. Works in
 * place: the text is taken apart and strings are decoded where they stand, which makes them no longer. */
#include <stdlib.h>
#include <string.h>

#include "sluice.h"

static char *skip_space(char *at) {
    while (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r') at++;
    return at;
}

/* Four hexadecimal digits, or -1. */
static int32_t hex4(const char *at) {
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        if (c >= '0' && c <= '9') value = 16 * value + c - '0';
        else if (c >= 'a' && c <= 'f') value = 16 * value + c - 'a' + 10;
        else if (c >= 'A' && c <= 'F') value = 16 * value + c - 'A' + 10;
        else return -1;
    }
    return value;
}

static char *put_utf8(char *to, uint32_t point) {
    if (point < 0x80) {
        *to++ = point;
    } else if (point < 0x800) {
        *to++ = 0xc0 | point >> 6;
        *to++ = 0x80 | (point & 0x3f);
    } else if (point < 0x10000) {
        *to++ = 0xe0 | point >> 12;
        *to++ = 0x80 | (point >> 6 & 0x3f);
        *to++ = 0x80 | (point & 0x3f);
    } else {
        *to++ = 0xf0 | point >> 18;
        *to++ = 0x80 | (point >> 12 & 0x3f);
        *to++ = 0x80 | (point >> 6 & 0x3f);
        *to++ = 0x80 | (point & 0x3f);
    }
    return to;
}

/* Decodes the string that begins behind the quote `at` and ends it with a zero. Returns what follows its closing quote,
 * NULL if it is none. A zero inside is refused: it would cut the text. */
static char *take_string(char *at) {
    char *to = at;
    while (*at != '"') {
        if ((unsigned char)*at < 0x20) return NULL;
        if (*at != '\\') {
            *to++ = *at++;
            continue;
        }
        static const char escapes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
        char escape = at[1];
        const char *found = escape ? strchr(escapes, escape) : NULL;
        if (found) {
            *to++ = meanings[found - escapes];
            at += 2;
            continue;
        }
        int32_t point = escape == 'u' ? hex4(at + 2) : -1;
        if (point <= 0) return NULL;
        at += 6;
        if (point >= 0xd800 && point < 0xe000) {
            int32_t low = point < 0xdc00 && at[0] == '\\' && at[1] == 'u' ? hex4(at + 2) : -1;
            if (low < 0xdc00 || low >= 0xe000) return NULL;
            point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
            at += 6;
        }
        to = put_utf8(to, point);
    }
    *to = 0;
    return at + 1;
}

/* The end of the nested value that begins at `at`; NULL if there is none. */
static char *skip_nested(char *at) {
    int depth = 0;
    do {
        if (*at == '"') {
            for (at++; *at != '"'; at++) {
                if (*at == '\\') at++;
                if (!*at) return NULL;
            }
        } else if (*at == '{' || *at == '[') {
            depth++;
        } else if (*at == '}' || *at == ']') {
            depth--;
        } else if (!*at) {
            return NULL;
        }
        at++;
    } while (depth);
    return at;
}

static bool broken(sluice_config *config) {
    config->rest = NULL;
    return sluice_fail("config is not a table in JSON");
}

bool sluice_next(sluice_config *config) {
    if (!config->rest) return false;
    char *at = skip_space(config->rest);
    /* The first time it stands at the brace, later behind a comma. */
    bool first = *at == '{';
    if (first) at = skip_space(at + 1);
    if (first && *at == '}') {
        config->rest = NULL;
        return false;
    }
    if (*at != '"') return broken(config);
    config->key = at + 1;
    at = take_string(at + 1);
    if (!at || *(at = skip_space(at)) != ':') return broken(config);
    at = skip_space(at + 1);

    char *end;
    config->value = at;
    if (*at == '"') {
        config->kind = SLUICE_STRING;
        config->value = at + 1;
        end = take_string(at + 1);
    } else if (*at == '{' || *at == '[') {
        config->kind = SLUICE_OTHER;
        end = skip_nested(at);
    } else {
        end = at + strcspn(at, ",} \t\r\n");
        bool boolean = (end - at == 4 && !memcmp(at, "true", 4)) || (end - at == 5 && !memcmp(at, "false", 5));
        config->kind = boolean ? SLUICE_BOOLEAN : *at == '-' || (*at >= '0' && *at <= '9') ? SLUICE_NUMBER : SLUICE_OTHER;
    }
    if (!end) return broken(config);
    char *next = skip_space(end);
    char mark = *next;
    if (config->kind != SLUICE_STRING) *end = 0;
    if (mark == ',') config->rest = next + 1;
    else if (mark == '}') config->rest = NULL;
    else return broken(config);
    return true;
}

bool sluice_key_is(const sluice_config *config, const char *key) {
    return !strcmp(config->key, key);
}

bool sluice_as_u64(const sluice_config *config, uint64_t least, uint64_t most, uint64_t *value) {
    if (config->kind != SLUICE_NUMBER) return false;
    uint64_t number = 0;
    for (const char *at = config->value; *at; at++) {
        if (*at < '0' || *at > '9') return false;
        if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, *at - '0', &number)) return false;
    }
    if (number < least || number > most) return false;
    *value = number;
    return true;
}

bool sluice_as_f64(const sluice_config *config, double *value) {
    if (config->kind != SLUICE_NUMBER) return false;
    char *end;
    double number = strtod(config->value, &end);
    if (*end || number - number != 0) return false;
    *value = number;
    return true;
}

bool sluice_as_string(const sluice_config *config, const char **value) {
    if (config->kind != SLUICE_STRING) return false;
    *value = config->value;
    return true;
}

bool sluice_as_bool(const sluice_config *config, bool *value) {
    if (config->kind != SLUICE_BOOLEAN) return false;
    *value = *config->value == 't';
    return true;
}

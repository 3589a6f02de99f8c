/* sluice.h on top of the generated bindings. */
#include "sluice.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* ---- Memory: what the collector gives and what a call allocates, until the call ends ---- */

static void **held;
static size_t held_count, held_capacity;

static void out_of_memory(void) {
    sluice_log_error("out of memory");
    __builtin_trap();
}

/* Remembers `block` for the end of the call, and returns it. */
static void *hold(void *block) {
    if (held_count == held_capacity) {
        held_capacity = held_capacity ? 2 * held_capacity : 64;
        held = realloc(held, held_capacity * sizeof *held);
        if (!held) out_of_memory();
    }
    return held[held_count++] = block;
}

void *sluice_alloc(size_t count, size_t size) {
    /* At least one byte more: no pointer is NULL, and a text has room for its end. */
    if (size && count > (SIZE_MAX - 1) / size) out_of_memory();
    void *block = calloc(count * size + 1, 1);
    if (!block) out_of_memory();
    return hold(block);
}

/* A list of `count` that the collector has given. An empty one has no memory of its own. */
static void *received(void *list, size_t count) {
    return count ? hold(list) : sluice_alloc(0, 1);
}

static const char *received_text(plugin_string_t text) {
    char *copy = sluice_alloc(text.len, 1);
    memcpy(copy, text.ptr, text.len);
    plugin_string_free(&text);
    return copy;
}

static plugin_string_t borrowed_text(const char *text) {
    return (plugin_string_t){(uint8_t *)text, strlen(text)};
}

static plugin_list_string_t borrowed_texts(const char *const *texts, uint32_t count) {
    plugin_string_t *list = sluice_alloc(count, sizeof *list);
    for (uint32_t i = 0; i < count; i++) list[i] = borrowed_text(texts[i]);
    return (plugin_list_string_t){list, count};
}

/* ---- Failures ---- */

static char failure[1024];
static bool failed, may_retry;

void sluice_begin(void) {
    failed = may_retry = false;
}

bool sluice_end(bool ok) {
    while (held_count) free(held[--held_count]);
    if (!ok && !failed) sluice_fail("failed without a message");
    return !failed;
}

const char *sluice_failure(void) {
    return failure;
}

static bool fail(bool retry, const char *format, va_list arguments) {
    if (!failed) {
        vsnprintf(failure, sizeof failure, format, arguments);
        failed = true;
        may_retry = retry;
    }
    return false;
}

bool sluice_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fail(false, format, arguments);
    va_end(arguments);
    return false;
}

bool sluice_retry_later(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fail(true, format, arguments);
    va_end(arguments);
    return false;
}

static const char *reason(const sluice_plugin_types_denied_t *denied) {
    static const char *const holds[] = {
        "it holds u8", "it holds u16", "it holds u32", "it holds u64", "it holds text", "it holds lists",
    };
    switch (denied->tag) {
    case SLUICE_PLUGIN_TYPES_DENIED_NO_BATCH: return "there is no batch outside of sluice_process";
    case SLUICE_PLUGIN_TYPES_DENIED_NOT_GRANTED: return "the stage's grant does not cover it";
    case SLUICE_PLUGIN_TYPES_DENIED_WRONG_WIDTH: return holds[denied->val.wrong_width];
    case SLUICE_PLUGIN_TYPES_DENIED_ABSENT: return "no row has it";
    case SLUICE_PLUGIN_TYPES_DENIED_WRONG_LENGTH: return "the list has another length than the batch";
    default: return "a value is out of range";
    }
}

static void refused(uint16_t column, const sluice_plugin_types_denied_t *denied) {
    const char *name = sluice_column_name(column);
    if (name) sluice_fail("column `%s`: %s", name, reason(denied));
    else sluice_fail("column %u: %s", column, reason(denied));
}

static void refused_read(uint16_t column, const sluice_plugin_types_denied_t *denied) {
    if (denied->tag != SLUICE_PLUGIN_TYPES_DENIED_ABSENT) refused(column, denied);
}

/* ---- The batch ---- */

uint32_t sluice_rows(void) {
    return sluice_plugin_batch_rows();
}

uint64_t sluice_now_ms(void) {
    return sluice_plugin_batch_now_ms();
}

bool sluice_has(uint16_t column) {
    return sluice_plugin_batch_has(column);
}

uint16_t sluice_column(const char *name) {
    plugin_string_t text = borrowed_text(name);
    uint16_t column;
    return sluice_plugin_batch_column_of(&text, &column) ? column : 0;
}

#define NUMBERS(type, list, name)                                                                          \
    type *sluice_##name(uint16_t column) {                                                                 \
        list values;                                                                                       \
        sluice_plugin_types_denied_t denied;                                                               \
        if (sluice_plugin_batch_##name(column, &values, &denied)) return received(values.ptr, values.len); \
        refused_read(column, &denied);                                                                     \
        return sluice_alloc(sluice_rows(), sizeof(type));                                                  \
    }                                                                                                      \
    void sluice_set_##name(uint16_t column, const type *values) {                                          \
        list all = {(type *)values, sluice_rows()};                                                        \
        sluice_plugin_types_denied_t denied;                                                               \
        if (!sluice_plugin_batch_set_##name(column, &all, &denied)) refused(column, &denied);              \
    }

NUMBERS(uint8_t, plugin_list_u8_t, u8s)
NUMBERS(uint16_t, plugin_list_u16_t, u16s)
NUMBERS(uint32_t, plugin_list_u32_t, u32s)
NUMBERS(uint64_t, plugin_list_u64_t, u64s)

sluice_texts sluice_read_texts(uint16_t column) {
    plugin_tuple2_list_string_list_u32_t read;
    sluice_plugin_types_denied_t denied;
    sluice_texts texts;
    if (sluice_plugin_batch_texts(column, &read, &denied)) {
        texts.word_count = read.f0.len;
        texts.words = sluice_alloc(read.f0.len, sizeof *texts.words);
        for (size_t i = 0; i < read.f0.len; i++) texts.words[i] = received_text(read.f0.ptr[i]);
        if (read.f0.len) free(read.f0.ptr);
        texts.codes = received(read.f1.ptr, read.f1.len);
    } else {
        refused_read(column, &denied);
        texts.word_count = 1;
        texts.words = sluice_alloc(1, sizeof *texts.words);
        texts.words[0] = "";
        texts.codes = sluice_alloc(sluice_rows(), sizeof *texts.codes);
    }
    return texts;
}

void sluice_set_texts(uint16_t column, const char *const *words, uint32_t word_count, const uint32_t *codes) {
    plugin_list_string_t all_words = borrowed_texts(words, word_count);
    plugin_list_u32_t all_codes = {(uint32_t *)codes, sluice_rows()};
    sluice_plugin_types_denied_t denied;
    if (!sluice_plugin_batch_set_texts(column, &all_words, &all_codes, &denied)) refused(column, &denied);
}

sluice_lists sluice_read_lists(uint16_t column) {
    plugin_tuple2_list_u32_list_u32_t read;
    sluice_plugin_types_denied_t denied;
    if (sluice_plugin_batch_u32_lists(column, &read, &denied))
        return (sluice_lists){received(read.f0.ptr, read.f0.len), received(read.f1.ptr, read.f1.len)};
    refused_read(column, &denied);
    return (sluice_lists){sluice_alloc(sluice_rows() + 1, sizeof(uint32_t)), sluice_alloc(0, 1)};
}

void sluice_set_lists(uint16_t column, const uint32_t *offsets, const uint32_t *values) {
    uint32_t rows = sluice_rows();
    plugin_list_u32_t all_offsets = {(uint32_t *)offsets, rows + 1};
    plugin_list_u32_t all_values = {(uint32_t *)values, offsets[rows]};
    sluice_plugin_types_denied_t denied;
    if (!sluice_plugin_batch_set_u32_lists(column, &all_offsets, &all_values, &denied)) refused(column, &denied);
}

void sluice_clear(uint16_t column) {
    sluice_plugin_types_denied_t denied;
    if (!sluice_plugin_batch_clear(column, &denied)) refused(column, &denied);
}

/* One bit a row; `*count` is how many are set. */
static plugin_list_u32_t bitmap_of(const bool *mask, uint32_t *count) {
    uint32_t rows = sluice_rows(), row = 0;
    size_t words = (rows + 31) / 32;
    uint8_t *bitmap = sluice_alloc(words, sizeof(uint32_t));
    *count = 0;
    for (; row + 8 <= rows; row += 8) {
        uint64_t eight;
        memcpy(&eight, mask + row, 8);
        /* Moves the lowest bit of each of the eight bytes into the highest byte. */
        uint8_t bits = (eight * 0x0102040810204080) >> 56;
        bitmap[row / 8] = bits;
        *count += __builtin_popcount(bits);
    }
    for (; row < rows; row++) {
        bitmap[row / 8] |= mask[row] << (row % 8);
        *count += mask[row];
    }
    return (plugin_list_u32_t){(uint32_t *)bitmap, words};
}

uint32_t sluice_keep(const bool *keep) {
    uint32_t kept;
    plugin_list_u32_t list = bitmap_of(keep, &kept);
    sluice_plugin_types_denied_t denied;
    if (!sluice_plugin_batch_keep(&list, &denied)) sluice_fail("keep: %s", reason(&denied));
    return kept;
}

void sluice_route(const char *const *names, uint32_t name_count, const uint16_t *index) {
    plugin_list_string_t all_names = borrowed_texts(names, name_count);
    plugin_list_u16_t all = {(uint16_t *)index, sluice_rows()};
    sluice_plugin_types_denied_t denied;
    if (!sluice_plugin_batch_route(&all_names, &all, &denied)) sluice_fail("route: %s", reason(&denied));
}

/* ---- Telling people ---- */

#define LOG(name, level)                                          \
    void sluice_log_##name(const char *format, ...) {             \
        char line[1024];                                          \
        va_list arguments;                                        \
        va_start(arguments, format);                              \
        vsnprintf(line, sizeof line, format, arguments);          \
        va_end(arguments);                                        \
        plugin_string_t text = borrowed_text(line);               \
        sluice_plugin_log_log(level, &text);                      \
    }

LOG(error, SLUICE_PLUGIN_LOG_LEVEL_ERROR)
LOG(warn, SLUICE_PLUGIN_LOG_LEVEL_WARN)
LOG(info, SLUICE_PLUGIN_LOG_LEVEL_INFO)
LOG(debug, SLUICE_PLUGIN_LOG_LEVEL_DEBUG)

void sluice_count(const char *name, uint32_t add) {
    plugin_string_t text = borrowed_text(name);
    sluice_plugin_metrics_count(&text, add);
}

void sluice_gauge(const char *name, double value) {
    plugin_string_t text = borrowed_text(name);
    sluice_plugin_metrics_gauge(&text, value);
}

void sluice_emit(const sluice_alert *alert) {
    sluice_plugin_events_alert_t event = {
        .kind = borrowed_text(alert->kind ? alert->kind : ""),
        .severity = alert->severity,
        .subject = borrowed_text(alert->subject ? alert->subject : ""),
        .value = alert->value,
        .threshold = alert->threshold,
        .note = borrowed_text(alert->note ? alert->note : ""),
    };
    sluice_plugin_events_emit(&event);
}

/* ---- Tables ---- */

bool sluice_open_table(const char *name, sluice_table *table) {
    plugin_string_t text = borrowed_text(name), error;
    if (sluice_plugin_tables_open(&text, table, &error)) return true;
    return sluice_fail("%s", received_text(error));
}

uint32_t *sluice_lookup(sluice_table table, uint16_t hi, uint16_t lo) {
    plugin_list_u32_t codes;
    sluice_plugin_types_denied_t denied;
    if (sluice_plugin_tables_method_table_lookup_columns(sluice_plugin_tables_borrow_table(table), hi, lo, &codes, &denied))
        return received(codes.ptr, codes.len);
    refused_read(lo, &denied);
    return sluice_alloc(sluice_rows(), sizeof(uint32_t));
}

bool sluice_lookup_into(
    sluice_table table, uint16_t hi, uint16_t lo, uint16_t into, const bool *only, bool keep_others) {
    sluice_plugin_tables_borrow_table_t borrowed = sluice_plugin_tables_borrow_table(table);
    uint32_t chosen;
    plugin_list_u32_t bitmap = {NULL, 0}, codes;
    sluice_plugin_types_denied_t denied, of_key;
    if (only) bitmap = bitmap_of(only, &chosen);
    if (sluice_plugin_tables_method_table_lookup_into(
            borrowed, hi, lo, into, only ? &bitmap : NULL, keep_others, &denied))
        return true;
    if (denied.tag == SLUICE_PLUGIN_TYPES_DENIED_ABSENT) return false;
    /* The answer does not say which of the columns it is about. */
    bool is_key_fine = sluice_plugin_tables_method_table_lookup_columns(borrowed, hi, lo, &codes, &of_key);
    if (is_key_fine) plugin_list_u32_free(&codes);
    refused(is_key_fine ? into : lo, &denied);
    return false;
}

const char *sluice_table_value(sluice_table table, uint32_t code) {
    plugin_string_t value;
    bool found = sluice_plugin_tables_method_table_value(sluice_plugin_tables_borrow_table(table), code, &value);
    return found ? received_text(value) : NULL;
}

uint64_t sluice_table_generation(sluice_table table) {
    return sluice_plugin_tables_method_table_generation(sluice_plugin_tables_borrow_table(table));
}

/* ---- The plugin itself ---- */

static void add_column(uint16_t *list, uint32_t *count, uint16_t column) {
    if (*count == 256) sluice_fail("the manifest has more than 256 columns");
    else list[(*count)++] = column;
}

void sluice_reads(sluice_manifest *manifest, uint16_t column) {
    add_column(manifest->reads, &manifest->read_count, column);
}

void sluice_writes(sluice_manifest *manifest, uint16_t column) {
    add_column(manifest->writes, &manifest->written_count, column);
}

/* The collector frees it through the bindings, so it is a block of its own. */
static exports_sluice_plugin_stage_list_column_t given_columns(const uint16_t *columns, uint32_t count) {
    uint16_t *copy = NULL;
    if (count) {
        copy = malloc(count * sizeof *copy);
        if (!copy) out_of_memory();
        memcpy(copy, columns, count * sizeof *copy);
    }
    return (exports_sluice_plugin_stage_list_column_t){copy, count};
}

bool exports_sluice_plugin_stage_init(
    plugin_string_t *json, exports_sluice_plugin_stage_manifest_t *ret, plugin_string_t *error) {
    /* Static: it is a kilobyte of the stack otherwise. */
    static sluice_manifest manifest;
    manifest = (sluice_manifest){.name = "", .version = ""};
    sluice_begin();
    sluice_config config = {.rest = (char *)received_text(*json)};
    if (!sluice_end(sluice_init(&config, &manifest))) {
        plugin_string_dup(error, failure);
        return false;
    }
    plugin_string_dup(&ret->name, manifest.name);
    plugin_string_dup(&ret->version, manifest.version);
    ret->reads = given_columns(manifest.reads, manifest.read_count);
    ret->writes = given_columns(manifest.writes, manifest.written_count);
    ret->stateful = manifest.stateful;
    ret->tick_ms = (plugin_option_u32_t){manifest.tick_ms != 0, manifest.tick_ms};
    return true;
}

bool exports_sluice_plugin_stage_process(exports_sluice_plugin_stage_failure_t *error) {
    sluice_begin();
    if (sluice_end(sluice_process())) return true;
    if (may_retry) {
        error->tag = EXPORTS_SLUICE_PLUGIN_STAGE_FAILURE_RETRY_LATER;
        plugin_string_dup(&error->val.retry_later, failure);
    } else {
        error->tag = EXPORTS_SLUICE_PLUGIN_STAGE_FAILURE_FATAL;
        plugin_string_dup(&error->val.fatal, failure);
    }
    return false;
}

/* Calls what sluice.h has, and of plugin.h the kernels: `act` says what. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sluice.h"

static sluice_table table;

/* ---- The batch ---- */

static bool nothing(void) {
    return true;
}

static bool read_all(void) {
    uint32_t rows = sluice_rows();
    const uint8_t *u8 = sluice_u8s(SLUICE_PROTO);
    const uint16_t *u16 = sluice_u16s(SLUICE_SRC_PORT);
    const uint32_t *u32 = sluice_u32s(SLUICE_CUSTOMER_ID);
    const uint64_t *u64 = sluice_u64s(SLUICE_BYTES);
    sluice_texts notes = sluice_read_texts(SLUICE_NOTE);
    sluice_lists paths = sluice_read_lists(SLUICE_AS_PATH);
    uint32_t sums[3] = {0}, zurich = 0, listed = 0;
    uint64_t largest = 0;
    for (uint32_t row = 0; row < rows; row++) {
        sums[0] += u8[row];
        sums[1] += u16[row];
        sums[2] += u32[row];
        largest = u64[row] > largest ? u64[row] : largest;
        zurich += strcmp(notes.words[notes.codes[row]], "Zürich ✓") == 0;
        listed += paths.offsets[row + 1] - paths.offsets[row];
    }
    sluice_count("u8", sums[0]);
    sluice_count("u16", sums[1]);
    sluice_count("u32", sums[2]);
    sluice_count("u64_high", largest >> 32);
    sluice_count("u64_low", largest);
    sluice_count("zurich", zurich);
    sluice_count("listed", listed);
    if (rows && paths.offsets[1] > 1) sluice_count("second", paths.values[paths.offsets[0] + 1]);
    sluice_count("rows", rows);
    sluice_count("seconds", sluice_now_ms() / 1000);
    return true;
}

static bool absent(void) {
    sluice_count("present", sluice_has(SLUICE_PROTO));
    sluice_count("absent", !sluice_has(SLUICE_PACKETS));
    const uint64_t *packets = sluice_u64s(SLUICE_PACKETS);
    sluice_texts notes = sluice_read_texts(SLUICE_NOTE);
    sluice_lists paths = sluice_read_lists(SLUICE_AS_PATH);
    for (uint32_t row = 0; row < sluice_rows(); row++) {
        sluice_count("zeros", packets[row] == 0);
        sluice_count("empty_texts", notes.words[notes.codes[row]][0] == '\0');
        sluice_count("empty_lists", paths.offsets[row] == paths.offsets[row + 1]);
    }
    return true;
}

static bool write_all(void) {
    uint32_t rows = sluice_rows();
    const uint8_t *proto = sluice_u8s(SLUICE_PROTO);
    uint16_t *ports = sluice_u16s(SLUICE_SRC_PORT);
    uint64_t *bytes = sluice_u64s(SLUICE_BYTES);
    uint8_t *tos = sluice_alloc(rows, sizeof *tos);
    uint32_t *customers = sluice_alloc(rows, sizeof *customers);
    uint32_t *codes = sluice_alloc(rows, sizeof *codes);
    uint32_t *offsets = sluice_alloc(rows + 1, sizeof *offsets);
    uint32_t *path = sluice_alloc(2 * rows, sizeof *path);
    for (uint32_t row = 0; row < rows; row++) {
        bool tcp = proto[row] == 6;
        ports[row]++;
        tos[row] = tcp ? UINT8_MAX : 0;
        customers[row] = tcp ? UINT32_MAX : 0;
        bytes[row] = tcp ? UINT64_MAX : bytes[row];
        codes[row] = tcp;
        path[2 * row] = UINT32_MAX;
        path[2 * row + 1] = row;
        offsets[row + 1] = 2 * row + 2;
    }
    sluice_set_u8s(SLUICE_TOS, tos);
    sluice_set_u16s(SLUICE_SRC_PORT, ports);
    sluice_set_u32s(SLUICE_CUSTOMER_ID, customers);
    sluice_set_u64s(SLUICE_BYTES, bytes);
    sluice_set_texts(SLUICE_NOTE, (const char *const[]){"", "Genève"}, 2, codes);
    sluice_set_lists(SLUICE_AS_PATH, offsets, path);
    sluice_clear(SLUICE_PROTO);
    return true;
}

static bool names(void) {
    sluice_count("found", sluice_column("bytes") == SLUICE_BYTES);
    sluice_count("unknown", sluice_column("no_such_column") == 0);
    return true;
}

static bool not_granted(void) {
    return sluice_u32s(SLUICE_DST_AS)[0] == 0;
}

static bool wrong_width(void) {
    return sluice_u8s(SLUICE_BYTES)[0] == 0;
}

static bool not_written(void) {
    sluice_set_u32s(SLUICE_SRC_AS, sluice_alloc(sluice_rows(), sizeof(uint32_t)));
    return true;
}

static bool no_such_word(void) {
    uint32_t *codes = sluice_alloc(sluice_rows(), sizeof *codes);
    codes[0] = 7;
    sluice_set_texts(SLUICE_NOTE, (const char *const[]){"a"}, 1, codes);
    return true;
}

static bool keep(void) {
    const uint16_t *ports = sluice_u16s(SLUICE_DST_PORT);
    bool *odd = sluice_alloc(sluice_rows(), sizeof *odd);
    for (uint32_t row = 0; row < sluice_rows(); row++) odd[row] = ports[row] & 1;
    sluice_count("kept", sluice_keep(odd));
    return true;
}

static bool route(void) {
    const uint16_t *ports = sluice_u16s(SLUICE_DST_PORT);
    uint16_t *index = sluice_alloc(sluice_rows(), sizeof *index);
    for (uint32_t row = 0; row < sluice_rows(); row++) index[row] = ports[row] == 443;
    sluice_route((const char *const[]){"other", "web"}, 2, index);
    return true;
}

static bool no_such_route(void) {
    sluice_route(NULL, 0, sluice_alloc(sluice_rows(), sizeof(uint16_t)));
    return true;
}

/* ---- Telling people ---- */

static bool tell(void) {
    const uint64_t *bytes = sluice_u64s(SLUICE_BYTES);
    for (uint32_t row = 0; row < sluice_rows(); row++) {
        if (bytes[row] <= 1000) continue;
        char subject[32];
        snprintf(subject, sizeof subject, "row %" PRIu32, row);
        sluice_emit(&(sluice_alert){"large-flow", 4, subject, bytes[row], 1000, "größer als 1 kB ✓"});
        sluice_log_error("an error of %s", subject);
    }
    sluice_log_warn("a warning");
    sluice_log_info("%s", "Zürich ✓");
    sluice_log_debug("a detail");
    sluice_gauge("ratio", 0.5);
    return true;
}

static bool fatal(void) {
    return sluice_fail("batch %d is not for me", 0);
}

static bool later(void) {
    return sluice_retry_later("the moon is not full");
}

/* ---- Tables ---- */

static uint32_t number_of(uint32_t code) {
    const char *value = sluice_table_value(table, code);
    return value ? strtoul(value, NULL, 10) : 0;
}

static bool customers(void) {
    uint64_t generation = sluice_table_generation(table);
    uint32_t *codes = sluice_lookup(table, SLUICE_SRC_ADDR_HI, SLUICE_SRC_ADDR_LO);
    for (uint32_t row = 0; row < sluice_rows(); row++) {
        sluice_count("none", codes[row] == 0);
        codes[row] = number_of(codes[row]);
    }
    sluice_set_u32s(SLUICE_CUSTOMER_ID, codes);
    sluice_count("same_generation", sluice_table_generation(table) == generation);
    return true;
}

static void count_values(const char *name, const uint32_t *codes) {
    for (uint32_t row = 0; row < sluice_rows(); row++) sluice_count(name, number_of(codes[row]));
}

static bool values(void) {
    count_values("numbers", sluice_lookup(table, 0, SLUICE_BYTES));
    count_values("pairs", sluice_lookup(table, SLUICE_PROTO, SLUICE_BYTES));
    count_values("addressed", sluice_lookup(table, SLUICE_SRC_ADDR_HI, SLUICE_BYTES));
    return true;
}

static bool into(void) {
    const uint64_t *bytes = sluice_u64s(SLUICE_BYTES);
    bool *first = sluice_alloc(sluice_rows(), sizeof *first);
    for (uint32_t row = 0; row < sluice_rows(); row++) first[row] = bytes[row] == 1;
    uint16_t hi = SLUICE_SRC_ADDR_HI, lo = SLUICE_SRC_ADDR_LO;
    sluice_count("written", sluice_lookup_into(table, hi, lo, SLUICE_CUSTOMER_ID, NULL, false));
    sluice_count("written", sluice_lookup_into(table, hi, lo, SLUICE_SRC_PORT, first, false));
    sluice_count("written", sluice_lookup_into(table, hi, lo, SLUICE_NOTE, first, true));
    return true;
}

static bool into_refused(void) {
    return !sluice_lookup_into(table, SLUICE_SRC_ADDR_HI, SLUICE_SRC_ADDR_LO, SLUICE_SRC_AS, NULL, false);
}

static bool by_refused(void) {
    return !sluice_lookup_into(table, SLUICE_DST_ADDR_HI, SLUICE_DST_ADDR_LO, SLUICE_CUSTOMER_ID, NULL, false);
}

/* ---- Kernels: plugin.h ---- */

static bool by_customer(void) {
    uint16_t column = SLUICE_CUSTOMER_ID;
    sluice_plugin_kernels_list_column_t columns = {&column, 1};
    sluice_plugin_kernels_denied_t why;
    plugin_list_u32_t firsts;
    plugin_list_u64_t customers;
    if (!sluice_plugin_kernels_group(&columns, NULL, &firsts, &why)) return sluice_fail("customer_id is not granted");
    bool is_read = sluice_plugin_kernels_numbers_at(column, &firsts, &customers, &why);
    plugin_list_u32_free(&firsts);
    if (!is_read) return sluice_fail("customer_id cannot be read");

    plugin_list_string_t names = {sluice_alloc(customers.len, sizeof *names.ptr), customers.len};
    plugin_list_u16_t index = {sluice_alloc(customers.len, sizeof *index.ptr), customers.len};
    for (size_t group = 0; group < customers.len; group++) {
        char *name = sluice_alloc(32, 1);
        snprintf(name, 32, "customer-%" PRIu64, customers.ptr[group]);
        plugin_string_set(&names.ptr[group], name);
        index.ptr[group] = group;
    }
    plugin_list_u64_free(&customers);
    if (!sluice_plugin_kernels_route_groups(&names, &index, &why)) return sluice_fail("these routes are refused");
    return true;
}

/* ---- Which ---- */

static bool (*act)(void);

static const struct {
    const char *name;
    bool (*act)(void);
} acts[] = {
    {"nothing", nothing},
    {"read", read_all},
    {"absent", absent},
    {"write", write_all},
    {"names", names},
    {"not_granted", not_granted},
    {"wrong_width", wrong_width},
    {"not_written", not_written},
    {"no_such_word", no_such_word},
    {"keep", keep},
    {"route", route},
    {"no_such_route", no_such_route},
    {"tell", tell},
    {"fatal", fatal},
    {"later", later},
    {"customers", customers},
    {"values", values},
    {"into", into},
    {"into_refused", into_refused},
    {"by_refused", by_refused},
    {"by_customer", by_customer},
};

/* Whether the key is one of those that only the case about the configuration has; it is counted if it is right. */
static bool is_value(const sluice_config *config) {
    uint64_t number = 0;
    double real = 0;
    const char *text = "";
    bool flag = false;
    if (sluice_key_is(config, "number"))
        sluice_count("number", sluice_as_u64(config, 1, UINT64_MAX, &number) && number == UINT64_MAX);
    else if (sluice_key_is(config, "negative"))
        sluice_count("negative", !sluice_as_u64(config, 0, UINT64_MAX, &number) && sluice_as_f64(config, &real) && real == -1);
    else if (sluice_key_is(config, "ratio") && sluice_as_f64(config, &real))
        sluice_gauge("ratio", real);
    else if (sluice_key_is(config, "flag"))
        sluice_count("flag", sluice_as_bool(config, &flag) && flag);
    else if (sluice_key_is(config, "text"))
        sluice_count("text", sluice_as_string(config, &text) && strcmp(text, "tab\t\"ü\\") == 0);
    else if (sluice_key_is(config, "list"))
        sluice_count("list", config->kind == SLUICE_OTHER && config->value[0] == '[');
    else
        return false;
    return true;
}

bool sluice_init(sluice_config *config, sluice_manifest *manifest) {
    const char *wanted = "nothing";
    while (sluice_next(config)) {
        if (is_value(config)) continue;
        if (!sluice_key_is(config, "act") || !sluice_as_string(config, &wanted)) return sluice_fail("what is `%s`", config->key);
    }
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        if (strcmp(acts[i].name, wanted) == 0) act = acts[i].act;
    if (strcmp(wanted, "missing") == 0) return sluice_open_table("no-such-table", &table);
    if (!act) return sluice_fail("nothing is called `%s`", wanted);
    bool needs_table = act == customers || act == values || act == into || act == into_refused || act == by_refused;
    if (needs_table && !sluice_open_table("customers", &table)) return false;

    manifest->name = "calls";
    manifest->version = "0.1.0";
    static const uint16_t reads[] = {
        SLUICE_PROTO, SLUICE_SRC_PORT, SLUICE_DST_PORT, SLUICE_BYTES, SLUICE_PACKETS, SLUICE_SRC_ADDR_HI,
        SLUICE_SRC_ADDR_LO, SLUICE_CUSTOMER_ID, SLUICE_NOTE, SLUICE_AS_PATH,
    };
    static const uint16_t writes[] = {
        SLUICE_PROTO, SLUICE_TOS, SLUICE_SRC_PORT, SLUICE_BYTES, SLUICE_CUSTOMER_ID, SLUICE_NOTE, SLUICE_AS_PATH,
    };
    for (size_t i = 0; i < sizeof reads / sizeof *reads; i++) sluice_reads(manifest, reads[i]);
    for (size_t i = 0; i < sizeof writes / sizeof *writes; i++) sluice_writes(manifest, writes[i]);
    return true;
}

bool sluice_process(void) {
    return act();
}

/* What a sluice plugin in C uses. The collector calls sluice_init once and sluice_process once per batch; a batch is
 * columns of numbers, one value a row, and what the plugin wrote and kept counts when sluice_process returned true.
 *
 * Memory: everything that a function here returns is freed when the call (sluice_init, sluice_process) ends. Copy what is to
 * live on. Never pass it to free.
 *
 * Refusals: what the collector refuses (a column that is not granted, or holds something else) is remembered. A read then
 * answers zeros, so that nothing has to be checked, and the batch fails with a message that names the column.
 *
 * Rarer calls (kernels, keys, assets) are in plugin.h, as wit-bindgen makes them: there, memory is the caller's.
 */
#ifndef SLUICE_H
#define SLUICE_H

#include <stdbool.h>
#include <stdint.h>

#include "columns.h"
#include "plugin.h"

/* ---- What a plugin is: the author writes these two ---- */

typedef struct {
    const char *name;    /* Name of the plugin. */
    const char *version; /* Its version. */
    bool stateful;       /* Keeps state between batches: the collector then runs one instance of it. */
    uint32_t tick_ms;    /* How often sluice_tick is wanted, in milliseconds; 0: never. */
    /* Filled by sluice_reads and sluice_writes. */
    uint16_t reads[256], writes[256];
    uint32_t read_count, written_count;
} sluice_manifest;

typedef struct sluice_config sluice_config;

/* Called once: reads the `config` table of the stage and fills in the manifest. False after sluice_fail: the message
 * is shown to the operator. */
bool sluice_init(sluice_config *config, sluice_manifest *manifest);
/* Called once per batch. False after sluice_fail or sluice_retry_later. */
bool sluice_process(void);

/* Asks for a column to be read or written. The operator's `grant` decides. */
void sluice_reads(sluice_manifest *manifest, uint16_t column);
void sluice_writes(sluice_manifest *manifest, uint16_t column);

/* Remembers why the call fails, as printf does, and returns false: `return sluice_fail("...");`. The first message
 * counts; it is cut after 1023 bytes. A batch that fails is lost to the plugin (the stage's `on_error` decides about
 * its rows); after sluice_retry_later it may come again. */
bool sluice_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool sluice_retry_later(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- The config table, key by key ---- */

typedef enum { SLUICE_NUMBER, SLUICE_STRING, SLUICE_BOOLEAN, SLUICE_OTHER } sluice_kind;

struct sluice_config {
    const char *key;   /* The key that sluice_next found. */
    const char *value; /* Its value: a string as it is, all else as JSON text. */
    sluice_kind kind;  /* SLUICE_OTHER: a list, a table. */
    char *rest;        /* Not for plugins: what is still to be read, NULL at the end. */
};

/* Goes to the next key; false after the last. */
bool sluice_next(sluice_config *config);
bool sluice_key_is(const sluice_config *config, const char *key);
/* These are false, and leave *value as it is, if the value is of another kind or out of range. Numbers are exact to
 * 64 bits. */
bool sluice_as_u64(const sluice_config *config, uint64_t least, uint64_t most, uint64_t *value);
bool sluice_as_f64(const sluice_config *config, double *value);
bool sluice_as_string(const sluice_config *config, const char **value);
bool sluice_as_bool(const sluice_config *config, bool *value);

/* ---- Reading the batch ---- */

uint32_t sluice_rows(void);
/* Batch time in milliseconds since the Unix epoch: the only clock there is. */
uint64_t sluice_now_ms(void);
/* Whether some row may have the column. */
bool sluice_has(uint16_t column);
/* Number of an operator's own column by its name; 0 if there is none. */
uint16_t sluice_column(const char *name);

/* The column, one value a row; zeros where no row has it. The array may be changed: what is set is another call. */
uint8_t *sluice_u8s(uint16_t column);
uint16_t *sluice_u16s(uint16_t column);
uint32_t *sluice_u32s(uint16_t column);
uint64_t *sluice_u64s(uint16_t column);

/* A text column: row r holds words[codes[r]]. Not all words need occur. */
typedef struct {
    const char **words;
    uint32_t word_count;
    uint32_t *codes;
} sluice_texts;
sluice_texts sluice_read_texts(uint16_t column);

/* A list column: row r holds values[offsets[r]] up to, not including, values[offsets[r + 1]]. */
typedef struct {
    uint32_t *offsets;
    uint32_t *values;
} sluice_lists;
sluice_lists sluice_read_lists(uint16_t column);

/* ---- Writing it ---- */

/* Zeroed memory, freed when the call ends. Never NULL: without memory the instance ends. */
void *sluice_alloc(size_t count, size_t size);

/* Replace a column: one value a row. 0 means absent. */
void sluice_set_u8s(uint16_t column, const uint8_t *values);
void sluice_set_u16s(uint16_t column, const uint16_t *values);
void sluice_set_u32s(uint16_t column, const uint32_t *values);
void sluice_set_u64s(uint16_t column, const uint64_t *values);
void sluice_set_texts(uint16_t column, const char *const *words, uint32_t word_count, const uint32_t *codes);
/* One offset more than rows, ascending from 0; the last one is the number of values. */
void sluice_set_lists(uint16_t column, const uint32_t *offsets, const uint32_t *values);
/* Makes the column absent in every row. */
void sluice_clear(uint16_t column);

/* Keeps the rows whose `keep` is true, drops the others, and returns how many are kept. The last call counts. Not
 * called: all stay. */
uint32_t sluice_keep(const bool *keep);
/* Sends row r to the route names[index[r]]; the last call counts. */
void sluice_route(const char *const *names, uint32_t name_count, const uint16_t *index);

/* ---- Telling people ---- */

/* One line in the collector's log, as printf does; cut after 1023 bytes. */
void sluice_log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void sluice_log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void sluice_log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void sluice_log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Adds to a counter, sets a gauge. Names: lower case, digits and `_`; at most 64 a stage. */
void sluice_count(const char *name, uint32_t add);
void sluice_gauge(const char *name, double value);

typedef struct {
    const char *kind;    /* What it is, from a closed set, e.g. "dos-raised". */
    uint8_t severity;    /* 0 emergency to 7 debug, as in syslog. */
    const char *subject; /* What it is about, e.g. an address. */
    double value;        /* The measured value. */
    double threshold;    /* What it was compared with. */
    const char *note;    /* For people, with the unit. */
} sluice_alert;
/* Raises an alert, if the grant has `events = true`. */
void sluice_emit(const sluice_alert *alert);

/* ---- Tables of the collector ---- */

typedef sluice_plugin_tables_own_table_t sluice_table;
/* Opens a table by its name in the TOML; false, and the call fails, if there is none. Once, in sluice_init. */
bool sluice_open_table(const char *name, sluice_table *table);
/* For each row the code of the longest prefix that covers the address in the two columns; 0 where there is none. In a table
 * of values: of the key in two columns of numbers, of the number in `lo` if `hi` is 0, or of an address (its high half) and a
 * number. */
uint32_t *sluice_lookup(sluice_table table, uint16_t hi, uint16_t lo);
/* Writes what the table says of each row, or of those of which `only` is true (NULL: all), into a column of texts, or of
 * numbers: decimal digits, with AS before them or not. The other rows become 0 or empty, or stay as they are. No row crosses:
 * this is the fast way to enrich. False if no row has the key, and then nothing is written. */
bool sluice_lookup_into(
    sluice_table table, uint16_t hi, uint16_t lo, uint16_t into, const bool *only, bool keep_others);
/* The value of a code as text; NULL for 0 and for codes of another generation. */
const char *sluice_table_value(sluice_table table, uint32_t code);
/* Changes when the table was exchanged: codes from before are void. */
uint64_t sluice_table_generation(sluice_table table);

/* ---- State: for plugins that link state.c; each may be left out ---- */

/* Called now and then, between batches. Alerts, metrics and log lines may be given; there is no batch. */
void sluice_tick(uint64_t now_ms);
/* The state as bytes, copied when the call ends: static memory, or from sluice_alloc. Put a version in front. */
void sluice_snapshot(const void **data, size_t *length);
/* Takes over a snapshot, perhaps of another version of the plugin. Sets *understood to false to start empty; false
 * after sluice_fail: the state is understood and wrong. Called after sluice_init, before any batch. */
bool sluice_restore(const void *data, size_t length, bool *understood);

#endif

/* Counts rows from batch to batch, over restarts. */
#include <inttypes.h>
#include <string.h>

#include "sluice.h"

static struct {
    uint32_t layout, rows;
} state;
static bool wrong;

bool sluice_init(sluice_config *config, sluice_manifest *manifest) {
    uint64_t layout = 1;
    while (sluice_next(config)) {
        if (sluice_key_is(config, "wrong") && sluice_as_bool(config, &wrong)) continue;
        if (sluice_key_is(config, "layout") && sluice_as_u64(config, 1, 2, &layout)) continue;
        return sluice_fail("what is `%s`", config->key);
    }
    state.layout = layout;
    manifest->name = "stateful";
    manifest->version = "0.1.0";
    manifest->stateful = true;
    manifest->tick_ms = 1000;
    sluice_reads(manifest, SLUICE_BYTES);
    return true;
}

bool sluice_process(void) {
    state.rows += sluice_rows();
    sluice_gauge("rows", state.rows);
    return true;
}

void sluice_tick(uint64_t now_ms) {
    if (wrong) sluice_fail("a tick that fails is logged");
    else sluice_log_info("tick after %" PRIu32 " rows at %" PRIu64, state.rows, now_ms);
}

void sluice_snapshot(const void **data, size_t *length) {
    *data = &state;
    *length = sizeof state;
}

bool sluice_restore(const void *data, size_t length, bool *understood) {
    uint32_t layout = 0;
    if (length == sizeof state) memcpy(&layout, data, sizeof layout);
    *understood = layout == 1;
    if (*understood) memcpy(&state, data, sizeof state);
    return true;
}

/* For plugins that keep state: exports timer and state besides. Link it with keeps_state.c and
 * keeps_state_component_type.o. */
#include <stdlib.h>

#include "internal.h"
#include "keeps_state.h"
#include "sluice.h"

/* What a plugin has when it does not define them. */
__attribute__((weak)) void sluice_tick(uint64_t now_ms) {
    (void)now_ms;
}

__attribute__((weak)) void sluice_snapshot(const void **data, size_t *length) {
    *data = NULL;
    *length = 0;
}

__attribute__((weak)) bool sluice_restore(const void *data, size_t length, bool *understood) {
    (void)data, (void)length;
    *understood = false;
    return true;
}

void exports_sluice_plugin_timer_tick(uint64_t now_ms) {
    sluice_begin();
    sluice_tick(now_ms);
    if (!sluice_end(true)) sluice_log_error("tick: %s", sluice_failure());
}

void exports_sluice_plugin_state_snapshot(keeps_state_list_u8_t *ret) {
    const void *data = NULL;
    size_t length = 0;
    sluice_begin();
    sluice_snapshot(&data, &length);
    *ret = (keeps_state_list_u8_t){NULL, 0};
    if (length) {
        keeps_state_string_t copy;
        keeps_state_string_dup_n(&copy, data, length);
        *ret = (keeps_state_list_u8_t){copy.ptr, copy.len};
    }
    if (!sluice_end(true)) sluice_log_error("snapshot: %s", sluice_failure());
}

bool exports_sluice_plugin_state_restore(keeps_state_list_u8_t *data, bool *ret, keeps_state_string_t *error) {
    bool understood = true;
    sluice_begin();
    bool ok = sluice_end(sluice_restore(data->ptr, data->len, &understood));
    keeps_state_list_u8_free(data);
    if (!ok) keeps_state_string_dup(error, sluice_failure());
    *ret = understood;
    return ok;
}

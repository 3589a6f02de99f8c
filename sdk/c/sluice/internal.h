/* What sluice.c and state.c share. Not for plugins. */
#ifndef SLUICE_INTERNAL_H
#define SLUICE_INTERNAL_H

#include <stdbool.h>

/* Begins a call of the collector: no failure yet. */
void sluice_begin(void);
/* Ends it: frees what it held. Returns false if it failed, with `ok` false or by something remembered. */
bool sluice_end(bool ok);
/* Why it failed. */
const char *sluice_failure(void);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * method_table.h - the methods and their step tables: what a snapshot runs, a dry run prints, the
 * guard and recover unwind.
 */
#ifndef BLOCKOPS_METHOD_TABLE_H
#define BLOCKOPS_METHOD_TABLE_H

#include "base/flow.h"

enum method {
	METHOD_FILTER, /* stream, by copy-before-write and snapshot-access */
	N_METHODS,
};

struct method_table {
	const char *name; /* as users name it: "stream" */
	const char *key; /* as the guard is told: "filter" */
	const struct flow_step *steps;
	const size_t *n_steps;
};

const struct method_table *method_table(enum method method);

/* NULL: there is no such key. */
const struct method_table *method_table_by_key(const char *key);

/* *table->n_steps: no such step. */
size_t method_step_index(const struct method_table *table, const char *step);

/* One table_*.c each. */
extern const struct flow_step filter_steps[];
extern const size_t n_filter_steps;

#endif

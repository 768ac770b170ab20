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
	METHOD_JOB, /* stream, by an overlay and blockdev-backup sync=none */
	METHOD_BACKUP, /* blockdev-backup sync=full */
	METHOD_MIRROR, /* blockdev-mirror to its end */
	METHOD_COLD, /* stop, qemu-img convert, cont */
	METHOD_OFFLINE, /* an image file, and no QEMU */
	N_METHODS,
};

struct qmpsnap_snapshot;

/* Whether the scratch folder has what the method needs at the least; else *err (REFUSED).  Makes
 * nothing there. */
typedef bool method_room_fn(struct qmpsnap_snapshot *s, struct qmpsnap_error *err);

struct method_table {
	const char *name; /* as users name it: "stream" */
	const char *key; /* as the guard is told: "filter" */
	const struct flow_step *steps;
	const size_t *n_steps;
	size_t n_looks; /* steps right behind the plan that only look: a dry run does them, too */
	method_room_fn *has_room; /* NULL: in the table of recover alone */
	bool holds; /* the guest stands still for a copy, not for an instant: the user is told of it
		     */
};

const struct method_table *method_table(enum method method);

/* The undos of all methods in one table, for who can't know the method. */
const struct method_table *method_table_of_recover(void);

/* NULL: there is no such key. */
const struct method_table *method_table_by_key(const char *key);

/* *table->n_steps: no such step. */
size_t method_step_index(const struct method_table *table, const char *step);

/* One table_*.c each. */
extern const struct flow_step filter_steps[];
extern const size_t n_filter_steps;
extern const struct flow_step job_steps[];
extern const size_t n_job_steps;
extern const struct flow_step backup_steps[];
extern const size_t n_backup_steps;
extern const struct flow_step mirror_steps[];
extern const size_t n_mirror_steps;
extern const struct flow_step cold_steps[];
extern const size_t n_cold_steps;
extern const struct flow_step offline_steps[];
extern const size_t n_offline_steps;

extern const struct flow_step recover_steps[];
extern const size_t n_recover_steps;

#endif

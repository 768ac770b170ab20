/* SPDX-License-Identifier: Apache-2.0
 *
 * leftovers.h - what of ours stands in a QEMU, read from the replies of its query commands: pure.
 */
#ifndef BLOCKOPS_LEFTOVERS_H
#define BLOCKOPS_LEFTOVERS_H

#include "blockops/snapshot.h"

/* The replies, borrowed; NULL where QEMU didn't answer. */
struct leftovers {
	struct json_object *nodes; /* query-named-block-nodes */
	struct json_object *exports; /* query-block-exports */
	struct json_object *jobs; /* query-jobs */
	struct json_object *fdsets; /* query-fdsets */
	struct json_object *block; /* query-block */
	struct json_object *graph; /* x-debug-query-block-graph */
};

/* The id of some run that left something; false when nothing of ours is there. */
bool leftovers_find_run(const struct leftovers *left, char run[static NAME_RUN_BYTES]);

/* Whether anything of the run of `s` is there. */
bool leftovers_has_of(const struct leftovers *left, const struct qmpsnap_snapshot *s);

/* Fills `s` (empty, with its run set) with the disks of that run, so that its table can be
 * unwound.  False when a device stands on our filter and the node that it goes back to can't be
 * found (UNDO): then nothing must be removed; the hint says what to look for. */
bool leftovers_fill(
	const struct leftovers *left, struct qmpsnap_snapshot *s, struct qmpsnap_error *err);

/* Calls `found` with a phrase for each thing of the run, or, with `s` NULL, of any: "export
 * qmpsnap-...-e0", and the command that removes it, if that is wanted. */
typedef void leftovers_found_fn(const char *phrase, void *data);
void leftovers_list(const struct leftovers *left, const struct qmpsnap_snapshot *s,
	bool with_commands, leftovers_found_fn *found, void *data);

#endif

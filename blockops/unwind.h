/* SPDX-License-Identifier: Apache-2.0
 *
 * unwind.h - undoing a run of another process: what the guard knows from its records, or recover
 * found in QEMU, filled into a snapshot whose table is then unwound.
 */
#ifndef BLOCKOPS_UNWIND_H
#define BLOCKOPS_UNWIND_H

#include "blockops/snapshot.h"

typedef void unwound_fn(struct qmpsnap_snapshot *s, void *data);

/* Unwinds the table of `s` from the end of the step `last_step` (NULL: of the whole table).  The
 * snapshot's qmp is closed by it.  `unwound` fires once; s->flow.undo_err says what could not be
 * undone; the caller frees `s` afterwards. */
void unwind(struct qmpsnap_snapshot *s, const char *last_step, unwound_fn *unwound, void *data);

#endif

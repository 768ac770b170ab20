/* SPDX-License-Identifier: Apache-2.0
 *
 * recover_journal.h - undoes runs that were killed, and their guards too, from their journals: one
 * after the other, each as its guard would have.
 */
#ifndef BLOCKOPS_RECOVER_JOURNAL_H
#define BLOCKOPS_RECOVER_JOURNAL_H

#include "qmp/address.h"
#include "qmp/identity.h"

#include <qmpsnap.h>
#include <uv.h>

/* A line for the user: what is, or would be, undone. */
typedef void journal_found_fn(const char *phrase, void *data);
/* The end, once, later.  UNDO: not all could be undone, and those journals are kept; with the
 * first reason; without a `guest`, journals that can't be read count too.  STORE, AGENT: only
 * unpublished images are left, or a guest that may be held (evidence.h). */
typedef void journal_recovered_fn(const struct qmpsnap_error *err, void *data);

/* The way to the monitor where the journal's isn't to be taken: QEMU greets a connection that was
 * given as a descriptor once only. */
struct monitor_way {
	const struct qmp_address *address;
	bool greeted;
};

struct journal_recovery {
	uv_loop_t *loop;
	const char *state; /* see base/state.h */
	const struct identity *guest; /* only the runs of that QEMU, */
	const char *address; /* and those at that address; both NULL: all */
	bool only_gone; /* of the latter, those whose QEMU has ended */
	struct monitor_way *way; /* to the monitor of `guest`; NULL: as the journals say */
	const struct identity *locked; /* a guest that the caller has locked; or NULL */
	bool *barred; /* set: what stands in a guest is evidence for a later recovery; or NULL */
	bool dry_run; /* only told */
	bool insists; /* on thawing, for as long as QEMU lives, once all else is undone */
	bool warned; /* of journals that can't be read, by journal_recovery_needed() */
	qmpsnap_open_store_fn *open_store; /* NULL: unpublished images can't be deleted */
	journal_found_fn *found;
	journal_recovered_fn *done; /* NULL: it is only looked what there is */
	void *data;
};

/* Whether any journal of a dead run is there that the options choose.  Warns of those that can't be
 * read, which may be any guest's. */
bool journal_recovery_needed(const struct journal_recovery *options);

/* Begins; the options are copied, what they point to is borrowed until `done`.  False and *err when
 * it can't. */
bool journal_recovery_start(const struct journal_recovery *options, struct qmpsnap_error *err);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * checked_read.h - a read of a frozen view, right also where the view of this QEMU can't be
 * trusted over several clusters (danger_of_wide_reads() in dangers.h).
 *
 * There, what a wide read brought is good if none of its clusters is in the scratch afterwards:
 * whatever the guest overwrites is copied into the scratch first.  Else it is read again cluster
 * by cluster, which such a QEMU answers rightly.  A question about the scratch is one more round
 * trip, and work for QEMU's main loop, so it is asked about several reads at once.
 */
#ifndef BLOCKOPS_CHECKED_READ_H
#define BLOCKOPS_CHECKED_READ_H

#include "blockops/view_private.h"

struct checked_read;
typedef void checked_read_fn(struct checked_read *read);

/* Lives in a struct of whoever asks, until `done`. */
struct checked_read {
	struct nbd_request request; /* what is under way; first, and private but for .owner */
	uint64_t offset; /* a multiple of CLUSTER_BYTES where reads are checked */
	uint32_t len;
	uint8_t *bytes;
	checked_read_fn *done; /* called later, in any case */
	struct checked_read *next; /* the asker's, while nothing is under way */
	int errnum; /* 0: well; else the view has failed */
	struct view *view; /* private from here on */
	uint32_t reread_bytes;
	bool touched;
};

/* Reads from `view`; the asker has filled in .request.owner, .offset, .len, .bytes and .done. */
void checked_read_submit(struct view *view, struct checked_read *read);

/* view_withdraw() for the checked reads of `owner`. */
unsigned checked_read_withdraw(struct view *view, const void *owner);

/* Parts a view, or a scratch, that is about to be freed from the other one.  The reads that are
 * still to be checked end with ECANCELED; a view whose scratch goes first fails. */
void checked_read_end(struct view *view);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * method.h - which method can take which disk: pure decisions over what inspect found.
 */
#ifndef BLOCKOPS_METHOD_H
#define BLOCKOPS_METHOD_H

#include "blockops/guest.h"
#include "blockops/method_table.h"

enum { METHOD_REASON_BYTES = 256 };

/* Whether a method can take this disk of this guest; `reason` says why or why not, one phrase,
 * naming the disk only by what is wrong with it.  An encrypted one is taken only when its plaintext
 * is wanted. */
bool method_takes(enum method method, const struct guest *guest, const struct guest_disk *disk,
	bool allow_plaintext, char reason[static METHOD_REASON_BYTES]);

/* Whether the guest's run state allows a snapshot; REFUSED and why when it doesn't. */
bool method_state_allows(const struct guest *guest, struct qmpsnap_error *err);

struct method_selection {
	const char *const *wanted; /* device id, QOM path, drive id, node name or file */
	size_t n_wanted;
	bool firmware; /* and the writable pflash: UEFI variables */
};

/* Which of the guest's disks were asked for; `chosen` has room for all and gets `*n_chosen`
 * borrowed pointers, in the guest's order.  Without `wanted`: all inserted writable ones, of the
 * firmware's only when asked for.  A word that matches no disk or several is refused (USAGE) with
 * the candidates listed. */
bool method_select(const struct guest *guest, const struct method_selection *selection,
	const struct guest_disk **chosen, size_t *n_chosen, struct qmpsnap_error *err);

#endif

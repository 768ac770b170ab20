/* SPDX-License-Identifier: Apache-2.0
 *
 * method.h - which method can take which disk: pure decisions over what inspect found.
 */
#ifndef BLOCKOPS_METHOD_H
#define BLOCKOPS_METHOD_H

#include "blockops/guest.h"

enum { METHOD_REASON_BYTES = 256 };

/* Whether the filter flavour of `stream` can take this disk of this guest; `reason` says why or
 * why not, one phrase, naming the disk only by what is wrong with it. */
bool method_stream_takes(const struct guest *guest, const struct guest_disk *disk,
	char reason[static METHOD_REASON_BYTES]);

/* Whether the guest's run state allows a snapshot; REFUSED and why when it doesn't. */
bool method_state_allows(const struct guest *guest, struct qmpsnap_error *err);

/* Which of the guest's disks were asked for; `chosen` has room for all and gets `*n_chosen`
 * borrowed pointers, in the guest's order.  Without `wanted`: all inserted writable ones that
 * aren't firmware.  A word that matches no disk or several is refused (USAGE) with the candidates
 * listed. */
bool method_select(const struct guest *guest, const char *const *wanted, size_t n_wanted,
	const struct guest_disk **chosen, size_t *n_chosen, struct qmpsnap_error *err);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * decide.h - which method takes the chosen disks: a pure function of what inspect found and of
 * what was asked for.
 */
#ifndef BLOCKOPS_DECIDE_H
#define BLOCKOPS_DECIDE_H

#include "blockops/guest.h"
#include "blockops/method.h"
#include "blockops/method_table.h"

struct method_request {
	const char *method; /* NULL or "auto": the best that takes all disks */
	const char *flavour; /* of stream; NULL or "auto" */
	enum qmpsnap_format format;
	bool allow_plaintext;
};

struct decision {
	enum method method;
	char reason[METHOD_REASON_BYTES]; /* one sentence, for users */
};

/* REFUSED and why when none does, or not the one that was named; USAGE for a name that is none. */
bool decide(const struct guest *guest, const struct guest_disk *const *disks, size_t n_disks,
	const struct method_request *request, struct decision *decision, struct qmpsnap_error *err);

/* The image's format for a disk, when `asked` leaves it open. */
enum qmpsnap_format decide_format(enum qmpsnap_format asked, const struct guest_disk *disk);

#endif

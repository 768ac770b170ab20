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
	bool release_monitor; /* nobody watches over a job then */
};

enum { DECISION_REASON_BYTES = 400 };

struct decision {
	enum method method;
	char reason[DECISION_REASON_BYTES]; /* one sentence, for users */
};

/* One method for all disks: the one that was named, else the first that takes them all of stream
 * with the filter, stream with the job, backup.  Mirror and cold are only taken by name: the one
 * needs what backup needs and has its instant at a time that nobody knows beforehand, the other
 * holds the guest for as long as the copy takes.
 *
 * REFUSED and why when none does, or not the one that was named; USAGE for a name that is none and
 * for names that contradict each other. */
bool decide(const struct guest *guest, const struct guest_disk *const *disks, size_t n_disks,
	const struct method_request *request, struct decision *decision, struct qmpsnap_error *err);

/* The same again for a request that leaves the method open, once its choice has found that QEMU's
 * NBD server can't be had, which can only be learned by trying: `backup` needs none. */
bool decide_without_server(const struct guest *guest, const struct guest_disk *const *disks,
	size_t n_disks, const struct method_request *request, struct decision *decision,
	struct qmpsnap_error *err);

/* Whether the request leaves it to us to take another method than the first one that serves. */
bool decide_is_open(const struct method_request *request);

/* The image's format for a disk, when `asked` leaves it open: raw for a raw block device of the
 * host, else qcow2. */
enum qmpsnap_format decide_format(enum qmpsnap_format asked, const struct guest_disk *disk);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * inspect.h - asks a QEMU what it is and which disks it has; changes nothing.
 */
#ifndef BLOCKOPS_INSPECT_H
#define BLOCKOPS_INSPECT_H

#include "blockops/guest.h"
#include "blockops/node_list.h"
#include "qmp/client.h"

typedef void inspect_done_fn(const struct qmpsnap_error *err, void *data);

/* The questions under way; embedded by the caller, its members are inspect.c's own. */
struct inspect {
	struct qmp_client *qmp;
	struct guest *guest;
	inspect_done_fn *done;
	void *data;
	size_t query; /* which of the guest-wide queries */
	size_t disk; /* then which disk ... */
	unsigned question; /* ... and what about it */
	struct node_list nodes;
	char *owner; /* the device that may have the disk's iothread */
};

/* Fills `guest` (zeroed by the caller, freed by the caller in any case).  `done` fires once,
 * later. */
void inspect_start(struct inspect *inspect, struct qmp_client *qmp, struct guest *guest,
	inspect_done_fn *done, void *data);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/decide.h"

#include <stdio.h>

bool decide(const struct guest *guest, const struct guest_disk *const *disks, size_t n_disks,
	const struct method_request *request, struct decision *decision, struct qmpsnap_error *err)
{
	char reason[METHOD_REASON_BYTES];

	(void)request;
	for (size_t i = 0; i < n_disks; i++) {
		if (method_stream_takes(guest, disks[i], reason))
			continue;
		error_set(err, QMPSNAP_REFUSED, "disk %s can't be taken by the method stream: %s",
			disks[i]->id, reason);
		error_hint(err,
			"qmpsnap inspect tells which disks can be taken; --disk chooses among "
			"them");
		return false;
	}
	decision->method = METHOD_FILTER;
	(void)snprintf(decision->reason, sizeof(decision->reason),
		"this QEMU has copy-before-write with break-snapshot and snapshot-access, and all "
		"chosen disks can be switched onto it");
	return true;
}

enum qmpsnap_format decide_format(enum qmpsnap_format asked, const struct guest_disk *disk)
{
	(void)disk;
	return asked == QMPSNAP_FORMAT_AUTO ? QMPSNAP_QCOW2 : asked;
}

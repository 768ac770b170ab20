/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/dangers.h"

#include <stddef.h>

/* Builds on which a disk in an iothread was seen to survive both the filter's insertion and NBD
 * clients that come and go.  On others the guest may die: 7.2.22 (Debian 12) aborts with
 * "qemu_mutex_unlock_impl: Operation not permitted" at blockdev-add of the filter or the view in
 * 15 of 61 tries under load, and with "nbd_blockdev_client_closed: Assertion" (the backport of the
 * fix of CVE-2024-7409) when an NBD client leaves, 3 of 3.  10.0.13 and 11.1.3: 0 of 40 each. */
static const struct {
	unsigned major, minor, from_micro;
} iothread_known_good[] = {
	{10, 0, 13},
	{11, 1, 3},
};

static bool iothread_is_safe(const struct guest *guest)
{
	const size_t n = sizeof(iothread_known_good) / sizeof(iothread_known_good[0]);

	for (size_t i = 0; i < n; i++) {
		if (guest->major == iothread_known_good[i].major &&
			guest->minor == iothread_known_good[i].minor &&
			guest->micro >= iothread_known_good[i].from_micro)
			return true;
	}
	return false;
}

const char *danger_of_stream(const struct guest *guest, const struct guest_disk *disk)
{
	if (disk->iothread && !iothread_is_safe(guest))
		return "it is served by an iothread, and on this QEMU build the filter or an NBD "
		       "client that leaves can kill the guest";
	return NULL;
}

bool danger_of_wide_reads(const struct guest *guest)
{
	return guest->major < 8;
}

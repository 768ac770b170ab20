/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/dangers.h"

#include <stddef.h>
#include <string.h>

/* ---- Disks in an iothread ----
 *
 * 7.2.22 (Debian 12) aborts with "qemu_mutex_unlock_impl: Operation not permitted" at blockdev-add
 * of the filter or the view (15 of 61 tries under load), and with "nbd_blockdev_client_closed:
 * Assertion `qemu_in_main_thread() && nbd_server'" when an NBD client leaves (8 of 8): the upstream
 * fix of CVE-2024-7409 as it came to 7.2.14.  Ubuntu's 8.2.2 has the same assertion; so any build
 * counts as bad that wasn't seen to do well.  blockdev-backup to a file: 0 of 60 on 7.2.22.
 *
 * Seen to do well: 10.0.13 and 11.1.3, 0 of 40 each, filter and NBD.  5.2.0 (Debian 11, whose
 * backport asserts `nbd_server` alone): NBD clients that come, go and are killed. */
static const struct {
	unsigned major, minor, from_micro;
	bool filter, nbd;
} iothread_known_good[] = {
	{5, 2, 0, false, true},
	{10, 0, 13, true, true},
	{11, 1, 3, true, true},
};

static bool iothread_is_safe(const struct guest *guest, bool with_filter)
{
	const size_t n = sizeof(iothread_known_good) / sizeof(iothread_known_good[0]);

	for (size_t i = 0; i < n; i++) {
		if (guest->major == iothread_known_good[i].major &&
			guest->minor == iothread_known_good[i].minor &&
			guest->micro >= iothread_known_good[i].from_micro)
			return with_filter ? iothread_known_good[i].filter
					   : iothread_known_good[i].nbd;
	}
	return false;
}

static bool filter_in_iothread(const struct guest *guest, const struct guest_disk *disk)
{
	return disk->iothread && !iothread_is_safe(guest, true);
}

static bool nbd_in_iothread(const struct guest *guest, const struct guest_disk *disk)
{
	return disk->iothread && !iothread_is_safe(guest, false);
}

/* ---- Files read behind QEMU's back ---- */

static bool is_in_state(const struct guest *guest, const char *state)
{
	return guest->status && strcmp(guest->status, state) == 0;
}

/* What was written to a guest that never ran (by an incoming migration, through the monitor) is in
 * QEMU's caches: QEMU flushes them when a running guest is stopped.  On 7.2.22 `qemu-img convert`
 * beside a guest in `prelaunch` didn't see a write, and did after `cont` and `stop`. */
static bool never_ran(const struct guest *guest, const struct guest_disk *disk)
{
	(void)disk;
	return is_in_state(guest, "prelaunch");
}

/* Asleep: it wasn't stopped, so nothing was flushed, and it may wake. */
static bool sleeps(const struct guest *guest, const struct guest_disk *disk)
{
	(void)disk;
	return is_in_state(guest, "suspended");
}

/* ---- Jobs that end while the guest stands still ----
 *
 * 5.2.0 (Debian 11) aborts with "qemu_mutex_unlock_impl: Operation not permitted" at the
 * job-dismiss of a mirror of a virtio-blk disk in an iothread, when the job ended while the guest
 * was stopped and the guest runs again: 7 of 8 times.  Not when the guest wasn't stopped (0 of 9),
 * nor on 7.2.22, 10.0.13 and 11.1.3 (0 of 12 each).  We stop it for the sake of several disks. */
static bool mirror_ends_in_pause(const struct guest *guest, const struct guest_disk *disk)
{
	return disk->iothread && is_in_state(guest, "running") &&
	       (guest->major < 7 || (guest->major == 7 && guest->minor < 2));
}

/* ---- The table ----
 *
 * Kept clear of without asking, since nothing of ours needs it: `on-cbw-error` of blockdev-backup
 * (QEMU 11.1) with sync=none.  With break-snapshot a full scratch makes the overlay silently show
 * the disk as it is now: no event, no error of the job (11.1.3). */

enum {
	FILTER = 1 << METHOD_FILTER,
	JOB = 1 << METHOD_JOB,
	MIRROR = 1 << METHOD_MIRROR,
	COLD = 1 << METHOD_COLD,
	OF_SEVERAL = 1 << N_METHODS, /* only where the disk isn't taken alone */
};

static const struct {
	unsigned methods;
	bool (*threatens)(const struct guest *guest, const struct guest_disk *disk);
	const char *why;
} dangers[] = {
	{FILTER, filter_in_iothread,
		"it is served by an iothread, and on this QEMU build the filter or an NBD client "
		"that leaves can kill the guest"},
	{JOB, nbd_in_iothread,
		"it is served by an iothread, and on this QEMU build an NBD client that leaves can "
		"kill the guest"},
	{MIRROR | OF_SEVERAL, mirror_ends_in_pause,
		"it is served by an iothread, and this QEMU build dies of a mirror that ends while "
		"the guest is stopped, as it is for several disks"},
	{COLD, never_ran,
		"the guest has never run, so its files may lack what QEMU has in its caches"},
	{COLD, sleeps, "the guest sleeps, so its files may lack what QEMU has in its caches"},
};

static const char *find(enum method method, unsigned of_several, const struct guest *guest,
	const struct guest_disk *disk)
{
	for (size_t i = 0; i < sizeof(dangers) / sizeof(dangers[0]); i++) {
		if ((dangers[i].methods & 1U << method) &&
			(dangers[i].methods & OF_SEVERAL) == of_several &&
			dangers[i].threatens(guest, disk))
			return dangers[i].why;
	}
	return NULL;
}

const char *danger_of(enum method method, const struct guest *guest, const struct guest_disk *disk)
{
	return find(method, 0, guest, disk);
}

const char *danger_of_several(
	enum method method, const struct guest *guest, const struct guest_disk *disk)
{
	return find(method, OF_SEVERAL, guest, disk);
}

bool danger_of_wide_reads(const struct guest *guest)
{
	return guest->major < 8;
}

bool danger_of_listing_nodes(const struct guest *guest)
{
	return guest->major < 7 || (guest->major == 7 && guest->minor < 2);
}

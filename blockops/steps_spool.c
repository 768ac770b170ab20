/* SPDX-License-Identifier: Apache-2.0
 *
 * The spools: a file for each disk that QEMU copies it into.  All that the copies may ever take is
 * reserved before anything is done to the guest.  With a backup, a guest's write to what isn't
 * copied yet waits for the copy, and fails where that has no room: so there it must be certain.  A
 * mirror without room only fails itself. */
#include "base/log.h"
#include "base/units.h"
#include "blockops/scratch_file.h"
#include "blockops/steps.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static uint64_t spool_most_bytes(const struct snapshot_disk *d)
{
	return d->format == QMPSNAP_RAW ? d->virtual_size_bytes : scratch_file_most_bytes(d);
}

static void hint_room(struct qmpsnap_error *err)
{
	error_hint(err, "name a roomier folder with --scratch, or raise --scratch-limit; only the "
			"method stream needs less than the whole disk");
}

bool spool_has_room(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	char whole_text[UNITS_TEXT_BYTES], room_text[UNITS_TEXT_BYTES], less_text[UNITS_TEXT_BYTES];
	uint64_t room = 0, whole = 0;

	if (!scratch_file_room(s, &room, err))
		return false;
	for (size_t i = 0; i < s->n_disks; i++)
		whole += spool_most_bytes(&s->disks[i]);
	if (whole <= room)
		return true;
	units_format_size(whole_text, whole);
	units_format_size(room_text, room);
	units_format_size(less_text, whole - room);
	error_set(err, QMPSNAP_REFUSED,
		"the disks' copies may need %s in %s, and may take %s there: %s are missing",
		whole_text, scratch_file_folder(s), room_text, less_text);
	hint_room(err);
	return false;
}

bool backup_has_room(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	if (!spool_has_room(s, err))
		return false;
	if (scratch_file_folder_holds(s))
		return true;
	error_set(err, QMPSNAP_REFUSED,
		"the file system of %s isn't known to keep what is reserved there, and a guest's "
		"writes fail when a backup's copy finds no room",
		scratch_file_folder(s));
	error_hint(err,
		"name a folder on ext4, XFS or tmpfs with --scratch; a full copy can't harm "
		"the guest with --method mirror, whose instant is at its end");
	return false;
}

static void on_reserved(struct snapshot_disk *d, const struct qmpsnap_error *err)
{
	struct qmpsnap_error mine = {0};

	if (err) {
		mine = *err;
		if (mine.detail == EOPNOTSUPP)
			error_hint(&mine,
				"the file system there can't reserve room, and a copy without it "
				"could harm the guest; name another folder with --scratch");
		else
			hint_room(&mine);
	}
	d->scratch_limit_bytes = spool_most_bytes(d);
	d->scratch_holds = !err && scratch_file_reservation_holds(d);
	d->scratch_is_reserved = d->scratch_holds;
	if (!err && !d->scratch_holds)
		log_line(QMPSNAP_LOG_WARNING,
			"disk %s: the file system of %s isn't known to keep what it reserves: "
			"should it fill up, the snapshot fails",
			d->label, scratch_file_folder(d->snapshot));
	disk_done(d->snapshot, &mine);
}

static bool make_spool(struct snapshot_disk *d, struct qmpsnap_error *err)
{
	if (!scratch_file_open(d, err))
		return false;
	if (d->format != QMPSNAP_RAW)
		return scratch_file_write_qcow2(d, 0, err);
	if (ftruncate(d->scratch_fd, (off_t)d->virtual_size_bytes) == 0)
		return true;
	return error_errno(err, QMPSNAP_REFUSED, errno, "disk %s: a file of %llu bytes in %s",
		d->label, (unsigned long long)d->virtual_size_bytes,
		scratch_file_folder(d->snapshot));
}

static void add_spool(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	struct qmpsnap_error err;

	if (make_spool(d, &err))
		scratch_file_reserve(d, spool_most_bytes(d), on_reserved);
	else
		disk_done(s, &err);
}

void spool_reserve(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmpsnap_error err;

	if (s->table->has_room(s, &err))
		disks_in_order(s, add_spool, NULL);
	else
		flow_done(f, &err);
}

static void drop_spool(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	scratch_file_drop(d);
	disk_done(s, NULL);
}

void spool_drop(struct flow *f, void *self)
{
	(void)f;
	disks_in_order(self, drop_spool, NULL);
}

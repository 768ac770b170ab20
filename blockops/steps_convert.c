/* SPDX-License-Identifier: Apache-2.0
 *
 * Copies made by qemu-img into spools, one disk after the other; qemu-img uses many requests at a
 * time itself. */
#include "base/units.h"
#include "blockops/qemu_img.h"
#include "blockops/scratch_file.h"
#include "blockops/steps.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- spool ---- */

/* A copy takes about what the disk's files take, but no more than the disk has. */
static uint64_t needed_bytes(const struct snapshot_disk *d)
{
	const uint64_t allocated = source_allocated_bytes(d->source);

	return allocated < d->virtual_size_bytes ? allocated : d->virtual_size_bytes;
}

/* qemu-img cuts its output to nothing first, so nothing can be reserved in it. */
bool convert_has_room(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	char needed_text[UNITS_TEXT_BYTES], room_text[UNITS_TEXT_BYTES];
	uint64_t room = 0, needed = 0;

	if (!scratch_file_room(s, &room, err))
		return false;
	for (size_t i = 0; i < s->n_disks; i++)
		needed += needed_bytes(&s->disks[i]);
	if (needed <= room)
		return true;
	units_format_size(needed_text, needed);
	units_format_size(room_text, room);
	error_set(err, QMPSNAP_REFUSED,
		"the disks' copies would need about %s in %s, and may take %s there", needed_text,
		scratch_file_folder(s), room_text);
	error_hint(err, "name a roomier folder with --scratch, or raise --scratch-limit");
	return false;
}

/* A name, where the file system knows no other way, is given up at once: nobody needs it. */
static void make_spool(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	struct qmpsnap_error err = {0};

	if (scratch_file_open(d, &err) && d->scratch_path) {
		(void)unlink(d->scratch_path);
		free(d->scratch_path);
		d->scratch_path = NULL;
	}
	disk_done(s, &err);
}

void convert_spool(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmpsnap_error err;

	if (convert_has_room(s, &err))
		disks_in_order(s, make_spool, NULL);
	else
		flow_done(f, &err);
}

/* ---- The copying ---- */

static void on_progress(double percent, void *data)
{
	struct snapshot_disk *d = data;
	const uint64_t done_bytes = (uint64_t)((double)d->virtual_size_bytes * percent / 100);

	snapshot_tell_disk(d, QMPSNAP_EVENT_PROGRESS, "copy", done_bytes, d->virtual_size_bytes);
}

static void on_copied(const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;
	struct qmpsnap_snapshot *s = d->snapshot;
	struct qmpsnap_error mine = {0};
	struct stat st = {0};

	s->converting = NULL;
	if (!err && (fstat(d->scratch_fd, &st) < 0 || st.st_size == 0 ||
			    (d->format == QMPSNAP_RAW &&
				    (uint64_t)st.st_size != d->virtual_size_bytes))) {
		error_set(&mine, QMPSNAP_QEMU,
			"disk %s: qemu-img's copy has %lld bytes, the disk %llu", d->label,
			(long long)st.st_size, (unsigned long long)d->virtual_size_bytes);
		err = &mine;
	}
	if (!err)
		file_stream_init(&d->spool, s->loop, d->scratch_fd, d->label, (uint64_t)st.st_size,
			SNAPSHOT_BLOCK_BYTES);
	disk_done(s, err);
}

static void copy_disk(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	struct qmpsnap_error err;
	const struct qemu_img_copy copy = {.source = d->source,
		.to_fd = d->scratch_fd,
		.format = d->format,
		.speed_bytes_per_s = s->speed.is_auto ? 0 : s->pace.bytes_per_s,
		.disk = d->label,
		.progress = on_progress,
		.done = on_copied,
		.data = d};

	s->converting = qemu_img_convert(s->loop, &copy, &err);
	if (!s->converting)
		disk_done(s, &err);
}

void convert_disks(struct qmpsnap_snapshot *s, snapshot_fn *then)
{
	disks_in_order(s, copy_disk, then);
}

/* A process that hangs in the kernel is not waited for: the guest may be standing still. */
void convert_cancel(struct qmpsnap_snapshot *s)
{
	struct qemu_img *img = s->converting;

	s->converting = NULL;
	if (!img)
		return;
	qemu_img_abandon(img);
	disk_done(s, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Copies made by qemu-img into spools, one disk after the other; qemu-img uses many requests at a
 * time itself. */
#include "base/log.h"
#include "base/units.h"
#include "blockops/qemu_img.h"
#include "blockops/scratch_file.h"
#include "blockops/steps.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- What the copies would take ---- */

/* vdi allocates 1 MiB at a time, the others 64 KiB or less. */
static unsigned cluster_bytes(const struct snapshot_disk *d)
{
	return d->format == QMPSNAP_VDI ? 1 << 20 : CLUSTER_BYTES;
}

/* By what the files take, which is little where they are compressed. */
static uint64_t guessed_bytes(const struct snapshot_disk *d)
{
	const uint64_t allocated = source_allocated_bytes(d->source);

	return allocated < d->virtual_size_bytes ? allocated : d->virtual_size_bytes;
}

/* What was measured counts a whole disk's metadata, as much as vmdk has, and raw has none. */
static uint64_t measured_bytes(const struct snapshot_disk *d, int64_t required, int64_t full)
{
	const uint64_t cluster = cluster_bytes(d);
	const uint64_t size = (d->virtual_size_bytes + cluster - 1) / cluster * cluster;
	const uint64_t metadata = (uint64_t)full > size ? (uint64_t)full - size : 0;

	if (d->format != QMPSNAP_RAW)
		return (uint64_t)required;
	return (uint64_t)required > metadata ? (uint64_t)required - metadata : 0;
}

/* The measuring doesn't see what is only in a running QEMU's caches, such as the tables of a qcow2:
 * the larger of both.  Without an answer the copy is still bounded while it is made. */
static void on_measured(const struct qmpsnap_error *err, struct json_object *info, void *data)
{
	struct snapshot_disk *d = data;
	const int64_t required = json_int(info, "required", -1);
	const int64_t full = json_int(info, "fully-allocated", -1);

	d->snapshot->converting = NULL;
	d->needed_bytes = guessed_bytes(d);
	if (err)
		log_line(QMPSNAP_LOG_INFO, "%s", err->message);
	else if (required > 0 && full > 0) {
		const uint64_t measured = measured_bytes(d, required, full);
		if (measured > d->needed_bytes)
			d->needed_bytes = measured;
	}
	disk_done(d->snapshot, NULL);
}

static void measure_disk(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	struct qmpsnap_error err;

	s->converting = qemu_img_measure(
		s->loop, d->source, d->label, cluster_bytes(d), on_measured, d, &err);
	if (!s->converting)
		disk_done(s, &err);
}

void convert_measure(struct qmpsnap_snapshot *s)
{
	disks_in_order(s, measure_disk, NULL);
}

/* ---- spool ---- */

/* qemu-img cuts its output to nothing first, so nothing can be reserved in it. */
bool convert_has_room(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	char needed_text[UNITS_TEXT_BYTES], room_text[UNITS_TEXT_BYTES];
	uint64_t room = 0, needed = 0;

	if (!scratch_file_room(s, &room, err))
		return false;
	for (size_t i = 0; i < s->n_disks; i++)
		needed += s->disks[i].needed_bytes;
	s->convert_most_bytes = room;
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

static void end_watch(struct qmpsnap_snapshot *s)
{
	room_watch_stop(s->room_watch);
	s->room_watch = NULL;
}

static void on_copied(const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;
	struct qmpsnap_snapshot *s = d->snapshot;
	struct qmpsnap_error mine = {0};
	struct stat st = {0};

	s->converting = NULL;
	if (!err && !room_watch_fits(s->room_watch, &mine))
		err = &mine;
	end_watch(s);
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

/* A process that hangs in the kernel is not waited for: the guest may be standing still. */
static bool abandon(struct qmpsnap_snapshot *s)
{
	struct qemu_img *img = s->converting;

	s->converting = NULL;
	end_watch(s);
	if (img)
		qemu_img_abandon(img);
	return img;
}

static void on_full(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	if (abandon(s))
		disk_done(s, err);
}

/* qemu-img tells of whole percents, and one of a large disk can take longer than a stall may. */
static void on_grew(void *data)
{
	deadlines_moved(data);
}

/* What is left of the room beside the other disks' copies. */
static uint64_t left_bytes(const struct qmpsnap_snapshot *s, const struct snapshot_disk *d)
{
	uint64_t taken = 0;

	for (size_t i = 0; i < s->n_disks; i++)
		taken += &s->disks[i] == d ? 0 : scratch_used_bytes(&s->disks[i]);
	return s->convert_most_bytes > taken ? s->convert_most_bytes - taken : 0;
}

static bool watch_room(struct snapshot_disk *d, uint64_t most_bytes, struct qmpsnap_error *err)
{
	struct qmpsnap_snapshot *s = d->snapshot;
	const struct room_watch_options options = {.fd = d->scratch_fd,
		.most_bytes = most_bytes,
		.keep_free_bytes = scratch_file_kept_bytes(d),
		.disk = d->label,
		.folder = scratch_file_folder(s),
		.grew = on_grew,
		.full = on_full,
		.data = s};

	if (!most_bytes)
		return room_watch_refuse(d->label, most_bytes, err);
	s->room_watch = room_watch_start(s->loop, &options, err);
	return s->room_watch;
}

/* A raw copy is as long as the disk from the start, full of holes: only its blocks tell. */
static void copy_disk(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	struct qmpsnap_error err;
	const uint64_t most_bytes = left_bytes(s, d);
	const struct qemu_img_copy copy = {.source = d->source,
		.to_fd = d->scratch_fd,
		.format = d->format,
		.speed_bytes_per_s = s->speed.is_auto ? 0 : s->pace.bytes_per_s,
		.most_bytes = d->format == QMPSNAP_RAW ? 0 : most_bytes,
		.disk = d->label,
		.progress = on_progress,
		.done = on_copied,
		.data = d};

	if (watch_room(d, most_bytes, &err))
		s->converting = qemu_img_convert(s->loop, &copy, &err);
	if (s->converting)
		return;
	end_watch(s);
	disk_done(s, &err);
}

void convert_disks(struct qmpsnap_snapshot *s, snapshot_fn *then)
{
	disks_in_order(s, copy_disk, then);
}

void convert_cancel(struct qmpsnap_snapshot *s)
{
	if (abandon(s))
		disk_done(s, NULL);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * The file itself: its folder, its room, its first bytes, its end. */
#include "blockops/scratch_file.h"

#include "base/log.h"
#include "blockops/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { SCRATCH_LEAST_BYTES = 1024 * 1024 };

uint64_t scratch_used_bytes(const struct snapshot_disk *d)
{
	struct stat st;

	if (d->scratch_written_bytes)
		return d->scratch_written_bytes;
	if (d->scratch_fd < 0 || fstat(d->scratch_fd, &st) < 0)
		return 0;
	return (uint64_t)st.st_blocks * 512;
}

const char *scratch_file_folder(const struct qmpsnap_snapshot *s)
{
	const char *tmp = getenv("TMPDIR");

	if (s->scratch_dir)
		return s->scratch_dir;
	return tmp && tmp[0] == '/' ? tmp : "/var/tmp";
}

/* ---- The room ---- */

static bool takes_files(const char *folder)
{
	struct stat st;

	if (stat(folder, &st) < 0)
		return false;
	if (!S_ISDIR(st.st_mode)) {
		errno = ENOTDIR;
		return false;
	}
	return faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) == 0;
}

/* What others on this host are left. */
static uint64_t kept_bytes(const struct statvfs *fs)
{
	const uint64_t gib = UINT64_C(1) << 30;
	const uint64_t twentieth = (uint64_t)fs->f_blocks * fs->f_frsize / 20;

	return twentieth > gib ? twentieth : gib;
}

bool scratch_file_room(
	const struct qmpsnap_snapshot *s, uint64_t *room_bytes, struct qmpsnap_error *err)
{
	const char *folder = scratch_file_folder(s);
	struct statvfs fs;

	*room_bytes = s->scratch_limit_bytes;
	if (!takes_files(folder) || statvfs(folder, &fs) < 0) {
		error_errno(err, QMPSNAP_REFUSED, errno, "the scratch folder %s", folder);
		error_hint(err, "name another folder with --scratch");
		return false;
	}
	if (*room_bytes)
		return true;
	const uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize, keep = kept_bytes(&fs);
	*room_bytes = free_bytes > keep ? free_bytes - keep : 0;
	return true;
}

uint64_t scratch_file_kept_bytes(const struct snapshot_disk *d)
{
	struct statvfs fs;

	if (d->snapshot->scratch_limit_bytes || fstatvfs(d->scratch_fd, &fs) < 0)
		return 0;
	return kept_bytes(&fs);
}

uint64_t scratch_file_most_bytes(const struct snapshot_disk *d)
{
	const uint64_t size = d->virtual_size_bytes + d->virtual_size_bytes / 1024;

	return (size / CLUSTER_BYTES + 64) * CLUSTER_BYTES;
}

bool scratch_file_share(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	uint64_t limit = 0, whole = 0;

	if (!scratch_file_room(s, &limit, err))
		return false;
	for (size_t i = 0; i < s->n_disks; i++)
		whole += scratch_file_most_bytes(&s->disks[i]);
	for (size_t i = 0; i < s->n_disks; i++) {
		struct snapshot_disk *d = &s->disks[i];
		const uint64_t useful = scratch_file_most_bytes(d);
		const double part = (double)useful / (double)whole;
		const uint64_t share = (uint64_t)((double)limit * part);
		d->scratch_limit_bytes = share > useful ? useful : share;
		d->scratch_limit_bytes -= d->scratch_limit_bytes % CLUSTER_BYTES;
		if (d->scratch_limit_bytes >= SCRATCH_LEAST_BYTES)
			continue;
		error_set(err, QMPSNAP_REFUSED,
			"disk %s: no room for its scratch in %s: %llu bytes are left for it, at "
			"least %u are needed",
			d->label, scratch_file_folder(s), (unsigned long long)share,
			(unsigned)SCRATCH_LEAST_BYTES);
		error_hint(err, "name a roomier folder with --scratch, or raise --scratch-limit");
		return false;
	}
	return true;
}

/* ---- The file ---- */

/* A QEMU before 8.2 keeps a removed descriptor set listed while its guest isn't running (measured
 * on 5.2 and 7.2, not on 10.0), so such a guest is first offered a path that is gone a moment
 * later.  With the QEMU of another user that fails, and the descriptor serves. */
bool scratch_file_open(struct snapshot_disk *d, struct qmpsnap_error *err)
{
	const char *folder = scratch_file_folder(d->snapshot);
	char *path = NULL;

	d->by_path = d->snapshot->by_paths || !guest_is_running(&d->snapshot->guest);
	if (!d->by_path)
		d->scratch_fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (d->scratch_fd >= 0)
		return true;
	if (asprintf(&path, "%s/.qmpsnap-%s-s%u.scratch", folder, d->snapshot->run, d->index) < 0)
		return error_no_memory(err);
	d->scratch_path = path;
	if (!record_scratch(d, err))
		return false;
	d->scratch_fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (d->scratch_fd < 0) {
		error_errno(err, QMPSNAP_REFUSED, errno, "the scratch file %s", path);
		error_hint(err, "name another folder with --scratch");
		return false;
	}
	return true;
}

bool scratch_file_write_qcow2(
	struct snapshot_disk *d, uint64_t length_bytes, struct qmpsnap_error *err)
{
	struct cluster_map map = {0};
	struct layout layout;
	uint8_t bytes[4096];
	bool well = ftruncate(d->scratch_fd, (off_t)length_bytes) == 0;

	if (!well)
		return error_errno(err, QMPSNAP_REFUSED, errno,
			"disk %s: a scratch file of %llu bytes", d->label,
			(unsigned long long)length_bytes);
	if (!cluster_map_init(&map, d->virtual_size_bytes, err))
		return false;
	cluster_map_seal(&map);
	layout_init(&layout, QMPSNAP_QCOW2, &map);
	for (uint64_t at = 0; well && at < layout.size_bytes;) {
		struct segment segment;
		layout_at(&layout, at, sizeof(bytes), &segment);
		layout_fill(&layout, &segment, bytes);
		well = pwrite(d->scratch_fd, bytes, segment.len, (off_t)at) == segment.len;
		at += segment.len;
	}
	cluster_map_free(&map);
	return well ||
	       error_errno(err, QMPSNAP_REFUSED, errno, "disk %s: the scratch file", d->label);
}

/* ---- The reservation ---- */

static void reserve(uv_work_t *work)
{
	struct snapshot_disk *d = work->data;

	d->reserve_errno = 0;
	if (d->reserve_bytes > 0 && /* no bytes are an error to it */
		fallocate(d->scratch_fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)d->reserve_bytes) < 0)
		d->reserve_errno = errno;
}

static void on_reserved(uv_work_t *work, int status)
{
	struct snapshot_disk *d = work->data;
	struct qmpsnap_error err = {0};

	if (status < 0)
		d->reserve_errno = -status;
	if (d->reserve_errno)
		error_errno(&err, QMPSNAP_REFUSED, d->reserve_errno,
			"disk %s: %llu bytes can't be reserved in %s", d->label,
			(unsigned long long)d->reserve_bytes, scratch_file_folder(d->snapshot));
	d->reserved_fn(d, d->reserve_errno ? &err : NULL);
}

void scratch_file_reserve(struct snapshot_disk *d, uint64_t bytes, scratch_done_fn *then)
{
	d->reserved_fn = then;
	d->reserve_bytes = bytes;
	d->reserve_work.data = d;
	(void)uv_queue_work(d->snapshot->loop, &d->reserve_work, reserve, on_reserved);
}

bool scratch_file_system_holds(uint32_t magic)
{
	static const uint32_t holding[] = {
		EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, TMPFS_MAGIC, OVERLAYFS_SUPER_MAGIC};
	size_t i = 0;

	while (i < sizeof(holding) / sizeof(holding[0]) && holding[i] != magic)
		i++;
	return i < sizeof(holding) / sizeof(holding[0]);
}

bool scratch_file_reservation_holds(const struct snapshot_disk *d)
{
	struct statfs fs;

	return fstatfs(d->scratch_fd, &fs) == 0 && scratch_file_system_holds((uint32_t)fs.f_type);
}

bool scratch_file_folder_holds(const struct qmpsnap_snapshot *s)
{
	struct statfs fs;

	return statfs(scratch_file_folder(s), &fs) == 0 &&
	       scratch_file_system_holds((uint32_t)fs.f_type);
}

uint64_t scratch_file_free_bytes(const struct snapshot_disk *d)
{
	struct statvfs fs;

	if (fstatvfs(d->scratch_fd, &fs) < 0)
		return 0;
	return (uint64_t)fs.f_bavail * fs.f_frsize;
}

static bool lacks_free_bytes(const struct snapshot_disk *d)
{
	struct statvfs fs;

	return fstatvfs(d->scratch_fd, &fs) == 0 && fs.f_blocks > 0 &&
	       (uint64_t)fs.f_bavail * fs.f_frsize < SCRATCH_LEAST_BYTES;
}

bool scratch_file_is_full(const struct snapshot_disk *d)
{
	struct stat st;

	if (d->scratch_fd < 0 || fstat(d->scratch_fd, &st) < 0)
		return false;
	const uint64_t taken = (uint64_t)st.st_blocks * 512;
	if (taken >= scratch_file_most_bytes(d))
		return false;
	if (fallocate(d->scratch_fd, FALLOC_FL_KEEP_SIZE, 0,
		    (off_t)(taken + SCRATCH_LEAST_BYTES)) == 0)
		return false;
	if (errno == EOPNOTSUPP)
		return lacks_free_bytes(d);
	return errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
}

/* ---- Its end ---- */

void scratch_file_drop(struct snapshot_disk *d)
{
	const uint64_t used = scratch_used_bytes(d);

	if (used > d->scratch_seen_bytes)
		d->scratch_seen_bytes = used;
	if (d->scratch_path)
		(void)unlink(d->scratch_path);
	free(d->scratch_path);
	d->scratch_path = NULL;
	if (d->scratch_fd < 0)
		return;
	/* Out of reach, or with a node over it, QEMU may still write to it, and stop the guest when
	 * it can't. */
	if (!d->snapshot->out_of_reach && !d->node_stands && ftruncate(d->scratch_fd, 0) < 0)
		log_line(QMPSNAP_LOG_WARNING,
			"disk %s: the scratch keeps its bytes until QEMU closes it", d->label);
	close(d->scratch_fd);
	d->scratch_fd = -1;
}

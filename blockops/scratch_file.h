/* SPDX-License-Identifier: Apache-2.0
 *
 * scratch_file.h - a file of ours on this host that QEMU writes: what the guest overwrites, or the
 * copy of a disk.  Each disk of a snapshot has at most one; it is d->scratch_fd.  The pin of a
 * snapshot (steps_pin.c), which is no disk's, is a file that QEMU only reads.
 *
 * The order: _share() once, then for each disk _open(), _write_qcow2() or ftruncate(),
 * _reserve() if the method needs it, _add_node(); undo: the node's deletion, then
 * _drop(), then _remove_fdset().  The guard is told of the file on the way.
 */
#ifndef BLOCKOPS_SCRATCH_FILE_H
#define BLOCKOPS_SCRATCH_FILE_H

#include "blockops/snapshot.h"

/* The folder of the files: --scratch, else $TMPDIR, else /var/tmp. */
const char *scratch_file_folder(const struct qmpsnap_snapshot *s);

/* What the files of all disks may take together: --scratch-limit, else the free space of their
 * folder less the larger of 5 % and 1 GiB.  REFUSED: files can't be made in the folder. */
bool scratch_file_room(
	const struct qmpsnap_snapshot *s, uint64_t *room_bytes, struct qmpsnap_error *err);

/* What the file system of the disk's file must have left while it grows: as above; 0 with
 * --scratch-limit. */
uint64_t scratch_file_kept_bytes(const struct snapshot_disk *d);

/* A qcow2 with all of the disk in it: nothing needs more. */
uint64_t scratch_file_most_bytes(const struct snapshot_disk *d);

/* Shares the room out, d->scratch_limit_bytes, to each disk as much as its part of the whole and
 * at most scratch_file_most_bytes().  REFUSED when a disk gets less than 1 MiB. */
bool scratch_file_share(struct qmpsnap_snapshot *s, struct qmpsnap_error *err);

/* Makes the file, 0600, empty; unlinked from the start unless the guest isn't running: then
 * d->by_path is set and it has a name (d->scratch_path) until QEMU has opened it.  REFUSED. */
bool scratch_file_open(struct snapshot_disk *d, struct qmpsnap_error *err);

/* Makes it an empty qcow2 of the disk's size at the front of a sparse file of `length_bytes`.
 * REFUSED. */
bool scratch_file_write_qcow2(
	struct snapshot_disk *d, uint64_t length_bytes, struct qmpsnap_error *err);

/* Takes the first `bytes` of the file from the file system (fallocate, in the thread pool; the
 * file's length stays).  `then` fires once, later; `err` is NULL, or REFUSED with errno as its
 * detail: ENOSPC, EOPNOTSUPP, ... */
typedef void scratch_done_fn(struct snapshot_disk *d, const struct qmpsnap_error *err);
void scratch_file_reserve(struct snapshot_disk *d, uint64_t bytes, scratch_done_fn *then);

/* Whether a file system, by its number in statfs(2), keeps what was reserved for what is written
 * later.  Known of ext2 to ext4, XFS and tmpfs, and of overlayfs, which hands it on to the file
 * system below (ovl_fallocate()): containers have it on ext4 or XFS (Docker's storage driver
 * overlay2 asks for one of them).  All others count as not: btrfs takes new room when a block is
 * written once more, and ZFS' fallocate only looks whether there is room (OpenZFS,
 * zpl_fallocate_common()). */
bool scratch_file_system_holds(uint32_t magic);
bool scratch_file_reservation_holds(const struct snapshot_disk *d);
/* The same of the folder, before there is a file. */
bool scratch_file_folder_holds(const struct qmpsnap_snapshot *s);

/* What the file system has left for others than root. */
uint64_t scratch_file_free_bytes(const struct snapshot_disk *d);

/* Whether the file can't grow any more although the disk may need it to; tried with fallocate, and
 * where the file system has none (NFS before 4.2, FUSE, ext2), by its free bytes, if it has a size
 * at all (ramfs has none). */
bool scratch_file_is_full(const struct snapshot_disk *d);

/* The arguments of the blockdev-add that makes QEMU open `filename`; owned by the caller. */
typedef struct json_object *scratch_node_fn(const struct snapshot_disk *d, const char *filename);

/* Has QEMU open the file as make_node() says: by its path if it has one, else, or when QEMU may
 * not, by a descriptor (add-fd, labelled with our name of that `role`).  The name is gone
 * afterwards.  `then` fires once, later, with QEMU's answer, inside whose callback it is (`err` is
 * NULL, or see qmp_reply_fn), and ends in disk_done(); what keeps QEMU from being asked is the
 * step's error, without `then`. */
void scratch_file_add_node(struct snapshot_disk *d, const char *role, scratch_node_fn *make_node,
	scratch_done_fn *then);
/* The usual `then`: an error is the step's. */
scratch_done_fn scratch_file_added;

/* ---- Undo; all of it is idempotent ---- */

/* Ends the file: its bytes go now, even where QEMU or a guard still holds it. */
void scratch_file_drop(struct snapshot_disk *d);

/* Removes any descriptor set that carries our name of that role.  Ends in disk_done(). */
void scratch_file_remove_fdset(struct snapshot_disk *d, const char *role);

#endif

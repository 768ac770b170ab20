/* SPDX-License-Identifier: Apache-2.0
 *
 * qemu_img.h - qemu-img and qemu-nbd as children, on a source (source.h) that says every format.
 */
#ifndef BLOCKOPS_QEMU_IMG_H
#define BLOCKOPS_QEMU_IMG_H

#include "blockops/child.h"
#include "blockops/source.h"

struct qemu_img;

typedef void qemu_img_progress_fn(double percent, void *data);
typedef void qemu_img_done_fn(const struct qmpsnap_error *err /* NULL: well */, void *data);
/* What qemu-img says of an image, borrowed; of info {"virtual-size": ..., ...}. */
typedef void qemu_img_info_fn(
	const struct qmpsnap_error *err, struct json_object *info, void *data);

struct qemu_img_copy {
	const struct source *source;
	int to_fd; /* an empty file, opened for reading and writing */
	enum qmpsnap_format format; /* of the copy; QMPSNAP_FORMAT_AUTO isn't one */
	uint64_t speed_bytes_per_s; /* 0: no limit */
	uint64_t most_bytes; /* of the file, past which the copy fails; 0: no limit */
	const char *disk; /* what messages call it; borrowed until `done` */
	qemu_img_progress_fn *progress; /* may be NULL */
	qemu_img_done_fn *done;
	void *data;
};

/* Copies an image (qemu-img convert).  `done` fires once, later, and it is freed.  Errors, at once
 * or later: REFUSED (there is no qemu-img; the source is locked), VIEW (the copy has no room), QEMU
 * (anything else that qemu-img says).  All of `copy` but `source` and what is said above is
 * borrowed for the call; the source until `done`. */
struct qemu_img *qemu_img_convert(
	uv_loop_t *loop, const struct qemu_img_copy *copy, struct qmpsnap_error *err);

/* Asks about an image without reading its data (qemu-img info): also whether it can be opened at
 * all, and isn't locked.  As above. */
struct qemu_img *qemu_img_info(uv_loop_t *loop, const struct source *source, const char *disk,
	qemu_img_info_fn *done, void *data, struct qmpsnap_error *err);

/* Asks how long a qcow2 with clusters of `cluster_bytes` would be that holds what the image and all
 * that it stands on hold (qemu-img measure): {"required": ..., "fully-allocated": ...}; the former
 * counts the metadata of a full one.  As above. */
struct qemu_img *qemu_img_measure(uv_loop_t *loop, const struct source *source, const char *disk,
	unsigned cluster_bytes, qemu_img_info_fn *done, void *data, struct qmpsnap_error *err);

/* Serves an image read-only over NBD (qemu-nbd), as the export "", to `n_clients` clients of the
 * listening socket `listen_fd`.  `done` fires once, when it has ended, always with an error: by
 * itself it ends only for a reason. */
struct qemu_img *qemu_img_serve(uv_loop_t *loop, const struct source *source, const char *disk,
	int listen_fd, unsigned n_clients, qemu_img_done_fn *done, void *data,
	struct qmpsnap_error *err);

/* SIGKILL; `done` follows. */
void qemu_img_kill(struct qemu_img *img);

/* SIGKILL, and `done` doesn't follow: for when nobody can wait until the kernel lets it die. */
void qemu_img_abandon(struct qemu_img *img);

/* One line of what it printed on its standard error: the first complaint, the names by which the
 * files were handed over turned into theirs.  For tests, too. */
void qemu_img_explain(
	const struct source *source, const char *errors, char *line, size_t line_bytes);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * source.h - what another program (qemu-img, qemu-nbd) is told of a disk: its block nodes as
 * QEMU's -blockdev options in JSON, every format named, every file an open descriptor of ours.  A
 * format is never probed (a guest can write a qcow2 header into its raw disk) and no file is looked
 * up by name once more.  What can't be said that way is refused.
 *
 * Sources: QEMU's QMP reference (BlockdevOptions), docs/interop/qcow2.txt.
 */
#ifndef BLOCKOPS_SOURCE_H
#define BLOCKOPS_SOURCE_H

#include "base/error.h"
#include "base/json.h"

enum {
	SOURCE_FIRST_FD = 4, /* the first file's number in the program that opens it */
	SOURCE_MAX_FILES = 64,
};

struct source {
	struct json_object *node; /* owned */
	char *name; /* owned: "json:{...}", the node as an image's name */
	char *bare_name; /* owned: the same without what it stands on, for qemu-img info */
	int fds[SOURCE_MAX_FILES]; /* owned; the i-th is SOURCE_FIRST_FD + i there */
	char *paths[SOURCE_MAX_FILES]; /* owned: what messages call them */
	size_t n_files;
};

/* Opens a file that a node of the guest names, read-only: a descriptor, or -1 and *err (REFUSED).
 */
typedef int source_open_fn(const char *filename, void *data, struct qmpsnap_error *err);

struct source_graph {
	struct json_object *nodes; /* query-named-block-nodes' reply */
	struct json_object *graph; /* x-debug-query-block-graph's: QEMU's only word on children */
	source_open_fn *open;
	void *data;
};

/* The disk below QEMU's node `node`, opened again beside QEMU: its locks are not asked for.
 * `virtual_size_bytes` as QEMU has it now.  NULL and *err (REFUSED) with the reason. */
struct source *source_of_node(const struct source_graph *graph, const char *node,
	uint64_t virtual_size_bytes, struct qmpsnap_error *err);

/* The image file `path` of the given format; `force_share`: also if somebody
 * has locked it, else it gets locked (image_lock.h).  USAGE
 * for a format that there isn't; REFUSED when it can't be opened, isn't of that format or stands on
 * something that can't be said. */
struct source *source_of_file(
	const char *path, const char *format, bool force_share, struct qmpsnap_error *err);

/* Whether it is a block device of the host as it is, without an image format on it. */
bool source_is_raw_device(const struct source *source);

/* What its files take on the host; UINT64_MAX where that isn't known. */
uint64_t source_allocated_bytes(const struct source *source);

/* NULL is fine. */
void source_free(struct source *source);

/* ---- For the two above ---- */

/* Empty; NULL and *err without memory. */
struct source *source_new(struct qmpsnap_error *err);

/* Adds an open file, taken over in any case.  A block device becomes a host_device node, all else
 * but a regular file is refused. */
struct json_object *source_add_file(
	struct source *source, int fd, const char *path, struct qmpsnap_error *err);

/* Sets node (taken over in any case) and name. */
bool source_finish(struct source *source, struct json_object *node, struct qmpsnap_error *err);

/* A node of the image format `driver` on `file` (taken over in any case). */
struct json_object *source_format_node(const char *driver, struct json_object *file);

/* Whether `driver` is an image format in one file that QEMU reads; and whether such an image may
 * stand on a backing file. */
bool source_is_format(const char *driver);
bool source_has_backing(const char *driver);

#endif

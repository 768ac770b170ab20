/* SPDX-License-Identifier: Apache-2.0
 *
 * file_stream.h - an image stream (base/stream.h) over a local file, for the methods that have the
 * image, or a raw copy of the disk, in one: a ring of blocks per reader, filled ahead of the
 * consumer by reads in libuv's thread pool.  What the file system calls a hole (lseek(2),
 * SEEK_DATA) is not read, and a block that is all hole is a `zero` one.
 */
#ifndef BLOCKOPS_FILE_STREAM_H
#define BLOCKOPS_FILE_STREAM_H

#include "base/stream.h"
#include "blockops/pace.h"

#include <uv.h>

/* Embedded by its owner; no handles of its own, so there is nothing to close.  It must outlive its
 * readers. */
struct file_stream {
	struct stream stream; /* what consumers get; ops is NULL before file_stream_init() */
	uv_loop_t *loop;
	int fd;
	const char *disk;
	unsigned ring_blocks;
	struct pace *pace;
};

/* The bytes [0, size_bytes) of `fd`, read by pread(2), in blocks of `block_bytes` (a multiple of
 * 64 KiB).  Afterwards the owner sets what isn't the default: `ring_blocks` (4), the blocks of a
 * reader, and `pace` (NULL: none).  `fd`, `disk` (what messages call it) and `pace` are borrowed;
 * `fd` stays open until the readers are closed.  A reader's errors: VIEW, a file that can't be
 * read or ends before its size; what was read before stays. */
void file_stream_init(struct file_stream *file, uv_loop_t *loop, int fd, const char *disk,
	uint64_t size_bytes, uint32_t block_bytes);

#endif

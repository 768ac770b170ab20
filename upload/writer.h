/* SPDX-License-Identifier: Apache-2.0
 *
 * writer.h - writes what a pump brings into a file, several writes in flight on the thread pool.
 */
#ifndef UPLOAD_WRITER_H
#define UPLOAD_WRITER_H

#include "upload/pump.h"

struct writer;

typedef void writer_done_fn(const struct qmpsnap_error *err /* NULL: well */, void *data);

struct writer_options {
	uv_loop_t *loop;
	int fd; /* empty, seekable; borrowed */
	bool direct; /* it was opened with O_DIRECT */
	bool sparse; /* blocks known to be zero become holes */
	const char *path; /* for messages; borrowed */
};

/* Takes all of `pump`, which is the writer's until `done`: every byte is written, and hashed if
 * the pump hashes, or `err` says why not (STORE, the pump's error, or that of writer_stop()).
 * The file may be up to STREAM_ALIGN_BYTES longer than the stream, or end in a missing hole: set
 * its length.  Frees itself before `done`.  NULL and *err without memory. */
struct writer *writer_start(const struct writer_options *options, struct pump *pump,
	writer_done_fn *done, void *data, struct qmpsnap_error *err);

/* Gives up: `done` follows soon, with an error. */
void writer_stop(struct writer *w);

/* Whether `size_bytes` fit into the file system of `fd`, be it that of `path` itself or of its
 * folder.  Of a sparse file nobody knows how many will be holes: too little space for all its bytes
 * is only worth a warning.  Errors: STORE. */
bool writer_has_room(
	int fd, uint64_t size_bytes, bool sparse, const char *path, struct qmpsnap_error *err);

/* Fails early when `size_bytes` can't fit into the file system of `fd`, and reserves them where
 * it can.  A sparse file is not reserved; see writer_has_room().  Blocks. */
bool writer_reserve(
	int fd, uint64_t size_bytes, bool sparse, const char *path, struct qmpsnap_error *err);

#endif

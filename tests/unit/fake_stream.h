/* SPDX-License-Identifier: Apache-2.0
 *
 * fake_stream.h - an image stream out of nothing: blocks of a pattern that tells every offset from
 * every other, delivered with a delay, failing where asked to, and counting what is outstanding.
 */
#ifndef TESTS_FAKE_STREAM_H
#define TESTS_FAKE_STREAM_H

#include "base/stream.h"

#include <uv.h>

struct fake_stream {
	struct stream base; /* size_bytes and block_bytes: set them after fake_stream_init() */
	uv_loop_t *loop;

	/* How it behaves; all 0 by fake_stream_init(). */
	unsigned ring_blocks; /* 0: 8 */
	uint64_t delay_ms; /* before each delivery */
	unsigned per_delivery; /* blocks; 0: all that the ring has room for */
	uint64_t fail_at; /* offset of the first block that fails; 0: none */
	unsigned zero_every; /* every so-manieth block is zero and says so; 0: none */
	bool constant; /* all blocks have the bytes of the first few: fast, for benches */
	uint64_t seed; /* another one, other bytes */

	/* What was seen. */
	unsigned opened, open; /* readers, ever and now */
	unsigned held, most_held; /* blocks ready and not released */
};

/* 64 KiB blocks. */
void fake_stream_init(struct fake_stream *s, uv_loop_t *loop, uint64_t size_bytes);

/* The bytes at [offset, offset + len) of a stream that isn't `constant`. */
void fake_stream_bytes(const struct fake_stream *s, uint64_t offset, uint8_t *bytes, size_t len);

/* The digest of the whole stream in hex; `algorithm` is OpenSSL's name. */
void fake_stream_digest(const struct fake_stream *s, const char *algorithm, char hex[static 129]);

/* Whether the file holds just the stream's bytes. */
bool fake_stream_equals_file(const struct fake_stream *s, const char *path);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * stream.h - the interface through which the disk side hands the bytes of an image to the store
 * side: the total size is known, and any range can be read again for as long as the point in time
 * is held (a retry, a second digest, parts in parallel).
 *
 * The consumer pulls.  A reader owns a fixed ring of blocks and fills it ahead of the consumer; a
 * consumer that doesn't release blocks holds the reader back, and that is all the flow control
 * there is.
 */
#ifndef BASE_STREAM_H
#define BASE_STREAM_H

#include <qmpsnap.h>

struct stream_reader;

/* Every block but the last of a reader has exactly stream.block_bytes (a multiple of 64 KiB) and
 * begins at an address and a stream offset aligned to STREAM_ALIGN_BYTES (given an aligned
 * `offset`), as O_DIRECT wants them. */
enum { STREAM_ALIGN_BYTES = 4096 };

struct stream_block {
	const uint8_t *data; /* always readable, also when `zero` */
	uint32_t len; /* bytes */
	bool zero; /* all zeroes, and known to be: a sparse file may skip it */
};

/* Blocks became ready, or the reader failed.  Never called from within a call into the reader. */
typedef void stream_ready_fn(void *data);
typedef void stream_closed_fn(void *data);

struct stream_reader_ops {
	/* The i-th block that is ready and not yet released (0: the oldest), or NULL when it isn't
	 * ready.  Valid until released. */
	const struct stream_block *(*block)(struct stream_reader *r, size_t i);
	/* Gives the n oldest blocks back.  They may be overwritten at once. */
	void (*release)(struct stream_reader *r, size_t n);
	/* NULL while all is well; else why no more blocks will come.  Blocks that are ready stay.
	 */
	const struct qmpsnap_error *(*error)(const struct stream_reader *r);
	/* Ends and frees it; `closed` follows, later, when no read is in flight any more. */
	void (*close)(struct stream_reader *r, stream_closed_fn *closed, void *data);
};

struct stream_reader {
	const struct stream_reader_ops *ops;
};

struct stream;

struct stream_ops {
	/* Opens a reader over [offset, offset + length); several at once are fine.  NULL and *err
	 * when it can't. */
	struct stream_reader *(*open)(struct stream *s, uint64_t offset, uint64_t length,
		stream_ready_fn *ready, void *data, struct qmpsnap_error *err);
};

struct stream {
	const struct stream_ops *ops;
	uint64_t size_bytes;
	uint32_t block_bytes;
	unsigned readers; /* how many the consumer will have at once, set by it before; 0: one */
};

/* The blocks of one reader's ring, where `ring_blocks` are for all of a stream's: four at least,
 * since with fewer its consumer waits all the time. */
static inline unsigned stream_ring_share(const struct stream *s, unsigned ring_blocks)
{
	const unsigned share = s->readers > 1 ? ring_blocks / s->readers : ring_blocks;
	const unsigned least = ring_blocks < 4 ? ring_blocks : 4;

	return share > least ? share : least;
}

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * reader.h - the image stream (base/stream.h): a ring of blocks filled ahead of the consumer,
 * guest data by NBD reads straight into the blocks, tables by the layout.
 */
#ifndef BLOCKOPS_READER_H
#define BLOCKOPS_READER_H

#include "base/stream.h"
#include "blockops/layout.h"
#include "blockops/pace.h"

struct view;

struct image_stream {
	struct stream stream;
	struct view *view;
	const struct layout *layout;
	unsigned ring_blocks;
	struct pace *pace; /* NULL: none */
	bool find_zeroes; /* blocks that turn out to hold only zeroes are told as `zero` */
};

/* All borrowed. */
void image_stream_init(struct image_stream *image, struct view *view, const struct layout *layout,
	uint32_t block_bytes);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/range_stream.h"

#include <assert.h>

static struct stream_reader *open_reader(struct stream *base, uint64_t offset, uint64_t length,
	stream_ready_fn *ready, void *data, struct qmpsnap_error *err)
{
	const struct range_stream *range = (const struct range_stream *)base;

	assert(offset + length <= base->size_bytes);
	return range->whole->ops->open(
		range->whole, range->offset + offset, length, ready, data, err);
}

static const struct stream_ops ops = {.open = open_reader};

void range_stream_init(
	struct range_stream *range, struct stream *whole, uint64_t offset, uint64_t length)
{
	assert(offset % STREAM_ALIGN_BYTES == 0 && offset + length <= whole->size_bytes);
	*range = (struct range_stream){
		.base = {.ops = &ops, .size_bytes = length, .block_bytes = whole->block_bytes},
		.whole = whole,
		.offset = offset};
}

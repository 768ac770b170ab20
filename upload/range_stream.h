/* SPDX-License-Identifier: Apache-2.0
 *
 * range_stream.h - a range of a stream as a stream of its own.
 */
#ifndef UPLOAD_RANGE_STREAM_H
#define UPLOAD_RANGE_STREAM_H

#include "base/stream.h"

struct range_stream {
	struct stream base;
	struct stream *whole;
	uint64_t offset;
};

/* `whole` is borrowed; `offset` is a multiple of STREAM_ALIGN_BYTES. */
void range_stream_init(
	struct range_stream *range, struct stream *whole, uint64_t offset, uint64_t length);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/pump.h"

#include "base/error.h"
#include "upload/digest.h"
#include "upload/work.h"

#include <assert.h>
#include <stdlib.h>

/* Large enough to make the thread's wake-up cheap, small enough to give blocks back early. */
enum { DIGEST_BATCH_BYTES = 2 << 20 };

struct pump {
	struct pump_options options;
	struct stream_reader *reader; /* NULL: a stream without bytes */
	struct digest *digest;
	size_t sink_at, digest_at; /* blocks not yet released that each is past */
	uint64_t sink_bytes, digest_bytes;
	size_t batch_blocks; /* being hashed; 0: none */
	uint64_t batch_bytes;
	struct qmpsnap_error err;
	char hex[DIGEST_HEX_BYTES];
	pump_fn *event, *closed;
	void *event_data, *closed_data;
	struct work later;
};

static void hash_more(struct pump *p);
static void finish_closing(struct pump *p);

static void tell(const struct pump *p)
{
	if (p->event)
		p->event(p->event_data);
}

static void fail(struct pump *p, const struct qmpsnap_error *err)
{
	if (p->err.code == QMPSNAP_OK)
		p->err = *err;
}

static void release(struct pump *p)
{
	const size_t n = p->digest && p->digest_at < p->sink_at ? p->digest_at : p->sink_at;

	if (n == 0)
		return;
	p->sink_at -= n;
	p->digest_at = p->digest ? p->digest_at - n : 0;
	p->reader->ops->release(p->reader, n);
}

static void finish_digest(struct pump *p)
{
	struct qmpsnap_error err;

	if (p->digest && p->digest_bytes == p->options.stream->size_bytes &&
		!digest_finish(p->digest, p->hex, &err))
		fail(p, &err);
}

static void on_hashed(const struct qmpsnap_error *err, void *data)
{
	struct pump *p = data;

	p->digest_at += p->batch_blocks;
	p->digest_bytes += p->batch_bytes;
	p->batch_blocks = 0;
	if (p->closed) {
		finish_closing(p);
		return;
	}
	if (err)
		fail(p, err);
	release(p);
	finish_digest(p);
	hash_more(p);
	if (err || pump_finished(p))
		tell(p);
}

static void hash_more(struct pump *p)
{
	struct digest_part parts[DIGEST_BATCH];
	const struct stream_block *block;
	size_t n = 0;

	if (!p->digest || p->batch_blocks > 0 || p->closed || p->err.code != QMPSNAP_OK)
		return;
	p->batch_bytes = 0;
	while (n < DIGEST_BATCH && p->batch_bytes < DIGEST_BATCH_BYTES &&
		(block = p->reader->ops->block(p->reader, p->digest_at + n))) {
		parts[n++] = (struct digest_part){.data = block->data, .len = block->len};
		p->batch_bytes += block->len;
	}
	if (n == 0)
		return;
	p->batch_blocks = n;
	digest_add(p->digest, parts, n, on_hashed, p);
}

static void on_ready(void *data)
{
	struct pump *p = data;

	if (p->closed)
		return;
	const struct qmpsnap_error *err = p->reader->ops->error(p->reader);
	if (err)
		fail(p, err);
	hash_more(p);
	tell(p);
}

struct pump *pump_open(const struct pump_options *options, struct qmpsnap_error *err)
{
	struct stream *stream = options->stream;
	struct pump *p = calloc(1, sizeof(*p));

	if (!p) {
		error_no_memory(err);
		return NULL;
	}
	p->options = *options;
	if (options->digest && !(p->digest = digest_new(options->loop, options->digest, err))) {
		free(p);
		return NULL;
	}
	if (stream->size_bytes > 0 &&
		!(p->reader = stream->ops->open(stream, 0, stream->size_bytes, on_ready, p, err))) {
		digest_free(p->digest);
		free(p);
		return NULL;
	}
	if (stream->size_bytes == 0)
		finish_digest(p);
	return p;
}

void pump_on_event(struct pump *p, pump_fn *event, void *data)
{
	p->event = event;
	p->event_data = data;
}

const struct stream_block *pump_block(struct pump *p, size_t i)
{
	return p->reader ? p->reader->ops->block(p->reader, p->sink_at + i) : NULL;
}

void pump_take(struct pump *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p->sink_bytes += pump_block(p, i)->len;
	p->sink_at += n;
	assert(p->sink_bytes <= p->options.stream->size_bytes);
	release(p);
	if (n > 0 && p->options.progress)
		p->options.progress(p->sink_bytes, p->options.data);
}

uint64_t pump_left_bytes(const struct pump *p)
{
	return p->options.stream->size_bytes - p->sink_bytes;
}

bool pump_is_untouched(const struct pump *p)
{
	return p->sink_bytes == 0;
}

const struct qmpsnap_error *pump_error(const struct pump *p)
{
	return p->err.code == QMPSNAP_OK ? NULL : &p->err;
}

bool pump_finished(const struct pump *p)
{
	return pump_left_bytes(p) == 0 &&
	       (!p->digest || p->digest_bytes == p->options.stream->size_bytes);
}

const char *pump_digest(const struct pump *p)
{
	return p->hex;
}

static void on_reader_closed(void *data)
{
	struct pump *p = data;
	pump_fn *closed = p->closed;
	void *closed_data = p->closed_data;

	digest_free(p->digest);
	free(p);
	closed(closed_data);
}

static void on_nothing_to_close(const struct qmpsnap_error *err, void *self)
{
	(void)err;
	on_reader_closed(self);
}

static void finish_closing(struct pump *p)
{
	if (p->reader)
		p->reader->ops->close(p->reader, on_reader_closed, p);
	else
		work_report(&p->later, p->options.loop, NULL, on_nothing_to_close, p);
}

void pump_close(struct pump *p, pump_fn *closed, void *data)
{
	p->closed = closed;
	p->closed_data = data;
	if (p->batch_blocks == 0)
		finish_closing(p);
}

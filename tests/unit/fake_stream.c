/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_stream.h"

#include "base/error.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 64 * 1024, RING_BLOCKS = 8 };

struct fake_reader {
	struct stream_reader base;
	struct fake_stream *stream;
	uv_timer_t timer; /* with a delay */
	uv_idle_t idle; /* without: libuv would fire a timer of 0 ms again at once */
	unsigned n_handles;
	uint8_t *buffers;
	struct stream_block *blocks; /* a ring */
	unsigned n_ring, head, n_ready;
	uint64_t next, end;
	uint64_t filled; /* buffers, for constant streams */
	bool calling; /* out into the consumer */
	stream_ready_fn *ready;
	void *data;
	stream_closed_fn *closed;
	void *closed_data;
	struct qmpsnap_error err;
};

/* SplitMix64. */
static uint64_t word_at(uint64_t seed, uint64_t index)
{
	uint64_t z = (seed + index + 1) * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static bool zero_at(const struct fake_stream *s, uint64_t offset)
{
	return s->zero_every > 0 &&
	       (offset / s->base.block_bytes) % s->zero_every == s->zero_every - 1;
}

void fake_stream_bytes(const struct fake_stream *s, uint64_t offset, uint8_t *bytes, size_t len)
{
	while (len > 0) {
		const uint64_t word = zero_at(s, offset) ? 0 : word_at(s->seed, offset / 8);
		const size_t from = offset % 8;
		const size_t n = len < 8 - from ? len : 8 - from;
		memcpy(bytes, (const uint8_t *)&word + from, n);
		bytes += n;
		offset += n;
		len -= n;
	}
}

static void on_timer(uv_timer_t *timer);
static void on_idle(uv_idle_t *idle);

static void arm(struct fake_reader *r)
{
	const struct fake_stream *s = r->stream;

	if (r->closed || r->err.code != QMPSNAP_OK || r->next == r->end ||
		r->n_ready == r->n_ring || uv_is_active((uv_handle_t *)&r->timer))
		return;
	if (s->delay_ms > 0)
		(void)uv_timer_start(&r->timer, on_timer, s->delay_ms, 0);
	else
		(void)uv_idle_start(&r->idle, on_idle);
}

static void deliver_one(struct fake_reader *r)
{
	struct fake_stream *s = r->stream;
	const unsigned slot = (r->head + r->n_ready) % r->n_ring;
	const uint64_t left = r->end - r->next;
	uint8_t *bytes = r->buffers + (size_t)slot * s->base.block_bytes;
	struct stream_block *block = &r->blocks[slot];

	block->data = bytes;
	block->len = left < s->base.block_bytes ? (uint32_t)left : s->base.block_bytes;
	block->zero = zero_at(s, r->next);
	if (!s->constant || r->filled < r->n_ring)
		fake_stream_bytes(s, r->next, bytes, block->len);
	r->filled++;
	r->next += block->len;
	r->n_ready++;
	if (++s->held > s->most_held)
		s->most_held = s->held;
}

static void deliver(struct fake_reader *r)
{
	const struct fake_stream *s = r->stream;
	unsigned room = r->n_ring - r->n_ready;

	if (s->per_delivery > 0 && s->per_delivery < room)
		room = s->per_delivery;
	for (; room > 0 && r->next < r->end; room--) {
		if (s->fail_at > 0 && r->next >= s->fail_at) {
			error_set(&r->err, QMPSNAP_VIEW, "the view broke, on purpose");
			break;
		}
		deliver_one(r);
	}
	r->calling = true;
	r->ready(r->data);
	r->calling = false;
	arm(r);
}

static void on_timer(uv_timer_t *timer)
{
	deliver(timer->data);
}

static void on_idle(uv_idle_t *idle)
{
	(void)uv_idle_stop(idle);
	deliver(idle->data);
}

static const struct stream_block *block(struct stream_reader *base, size_t i)
{
	const struct fake_reader *r = (const struct fake_reader *)base;

	return i < r->n_ready ? &r->blocks[(r->head + i) % r->n_ring] : NULL;
}

static void release(struct stream_reader *base, size_t n)
{
	struct fake_reader *r = (struct fake_reader *)base;

	assert(n <= r->n_ready);
	/* A consumer that looks at what it gave back shall see it. */
	for (size_t i = 0; i < n && !r->stream->constant; i++)
		memset(r->buffers + (r->head + i) % r->n_ring * (size_t)r->stream->base.block_bytes,
			0xdd, r->stream->base.block_bytes);
	r->head = (r->head + (unsigned)n) % r->n_ring;
	r->n_ready -= (unsigned)n;
	r->stream->held -= (unsigned)n;
	if (!r->calling)
		arm(r);
}

static const struct qmpsnap_error *error(const struct stream_reader *base)
{
	const struct fake_reader *r = (const struct fake_reader *)base;

	return r->err.code == QMPSNAP_OK ? NULL : &r->err;
}

static void handle_closed(uv_handle_t *handle)
{
	struct fake_reader *r = handle->data;

	if (--r->n_handles > 0)
		return;
	stream_closed_fn *closed = r->closed;
	void *data = r->closed_data;

	r->stream->open--;
	free(r->buffers);
	free(r->blocks);
	free(r);
	closed(data);
}

static void close_reader(struct stream_reader *base, stream_closed_fn *closed, void *data)
{
	struct fake_reader *r = (struct fake_reader *)base;

	r->closed = closed;
	r->closed_data = data;
	r->stream->held -= r->n_ready;
	r->n_ready = 0;
	uv_close((uv_handle_t *)&r->timer, handle_closed);
	uv_close((uv_handle_t *)&r->idle, handle_closed);
}

static const struct stream_reader_ops reader_ops = {
	.block = block, .release = release, .error = error, .close = close_reader};

static struct stream_reader *open_reader(struct stream *base, uint64_t offset, uint64_t length,
	stream_ready_fn *ready, void *data, struct qmpsnap_error *err)
{
	struct fake_stream *s = (struct fake_stream *)base;
	struct fake_reader *r = calloc(1, sizeof(*r));
	void *buffers = NULL;

	assert(r && length > 0);
	(void)err;
	r->n_ring = stream_ring_share(base, s->ring_blocks ? s->ring_blocks : RING_BLOCKS);
	r->blocks = calloc(r->n_ring, sizeof(r->blocks[0]));
	if (!r->blocks || posix_memalign(&buffers, STREAM_ALIGN_BYTES,
				  (size_t)r->n_ring * base->block_bytes) != 0)
		abort();
	r->buffers = buffers;
	r->base.ops = &reader_ops;
	r->stream = s;
	r->next = offset;
	r->end = offset + length;
	r->ready = ready;
	r->data = data;
	r->timer.data = r;
	r->idle.data = r;
	(void)uv_timer_init(s->loop, &r->timer);
	(void)uv_idle_init(s->loop, &r->idle);
	r->n_handles = 2;
	s->opened++;
	s->open++;
	arm(r);
	return &r->base;
}

static const struct stream_ops stream_ops = {.open = open_reader};

void fake_stream_init(struct fake_stream *s, uv_loop_t *loop, uint64_t size_bytes)
{
	*s = (struct fake_stream){
		.base = {.ops = &stream_ops, .size_bytes = size_bytes, .block_bytes = BLOCK_BYTES},
		.loop = loop};
}

void fake_stream_digest(const struct fake_stream *s, const char *algorithm, char hex[static 129])
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	uint8_t *bytes = malloc(s->base.block_bytes);
	unsigned char raw[EVP_MAX_MD_SIZE];
	unsigned len;

	if (!context || !bytes ||
		!EVP_DigestInit_ex(context, EVP_get_digestbyname(algorithm), NULL))
		abort();
	for (uint64_t at = 0; at < s->base.size_bytes;) {
		const uint64_t left = s->base.size_bytes - at;
		const size_t n = left < s->base.block_bytes ? (size_t)left : s->base.block_bytes;
		fake_stream_bytes(s, at, bytes, n);
		(void)EVP_DigestUpdate(context, bytes, n);
		at += n;
	}
	(void)EVP_DigestFinal_ex(context, raw, &len);
	for (unsigned i = 0; i < len; i++)
		(void)snprintf(hex + (size_t)2 * i, 3, "%02x", raw[i]);
	EVP_MD_CTX_free(context);
	free(bytes);
}

bool fake_stream_equals_file(const struct fake_stream *s, const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *want = malloc(s->base.block_bytes), *got = malloc(s->base.block_bytes);
	bool same = file && want && got;
	uint64_t at = 0;

	while (same && at < s->base.size_bytes) {
		const uint64_t left = s->base.size_bytes - at;
		const size_t n = left < s->base.block_bytes ? (size_t)left : s->base.block_bytes;
		fake_stream_bytes(s, at, want, n);
		same = fread(got, 1, n, file) == n && memcmp(want, got, n) == 0;
		at += n;
	}
	same = same && fgetc(file) == EOF;
	if (file)
		(void)fclose(file);
	free(want);
	free(got);
	return same;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/reader.h"

#include "blockops/checked_read.h"
#include "blockops/zero_scan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Enough for all connections at their limit; what exceeds it waits its turn in the view. */
enum { READER_REQUESTS = 64 };

/* How often a view is tried that isn't read from. */
enum { PROBE_MS = 1000 };

struct slot {
	struct stream_block block;
	uint8_t *memory; /* NULL: not laid out */
	unsigned pending; /* reads into it that haven't ended */
};

struct slot_read {
	struct checked_read read; /* first */
	struct slot *slot;
};

/* Blocks are counted from the reader's first; block i lives in slot i % n_slots. */
struct reader {
	struct stream_reader base;
	struct view_watcher watcher;
	const struct image_stream *image; /* not after close(): the view may go first */
	uint32_t block_bytes;
	uv_idle_t turn; /* calls `ready` from the loop when no read is there to do it */
	uv_timer_t pacer;
	uv_timer_t prober;
	unsigned n_handles;

	uint8_t *memory; /* a block for each slot; */
	uint8_t **unused; /* of them, the last used one last: it may still be in the CPU's cache */
	unsigned n_unused;
	void *zeroes; /* a block of them, read-only */
	struct slot *slots;
	unsigned n_slots;
	struct slot_read reads[READER_REQUESTS];
	struct checked_read *spare;
	unsigned in_flight;

	uint64_t offset, cursor, end; /* in the image; laid out up to the cursor */
	uint64_t n_blocks;
	uint64_t first; /* not released */
	uint64_t n_done; /* all before are filled */
	uint64_t n_laid; /* all before are laid out: filled or being read */
	uint64_t n_told; /* n_done when `ready` was last called */
	bool failure_told;

	stream_ready_fn *ready;
	stream_closed_fn *closed; /* not NULL: closing */
	void *data;
};

static void on_turn(uv_idle_t *handle);
static void on_pace(uv_timer_t *timer);
static void on_read(struct checked_read *read);

static struct slot *slot_of(const struct reader *r, uint64_t block)
{
	return &r->slots[block % r->n_slots];
}

static uint64_t block_end(const struct reader *r, uint64_t block)
{
	const uint64_t end = r->offset + (block + 1) * r->block_bytes;

	return end < r->end ? end : r->end;
}

/* Starts a read of the segment, shortened to what one request may take; false when it has to
 * wait. */
static bool read_segment(struct reader *r, struct segment *segment, uint8_t *bytes)
{
	struct view *view = r->image->view;
	struct checked_read *read = r->spare;

	if (!read || uv_is_active((uv_handle_t *)&r->pacer))
		return false;
	if (segment->len > view->max_read_bytes)
		segment->len = view->max_read_bytes;
	if (r->image->pace) {
		const uint64_t wait_ms = pace_take(r->image->pace, segment->len, uv_hrtime());

		if (wait_ms > 0) {
			(void)uv_timer_start(&r->pacer, on_pace, wait_ms, 0);
			return false;
		}
	}
	r->spare = read->next;
	read->offset = segment->guest_offset;
	read->len = segment->len;
	read->bytes = bytes;
	((struct slot_read *)read)->slot = slot_of(r, r->n_laid);
	slot_of(r, r->n_laid)->pending++;
	r->in_flight++;
	checked_read_submit(view, read);
	return true;
}

/* Lays out the next segment; false when it has to wait. */
static bool lay_out(struct reader *r)
{
	struct slot *slot = slot_of(r, r->n_laid);
	struct stream_block *block = &slot->block;
	const uint64_t start = r->offset + r->n_laid * r->block_bytes;
	const uint64_t end = block_end(r, r->n_laid);
	const uint32_t at = (uint32_t)(r->cursor - start);
	struct segment segment;

	if (!slot->memory) {
		slot->memory = r->unused[--r->n_unused];
		*block = (struct stream_block){.len = (uint32_t)(end - start), .zero = true};
	}
	uint8_t *memory = slot->memory;
	layout_at(r->image->layout, r->cursor, (uint32_t)(end - r->cursor), &segment);
	if (segment.kind == SEGMENT_DATA && !read_segment(r, &segment, memory + at))
		return false;
	if (segment.kind == SEGMENT_TABLES)
		layout_fill(r->image->layout, &segment, memory + at);
	/* A block's memory is only cleared once something else than zeroes stands in it. */
	if (segment.kind != SEGMENT_ZERO && block->zero) {
		memset(memory, 0, at);
		block->zero = false;
	} else if (segment.kind == SEGMENT_ZERO && !block->zero) {
		memset(memory + at, 0, segment.len);
	}
	r->cursor += segment.len;
	if (r->cursor == end) {
		block->data = block->zero ? r->zeroes : memory;
		r->n_laid++;
	}
	return true;
}

/* Little is laid out to wait behind other reads, just enough for connections that become free: the
 * memory serves others until then. */
static bool may_lay_out(const struct reader *r)
{
	const struct view *view = r->image->view;

	return r->cursor < r->end && r->n_laid - r->first < r->n_slots && !view_failed(view) &&
	       (r->in_flight < 2 * view->n_links || !view->waiting);
}

/* Lays out as much as the view and the ring take, and counts what is filled. */
static void fill(struct reader *r)
{
	while (may_lay_out(r) && lay_out(r))
		;
	while (r->n_done < r->n_laid && slot_of(r, r->n_done)->pending == 0) {
		struct stream_block *block = &slot_of(r, r->n_done)->block;
		if (r->image->find_zeroes && !block->zero)
			block->zero = zero_scan_is_zero(block->data, block->len);
		r->n_done++;
	}
}

static const struct qmpsnap_error *reader_error(const struct stream_reader *base)
{
	const struct reader *r = (const struct reader *)base;

	if (r->n_done == r->n_blocks || !view_failed(r->image->view))
		return NULL;
	return &r->image->view->err;
}

static bool has_news(const struct reader *r)
{
	return r->n_done > r->n_told || (!r->failure_told && reader_error(&r->base));
}

static void tell(struct reader *r)
{
	if (r->closed || !has_news(r))
		return;
	r->n_told = r->n_done;
	r->failure_told = reader_error(&r->base) != NULL;
	r->ready(r->data);
}

static void tell_later(struct reader *r)
{
	if (!r->closed)
		(void)uv_idle_start(&r->turn, on_turn);
}

static void on_turn(uv_idle_t *handle)
{
	(void)uv_idle_stop(handle);
	tell(handle->data);
}

static void on_pace(uv_timer_t *timer)
{
	struct reader *r = timer->data;

	fill(r);
	tell(r);
}

/* While the consumer holds the reader back nothing else would tell that the view has broken. */
static void on_probe_due(uv_timer_t *timer)
{
	const struct reader *r = timer->data;

	if (r->cursor < r->end && r->n_laid - r->first == r->n_slots && r->in_flight == 0)
		view_probe(r->image->view);
}

static void on_view_failed(struct view_watcher *watcher)
{
	struct reader *r = (struct reader *)((char *)watcher - offsetof(struct reader, watcher));

	tell_later(r);
}

static void reader_free(struct reader *r)
{
	free(r->memory);
	free(r->unused);
	if (r->zeroes)
		(void)munmap(r->zeroes, r->block_bytes);
	free(r->slots);
	free(r);
}

static void finish_close(struct reader *r)
{
	stream_closed_fn *closed = r->closed;
	void *data = r->data;

	if (r->n_handles > 0 || r->in_flight > 0)
		return;
	reader_free(r);
	closed(data);
}

static void on_read(struct checked_read *read)
{
	struct reader *r = read->request.owner;

	r->in_flight--;
	if (r->closed) {
		finish_close(r);
		return;
	}
	/* A block that wasn't read stays pending, and never becomes ready. */
	if (read->errnum == 0)
		((struct slot_read *)read)->slot->pending--;
	read->next = r->spare;
	r->spare = read;
	fill(r);
	tell(r);
}

static const struct stream_block *reader_block(struct stream_reader *base, size_t i)
{
	const struct reader *r = (const struct reader *)base;

	if (i >= r->n_done - r->first)
		return NULL;
	return &slot_of(r, r->first + i)->block;
}

static void reader_release(struct stream_reader *base, size_t n)
{
	struct reader *r = (struct reader *)base;

	assert(n <= r->n_done - r->first);
	for (size_t i = n; i-- > 0;) {
		struct slot *slot = slot_of(r, r->first + i);

		r->unused[r->n_unused++] = slot->memory;
		slot->memory = NULL;
	}
	r->first += n;
	fill(r);
	if (has_news(r))
		tell_later(r);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct reader *r = handle->data;

	r->n_handles--;
	finish_close(r);
}

static void reader_close(struct stream_reader *base, stream_closed_fn *closed, void *data)
{
	struct reader *r = (struct reader *)base;

	r->closed = closed;
	r->data = data;
	r->in_flight -= checked_read_withdraw(r->image->view, r);
	view_unwatch(&r->watcher);
	uv_close((uv_handle_t *)&r->turn, on_handle_closed);
	uv_close((uv_handle_t *)&r->pacer, on_handle_closed);
	uv_close((uv_handle_t *)&r->prober, on_handle_closed);
}

static bool allocate(struct reader *r, const struct image_stream *image)
{
	const uint32_t block_bytes = image->stream.block_bytes;
	void *memory = NULL;

	if (r->n_slots > 0 &&
		posix_memalign(&memory, STREAM_ALIGN_BYTES, (size_t)r->n_slots * block_bytes) != 0)
		return false;
	r->memory = memory;
	r->slots = calloc(r->n_slots ? r->n_slots : 1, sizeof(*r->slots));
	r->unused = calloc(r->n_slots ? r->n_slots : 1, sizeof(*r->unused));
	while (r->unused && r->n_unused < r->n_slots) {
		r->unused[r->n_unused] = r->memory + (size_t)r->n_unused * block_bytes;
		r->n_unused++;
	}
	void *zeroes = mmap(NULL, block_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (zeroes != MAP_FAILED)
		r->zeroes = zeroes;
	return r->slots && r->unused && r->zeroes;
}

static const struct stream_reader_ops reader_ops = {
	.block = reader_block,
	.release = reader_release,
	.error = reader_error,
	.close = reader_close,
};

static struct reader *reader_new(const struct image_stream *image, uint64_t offset, uint64_t length)
{
	const uint32_t block_bytes = image->stream.block_bytes;
	struct reader *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->base.ops = &reader_ops;
	r->image = image;
	r->block_bytes = block_bytes;
	r->offset = r->cursor = offset;
	r->end = offset + length;
	r->n_blocks = length / block_bytes + (length % block_bytes != 0);
	const unsigned ring_blocks = stream_ring_share(&image->stream, image->ring_blocks);
	r->n_slots = ring_blocks < r->n_blocks ? ring_blocks : (unsigned)r->n_blocks;
	if (!allocate(r, image)) {
		reader_free(r);
		return NULL;
	}
	for (size_t i = 0; i < READER_REQUESTS; i++) {
		struct checked_read *read = &r->reads[i].read;

		*read = (struct checked_read){
			.request = {.owner = r}, .done = on_read, .next = r->spare};
		r->spare = read;
	}
	return r;
}

static struct stream_reader *image_open(struct stream *stream, uint64_t offset, uint64_t length,
	stream_ready_fn *ready, void *data, struct qmpsnap_error *err)
{
	struct image_stream *image = (struct image_stream *)stream;
	struct view *view = image->view;

	if (view_failed(view)) {
		*err = view->err;
		return NULL;
	}
	if (offset > stream->size_bytes || length > stream->size_bytes - offset) {
		error_set(err, QMPSNAP_INTERNAL, "disk %s: the range ends past the image",
			view->disk);
		return NULL;
	}
	struct reader *r = reader_new(image, offset, length);
	if (!r) {
		error_no_memory(err);
		error_wrap(err, "disk %s: reading the image", view->disk);
		return NULL;
	}
	r->ready = ready;
	r->data = data;
	r->watcher.failed = on_view_failed;
	view_watch(view, &r->watcher);
	(void)uv_idle_init(view->loop, &r->turn);
	(void)uv_timer_init(view->loop, &r->pacer);
	(void)uv_timer_init(view->loop, &r->prober);
	(void)uv_timer_start(&r->prober, on_probe_due, PROBE_MS, PROBE_MS);
	r->turn.data = r->pacer.data = r->prober.data = r;
	r->n_handles = 3;
	fill(r);
	if (has_news(r))
		tell_later(r);
	return &r->base;
}

static const struct stream_ops image_ops = {.open = image_open};

void image_stream_init(struct image_stream *image, struct view *view, const struct layout *layout,
	uint32_t block_bytes)
{
	*image = (struct image_stream){
		.stream = {.ops = &image_ops,
			.size_bytes = layout->size_bytes,
			.block_bytes = block_bytes},
		.view = view,
		.layout = layout,
	};
}

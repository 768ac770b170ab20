/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/file_stream.h"

#include "base/error.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A reader's share of libuv's four threads, which the digests need too; the kernel reads ahead. */
enum { READS_IN_FLIGHT = 2, DEFAULT_RING_BLOCKS = 4 };

struct file_reader;

enum slot_state { SLOT_FREE, SLOT_READING, SLOT_READ, SLOT_FAILED };

struct slot {
	uv_work_t work;
	struct file_reader *reader;
	struct stream_block block;
	uint8_t *memory;
	off_t offset; /* in the file */
	enum slot_state state;
	/* What the read found; the thread's until it is back. */
	int errnum;
	bool zero, ended;
};

/* Blocks are counted from the reader's first; block i lives in slot i % n_slots. */
struct file_reader {
	struct stream_reader base;
	uv_loop_t *loop;
	int fd;
	const char *disk;
	struct pace *pace;
	uint32_t block_bytes;
	uv_idle_t turn; /* calls `ready` from the loop when no read is there to do it */
	uv_timer_t pacer;
	unsigned n_handles;

	uint8_t *memory;
	void *zeroes; /* a block of them, read-only */
	struct slot *slots;
	unsigned n_slots;
	unsigned in_flight;

	uint64_t offset, end; /* in the file */
	uint64_t n_blocks;
	uint64_t first; /* not released */
	uint64_t n_done; /* all before are filled */
	uint64_t n_begun; /* all before are filled or being read */
	uint64_t n_told; /* n_done when `ready` was last called */
	bool failure_told;
	struct qmpsnap_error err;

	stream_ready_fn *ready;
	stream_closed_fn *closed; /* not NULL: closing */
	void *data;
};

static void fill(struct file_reader *r);

/* ---- One block, in the pool ---- */

/* A file system that knows no holes has none. */
static bool is_hole(int fd, off_t offset, uint32_t len)
{
	const off_t data = lseek(fd, offset, SEEK_DATA);

	return data < 0 ? errno == ENXIO : data >= offset + (off_t)len;
}

static void read_in_pool(uv_work_t *work)
{
	struct slot *slot = work->data;
	const int fd = slot->reader->fd;
	uint32_t done = 0;

	slot->errnum = 0;
	slot->zero = is_hole(fd, slot->offset, slot->block.len);
	/* A hole's end may be the file's, which only a read can tell. */
	if (slot->zero)
		done = slot->block.len - 1;
	while (done < slot->block.len) {
		const ssize_t n = pread(fd, slot->memory + done, slot->block.len - done,
			slot->offset + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			slot->errnum = n < 0 ? errno : 0;
			slot->ended = n == 0;
			return;
		}
		done += (uint32_t)n;
	}
}

/* ---- Telling ---- */

static const struct qmpsnap_error *reader_error(const struct stream_reader *base)
{
	const struct file_reader *r = (const struct file_reader *)base;

	return r->err.code == QMPSNAP_OK || r->n_done == r->n_blocks ? NULL : &r->err;
}

static bool has_news(const struct file_reader *r)
{
	return r->n_done > r->n_told || (!r->failure_told && reader_error(&r->base));
}

static void tell(struct file_reader *r)
{
	if (r->closed || !has_news(r))
		return;
	r->n_told = r->n_done;
	r->failure_told = reader_error(&r->base) != NULL;
	r->ready(r->data);
}

static void on_turn(uv_idle_t *handle)
{
	(void)uv_idle_stop(handle);
	tell(handle->data);
}

static void tell_later(struct file_reader *r)
{
	(void)uv_idle_start(&r->turn, on_turn);
}

/* ---- Reading ahead ---- */

static void finish_close(struct file_reader *r)
{
	stream_closed_fn *closed = r->closed;
	void *data = r->data;

	if (r->n_handles > 0 || r->in_flight > 0)
		return;
	free(r->memory);
	(void)munmap(r->zeroes, r->block_bytes);
	free(r->slots);
	free(r);
	closed(data);
}

static void fail(struct file_reader *r, const struct slot *slot)
{
	if (r->err.code != QMPSNAP_OK)
		return;
	if (slot->ended)
		error_set(&r->err, QMPSNAP_VIEW,
			"disk %s: its file ends within the %u bytes at offset %lld", r->disk,
			slot->block.len, (long long)slot->offset);
	else
		error_errno(&r->err, QMPSNAP_VIEW, slot->errnum,
			"disk %s: reading %u bytes of its file at offset %lld", r->disk,
			slot->block.len, (long long)slot->offset);
}

static void count_filled(struct file_reader *r)
{
	while (r->n_done < r->n_begun && r->slots[r->n_done % r->n_slots].state == SLOT_READ)
		r->n_done++;
}

static void on_read(uv_work_t *work, int status)
{
	struct slot *slot = work->data;
	struct file_reader *r = slot->reader;

	r->in_flight--;
	if (r->closed) {
		finish_close(r);
		return;
	}
	(void)status; /* only a close withdraws a read */
	slot->state = slot->errnum || slot->ended ? SLOT_FAILED : SLOT_READ;
	if (slot->state == SLOT_FAILED)
		fail(r, slot);
	slot->block.zero = slot->zero;
	slot->block.data = slot->zero ? r->zeroes : slot->memory;
	count_filled(r);
	fill(r);
	tell(r);
}

static void on_pace(uv_timer_t *timer)
{
	fill(timer->data);
}

/* False: it has to wait, or can't be read. */
static bool read_next(struct file_reader *r)
{
	struct slot *slot = &r->slots[r->n_begun % r->n_slots];
	const uint64_t start = r->offset + r->n_begun * r->block_bytes;
	const uint64_t left = r->end - start;
	const uint32_t len = left < r->block_bytes ? (uint32_t)left : r->block_bytes;
	const uint64_t wait_ms = r->pace ? pace_take(r->pace, len, uv_hrtime()) : 0;

	if (wait_ms > 0) {
		(void)uv_timer_start(&r->pacer, on_pace, wait_ms, 0);
		return false;
	}
	slot->offset = (off_t)start;
	slot->block.len = len;
	if (uv_queue_work(r->loop, &slot->work, read_in_pool, on_read) < 0) {
		error_no_memory(&r->err);
		tell_later(r);
		return false;
	}
	slot->state = SLOT_READING;
	r->in_flight++;
	r->n_begun++;
	return true;
}

static void fill(struct file_reader *r)
{
	while (r->n_begun < r->n_blocks && r->n_begun - r->first < r->n_slots &&
		r->in_flight < READS_IN_FLIGHT && r->err.code == QMPSNAP_OK &&
		!uv_is_active((uv_handle_t *)&r->pacer)) {
		if (!read_next(r))
			break;
	}
}

/* ---- The reader as its consumer sees it ---- */

static const struct stream_block *reader_block(struct stream_reader *base, size_t i)
{
	const struct file_reader *r = (const struct file_reader *)base;

	if (i >= r->n_done - r->first)
		return NULL;
	return &r->slots[(r->first + i) % r->n_slots].block;
}

static void reader_release(struct stream_reader *base, size_t n)
{
	struct file_reader *r = (struct file_reader *)base;

	assert(n <= r->n_done - r->first);
	r->first += n;
	fill(r);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct file_reader *r = handle->data;

	r->n_handles--;
	finish_close(r);
}

static void reader_close(struct stream_reader *base, stream_closed_fn *closed, void *data)
{
	struct file_reader *r = (struct file_reader *)base;

	r->closed = closed;
	r->data = data;
	for (unsigned i = 0; i < r->n_slots; i++) {
		if (r->slots[i].state == SLOT_READING)
			(void)uv_cancel((uv_req_t *)&r->slots[i].work);
	}
	uv_close((uv_handle_t *)&r->turn, on_handle_closed);
	uv_close((uv_handle_t *)&r->pacer, on_handle_closed);
}

static const struct stream_reader_ops reader_ops = {
	.block = reader_block,
	.release = reader_release,
	.error = reader_error,
	.close = reader_close,
};

/* ---- Opening ---- */

static bool allocate(struct file_reader *r)
{
	const size_t slots = r->n_slots ? r->n_slots : 1;
	void *memory = NULL;

	if (posix_memalign(&memory, STREAM_ALIGN_BYTES, slots * r->block_bytes) != 0)
		return false;
	r->memory = memory;
	r->slots = calloc(slots, sizeof(*r->slots));
	r->zeroes = mmap(NULL, r->block_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (r->slots && r->zeroes != MAP_FAILED)
		return true;
	if (r->zeroes != MAP_FAILED)
		(void)munmap(r->zeroes, r->block_bytes);
	free(r->slots);
	free(r->memory);
	return false;
}

static struct file_reader *reader_new(
	const struct file_stream *file, uint64_t offset, uint64_t length)
{
	const uint32_t block_bytes = file->stream.block_bytes;
	struct file_reader *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	*r = (struct file_reader){.base = {&reader_ops},
		.loop = file->loop,
		.fd = file->fd,
		.disk = file->disk,
		.pace = file->pace,
		.block_bytes = block_bytes,
		.offset = offset,
		.end = offset + length,
		.n_blocks = length / block_bytes + (length % block_bytes != 0)};
	const unsigned ring_blocks = stream_ring_share(&file->stream, file->ring_blocks);
	r->n_slots = ring_blocks < r->n_blocks ? ring_blocks : (unsigned)r->n_blocks;
	if (!allocate(r)) {
		free(r);
		return NULL;
	}
	for (unsigned i = 0; i < r->n_slots; i++) {
		struct slot *slot = &r->slots[i];
		slot->reader = r;
		slot->work.data = slot;
		slot->memory = r->memory + (size_t)i * block_bytes;
	}
	return r;
}

static struct stream_reader *file_open(struct stream *stream, uint64_t offset, uint64_t length,
	stream_ready_fn *ready, void *data, struct qmpsnap_error *err)
{
	struct file_stream *file = (struct file_stream *)stream;

	if (offset > stream->size_bytes || length > stream->size_bytes - offset) {
		error_set(err, QMPSNAP_INTERNAL, "disk %s: the range ends past the image",
			file->disk);
		return NULL;
	}
	struct file_reader *r = reader_new(file, offset, length);
	if (!r) {
		error_no_memory(err);
		error_wrap(err, "disk %s: reading its file", file->disk);
		return NULL;
	}
	r->ready = ready;
	r->data = data;
	(void)uv_idle_init(file->loop, &r->turn);
	(void)uv_timer_init(file->loop, &r->pacer);
	r->turn.data = r->pacer.data = r;
	r->n_handles = 2;
	fill(r);
	return &r->base;
}

static const struct stream_ops file_ops = {.open = file_open};

void file_stream_init(struct file_stream *file, uv_loop_t *loop, int fd, const char *disk,
	uint64_t size_bytes, uint32_t block_bytes)
{
	*file = (struct file_stream){
		.stream = {.ops = &file_ops, .size_bytes = size_bytes, .block_bytes = block_bytes},
		.loop = loop,
		.fd = fd,
		.disk = disk,
		.ring_blocks = DEFAULT_RING_BLOCKS};
}

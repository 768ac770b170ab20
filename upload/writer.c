/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/writer.h"

#include "base/error.h"
#include "upload/work.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

enum {
	WRITES = 4, /* in flight; the pool has four threads and hashes too */
	WRITE_BLOCKS = 16,
	WRITE_BYTES = 1 << 20,
};

struct writer;

struct write {
	struct work work;
	struct writer *writer;
	struct iovec parts[WRITE_BLOCKS + 1]; /* and the padded tail */
	int n_parts; /* 0: a hole */
	size_t n_blocks;
	uint64_t offset;
	bool done;
};

struct writer {
	struct writer_options options;
	struct pump *pump;
	struct write writes[WRITES]; /* a ring, oldest first */
	size_t head, n_writes;
	size_t n_running;
	size_t blocks_ahead; /* in `writes`, not yet taken from the pump */
	uint64_t offset; /* of the next write */
	void *tail; /* an aligned block for the stream's last bytes */
	struct qmpsnap_error err;
	writer_done_fn *done;
	void *data;
	struct work end;
	bool ending;
};

static void advance(struct writer *w);

/* Drops what was written from the front of the parts. */
static int forget(struct iovec *parts, int n, size_t written)
{
	int first = 0;

	while (first < n && written >= parts[first].iov_len)
		written -= parts[first++].iov_len;
	if (first < n) {
		parts[first].iov_base = (char *)parts[first].iov_base + written;
		parts[first].iov_len -= written;
	}
	memmove(parts, parts + first, (size_t)(n - first) * sizeof(parts[0]));
	return n - first;
}

static bool is_direct(int fd)
{
	const int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_DIRECT);
}

/* Some file systems take O_DIRECT at open() and refuse it at write(), or want a larger alignment.
 * Another write may have dropped it by now. */
static bool drop_direct(int fd)
{
	const int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && fcntl(fd, F_SETFL, flags & ~O_DIRECT) == 0;
}

static void write_parts(void *self, struct qmpsnap_error *err)
{
	struct write *write = self;
	const struct writer_options *o = &write->writer->options;
	uint64_t offset = write->offset;
	bool direct = is_direct(o->fd); /* what it began with: then once more without */

	while (write->n_parts > 0) {
		const ssize_t n = pwritev(o->fd, write->parts, write->n_parts, (off_t)offset);
		if (n > 0) {
			offset += (uint64_t)n;
			write->n_parts = forget(write->parts, write->n_parts, (size_t)n);
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EINVAL && direct && drop_direct(o->fd)) {
			direct = false;
			continue;
		}
		error_errno(err, QMPSNAP_STORE, n < 0 ? errno : EIO, "writing %s", o->path);
		return;
	}
}

static void finished(const struct qmpsnap_error *err, void *self)
{
	struct writer *w = self;
	writer_done_fn *done = w->done;
	void *data = w->data;

	free(w->tail);
	free(w);
	done(err, data);
}

static void end(struct writer *w)
{
	w->ending = true;
	pump_on_event(w->pump, NULL, NULL);
	work_report(
		&w->end, w->options.loop, w->err.code == QMPSNAP_OK ? NULL : &w->err, finished, w);
}

static void written(const struct qmpsnap_error *err, void *self)
{
	struct write *write = self;
	struct writer *w = write->writer;

	write->done = true;
	w->n_running--;
	if (err && w->err.code == QMPSNAP_OK)
		w->err = *err;
	advance(w);
}

static void take_done(struct writer *w)
{
	while (w->n_writes > 0 && w->writes[w->head].done) {
		const size_t n = w->writes[w->head].n_blocks;
		w->head = (w->head + 1) % WRITES;
		w->n_writes--;
		w->blocks_ahead -= n;
		pump_take(w->pump, n);
	}
}

static void add_part(struct write *write, const void *base, size_t len)
{
	write->parts[write->n_parts++] = (struct iovec){.iov_base = (void *)base, .iov_len = len};
}

/* The last bytes of a stream, when they don't fill what O_DIRECT writes at least: zeroes follow
 * them, until the file's length is set. */
static void add_block(struct writer *w, struct write *write, const struct stream_block *block)
{
	const size_t rest = w->options.direct ? block->len % STREAM_ALIGN_BYTES : 0;

	if (block->len > rest)
		add_part(write, block->data, block->len - rest);
	if (rest > 0) {
		memset(w->tail, 0, STREAM_ALIGN_BYTES);
		memcpy(w->tail, block->data + block->len - rest, rest);
		add_part(write, w->tail, STREAM_ALIGN_BYTES);
	}
}

/* Gathers neighbours into one write, all of them holes or none.  False when nothing is ready. */
static bool gather(struct writer *w, struct write *write)
{
	const struct stream_block *block = pump_block(w->pump, w->blocks_ahead);
	size_t bytes = 0;

	if (!block)
		return false;
	const bool hole = block->zero && w->options.sparse;
	write->offset = w->offset;
	write->writer = w;
	write->done = false;
	write->n_parts = 0;
	write->n_blocks = 0;
	while (block && (block->zero && w->options.sparse) == hole &&
		write->n_blocks < WRITE_BLOCKS && bytes < WRITE_BYTES) {
		if (!hole)
			add_block(w, write, block);
		bytes += block->len;
		write->n_blocks++;
		w->blocks_ahead++;
		block = pump_block(w->pump, w->blocks_ahead);
	}
	w->offset += bytes;
	return true;
}

static void start_writes(struct writer *w)
{
	/* pump_take() may lead to writer_stop(). */
	while (w->n_writes < WRITES && w->err.code == QMPSNAP_OK) {
		struct write *write = &w->writes[(w->head + w->n_writes) % WRITES];
		if (!gather(w, write))
			return;
		w->n_writes++;
		if (write->n_parts == 0) {
			write->done = true;
			take_done(w);
		} else {
			w->n_running++;
			work_start(&write->work, w->options.loop, write_parts, written, write);
		}
	}
}

static void advance(struct writer *w)
{
	const struct qmpsnap_error *err = pump_error(w->pump);

	if (err && w->err.code == QMPSNAP_OK)
		w->err = *err;
	if (w->err.code == QMPSNAP_OK)
		take_done(w);
	start_writes(w);
	if (!w->ending && w->n_running == 0 &&
		(w->err.code != QMPSNAP_OK || pump_finished(w->pump)))
		end(w);
}

static void on_pump(void *data)
{
	advance(data);
}

struct writer *writer_start(const struct writer_options *options, struct pump *pump,
	writer_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct writer *w = calloc(1, sizeof(*w));

	if (!w || posix_memalign(&w->tail, STREAM_ALIGN_BYTES, STREAM_ALIGN_BYTES) != 0) {
		free(w);
		error_no_memory(err);
		return NULL;
	}
	w->options = *options;
	w->pump = pump;
	w->done = done;
	w->data = data;
	pump_on_event(pump, on_pump, w);
	advance(w);
	return w;
}

void writer_stop(struct writer *w)
{
	if (w->ending)
		return;
	if (w->err.code == QMPSNAP_OK)
		error_set(&w->err, QMPSNAP_STORE, "writing %s was stopped", w->options.path);
	if (w->n_running == 0)
		end(w);
}

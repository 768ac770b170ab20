/* SPDX-License-Identifier: Apache-2.0 */
#include "images/receiver.h"

#include "base/error.h"
#include "upload/work.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	RING_BYTES = 8 << 20,
	WORK_BYTES = 1 << 20, /* at most at a time; divides the ring */
	LEAST_BYTES = 256 << 10, /* unless nothing more comes */
	HOLE_BYTES = 4096, /* divides LEAST_BYTES */
};

struct receiver {
	struct shelf_sink sink;
	struct receiver_options options;
	struct digest *digest;
	struct work work;
	uint8_t *ring; /* byte n of the image stands at n modulo its size */
	uint64_t taken_bytes, done_bytes;
	size_t working_bytes; /* behind done_bytes, on the pool thread */
	bool busy, full, finishing;
	struct qmpsnap_error err;
	receiver_done_fn *done;
	char hex[DIGEST_HEX_BYTES];
};

static bool is_zero(const uint8_t *bytes, size_t len)
{
	return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

/* ---- On a pool thread --------------------------------------------------------------------- */

static bool write_all(const struct receiver *r, const uint8_t *bytes, size_t len, uint64_t offset,
	struct qmpsnap_error *err)
{
	while (len > 0) {
		const ssize_t n = pwrite(r->options.fd, bytes, len, (off_t)offset);
		if (n < 0 && errno != EINTR)
			return error_errno(
				err, QMPSNAP_STORE, errno, "writing %s", r->options.path);
		if (n > 0) {
			bytes += n;
			len -= (size_t)n;
			offset += (uint64_t)n;
		}
	}
	return true;
}

/* The runs between the blocks that are zero. */
static bool write_sparse(const struct receiver *r, const uint8_t *bytes, size_t len,
	uint64_t offset, struct qmpsnap_error *err)
{
	size_t from = 0;

	for (size_t at = 0; at < len; at += HOLE_BYTES) {
		const size_t block = len - at < HOLE_BYTES ? len - at : HOLE_BYTES;
		if (!is_zero(bytes + at, block))
			continue;
		if (!write_all(r, bytes + from, at - from, offset + from, err))
			return false;
		from = at + block;
	}
	return from >= len || write_all(r, bytes + from, len - from, offset + from, err);
}

static void work(void *self, struct qmpsnap_error *err)
{
	struct receiver *r = self;
	const uint8_t *bytes = r->ring + r->done_bytes % RING_BYTES;

	if (digest_hash(r->digest, bytes, r->working_bytes, err) && r->options.fd >= 0)
		(void)write_sparse(r, bytes, r->working_bytes, r->done_bytes, err);
}

static void complete(void *self, struct qmpsnap_error *err)
{
	struct receiver *r = self;
	const int fd = r->options.fd;

	if (fd >= 0 && ftruncate(fd, (off_t)r->done_bytes) != 0)
		error_errno(err, QMPSNAP_STORE, errno, "setting the length of %s", r->options.path);
	else if (fd >= 0 && fsync(fd) != 0)
		error_errno(err, QMPSNAP_STORE, errno, "syncing %s", r->options.path);
	else
		(void)digest_finish(r->digest, r->hex, err);
}

/* ---- On the loop -------------------------------------------------------------------------- */

void receiver_drop(struct receiver *r)
{
	digest_free(r->digest);
	free(r->ring);
	free(r);
}

static void completed(const struct qmpsnap_error *err, void *self)
{
	struct receiver *r = self;

	r->done(err, r->done_bytes, r->hex, r->options.data);
	receiver_drop(r);
}

static void go_on(struct receiver *r);

static void worked(const struct qmpsnap_error *err, void *self)
{
	struct receiver *r = self;
	const bool full = r->full;

	r->busy = false;
	if (err) {
		r->err = *err;
		if (r->finishing)
			go_on(r);
		else
			r->options.failed(r->options.data);
		return;
	}
	r->done_bytes += r->working_bytes;
	if (r->options.progress)
		r->options.progress(r->done_bytes, r->options.data);
	r->full = false;
	go_on(r);
	if (full)
		r->options.room(r->options.data);
}

static void go_on(struct receiver *r)
{
	const uint64_t waiting = r->taken_bytes - r->done_bytes;
	const uint64_t to_end = RING_BYTES - r->done_bytes % RING_BYTES;

	if (r->busy)
		return;
	if (r->err.code != QMPSNAP_OK) {
		if (r->finishing)
			work_report(&r->work, r->options.loop, &r->err, completed, r);
		return;
	}
	if (waiting == 0 && r->finishing) {
		work_start(&r->work, r->options.loop, complete, completed, r);
		return;
	}
	if (waiting == 0 || (waiting < LEAST_BYTES && !r->finishing))
		return;
	r->busy = true;
	r->working_bytes = (size_t)(waiting < to_end ? waiting : to_end);
	if (r->working_bytes > WORK_BYTES)
		r->working_bytes = WORK_BYTES;
	if (!r->finishing) /* so that what follows begins at a block, too */
		r->working_bytes -= r->working_bytes % HOLE_BYTES;
	work_start(&r->work, r->options.loop, work, worked, r);
}

static bool take(struct shelf_sink *sink, const void *bytes, size_t len)
{
	struct receiver *r = (struct receiver *)sink;
	const size_t at = r->taken_bytes % RING_BYTES;
	const size_t first = len < RING_BYTES - at ? len : RING_BYTES - at;

	if (r->err.code == QMPSNAP_OK && r->taken_bytes + len > r->options.most_bytes) {
		error_set(&r->err, QMPSNAP_STORE, "%s: the store brings more than its %llu bytes",
			r->options.path, (unsigned long long)r->options.most_bytes);
		r->options.failed(r->options.data);
	}
	if (r->err.code != QMPSNAP_OK)
		return false;
	if (r->taken_bytes - r->done_bytes + len > RING_BYTES) {
		r->full = true;
		return false;
	}
	memcpy(r->ring + at, bytes, first);
	memcpy(r->ring, (const uint8_t *)bytes + first, len - first);
	r->taken_bytes += len;
	go_on(r);
	return true;
}

struct receiver *receiver_new(const struct receiver_options *options, struct qmpsnap_error *err)
{
	struct receiver *r = calloc(1, sizeof(*r));

	if (r)
		r->ring = malloc(RING_BYTES);
	if (!r || !r->ring) {
		free(r);
		error_no_memory(err);
		return NULL;
	}
	r->sink.take = take;
	r->options = *options;
	r->digest = digest_new(options->loop, options->algorithm, err);
	if (r->digest)
		return r;
	receiver_drop(r);
	return NULL;
}

struct shelf_sink *receiver_sink(struct receiver *r)
{
	return &r->sink;
}

void receiver_finish(struct receiver *r, receiver_done_fn *done)
{
	r->finishing = true;
	r->done = done;
	go_on(r);
}

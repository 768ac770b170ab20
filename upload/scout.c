/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/scout.h"

#include "base/error.h"
#include "upload/pump.h"
#include "upload/range_stream.h"
#include "upload/work.h"

#include <stdio.h>
#include <stdlib.h>

/* The pump computes the part's digest; its sink is the whole's. */
struct scout {
	struct scout_options options;
	struct digest *whole;
	struct range_stream range;
	uint64_t offset; /* of the next part */
	struct pump *pump; /* NULL: nothing is being read */
	bool closing_pump;
	size_t batch; /* blocks that `whole` is at; 0: none */
	char hex[DIGEST_HEX_BYTES];
	struct qmpsnap_error err;
	struct work later;
	scout_closed_fn *closed;
	void *closed_data;
};

static void go_on(struct scout *s);

static void free_scout(struct scout *s)
{
	scout_closed_fn *closed = s->closed;
	void *data = s->closed_data;

	digest_free(s->whole);
	free(s);
	closed(data);
}

static void report(const struct qmpsnap_error *err, void *self)
{
	struct scout *s = self;

	(void)err;
	s->pump = NULL;
	s->closing_pump = false;
	if (s->closed)
		free_scout(s);
	else
		s->options.done(
			s->err.code == QMPSNAP_OK ? NULL : &s->err, s->hex, s->options.data);
}

static void pump_closed(void *data)
{
	report(NULL, data);
}

static void close_pump(struct scout *s)
{
	s->closing_pump = true;
	pump_on_event(s->pump, NULL, NULL);
	pump_close(s->pump, pump_closed, s);
}

static void on_hashed(const struct qmpsnap_error *err, void *data)
{
	struct scout *s = data;

	if (err)
		s->err = *err;
	pump_take(s->pump, s->batch);
	s->batch = 0;
	go_on(s);
}

static void hash_more(struct scout *s)
{
	struct digest_part parts[DIGEST_BATCH];
	const struct stream_block *block;
	size_t n = 0;

	while (n < DIGEST_BATCH && (block = pump_block(s->pump, n)))
		parts[n++] = (struct digest_part){.data = block->data, .len = block->len};
	s->batch = n;
	if (n > 0)
		digest_add(s->whole, parts, n, on_hashed, s);
}

static void go_on(struct scout *s)
{
	const struct qmpsnap_error *err = pump_error(s->pump);

	if (s->batch > 0 || s->closing_pump)
		return;
	if (err && s->err.code == QMPSNAP_OK)
		s->err = *err;
	if (s->closed || s->err.code != QMPSNAP_OK) {
		close_pump(s);
	} else if (pump_finished(s->pump)) {
		(void)snprintf(s->hex, sizeof(s->hex), "%s", pump_digest(s->pump));
		close_pump(s);
	} else {
		hash_more(s);
	}
}

static void on_pump(void *data)
{
	go_on(data);
}

struct scout *scout_new(const struct scout_options *options, struct qmpsnap_error *err)
{
	struct scout *s = calloc(1, sizeof(*s));

	if (!s) {
		error_no_memory(err);
		return NULL;
	}
	s->options = *options;
	s->whole = digest_new(options->loop, options->whole_digest, err);
	if (s->whole)
		return s;
	free(s);
	return NULL;
}

void scout_read(struct scout *s, uint64_t length)
{
	const struct pump_options options = {.loop = s->options.loop,
		.stream = &s->range.base,
		.digest = s->options.part_digest};

	range_stream_init(&s->range, s->options.stream, s->offset, length);
	s->offset += length;
	s->pump = pump_open(&options, &s->err);
	if (!s->pump) {
		work_report(&s->later, s->options.loop, NULL, report, s);
		s->closing_pump = true;
		return;
	}
	pump_on_event(s->pump, on_pump, s);
	go_on(s);
}

bool scout_finish(struct scout *s, char hex[static DIGEST_HEX_BYTES], struct qmpsnap_error *err)
{
	return digest_finish(s->whole, hex, err);
}

static void nothing_to_close(const struct qmpsnap_error *err, void *self)
{
	(void)err;
	free_scout(self);
}

void scout_close(struct scout *s, scout_closed_fn *closed, void *data)
{
	s->closed = closed;
	s->closed_data = data;
	if (s->pump)
		go_on(s);
	else if (!s->closing_pump)
		work_report(&s->later, s->options.loop, NULL, nothing_to_close, s);
}

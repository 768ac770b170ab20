/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/parts.h"

#include "base/error.h"
#include "upload/scout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MIB = 1 << 20 };

struct parts {
	struct parts_options options;
	struct part *slots;
	unsigned n_slots, n_busy;
	struct part_note *notes;
	unsigned n, next, scouted; /* parts: all, begun, read by the scout */
	unsigned n_sent;
	uint64_t sent_bytes; /* of whole parts */
	struct scout *scout;
	bool reading; /* the scout is at one */
	bool ending, stopped;
	char sha256[DIGEST_HEX_BYTES];
	struct qmpsnap_error err;
};

static void go_on(struct parts *p);

uint64_t parts_plan(uint64_t size_bytes, uint64_t usual, unsigned most_parts, uint64_t most_bytes)
{
	const uint64_t least = size_bytes / most_parts + (size_bytes % most_parts != 0);
	const uint64_t rounded = (least / MIB + (least % MIB != 0)) * MIB;
	const uint64_t part = rounded > usual ? rounded : usual;

	return part <= most_bytes ? part : 0;
}

unsigned parts_count(uint64_t size_bytes, uint64_t part_bytes)
{
	const uint64_t n = size_bytes / part_bytes + (size_bytes % part_bytes != 0);

	return n > 0 ? (unsigned)n : 1;
}

/* ---- The end ------------------------------------------------------------------------------ */

static void scout_closed(void *data)
{
	struct parts *p = data;

	p->scout = NULL;
	p->options.done(p->err.code == QMPSNAP_OK ? NULL : &p->err, p->options.data);
}

static void fail(struct parts *p, const struct qmpsnap_error *err)
{
	if (p->err.code != QMPSNAP_OK)
		return;
	p->err = *err;
	for (unsigned i = 0; i < p->n_slots; i++) {
		if (p->slots[i].busy)
			remote_cancel(&p->slots[i].call);
	}
}

static void end(struct parts *p)
{
	p->ending = true;
	if (p->err.code == QMPSNAP_OK)
		(void)scout_finish(p->scout, p->sha256, &p->err);
	scout_close(p->scout, scout_closed, p);
}

/* ---- Parts -------------------------------------------------------------------------------- */

static uint64_t length_of(const struct parts *p, unsigned index)
{
	const uint64_t left = p->options.stream->size_bytes - index * p->options.part_bytes;

	return left < p->options.part_bytes ? left : p->options.part_bytes;
}

static void tell(const struct parts *p)
{
	uint64_t bytes = p->sent_bytes;

	for (unsigned i = 0; i < p->n_slots; i++)
		bytes += p->slots[i].done_bytes;
	p->options.progress(bytes, p->options.data);
}

static void on_progress(uint64_t done_bytes, void *data)
{
	struct part *part = data;

	part->done_bytes = done_bytes;
	tell(part->parts);
}

static void sent(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct part *part = data;
	struct parts *p = part->parts;

	(void)reply;
	part->busy = false;
	part->done_bytes = 0;
	p->n_busy--;
	if (err) {
		fail(p, err);
	} else {
		memcpy(p->notes[part->index].etag, part->call.etag, sizeof(part->call.etag));
		p->sent_bytes += part->length;
		p->n_sent++;
	}
	go_on(p);
}

static void send_next(struct parts *p, struct part *part)
{
	const uint64_t offset = p->next * p->options.part_bytes;
	struct remote_request request = {.method = NULL};

	part->parts = p;
	part->index = p->next++;
	part->length = length_of(p, part->index);
	part->digest = p->notes[part->index].digest;
	part->busy = true;
	p->n_busy++;
	range_stream_init(&part->range, p->options.stream, offset, part->length);
	p->options.request(part, &request, p->options.data);
	request.stream = &part->range.base;
	request.progress = on_progress;
	remote_send(&part->call, p->options.remote, &request, sent, part);
}

static void scouted(const struct qmpsnap_error *err, const char *hex, void *data)
{
	struct parts *p = data;

	p->reading = false;
	if (err)
		fail(p, err);
	else
		(void)snprintf(p->notes[p->scouted].digest, sizeof(p->notes[0].digest), "%s", hex);
	p->scouted++;
	go_on(p);
}

static void go_on(struct parts *p)
{
	const bool failed = p->err.code != QMPSNAP_OK;

	for (unsigned i = 0; i < p->n_slots && !failed; i++) {
		if (!p->slots[i].busy && p->next < p->scouted)
			send_next(p, &p->slots[i]);
	}
	if (!failed && !p->reading && p->scouted < p->n && p->scouted < p->next + p->n_slots) {
		p->reading = true;
		scout_read(p->scout, length_of(p, p->scouted));
	}
	if (p->n_busy == 0 && !p->ending && (failed || p->n_sent == p->n))
		end(p);
}

struct parts *parts_start(const struct parts_options *options, struct qmpsnap_error *err)
{
	struct parts *p = calloc(1, sizeof(*p));
	const struct scout_options scout = {.loop = options->remote->loop,
		.stream = options->stream,
		.part_digest = options->part_digest,
		.whole_digest = "sha256",
		.done = scouted,
		.data = p};

	if (!p) {
		error_no_memory(err);
		return NULL;
	}
	p->options = *options;
	p->n = parts_count(options->stream->size_bytes, options->part_bytes);
	p->n_slots = options->at_once ? options->at_once : PARTS_AT_ONCE;
	if (p->n_slots > p->n)
		p->n_slots = p->n;
	options->stream->readers = p->n_slots + 1;
	p->slots = calloc(p->n_slots, sizeof(p->slots[0]));
	p->notes = calloc(p->n, sizeof(p->notes[0]));
	if (!p->slots || !p->notes) {
		error_no_memory(err);
	} else if ((p->scout = scout_new(&scout, err))) {
		go_on(p);
		return p;
	}
	parts_free(p);
	return NULL;
}

void parts_stop(struct parts *p)
{
	struct qmpsnap_error err;

	if (p->stopped)
		return;
	p->stopped = true;
	error_set(&err, QMPSNAP_STORE, "the upload was stopped");
	fail(p, &err);
	if (p->n_busy == 0 && !p->ending)
		end(p);
}

const struct part_note *parts_notes(const struct parts *p, unsigned *n)
{
	*n = p->n;
	return p->notes;
}

const char *parts_sha256(const struct parts *p)
{
	return p->sha256;
}

void parts_free(struct parts *p)
{
	if (!p)
		return;
	free(p->slots);
	free(p->notes);
	free(p);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "qmp/wire.h"

#include <stdlib.h>
#include <string.h>

enum {
	FIRST_BYTES = 16 << 10,
	KEEP_BYTES = 1 << 20, /* a larger buffer is given back once it is empty */
	EXCERPT_BYTES = 80,
};

bool wire_init(struct wire *w, size_t limit_bytes)
{
	*w = (struct wire){.limit_bytes = limit_bytes ? limit_bytes : WIRE_LIMIT_BYTES};
	w->tokener = json_tokener_new_ex(WIRE_DEPTH);
	if (!w->tokener)
		return false;
	json_tokener_set_flags(w->tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	return true;
}

void wire_free(struct wire *w)
{
	free(w->bytes);
	if (w->tokener)
		json_tokener_free(w->tokener);
	*w = (struct wire){0};
}

void wire_reset(struct wire *w)
{
	w->start = w->end = w->scanned = w->line = 0;
	w->skipping = false;
}

static bool make_room(struct wire *w, size_t n_bytes)
{
	const size_t used = w->end - w->start;
	size_t size = w->size ? w->size : FIRST_BYTES;
	char *bytes;

	if (n_bytes <= w->size - w->end)
		return true;
	if (w->start) {
		memmove(w->bytes, w->bytes + w->start, used);
		w->start = 0;
		w->end = used;
	}
	if (n_bytes > SIZE_MAX / 2 - used)
		return false;
	while (size < used + n_bytes)
		size *= 2;
	if (size == w->size)
		return true;
	bytes = realloc(w->bytes, size);
	if (!bytes)
		return false;
	w->bytes = bytes;
	w->size = size;
	return true;
}

bool wire_feed(struct wire *w, const void *bytes, size_t n_bytes)
{
	if (!n_bytes)
		return true;
	if (!make_room(w, n_bytes))
		return false;
	memcpy(w->bytes + w->end, bytes, n_bytes);
	w->end += n_bytes;
	return true;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t trimmed(const char *text, size_t n_bytes)
{
	while (n_bytes && is_space(text[n_bytes - 1]))
		n_bytes--;
	return n_bytes;
}

/* Length of the whole message at the front, its newline included; 0: its end hasn't come. */
static size_t message_bytes(struct wire *w)
{
	const size_t used = w->end - w->start;
	const char *text = w->bytes + w->start;

	while (w->scanned < used) {
		const char *newline = memchr(text + w->scanned, '\n', used - w->scanned);
		const size_t next = newline ? (size_t)(newline - text) + 1 : used;
		const char *line = text + w->line;
		const bool brace = newline && trimmed(line, next - w->line) == 1;

		w->scanned = next;
		if (!newline)
			return 0;
		if (w->line == 0 ? w->skipping || !brace || *line != '{' : brace && *line == '}')
			return next;
		w->line = next;
	}
	return 0;
}

static void consume(struct wire *w, size_t n_bytes)
{
	w->start += n_bytes;
	w->scanned = w->line = 0;
}

static void give_back(struct wire *w)
{
	if (w->start != w->end)
		return;
	w->start = w->end = 0;
	if (w->size > KEEP_BYTES) {
		free(w->bytes);
		w->bytes = NULL;
		w->size = 0;
	}
}

static enum wire_result broken(
	const struct wire_message *m, struct qmpsnap_error *err, const char *what)
{
	char excerpt[EXCERPT_BYTES];

	wire_excerpt(excerpt, sizeof(excerpt), m->text, m->text_bytes);
	error_set(err, QMPSNAP_QEMU, "%s (\"%s\")", what, excerpt);
	return WIRE_BROKEN;
}

static enum wire_result parse_error_reply(
	struct wire_message *m, struct json_object *error, struct qmpsnap_error *err)
{
	m->kind = WIRE_ERROR;
	m->name = json_string(error, "class");
	m->desc = json_string(error, "desc");
	if (!m->name || !m->desc)
		return broken(m, err, "an error without class and text");
	return WIRE_MESSAGE;
}

static enum wire_result parse_event(
	struct wire_message *m, struct json_object *event, struct qmpsnap_error *err)
{
	const bool has_data = json_object_object_get_ex(m->whole, "data", &m->value);

	m->kind = WIRE_EVENT;
	if (!json_object_is_type(event, json_type_string))
		return broken(m, err, "an event whose name is no string");
	m->name = json_object_get_string(event);
	if (has_data && !json_object_is_type(m->value, json_type_object))
		return broken(m, err, "an event whose data is no object");
	return WIRE_MESSAGE;
}

/* What kind of message the parsed object is, and its members. */
static enum wire_result classify(struct wire_message *m, struct qmpsnap_error *err)
{
	struct json_object *member;

	m->has_id = json_object_object_get_ex(m->whole, "id", &member);
	m->id = json_string(m->whole, "id");
	if (json_object_object_get_ex(m->whole, "return", &m->value)) {
		m->kind = WIRE_RETURN;
		return m->value ? WIRE_MESSAGE : broken(m, err, "a reply without a value");
	}
	if (json_object_object_get_ex(m->whole, "error", &member))
		return parse_error_reply(m, member, err);
	if (json_object_object_get_ex(m->whole, "event", &member))
		return parse_event(m, member, err);
	if (json_object_object_get_ex(m->whole, "QMP", &m->value)) {
		m->kind = WIRE_GREETING;
		return json_object_is_type(m->value, json_type_object)
			       ? WIRE_MESSAGE
			       : broken(m, err, "a greeting that is no object");
	}
	return broken(m, err, "neither a reply nor an event");
}

static enum wire_result parse(struct wire *w, struct wire_message *m, struct qmpsnap_error *err)
{
	enum wire_result result;

	json_tokener_reset(w->tokener);
	/* json-c takes a NUL for the end. */
	if (memchr(m->text, '\0', m->text_bytes))
		return broken(m, err, "a line that is no JSON");
	if (!json_is_bounded(m->text, m->text_bytes))
		return broken(m, err, "JSON of too many values");
	m->whole = json_tokener_parse_ex(w->tokener, m->text, (int)m->text_bytes);
	switch (json_tokener_get_error(w->tokener)) {
	case json_tokener_success:
		break;
	case json_tokener_error_depth:
		return broken(m, err, "JSON nested too deeply");
	default:
		return broken(m, err, "a line that is no JSON");
	}
	if (json_object_is_type(m->whole, json_type_object))
		result = classify(m, err);
	else
		result = broken(m, err, "a message that is no object");
	if (result != WIRE_MESSAGE)
		wire_drop(m);
	return result;
}

static enum wire_result too_long(const struct wire *w, struct qmpsnap_error *err)
{
	error_set(err, QMPSNAP_QEMU, "a message of more than %zu bytes", w->limit_bytes);
	return WIRE_BROKEN;
}

/* The front of the buffer has grown over the limit and its end hasn't come. */
static enum wire_result skip_rest(struct wire *w, struct qmpsnap_error *err)
{
	if (!w->tolerant)
		return too_long(w, err);
	consume(w, w->end - w->start);
	w->skipping = true;
	give_back(w);
	return WIRE_MORE;
}

enum wire_result wire_next(struct wire *w, struct wire_message *message, struct qmpsnap_error *err)
{
	*message = (struct wire_message){0};
	for (;;) {
		const size_t whole = message_bytes(w);
		const bool rest = w->skipping;
		enum wire_result result;

		if (!whole && w->end - w->start > w->limit_bytes)
			return skip_rest(w, err);
		if (!whole) {
			give_back(w);
			return WIRE_MORE;
		}
		message->text = w->bytes + w->start;
		message->text_bytes = trimmed(message->text, whole);
		consume(w, whole);
		w->skipping = false;
		if (rest || message->text_bytes == 0)
			continue;
		result = message->text_bytes > w->limit_bytes ? too_long(w, err)
							      : parse(w, message, err);
		if (result == WIRE_MESSAGE || !w->tolerant)
			return result;
	}
}

void wire_drop(struct wire_message *message)
{
	json_object_put(message->whole);
	message->whole = NULL;
}

void wire_excerpt(char *out, size_t out_bytes, const char *text, size_t text_bytes)
{
	const bool cut = text_bytes >= out_bytes;
	const size_t shown = cut ? out_bytes - 4 : text_bytes;

	for (size_t i = 0; i < shown; i++)
		out[i] = (char)(text[i] >= ' ' && text[i] < 127 ? text[i] : '.');
	memcpy(out + shown, cut ? "..." : "", cut ? 4 : 1);
}

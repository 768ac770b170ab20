/* SPDX-License-Identifier: Apache-2.0
 *
 * wire.h - QMP's bytes to messages.  Pure: no loop, no socket, so that it can be fuzzed.
 *
 * QEMU ends each message with a newline (docs/interop/qmp-spec.rst) and escapes newlines in
 * strings, so a line is a message; a monitor with `pretty=on` spreads one over lines, from "{"
 * alone to "}" alone.  All bytes are untrusted: length, depth and
 * the number of values are limited, types checked.
 */
#ifndef QMP_WIRE_H
#define QMP_WIRE_H

#include "base/error.h"
#include "base/json.h"

enum {
	WIRE_LIMIT_BYTES = 64 << 20, /* of a message; query-qmp-schema takes some 200 KiB */
	WIRE_DEPTH = 1024, /* what QEMU's own parser allows */
};

struct wire {
	char *bytes;
	size_t start, end, size; /* unread: bytes[start..end) */
	size_t scanned, line; /* from start: searched so far; where the last line begins */
	size_t limit_bytes;
	bool tolerant; /* drop what is no message, instead of giving up */
	bool skipping; /* tolerant, inside a message over the limit */
	struct json_tokener *tokener;
};

enum wire_kind { WIRE_GREETING, WIRE_RETURN, WIRE_ERROR, WIRE_EVENT };

struct wire_message {
	enum wire_kind kind;
	struct json_object *whole; /* owns the rest */
	bool has_id;
	const char *id; /* NULL: none, or not a string */
	struct json_object *value; /* return: its value; event: its data or NULL; greeting: "QMP" */
	const char *name; /* error: its class; event: its name */
	const char *desc; /* error: its text */
	const char *text; /* the raw line, until the next call */
	size_t text_bytes;
};

enum wire_result {
	WIRE_MORE, /* no whole message is left: feed */
	WIRE_MESSAGE, /* *message is filled */
	WIRE_BROKEN, /* *err says why; there is no way to go on */
};

/* `limit_bytes` 0: WIRE_LIMIT_BYTES.  False without memory; wire_free() is fine then too. */
bool wire_init(struct wire *w, size_t limit_bytes);
void wire_free(struct wire *w);

/* Forgets what was fed and not taken out. */
void wire_reset(struct wire *w);

/* Takes bytes in, at any split.  Between two calls wire_next() must have said WIRE_MORE.  False
 * without memory. */
bool wire_feed(struct wire *w, const void *bytes, size_t n_bytes);

/* The next message, which the caller drops.  *err (QEMU: no QMP message; INTERNAL: no memory)
 * names neither address nor command. */
enum wire_result wire_next(struct wire *w, struct wire_message *message, struct qmpsnap_error *err);
void wire_drop(struct wire_message *message);

/* The front of untrusted bytes as plain ASCII for a message or log line, "..." at the end when it
 * is cut; at least 4 bytes of `out`. */
void wire_excerpt(char *out, size_t out_bytes, const char *text, size_t text_bytes);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "qmp/agent_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum {
	READ_BYTES = 16 << 10,
	READS_PER_TURN = 16, /* then the loop's other handles are due */
};

#define DELIMITER 0xff

static void no_sense(struct agent *a, const char *what)
{
	struct qmpsnap_error err;

	error_set(&err, QMPSNAP_AGENT, "%s: %s: no answer that makes sense%s%s", a->peer,
		a->command, what ? ": " : "", what ? what : "");
	err.detail = EPROTO;
	agent_fail(a, &err);
}

static void take_sync_answer(struct agent *a, const struct wire_message *m)
{
	if (m->kind != WIRE_RETURN || !json_object_is_type(m->value, json_type_int) ||
		json_object_get_int64(m->value) != a->sync_id) {
		a->state = AGENT_SKIPPING;
		return;
	}
	a->in_step = true;
	if (a->command[0])
		agent_send_command(a);
	else
		agent_complete(a, NULL, NULL);
}

static void take_answer(struct agent *a, const struct wire_message *m)
{
	char words[AGENT_TEXT_BYTES];
	struct qmpsnap_error err;

	if (m->kind == WIRE_RETURN) {
		agent_complete(a, m->value, NULL);
		return;
	}
	if (m->kind != WIRE_ERROR) {
		no_sense(a, NULL);
		return;
	}
	wire_excerpt(words, sizeof(words), m->desc, strlen(m->desc));
	error_set(&err, QMPSNAP_AGENT, "%s: %s: %s", a->peer, a->command, words);
	wire_excerpt(a->error_class, sizeof(a->error_class), m->name, strlen(m->name));
	agent_complete(a, NULL, &err);
	a->error_class[0] = '\0';
}

static void take_message(struct agent *a, const struct wire_message *m)
{
	agent_log(a, "<-", m->text, m->text_bytes);
	if (a->state == AGENT_SYNCING)
		take_sync_answer(a, m);
	else
		take_answer(a, m);
}

/* Nothing that breaks a rule ends the connection: the next sync begins anew. */
static void take_nonsense(struct agent *a, const struct qmpsnap_error *err)
{
	wire_reset(&a->wire);
	if (err->code == QMPSNAP_INTERNAL)
		agent_fail(a, err);
	else if (a->state == AGENT_SYNCING)
		a->state = AGENT_SKIPPING;
	else
		no_sense(a, err->message);
}

static bool is_listening(const struct agent *a)
{
	return a->fd >= 0 && (a->state == AGENT_SYNCING || a->state == AGENT_ASKED);
}

/* Bytes without a 0xFF. */
static void take_text(struct agent *a, const char *bytes, size_t n_bytes)
{
	struct wire_message message;
	struct qmpsnap_error err;

	if (!is_listening(a)) {
		a->in_step = false;
		return;
	}
	if (!wire_feed(&a->wire, bytes, n_bytes)) {
		error_no_memory(&err);
		take_nonsense(a, &err);
	}
	while (is_listening(a)) {
		switch (wire_next(&a->wire, &message, &err)) {
		case WIRE_MORE:
			return;
		case WIRE_BROKEN:
			take_nonsense(a, &err);
			return;
		case WIRE_MESSAGE:
			take_message(a, &message);
			wire_drop(&message);
			break;
		}
	}
}

static void take_delimiter(struct agent *a)
{
	wire_reset(&a->wire);
	if (a->state == AGENT_SKIPPING || a->state == AGENT_SYNCING)
		a->state = AGENT_SYNCING;
	else if (a->state == AGENT_ASKED)
		no_sense(a, NULL);
	else
		a->in_step = false;
}

static void take(struct agent *a, const char *bytes, size_t n_bytes)
{
	while (n_bytes && a->fd >= 0) {
		const char *delimiter = memchr(bytes, DELIMITER, n_bytes);
		const size_t text = delimiter ? (size_t)(delimiter - bytes) : n_bytes;

		if (text)
			take_text(a, bytes, text);
		if (!delimiter)
			return;
		if (a->fd >= 0)
			take_delimiter(a);
		bytes += text + 1;
		n_bytes -= text + 1;
	}
}

static void gone(struct agent *a, int errnum)
{
	if (errnum && errnum != ECONNRESET)
		error_errno(&a->why, QMPSNAP_AGENT, errnum, "%s: cannot read", a->peer);
	else
		error_set(&a->why, QMPSNAP_AGENT, "%s: the socket was closed", a->peer);
	error_hint(&a->why, "QEMU has ended, or its chardev was removed");
	a->why.detail = ECONNRESET;
	agent_disconnect(a);
	if (a->state == AGENT_IDLE)
		return;
	const struct qmpsnap_error err = a->why;
	agent_complete(a, NULL, &err);
}

void agent_receive(struct agent *a, bool to_the_end)
{
	char bytes[READ_BYTES];

	for (int i = 0; a->fd >= 0 && (to_the_end || i < READS_PER_TURN); i++) {
		const ssize_t n = recv(a->fd, bytes, sizeof(bytes), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n > 0)
			take(a, bytes, (size_t)n);
		else
			gone(a, n < 0 ? errno : 0);
	}
}

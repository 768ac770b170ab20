/* SPDX-License-Identifier: Apache-2.0 */
#include "qmp/private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum {
	READ_BYTES = 64 << 10,
	READS_PER_TURN = 16, /* then the loop's other handles are due */
};

static void broken(struct qmp_client *c, const struct qmpsnap_error *what)
{
	struct qmpsnap_error err = *what;

	if (err.code == QMPSNAP_QEMU) {
		err.detail = EPROTO;
		error_wrap(&err, "%s: the other side doesn't speak QMP", c->peer);
		error_hint(&err, "is this the socket of the guest's -qmp, and not of -monitor, "
				 "-serial or the guest agent?");
	} else {
		error_wrap(&err, "%s", c->peer);
	}
	client_end(c, &err);
}

static void broken_by(struct qmp_client *c, const struct wire_message *message, const char *what)
{
	struct qmpsnap_error err;
	char excerpt[80];

	wire_excerpt(excerpt, sizeof(excerpt), message->text, message->text_bytes);
	error_set(&err, QMPSNAP_QEMU, "%s (\"%s\")", what, excerpt);
	broken(c, &err);
}

/* QEMU's words, for a terminal. */
static void qemu_error(const struct wire_message *message, struct qmpsnap_error *err)
{
	error_set(err, QMPSNAP_QEMU, "%s", message->desc);
	for (char *at = err->message; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 127)
			*at = ' ';
}

static void handle_reply(struct qmp_client *c, const struct wire_message *message)
{
	struct qmp_request *r = request_find(c, message->id);
	struct qmpsnap_error err;

	if (!r) {
		if (message->kind == WIRE_ERROR && !message->has_id && !c->adopting)
			broken_by(c, message, "an error that belongs to no command");
		else
			client_log(c, "<- (nobody waits)", message->text, message->text_bytes);
		return;
	}
	client_log(c, "<-", message->text, message->text_bytes);
	c->adopting = false;
	c->wire.tolerant = false;
	if (message->kind == WIRE_RETURN) {
		request_complete(c, r, message->value, NULL);
		return;
	}
	qemu_error(message, &err);
	(void)snprintf(c->error_class, sizeof(c->error_class), "%s", message->name);
	request_complete(c, r, NULL, &err);
	c->error_class[0] = '\0';
}

static void handle(struct qmp_client *c, const struct wire_message *message)
{
	if (c->state == CLIENT_GREETING && message->kind != WIRE_GREETING) {
		broken_by(c, message, "no greeting");
		return;
	}
	switch (message->kind) {
	case WIRE_GREETING:
		client_log(c, "<-", message->text, message->text_bytes);
		if (c->state == CLIENT_GREETING)
			client_greeted(c);
		else if (!c->adopting)
			broken_by(c, message, "a second greeting");
		break;
	case WIRE_EVENT:
		client_log(c, "<-", message->text, message->text_bytes);
		if (!c->adopting)
			event_deliver(c, message);
		break;
	case WIRE_RETURN:
	case WIRE_ERROR:
		handle_reply(c, message);
		break;
	}
}

static void handle_all(struct qmp_client *c)
{
	while (client_connected(c)) {
		struct wire_message message;
		struct qmpsnap_error err;

		switch (wire_next(&c->wire, &message, &err)) {
		case WIRE_MORE:
			return;
		case WIRE_BROKEN:
			broken(c, &err);
			return;
		case WIRE_MESSAGE:
			handle(c, &message);
			wire_drop(&message);
			break;
		}
	}
}

static void no_memory(struct qmp_client *c)
{
	struct qmpsnap_error err;

	error_no_memory(&err);
	error_wrap(&err, "%s", c->peer);
	client_end(c, &err);
}

void client_receive(struct qmp_client *c, bool to_the_end)
{
	char bytes[READ_BYTES];

	for (int i = 0; client_connected(c) && (to_the_end || i < READS_PER_TURN); i++) {
		const ssize_t n = recv(c->fd, bytes, sizeof(bytes), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			client_gone(c, n < 0 ? errno : 0);
		else if (!wire_feed(&c->wire, bytes, (size_t)n))
			no_memory(c);
		else
			handle_all(c);
	}
}

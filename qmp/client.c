/* SPDX-License-Identifier: Apache-2.0 */
#include "qmp/private.h"

#include "base/log.h"
#include "base/units.h"
#include "qmp/address.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	HANDSHAKE_MS = 5000,
	COMMAND_MS = 30000,
	LOG_BYTES = 500,
};

uint64_t client_clock_ms(void)
{
	return uv_hrtime() / 1000000;
}

void client_log(const struct qmp_client *c, const char *arrow, const char *text, size_t n_bytes)
{
	char excerpt[LOG_BYTES];

	if (!log_wanted(QMPSNAP_LOG_DEBUG))
		return;
	wire_excerpt(excerpt, sizeof(excerpt), text, n_bytes);
	log_line(QMPSNAP_LOG_DEBUG, "%s %s %s", c->peer, arrow, excerpt);
}

/* ---- The loop's calls ---- */

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct qmp_client *c = poll->data;

	/* With an error on the socket libuv has stopped polling; what came before is still there
	 * to be read. */
	if (status < 0)
		c->poll_events = 0;
	if (status < 0 || (events & UV_READABLE))
		client_receive(c, status < 0);
	client_flush(c);
}

void client_on_timer(uv_timer_t *timer)
{
	struct qmp_client *c = timer->data;

	/* When it was this process that stood still, the replies are there by now. */
	client_receive(c, false);
	request_expire(c, client_clock_ms());
	request_schedule(c);
}

void client_watch(struct qmp_client *c)
{
	const int events =
		UV_READABLE | (c->unsent && c->state != CLIENT_GREETING ? UV_WRITABLE : 0);

	if (!client_connected(c) || events == c->poll_events)
		return;
	/* On failure the deadlines find the end. */
	if (uv_poll_start(&c->poll, events, on_poll) < 0)
		(void)shutdown(c->fd, SHUT_RDWR);
	else
		c->poll_events = events;
}

/* ---- Birth ---- */

static void client_free(struct qmp_client *c)
{
	while (c->spares) {
		struct qmp_request *r = c->spares;

		c->spares = r->next;
		free(r);
	}
	wire_free(&c->wire);
	free(c);
}

static int pid_of_peer(int fd)
{
	struct ucred cred = {0};
	socklen_t size = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) == 0 ? cred.pid : 0;
}

/* Polls nothing yet; `fd` is its own from here on, unless this returns NULL. */
static struct qmp_client *client_new(
	uv_loop_t *loop, int fd, const struct qmp_options *options, struct qmpsnap_error *err)
{
	struct qmp_client *c = calloc(1, sizeof(*c));
	uint64_t random;
	int status;

	if (!c || !wire_init(&c->wire, 0) || !request_reserve(c)) {
		error_no_memory(err);
		goto fail;
	}
	status = uv_random(NULL, NULL, &random, sizeof(random), 0, NULL);
	if (status == 0)
		status = uv_poll_init(loop, &c->poll, fd);
	if (status == 0)
		status = uv_timer_init(loop, &c->timer);
	if (status < 0) {
		error_set(err, QMPSNAP_INTERNAL, "monitor: %s", uv_strerror(status));
		goto fail;
	}
	c->loop = loop;
	c->fd = fd;
	c->poll.data = c->timer.data = c;
	c->open_handles = 2;
	c->peer_pid = pid_of_peer(fd);
	c->handshake_ms = options && options->handshake_ms ? options->handshake_ms : HANDSHAKE_MS;
	c->command_ms = options && options->command_ms ? options->command_ms : COMMAND_MS;
	(void)snprintf(c->id_front, sizeof(c->id_front), "%016" PRIx64, random);
	return c;
fail:
	if (c)
		client_free(c);
	return NULL;
}

static void in_use_error(const struct qmp_client *c, struct qmpsnap_error *err)
{
	char period[UNITS_TEXT_BYTES];

	units_format_duration(period, c->handshake_ms);
	error_set(err, QMPSNAP_REFUSED,
		"%s: the monitor is in use by another client (no greeting within %s)", c->peer,
		period);
	error_hint(err, "a monitor serves one client at a time: end the other one, or give the "
			"guest a second socket: -qmp unix:PATH,server=on,wait=off");
}

static void on_capabilities(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmp_client *c = data;
	struct qmpsnap_error why;

	(void)result;
	if (!client_connected(c))
		return;
	if (err) {
		why = *err;
		if (c->state == CLIENT_GREETING && err->code == QMPSNAP_DEADLINE)
			in_use_error(c, &why);
		else if (err->code != QMPSNAP_DEADLINE)
			error_wrap(&why, "%s", c->peer);
		client_end(c, &why);
		return;
	}
	c->state = CLIENT_READY;
	if (c->ready)
		c->ready(NULL, c->data);
}

void client_greeted(struct qmp_client *c)
{
	/* The first in the queue is qmp_capabilities, since qmp_open(). */
	c->first->due_ms = client_clock_ms() + c->handshake_ms;
	c->state = CLIENT_NEGOTIATING;
	client_flush(c);
	request_schedule(c);
}

struct qmp_client *qmp_open(uv_loop_t *loop, const struct qmp_address *address,
	const struct qmp_options *options, qmp_ready_fn *ready, qmp_lost_fn *lost, void *data,
	struct qmpsnap_error *err)
{
	struct qmp_request *capabilities;
	struct qmp_client *c;
	const int fd = options && options->has_fd ? options->fd : qmp_address_connect(address, err);

	if (fd < 0)
		return NULL;
	c = client_new(loop, fd, options, err);
	if (!c) {
		(void)close(fd);
		return NULL;
	}
	capabilities = qmp_request_new("qmp_capabilities", NULL);
	if (!capabilities) {
		error_no_memory(err);
		qmp_close(c, NULL, NULL);
		return NULL;
	}
	c->ready = ready;
	c->lost = lost;
	c->data = data;
	(void)snprintf(c->peer, sizeof(c->peer), "%s", address->text);
	qmp_send(c, capabilities, c->handshake_ms, on_capabilities, c);
	return c;
}

/* The path that QEMU listened on, where there is one. */
static void name_peer(struct qmp_client *c)
{
	struct sockaddr_un name = {0};
	socklen_t size = sizeof(name);

	if (getpeername(c->fd, (struct sockaddr *)&name, &size) == 0 &&
		name.sun_family == AF_UNIX && name.sun_path[0])
		(void)snprintf(c->peer, sizeof(c->peer), "unix:%.*s", (int)sizeof(name.sun_path),
			name.sun_path);
	else
		(void)snprintf(c->peer, sizeof(c->peer), "fd:%d", c->fd);
}

struct qmp_client *qmp_adopt(uv_loop_t *loop, int fd, const struct qmp_options *options,
	qmp_lost_fn *lost, void *data, struct qmpsnap_error *err)
{
	struct qmp_request *reset = request_raw("\xff", 1);
	struct qmp_client *c;

	if (!reset) {
		error_no_memory(err);
		return NULL;
	}
	c = client_new(loop, fd, options, err);
	if (!c) {
		qmp_request_free(reset);
		return NULL;
	}
	c->lost = lost;
	c->data = data;
	c->state = CLIENT_READY;
	c->adopting = true;
	c->wire.tolerant = true;
	name_peer(c);
	request_append(c, reset);
	return c;
}

/* ---- Death ---- */

static void finish(struct qmp_client *c)
{
	qmp_closed_fn *closed = c->closed;
	void *data = c->closed_data;

	while (c->first)
		request_complete(c, c->first, NULL, &c->why);
	client_free(c);
	if (closed)
		closed(data);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct qmp_client *c = handle->data;

	if (--c->open_handles == 0)
		finish(c);
}

/* libuv must let go of the descriptor before its number is free for others. */
static void disconnect(struct qmp_client *c)
{
	if (c->fd < 0)
		return;
	uv_close((uv_handle_t *)&c->poll, on_handle_closed);
	(void)close(c->fd);
	c->fd = -1;
	c->unsent = NULL;
}

void client_end(struct qmp_client *c, const struct qmpsnap_error *why)
{
	const bool was_ready = c->state == CLIENT_READY;

	if (!client_connected(c))
		return;
	c->state = CLIENT_LOST;
	c->why = *why;
	if (!was_ready && why->code == QMPSNAP_QEMU)
		c->why.code = QMPSNAP_REFUSED;
	/* A guard has duplicates, and QEMU serves the next client when this one has left. */
	(void)shutdown(c->fd, SHUT_RDWR);
	disconnect(c);
	request_fail_all(c, &c->why);
	if (c->state == CLIENT_CLOSING)
		return;
	if (was_ready && c->lost)
		c->lost(&c->why, c->data);
	else if (!was_ready && c->ready)
		c->ready(&c->why, c->data);
	request_schedule(c);
}

void client_gone(struct qmp_client *c, int errnum)
{
	const int detail = errnum ? errnum : ECONNRESET;
	struct qmpsnap_error err;

	if (c->state == CLIENT_GREETING && errnum && errnum != ECONNRESET && errnum != EPIPE) {
		error_errno(&err, QMPSNAP_REFUSED, errnum, "%s: cannot connect", c->peer);
	} else if (c->state == CLIENT_GREETING) {
		error_set(&err, QMPSNAP_REFUSED, "%s: closed without QEMU's greeting", c->peer);
		error_hint(&err, "QEMU has just ended, or this is not the socket of its -qmp");
	} else if (detail == ECONNRESET || detail == EPIPE) {
		error_set(&err, QMPSNAP_QEMU, "%s: QEMU is gone", c->peer);
		error_hint(&err, "it ended, or closed its monitor: its own log may say why");
	} else {
		error_errno(&err, QMPSNAP_QEMU, errnum, "%s: cannot read", c->peer);
	}
	err.detail = detail == EPIPE ? ECONNRESET : detail;
	client_end(c, &err);
}

void qmp_close(struct qmp_client *client, qmp_closed_fn *closed, void *data)
{
	if (client->state == CLIENT_CLOSING)
		return;
	if (client->state != CLIENT_LOST)
		error_set(
			&client->why, QMPSNAP_QEMU, "%s: the connection was closed", client->peer);
	client->state = CLIENT_CLOSING;
	client->closed = closed;
	client->closed_data = data;
	disconnect(client);
	uv_close((uv_handle_t *)&client->timer, on_handle_closed);
}

/* ---- State ---- */

const char *qmp_error_class(const struct qmp_client *client)
{
	return client->error_class;
}

int qmp_fd(const struct qmp_client *client)
{
	return client->fd;
}

bool qmp_is_lost(const struct qmp_client *client)
{
	return client->state >= CLIENT_LOST;
}

const char *qmp_peer(const struct qmp_client *client)
{
	return client->peer;
}

int qmp_peer_pid(const struct qmp_client *client)
{
	return client->peer_pid;
}

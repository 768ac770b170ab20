/* SPDX-License-Identifier: Apache-2.0 */
#include "qmp/agent_private.h"

#include "base/log.h"
#include "base/units.h"
#include "qmp/address.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_timer(uv_timer_t *timer);
static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct agent *a)
{
	const int events = UV_READABLE | (a->sent_bytes < a->line_bytes ? UV_WRITABLE : 0);

	if (a->fd < 0 || events == a->poll_events)
		return;
	/* On failure the deadline finds the end. */
	if (uv_poll_start(&a->poll, events, on_poll) == 0)
		a->poll_events = events;
}

void agent_log(const struct agent *a, const char *arrow, const char *text, size_t n_bytes)
{
	char excerpt[AGENT_TEXT_BYTES];

	if (!log_wanted(QMPSNAP_LOG_DEBUG))
		return;
	wire_excerpt(excerpt, sizeof(excerpt), text, n_bytes);
	log_line(QMPSNAP_LOG_DEBUG, "%s %s %s", a->peer, arrow, excerpt);
}

/* ---- The end of a command ---- */

static void set_timer(struct agent *a, unsigned ms)
{
	a->timer_serial++;
	uv_update_time(a->timer.loop);
	(void)uv_timer_start(&a->timer, on_timer, ms, 0);
}

void agent_complete(struct agent *a, struct json_object *result, const struct qmpsnap_error *err)
{
	agent_reply_fn *reply = a->reply;

	/* More than was asked for. */
	if (a->wire.start != a->wire.end)
		a->in_step = false;
	wire_reset(&a->wire);
	a->state = AGENT_IDLE;
	a->reply = NULL;
	(void)uv_timer_stop(&a->timer);
	if (reply)
		reply(result, err, a->data);
}

/* Ends the running command, if one runs, with a channel out of step. */
void agent_fail(struct agent *a, const struct qmpsnap_error *err)
{
	a->in_step = false;
	if (a->state != AGENT_IDLE)
		agent_complete(a, NULL, err);
}

static void fail_later(struct agent *a, const struct qmpsnap_error *err)
{
	a->why = *err;
	a->state = AGENT_FAILED;
	set_timer(a, 0);
}

static void set_late(const struct agent *a, struct qmpsnap_error *err)
{
	const bool syncing = a->state != AGENT_ASKED;
	char period[UNITS_TEXT_BYTES];

	units_format_duration(period, syncing ? a->sync_ms : a->deadline_ms);
	if (syncing) {
		error_set(err, QMPSNAP_AGENT, "%s: no agent answers within %s", a->peer, period);
		error_hint(err, "is qemu-guest-agent running in the guest, the guest not paused, "
				"and no other program connected to this socket?");
	} else {
		error_set(err, QMPSNAP_AGENT, "%s: no reply to %s within %s", a->peer, a->command,
			period);
		error_hint(err, "the guest may be busy writing its caches out");
	}
	err->detail = ETIMEDOUT;
}

static void on_timer(uv_timer_t *timer)
{
	struct agent *a = timer->data;
	const uint32_t serial = a->timer_serial;
	struct qmpsnap_error err;

	/* When it was this process that stood still, the answer is there by now. */
	if (a->state > AGENT_WAITING)
		agent_receive(a, false);
	if (a->timer_serial != serial)
		return;
	switch (a->state) {
	case AGENT_IDLE:
		break;
	case AGENT_WAITING:
		agent_complete(a, NULL, NULL);
		break;
	case AGENT_FAILED:
		err = a->why;
		agent_complete(a, NULL, &err);
		break;
	case AGENT_SKIPPING:
	case AGENT_SYNCING:
	case AGENT_ASKED:
		set_late(a, &err);
		agent_fail(a, &err);
		break;
	}
}

void agent_give_up(struct agent *agent)
{
	struct qmpsnap_error err;

	if (agent->state == AGENT_WAITING) {
		set_timer(agent, 0);
	} else if (agent->state > AGENT_WAITING) {
		error_set(&err, QMPSNAP_AGENT, "%s: not waited for any longer", agent->peer);
		err.detail = ECANCELED;
		agent->in_step = false;
		fail_later(agent, &err);
	}
}

/* ---- Sending ---- */

static void flush(struct agent *a)
{
	while (a->fd >= 0 && a->sent_bytes < a->line_bytes) {
		const ssize_t n = send(a->fd, a->line + a->sent_bytes,
			a->line_bytes - a->sent_bytes, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			/* What was said last may be unread: reading finds the end behind it. */
			if (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM)
				a->sent_bytes = a->line_bytes;
			break;
		}
		a->sent_bytes += (size_t)n;
	}
	watch(a);
}

static void send_sync(struct agent *a)
{
	a->in_step = false;
	a->state = AGENT_SKIPPING;
	wire_reset(&a->wire);
	a->sync_id = a->sync_id == INT64_MAX ? 1 : a->sync_id + 1;
	a->line_bytes = (size_t)snprintf(a->line, sizeof(a->line),
		"\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":%" PRId64 "}}\n",
		a->sync_id);
	a->sent_bytes = 0;
	agent_log(a, "->", a->line + 1, a->line_bytes - 2);
	set_timer(a, a->sync_ms);
	flush(a);
}

void agent_send_command(struct agent *a)
{
	a->state = AGENT_ASKED;
	a->line_bytes =
		(size_t)snprintf(a->line, sizeof(a->line), "{\"execute\":\"%s\"}\n", a->command);
	a->sent_bytes = 0;
	agent_log(a, "->", a->line, a->line_bytes - 1);
	set_timer(a, a->deadline_ms);
	flush(a);
}

/* The running command is the caller's from here on; false: it has failed already. */
static bool begin(struct agent *a, const char *command, agent_reply_fn *reply, void *data)
{
	assert(a->state == AGENT_IDLE && strlen(command) < sizeof(a->command));
	a->reply = reply;
	a->data = data;
	(void)snprintf(a->command, sizeof(a->command), "%s", command);
	if (a->fd < 0)
		fail_later(a, &a->why);
	return a->fd >= 0;
}

void agent_sync(struct agent *agent, agent_reply_fn *reply, void *data)
{
	if (begin(agent, "", reply, data))
		send_sync(agent);
}

void agent_execute(struct agent *agent, const char *command, unsigned deadline_ms,
	agent_reply_fn *reply, void *data)
{
	agent->deadline_ms = deadline_ms;
	if (!begin(agent, command, reply, data))
		return;
	if (agent->in_step)
		agent_send_command(agent);
	else
		send_sync(agent);
}

void agent_wait(struct agent *agent, unsigned ms, agent_reply_fn *reply, void *data)
{
	if (!begin(agent, "", reply, data))
		return;
	agent->state = AGENT_WAITING;
	set_timer(agent, ms);
}

/* ---- The socket ---- */

static void on_handle_closed(uv_handle_t *handle)
{
	struct agent *a = handle->data;
	agent_closed_fn *closed = a->closed;
	void *data = a->closed_data;

	if (--a->open_handles > 0)
		return;
	wire_free(&a->wire);
	free(a);
	if (closed)
		closed(data);
}

/* libuv must let go of the descriptor before its number is free for others. */
void agent_disconnect(struct agent *a)
{
	if (a->fd < 0)
		return;
	uv_close((uv_handle_t *)&a->poll, on_handle_closed);
	(void)close(a->fd);
	a->fd = -1;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct agent *a = poll->data;

	/* With an error on the socket libuv has stopped polling; what came before is still there
	 * to be read. */
	if (status < 0)
		a->poll_events = 0;
	if (status < 0 || (events & UV_READABLE))
		agent_receive(a, status < 0);
	flush(a);
}

/* ---- Birth and end ---- */

/* `fd` is its own from here on, unless this returns NULL. */
static struct agent *agent_new(uv_loop_t *loop, int fd, unsigned sync_ms, struct qmpsnap_error *err)
{
	struct agent *a = calloc(1, sizeof(*a));
	uint64_t random;
	int status;

	if (!a || !wire_init(&a->wire, AGENT_LIMIT_BYTES)) {
		error_no_memory(err);
		goto fail;
	}
	status = uv_random(NULL, NULL, &random, sizeof(random), 0, NULL);
	if (status == 0)
		status = uv_poll_init(loop, &a->poll, fd);
	if (status == 0)
		status = uv_timer_init(loop, &a->timer);
	if (status < 0) {
		error_set(err, QMPSNAP_INTERNAL, "guest agent: %s", uv_strerror(status));
		goto fail;
	}
	a->fd = fd;
	a->poll.data = a->timer.data = a;
	a->open_handles = 2;
	a->sync_id = (int64_t)(random >> 2);
	a->sync_ms = sync_ms ? sync_ms : AGENT_SYNC_MS;
	watch(a);
	return a;
fail:
	if (a)
		wire_free(&a->wire);
	free(a);
	return NULL;
}

struct agent *agent_open(uv_loop_t *loop, const struct qmp_address *address, unsigned sync_ms,
	struct qmpsnap_error *err)
{
	const int fd = qmp_address_connect(address, err);
	struct agent *a;

	if (fd < 0) {
		if (err->code == QMPSNAP_REFUSED)
			err->code = QMPSNAP_AGENT;
		error_wrap(err, "guest agent");
		error_hint(err, "this must be the socket of the guest's agent: -chardev socket,"
				"id=qga,path=PATH,server=on,wait=off -device virtio-serial -device "
				"virtserialport,chardev=qga,name=org.qemu.guest_agent.0");
		return NULL;
	}
	a = agent_new(loop, fd, sync_ms, err);
	if (!a)
		(void)close(fd);
	else
		(void)snprintf(a->peer, sizeof(a->peer), "guest agent %s", address->text);
	return a;
}

struct agent *agent_adopt(uv_loop_t *loop, int fd, unsigned sync_ms, struct qmpsnap_error *err)
{
	struct agent *a = agent_new(loop, fd, sync_ms, err);

	if (a)
		(void)snprintf(a->peer, sizeof(a->peer), "guest agent");
	return a;
}

void agent_close(struct agent *agent, agent_closed_fn *closed, void *data)
{
	if (agent->closing)
		return;
	agent->closing = true;
	agent->closed = closed;
	agent->closed_data = data;
	agent->state = AGENT_IDLE;
	agent_disconnect(agent);
	uv_close((uv_handle_t *)&agent->timer, on_handle_closed);
}

const char *agent_error_class(const struct agent *agent)
{
	return agent->error_class;
}

int agent_fd(const struct agent *agent)
{
	return agent->fd;
}

bool agent_is_lost(const struct agent *agent)
{
	return agent->fd < 0;
}

const char *agent_peer(const struct agent *agent)
{
	return agent->peer;
}

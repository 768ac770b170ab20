/* SPDX-License-Identifier: Apache-2.0 */
#include "base/units.h"
#include "qmp/private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Making ---- */

/* The id's place in a line; the client that sends it fills it in. */
#define ID_FRONT "\"id\":\""
#define ID_BLANK "0000000000000000-00000000"
#define ID_BACK  "\"}\n"

static struct qmp_request *request_alloc(const char *command, size_t line_bytes)
{
	struct qmp_request *r = calloc(1, sizeof(*r) + line_bytes + 1);

	if (!r)
		return NULL;
	r->fd = -1;
	(void)snprintf(r->command, sizeof(r->command), "%s", command);
	return r;
}

struct qmp_request *qmp_request_new(const char *command, struct json_object *arguments)
{
	struct json_object *name = json_object_new_string(command);
	const char *quoted = name ? json_text(name) : NULL;
	const char *text = arguments ? json_text(arguments) : "{}";
	struct qmp_request *r = NULL;

	if (quoted && text) {
		const size_t room = strlen("{\"execute\":,\"arguments\":,") + strlen(quoted) +
				    strlen(text) + strlen(ID_FRONT ID_BLANK ID_BACK);

		r = request_alloc(command, room);
		if (r) {
			r->line_bytes = (size_t)snprintf(r->line, room + 1,
				"{\"execute\":%s,\"arguments\":%s," ID_FRONT ID_BLANK ID_BACK,
				quoted, text);
			r->id = r->line + r->line_bytes - strlen(ID_BLANK ID_BACK);
		}
	}
	json_object_put(name);
	json_object_put(arguments);
	return r;
}

void qmp_request_free(struct qmp_request *request)
{
	free(request);
}

struct qmp_request *request_raw(const char *bytes, size_t n_bytes)
{
	struct qmp_request *r = request_alloc("", n_bytes);

	if (!r)
		return NULL;
	memcpy(r->line, bytes, n_bytes);
	r->line_bytes = n_bytes;
	return r;
}

bool request_reserve(struct qmp_client *c)
{
	for (int i = 0; i < CLIENT_SPARES; i++) {
		struct qmp_request *r = request_alloc("", 0);

		if (!r)
			return false;
		r->spare = true;
		r->next = c->spares;
		c->spares = r;
	}
	return true;
}

void request_release(struct qmp_client *c, struct qmp_request *r)
{
	if (!r->spare) {
		free(r);
		return;
	}
	r->next = c->spares;
	c->spares = r;
}

/* ---- Sending ---- */

void request_append(struct qmp_client *c, struct qmp_request *r)
{
	struct qmp_request **end = &c->first;

	while (*end)
		end = &(*end)->next;
	r->next = NULL;
	*end = r;
	r->serial = ++c->serial;
	if (r->id) {
		char id[REQUEST_ID_BYTES];

		(void)snprintf(id, sizeof(id), "%s-%08" PRIx32, c->id_front, r->serial);
		memcpy(r->id, id, sizeof(id) - 1);
	}
	if (!r->no_memory && !c->unsent)
		c->unsent = r;
	client_flush(c);
	request_schedule(c);
}

void qmp_send(struct qmp_client *client, struct qmp_request *request, unsigned deadline_ms,
	qmp_reply_fn *reply, void *data)
{
	request->reply = reply;
	request->data = data;
	request->deadline_ms = deadline_ms ? deadline_ms : client->command_ms;
	request->due_ms = client_clock_ms() + request->deadline_ms;
	request_append(client, request);
}

static void send_no_memory(
	struct qmp_client *client, const char *command, qmp_reply_fn *reply, void *data)
{
	struct qmp_request *r = client->spares;

	if (!r) {
		struct qmpsnap_error err;

		error_no_memory(&err);
		error_wrap(&err, "%s", command);
		reply(NULL, &err, data);
		return;
	}
	client->spares = r->next;
	r->no_memory = true;
	(void)snprintf(r->command, sizeof(r->command), "%s", command);
	qmp_send(client, r, 0, reply, data);
}

void qmp_execute_with_fd(struct qmp_client *client, const char *command,
	struct json_object *arguments, int fd, qmp_reply_fn *reply, void *data)
{
	struct qmp_request *r = qmp_request_new(command, arguments);

	if (!r) {
		send_no_memory(client, command, reply, data);
		return;
	}
	r->fd = fd;
	qmp_send(client, r, 0, reply, data);
}

void qmp_execute(struct qmp_client *client, const char *command, struct json_object *arguments,
	qmp_reply_fn *reply, void *data)
{
	qmp_execute_with_fd(client, command, arguments, -1, reply, data);
}

/* ---- Completing ---- */

struct qmp_request *request_find(const struct qmp_client *c, const char *id)
{
	if (!id || strlen(id) != REQUEST_ID_BYTES - 1)
		return NULL;
	for (struct qmp_request *r = c->first; r; r = r->next)
		if (r->id && r->reply && r->sent_bytes == r->line_bytes &&
			memcmp(r->id, id, REQUEST_ID_BYTES - 1) == 0)
			return r;
	return NULL;
}

static void unlink_request(struct qmp_client *c, struct qmp_request *r)
{
	struct qmp_request **at = &c->first;

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	if (c->unsent == r)
		c->unsent = r->next;
}

void request_complete(struct qmp_client *c, struct qmp_request *r, struct json_object *result,
	const struct qmpsnap_error *err)
{
	qmp_reply_fn *reply = r->reply;
	void *data = r->data;
	struct qmpsnap_error wrapped;

	if (err) {
		wrapped = *err;
		if (err->code != QMPSNAP_DEADLINE)
			error_wrap(&wrapped, "%s", r->command);
	}
	if (client_connected(c) && r->sent_bytes > 0 && r->sent_bytes < r->line_bytes) {
		r->reply = NULL;
	} else {
		unlink_request(c, r);
		request_release(c, r);
	}
	if (reply)
		reply(result, err ? &wrapped : NULL, data);
}

static bool is_due(const struct qmp_client *c, const struct qmp_request *r, uint64_t now_ms)
{
	return r->reply &&
	       (!client_connected(c) || r->no_memory || r->send_errno || r->due_ms <= now_ms);
}

/* Of those that were there up to `serial` and have nothing to wait for, the one whose time is up
 * longest. */
static struct qmp_request *next_due(const struct qmp_client *c, uint32_t serial, uint64_t now_ms)
{
	struct qmp_request *found = NULL;

	for (struct qmp_request *r = c->first; r && r->serial <= serial; r = r->next)
		if (is_due(c, r, now_ms) && (!found || r->due_ms < found->due_ms))
			found = r;
	return found;
}

static void late_error(
	const struct qmp_client *c, const struct qmp_request *r, struct qmpsnap_error *err)
{
	char period[UNITS_TEXT_BYTES];

	units_format_duration(period, r->deadline_ms);
	error_set(
		err, QMPSNAP_DEADLINE, "%s: no reply to %s within %s", c->peer, r->command, period);
	error_hint(err, "QEMU or the storage under it may hang");
}

void request_expire(struct qmp_client *c, uint64_t now_ms)
{
	const uint32_t serial = c->serial;
	struct qmp_request *r;

	while (c->state != CLIENT_CLOSING && (r = next_due(c, serial, now_ms))) {
		struct qmpsnap_error err;

		if (!client_connected(c))
			err = c->why;
		else if (r->no_memory)
			error_no_memory(&err);
		else if (r->send_errno)
			error_errno(
				&err, QMPSNAP_INTERNAL, r->send_errno, "%s: cannot send", c->peer);
		else
			late_error(c, r, &err);
		request_complete(c, r, NULL, &err);
	}
}

void request_fail_all(struct qmp_client *c, const struct qmpsnap_error *why)
{
	const enum client_state state = c->state;
	const uint32_t serial = c->serial;

	while (c->state == state && c->first && c->first->serial <= serial)
		request_complete(c, c->first, NULL, why);
}

void request_schedule(struct qmp_client *c)
{
	const uint64_t now = client_clock_ms();
	uint64_t due = UINT64_MAX;

	if (c->state == CLIENT_CLOSING)
		return;
	for (const struct qmp_request *r = c->first; r; r = r->next) {
		if (!r->reply)
			continue;
		if (!client_connected(c) || r->no_memory || r->send_errno)
			due = now;
		if (r->due_ms < due)
			due = r->due_ms;
	}
	if (due == UINT64_MAX)
		(void)uv_timer_stop(&c->timer);
	else
		(void)uv_timer_start(&c->timer, client_on_timer, due > now ? due - now : 0, 0);
}

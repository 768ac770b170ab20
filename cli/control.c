/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/control.h"

#include "base/error.h"
#include "base/json.h"
#include "base/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct control {
	uv_pipe_t listener;
	unsigned n_handles; /* on the loop, the clients' too */
	unsigned n_clients;
	struct client *clients[CONTROL_CLIENTS];
	int folder;
	char name[32];
	control_fn *answer;
	void *data;
};

struct client {
	uv_pipe_t pipe;
	uv_timer_t timer;
	uv_write_t write;
	unsigned n_handles;
	struct control *control;
	struct control_peer peer;
	char in[CONTROL_REQUEST_BYTES];
	size_t n_in;
	char *out;
	bool answered;
};

/* ---- Ends ---- */

static void handle_gone(struct control *control)
{
	if (--control->n_handles > 0)
		return;
	(void)close(control->folder);
	free(control);
}

static void on_client_closed(uv_handle_t *handle)
{
	struct client *client = handle->data;
	struct control *control = client->control;

	if (--client->n_handles == 0) {
		free(client->out);
		free(client);
	}
	handle_gone(control);
}

static void drop(struct client *client)
{
	struct control *control = client->control;

	if (uv_is_closing((uv_handle_t *)&client->pipe))
		return;
	for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
		if (control->clients[i] == client)
			control->clients[i] = NULL;
	}
	control->n_clients--;
	uv_close((uv_handle_t *)&client->pipe, on_client_closed);
	uv_close((uv_handle_t *)&client->timer, on_client_closed);
}

static void on_too_late(uv_timer_t *timer)
{
	drop(timer->data);
}

/* ---- One request ---- */

static void on_written(uv_write_t *write, int status)
{
	(void)status;
	drop(write->data);
}

/* Takes the object. */
static void reply(struct client *client, struct json_object *object)
{
	const char *text = object ? json_text(object) : NULL;

	client->answered = true;
	(void)uv_read_stop((uv_stream_t *)&client->pipe);
	if (text && strlen(text) < CONTROL_REPLY_BYTES && asprintf(&client->out, "%s\n", text) < 0)
		client->out = NULL;
	json_object_put(object);
	if (!client->out) {
		drop(client);
		return;
	}
	const uv_buf_t buffer = uv_buf_init(client->out, (unsigned)strlen(client->out));
	client->write.data = client;
	if (uv_write(&client->write, (uv_stream_t *)&client->pipe, &buffer, 1, on_written) != 0)
		drop(client);
}

static void refuse(struct client *client, const char *why)
{
	struct json_object *object = json_object_new_object();

	json_put_int(object, "schema", 1);
	json_put_string(object, "error", why);
	reply(client, object);
}

static void take_line(struct client *client, size_t length)
{
	struct json_tokener *tokener = json_tokener_new_ex(4);
	struct json_object *request =
		tokener ? json_tokener_parse_ex(tokener, client->in, (int)length) : NULL;

	if (json_object_is_type(request, json_type_object))
		reply(client,
			client->control->answer(request, &client->peer, client->control->data));
	else
		refuse(client, "the request is no JSON object in a line");
	json_object_put(request);
	if (tokener)
		json_tokener_free(tokener);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
	struct client *client = handle->data;

	(void)suggested;
	*buffer = uv_buf_init(
		client->in + client->n_in, (unsigned)(sizeof(client->in) - client->n_in));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
	struct client *client = stream->data;

	(void)buffer;
	if (n == UV_ENOBUFS) {
		refuse(client, "the request is too long");
		return;
	}
	if (n < 0) {
		drop(client);
		return;
	}
	client->n_in += (size_t)n;
	const char *end = memchr(client->in, '\n', client->n_in);
	if (end && !client->answered)
		take_line(client, (size_t)(end - client->in));
}

/* ---- Clients ---- */

static bool may_ask(struct client *client)
{
	struct ucred cred;
	socklen_t size = sizeof(cred);
	uv_os_fd_t fd;

	if (uv_fileno((uv_handle_t *)&client->pipe, &fd) != 0 ||
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) != 0)
		return false;
	client->peer = (struct control_peer){.pid = cred.pid, .uid = cred.uid};
	return cred.uid == geteuid() || cred.uid == 0;
}

static void enter(struct control *control, struct client *client)
{
	size_t i = 0;

	control->n_clients++;
	while (i < CONTROL_CLIENTS && control->clients[i])
		i++;
	if (i < CONTROL_CLIENTS)
		control->clients[i] = client;
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct control *control = listener->data;
	struct client *client = status == 0 ? calloc(1, sizeof(*client)) : NULL;

	/* Without memory whoever has connected waits for its own deadline. */
	if (!client)
		return;
	client->control = control;
	client->pipe.data = client->timer.data = client;
	(void)uv_pipe_init(listener->loop, &client->pipe, 0);
	(void)uv_timer_init(listener->loop, &client->timer);
	client->n_handles = 2;
	control->n_handles += 2;
	const bool full = control->n_clients == CONTROL_CLIENTS;
	enter(control, client);
	bool well = uv_accept(listener, (uv_stream_t *)&client->pipe) == 0 && !full &&
		    uv_timer_start(&client->timer, on_too_late, CONTROL_MS, 0) == 0;
	if (well && !may_ask(client))
		refuse(client, "this run belongs to another user");
	else if (well)
		well = uv_read_start((uv_stream_t *)&client->pipe, on_alloc, on_read) == 0;
	if (!well)
		drop(client);
}

/* ---- Listening ---- */

static bool say_why(struct qmpsnap_error *err, int errnum)
{
	return error_errno(err, QMPSNAP_REFUSED, errnum, "the control socket can't be made");
}

/* A name appears once somebody listens behind it: what doesn't answer is a dead run's. */
static bool listen_as(struct control *control, uv_loop_t *loop, struct qmpsnap_error *err)
{
	char hidden[sizeof(control->name) + 1];
	struct sockaddr_un address;
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return say_why(err, errno);
	(void)snprintf(hidden, sizeof(hidden), ".%s", control->name);
	state_address(control->folder, hidden, &address);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		say_why(err, errno);
		(void)close(fd);
		return false;
	}
	(void)uv_pipe_init(loop, &control->listener, 0);
	control->listener.data = control;
	control->n_handles = 1;
	int status = uv_pipe_open(&control->listener, fd);
	if (status != 0)
		(void)close(fd);
	if (status == 0 && fchmodat(control->folder, hidden, 0600, 0) < 0)
		status = -errno;
	if (status == 0)
		status = uv_listen(
			(uv_stream_t *)&control->listener, CONTROL_CLIENTS, on_connection);
	if (status == 0 && renameat(control->folder, hidden, control->folder, control->name) < 0)
		status = -errno;
	if (status == 0)
		return true;
	(void)unlinkat(control->folder, hidden, 0);
	return say_why(err, -status);
}

static void on_listener_closed(uv_handle_t *handle)
{
	handle_gone(handle->data);
}

struct control *control_open(
	uv_loop_t *loop, const char *run, control_fn *answer, void *data, struct qmpsnap_error *err)
{
	struct control *control = calloc(1, sizeof(*control));

	if (!control) {
		error_no_memory(err);
		return NULL;
	}
	control->answer = answer;
	control->data = data;
	(void)snprintf(control->name, sizeof(control->name), "%.16s.sock", run);
	control->folder = state_open(NULL, "run", true, err);
	if (control->folder >= 0 && listen_as(control, loop, err))
		return control;
	if (control->n_handles > 0) {
		uv_close((uv_handle_t *)&control->listener, on_listener_closed);
		return NULL;
	}
	if (control->folder >= 0)
		(void)close(control->folder);
	free(control);
	return NULL;
}

void control_close(struct control *control)
{
	if (!control)
		return;
	(void)unlinkat(control->folder, control->name, 0);
	uv_close((uv_handle_t *)&control->listener, on_listener_closed);
	for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
		if (control->clients[i])
			drop(control->clients[i]);
	}
}

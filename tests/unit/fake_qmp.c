/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fake_qmp.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define GREETING                                                                                   \
	"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "         \
	"\"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n"

static void on_peer(uv_poll_t *poll, int status, int events);

static void watch(struct fake_qmp *fake)
{
	const int writable = fake->out_done < fake->out_bytes || fake->hang_up ? UV_WRITABLE : 0;

	if (fake->peer_fd >= 0)
		ck_assert_int_eq(uv_poll_start(&fake->peer, UV_READABLE | writable, on_peer), 0);
}

/* ---- Saying ---- */

void fake_qmp_raw(struct fake_qmp *fake, const void *bytes, size_t n_bytes)
{
	char *out = realloc(fake->out, fake->out_bytes + n_bytes);

	ck_assert_ptr_nonnull(out);
	memcpy(out + fake->out_bytes, bytes, n_bytes);
	fake->out = out;
	fake->out_bytes += n_bytes;
	watch(fake);
}

static void say(struct fake_qmp *fake, const char *text)
{
	fake_qmp_raw(fake, text, strlen(text));
}

static void say_reply(struct fake_qmp *fake, const char *member, const char *value)
{
	say(fake, "{\"");
	say(fake, member);
	say(fake, "\": ");
	say(fake, value);
	if (fake->last_id) {
		say(fake, ", \"id\": ");
		say(fake, fake->last_id);
	}
	say(fake, "}\r\n");
}

static void say_error(struct fake_qmp *fake, const char *class_and_desc)
{
	const char *desc = strchr(class_and_desc, ' ');
	struct json_object *error = json_object_new_object();

	ck_assert_ptr_nonnull(desc);
	json_object_object_add(error, "class",
		json_object_new_string_len(class_and_desc, (int)(desc - class_and_desc)));
	json_object_object_add(error, "desc", json_object_new_string(desc + 1));
	say_reply(fake, "error", json_object_to_json_string(error));
	json_object_put(error);
}

void fake_qmp_event(struct fake_qmp *fake, const char *name_and_data)
{
	const size_t name_bytes = strcspn(name_and_data, " ");
	const char *data = name_and_data + name_bytes;

	say(fake, "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"");
	fake_qmp_raw(fake, name_and_data, name_bytes);
	say(fake, *data ? "\", \"data\":" : "\"");
	say(fake, data);
	say(fake, "}\r\n");
}

static void say_raw(struct fake_qmp *fake, const char *text)
{
	const char *id = strstr(text, "%ID");

	if (id) {
		ck_assert_ptr_nonnull(fake->last_id);
		fake_qmp_raw(fake, text, (size_t)(id - text));
		say(fake, fake->last_id);
		text = id + strlen("%ID");
	}
	say(fake, text);
}

void fake_qmp_hang_up(struct fake_qmp *fake)
{
	fake->hang_up = true;
	watch(fake);
}

/* ---- The script ---- */

static void play(struct fake_qmp *fake, const struct fake_step *step)
{
	switch (step->act) {
	case FAKE_RETURN:
		say_reply(fake, "return", step->text ? step->text : "{}");
		break;
	case FAKE_ERROR:
		say_error(fake, step->text);
		break;
	case FAKE_EVENT:
		fake_qmp_event(fake, step->text);
		break;
	case FAKE_RAW:
		say_raw(fake, step->text);
		break;
	case FAKE_HANG_UP:
		fake_qmp_hang_up(fake);
		break;
	case FAKE_END:
	case FAKE_SILENCE:
		break;
	}
}

static void play_on(struct fake_qmp *fake)
{
	while (!fake_qmp_is_done(fake) && !fake->at->expect)
		play(fake, fake->at++);
}

static void handle(struct fake_qmp *fake, const char *command)
{
	char *body = NULL;

	if (!fake->options.manual && strcmp(command, "qmp_capabilities") == 0) {
		say_reply(fake, "return", "{}");
		play_on(fake);
		return;
	}
	fake->n_commands++;
	if (!fake_qmp_is_done(fake)) {
		ck_assert_str_eq(command, fake->at->expect);
		play(fake, fake->at++);
		play_on(fake);
		return;
	}
	if (fake->options.handler)
		body = fake->options.handler(command, fake->last_arguments, fake->options.data);
	if (body) {
		say(fake, "{");
		say(fake, body);
		say(fake, ", \"id\": ");
		say(fake, fake->last_id);
		say(fake, "}\r\n");
	} else {
		say_error(fake, "CommandNotFound The command has not been found");
	}
	free(body);
}

static void take_line(struct fake_qmp *fake, const char *line)
{
	struct json_object *message = json_tokener_parse(line);
	struct json_object *member = NULL;

	if (!message) {
		/* As QEMU answers what it can't parse. */
		say(fake,
			"{\"error\": {\"class\": \"GenericError\", \"desc\": \"JSON parse error\"}}"
			"\r\n");
		return;
	}
	json_object_put(fake->last_arguments);
	fake->last_arguments = NULL;
	if (json_object_object_get_ex(message, "arguments", &member))
		fake->last_arguments = json_object_get(member);
	free(fake->last_id);
	fake->last_id = NULL;
	if (json_object_object_get_ex(message, "id", &member))
		fake->last_id = strdup(json_object_to_json_string(member));
	ck_assert(json_object_object_get_ex(message, "execute", &member));
	(void)snprintf(fake->last_command, sizeof(fake->last_command), "%s",
		json_object_get_string(member));
	json_object_put(message);
	handle(fake, fake->last_command);
}

/* ---- The connection ---- */

static void on_connection(uv_poll_t *poll, int status, int events);

static void listen_on(struct fake_qmp *fake)
{
	ck_assert_int_eq(uv_poll_start(&fake->listener, UV_READABLE, on_connection), 0);
}

static void free_if_done(struct fake_qmp *fake)
{
	if (fake->open_handles > 0 || fake->loop)
		return;
	json_object_put(fake->last_arguments);
	free(fake->last_id);
	free(fake->in);
	free(fake->out);
	free(fake);
}

static void on_closed(uv_handle_t *handle)
{
	struct fake_qmp *fake = handle->data;

	fake->open_handles--;
	if (fake->loop && fake->listen_fd >= 0)
		listen_on(fake);
	free_if_done(fake);
}

static void close_peer(struct fake_qmp *fake)
{
	if (fake->peer_fd < 0)
		return;
	uv_close((uv_handle_t *)&fake->peer, on_closed);
	(void)close(fake->peer_fd);
	fake->peer_fd = -1;
}

/* A 0xFF resets the parser: what stands in front of it is an error of its own. */
static void reset_parser(struct fake_qmp *fake)
{
	char *reset = fake->in_bytes ? memchr(fake->in, 0xff, fake->in_bytes) : NULL;

	if (!reset)
		return;
	(void)snprintf(
		fake->raw_in, sizeof(fake->raw_in), "%.*s", (int)(reset - fake->in + 1), fake->in);
	fake->in_bytes -= (size_t)(reset + 1 - fake->in);
	memmove(fake->in, reset + 1, fake->in_bytes);
	take_line(fake, "?");
}

static void take_lines(struct fake_qmp *fake)
{
	char *newline;

	reset_parser(fake);
	while (fake->in_bytes && !fake->hang_up &&
		(newline = memchr(fake->in, '\n', fake->in_bytes))) {
		*newline = '\0';
		take_line(fake, fake->in);
		fake->in_bytes -= (size_t)(newline + 1 - fake->in);
		memmove(fake->in, newline + 1, fake->in_bytes);
	}
}

static void read_peer(struct fake_qmp *fake)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	char bytes[64 << 10];
	struct iovec into = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	struct msghdr message = {
		.msg_iov = &into,
		.msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room),
	};
	const ssize_t n = recvmsg(fake->peer_fd, &message, MSG_CMSG_CLOEXEC);
	const struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		close_peer(fake);
		return;
	}
	if (header && header->cmsg_type == SCM_RIGHTS) {
		if (fake->received_fd >= 0)
			(void)close(fake->received_fd);
		memcpy(&fake->received_fd, CMSG_DATA(header), sizeof(int));
	}
	while (fake->in_room < fake->in_bytes + (size_t)n) {
		fake->in_room = 2 * fake->in_room + sizeof(bytes);
		fake->in = realloc(fake->in, fake->in_room);
		ck_assert_ptr_nonnull(fake->in);
	}
	memcpy(fake->in + fake->in_bytes, bytes, (size_t)n);
	fake->in_bytes += (size_t)n;
	take_lines(fake);
}

static void write_peer(struct fake_qmp *fake)
{
	size_t n_bytes = fake->out_bytes - fake->out_done;
	ssize_t n;

	if (fake->options.random_chunks)
		n_bytes = 1 + (size_t)random() % fake->options.chunk;
	else if (fake->options.chunk && n_bytes > fake->options.chunk)
		n_bytes = fake->options.chunk;
	if (n_bytes > fake->out_bytes - fake->out_done)
		n_bytes = fake->out_bytes - fake->out_done;
	n = send(fake->peer_fd, fake->out + fake->out_done, n_bytes, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN) {
		close_peer(fake);
		return;
	}
	fake->out_done += n > 0 ? (size_t)n : 0;
	if (fake->out_done == fake->out_bytes) {
		fake->out_done = fake->out_bytes = 0;
		if (fake->hang_up)
			close_peer(fake);
	}
	watch(fake);
}

static void on_peer(uv_poll_t *poll, int status, int events)
{
	struct fake_qmp *fake = poll->data;

	if (status < 0 || (events & UV_READABLE))
		read_peer(fake);
	if (fake->peer_fd >= 0 && (events & UV_WRITABLE))
		write_peer(fake);
}

static void serve(struct fake_qmp *fake, int fd)
{
	fake->peer_fd = fd;
	fake->n_clients++;
	fake->hang_up = false;
	fake->in_bytes = fake->out_bytes = fake->out_done = 0;
	ck_assert_int_eq(uv_poll_init(fake->loop, &fake->peer, fd), 0);
	fake->peer.data = fake;
	fake->open_handles++;
	watch(fake);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
	struct fake_qmp *fake = poll->data;
	int fd;

	(void)events;
	ck_assert_int_eq(status, 0);
	fd = accept4(fake->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	/* The next client waits until this one has left. */
	ck_assert_int_eq(uv_poll_stop(poll), 0);
	serve(fake, fd);
	if (fake->options.manual)
		play_on(fake);
	else
		say(fake, fake->options.greeting ? fake->options.greeting : GREETING);
}

static void begin_listening(struct fake_qmp *fake)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};

	(void)snprintf(fake->folder, sizeof(fake->folder), "/tmp/fake-qmp-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(fake->folder));
	(void)snprintf(fake->path, sizeof(fake->path), "%s/qmp", fake->folder);
	(void)snprintf(fake->address, sizeof(fake->address), "unix:%s", fake->path);
	memcpy(name.sun_path, fake->path, sizeof(fake->path));
	fake->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(fake->listen_fd, 0);
	ck_assert_int_eq(bind(fake->listen_fd, (struct sockaddr *)&name, sizeof(name)), 0);
	ck_assert_int_eq(listen(fake->listen_fd, 1), 0);
	ck_assert_int_eq(uv_poll_init(fake->loop, &fake->listener, fake->listen_fd), 0);
	fake->listener.data = fake;
	fake->open_handles++;
	listen_on(fake);
}

struct fake_qmp *fake_qmp_new(uv_loop_t *loop, const struct fake_options *options)
{
	struct fake_qmp *fake = calloc(1, sizeof(*fake));

	ck_assert_ptr_nonnull(fake);
	fake->loop = loop;
	fake->options = *options;
	fake->at = options->script;
	fake->received_fd = fake->listen_fd = fake->peer_fd = -1;
	if (!options->fd) {
		begin_listening(fake);
		return fake;
	}
	serve(fake, options->fd);
	play_on(fake);
	return fake;
}

bool fake_qmp_is_done(const struct fake_qmp *fake)
{
	return !fake->at || fake->at->act == FAKE_END;
}

void fake_qmp_free(struct fake_qmp *fake)
{
	close_peer(fake);
	fake->loop = NULL;
	if (fake->received_fd >= 0)
		(void)close(fake->received_fd);
	if (fake->listen_fd >= 0) {
		uv_close((uv_handle_t *)&fake->listener, on_closed);
		(void)close(fake->listen_fd);
		(void)unlink(fake->path);
		(void)rmdir(fake->folder);
	}
	free_if_done(fake);
}

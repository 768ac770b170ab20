/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fake_agent.h"

#include <check.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void fake_agent_say(struct fake_agent *fake, const void *bytes, size_t n_bytes)
{
	if (!fake->closed)
		ck_assert_int_eq(send(fake->fd, bytes, n_bytes, MSG_NOSIGNAL), (ssize_t)n_bytes);
}

static void say(struct fake_agent *fake, const char *text)
{
	fake_agent_say(fake, text, strlen(text));
}

static void hear(struct fake_agent *fake, const char *word)
{
	const size_t used = strlen(fake->heard);

	ck_assert_uint_lt(used + strlen(word) + 2, sizeof(fake->heard));
	(void)snprintf(
		fake->heard + used, sizeof(fake->heard) - used, "%s%s", used ? " " : "", word);
}

static void answer_sync(struct fake_agent *fake, long long id)
{
	const char *text = "\xff{\"return\": %ID}\n";
	char number[24];

	if (fake->sync_answers && *fake->sync_answers)
		text = *fake->sync_answers++;
	const char *at = strstr(text, "%ID");
	if (!at) {
		say(fake, text);
		return;
	}
	(void)snprintf(number, sizeof(number), "%lld", id);
	fake_agent_say(fake, text, (size_t)(at - text));
	say(fake, number);
	say(fake, at + strlen("%ID"));
}

static void say_return(struct fake_agent *fake, const char *value)
{
	say(fake, "{\"return\": ");
	say(fake, value);
	say(fake, "}\n");
}

static void say_error(struct fake_agent *fake, const char *class_and_desc)
{
	const char *desc = strchr(class_and_desc, ' ');
	char line[512];

	ck_assert_ptr_nonnull(desc);
	(void)snprintf(line, sizeof(line), "{\"error\": {\"class\": \"%.*s\", \"desc\": \"%s\"}}\n",
		(int)(desc - class_and_desc), class_and_desc, desc + 1);
	say(fake, line);
}

static void play(struct fake_agent *fake, const char *command)
{
	const struct agent_step *step = fake->script;

	if (!step || !step->expect[0])
		return;
	ck_assert_str_eq(command, step->expect);
	fake->script++;
	switch (step->act) {
	case AGENT_ACT_RETURN:
		say_return(fake, step->text);
		break;
	case AGENT_ACT_ERROR:
		say_error(fake, step->text);
		break;
	case AGENT_ACT_RAW:
		say(fake, step->text);
		break;
	case AGENT_ACT_SILENCE:
		break;
	case AGENT_ACT_LATE:
		(void)snprintf(fake->late, sizeof(fake->late), "%s", step->text);
		break;
	case AGENT_ACT_HANG_UP:
		fake_agent_stop(fake);
		break;
	}
}

static void take_line(struct fake_agent *fake, const char *line)
{
	struct json_object *message = json_tokener_parse(line);
	struct json_object *command = NULL;
	struct json_object *arguments = NULL;
	struct json_object *id = NULL;

	ck_assert_msg(message != NULL, "no JSON: %s", line);
	ck_assert(json_object_object_get_ex(message, "execute", &command));
	if (fake->late[0])
		say_return(fake, fake->late);
	fake->late[0] = '\0';
	if (strcmp(json_object_get_string(command), "guest-sync-delimited") == 0) {
		hear(fake, "sync");
		ck_assert(json_object_object_get_ex(message, "arguments", &arguments));
		ck_assert(json_object_object_get_ex(arguments, "id", &id));
		if (!fake->deaf)
			answer_sync(fake, json_object_get_int64(id));
	} else {
		hear(fake, json_object_get_string(command));
		if (!fake->deaf)
			play(fake, json_object_get_string(command));
	}
	json_object_put(message);
}

static void drop(struct fake_agent *fake, size_t n_bytes)
{
	fake->in_bytes -= n_bytes;
	memmove(fake->in, fake->in + n_bytes, fake->in_bytes);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct fake_agent *fake = poll->data;
	char *end;

	(void)events;
	ck_assert_int_ge(status, 0);
	const ssize_t n =
		recv(fake->fd, fake->in + fake->in_bytes, sizeof(fake->in) - fake->in_bytes, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		fake_agent_stop(fake);
		return;
	}
	fake->in_bytes += (size_t)n;
	while (!fake->closed && fake->in_bytes) {
		const char *reset = memchr(fake->in, 0xff, fake->in_bytes);
		if (reset) {
			fake->n_resets++;
			drop(fake, (size_t)(reset + 1 - fake->in));
			/* As qemu-ga answers what it can't parse. */
			say_error(fake, "GenericError JSON parse error, stray input");
			continue;
		}
		end = memchr(fake->in, '\n', fake->in_bytes);
		if (!end)
			break;
		*end = '\0';
		take_line(fake, fake->in);
		drop(fake, (size_t)(end + 1 - fake->in));
	}
}

void fake_agent_start(uv_loop_t *loop, struct fake_agent *fake)
{
	int fds[2];

	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	fake->fd = fds[0];
	fake->client_fd = fds[1];
	fake->poll.data = fake;
	ck_assert_int_eq(uv_poll_init(loop, &fake->poll, fake->fd), 0);
	ck_assert_int_eq(uv_poll_start(&fake->poll, UV_READABLE, on_readable), 0);
}

void fake_agent_stop(struct fake_agent *fake)
{
	if (fake->closed)
		return;
	fake->closed = true;
	uv_close((uv_handle_t *)&fake->poll, NULL);
	(void)close(fake->fd);
}

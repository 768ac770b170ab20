/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/agent_kit.h"

#include "base/json.h"
#include "qmp/address.h"

#include <check.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

char story[1024];
struct qmpsnap_error last_err;
char last_class[64];
struct fake_agent fake;
struct agent *agent;

static uv_loop_t *loop;

void agent_kit_begin(uv_loop_t *on)
{
	loop = on;
	story[0] = '\0';
	fake = (struct fake_agent){0};
}

static void tell(const char *word)
{
	const size_t used = strlen(story);

	ck_assert_uint_lt(used + strlen(word) + 2, sizeof(story));
	(void)snprintf(story + used, sizeof(story) - used, "%s%s", used ? " " : "", word);
}

void on_reply(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	char word[64];

	if (err) {
		last_err = *err;
		(void)snprintf(last_class, sizeof(last_class), "%s", agent_error_class(agent));
	}
	(void)snprintf(word, sizeof(word), "%s%s%s", (const char *)data,
		err      ? "!"
		: result ? "="
			 : "",
		err || !result ? "" : json_text(result));
	tell(word);
}

void on_closed(void *data)
{
	(void)data;
	tell("closed");
}

void until(const char *word)
{
	while (!strstr(story, word)) {
		if (uv_run(loop, UV_RUN_NOWAIT) == 0)
			ck_assert_msg(strstr(story, word) != NULL, "only \"%s\"", story);
		(void)usleep(200);
	}
}

void open_fake(unsigned sync_ms)
{
	struct qmp_address address;
	struct qmpsnap_error err;
	char text[32];

	fake_agent_start(loop, &fake);
	(void)snprintf(text, sizeof(text), "fd:%d", fake.client_fd);
	ck_assert(qmp_address_parse(text, &address, &err));
	agent = agent_open(loop, &address, sync_ms, &err);
	ck_assert_msg(agent != NULL, "%s", err.message);
	(void)close(fake.client_fd);
}

void open_script(const struct agent_step *script)
{
	fake.script = script;
	open_fake(30000);
}

void execute(const char *command, unsigned deadline_ms)
{
	agent_execute(agent, command, deadline_ms, on_reply, "x");
	ck_assert_ptr_null(strstr(story, "x"));
}

void finish(const char *expected)
{
	agent_close(agent, on_closed, NULL);
	fake_agent_stop(&fake);
	ck_assert_int_eq(uv_run(loop, UV_RUN_DEFAULT), 0);
	ck_assert_str_eq(story, expected);
}

void expect_error(int detail, const char *part)
{
	ck_assert_int_eq(last_err.code, QMPSNAP_AGENT);
	ck_assert_msg(strstr(last_err.message, part) != NULL, "%s", last_err.message);
	ck_assert_msg(last_err.detail == detail, "%d: %s", last_err.detail, last_err.message);
}

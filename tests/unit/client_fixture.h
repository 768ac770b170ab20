/* SPDX-License-Identifier: Apache-2.0
 *
 * client_fixture.h - a client and its fake monitor, and the story that their callbacks tell.
 */
#ifndef TESTS_CLIENT_FIXTURE_H
#define TESTS_CLIENT_FIXTURE_H

#include "qmp/address.h"
#include "qmp/client.h"
#include "tests/unit/fake_qmp.h"
#include "tests/unit/fixture.h"
#include "tests/unit/suite.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What was called back, in order, a word each: "ready", "STOP", "x=42", "x!" ... */
static char story[4096];
static struct qmpsnap_error last_err;
static char last_class[64];
static struct qmp_client *client;
static struct fake_qmp *fake;

static inline void tell(const char *word)
{
	if (story[0])
		strcat(story, " ");
	ck_assert_uint_lt(strlen(story) + strlen(word) + 2, sizeof(story));
	strcat(story, word);
}

static inline void tell_error(const char *name, const struct qmpsnap_error *err)
{
	char word[64];

	(void)snprintf(word, sizeof(word), "%s%s", name, err ? "!" : "");
	tell(word);
	if (err)
		last_err = *err;
}

static inline void on_ready(const struct qmpsnap_error *err, void *data)
{
	ck_assert_ptr_eq(data, story);
	tell_error("ready", err);
}

static inline void on_lost(const struct qmpsnap_error *err, void *data)
{
	ck_assert_ptr_eq(data, story);
	ck_assert(qmp_is_lost(client));
	tell_error("lost", err);
}

static inline void on_closed(void *data)
{
	(void)data;
	tell("closed");
}

/* `data` is the reply's name in the story. */
static inline void on_reply(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	char word[64];

	ck_assert((result == NULL) == (err != NULL));
	if (err) {
		(void)snprintf(last_class, sizeof(last_class), "%s", qmp_error_class(client));
		tell_error(data, err);
		return;
	}
	(void)snprintf(word, sizeof(word), "%s=%.40s", (const char *)data, json_text(result));
	tell(word);
}

static inline void on_event(const char *name, struct json_object *data, void *user)
{
	char word[64];

	(void)data;
	(void)snprintf(word, sizeof(word), "%s%s", user ? (const char *)user : "", name);
	tell(word);
}

static struct qmp_subscription all = {.fn = on_event};

static void setup(void)
{
	loop_setup();
	qmpsnap_log_to(QMPSNAP_LOG_DEBUG, NULL, NULL);
	story[0] = '\0';
}

/* Runs until `word` was told. */
static inline void until(const char *word)
{
	/* Not UV_RUN_ONCE: it goes to sleep after a timer that has told the word. */
	while (!strstr(story, word)) {
		if (uv_run(&loop, UV_RUN_NOWAIT) == 0)
			ck_assert_msg(strstr(story, word) != NULL, "only \"%s\"", story);
		(void)usleep(200);
	}
}

static inline void open_address(const char *text, unsigned handshake_ms)
{
	const struct qmp_options options = {.handshake_ms = handshake_ms, .command_ms = 30000};
	struct qmp_address address;
	struct qmpsnap_error err;

	ck_assert(qmp_address_parse(text, &address, &err));
	client = qmp_open(&loop, &address, &options, on_ready, on_lost, story, &err);
	ck_assert_msg(client != NULL, "%s", err.message);
	ck_assert_str_eq(story, "");
}

static inline void open_fake(const struct fake_options *options)
{
	fake = fake_qmp_new(&loop, options);
	open_address(fake->address, 30000);
	qmp_subscribe(client, &all);
}

static inline void open_script(const struct fake_step *script)
{
	open_fake(&(struct fake_options){.script = script});
	until("ready");
}

static inline void execute(const char *command, char *name)
{
	qmp_execute(client, command, NULL, on_reply, name);
}

static inline void finish(void)
{
	ck_assert(fake_qmp_is_done(fake));
	if (client)
		qmp_close(client, on_closed, NULL);
	fake_qmp_free(fake);
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
	ck_assert_int_eq(!client || strstr(story, "closed"), 1);
}

static inline void expect_story(const char *expected)
{
	ck_assert_str_eq(story, expected);
}

static inline void expect_error(enum qmpsnap_code code, const char *part, const char *hint)
{
	ck_assert_msg(last_err.code == code && strstr(last_err.message, part) &&
			      strstr(last_err.hint, hint),
		"%d: %s (%s)", last_err.code, last_err.message, last_err.hint);
}

#define ADD(test) tcase_add_test(t, test)

/* The Check program of one case. */
static inline Suite *client_suite(const char *name, TCase *t)
{
	Suite *s = suite_create(name);

	tcase_add_checked_fixture(t, setup, loop_teardown);
	tcase_set_timeout(t, 60);
	suite_add_tcase(s, t);
	return s;
}

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * agent_kit.h - a guest agent that follows a script, and the story of what it calls back.
 */
#ifndef TESTS_AGENT_KIT_H
#define TESTS_AGENT_KIT_H

#include "qmp/agent.h"
#include "tests/unit/fake_agent.h"

/* What was called back, a word each: "s", "x=42", "x!" ... */
extern char story[1024];
extern struct qmpsnap_error last_err;
extern char last_class[64];
extern struct fake_agent fake;
extern struct agent *agent;

/* A new story, on this loop. */
void agent_kit_begin(uv_loop_t *on);

/* Tells the name that is `data`, and what came: "x", "x=42", "x!". */
void on_reply(struct json_object *result, const struct qmpsnap_error *err, void *data);
void on_closed(void *data);

/* Until the story has the word. */
void until(const char *word);

/* Opens the fake agent through an address, as users do. */
void open_fake(unsigned sync_ms);
void open_script(const struct agent_step *script);

/* "x" is told when it is answered. */
void execute(const char *command, unsigned deadline_ms);

/* Closes all; the story must be this one then. */
void finish(const char *expected);

void expect_error(int detail, const char *part);

#endif

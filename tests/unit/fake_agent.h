/* SPDX-License-Identifier: Apache-2.0
 *
 * fake_agent.h - a guest agent for tests, on the test's own loop, behind a socketpair: it answers
 * guest-sync-delimited by itself, and other commands as a script says.
 */
#ifndef TESTS_FAKE_AGENT_H
#define TESTS_FAKE_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

enum agent_act {
	AGENT_ACT_RETURN, /* text: the value, as JSON */
	AGENT_ACT_ERROR, /* text: the class, a space, the description */
	AGENT_ACT_RAW, /* text: these bytes */
	AGENT_ACT_SILENCE, /* no reply, ever */
	AGENT_ACT_LATE, /* text: the value, sent when the next command comes, before its answer */
	AGENT_ACT_HANG_UP,
};

struct agent_step {
	const char *expect; /* "" ends the script */
	enum agent_act act;
	const char *text;
};

struct fake_agent {
	/* For tests to set. */
	const struct agent_step *script; /* NULL: none; past its end, silence */
	const char *const
		*sync_answers; /* instead of the first ones; "%ID" is replaced; NULL: end */
	bool deaf; /* takes everything, answers nothing, not even a sync */

	/* For tests to look at: "sync guest-fsfreeze-freeze ..." */
	char heard[1024];
	unsigned n_resets; /* 0xFF bytes that came */
	int client_fd; /* the other end, for the client to take */

	/* Its own. */
	uv_poll_t poll;
	int fd;
	bool closed;
	char late[128];
	char in[4096];
	size_t in_bytes;
};

void fake_agent_start(uv_loop_t *loop, struct fake_agent *fake);
/* Says these, now. */
void fake_agent_say(struct fake_agent *fake, const void *bytes, size_t n_bytes);
/* Hangs up and leaves the loop during its next turns. */
void fake_agent_stop(struct fake_agent *fake);

#endif

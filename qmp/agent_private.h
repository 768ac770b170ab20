/* SPDX-License-Identifier: Apache-2.0
 *
 * agent_private.h - the agent's client's insides, shared by agent.c (life, commands, deadlines) and
 * agent_receive.c (what the guest says).
 *
 * A reply callback may close the agent or send more: its memory stays until its handles' close
 * callbacks, and whoever goes on after a callback looks at `fd` and `state` first.
 */
#ifndef QMP_AGENT_PRIVATE_H
#define QMP_AGENT_PRIVATE_H

#include "qmp/agent.h"
#include "qmp/wire.h"

enum {
	AGENT_COMMAND_BYTES = 64,
	AGENT_LINE_BYTES = 256,
	AGENT_TEXT_BYTES = 300, /* of the agent's words in an error */
};

enum agent_state {
	AGENT_IDLE,
	AGENT_FAILED, /* the running command only waits to be told */
	AGENT_WAITING, /* agent_wait() */
	AGENT_SKIPPING, /* until the 0xFF of a sync's answer */
	AGENT_SYNCING, /* behind a 0xFF: our number, or skip on */
	AGENT_ASKED, /* the next message is the command's answer */
};

struct agent {
	uv_poll_t poll;
	uv_timer_t timer;
	int open_handles;
	int poll_events;
	int fd; /* -1: lost or closing */
	enum agent_state state;
	bool in_step;
	bool closing;
	uint32_t timer_serial; /* of what the timer was set for last */
	unsigned sync_ms;
	int64_t sync_id;
	struct wire wire;

	/* The running command. */
	char command[AGENT_COMMAND_BYTES]; /* "": only a sync */
	unsigned deadline_ms;
	agent_reply_fn *reply;
	void *data;
	struct qmpsnap_error why; /* AGENT_FAILED */
	char line[AGENT_LINE_BYTES];
	size_t line_bytes, sent_bytes;

	char error_class[64];
	agent_closed_fn *closed;
	void *closed_data;
	char peer[540];
};

/* Ends the running command and calls its reply. */
void agent_complete(struct agent *a, struct json_object *result, const struct qmpsnap_error *err);
/* Puts the channel out of step, and ends the running command, if one runs, with an error. */
void agent_fail(struct agent *a, const struct qmpsnap_error *err);
/* The channel is in step: the command itself. */
void agent_send_command(struct agent *a);
/* Reads and takes what has come, up to a limit for fairness (none with `to_the_end`). */
void agent_receive(struct agent *a, bool to_the_end);
void agent_disconnect(struct agent *a);
/* A line of traffic to the debug log. */
void agent_log(const struct agent *a, const char *arrow, const char *text, size_t n_bytes);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * private.h - the client's insides, shared by client.c (life and death), receive.c (messages),
 * request.c (commands and deadlines), send.c (the queue out) and event.c (subscribers).
 *
 * Callbacks may close the client or send more: its memory stays until its handles' close
 * callbacks, and whoever goes on after a callback looks at `state` first.
 */
#ifndef QMP_PRIVATE_H
#define QMP_PRIVATE_H

#include "qmp/client.h"
#include "qmp/wire.h"

enum {
	REQUEST_ID_BYTES = 26, /* 16 hex digits of the client, '-', 8 of the command, NUL */
	REQUEST_NAME_BYTES = 64,
	CLIENT_SPARES = 8,
	CLIENT_TEXT_BYTES = 512, /* as qmp_address's */
};

enum client_state {
	CLIENT_GREETING, /* connected, QEMU hasn't greeted */
	CLIENT_NEGOTIATING, /* qmp_capabilities is on its way */
	CLIENT_READY,
	CLIENT_LOST, /* only needs closing; `why` says why */
	CLIENT_CLOSING, /* qmp_close() was called */
};

struct qmp_request {
	struct qmp_request *next;
	qmp_reply_fn *reply; /* NULL: nobody waits, but a line once begun must be ended */
	void *data;
	uint64_t due_ms;
	unsigned deadline_ms;
	uint32_t serial;
	int fd; /* goes with the first byte; -1: none */
	bool spare; /* belongs to the client's reserve */
	bool no_memory; /* stands for a command that couldn't be built */
	int send_errno; /* it can't be sent; 0: it can */
	char command[REQUEST_NAME_BYTES];
	size_t sent_bytes, line_bytes;
	char *id; /* inside line, NULL: none */
	char line[];
};

struct qmp_client {
	uv_loop_t *loop;
	uv_poll_t poll;
	uv_timer_t timer; /* for the earliest deadline */
	int open_handles;
	int poll_events;
	int fd;
	enum client_state state;
	bool adopting; /* nothing of our own has been answered yet */
	unsigned handshake_ms, command_ms;
	struct wire wire;
	struct qmp_request *first; /* in the order of sending */
	struct qmp_request *unsent; /* the first with bytes left to send, or NULL */
	struct qmp_request *spares;
	uint32_t serial;
	char id_front[17];
	char error_class[64];
	struct qmp_subscription *subscriptions;
	struct qmp_subscription *next_subscription; /* delivery goes on here */
	uint64_t n_events;
	qmp_ready_fn *ready;
	qmp_lost_fn *lost;
	void *data;
	qmp_closed_fn *closed;
	void *closed_data;
	struct qmpsnap_error why;
	int peer_pid;
	char peer[CLIENT_TEXT_BYTES];
};

/* Milliseconds of a clock that, unlike the loop's, doesn't stand still while a callback runs. */
uint64_t client_clock_ms(void);

static inline bool client_connected(const struct qmp_client *c)
{
	return c->state < CLIENT_LOST;
}

/* The connection is over: replies with errors, then `ready` or `lost`. */
void client_end(struct qmp_client *c, const struct qmpsnap_error *why);
/* The same for QEMU's death; `errnum` 0: it closed. */
void client_gone(struct qmp_client *c, int errnum);
/* QEMU has greeted: negotiates. */
void client_greeted(struct qmp_client *c);
void client_on_timer(uv_timer_t *timer);
/* Polls for what is needed now. */
void client_watch(struct qmp_client *c);

/* Reads and hands out what has come, up to a limit for fairness (none with `to_the_end`). */
void client_receive(struct qmp_client *c, bool to_the_end);

/* Sends as much as the socket takes.  Calls nobody: what fails here is found by reading. */
void client_flush(struct qmp_client *c);

/* A request of raw bytes, for which nobody waits. */
struct qmp_request *request_raw(const char *bytes, size_t n_bytes);
void request_append(struct qmp_client *c, struct qmp_request *r);
/* The fully sent request with that id, or NULL. */
struct qmp_request *request_find(const struct qmp_client *c, const char *id);
/* Ends it: out of the list, freed, its reply called with `result` or `err` (which it prefixes
 * with the command). */
void request_complete(struct qmp_client *c, struct qmp_request *r, struct json_object *result,
	const struct qmpsnap_error *err);
/* Completes with `why` all that were there at the call, unless a callback closes the client. */
void request_fail_all(struct qmp_client *c, const struct qmpsnap_error *why);
/* Frees it, or gives it back to the client's reserve. */
void request_release(struct qmp_client *c, struct qmp_request *r);
/* Completes those whose time is up. */
void request_expire(struct qmp_client *c, uint64_t now_ms);
/* Sets the timer to the earliest deadline. */
void request_schedule(struct qmp_client *c);
/* False without memory. */
bool request_reserve(struct qmp_client *c);

void event_deliver(struct qmp_client *c, const struct wire_message *message);

/* A line of traffic to the debug log. */
void client_log(const struct qmp_client *c, const char *arrow, const char *text, size_t n_bytes);

#endif

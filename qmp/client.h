/* SPDX-License-Identifier: Apache-2.0
 *
 * client.h - a QMP client on a libuv loop: one connection to a QEMU's monitor.
 *
 * QEMU's docs/interop/qmp-spec.rst has the protocol.  No capability is enabled: `oob` serves only
 * commands that we don't use.  One connection per monitor: QEMU accepts a second client's
 * connect() but greets it only when the first has left; hence the handshake deadline.
 */
#ifndef QMP_CLIENT_H
#define QMP_CLIENT_H

#include "base/error.h"
#include "base/json.h"

#include <uv.h>

struct qmp_client;
struct qmp_address;

struct qmp_options {
	unsigned handshake_ms; /* 0: 5000 */
	unsigned command_ms; /* deadline of a command that names none; 0: 30000 */
	bool has_fd;
	int fd; /* what qmp_address_connect() gave already; taken over in any case */
};

/* The connection is ready for commands, or `err` says why it never will be (then the client only
 * needs closing).  REFUSED, since nothing was touched: no greeting in time (the monitor is in use
 * by another client), a connection that ends, no QMP; DEADLINE: greeted, and then silent. */
typedef void qmp_ready_fn(const struct qmpsnap_error *err, void *data);

/* A reply: `result` (borrowed) is the "return" member, or NULL with an error.  Errors: QEMU with
 * QEMU's own words in the message ("blockdev-add: Failed to get ..."), DEADLINE, and QEMU when the
 * connection or QEMU itself is gone.  qmp_error_class() tells classes apart. */
typedef void qmp_reply_fn(struct json_object *result, const struct qmpsnap_error *err, void *data);

/* The connection is gone for good (QEMU): by QEMU's end (detail ECONNRESET) or a protocol error
 * (detail EPROTO).  Commands pending have had their replies (errors) before. */
typedef void qmp_lost_fn(const struct qmpsnap_error *err, void *data);

/* Connects and negotiates.  `ready` fires once, later; `lost` at most once, only after a good
 * `ready`; neither after qmp_close().  Both may be NULL.  NULL and *err when the socket can't be
 * had (see qmp_address_connect). */
struct qmp_client *qmp_open(uv_loop_t *loop, const struct qmp_address *address,
	const struct qmp_options *options, qmp_ready_fn *ready, qmp_lost_fn *lost, void *data,
	struct qmpsnap_error *err);

/* Takes over a negotiated connection from a dead process: owns `fd`, sends the byte 0xFF, which
 * resets QEMU's parser, and lets everything pass unread up to the first reply to a command of its
 * own (a torn line, events, replies to the dead process's commands, the parser's error).  Ready
 * at once, no `ready` call.  On NULL the descriptor stays the caller's. */
struct qmp_client *qmp_adopt(uv_loop_t *loop, int fd, const struct qmp_options *options,
	qmp_lost_fn *lost, void *data, struct qmpsnap_error *err);

/* A command made ready beforehand, so that sending it allocates nothing. */
struct qmp_request;

/* `arguments` is taken (NULL: none).  NULL without memory. */
struct qmp_request *qmp_request_new(const char *command, struct json_object *arguments);
/* For a request that was never sent; sending gives it away. */
void qmp_request_free(struct qmp_request *request);

/* Sends it; `reply` fires exactly once, later, also when the client is closed or lost (then with
 * an error).  `deadline_ms` 0: the client's default.  A late reply is dropped.  Before `ready` it
 * waits for QEMU's greeting. */
void qmp_send(struct qmp_client *client, struct qmp_request *request, unsigned deadline_ms,
	qmp_reply_fn *reply, void *data);

/* qmp_request_new() and qmp_send() in one; without memory, `reply` brings that error, later (from
 * a reserve for 8 commands: at once, when even that is used up). */
void qmp_execute(struct qmp_client *client, const char *command, struct json_object *arguments,
	qmp_reply_fn *reply, void *data);

/* The same with a descriptor passed along (SCM_RIGHTS) for `getfd` and `add-fd`; the caller's
 * `fd` may be closed as soon as `reply` fires, not before. */
void qmp_execute_with_fd(struct qmp_client *client, const char *command,
	struct json_object *arguments, int fd, qmp_reply_fn *reply, void *data);

/* "GenericError", "DeviceNotFound", "CommandNotFound", ... (at most 63 bytes of it) of the error
 * last brought to a reply callback, valid inside that callback; "" when QEMU didn't answer. */
const char *qmp_error_class(const struct qmp_client *client);

/* ---- Events ---- */

typedef void qmp_event_fn(
	const char *name, struct json_object *data /* borrowed, may be NULL */, void *user);

/* Embedded by the subscriber; zeroed before first use. */
struct qmp_subscription {
	const char *name; /* "JOB_STATUS_CHANGE", or NULL for all */
	qmp_event_fn *fn;
	void *user;
	struct qmp_subscription *next;
	uint64_t since; /* events that had come before */
};

/* Events are delivered in the order QEMU sent them, between replies, and never dropped while a
 * command is pending.  Both may be called from inside any callback; a subscription made by an
 * event's callback hears the next ones.  Subscribing twice is subscribing once. */
void qmp_subscribe(struct qmp_client *client, struct qmp_subscription *subscription);
void qmp_unsubscribe(struct qmp_client *client, struct qmp_subscription *subscription);

/* ---- State and end ---- */

/* The socket, to be duplicated for a guard; -1 when lost.  Never read or written by others while
 * this client lives. */
int qmp_fd(const struct qmp_client *client);
bool qmp_is_lost(const struct qmp_client *client);
const char *qmp_peer(const struct qmp_client *client); /* "unix:/run/vm.qmp", for messages */
int qmp_peer_pid(const struct qmp_client *client); /* QEMU's, by SO_PEERCRED; 0: unknown */

/* Ends and frees it.  The socket is closed at once; pending replies fire with an error, then
 * `closed` (may be NULL), later, when the client is gone from the loop.  Fine inside any callback;
 * the client is not to be used any more, except by qmp_send() from the replies that then fire,
 * which fail too. */
typedef void qmp_closed_fn(void *data);
void qmp_close(struct qmp_client *client, qmp_closed_fn *closed, void *data);

#endif

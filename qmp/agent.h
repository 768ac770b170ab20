/* SPDX-License-Identifier: Apache-2.0
 *
 * agent.h - a client of the guest agent (qemu-ga) on a libuv loop, over the socket of a QEMU
 * chardev that a virtio-serial port of the guest stands behind.
 *
 * QEMU's docs/interop/qemu-ga-ref and qga/qapi-schema.json have the protocol: QMP's JSON, but with
 * no greeting, no ids and no events.  The socket is open whether or not an agent lives in the
 * guest, and what an earlier client asked may be answered to us.  So a command goes out only in
 * step: a 0xFF resets the agent's parser, `guest-sync-delimited` brings 0xFF and our number back,
 * and all that comes before is dropped.  A deadline that passes, or anything unexpected, puts the
 * channel out of step, and the next command brings it back first: what an earlier command is
 * answered late never passes for the answer to a later one.
 *
 * All bytes come from the guest and are untrusted.  Every error has the code AGENT, but for lack
 * of memory.
 */
#ifndef QMP_AGENT_H
#define QMP_AGENT_H

#include "base/error.h"
#include "base/json.h"

#include <uv.h>

struct agent;
struct qmp_address;

enum {
	AGENT_SYNC_MS = 5000, /* libvirt waits as long */
	AGENT_LIMIT_BYTES = 1 << 20, /* of a reply; guest-info takes some 10 KiB */
};

/* The end of a command: `result` (borrowed) is the "return" member, or NULL with an error; both
 * are NULL for agent_sync() and agent_wait() that went well.  Errors: with the agent's own words
 * (then agent_error_class() isn't ""); detail ETIMEDOUT when no answer came in time, EPROTO when
 * it made no sense, ECANCELED after agent_give_up(), ECONNRESET when the socket is gone. */
typedef void agent_reply_fn(
	struct json_object *result, const struct qmpsnap_error *err, void *data);

/* Connects; asks nothing yet, so whether an agent lives is for agent_sync() to find out.
 * `sync_ms` 0: AGENT_SYNC_MS.  NULL and *err when the socket can't be had. */
struct agent *agent_open(uv_loop_t *loop, const struct qmp_address *address, unsigned sync_ms,
	struct qmpsnap_error *err);

/* Takes over the connection `fd` of a dead process and owns it.  On NULL the descriptor stays the
 * caller's. */
struct agent *agent_adopt(uv_loop_t *loop, int fd, unsigned sync_ms, struct qmpsnap_error *err);

/* One of these three at a time: the next only when `reply` of the one before has fired, or inside
 * it.  `reply` fires exactly once, later, unless agent_close() comes first. */

/* Brings the channel into step, also when it seems to be: whether the agent answers now. */
void agent_sync(struct agent *agent, agent_reply_fn *reply, void *data);

/* A command without arguments.  A channel out of step is brought into step first, within the time
 * for that; `deadline_ms` counts from when the command itself is sent.  Allocates nothing. */
void agent_execute(struct agent *agent, const char *command, unsigned deadline_ms,
	agent_reply_fn *reply, void *data);

/* Only lets time pass. */
void agent_wait(struct agent *agent, unsigned ms, agent_reply_fn *reply, void *data);

/* Ends the running one soon, as if its time were up (but agent_wait() well).  No effect when none
 * runs. */
void agent_give_up(struct agent *agent);

/* The class of the agent's error, valid inside the reply callback that brought it ("GenericError",
 * "CommandNotFound": unknown or switched off); "" when the agent didn't answer with one. */
const char *agent_error_class(const struct agent *agent);

/* The socket, to be duplicated for a guard; -1 when lost. */
int agent_fd(const struct agent *agent);
bool agent_is_lost(const struct agent *agent);
const char *agent_peer(const struct agent *agent); /* "guest agent unix:/run/vm.qga" */

/* Ends and frees it.  The socket is closed at once; a running command's reply doesn't fire any
 * more; `closed` (may be NULL) fires, later, when the agent is gone from the loop. */
typedef void agent_closed_fn(void *data);
void agent_close(struct agent *agent, agent_closed_fn *closed, void *data);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * control.h - the socket through which a run is asked and told from outside: STATE/run/RUN.sock,
 * for this user and root alone.
 *
 * A client sends one JSON object in a line and gets one back, then the connection ends:
 *	{"command": "status"}
 *	{"command": "speed", "bytes_per_s": N}		0: auto
 *	{"command": "cancel"}
 * A reply is {"schema": 1, ...}; one to what can't be done has the member "error".
 */
#ifndef CLI_CONTROL_H
#define CLI_CONTROL_H

#include <json-c/json.h>
#include <qmpsnap.h>
#include <sys/types.h>
#include <uv.h>

enum {
	CONTROL_REQUEST_BYTES = 1024,
	CONTROL_REPLY_BYTES = 64 * 1024,
	CONTROL_CLIENTS = 8,
	CONTROL_MS = 5000, /* a client has this long to ask and to take its answer */
};

struct control;

/* Who asks, by SO_PEERCRED. */
struct control_peer {
	pid_t pid;
	uid_t uid;
};

/* Answers a request (borrowed); the reply is taken.  NULL: no memory. */
typedef struct json_object *control_fn(
	struct json_object *request, const struct control_peer *peer, void *data);

/* Listens for the run.  NULL and *err. */
struct control *control_open(uv_loop_t *loop, const char *run, control_fn *answer, void *data,
	struct qmpsnap_error *err);

/* Removes the socket and frees; the handles leave the loop later.  `answer` isn't called any more.
 * NULL is fine. */
void control_close(struct control *control);

#endif

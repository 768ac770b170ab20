/* SPDX-License-Identifier: Apache-2.0
 *
 * fake_qmp.h - a monitor for tests, on the test's own loop: it listens on a unix socket in a
 * folder of its own, serves one client at a time as QEMU does, and follows a script, then a
 * handler.
 *
 * A script is an array that ends with {0}.  A step with `expect` waits for that command (another
 * one fails the test); one without follows the step before at once.  Greeting and
 * qmp_capabilities are served before the script, unless `manual`.
 */
#ifndef TESTS_FAKE_QMP_H
#define TESTS_FAKE_QMP_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

enum fake_act {
	FAKE_END,
	FAKE_RETURN, /* text: the value, as JSON; NULL: {} */
	FAKE_ERROR, /* text: the class, a space, the description */
	FAKE_EVENT, /* text: the name, then optionally a space and the data, as JSON */
	FAKE_RAW, /* text: these bytes; "%ID" becomes the last command's id, as JSON */
	FAKE_SILENCE, /* no reply */
	FAKE_HANG_UP, /* close, once all is written */
};

struct fake_step {
	enum fake_act act;
	const char *expect;
	const char *text;
};

/* The body of a reply in memory for free(): `"return": ...` or `"error": ...`; NULL:
 * CommandNotFound. */
typedef char *fake_handler_fn(const char *command, struct json_object *arguments, void *data);

struct fake_options {
	const struct fake_step *script; /* NULL: none */
	fake_handler_fn *handler; /* for what comes after the script */
	void *data;
	const char *greeting; /* NULL: QEMU 7.2's */
	bool manual; /* the script is all: no greeting, no answer to qmp_capabilities */
	size_t chunk; /* at most that many bytes a turn of the loop; 0: no limit */
	bool random_chunks; /* 1 to `chunk` bytes */
	int fd; /* serve this connected socket, negotiated already; 0: listen */
};

struct fake_qmp {
	/* For tests to look at. */
	char path[64]; /* of the socket */
	char address[80]; /* "unix:" and the path */
	unsigned n_clients, n_commands;
	char last_command[64];
	struct json_object *last_arguments; /* or NULL */
	int received_fd; /* the last that was passed; -1: none */
	char raw_in[256]; /* what came in front of the first '{' */

	/* Its own. */
	struct fake_options options;
	const struct fake_step *at;
	char folder[48];
	uv_loop_t *loop;
	uv_poll_t listener, peer;
	int listen_fd, peer_fd;
	int open_handles;
	bool hang_up;
	char *in, *out;
	size_t in_bytes, in_room, out_bytes, out_done;
	char *last_id; /* JSON text, or NULL */
};

struct fake_qmp *fake_qmp_new(uv_loop_t *loop, const struct fake_options *options);

/* Whether the whole script was played. */
bool fake_qmp_is_done(const struct fake_qmp *fake);

/* Says these, now. */
void fake_qmp_event(struct fake_qmp *fake, const char *name_and_data);
void fake_qmp_raw(struct fake_qmp *fake, const void *bytes, size_t n_bytes);
void fake_qmp_hang_up(struct fake_qmp *fake);

/* Stops listening, hangs up, removes socket and folder; the memory goes during the loop's next
 * turns. */
void fake_qmp_free(struct fake_qmp *fake);

#endif

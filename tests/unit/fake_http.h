/* SPDX-License-Identifier: Apache-2.0
 *
 * fake_http.h - an HTTP server on the test's own loop that follows a script: which request comes
 * next, and what becomes of it.
 */
#ifndef TESTS_FAKE_HTTP_H
#define TESTS_FAKE_HTTP_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

enum fake_how {
	FAKE_ANSWER, /* when the whole body is in */
	FAKE_REFUSE, /* at once: no 100, the body isn't read, the connection closed */
	FAKE_CUT, /* resets the connection once `cut_at` bytes of the body are in */
	FAKE_CUT_ANSWER, /* answers then, and closes */
	FAKE_HANG_UP, /* when the whole body is in, without an answer */
	FAKE_SILENT, /* never says anything */
};

struct fake_exchange {
	const char *request; /* how the request begins, "PUT /v2/images/" */
	enum fake_how how;
	int status;
	const char *headers; /* more of them, each with CRLF; NULL: none */
	const char *body; /* of the answer; NULL: none */
	uint64_t cut_at;
	unsigned times; /* it comes that often in a row; 0: once */

	/* What came. */
	unsigned seen;
	char head[2048]; /* the last one's headers */
	char text[2048]; /* the start of its body */
	uint64_t body_bytes; /* its length, without chunks' framing */
};

struct fake_http {
	uv_loop_t *loop;
	uv_tcp_t listener;
	struct fake_exchange *script;
	unsigned n_script, at;
	unsigned n_open; /* connections */
	bool closing;
	char wrong[256]; /* the first request that wasn't in the script */
	char url[64]; /* "http://127.0.0.1:PORT" */
};

/* Listens on a port of its own. */
void fake_http_start(
	struct fake_http *s, uv_loop_t *loop, struct fake_exchange *script, unsigned n_script);

/* Closes it; asserts that nothing came beside the script and, if `all`, that all of it came. */
void fake_http_stop(struct fake_http *s, bool all);

#endif

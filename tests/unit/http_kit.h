/* SPDX-License-Identifier: Apache-2.0
 *
 * http_kit.h - exchanges with a scripted server, for the tests of http.h.
 */
#ifndef TESTS_HTTP_KIT_H
#define TESTS_HTTP_KIT_H

#include "fake_http.h"
#include "fake_stream.h"
#include "upload/http.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

/* One exchange as its caller sees it. */
struct seen {
	struct http_call *call;
	struct pump *pump;
	unsigned calls;
	bool pump_closed;
	struct qmpsnap_error err;
	long status;
	char body[256];
	size_t body_len;
	char request_id[HTTP_ID_BYTES];
};

extern struct fake_http server;
extern struct fake_stream stream;
extern struct http *http;
extern struct qmpsnap_error err;

/* Sends a request to the server. */
void begin(struct seen *seen, const char *method, const char *path, const char *body,
	uint64_t quiet_ms);

/* Until the exchange has ended, once. */
void wait_for(uv_loop_t *loop, struct seen *seen);

/* The body of the next request: `stream` as it is set up by then, or one of so many bytes. */
void open_prepared_pump(uv_loop_t *loop, struct seen *seen);
void open_pump(uv_loop_t *loop, struct seen *seen, uint64_t size_bytes);

#endif

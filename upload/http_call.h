/* SPDX-License-Identifier: Apache-2.0
 *
 * http_call.h - one exchange, between http_call.c, which follows it, and http_setup.c, which tells
 * libcurl what to do.
 */
#ifndef UPLOAD_HTTP_CALL_H
#define UPLOAD_HTTP_CALL_H

#include "upload/http.h"

#include <curl/curl.h>

struct http_call {
	struct http *http;
	CURL *easy;
	struct curl_slist *headers;
	struct pump *pump;
	struct shelf_sink *sink;
	char *url; /* for messages */
	char *subject_token; /* what reply.subject_token points to */

	size_t block_at; /* bytes of the pump's oldest block that libcurl has */
	bool paused;
	uv_timer_t resume, tick;
	unsigned n_timers; /* not yet closed */
	unsigned quiet_ticks;
	curl_off_t moved_bytes;

	struct http_reply reply;
	char *body; /* what reply.body points to, allocated */
	size_t header_bytes;
	bool whole_head; /* the last line of it was the empty one */
	char curl_text[CURL_ERROR_SIZE];
	struct qmpsnap_error err;
	bool ending;
	http_done_fn *done;
	void *data;
};

/* Gives libcurl all that `request` says.  False when it doesn't take it. */
bool http_set_request(struct http_call *call, const struct http_request *request);

/* libcurl's callbacks; `data` is the call. */
size_t http_read_body(char *to, size_t size, size_t n, void *data);
size_t http_write_body(char *from, size_t size, size_t n, void *data);
size_t http_count_header(char *from, size_t size, size_t n, void *data);

#endif

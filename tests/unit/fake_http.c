/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_http.h"

#include <arpa/inet.h>
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { READ_BYTES = 64 * 1024, HEAD_BYTES = 16 * 1024 };

struct connection {
	uv_tcp_t tcp;
	struct fake_http *server;
	struct fake_exchange *exchange; /* NULL: between two */
	char head[HEAD_BYTES];
	size_t head_len;
	bool chunked, expects, closing;
	uint64_t left; /* of the body, or of a chunk */
	enum { SIZE_LINE, CHUNK, CHUNK_END, LAST_LINE } part;
	char line[32];
	size_t line_len;
	char buffer[READ_BYTES];
};

struct answer {
	uv_write_t request;
	struct connection *connection;
	bool close;
	char text[];
};

static void on_closed(uv_handle_t *handle)
{
	struct connection *c = handle->data;

	c->server->n_open--;
	free(c);
}

static void close_connection(struct connection *c, bool reset)
{
	if (c->closing)
		return;
	c->closing = true;
	if (!reset || uv_tcp_close_reset(&c->tcp, on_closed) != 0)
		uv_close((uv_handle_t *)&c->tcp, on_closed);
}

static void on_written(uv_write_t *request, int status)
{
	struct answer *answer = (struct answer *)request;

	(void)status;
	if (answer->close)
		close_connection(answer->connection, false);
	free(answer);
}

static void send_text(struct connection *c, const char *text, bool close)
{
	const size_t len = strlen(text);
	struct answer *answer = calloc(1, sizeof(*answer) + len);

	ck_assert_ptr_nonnull(answer);
	memcpy(answer->text, text, len);
	answer->connection = c;
	answer->close = close;
	const uv_buf_t buf = uv_buf_init(answer->text, (unsigned)len);
	if (uv_write(&answer->request, (uv_stream_t *)&c->tcp, &buf, 1, on_written) != 0)
		free(answer);
}

static void send_answer(struct connection *c, bool close)
{
	const struct fake_exchange *e = c->exchange;
	char *text = NULL;
	char length[48] = "";

	/* The answer to a HEAD has its own. */
	if (!e->headers || !strstr(e->headers, "Content-Length:"))
		(void)snprintf(length, sizeof(length), "Content-Length: %zu\r\n",
			e->body ? strlen(e->body) : 0);
	ck_assert_int_gt(asprintf(&text, "HTTP/1.1 %d Scripted\r\n%s%s%s\r\n%s", e->status, length,
				 close ? "Connection: close\r\n" : "", e->headers ? e->headers : "",
				 e->body ? e->body : ""),
		0);
	send_text(c, text, close);
	free(text);
}

static void end_body(struct connection *c)
{
	struct fake_exchange *e = c->exchange;

	if (e->how == FAKE_HANG_UP)
		close_connection(c, false);
	else if (e->how == FAKE_ANSWER)
		send_answer(c, false);
	c->exchange = NULL;
	c->head_len = 0;
}

static void take_body(struct connection *c, const char *bytes, size_t len)
{
	struct fake_exchange *e = c->exchange;
	const size_t room =
		e->body_bytes < sizeof(e->text) - 1 ? sizeof(e->text) - 1 - e->body_bytes : 0;

	memcpy(e->text + (sizeof(e->text) - 1 - room), bytes, len < room ? len : room);
	e->body_bytes += len;
	if (e->body_bytes < e->cut_at)
		return;
	if (e->how == FAKE_CUT) {
		close_connection(c, true);
	} else if (e->how == FAKE_CUT_ANSWER) {
		(void)uv_read_stop((uv_stream_t *)&c->tcp);
		send_answer(c, true);
		e->cut_at = UINT64_MAX;
	}
}

/* One byte of a chunk's framing. */
static void take_framing(struct connection *c, char byte)
{
	if (byte != '\n') {
		if (byte != '\r' && c->line_len < sizeof(c->line) - 1)
			c->line[c->line_len++] = byte;
		return;
	}
	c->line[c->line_len] = '\0';
	c->line_len = 0;
	if (c->part == SIZE_LINE) {
		c->left = strtoull(c->line, NULL, 16);
		c->part = c->left > 0 ? CHUNK : LAST_LINE;
	} else if (c->part == CHUNK_END) {
		c->part = SIZE_LINE;
	} else {
		end_body(c);
	}
}

static size_t take_some(struct connection *c, const char *bytes, size_t len)
{
	if (c->chunked && c->part != CHUNK) {
		take_framing(c, *bytes);
		return 1;
	}
	const size_t n = len < c->left ? len : (size_t)c->left;
	take_body(c, bytes, n);
	c->left -= n;
	if (c->left == 0 && c->chunked)
		c->part = CHUNK_END;
	else if (c->left == 0)
		end_body(c);
	return n;
}

static struct fake_exchange *next_exchange(struct fake_http *s, const char *head)
{
	if (s->at < s->n_script) {
		struct fake_exchange *e = &s->script[s->at];
		if (strncmp(head, e->request, strlen(e->request)) == 0) {
			if (++e->seen >= (e->times ? e->times : 1))
				s->at++;
			return e;
		}
	}
	if (s->wrong[0] == '\0')
		(void)snprintf(s->wrong, sizeof(s->wrong), "%.*s", (int)strcspn(head, "\r"), head);
	return NULL;
}

static void begin_exchange(struct connection *c)
{
	const char *length = strcasestr(c->head, "\r\nContent-Length:");
	struct fake_exchange *e = next_exchange(c->server, c->head);

	if (!e) {
		send_text(c, "HTTP/1.1 599 Unscripted\r\nContent-Length: 0\r\n\r\n", true);
		return;
	}
	c->exchange = e;
	c->chunked = strcasestr(c->head, "\r\nTransfer-Encoding: chunked") != NULL;
	c->left = length ? strtoull(length + strlen("\r\nContent-Length:"), NULL, 10) : 0;
	c->part = SIZE_LINE;
	(void)snprintf(e->head, sizeof(e->head), "%.*s", (int)sizeof(e->head) - 1, c->head);
	e->body_bytes = 0;
	memset(e->text, 0, sizeof(e->text));
	if (e->how == FAKE_REFUSE) {
		send_answer(c, true);
		return;
	}
	if (strcasestr(c->head, "\r\nExpect: 100-continue") && e->how != FAKE_SILENT)
		send_text(c, "HTTP/1.1 100 Continue\r\n\r\n", false);
	if (!c->chunked && c->left == 0)
		end_body(c);
}

static void take(struct connection *c, const char *bytes, size_t len)
{
	while (len > 0 && !c->closing) {
		if (c->exchange) {
			const size_t n = take_some(c, bytes, len);
			bytes += n;
			len -= n;
			continue;
		}
		ck_assert_uint_lt(c->head_len, sizeof(c->head) - 1);
		c->head[c->head_len++] = *bytes++;
		c->head[c->head_len] = '\0';
		len--;
		if (c->head_len >= 4 && strcmp(c->head + c->head_len - 4, "\r\n\r\n") == 0)
			begin_exchange(c);
	}
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
	struct connection *c = handle->data;

	(void)size;
	*buf = uv_buf_init(c->buffer, sizeof(c->buffer));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct connection *c = stream->data;

	if (n < 0)
		close_connection(c, false);
	else
		take(c, buf->base, (size_t)n);
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct fake_http *s = listener->data;
	struct connection *c = calloc(1, sizeof(*c));

	ck_assert_int_eq(status, 0);
	ck_assert_ptr_nonnull(c);
	c->server = s;
	c->tcp.data = c;
	s->n_open++;
	ck_assert_int_eq(uv_tcp_init(s->loop, &c->tcp), 0);
	ck_assert_int_eq(uv_accept(listener, (uv_stream_t *)&c->tcp), 0);
	ck_assert_int_eq(uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read), 0);
}

void fake_http_start(
	struct fake_http *s, uv_loop_t *loop, struct fake_exchange *script, unsigned n_script)
{
	struct sockaddr_in address;
	int len = sizeof(address);

	*s = (struct fake_http){.loop = loop, .script = script, .n_script = n_script};
	ck_assert_int_eq(uv_ip4_addr("127.0.0.1", 0, &address), 0);
	ck_assert_int_eq(uv_tcp_init(loop, &s->listener), 0);
	s->listener.data = s;
	ck_assert_int_eq(uv_tcp_bind(&s->listener, (const struct sockaddr *)&address, 0), 0);
	ck_assert_int_eq(uv_listen((uv_stream_t *)&s->listener, 16, on_connection), 0);
	ck_assert_int_eq(uv_tcp_getsockname(&s->listener, (struct sockaddr *)&address, &len), 0);
	(void)snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u", ntohs(address.sin_port));
}

/* A connection that the client keeps for later is no leak of the server's. */
static void close_ours(uv_handle_t *handle, void *data)
{
	struct fake_http *s = data;

	if (handle->type == UV_TCP && handle != (uv_handle_t *)&s->listener && handle->data &&
		((struct connection *)handle->data)->server == s)
		close_connection(handle->data, false);
}

void fake_http_stop(struct fake_http *s, bool all)
{
	uv_close((uv_handle_t *)&s->listener, NULL);
	uv_walk(s->loop, close_ours, s);
	while (s->n_open > 0)
		(void)uv_run(s->loop, UV_RUN_ONCE);
	ck_assert_msg(s->wrong[0] == '\0', "not in the script: %s", s->wrong);
	if (all)
		ck_assert_msg(s->at == s->n_script, "never came: %s", s->script[s->at].request);
}

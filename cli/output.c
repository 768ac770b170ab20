/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output.h"

#include "cli/text.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { QUEUE_MAX_BYTES = 4 << 20 };

void output_init(struct output *out, int fd)
{
	*out = (struct output){.fd = fd};
}

/* At most PIPE_BUF at once: that much goes into a pipe that polls as writable (pipe(7)). */
static bool drain(struct output *out, int timeout_ms)
{
	size_t done = 0;

	while (done < out->len && !out->error) {
		struct pollfd poller = {.fd = out->fd, .events = POLLOUT};
		const int ready = poll(&poller, 1, timeout_ms);
		if (ready == 0)
			break;
		const size_t rest = out->len - done;
		const ssize_t n = ready < 0 ? -1
					    : write(out->fd, out->pending + done,
						      rest < PIPE_BUF ? rest : PIPE_BUF);
		if (n >= 0)
			done += (size_t)n;
		else if (errno == EAGAIN && timeout_ms == 0)
			break;
		else if (errno != EINTR && errno != EAGAIN)
			out->error = errno;
	}
	out->len = out->error ? 0 : out->len - done;
	if (out->len && done)
		memmove(out->pending, out->pending + done, out->len);
	return out->len == 0;
}

bool output_put(struct output *out, const char *text, size_t len)
{
	if (out->error || out->len + len > QUEUE_MAX_BYTES)
		return true;
	if (out->len + len > out->capacity) {
		const size_t capacity = (out->len + len) * 2;
		char *bigger = realloc(out->pending, capacity);
		if (!bigger)
			return false;
		out->pending = bigger;
		out->capacity = capacity;
	}
	memcpy(out->pending + out->len, text, len);
	out->len += len;
	(void)drain(out, 0);
	return true;
}

void output_printf(struct output *out, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	const int len = vasprintf(&text, format, args);
	va_end(args);
	if (len < 0)
		return;
	text_clean_lines(text);
	(void)output_put(out, text, (size_t)len);
	free(text);
}

bool output_flush(struct output *out)
{
	return drain(out, 0);
}

bool output_wait(struct output *out)
{
	(void)drain(out, -1);
	return !out->error;
}

void output_free(struct output *out)
{
	free(out->pending);
	output_init(out, out->fd);
}

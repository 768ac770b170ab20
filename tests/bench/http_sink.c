/* SPDX-License-Identifier: Apache-2.0
 *
 * http_sink - a server on the loopback that takes any request, chunked or not, throws its body
 * away and answers 204.  One connection at a time, one request each.  Prints its port, then a line
 * "BYTES FIRST_NS" a request: the body's length and when its first byte came (CLOCK_MONOTONIC).
 * Ends with its parent. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER_BYTES = 4096, LINE_BYTES = 8192, DISCARD_BYTES = 1 << 20 };

struct peer {
	int fd;
	size_t at, end; /* in the buffer: received and not yet used */
	uint64_t body_bytes;
	uint64_t first_ns; /* 0: no byte of the body yet */
	bool chunked, expects;
	uint64_t length_bytes;
};

static char buffer[BUFFER_BYTES];

static bool receive(struct peer *p)
{
	const ssize_t n = recv(p->fd, buffer, sizeof(buffer), 0);

	p->at = 0;
	p->end = n > 0 ? (size_t)n : 0;
	return n > 0;
}

/* A line without its end; a longer one than fits is no request of ours. */
static bool read_line(struct peer *p, char line[static LINE_BYTES])
{
	size_t n = 0;

	for (;;) {
		if (p->at == p->end && !receive(p))
			return false;
		const char c = buffer[p->at++];
		if (c == '\n')
			break;
		if (n == LINE_BYTES - 1)
			return false;
		line[n++] = c;
	}
	if (n > 0 && line[n - 1] == '\r')
		n--;
	line[n] = '\0';
	return true;
}

/* What is in the buffer first; the rest is thrown away by the kernel, which copies nothing then
 * (MSG_TRUNC, tcp(7)). */
static size_t discard(struct peer *p, uint64_t bytes)
{
	const size_t there = p->end - p->at;
	const size_t most = bytes < DISCARD_BYTES ? (size_t)bytes : DISCARD_BYTES;

	if (there > 0) {
		const size_t n = most < there ? most : there;
		p->at += n;
		return n;
	}
	const ssize_t n = recv(p->fd, NULL, most, MSG_TRUNC);
	return n > 0 ? (size_t)n : 0;
}

static bool skip_body(struct peer *p, uint64_t bytes)
{
	struct timespec now;

	while (bytes > 0) {
		const size_t n = discard(p, bytes);
		if (n == 0)
			return false;
		if (p->first_ns == 0) {
			(void)clock_gettime(CLOCK_MONOTONIC, &now);
			p->first_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
		}
		p->body_bytes += n;
		bytes -= n;
	}
	return true;
}

static bool skip_chunks(struct peer *p)
{
	char line[LINE_BYTES];
	uint64_t bytes;

	do {
		if (!read_line(p, line))
			return false;
		bytes = strtoull(line, NULL, 16);
		if (!skip_body(p, bytes))
			return false;
		/* The chunk's end, or that of the trailers, of which there are none. */
		if (!read_line(p, line) || line[0] != '\0')
			return false;
	} while (bytes > 0);
	return true;
}

static bool read_head(struct peer *p)
{
	static const char length[] = "Content-Length:";
	char line[LINE_BYTES];

	do {
		if (!read_line(p, line))
			return false;
		if (strcasecmp(line, "Transfer-Encoding: chunked") == 0)
			p->chunked = true;
		else if (strcasecmp(line, "Expect: 100-continue") == 0)
			p->expects = true;
		else if (strncasecmp(line, length, strlen(length)) == 0)
			p->length_bytes = strtoull(line + strlen(length), NULL, 10);
	} while (line[0] != '\0');
	return true;
}

static bool answer(const struct peer *p, const char *text)
{
	const size_t len = strlen(text);

	return send(p->fd, text, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static void serve(int fd)
{
	struct peer p = {.fd = fd};

	if (!read_head(&p) || (p.expects && !answer(&p, "HTTP/1.1 100 Continue\r\n\r\n")))
		return;
	if (!(p.chunked ? skip_chunks(&p) : skip_body(&p, p.length_bytes)))
		return;
	/* First, so that whoever has the answer finds the line. */
	(void)printf("%" PRIu64 " %" PRIu64 "\n", p.body_bytes, p.first_ns);
	(void)fflush(stdout);
	(void)answer(&p, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
}

int main(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, len) < 0 ||
		listen(listener, 16) < 0 ||
		getsockname(listener, (struct sockaddr *)&address, &len) < 0) {
		perror("http_sink");
		return 1;
	}
	(void)printf("%u\n", (unsigned)ntohs(address.sin_port));
	(void)fflush(stdout);
	for (;;) {
		const int fd = accept(listener, NULL, NULL);

		if (fd < 0) {
			perror("http_sink: accept");
			return 1;
		}
		serve(fd);
		(void)close(fd);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TURNS = 4 };

int peer_open(struct peer *peer)
{
	int fds[2];

	FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	*peer = (struct peer){.fd = fds[1]};
	return fds[0];
}

/* Notes the "id" of a command, wherever in it that stands. */
static void take_command(struct peer *peer, const char *line)
{
	const char *id = strstr(line, "\"id\":");
	size_t len;

	if (!id || peer->n_ids == PEER_MOST_IDS)
		return;
	id += strlen("\"id\":");
	len = strcspn(id, ",}");
	FUZZ_CHECK(len < PEER_ID_BYTES);
	char *to = peer->ids[(peer->first + peer->n_ids++) % PEER_MOST_IDS];
	memcpy(to, id, len);
	to[len] = '\0';
}

static void listen_to(struct peer *peer)
{
	ssize_t n;

	while ((n = recv(peer->fd, peer->received + peer->n_received,
			sizeof(peer->received) - 1 - peer->n_received, 0)) > 0) {
		char *line = peer->received, *end;
		peer->n_received += (size_t)n;
		peer->received[peer->n_received] = '\0';
		for (; (end = strchr(line, '\n')); line = end + 1) {
			*end = '\0';
			take_command(peer, line);
		}
		peer->n_received = strlen(line);
		FUZZ_CHECK(peer->n_received < sizeof(peer->received) - 1);
		memmove(peer->received, line, peer->n_received + 1);
	}
}

/* The id of the oldest command without an answer, which it has from now on. */
static const char *next_id(struct peer *peer)
{
	const char *id = peer->ids[peer->first];

	if (!peer->n_ids)
		return "0";
	peer->n_ids--;
	peer->first = (peer->first + 1) % PEER_MOST_IDS;
	return id;
}

static void say(struct peer *peer, const char *bytes, size_t len)
{
	/* What doesn't fit into the socket is lost, as is what nobody reads any more. */
	(void)send(peer->fd, bytes, len, MSG_NOSIGNAL);
}

static void say_line(struct peer *peer, const char *line, size_t len)
{
	char front[2 * PEER_ID_BYTES] = "";
	const char *back = "\n";

	if (line[0] == '=')
		(void)snprintf(front, sizeof(front), "{\"id\":%s,\"return\":", next_id(peer));
	else if (line[0] == '!')
		(void)snprintf(front, sizeof(front), "{\"id\":%s,\"error\":", next_id(peer));
	else if (line[0] == '^')
		(void)snprintf(front, sizeof(front), "\xff{\"return\":%s", next_id(peer));
	if (front[0])
		back = "}\n";
	say(peer, front, strlen(front));
	if (front[0] || line[0] == '+')
		say(peer, line + 1, len - 1);
	else
		say(peer, line, len);
	if (line[0] != '+')
		say(peer, back, strlen(back));
}

void peer_run(struct peer *peer, uv_loop_t *loop, struct fuzz_input *in)
{
	char *line;
	size_t len;

	do {
		for (int i = 0; i < TURNS; i++)
			(void)uv_run(loop, UV_RUN_NOWAIT);
		listen_to(peer);
		line = fuzz_until(in, "\n", &len);
		if (line)
			say_line(peer, line, len);
		free(line);
	} while (line);
	(void)close(peer->fd);
}

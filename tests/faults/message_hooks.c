/* SPDX-License-Identifier: Apache-2.0
 *
 * message_hooks.c - linked over send() and sendmsg(), for tests with a real QEMU and a real agent
 * (tests/kills): the stage hears of each command that changes something, and can have one refused.
 * That one is given an argument that nobody knows, so it is QEMU, or the agent, that refuses it. */
#include "stage_client.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define FRONT "{\"execute\":\""

enum { NAME_BYTES = 64, LINE_BYTES = 256 };

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the linker's names */

ssize_t __real_send(int fd, const void *bytes, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t len, int flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);

/* The name of a command that changes something.  False for all else, also for a message's rest. */
static bool changing_command(char name[static NAME_BYTES], const char *bytes, size_t len)
{
	static const char *const others[] = {
		"query-", "qom-get", "x-debug", "qmp_", "guest-sync", "guest-fsfreeze-status"};
	const size_t front = strlen(FRONT);

	if (!stage_takes_messages() || len <= front || memcmp(bytes, FRONT, front) != 0)
		return false;
	const char *end = memchr(bytes + front, '"', len - front);
	if (!end || (size_t)(end - bytes) - front >= NAME_BYTES)
		return false;
	(void)snprintf(
		name, NAME_BYTES, "%.*s", (int)(end - bytes - (ptrdiff_t)front), bytes + front);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (strncmp(name, others[i], strlen(others[i])) == 0)
			return false;
	return true;
}

/* QEMU's commands end with their id, the agent's have none. */
static const char *id_of(const char *bytes, size_t len)
{
	static const char id[] = ",\"id\":\"";
	const char *found = NULL;

	for (size_t i = 0; i + sizeof(id) <= len; i++)
		if (memcmp(bytes + i, id, sizeof(id) - 1) == 0)
			found = bytes + i;
	return found;
}

static ssize_t send_spoiled(int fd, const char *name, const char *bytes, size_t len)
{
	char line[LINE_BYTES];
	const char *id = id_of(bytes, len);
	const int id_len = id ? (int)(bytes + len - id) : 2;
	const int n = snprintf(line, sizeof(line),
		FRONT "%s\",\"arguments\":{\"the-test-made-it-fail\":true}%.*s", name, id_len,
		id ? id : "}\n");

	if (n < 0 || (size_t)n >= sizeof(line)) {
		errno = EMSGSIZE;
		return -1;
	}
	const ssize_t sent = __real_send(fd, line, (size_t)n, MSG_NOSIGNAL);
	return sent < 0 ? sent : (ssize_t)len;
}

ssize_t __wrap_send(int fd, const void *bytes, size_t len, int flags)
{
	char name[NAME_BYTES];

	if (!changing_command(name, bytes, len))
		return __real_send(fd, bytes, len, flags);
	const bool spoiled = stage_spoils_message();
	const ssize_t sent =
		spoiled ? send_spoiled(fd, name, bytes, len) : __real_send(fd, bytes, len, flags);
	if (sent > 0)
		stage_announce(spoiled ? "spoiled" : "message", name);
	return sent;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	const struct iovec *first = message->msg_iov;
	char name[NAME_BYTES];

	if (message->msg_iovlen != 1 || !changing_command(name, first->iov_base, first->iov_len))
		return __real_sendmsg(fd, message, flags);
	const bool spoiled = stage_spoils_message();
	const ssize_t sent = spoiled ? send_spoiled(fd, name, first->iov_base, first->iov_len)
				     : __real_sendmsg(fd, message, flags);
	if (sent > 0)
		stage_announce(spoiled ? "spoiled" : "message", name);
	return sent;
}

/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

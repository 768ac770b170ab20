/* SPDX-License-Identifier: Apache-2.0 */
#include "qmp/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define FORMS "unix:PATH, a path with a '/', tcp:HOST:PORT, or fd:N"

static bool parse_unix(const char *path, struct qmp_address *address, struct qmpsnap_error *err)
{
	const size_t length = strlen(path);

	if (length == 0)
		return error_set(err, QMPSNAP_USAGE, "monitor address \"unix:\": no path");
	if (length >= sizeof(address->path)) {
		error_set(err, QMPSNAP_USAGE,
			"monitor address \"%s\": a socket's path has at most %zu bytes", path,
			sizeof(address->path) - 1);
		error_hint(err, "name it by a shorter path, a symbolic link for example");
		return false;
	}
	address->kind = QMP_UNIX;
	memcpy(address->path, path, length + 1);
	(void)snprintf(address->text, sizeof(address->text), "unix:%s", path);
	return true;
}

static bool parse_fd(const char *number, struct qmp_address *address, struct qmpsnap_error *err)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(number, &end, 10);
	if (*number < '0' || *number > '9' || *end || errno || value > INT_MAX)
		return error_set(err, QMPSNAP_USAGE,
			"monitor address \"fd:%s\": no descriptor's number", number);
	address->kind = QMP_FD;
	address->fd = (int)value;
	(void)snprintf(address->text, sizeof(address->text), "fd:%ld", value);
	return true;
}

/* "HOST" or "[HOST]", the brackets taken off; false when it doesn't fit. */
static bool copy_host(char host[static INET6_ADDRSTRLEN], const char *from, size_t length)
{
	const bool brackets = length >= 2 && from[0] == '[' && from[length - 1] == ']';

	if (brackets) {
		from++;
		length -= 2;
	}
	if (length == 0 || length >= INET6_ADDRSTRLEN || (!brackets && memchr(from, ':', length)) ||
		(brackets && !memchr(from, ':', length)))
		return false;
	memcpy(host, from, length);
	host[length] = '\0';
	return true;
}

static bool parse_tcp(const char *text, struct qmp_address *address, struct qmpsnap_error *err)
{
	const struct addrinfo numeric = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
	const char *from = text + strlen("tcp:"), *colon = strrchr(from, ':');
	char host[INET6_ADDRSTRLEN];
	struct addrinfo *found = NULL;

	if (!colon || !colon[1] || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
		strtoul(colon + 1, NULL, 10) - 1 >= UINT16_MAX ||
		strlen(text) >= sizeof(address->text))
		return error_set(
			err, QMPSNAP_USAGE, "monitor address \"%s\": not tcp:HOST:PORT", text);
	if (!copy_host(host, from, (size_t)(colon - from)) ||
		getaddrinfo(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, colon + 1,
			&numeric, &found) != 0) {
		error_set(err, QMPSNAP_USAGE,
			"monitor address \"%s\": the host is no numeric address", text);
		error_hint(err, "127.0.0.1, [::1] or localhost; names aren't looked up");
		return false;
	}
	address->kind = QMP_TCP;
	memcpy(&address->name, found->ai_addr, found->ai_addrlen);
	address->name_bytes = found->ai_addrlen;
	freeaddrinfo(found);
	(void)snprintf(address->text, sizeof(address->text), "%s", text);
	return true;
}

bool qmp_address_parse(const char *text, struct qmp_address *address, struct qmpsnap_error *err)
{
	*address = (struct qmp_address){.fd = -1};
	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(text + 5, address, err);
	if (strncmp(text, "fd:", 3) == 0)
		return parse_fd(text + 3, address, err);
	if (strncmp(text, "tcp:", 4) == 0)
		return parse_tcp(text, address, err);
	if (strchr(text, '/'))
		return parse_unix(text, address, err);
	error_set(err, QMPSNAP_USAGE, "monitor address \"%s\": unknown form", text);
	error_hint(err, "use " FORMS);
	return false;
}

/* connect() says ECONNREFUSED of a plain file too. */
static int not_a_socket(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && !S_ISSOCK(st.st_mode);
}

static void connect_error(const struct qmp_address *address, int errnum, struct qmpsnap_error *err)
{
	const char *text = address->text;

	if (errnum == ECONNREFUSED && not_a_socket(address->path))
		errnum = ENOTSOCK;
	switch (errnum) {
	case ENOENT:
		error_set(err, QMPSNAP_REFUSED, "%s: no such socket", text);
		error_hint(err, "does the guest run, and with -qmp unix:%s,server=on,wait=off?",
			address->path);
		break;
	case ECONNREFUSED:
		error_set(err, QMPSNAP_REFUSED, "%s: nobody listens on this socket", text);
		error_hint(err, "the QEMU that made it has ended, or the clients waiting for its "
				"monitor fill the queue");
		break;
	case EAGAIN:
		error_set(err, QMPSNAP_REFUSED,
			"%s: the monitor is in use, and more clients are waiting for it already",
			text);
		error_hint(err, "end the other clients, or give the guest a second -qmp socket");
		break;
	case EACCES:
	case EPERM:
		error_set(err, QMPSNAP_REFUSED, "%s: no permission to use this socket", text);
		error_hint(err, "run this as root, or as the user that QEMU runs as");
		break;
	case ENOTSOCK:
		error_set(err, QMPSNAP_REFUSED, "%s: this is not a socket", text);
		error_hint(err, "give the path of the guest's -qmp socket");
		break;
	case EPROTOTYPE:
		error_set(err, QMPSNAP_REFUSED, "%s: this is not a stream socket", text);
		error_hint(err, "give the path of the guest's -qmp socket");
		break;
	default:
		error_errno(err, QMPSNAP_REFUSED, errnum, "%s: cannot connect", text);
		break;
	}
	err->detail = errnum;
}

static int connect_unix(const struct qmp_address *address, struct qmpsnap_error *err)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0) {
		error_errno(
			err, QMPSNAP_INTERNAL, errno, "%s: cannot make a socket", address->text);
		return -1;
	}
	memcpy(name.sun_path, address->path, sizeof(name.sun_path));
	if (connect(fd, (const struct sockaddr *)&name, sizeof(name)) < 0) {
		connect_error(address, errno, err);
		(void)close(fd);
		return -1;
	}
	return fd;
}

static int connect_tcp(const struct qmp_address *address, struct qmpsnap_error *err)
{
	const int fd =
		socket(address->name.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0) {
		error_errno(
			err, QMPSNAP_INTERNAL, errno, "%s: cannot make a socket", address->text);
		return -1;
	}
	if (connect(fd, (const struct sockaddr *)&address->name, address->name_bytes) < 0 &&
		errno != EINPROGRESS) {
		error_errno(err, QMPSNAP_REFUSED, errno, "%s: cannot connect", address->text);
		(void)close(fd);
		return -1;
	}
	return fd;
}

static bool is_unix_stream(int fd)
{
	int domain = 0;
	int type = 0;
	socklen_t domain_size = sizeof(domain);
	socklen_t type_size = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_size) == 0 &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size) == 0 && domain == AF_UNIX &&
	       type == SOCK_STREAM;
}

/* A duplicate, so that the number stays its giver's to close. */
static int take_fd(const struct qmp_address *address, struct qmpsnap_error *err)
{
	struct sockaddr_un name;
	socklen_t name_size = sizeof(name);
	const int fd = fcntl(address->fd, F_DUPFD_CLOEXEC, 3);
	int flags;

	if (fd < 0) {
		error_errno(err, QMPSNAP_REFUSED, errno, "%s: no usable descriptor", address->text);
		return -1;
	}
	if (!is_unix_stream(fd)) {
		error_set(err, QMPSNAP_REFUSED, "%s: this is not a unix stream socket",
			address->text);
		error_hint(err, "descriptors must be passed to QEMU, which only such sockets can");
		goto fail;
	}
	if (getpeername(fd, (struct sockaddr *)&name, &name_size) < 0) {
		error_errno(
			err, QMPSNAP_REFUSED, errno, "%s: this is no connection", address->text);
		goto fail;
	}
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		error_errno(err, QMPSNAP_INTERNAL, errno, "%s: cannot make it non-blocking",
			address->text);
		goto fail;
	}
	return fd;
fail:
	(void)close(fd);
	return -1;
}

int qmp_address_connect(const struct qmp_address *address, struct qmpsnap_error *err)
{
	switch (address->kind) {
	case QMP_UNIX:
		return connect_unix(address, err);
	case QMP_FD:
		return take_fd(address, err);
	case QMP_TCP:
		return connect_tcp(address, err);
	}
	error_set(err, QMPSNAP_INTERNAL, "%s: an address of no kind", address->text);
	return -1;
}

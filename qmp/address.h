/* SPDX-License-Identifier: Apache-2.0
 *
 * address.h - where a QMP monitor listens, and connecting to it.
 */
#ifndef QMP_ADDRESS_H
#define QMP_ADDRESS_H

#include "base/error.h"

#include <sys/socket.h>

enum qmp_address_kind { QMP_UNIX, QMP_TCP, QMP_FD };

struct qmp_address {
	enum qmp_address_kind kind;
	char text[512]; /* as errors name it: "unix:/run/vm.qmp" */
	char path[108]; /* QMP_UNIX; sockaddr_un's limit */
	struct sockaddr_storage name; /* QMP_TCP */
	socklen_t name_bytes;
	int fd; /* QMP_FD */
};

/* "unix:PATH", any word with a '/', "fd:N", "tcp:HOST:PORT".  HOST is a numeric address, an IPv6
 * one in brackets, or "localhost", which is 127.0.0.1: names aren't looked up, since a resolver
 * blocks.  Over TCP no descriptors can be passed.  USAGE for anything else, a path over
 * sockaddr_un's limit (107 bytes) included. */
bool qmp_address_parse(const char *text, struct qmp_address *address, struct qmpsnap_error *err);

/* A connected, non-blocking, close-on-exec socket, or -1 and *err.  A unix connect() ends at once
 * or fails; one over TCP may still be under way, and its failure is then what the first read or
 * write says: so this doesn't block.  Missing socket, nobody listening or queue full (ECONNREFUSED
 * and EAGAIN), no permission and not a socket have a sentence and a hint each.  REFUSED, since
 * nothing was touched. */
int qmp_address_connect(const struct qmp_address *address, struct qmpsnap_error *err);

#endif

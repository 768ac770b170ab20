/* SPDX-License-Identifier: Apache-2.0
 *
 * sink_fd.h - writes to somebody else's descriptor (a pipe, a socket, a file) on a pool thread
 * without changing its flags, so that a reader that doesn't read can't keep us for ever, and one
 * that went away doesn't kill the process.
 */
#ifndef UPLOAD_SINK_FD_H
#define UPLOAD_SINK_FD_H

#include "base/error.h"

#include <stddef.h>

struct sink_fd {
	int fd; /* what is written to */
	int wake_fd; /* an eventfd: readable once a blocked write shall end */
	bool own_fd; /* `fd` is ours to close */
	enum { SINK_FILE, SINK_PIPE, SINK_SLOW_PIPE, SINK_SOCKET } kind;
};

/* Looks at what `fd` is, which is borrowed.  A pipe is opened anew, so that it can be non-blocking
 * for us alone; where that isn't allowed it is written to in pieces that never block.  Errors:
 * STORE. */
bool sink_fd_open(struct sink_fd *s, int fd, struct qmpsnap_error *err);

/* Writes all of it.  Blocks until then, or until sink_fd_wake().  Errors: STORE. */
bool sink_fd_write(struct sink_fd *s, const void *bytes, size_t len, struct qmpsnap_error *err);

/* From any thread: a write that waits, and every later one, fails. */
void sink_fd_wake(struct sink_fd *s);

void sink_fd_close(struct sink_fd *s);

#endif

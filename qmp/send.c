/* SPDX-License-Identifier: Apache-2.0 */
#include "qmp/private.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* Sends what is left of one request.  QEMU keeps only the descriptors of its last read, and reads
 * no further than the command at hand: so a message's descriptor goes with its first byte, and a
 * sendmsg() never spans two requests. */
static ssize_t send_some(int fd, const struct qmp_request *r)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec bytes = {
		.iov_base = (void *)(r->line + r->sent_bytes),
		.iov_len = r->line_bytes - r->sent_bytes,
	};
	struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
	ssize_t n;

	if (r->fd >= 0 && r->sent_bytes == 0) {
		memset(&control, 0, sizeof(control));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &r->fd, sizeof(int));
		message.msg_control = control.room;
		message.msg_controllen = sizeof(control.room);
	}
	do
		n = sendmsg(fd, &message, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n;
}

static void sent_whole(struct qmp_client *c, struct qmp_request *r)
{
	client_log(c, "->", r->line, r->line_bytes - 1);
	c->unsent = r->next;
	if (!r->reply)
		request_complete(c, r, NULL, NULL);
}

/* Whether there is a point in sending on at once. */
static bool send_failed(struct qmp_client *c, struct qmp_request *r, int errnum)
{
	if (errnum == EAGAIN || errnum == ENOBUFS || errnum == ENOMEM)
		return false;
	if (errnum != EPIPE && errnum != ECONNRESET && r->sent_bytes == 0) {
		/* Its descriptor is at fault, the connection isn't. */
		r->send_errno = errnum;
		c->unsent = r->next;
		return true;
	}
	/* What QEMU said last may still be unread: reading will find the end behind it. */
	(void)shutdown(c->fd, SHUT_RDWR);
	c->unsent = NULL;
	return false;
}

void client_flush(struct qmp_client *c)
{
	while (client_connected(c) && c->state != CLIENT_GREETING && c->unsent) {
		struct qmp_request *r = c->unsent;
		ssize_t n;

		if (r->no_memory) {
			c->unsent = r->next;
			continue;
		}
		n = send_some(c->fd, r);
		if (n < 0) {
			if (send_failed(c, r, errno))
				continue;
			break;
		}
		r->sent_bytes += (size_t)n;
		if (r->sent_bytes == r->line_bytes)
			sent_whole(c, r);
	}
	client_watch(c);
}

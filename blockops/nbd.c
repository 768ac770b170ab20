/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_READ_BYTES = 32 << 20 }; /* what every NBD server must take */

static void on_turn(uv_idle_t *handle);
static void on_poll(uv_poll_t *handle, int status, int events);

/* libnbd's last message without the name of the call in front. */
static const char *nbd_text(void)
{
	const char *text = nbd_get_error();

	if (!text)
		return "unknown failure";
	if (strncmp(text, "nbd_", 4) == 0) {
		const char *colon = strstr(text, ": ");

		if (colon)
			return colon + 2;
	}
	return text;
}

static bool peer_closed(const struct nbd_link *link, int errnum)
{
	char byte;

	if (errnum == ECONNRESET || errnum == EPIPE || errnum == ENOTCONN || errnum == ESHUTDOWN)
		return true;
	return errnum == 0 && recv(link->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* Keeps what libnbd says about a call that just failed. */
static void keep_failure(struct nbd_link *link)
{
	const int errnum = nbd_get_errno();

	if (link->err.code != QMPSNAP_OK || peer_closed(link, errnum))
		return;
	error_set(&link->err, QMPSNAP_VIEW, "disk %s: %s: %s", link->disk,
		link->opened ? "NBD connection" : "NBD negotiation", nbd_text());
	link->err.detail = errnum;
}

static void watch(struct nbd_link *link)
{
	int events = 0;

	if (!link->nbd || !link->has_poll)
		return;
	const unsigned direction = nbd_aio_get_direction(link->nbd);
	if (direction & LIBNBD_AIO_DIRECTION_READ)
		events |= UV_READABLE;
	if (direction & LIBNBD_AIO_DIRECTION_WRITE)
		events |= UV_WRITABLE;
	if (events == link->poll_events)
		return;
	link->poll_events = events;
	if (events)
		(void)uv_poll_start(&link->poll, events, on_poll);
	else
		(void)uv_poll_stop(&link->poll);
}

static void tell_broken(struct nbd_link *link)
{
	if (link->broken)
		return;
	link->broken = true;
	if (link->err.code == QMPSNAP_OK)
		error_set(&link->err, QMPSNAP_VIEW, "disk %s: QEMU closed the NBD connection",
			link->disk);
	link->events->broken(link, &link->err);
}

static bool is_broken(const struct nbd_link *link)
{
	return link->nbd && (nbd_aio_is_dead(link->nbd) || nbd_aio_is_closed(link->nbd));
}

static void settle_later(struct nbd_link *link)
{
	if (!link->settling && !uv_is_closing((uv_handle_t *)&link->turn))
		(void)uv_idle_start(&link->turn, on_turn);
}

/* Tells all that libnbd has done.  Any of the events may stop or close the link. */
static void settle(struct nbd_link *link)
{
	struct nbd_request *request;

	link->settling = true;
	if (link->nbd && !link->opened && nbd_aio_is_ready(link->nbd)) {
		link->opened = true;
		link->can_df = nbd_can_df(link->nbd) > 0;
		link->has_map = nbd_can_meta_context(link->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0;
		link->events->opened(link);
	}
	while ((request = link->finished)) {
		/* The cause before its consequences. */
		if (request->errnum == ENOTCONN && is_broken(link))
			tell_broken(link);
		link->finished = request->next;
		if (!link->finished)
			link->finished_tail = &link->finished;
		link->in_flight--;
		if (request->bytes)
			link->bytes_in_flight -= request->len;
		link->events->finished(link, request);
	}
	if (is_broken(link))
		tell_broken(link);
	link->settling = false;
	if (link->finished)
		settle_later(link);
	watch(link);
}

static void on_turn(uv_idle_t *handle)
{
	struct nbd_link *link = handle->data;

	(void)uv_idle_stop(handle);
	if (link->failed)
		tell_broken(link);
	settle(link);
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
	struct nbd_link *link = handle->data;
	int result = 0;

	if (!link->nbd)
		return;
	if (status < 0) {
		/* libuv has stopped watching; reading tells libnbd why. */
		link->poll_events = 0;
		events = UV_READABLE | UV_WRITABLE;
	}
	const unsigned direction = nbd_aio_get_direction(link->nbd);
	if ((events & UV_READABLE) && (direction & LIBNBD_AIO_DIRECTION_READ))
		result = nbd_aio_notify_read(link->nbd);
	else if ((events & UV_WRITABLE) && (direction & LIBNBD_AIO_DIRECTION_WRITE))
		result = nbd_aio_notify_write(link->nbd);
	if (result < 0)
		keep_failure(link);
	settle(link);
}

static bool open_handle(struct nbd_link *link, const char *export_name)
{
	link->nbd = nbd_create();
	if (!link->nbd || nbd_set_export_name(link->nbd, export_name) < 0 ||
		nbd_add_meta_context(link->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
		nbd_add_meta_context(link->nbd, NBD_CONTEXT_ALLOCATION_DEPTH) < 0 ||
		nbd_set_pread_initialize(link->nbd, false) < 0) {
		keep_failure(link);
		return false;
	}
	const int fd = fcntl(link->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return error_errno(
			&link->err, QMPSNAP_VIEW, errno, "disk %s: NBD socket", link->disk);
	/* It owns the descriptor, also when it fails. */
	if (nbd_aio_connect_socket(link->nbd, fd) < 0) {
		keep_failure(link);
		return false;
	}
	return true;
}

void nbd_link_open(
	struct nbd_link *link, uv_loop_t *loop, int fd, const struct nbd_link_options *options)
{
	*link = (struct nbd_link){.owner = options->owner,
		.events = options->events,
		.disk = options->disk,
		.fd = fd,
		.n_handles = 1};
	link->finished_tail = &link->finished;
	(void)uv_idle_init(loop, &link->turn);
	link->turn.data = link;

	const int result = uv_poll_init(loop, &link->poll, fd);
	if (result == 0) {
		link->poll.data = link;
		link->has_poll = true;
		link->n_handles++;
		link->failed = !open_handle(link, options->export_name);
		watch(link);
	} else {
		link->failed = true;
		error_errno(&link->err, QMPSNAP_VIEW, -result, "disk %s: NBD socket", link->disk);
	}
	settle_later(link);
}

uint64_t nbd_link_size_bytes(const struct nbd_link *link)
{
	const int64_t size = nbd_get_size(link->nbd);

	return size < 0 ? 0 : (uint64_t)size;
}

uint32_t nbd_link_max_read_bytes(const struct nbd_link *link)
{
	const int64_t most = nbd_get_block_size(link->nbd, LIBNBD_SIZE_MAXIMUM);

	return most > 0 && most < MAX_READ_BYTES ? (uint32_t)most : MAX_READ_BYTES;
}

/* libnbd's signatures. NOLINTBEGIN(readability-non-const-parameter) */
static int on_completion(void *data, int *error)
{
	struct nbd_request *request = data;

	request->errnum = *error;
	return 1; /* retire it */
}

/* libnbd calls this once for each request, however it ended: completed, never sent, or dropped by
 * nbd_close(). */
static void on_retired(void *data)
{
	struct nbd_request *request = data;
	struct nbd_link *link = request->link;

	request->next = NULL;
	*link->finished_tail = request;
	link->finished_tail = &request->next;
}

static int on_extents(void *data, const char *context, uint64_t offset, uint32_t *entries,
	size_t n_entries, int *error)
{
	struct nbd_request *request = data;
	const bool depth = request->context != NULL;
	uint64_t at = offset;

	(void)error;
	if (strcmp(context, depth ? request->context : LIBNBD_CONTEXT_BASE_ALLOCATION) != 0 ||
		offset != request->offset)
		return 0;
	for (size_t i = 0; i + 1 < n_entries; i += 2) {
		const uint32_t flags = entries[i + 1];
		const bool empty = depth ? flags == 0 : (flags & LIBNBD_STATE_ZERO) != 0;
		request->extent(request, at, entries[i], empty);
		at += entries[i];
	}
	request->described_bytes = at - offset;
	return 0;
}

static int on_chunk(
	void *data, const void *bytes, size_t len, uint64_t offset, unsigned status, int *error)
{
	(void)data;
	(void)bytes;
	(void)len;
	(void)offset;
	(void)status;
	(void)error;
	return 0;
}
/* NOLINTEND(readability-non-const-parameter) */

/* QEMU 7.2 answers a failing read by closing the connection, unless the reply may not be cut into
 * pieces (LIBNBD_CMD_FLAG_DF): then it says what failed.  libnbd takes that flag in this call
 * only. */
static int64_t submit_read(
	struct nbd_link *link, struct nbd_request *request, nbd_completion_callback completion)
{
	if (!link->can_df)
		return nbd_aio_pread(
			link->nbd, request->bytes, request->len, request->offset, completion, 0);
	return nbd_aio_pread_structured(link->nbd, request->bytes, request->len, request->offset,
		(nbd_chunk_callback){.callback = on_chunk}, completion, LIBNBD_CMD_FLAG_DF);
}

void nbd_link_submit(struct nbd_link *link, struct nbd_request *request)
{
	const nbd_completion_callback completion = {
		.callback = on_completion, .user_data = request, .free = on_retired};
	int64_t cookie;

	request->link = link;
	request->errnum = ECANCELED;
	request->described_bytes = 0;
	link->in_flight++;
	if (request->bytes)
		link->bytes_in_flight += request->len;
	if (!link->nbd) {
		on_retired(request);
		settle_later(link);
		return;
	}
	if (request->bytes)
		cookie = submit_read(link, request, completion);
	else
		cookie = nbd_aio_block_status(link->nbd, request->len, request->offset,
			(nbd_extent_callback){.callback = on_extents, .user_data = request},
			completion, 0);
	if (cookie < 0) {
		const int errnum = nbd_get_errno();

		request->errnum = errnum ? errnum : EIO;
	}
	if (link->finished || is_broken(link))
		settle_later(link);
	watch(link);
}

void nbd_link_stop(struct nbd_link *link)
{
	if (!link->nbd)
		return;
	if (link->has_poll)
		(void)uv_poll_stop(&link->poll);
	nbd_close(link->nbd);
	link->nbd = NULL;
	if (link->finished)
		settle_later(link);
}

static void on_closed(uv_handle_t *handle)
{
	struct nbd_link *link = handle->data;

	if (--link->n_handles > 0)
		return;
	settle(link);
	link->events->closed(link);
}

void nbd_link_close(struct nbd_link *link)
{
	nbd_link_stop(link);
	/* A watched descriptor must leave the loop before it is closed. */
	if (link->has_poll)
		uv_close((uv_handle_t *)&link->poll, on_closed);
	uv_close((uv_handle_t *)&link->turn, on_closed);
	(void)close(link->fd);
	link->fd = -1;
}

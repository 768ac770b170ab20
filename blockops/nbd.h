/* SPDX-License-Identifier: Apache-2.0
 *
 * nbd.h - one NBD connection (a libnbd handle) on a uv loop: negotiation on a connected socket,
 * then requests, many in flight at once.
 *
 * libnbd's callbacks run with the handle locked, so they only mark requests; all events below are
 * told from the loop, never from within a call into this file.
 */
#ifndef BLOCKOPS_NBD_H
#define BLOCKOPS_NBD_H

#include "base/error.h"

#include <libnbd.h>
#include <uv.h>

enum {
	/* QEMU serves at most 16 requests of a connection at a time (MAX_NBD_REQUESTS). */
	NBD_LINK_IN_FLIGHT = 16,
	/* One long read at a time: its reply doesn't fit into the socket (QEMU's has the kernel's
	 * default, 208 KiB), so one behind it would only wait in QEMU. */
	NBD_LINK_BYTES_IN_FLIGHT = 512 << 10,
};

/* The second map that a link asks for; QEMU's docs/interop/nbd.rst. */
#define NBD_CONTEXT_ALLOCATION_DEPTH "qemu:allocation-depth"

struct nbd_link;
struct nbd_request;

typedef void nbd_request_fn(struct nbd_request *request);

/* A piece of the extent map; it may lie outside of what was asked.  `empty`: it reads as zeroes,
 * or, asked about the depth of its allocation, nothing is allocated. */
typedef void nbd_extent_fn(
	struct nbd_request *request, uint64_t offset, uint64_t length, bool empty);

/* Lives in a struct of whoever asks, until `done`. */
struct nbd_request {
	uint64_t offset;
	uint32_t len;
	uint8_t *bytes; /* where a read goes; NULL: it asks for the extent map */
	nbd_extent_fn *extent; /* for the extent map: each piece, before `done` */
	const char *context; /* which map; NULL: base:allocation */
	nbd_request_fn *done; /* for the owner of the link to call; not called by the link */
	void *owner; /* the asker's */

	int errnum; /* 0: well; ECANCELED: the link was stopped first */
	uint64_t described_bytes; /* of the extent map, from `offset` on without a gap */

	struct nbd_link *link;
	struct nbd_request *next;
};

struct nbd_link_events {
	void (*opened)(struct nbd_link *link); /* negotiated: the functions below may be used */
	/* Once: the connection failed or was closed by the other side.  Told before its requests,
	 * which end with an error.  The link should be stopped then. */
	void (*broken)(struct nbd_link *link, const struct qmpsnap_error *err);
	void (*finished)(struct nbd_link *link, struct nbd_request *request);
	void (*closed)(struct nbd_link *link); /* last: the memory may go */
};

struct nbd_link_options {
	const char *export_name; /* borrowed for the call */
	const char *disk; /* what messages call it; borrowed for good */
	const struct nbd_link_events *events; /* borrowed for good */
	void *owner;
};

/* All private but for the first five. */
struct nbd_link {
	void *owner;
	bool opened;
	bool has_map; /* opened: the server offers base:allocation */
	unsigned in_flight; /* requests not finished */
	uint64_t bytes_in_flight; /* of the reads among them */

	const struct nbd_link_events *events;
	const char *disk;
	struct nbd_handle *nbd; /* NULL: stopped */
	int fd; /* our own, apart from libnbd's: see nbd_link_stop() */
	uv_poll_t poll;
	uv_idle_t turn;
	int poll_events;
	bool can_df, has_poll, failed /* at opening */, broken, settling;
	unsigned n_handles;
	struct qmpsnap_error err;
	struct nbd_request *finished, **finished_tail;
};

/* Begins to negotiate on the connected socket `fd`, which it owns.  Never fails at once: a failure
 * is told by `broken`.  Errors: VIEW. */
void nbd_link_open(
	struct nbd_link *link, uv_loop_t *loop, int fd, const struct nbd_link_options *options);

/* Opened: the size of the export; and the longest read, at most 32 MiB. */
uint64_t nbd_link_size_bytes(const struct nbd_link *link);
uint32_t nbd_link_max_read_bytes(const struct nbd_link *link);

/* Whether another request may be submitted; the bytes may be overdrawn by one. */
static inline bool nbd_link_has_room(const struct nbd_link *link)
{
	return link->opened && link->in_flight < NBD_LINK_IN_FLIGHT &&
	       link->bytes_in_flight < NBD_LINK_BYTES_IN_FLIGHT;
}

/* Sends a request; `finished` follows in any case. */
void nbd_link_submit(struct nbd_link *link, struct nbd_request *request);

/* Ends all requests (ECANCELED, told later; their memory isn't touched any more) and takes no
 * more.  The socket stays open until nbd_link_close(): a QEMU that is about to delete the export
 * should not see its client leave before. */
void nbd_link_stop(struct nbd_link *link);

/* Stops, closes the socket at once, without NBD_CMD_DISC, and frees what the link holds. */
void nbd_link_close(struct nbd_link *link);

#endif

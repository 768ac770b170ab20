/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/checked_read.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

static struct checked_read *of(struct nbd_request *request)
{
	static_assert(offsetof(struct checked_read, request) == 0, "the request comes first");

	return (struct checked_read *)request;
}

static void finish(struct checked_read *read)
{
	read->errnum = read->request.errnum;
	read->done(read);
}

/* ---- Again, cluster by cluster ---- */

static void on_reread(struct nbd_request *request);

static void reread(struct checked_read *read)
{
	struct nbd_request *request = &read->request;
	const uint32_t rest = read->len - read->reread_bytes;

	request->bytes = read->bytes + read->reread_bytes;
	request->offset = read->offset + read->reread_bytes;
	request->len = rest < CLUSTER_BYTES ? rest : CLUSTER_BYTES;
	request->done = on_reread;
	read->reread_bytes += request->len;
	view_submit(read->view, request);
}

static void on_reread(struct nbd_request *request)
{
	struct checked_read *read = of(request);

	if (request->errnum || read->reread_bytes == read->len)
		finish(read);
	else
		reread(read);
}

/* ---- The check ---- */

static void on_extent(struct nbd_request *request, uint64_t offset, uint64_t length, bool empty)
{
	(void)offset;
	(void)length;
	if (!empty)
		of(request)->touched = true;
}

static void on_checked(struct nbd_request *request)
{
	struct checked_read *read = of(request);

	if (!request->errnum && request->described_bytes == 0)
		request->errnum = EPROTO;
	if (request->errnum) {
		struct qmpsnap_error err = read->view->scratch->err;
		if (err.code == QMPSNAP_OK)
			error_errno(&err, QMPSNAP_VIEW, request->errnum,
				"disk %s: reading the map of its scratch", read->view->disk);
		view_fail(read->view, &err);
		finish(read);
	} else if (read->touched) {
		read->reread_bytes = 0;
		reread(read);
	} else if (request->described_bytes < request->len) {
		request->offset += request->described_bytes;
		request->len -= (uint32_t)request->described_bytes;
		view_submit(read->view->scratch, request);
	} else {
		finish(read);
	}
}

static void on_read(struct nbd_request *request)
{
	struct checked_read *read = of(request);

	if (request->errnum || !read->view->scratch || request->len <= CLUSTER_BYTES) {
		finish(read);
		return;
	}
	read->touched = false;
	request->bytes = NULL;
	request->extent = on_extent;
	request->done = on_checked;
	view_submit(read->view->scratch, request);
}

void checked_read_submit(struct view *view, struct checked_read *read)
{
	assert(!view->scratch || read->offset % CLUSTER_BYTES == 0);
	read->view = view;
	read->request = (struct nbd_request){.owner = read->request.owner,
		.offset = read->offset,
		.len = read->len,
		.bytes = read->bytes,
		.context = NBD_CONTEXT_ALLOCATION_DEPTH,
		.done = on_read};
	view_submit(view, &read->request);
}

unsigned checked_read_withdraw(struct view *view, const void *owner)
{
	return view_withdraw(view, owner) +
	       (view->scratch ? view_withdraw(view->scratch, owner) : 0);
}

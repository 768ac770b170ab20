/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/checked_read.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

enum {
	ENOUGH_READS = 4, /* to be asked about at once */
	SPAN_BYTES = 8 << 20, /* of a question: it bounds the extents of the answer */
};

static struct checked_read *of(struct nbd_request *request)
{
	static_assert(offsetof(struct checked_read, request) == 0, "the request comes first");

	return (struct checked_read *)request;
}

static void finish(struct checked_read *read, int errnum)
{
	read->errnum = errnum;
	read->done(read);
}

static void ask(struct view *scratch);
static void ask_now(struct view *scratch);

static void submit(struct checked_read *read)
{
	if (read->view->scratch)
		read->view->scratch->check.reading++;
	view_submit(read->view, &read->request);
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
	submit(read);
}

static void on_reread(struct nbd_request *request)
{
	struct checked_read *read = of(request);
	struct view *scratch = read->view->scratch;

	if (scratch)
		scratch->check.reading--;
	if (request->errnum || read->reread_bytes == read->len)
		finish(read, request->errnum);
	else
		reread(read);
	/* Reads that need no check may go on for long: others don't wait for them. */
	if (scratch)
		ask_now(scratch);
}

/* ---- The check ---- */

static void on_extent(struct nbd_request *question, uint64_t offset, uint64_t length, bool empty)
{
	const struct view *scratch = question->owner;

	for (struct checked_read *read = scratch->check.asked; read && !empty; read = read->next) {
		if (offset < read->offset + read->len && read->offset < offset + length)
			read->touched = true;
	}
}

static void fail(struct view *view, int errnum)
{
	struct qmpsnap_error err = view->scratch->err;

	if (err.code == QMPSNAP_OK)
		error_errno(&err, QMPSNAP_VIEW, errnum, "disk %s: reading the map of its scratch",
			view->disk);
	else
		error_wrap(&err, "disk %s: reading the map of its scratch", view->disk);
	view_fail(view, &err);
}

static void on_answered(struct nbd_request *question)
{
	struct view *scratch = question->owner;
	struct view_check *check = &scratch->check;
	struct checked_read *asked = check->asked;

	if (!check->view)
		return;
	if (!question->errnum && question->described_bytes == 0)
		question->errnum = EPROTO;
	if (!question->errnum && question->described_bytes < question->len) {
		question->offset += question->described_bytes;
		question->len -= (uint32_t)question->described_bytes;
		view_submit(scratch, question);
		return;
	}
	const int errnum = question->errnum;
	check->asking = false;
	check->asked = NULL;
	if (errnum)
		fail(check->view, errnum);
	while (asked) {
		struct checked_read *read = asked;

		asked = read->next;
		if (errnum || !read->touched) {
			finish(read, errnum);
		} else {
			read->reread_bytes = 0;
			reread(read);
		}
	}
	ask(scratch);
}

/* Moves as many as one question may span from the reads that weren't asked about to those that
 * are. */
static void gather(struct view_check *check)
{
	struct nbd_request *question = &check->question;
	struct checked_read **at = &check->unasked;
	uint64_t first = check->unasked->offset;
	uint64_t end = first;

	while (*at) {
		struct checked_read *read = *at;
		const uint64_t new_first = read->offset < first ? read->offset : first;
		const uint64_t read_end = read->offset + read->len;
		const uint64_t new_end = read_end > end ? read_end : end;

		if (new_end - new_first > SPAN_BYTES && check->asked) {
			at = &read->next;
			continue;
		}
		first = new_first;
		end = new_end;
		*at = read->next;
		check->n_unasked--;
		read->next = check->asked;
		check->asked = read;
	}
	check->unasked_tail = at;
	question->offset = first;
	question->len = (uint32_t)(end - first);
}

/* Asks about those that wait for it, unless it does already. */
static void ask_now(struct view *scratch)
{
	struct view_check *check = &scratch->check;

	if (check->asking || !check->unasked)
		return;
	check->asking = true;
	check->question = (struct nbd_request){.owner = scratch,
		.context = NBD_CONTEXT_ALLOCATION_DEPTH,
		.extent = on_extent,
		.done = on_answered};
	gather(check);
	view_submit(scratch, &check->question);
}

/* Once there are enough, or no more are under way. */
static void ask(struct view *scratch)
{
	if (scratch->check.n_unasked >= ENOUGH_READS || scratch->check.reading == 0)
		ask_now(scratch);
}

static void on_read(struct nbd_request *request)
{
	struct checked_read *read = of(request);
	struct view *scratch = read->view->scratch;

	if (!scratch) {
		finish(read, request->errnum);
		return;
	}
	scratch->check.reading--;
	if (request->errnum || request->len <= CLUSTER_BYTES) {
		finish(read, request->errnum);
		ask_now(scratch); /* see on_reread() */
		return;
	}
	read->touched = false;
	read->next = NULL;
	*scratch->check.unasked_tail = read;
	scratch->check.unasked_tail = &read->next;
	scratch->check.n_unasked++;
	ask(scratch);
}

void checked_read_submit(struct view *view, struct checked_read *read)
{
	assert(!view->scratch || read->offset % CLUSTER_BYTES == 0);
	read->view = view;
	read->request = (struct nbd_request){.owner = read->request.owner,
		.offset = read->offset,
		.len = read->len,
		.bytes = read->bytes,
		.done = on_read};
	submit(read);
}

/* ---- The end ---- */

static unsigned withdraw_unasked(struct view_check *check, const void *owner)
{
	struct checked_read **at = &check->unasked;
	unsigned n = 0;

	while (*at) {
		if ((*at)->request.owner == owner) {
			*at = (*at)->next;
			n++;
		} else {
			at = &(*at)->next;
		}
	}
	check->unasked_tail = at;
	check->n_unasked -= n;
	return n;
}

unsigned checked_read_withdraw(struct view *view, const void *owner)
{
	const unsigned n = view_withdraw(view, owner);

	if (!view->scratch)
		return n;
	view->scratch->check.reading -= n;
	const unsigned n_unasked = withdraw_unasked(&view->scratch->check, owner);
	ask(view->scratch);
	return n + n_unasked;
}

static void cancel(struct checked_read *list)
{
	while (list) {
		struct checked_read *read = list;

		list = read->next;
		finish(read, ECANCELED);
	}
}

static void part(struct view *view, struct view_check *check)
{
	struct checked_read *asked = check->asked, *unasked = check->unasked;

	check->view = NULL;
	check->asked = check->unasked = NULL;
	view->scratch = NULL;
	cancel(asked);
	cancel(unasked);
}

void checked_read_end(struct view *view)
{
	struct view *of_scratch = view->check.view;

	if (of_scratch) {
		struct qmpsnap_error err;

		error_set(&err, QMPSNAP_VIEW, "disk %s: its scratch can't be read any more",
			of_scratch->disk);
		view_fail(of_scratch, &err);
		part(of_scratch, &view->check);
	}
	if (view->scratch)
		part(view, &view->scratch->check);
}

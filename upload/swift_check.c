/* SPDX-License-Identifier: Apache-2.0
 *
 * The check of an object store before anything is made in it: that it answers and lets us in, and
 * the account's quota (Swift's middleware account_quotas).  The container needn't be there. */
#include "base/error.h"
#include "base/units.h"
#include "upload/answer.h"
#include "upload/swift.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct swift_check {
	struct store_check base;
	struct swift_store *store;
	struct remote_call call;
	uint64_t least_bytes;
	char doing[SWIFT_DOING_BYTES];
	store_done_fn *done;
	void *data;
};

static void finish(struct swift_check *check, const struct qmpsnap_error *err)
{
	check->done(err, check->data);
	free(check);
}

static bool get_number(const struct http_reply *reply, const char *name, uint64_t *number)
{
	const char *text = http_header(reply, name);
	char *end = NULL;

	if (!text || text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*number = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0';
}

static bool has_quota(
	const struct http_reply *reply, const struct swift_check *check, struct qmpsnap_error *err)
{
	char needed[UNITS_TEXT_BYTES], left[UNITS_TEXT_BYTES];
	uint64_t used = 0, quota = 0;

	if (!get_number(reply, "X-Account-Meta-Quota-Bytes", &quota) ||
		!get_number(reply, "X-Account-Bytes-Used", &used) ||
		(used < quota && check->least_bytes <= quota - used))
		return true;
	units_format_size(needed, check->least_bytes);
	units_format_size(left, used < quota ? quota - used : 0);
	error_set(err, QMPSNAP_STORE,
		"the account's quota in Swift has %s left, and the images need %s at the least",
		left, needed);
	error_hint(err, "delete objects that aren't needed, or ask for a larger quota");
	return false;
}

/* Who may only write to the container isn't told about the account. */
static void got_account(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct swift_check *check = data;
	struct qmpsnap_error mine;

	if (err && !answer_said(err, 400, 599))
		finish(check, err);
	else if (!err && !has_quota(reply, check, &mine))
		finish(check, &mine);
	else
		finish(check, NULL);
}

static void looked(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct swift_check *check = data;
	const struct remote_request request = {
		.method = "HEAD", .path = "", .doing = check->doing, .expect = {204, 200}};

	(void)reply;
	if (err && !answer_said(err, 403, 403))
		finish(check, err);
	else
		remote_send(&check->call, &check->store->remote, &request, got_account, check);
}

static void stop(struct store_check *check)
{
	remote_cancel(&((struct swift_check *)check)->call);
}

struct store_check *swift_check(struct qmpsnap_store *base, const struct store_need *need,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct swift_store *store = (struct swift_store *)base;
	struct swift_check *check = calloc(1, sizeof(*check));

	if (!check) {
		error_no_memory(err);
		return NULL;
	}
	check->base.stop = stop;
	check->store = store;
	check->least_bytes = need->least_bytes;
	check->done = done;
	check->data = data;
	(void)snprintf(check->doing, sizeof(check->doing), "checking the container swift:%s",
		store->container);
	const struct remote_request request = {.method = "HEAD",
		.path = store->path,
		.doing = check->doing,
		.expect = {204, 200, 404}};
	remote_send(&check->call, &store->remote, &request, looked, check);
	return &check->base;
}

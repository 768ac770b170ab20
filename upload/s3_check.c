/* SPDX-License-Identifier: Apache-2.0
 *
 * The check of a bucket before anything is made in it.  It is asked for one of its objects, since
 * the answer to a HEAD has no words: those who may only write are refused with AccessDenied, and
 * that is no reason to refuse them. */
#include "base/error.h"
#include "upload/answer.h"
#include "upload/s3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct s3_check {
	struct store_check base;
	struct remote_call call;
	char doing[S3_DOING_BYTES];
	store_done_fn *done;
	void *data;
};

/* Whether the answer means that nothing can be put there either. */
static bool is_certain(const struct qmpsnap_error *err, const struct http_reply *reply)
{
	static const char *const codes[] = {"AuthorizationHeaderMalformed", "ExpiredToken",
		"InvalidAccessKeyId", "InvalidBucketName", "InvalidToken", "NoSuchBucket",
		"PermanentRedirect", "RequestTimeTooSkewed", "SignatureDoesNotMatch"};
	char code[64] = "";

	if (!reply || !answer_said(err, 300, 501) || answer_is_passing(err))
		return true;
	s3_error_code(reply, code, sizeof(code));
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (strcmp(code, codes[i]) == 0)
			return true;
	}
	return answer_said(err, 401, 401) || answer_said(err, 404, 404);
}

static void looked(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct s3_check *check = data;

	check->done(err && is_certain(err, reply) ? err : NULL, check->data);
	free(check);
}

static void stop(struct store_check *check)
{
	remote_cancel(&((struct s3_check *)check)->call);
}

struct store_check *s3_check(struct qmpsnap_store *base, const struct store_need *need,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct s3_store *store = (struct s3_store *)base;
	struct s3_check *check = calloc(1, sizeof(*check));

	(void)need;
	if (!check) {
		error_no_memory(err);
		return NULL;
	}
	check->base.stop = stop;
	check->done = done;
	check->data = data;
	(void)snprintf(check->doing, sizeof(check->doing), "checking the bucket %s", store->bucket);
	const struct remote_request request = {
		.method = "GET", .path = "/?max-keys=1", .doing = check->doing, .expect = {200}};
	remote_send(&check->call, &store->remote, &request, looked, check);
	return &check->base;
}

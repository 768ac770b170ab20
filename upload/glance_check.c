/* SPDX-License-Identifier: Apache-2.0
 *
 * The check of an image service before anything is made in it: that it answers and lets us in, and
 * what it says of the project's quota, where it says something. */
#include "base/error.h"
#include "base/json.h"
#include "upload/answer.h"
#include "upload/glance.h"

#include <stdio.h>
#include <stdlib.h>

struct glance_check {
	struct store_check base;
	struct glance_store *store;
	struct glance_call call;
	unsigned n_images;
	bool stopped;
	store_done_fn *done;
	void *data;
};

static void finish(struct glance_check *check, const struct qmpsnap_error *err)
{
	check->done(err, check->data);
	free(check);
}

/* ---- The quota ---------------------------------------------------------------------------- */

/* Of one kind; false when there is none. */
static bool get_quota(struct json_object *usage, const char *kind, int64_t *used, int64_t *limit)
{
	struct json_object *quota = json_member(usage, kind, json_type_object);

	*used = json_int(quota, "usage", -1);
	*limit = json_int(quota, "limit", -1);
	return *used >= 0 && *limit >= 0; /* -1: no limit */
}

/* As Glance does it (its quota/keystone.py): a new record counts, but of the bytes only those that
 * are there already, so the last image may go beyond the limit. */
static bool has_quota(
	struct json_object *usage, const struct glance_check *check, struct qmpsnap_error *err)
{
	int64_t used, limit;

	if (get_quota(usage, "image_count_total", &used, &limit) &&
		(used >= limit || limit - used < (int64_t)check->n_images))
		error_set(err, QMPSNAP_STORE,
			"the project's quota in the image service has no room for %u more images: "
			"it has %lld, and may have %lld",
			check->n_images, (long long)used, (long long)limit);
	else if (get_quota(usage, "image_size_total", &used, &limit) && used > limit)
		error_set(err, QMPSNAP_STORE,
			"the project's quota in the image service is used up: its images take "
			"%lld MiB, and may take %lld MiB",
			(long long)used, (long long)limit);
	else
		return true;
	error_hint(err, "delete images that aren't needed, or ask for a larger quota");
	return false;
}

/* Services before Glance 23 don't know the question, and none has to answer it. */
static void got_usage(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct glance_check *check = data;
	struct qmpsnap_error mine;

	if (err && check->stopped)
		finish(check, err);
	else if (!err && !has_quota(json_member(json, "usage", json_type_object), check, &mine))
		finish(check, &mine);
	else
		finish(check, NULL);
}

/* ---- The service -------------------------------------------------------------------------- */

static void looked(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct glance_check *check = data;
	const struct glance_request request = {.method = "GET",
		.path = "/v2/info/usage",
		.once = true,
		.doing = "asking the image service for the project's quota",
		.expect = {200}};
	struct qmpsnap_error wrong;

	/* Who may not list images may be allowed to make some. */
	if (answer_said(err, 403, 403))
		err = NULL;
	else if (!err && !json_member(json, "images", json_type_array)) {
		error_set(&wrong, QMPSNAP_STORE, "%s: the answer isn't a list of images",
			check->call.request.doing);
		error_hint(&wrong, "is this the URL of an image service?");
		err = &wrong;
	}
	if (err)
		finish(check, err);
	else
		glance_send(&check->call, check->store, &request, got_usage, check);
}

static void stop(struct store_check *base)
{
	struct glance_check *check = (struct glance_check *)base;

	check->stopped = true;
	glance_cancel(&check->call);
}

struct store_check *glance_check(struct qmpsnap_store *base, const struct store_need *need,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	static const struct glance_request request = {.method = "GET",
		.path = "/v2/images?limit=1",
		.doing = "checking the image service",
		.expect = {200}};
	struct glance_check *check = calloc(1, sizeof(*check));

	if (!check) {
		error_no_memory(err);
		return NULL;
	}
	check->base.stop = stop;
	check->store = (struct glance_store *)base;
	check->n_images = need->n_images;
	check->done = done;
	check->data = data;
	glance_send(&check->call, check->store, &request, looked, check);
	return &check->base;
}

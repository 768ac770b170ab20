/* SPDX-License-Identifier: Apache-2.0
 *
 * What stands in an image service: the list page by page, bytes, deletion. */
#include "base/error.h"
#include "base/json.h"
#include "upload/answer.h"
#include "upload/glance.h"
#include "upload/shelf_op.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PAGE_IMAGES = 50, /* a page of usual ones fits into HTTP_REPLY_BYTES */
	LIST_PATH_BYTES = 4096,
};

struct shelf {
	struct shelf_op op;
	struct glance_store *store;
	struct glance_call call;
	char path[LIST_PATH_BYTES];

	/* list */
	char query[LIST_PATH_BYTES - 128]; /* what each page is asked for, before the marker */
	char marker[37];
	unsigned page_images; /* so many at once */
};

static struct shelf *new_shelf(struct qmpsnap_store *store, void *data, struct qmpsnap_error *err)
{
	struct glance_store *glance = (struct glance_store *)store;
	struct shelf *s = shelf_op_new(sizeof(*s), store, glance->loop, data, err);

	if (s)
		s->store = glance;
	return s;
}

static void describe(struct shelf *s, const char *doing, struct json_object *record)
{
	const char *name = json_string(record, "name");

	(void)snprintf(s->op.doing, sizeof(s->op.doing), "%s image %.200s (%.36s)", doing,
		name ? name : "", json_string(record, "id"));
}

/* ---- The list ----------------------------------------------------------------------------- */

/* An id is put into a URL. */
static bool is_id(const char *text)
{
	return text && strlen(text) == 36 && strspn(text, "0123456789abcdefABCDEF-") == 36;
}

/* Who has logged in to no project, but to a domain or the whole system, may be allowed to change
 * all images there are; none of them is his own. */
static bool is_foreign(const struct shelf *s, const char *owner)
{
	if (keystone_cloud(s->store->session)->auth == CLOUD_AUTH_NONE)
		return false;
	return !s->call.project[0] || !owner || strcmp(owner, s->call.project) != 0;
}

static void add_record(struct shelf *s, struct json_object *record)
{
	const char *id = json_string(record, "id");
	const struct keystone_access *access = keystone_now(s->store->session, false);
	char location[1024];

	if (!is_id(id))
		return;
	(void)snprintf(location, sizeof(location), "%.512s/v2/images/%s",
		access ? access->url : keystone_cloud(s->store->session)->name, id);
	json_put_string(record, "location", location);
	json_put_bool(record, "foreign", is_foreign(s, json_string(record, "owner")));
	json_append(s->op.records, json_object_get(record));
}

static void ask_for_page(struct shelf *s);

/* Takes a page in; whether there is another. */
static bool take_page(struct shelf *s, struct json_object *page)
{
	struct json_object *images = json_member(page, "images", json_type_array);
	const size_t n = json_length(images);
	const char *last;

	for (size_t i = 0; i < n; i++)
		add_record(s, json_object_array_get_idx(images, i));
	if (n == 0 || !json_string(page, "next"))
		return false;
	/* `next` is a path, which may be wrong behind a proxy; the marker in it is the last id. */
	last = json_string(json_object_array_get_idx(images, n - 1), "id");
	if (!is_id(last) || strcmp(last, s->marker) == 0)
		return false;
	memcpy(s->marker, last, sizeof(s->marker));
	return true;
}

static void got_page(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct shelf *s = data;
	struct qmpsnap_error mine;
	bool more = false;

	if (answer_is_too_long(err) && s->page_images > 1 && !s->op.stopped) {
		s->page_images /= 2;
		ask_for_page(s);
		return;
	}
	if (!err && (s->op.stopped || !json_member(json, "images", json_type_array))) {
		error_set(&mine, QMPSNAP_STORE, "%s%s", s->op.doing,
			s->op.stopped ? " was stopped" : ": the answer is no list of images");
		err = &mine;
	}
	if (!err) {
		more = take_page(s, json);
		err = shelf_op_has_room(&s->op, &mine) ? NULL : &mine;
	}
	if (more && !err)
		ask_for_page(s);
	else
		shelf_op_listed(&s->op, err);
}

static void ask_for_page(struct shelf *s)
{
	const struct glance_request request = {
		.method = "GET", .path = s->path, .doing = s->op.doing, .expect = {200}};

	(void)snprintf(s->path, sizeof(s->path), "/v2/images?limit=%u%s%s%s", s->page_images,
		s->query, s->marker[0] ? "&marker=" : "", s->marker);
	glance_send(&s->call, s->store, &request, got_page, s);
}

static bool narrow(struct shelf *s, const char *key, const char *value)
{
	const size_t used = strlen(s->query);
	char *text = value ? curl_easy_escape(NULL, value, 0) : NULL;
	const size_t room = sizeof(s->query) - used;
	const bool well = !value || (text && (size_t)snprintf(s->query + used, room, "&%s=%s", key,
						     text) < room);

	curl_free(text);
	return well;
}

static struct shelf_call *list(struct qmpsnap_store *store, const struct shelf_filter *filter,
	shelf_listed_fn *done, void *data, struct qmpsnap_error *err)
{
	struct shelf *s = new_shelf(store, data, err);

	if (!s || !shelf_op_list(&s->op, done, err))
		return NULL;
	(void)snprintf(s->op.doing, sizeof(s->op.doing), "listing images");
	if (!narrow(s, "qmpsnap_set", filter->set) || !narrow(s, "tag", filter->tag) ||
		!narrow(s, "instance_uuid", filter->instance_uuid) ||
		!narrow(s, "backup_type", filter->backup_type)) {
		(void)json_object_put(s->op.records);
		free(s);
		error_set(err, QMPSNAP_USAGE, "what the images are chosen by is too long");
		return NULL;
	}
	s->page_images = PAGE_IMAGES;
	ask_for_page(s);
	return &s->op.base;
}

/* ---- Bytes -------------------------------------------------------------------------------- */

static void fetch_rest(void *data);

static void fetched(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct shelf *s = data;
	const struct shelf_patience patience = {.tries = s->store->tries,
		.wait_ms = s->store->wait_ms,
		.reached = s->store->reached,
		.retry_after_ms = s->call.retry_after_ms};

	(void)json;
	shelf_op_fetched(&s->op, err, &patience, fetch_rest);
}

static void fetch_rest(void *data)
{
	struct shelf *s = data;
	struct glance_request request = {.method = "GET",
		.path = s->path,
		.sink = &s->op.sink,
		.fresh = true,
		.once = true,
		.quiet_ms = s->store->quiet_ms,
		.doing = s->op.doing};

	request.headers[0] = shelf_op_range(&s->op, &request.expect[0]);
	glance_send(&s->call, s->store, &request, fetched, s);
}

static struct shelf_call *fetch(struct qmpsnap_store *store, struct json_object *record,
	struct shelf_sink *sink, store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct shelf *s = new_shelf(store, data, err);

	if (!s)
		return NULL;
	describe(s, "downloading", record);
	shelf_op_fetch(&s->op, sink, done);
	(void)snprintf(
		s->path, sizeof(s->path), "/v2/images/%.36s/file", json_string(record, "id"));
	fetch_rest(s);
	return &s->op.base;
}

static void resume(struct shelf_call *call)
{
	glance_resume(&((struct shelf *)call)->call);
}

/* ---- What the service says of them -------------------------------------------------------- */

/* The service's digest of an image never changes, unless its bytes do. */
static bool check_digest(struct shelf *s, struct json_object *record, struct qmpsnap_error *err)
{
	const char *ours = shelf_own(record, "qmpsnap_digest"),
		   *algorithm = json_string(record, "os_hash_algo"),
		   *value = json_string(record, "os_hash_value");
	const char *colon = ours ? strchr(ours, ':') : NULL;

	if (!colon)
		return true;
	if (strncmp(ours, "md5:", 4) == 0) {
		algorithm = "md5";
		value = json_string(record, "checksum");
	}
	const size_t len = (size_t)(colon - ours);
	if (algorithm && value && strlen(algorithm) == len && strncmp(ours, algorithm, len) == 0 &&
		strcmp(colon + 1, value) == 0)
		return true;
	error_set(err, QMPSNAP_STORE,
		"%s: the service's digest is %.16s:%.16s..., when it was stored it was %.32s...",
		s->op.doing, algorithm ? algorithm : "none", value ? value : "", ours);
	return false;
}

static void answered(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	(void)json;
	shelf_op_end(data, err);
}

static void no_bytes(void *data)
{
	shelf_op_end(data, NULL);
}

/* The record says nothing of a file that was lost: its first byte is asked for. */
static struct shelf_call *check(struct qmpsnap_store *store, struct json_object *record,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct shelf *s = new_shelf(store, data, err);

	if (!s)
		return NULL;
	describe(s, "looking at", record);
	s->op.done = done;
	(void)snprintf(
		s->path, sizeof(s->path), "/v2/images/%.36s/file", json_string(record, "id"));
	const struct glance_request request = {.method = "GET",
		.path = s->path,
		.headers = {"Range: bytes=0-0"},
		.doing = s->op.doing,
		.expect = {206}};
	if (!check_digest(s, record, err)) {
		free(s);
		return NULL;
	}
	if (json_int(record, "size", 0) > 0)
		glance_send(&s->call, s->store, &request, answered, s);
	else if (!(s->op.delay = delay_start(s->op.loop, 0, no_bytes, s))) {
		error_no_memory(err);
		free(s);
		return NULL;
	}
	return &s->op.base;
}

/* ---- Removal ------------------------------------------------------------------------------ */

static struct shelf_call *remove_image(struct qmpsnap_store *store, struct json_object *record,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct shelf *s = new_shelf(store, data, err);

	if (!s)
		return NULL;
	describe(s, "deleting", record);
	s->op.done = done;
	(void)snprintf(s->path, sizeof(s->path), "/v2/images/%.36s", json_string(record, "id"));
	const struct glance_request request = {.method = "DELETE",
		.path = s->path,
		.fresh = true,
		.doing = s->op.doing,
		.expect = {204, 404}};
	glance_send(&s->call, s->store, &request, answered, s);
	return &s->op.base;
}

static void stop(struct shelf_call *call)
{
	struct shelf *s = (struct shelf *)call;

	if (shelf_op_stop(&s->op))
		glance_cancel(&s->call);
}

const struct shelf_ops glance_shelf = {
	.list = list,
	.fetch = fetch,
	.check = check,
	.remove = remove_image,
	.resume = resume,
	.stop = stop,
};

/* SPDX-License-Identifier: Apache-2.0
 *
 * What stands in an image service: the list page by page, bytes, deletion. */
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/units.h"
#include "upload/answer.h"
#include "upload/glance.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PAGE_IMAGES = 50, /* so that a page fits into HTTP_REPLY_BYTES */
	MOST_IMAGES = 100 * 1000,
	LIST_PATH_BYTES = 4096,
};

struct shelf {
	struct shelf_call base;
	struct glance_store *store;
	struct glance_call call;
	char path[LIST_PATH_BYTES];
	char doing[GLANCE_DOING_BYTES];
	bool stopped;
	void *data;

	/* list */
	shelf_listed_fn *listed;
	char query[LIST_PATH_BYTES - 128]; /* what each page is asked for, before the marker */
	char marker[37];
	struct json_object *records;

	/* fetch, check, remove */
	store_done_fn *done;
	struct shelf_sink sink; /* stands before the caller's, and counts */
	struct shelf_sink *to;
	uint64_t taken_bytes;
	unsigned failures;
	char range[64];
	struct delay *delay;
};

static struct shelf *new_shelf(struct qmpsnap_store *store, void *data, struct qmpsnap_error *err)
{
	struct shelf *s = calloc(1, sizeof(*s));

	if (!s) {
		error_no_memory(err);
		return NULL;
	}
	s->base.ops = &glance_shelf;
	s->store = (struct glance_store *)store;
	s->data = data;
	return s;
}

static void describe(struct shelf *s, const char *doing, struct json_object *record)
{
	const char *name = json_string(record, "name");

	(void)snprintf(s->doing, sizeof(s->doing), "%s image %.200s (%.36s)", doing,
		name ? name : "", json_string(record, "id"));
}

/* ---- The list ----------------------------------------------------------------------------- */

static void end_list(struct shelf *s, const struct qmpsnap_error *err)
{
	s->listed(err, err ? NULL : s->records, s->data);
	(void)json_object_put(s->records);
	free(s);
}

/* An id is put into a URL. */
static bool is_id(const char *text)
{
	return text && strlen(text) == 36 && strspn(text, "0123456789abcdefABCDEF-") == 36;
}

static void add_record(struct shelf *s, struct json_object *record)
{
	const char *id = json_string(record, "id"), *owner = json_string(record, "owner");
	const struct keystone_access *access = keystone_now(s->store->session, false);
	char location[1024];

	if (!is_id(id))
		return;
	(void)snprintf(location, sizeof(location), "%.512s/v2/images/%s",
		access ? access->url : keystone_cloud(s->store->session)->name, id);
	json_put_string(record, "location", location);
	json_put_bool(record, "foreign",
		s->call.project[0] && (!owner || strcmp(owner, s->call.project) != 0));
	json_append(s->records, json_object_get(record));
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
	if (n == 0 || !json_string(page, "next") || json_length(s->records) > MOST_IMAGES)
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

	if (!err && (s->stopped || !json_member(json, "images", json_type_array))) {
		error_set(&mine, QMPSNAP_STORE, "%s%s", s->doing,
			s->stopped ? " was stopped" : ": the answer is no list of images");
		err = &mine;
	}
	if (!err && take_page(s, json))
		ask_for_page(s);
	else
		end_list(s, err);
}

static void ask_for_page(struct shelf *s)
{
	const struct glance_request request = {
		.method = "GET", .path = s->path, .doing = s->doing, .expect = {200}};

	(void)snprintf(s->path, sizeof(s->path), "/v2/images?limit=%d%s%s%s", PAGE_IMAGES, s->query,
		s->marker[0] ? "&marker=" : "", s->marker);
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

	if (!s)
		return NULL;
	s->listed = done;
	(void)snprintf(s->doing, sizeof(s->doing), "listing images");
	s->records = json_object_new_array();
	if (!s->records) {
		free(s);
		error_no_memory(err);
		return NULL;
	}
	if (!narrow(s, "qmpsnap_set", filter->set) || !narrow(s, "tag", filter->tag) ||
		!narrow(s, "instance_uuid", filter->instance_uuid) ||
		!narrow(s, "backup_type", filter->backup_type)) {
		(void)json_object_put(s->records);
		free(s);
		error_set(err, QMPSNAP_USAGE, "what the images are chosen by is too long");
		return NULL;
	}
	ask_for_page(s);
	return &s->base;
}

/* ---- Bytes -------------------------------------------------------------------------------- */

static void end(const struct qmpsnap_error *err, struct shelf *s)
{
	s->done(err, s->data);
	free(s);
}

static bool take(struct shelf_sink *sink, const void *bytes, size_t len)
{
	struct shelf *s = (struct shelf *)((char *)sink - offsetof(struct shelf, sink));

	if (!s->to->take(s->to, bytes, len))
		return false;
	s->taken_bytes += len;
	return true;
}

static void fetch_rest(struct shelf *s);

static void on_delay(void *data)
{
	struct shelf *s = data;

	s->delay = NULL;
	fetch_rest(s);
}

static bool fetch_later(struct shelf *s, const struct qmpsnap_error *err)
{
	char wait[UNITS_TEXT_BYTES];

	if (s->stopped || !answer_is_passing(err) || ++s->failures >= s->store->tries ||
		(answer_unreached(err) && !s->store->reached))
		return false;
	const uint64_t ms = delay_after(s->failures, s->store->wait_ms, s->call.retry_after_ms);
	units_format_duration(wait, ms);
	log_line(QMPSNAP_LOG_WARNING, "%s; going on at byte %" PRIu64 " in %s", err->message,
		s->taken_bytes, wait);
	s->delay = delay_start(s->store->loop, ms, on_delay, s);
	return s->delay != NULL;
}

static void fetched(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct shelf *s = data;

	(void)json;
	if (!err || !fetch_later(s, err))
		end(err, s);
}

/* From where it broke off: an image's bytes never change. */
static void fetch_rest(struct shelf *s)
{
	const bool whole = s->taken_bytes == 0;
	const struct glance_request request = {.method = "GET",
		.path = s->path,
		.headers = {whole ? NULL : s->range},
		.sink = &s->sink,
		.fresh = true,
		.once = true,
		.quiet_ms = s->store->quiet_ms,
		.doing = s->doing,
		.expect = {whole ? 200 : 206}};

	(void)snprintf(s->range, sizeof(s->range), "Range: bytes=%" PRIu64 "-", s->taken_bytes);
	glance_send(&s->call, s->store, &request, fetched, s);
}

static struct shelf_call *fetch(struct qmpsnap_store *store, struct json_object *record,
	struct shelf_sink *sink, store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct shelf *s = new_shelf(store, data, err);

	if (!s)
		return NULL;
	describe(s, "downloading", record);
	s->done = done;
	s->sink.take = take;
	s->to = sink;
	(void)snprintf(
		s->path, sizeof(s->path), "/v2/images/%.36s/file", json_string(record, "id"));
	fetch_rest(s);
	return &s->base;
}

static void resume(struct shelf_call *call)
{
	glance_resume(&((struct shelf *)call)->call);
}

/* ---- What the service says of them -------------------------------------------------------- */

/* The service's digest of an image never changes, unless its bytes do. */
static bool check_digest(struct shelf *s, struct json_object *record, struct qmpsnap_error *err)
{
	const char *ours = json_string(record, "qmpsnap_digest"),
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
		s->doing, algorithm ? algorithm : "none", value ? value : "", ours);
	return false;
}

static void checked(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	(void)json;
	end(err, data);
}

static void no_bytes(void *data)
{
	end(NULL, data);
}

/* The record says nothing of a file that was lost: its first byte is asked for. */
static struct shelf_call *check(struct qmpsnap_store *store, struct json_object *record,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct shelf *s = new_shelf(store, data, err);

	if (!s)
		return NULL;
	describe(s, "looking at", record);
	s->done = done;
	(void)snprintf(
		s->path, sizeof(s->path), "/v2/images/%.36s/file", json_string(record, "id"));
	const struct glance_request request = {.method = "GET",
		.path = s->path,
		.headers = {"Range: bytes=0-0"},
		.doing = s->doing,
		.expect = {206}};
	if (!check_digest(s, record, err)) {
		free(s);
		return NULL;
	}
	if (json_int(record, "size", 0) > 0)
		glance_send(&s->call, s->store, &request, checked, s);
	else if (!(s->delay = delay_start(s->store->loop, 0, no_bytes, s))) {
		error_no_memory(err);
		free(s);
		return NULL;
	}
	return &s->base;
}

/* ---- Removal ------------------------------------------------------------------------------ */

static void removed(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	(void)json;
	end(err, data);
}

static struct shelf_call *remove_image(struct qmpsnap_store *store, struct json_object *record,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct shelf *s = new_shelf(store, data, err);

	if (!s)
		return NULL;
	describe(s, "deleting", record);
	s->done = done;
	(void)snprintf(s->path, sizeof(s->path), "/v2/images/%.36s", json_string(record, "id"));
	const struct glance_request request = {.method = "DELETE",
		.path = s->path,
		.fresh = true,
		.doing = s->doing,
		.expect = {204, 404}};
	glance_send(&s->call, s->store, &request, removed, s);
	return &s->base;
}

static void stopped(void *data)
{
	struct shelf *s = data;
	struct qmpsnap_error err;

	error_set(&err, QMPSNAP_STORE, "%s was stopped", s->doing);
	end(&err, s);
}

static void stop(struct shelf_call *call)
{
	struct shelf *s = (struct shelf *)call;

	if (s->stopped)
		return;
	s->stopped = true;
	if (!s->delay) {
		glance_cancel(&s->call);
		return;
	}
	delay_cancel(s->delay);
	s->delay = delay_start(s->store->loop, 0, stopped, s);
	if (!s->delay)
		stopped(s);
}

const struct shelf_ops glance_shelf = {
	.list = list,
	.fetch = fetch,
	.check = check,
	.remove = remove_image,
	.resume = resume,
	.stop = stop,
};

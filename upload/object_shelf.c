/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/object_shelf.h"

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/names.h"
#include "base/units.h"
#include "upload/answer.h"
#include "upload/record.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_IMAGES = 100 * 1000, ROOT_BYTES = 1024, LOCATION_BYTES = 2048 };

struct shelf {
	struct shelf_call base;
	const struct object_shelf_kind *kind;
	struct remote *remote;
	struct remote_call call;
	char path[OBJECT_SHELF_PATH_BYTES];
	char doing[512];
	bool stopped;
	void *data;

	/* list */
	shelf_listed_fn *listed;
	struct json_object *records, *names; /* names of JSONs, yet to be read from `at` on */
	size_t at, n_names; /* in the last page, of any kind */
	char from[OBJECT_NAME_BYTES * 2]; /* the name that the page comes after */
	char last[OBJECT_NAME_BYTES * 2]; /* the last one in it */

	/* fetch, check, remove */
	store_done_fn *done;
	struct json_object *record; /* borrowed */
	struct shelf_sink sink; /* stands before the caller's, and counts */
	struct shelf_sink *to;
	uint64_t taken_bytes;
	unsigned failures;
	char range[64];
	struct delay *delay;
	struct work later;
};

static struct shelf *new_shelf(struct qmpsnap_store *store, void *data, struct qmpsnap_error *err)
{
	struct shelf *s = calloc(1, sizeof(*s));

	if (!s) {
		error_no_memory(err);
		return NULL;
	}
	s->base.ops = store->ops->shelf;
	s->kind = (const struct object_shelf_kind *)store->ops->shelf;
	s->remote = remote_of(store);
	s->data = data;
	return s;
}

/* ---- The list ----------------------------------------------------------------------------- */

static void end_list(struct shelf *s, const struct qmpsnap_error *err)
{
	s->listed(err, err ? NULL : s->records, s->data);
	(void)json_object_put(s->records);
	(void)json_object_put(s->names);
	free(s);
}

static void add_record(struct shelf *s, struct json_object *record, const char *name)
{
	const char *slash = strrchr(name, '/');
	char root[ROOT_BYTES], location[LOCATION_BYTES], file[RECORD_FILE_BYTES];

	if (!record_data_file(record, slash ? slash + 1 : name, file))
		return;
	s->kind->root(s->remote, root, sizeof(root));
	if (snprintf(location, sizeof(location), "%s%.*s%s", root,
		    slash ? (int)(slash - name + 1) : 0, name, file) >= (int)sizeof(location))
		return;
	json_put_string(record, "location", location);
	json_put_bool(record, "foreign", false);
	json_append(s->records, json_object_get(record));
}

static void read_next(struct shelf *s);
static void ask_for_page(struct shelf *s);

static void got_record(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct shelf *s = data;
	const char *name = json_object_get_string(json_object_array_get_idx(s->names, s->at++));
	struct json_object *record;

	/* It may have been deleted since it was listed. */
	if ((err && !answer_said(err, 404, 404)) || s->stopped) {
		end_list(s, err);
		return;
	}
	record = err ? NULL : answer_json(reply);
	if (record)
		add_record(s, record, name);
	else if (!err)
		log_line(QMPSNAP_LOG_INFO, "%s is no JSON of an image", name);
	(void)json_object_put(record);
	read_next(s);
}

static void read_next(struct shelf *s)
{
	const struct remote_request request = {
		.method = "GET", .path = s->path, .doing = s->doing, .expect = {200}};
	const size_t n = json_length(s->names);

	if (s->at < n) {
		s->kind->object(s->remote,
			json_object_get_string(json_object_array_get_idx(s->names, s->at)),
			s->path);
		remote_send(&s->call, s->remote, &request, got_record, s);
	} else if (s->n_names > 0 && json_length(s->records) < MOST_IMAGES) {
		ask_for_page(s);
	} else {
		end_list(s, NULL);
	}
}

/* "PREFIX/NAME-ID.json", not what is in a folder below. */
static void on_name(const char *name, void *data)
{
	struct shelf *s = data;
	const char *prefix = s->kind->prefix(s->remote);
	const size_t skip = prefix[0] ? strlen(prefix) + 1 : 0, len = strlen(name);

	/* A service that forgets where it was must not make this go on for ever. */
	if (len >= sizeof(s->last) || strcmp(name, s->from) <= 0)
		return;
	if (strcmp(name, s->last) > 0)
		(void)snprintf(s->last, sizeof(s->last), "%s", name);
	s->n_names++;
	if (len > skip + 5 && len < OBJECT_NAME_BYTES && strcmp(name + len - 5, ".json") == 0 &&
		!strchr(name + skip, '/'))
		json_append(s->names, json_object_new_string(name));
}

static void got_page(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct shelf *s = data;
	struct qmpsnap_error mine;

	(void)json_object_put(s->names);
	s->names = json_object_new_array();
	s->at = s->n_names = 0;
	if (!err && (s->stopped || !s->names ||
			    (reply->body_len > 0 && !s->kind->names(reply, on_name, s)))) {
		error_set(&mine, QMPSNAP_STORE, "%s%s", s->doing,
			s->stopped ? " was stopped" : ": the answer can't be read");
		err = &mine;
	}
	if (err)
		end_list(s, err);
	else
		read_next(s);
}

static void ask_for_page(struct shelf *s)
{
	const char *prefix = s->kind->prefix(s->remote);
	char whole[OBJECT_PREFIX_BYTES + 1];
	const struct remote_request request = {.method = "GET",
		.path = s->path,
		.headers = {"Accept: text/plain, application/xml"},
		.doing = s->doing,
		.expect = {200, 204}};

	(void)snprintf(whole, sizeof(whole), "%s%s", prefix, prefix[0] ? "/" : "");
	memcpy(s->from, s->last, sizeof(s->from));
	s->kind->list(s->remote, whole, s->from, s->path);
	remote_send(&s->call, s->remote, &request, got_page, s);
}

struct shelf_call *object_shelf_list(struct qmpsnap_store *store, const struct shelf_filter *filter,
	shelf_listed_fn *done, void *data, struct qmpsnap_error *err)
{
	struct shelf *s = new_shelf(store, data, err);
	char root[ROOT_BYTES];

	(void)filter; /* a service knows nothing but names */
	if (!s)
		return NULL;
	s->listed = done;
	s->records = json_object_new_array();
	if (!s->records) {
		free(s);
		error_no_memory(err);
		return NULL;
	}
	s->kind->root(s->remote, root, sizeof(root));
	(void)snprintf(s->doing, sizeof(s->doing), "listing %.400s", root);
	ask_for_page(s);
	return &s->base;
}

/* ---- Bytes -------------------------------------------------------------------------------- */

static void end(const struct qmpsnap_error *err, void *self)
{
	struct shelf *s = self;

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

	if (s->stopped || !answer_is_passing(err) || ++s->failures >= s->remote->tries ||
		(answer_unreached(err) && !s->remote->reached))
		return false;
	const uint64_t ms = delay_after(s->failures, s->remote->wait_ms, s->call.retry_after_ms);
	units_format_duration(wait, ms);
	log_line(QMPSNAP_LOG_WARNING, "%s; going on at byte %" PRIu64 " in %s", err->message,
		s->taken_bytes, wait);
	s->delay = delay_start(s->remote->loop, ms, on_delay, s);
	return s->delay != NULL;
}

static void fetched(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct shelf *s = data;

	(void)reply;
	if (!err || !fetch_later(s, err))
		end(err, s);
}

/* From where it broke off: an image's bytes never change. */
static void fetch_rest(struct shelf *s)
{
	const bool whole = s->taken_bytes == 0;
	const struct remote_request request = {.method = "GET",
		.path = s->path,
		.headers = {whole ? NULL : s->range},
		.sink = &s->sink,
		.doing = s->doing,
		.expect = {whole ? 200 : 206}};

	(void)snprintf(s->range, sizeof(s->range), "Range: bytes=%" PRIu64 "-", s->taken_bytes);
	remote_send(&s->call, s->remote, &request, fetched, s);
}

/* The object's name out of a record of ours. */
static const char *name_of(struct shelf *s, struct json_object *record)
{
	char root[ROOT_BYTES];

	s->kind->root(s->remote, root, sizeof(root));
	return json_string(record, "location") + strlen(root);
}

struct shelf_call *object_shelf_fetch(struct qmpsnap_store *store, struct json_object *record,
	struct shelf_sink *sink, store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct shelf *s = new_shelf(store, data, err);

	if (!s)
		return NULL;
	s->done = done;
	s->sink.take = take;
	s->to = sink;
	s->kind->object(s->remote, name_of(s, record), s->path);
	(void)snprintf(
		s->doing, sizeof(s->doing), "downloading %.450s", json_string(record, "location"));
	fetch_rest(s);
	return &s->base;
}

void object_shelf_resume(struct shelf_call *call)
{
	remote_resume(&((struct shelf *)call)->call);
}

/* ---- What the service says of them -------------------------------------------------------- */

static void checked(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct shelf *s = data;
	const char *length = reply ? http_header(reply, "Content-Length") : NULL;
	const char *etag = json_string(s->record, "qmpsnap_etag");
	const int64_t size = json_int(s->record, "size", -1);
	struct qmpsnap_error mine;

	if (err) {
		end(err, s);
	} else if (!length || size < 0 || strtoull(length, NULL, 10) != (uint64_t)size) {
		error_set(&mine, QMPSNAP_STORE,
			"%s: the service has %.20s bytes, stored were %" PRId64, s->doing,
			length ? length : "no", size);
		end(&mine, s);
	} else if (etag && strcmp(etag, s->call.etag) != 0) {
		error_set(&mine, QMPSNAP_STORE,
			"%s: the service's ETag is %.64s, when it was stored it was %.64s",
			s->doing, s->call.etag, etag);
		error_hint(&mine, "the object was replaced, or copied: --deep compares its bytes");
		end(&mine, s);
	} else {
		end(NULL, s);
	}
}

struct shelf_call *object_shelf_check(struct qmpsnap_store *store, struct json_object *record,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct shelf *s = new_shelf(store, data, err);
	const struct remote_request request = {.method = "HEAD",
		.path = s ? s->path : NULL,
		.doing = s ? s->doing : NULL,
		.expect = {200}};

	if (!s)
		return NULL;
	s->done = done;
	s->record = record;
	s->kind->object(s->remote, name_of(s, record), s->path);
	(void)snprintf(
		s->doing, sizeof(s->doing), "looking at %.450s", json_string(record, "location"));
	remote_send(&s->call, s->remote, &request, checked, s);
	return &s->base;
}

/* ---- Removal ------------------------------------------------------------------------------ */

static void removed(const struct qmpsnap_error *err, void *data)
{
	end(err, data);
}

/* By the names that the record leads to, as another process does: they must be the ones it has. */
struct shelf_call *object_shelf_remove(struct qmpsnap_store *store, struct json_object *record,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct store_image_spec spec = {
		.id = json_string(record, "id"), .name = json_string(record, "name")};
	struct shelf *s = new_shelf(store, data, err);
	struct object_names names;

	if (!s)
		return NULL;
	for (int format = QMPSNAP_QCOW2; format <= QMPSNAP_VDI; format++) {
		if (shelf_says(record, "disk_format", name_format((enum qmpsnap_format)format)))
			spec.format = (enum qmpsnap_format)format;
	}
	s->done = done;
	object_names(&names, s->kind->prefix(s->remote),
		&(struct store_image_spec){
			.id = spec.id, .name = spec.name ? spec.name : "", .format = spec.format});
	if (!spec.name || strcmp(names.data, name_of(s, record)) != 0) {
		error_set(err, QMPSNAP_STORE, "%.400s: its JSON is of an image with another name",
			json_string(record, "location"));
		free(s);
		return NULL;
	}
	store->ops->discard_left(store, &spec, removed, s);
	return &s->base;
}

static void stopped(void *data)
{
	struct shelf *s = data;
	struct qmpsnap_error err;

	error_set(&err, QMPSNAP_STORE, "%s was stopped", s->doing);
	end(&err, s);
}

void object_shelf_stop(struct shelf_call *call)
{
	struct shelf *s = (struct shelf *)call;

	if (s->stopped)
		return;
	s->stopped = true;
	if (!s->delay) {
		remote_cancel(&s->call); /* nothing for a removal, which goes to its end */
		return;
	}
	delay_cancel(s->delay);
	s->delay = delay_start(s->remote->loop, 0, stopped, s);
	if (!s->delay)
		stopped(s);
}

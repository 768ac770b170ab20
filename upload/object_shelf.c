/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/object_shelf.h"

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/names.h"
#include "upload/answer.h"
#include "upload/record.h"
#include "upload/shelf_op.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOT_BYTES = 1024, LOCATION_BYTES = 2048 };

struct shelf {
	struct shelf_op op;
	const struct object_shelf_kind *kind;
	struct remote *remote;
	struct remote_call call;
	char path[OBJECT_SHELF_PATH_BYTES];
	struct json_object *record; /* that is checked; borrowed */
	struct qmpsnap_error *at_once; /* where a removal fails that hasn't begun; NULL: it has */

	/* list */
	struct json_object *names; /* of images, whose JSONs are yet to be read from `at` on */
	size_t at, n_names; /* in the last page, of any kind */
	char from[OBJECT_NAME_BYTES * 2]; /* the name that the page comes after */
	char last[OBJECT_NAME_BYTES * 2]; /* the last one in it */
	char stem[OBJECT_NAME_BYTES]; /* of the last JSON, whose image comes behind it */
	bool alone; /* but hasn't come yet */
};

static struct shelf *new_shelf(struct qmpsnap_store *store, void *data, struct qmpsnap_error *err)
{
	struct shelf *s = shelf_op_new(sizeof(*s), store, remote_of(store)->loop, data, err);

	if (s) {
		s->kind = (const struct object_shelf_kind *)store->ops->shelf;
		s->remote = remote_of(store);
	}
	return s;
}

/* ---- The list ----------------------------------------------------------------------------- */

static void end_list(struct shelf *s, const struct qmpsnap_error *err)
{
	(void)json_object_put(s->names);
	shelf_op_listed(&s->op, err);
}

/* The JSON of the image that is called `name`. */
static void json_of(char json[static OBJECT_NAME_BYTES], const char *name)
{
	(void)snprintf(
		json, OBJECT_NAME_BYTES, "%.*s.json", (int)(strrchr(name, '.') - name), name);
}

static void add_record(struct shelf *s, struct json_object *record, const char *name)
{
	const char *slash = strrchr(name, '/');
	char root[ROOT_BYTES], location[LOCATION_BYTES], file[RECORD_FILE_BYTES];
	char json[OBJECT_NAME_BYTES];

	json_of(json, slash ? slash + 1 : name);
	if (!record_data_file(record, json, file) || strcmp(file, slash ? slash + 1 : name) != 0)
		return;
	s->kind->root(s->remote, root, sizeof(root));
	if (snprintf(location, sizeof(location), "%s%s", root, name) >= (int)sizeof(location))
		return;
	json_put_string(record, "location", location);
	json_put_bool(record, "foreign", false);
	json_append(s->op.records, json_object_get(record));
}

/* A JSON without its image: deleted in part, or lost.  Others' JSONs have no id in their names. */
static void note_alone(const struct shelf *s)
{
	const size_t len = strlen(s->stem);

	if (s->alone && len >= NAME_UUID_BYTES &&
		name_uuid_is_real(s->stem + len - (NAME_UUID_BYTES - 1)))
		log_line(QMPSNAP_LOG_WARNING, "%s: %s.json is there, its image isn't", s->op.doing,
			s->stem);
}

static void read_next(struct shelf *s);
static void ask_for_page(struct shelf *s);

static void got_record(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct shelf *s = data;
	const char *name = json_object_get_string(json_object_array_get_idx(s->names, s->at++));
	struct json_object *record;

	/* It may have been deleted since it was listed. */
	if ((err && !answer_said(err, 404, 404)) || s->op.stopped) {
		end_list(s, err);
		return;
	}
	record = err ? NULL : answer_json(reply);
	if (record)
		add_record(s, record, name);
	else if (!err)
		log_line(QMPSNAP_LOG_INFO, "%s: its JSON is no record of an image", name);
	(void)json_object_put(record);
	read_next(s);
}

static void read_next(struct shelf *s)
{
	const struct remote_request request = {
		.method = "GET", .path = s->path, .doing = s->op.doing, .expect = {200}};
	const size_t n = json_length(s->names);
	char json[OBJECT_NAME_BYTES];
	struct qmpsnap_error err;

	if (s->at < n) {
		json_of(json, json_object_get_string(json_object_array_get_idx(s->names, s->at)));
		s->kind->object(s->remote, json, s->path);
		remote_send(&s->call, s->remote, &request, got_record, s);
	} else if (!shelf_op_has_room(&s->op, &err)) {
		end_list(s, &err);
	} else if (s->n_names > 0) {
		ask_for_page(s);
	} else {
		note_alone(s);
		end_list(s, NULL);
	}
}

/* "PREFIX/NAME-ID.json" and then "PREFIX/NAME-ID.qcow2", since '.json' comes before the ends that
 * images have; not what is in a folder below. */
static void take_name(struct shelf *s, const char *name, const char *base)
{
	const char *dot = strrchr(base, '.');
	const size_t stem = dot ? (size_t)(dot - name) : 0;

	if (!dot || strchr(base, '/') || stem + sizeof(".json") > OBJECT_NAME_BYTES)
		return;
	if (strcmp(dot, ".json") == 0) {
		note_alone(s);
		(void)snprintf(s->stem, sizeof(s->stem), "%.*s", (int)stem, name);
		s->alone = true;
	} else if (strlen(s->stem) == stem && strncmp(name, s->stem, stem) == 0) {
		json_append(s->names, json_object_new_string(name));
		s->alone = false;
	}
}

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
	if (len > skip)
		take_name(s, name, name + skip);
}

static void got_page(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct shelf *s = data;
	struct qmpsnap_error mine;

	(void)json_object_put(s->names);
	s->names = json_object_new_array();
	s->at = s->n_names = 0;
	if (!err && (s->op.stopped || !s->names ||
			    (reply->body_len > 0 && !s->kind->names(reply, on_name, s)))) {
		error_set(&mine, QMPSNAP_STORE, "%s%s", s->op.doing,
			s->op.stopped ? " was stopped" : ": the answer can't be read");
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
		.doing = s->op.doing,
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
	if (!s || !shelf_op_list(&s->op, done, err))
		return NULL;
	s->kind->root(s->remote, root, sizeof(root));
	(void)snprintf(s->op.doing, sizeof(s->op.doing), "listing %.400s", root);
	ask_for_page(s);
	return &s->op.base;
}

/* ---- Bytes -------------------------------------------------------------------------------- */

static void fetch_rest(void *data);

static void fetched(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct shelf *s = data;
	const struct shelf_patience patience = {.tries = s->remote->tries,
		.wait_ms = s->remote->wait_ms,
		.reached = s->remote->reached,
		.retry_after_ms = s->call.retry_after_ms};

	(void)reply;
	shelf_op_fetched(&s->op, err, &patience, fetch_rest);
}

static void fetch_rest(void *data)
{
	struct shelf *s = data;
	struct remote_request request = {
		.method = "GET", .path = s->path, .sink = &s->op.sink, .doing = s->op.doing};

	request.headers[0] = shelf_op_range(&s->op, &request.expect[0]);
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
	shelf_op_fetch(&s->op, sink, done);
	s->kind->object(s->remote, name_of(s, record), s->path);
	(void)snprintf(s->op.doing, sizeof(s->op.doing), "downloading %.450s",
		json_string(record, "location"));
	fetch_rest(s);
	return &s->op.base;
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
		shelf_op_end(&s->op, err);
	} else if (!length || size < 0 || strtoull(length, NULL, 10) != (uint64_t)size) {
		error_set(&mine, QMPSNAP_STORE,
			"%s: the service has %.20s bytes, stored were %" PRId64, s->op.doing,
			length ? length : "no", size);
		shelf_op_end(&s->op, &mine);
	} else if (etag && strcmp(etag, s->call.etag) != 0) {
		error_set(&mine, QMPSNAP_STORE,
			"%s: the service's ETag is %.64s, when it was stored it was %.64s",
			s->op.doing, s->call.etag, etag);
		error_hint(&mine, "the object was replaced, or copied: --deep compares its bytes");
		shelf_op_end(&s->op, &mine);
	} else {
		shelf_op_end(&s->op, NULL);
	}
}

struct shelf_call *object_shelf_check(struct qmpsnap_store *store, struct json_object *record,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct shelf *s = new_shelf(store, data, err);
	const struct remote_request request = {.method = "HEAD",
		.path = s ? s->path : NULL,
		.doing = s ? s->op.doing : NULL,
		.expect = {200}};

	if (!s)
		return NULL;
	s->op.done = done;
	s->record = record;
	s->kind->object(s->remote, name_of(s, record), s->path);
	(void)snprintf(s->op.doing, sizeof(s->op.doing), "looking at %.450s",
		json_string(record, "location"));
	remote_send(&s->call, s->remote, &request, checked, s);
	return &s->op.base;
}

/* ---- Removal ------------------------------------------------------------------------------ */

/* Without memory it is told from within the call (object_removal_new()). */
static void removed(const struct qmpsnap_error *err, void *data)
{
	struct shelf *s = data;

	if (!s->at_once) {
		shelf_op_end(&s->op, err);
		return;
	}
	*s->at_once = *err;
	s->at_once = NULL;
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
	s->op.done = done;
	object_names(&names, s->kind->prefix(s->remote),
		&(struct store_image_spec){
			.id = spec.id, .name = spec.name ? spec.name : "", .format = spec.format});
	if (!spec.name || strcmp(names.data, name_of(s, record)) != 0) {
		error_set(err, QMPSNAP_STORE, "%.400s: its JSON is of an image with another name",
			json_string(record, "location"));
		free(s);
		return NULL;
	}
	s->at_once = err;
	store->ops->discard_left(store, &spec, removed, s);
	if (s->at_once) {
		s->at_once = NULL;
		return &s->op.base;
	}
	free(s);
	return NULL;
}

void object_shelf_stop(struct shelf_call *call)
{
	struct shelf *s = (struct shelf *)call;

	if (shelf_op_stop(&s->op))
		remote_cancel(&s->call); /* nothing for a removal, which goes to its end */
}

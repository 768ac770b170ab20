/* SPDX-License-Identifier: Apache-2.0
 *
 * What becomes of an upload is in the record's status, whatever the answer to the PUT was, if there
 * was one. */
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/units.h"
#include "upload/answer.h"
#include "upload/glance.h"

#include <string.h>

enum { LOOK_MS = 250 };

static void upload_again(void *data)
{
	glance_upload(data);
}

static void import_again(void *data)
{
	glance_import(data);
}

static void look_again(void *data)
{
	glance_look(data);
}

/* Does it once more, a little later; `what` says so. */
static void retry(struct glance_image *image, const char *what, delay_fn *again)
{
	const struct glance_store *store = image->store;
	char wait[UNITS_TEXT_BYTES];

	if (++image->failures >= store->tries) {
		error_hint(&image->upload_err, "given up after %u tries", image->failures);
		glance_end(image, &image->upload_err);
		return;
	}
	const uint64_t ms = delay_after(image->failures, store->wait_ms, image->retry_after_ms);
	units_format_duration(wait, ms);
	log_line(QMPSNAP_LOG_WARNING, "%s; %s in %s", image->upload_err.message, what, wait);
	glance_wait(image, ms, again);
}

static void retry_upload(struct glance_image *image)
{
	retry(image, "sending all of it again, which is the same point in time,", upload_again);
}

/* ---- A new record ------------------------------------------------------------------------- */

static void remade(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct glance_image *image = data;

	(void)json;
	if (glance_end_stopped(image))
		return;
	if (err && !(image->call.doubtful && answer_said(err, 409, 409)))
		glance_end(image, err);
	else
		retry_upload(image);
}

static void removed(const struct qmpsnap_error *err, void *data)
{
	struct glance_image *image = data;

	undo_patience_renew(&image->store->undo);
	if (glance_end_stopped(image))
		return;
	if (err) {
		glance_end(image, err);
		return;
	}
	glance_use_id(image, image->spare + 1);
	image->state = AT_CALL;
	glance_make_record(image, remade);
}

/* The record can't be used any more, and its id not again. */
static void make_anew(struct glance_image *image)
{
	if (image->spare >= GLANCE_SPARE_IDS || image->failures + 1 >= image->store->tries) {
		error_hint(&image->upload_err,
			"the service has left the image in a state that it doesn't get out of");
		glance_end(image, &image->upload_err);
		return;
	}
	log_line(QMPSNAP_LOG_WARNING,
		"%s; the service keeps the image in the state of being saved: another one takes "
		"its place",
		image->upload_err.message);
	image->state = AT_REMOVAL;
	glance_remove(&image->removal, image->store, image->id, glance_doing(image, "deleting"),
		removed, image);
}

/* ---- The look ----------------------------------------------------------------------------- */

static bool is_one_of(const char *status, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(status, words[i]) == 0)
			return true;
	}
	return false;
}

static bool is_settling(const char *status)
{
	static const char *const words[] = {"saving", "importing", "uploading"};

	return is_one_of(status, words, 3);
}

/* The task of an import still has the record, although it is `active` already: it saves it once
 * more, over what others have changed meanwhile (Glance's async_/flows/api_image_import.py). */
static bool is_importing(struct json_object *record)
{
	const char *stores = json_string(record, "os_glance_importing_to_stores");

	return (stores && stores[0]) || json_string(record, "os_glance_import_task");
}

static bool is_deleted(const char *status)
{
	static const char *const words[] = {"deleted", "pending_delete"};

	return is_one_of(status, words, 2);
}

static void end_at(struct glance_image *image, const char *status)
{
	struct qmpsnap_error err;

	error_set(&err, QMPSNAP_STORE, "%s: it didn't become active, its status is %.32s",
		image->doing, status);
	glance_end(image, &err);
}

static void end_deleted(struct glance_image *image)
{
	struct qmpsnap_error gone, missing = {.code = QMPSNAP_STORE, .detail = 404};

	glance_end(image, glance_gone(image, &missing, &gone));
}

static bool may_pass(const struct qmpsnap_error *err)
{
	return answer_is_passing(err) || answer_said(err, 409, 409);
}

/* The last PUT failed, or its answer did: whether it's worth another. */
static void after_failure(struct glance_image *image, const char *status)
{
	if (!may_pass(&image->upload_err))
		glance_end(image, &image->upload_err);
	else if (strcmp(status, "queued") == 0)
		retry_upload(image);
	else
		make_anew(image);
}

/* What was staged lies there as it did: the order to import it didn't come through. */
static void after_no_import(struct glance_image *image)
{
	if (may_pass(&image->upload_err))
		retry(image, "asking for it again", import_again);
	else
		glance_end(image, &image->upload_err);
}

static void act_on(struct glance_image *image, const char *status, struct json_object *record)
{
	const bool failed = image->upload_err.code != QMPSNAP_OK;
	const bool in_time = uv_now(image->store->loop) < image->settle_until_ms;

	if (failed && image->staged && strcmp(status, "uploading") == 0 && !is_importing(record)) {
		after_no_import(image);
	} else if (in_time && (is_settling(status) || is_importing(record))) {
		glance_wait(image, LOOK_MS, look_again);
	} else if (strcmp(status, "active") == 0) {
		image->got = json_object_get(record);
		glance_verify(image);
	} else if (is_deleted(status)) {
		end_deleted(image);
	} else if (failed) {
		after_failure(image, status);
	} else {
		end_at(image, status);
	}
}

static void looked(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct glance_image *image = data;
	const char *status = json_string(json, "status");
	const bool failed = image->upload_err.code != QMPSNAP_OK;
	struct qmpsnap_error wrong;

	if (glance_end_stopped(image))
		return;
	if (!err && status) {
		act_on(image, status, json);
	} else if (answer_said(err, 404, 404)) {
		end_deleted(image);
	} else {
		error_set(&wrong, QMPSNAP_STORE, "%s: the record has no status", image->doing);
		glance_end(image, failed ? &image->upload_err : err ? err : &wrong);
	}
}

void glance_look(struct glance_image *image)
{
	const struct glance_request request = {.method = "GET",
		.path = image->path,
		.fresh = true,
		.doing = glance_doing(image, "verifying"),
		.expect = {200}};

	image->state = AT_CALL;
	glance_send(&image->call, image->store, &request, looked, image);
}

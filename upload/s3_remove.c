/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "upload/answer.h"
#include "upload/s3.h"
#include "upload/xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An upload may be there once more after it was aborted, when one of its parts was still on its
 * way: AWS says to ask again. */
enum { ROUNDS = 50 };

static void delete_data(struct s3_removal *removal);
static void ask_for_uploads(struct s3_removal *removal);

static void note(struct s3_removal *removal, const struct qmpsnap_error *err)
{
	if (err && removal->err.code == QMPSNAP_OK)
		removal->err = *err;
}

static void finish(struct s3_removal *removal)
{
	removal->done(removal->err.code == QMPSNAP_OK ? NULL : &removal->err, removal->data);
}

/* Whatever isn't there is deleted. */
static void delete_path(struct s3_removal *removal, const char *path, remote_then_fn *then)
{
	const struct remote_request request = {.method = "DELETE",
		.path = path,
		.undo = true,
		.doing = removal->doing,
		.expect = {204, 200, 404}};
	struct s3_store *store = removal->store;

	remote_send(&removal->call, &store->remote, &request, then, removal);
}

/* ---- Uploads ------------------------------------------------------------------------------ */

static void aborted(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct s3_removal *removal = data;

	(void)reply;
	note(removal, err);
	if (err || removal->known)
		delete_data(removal);
	else
		ask_for_uploads(removal);
}

static void abort_upload(struct s3_removal *removal)
{
	char id[S3_ID_URL_BYTES];

	object_encode(id, sizeof(id), removal->upload_id, false);
	(void)snprintf(
		removal->path, sizeof(removal->path), "%s?uploadId=%s", removal->data_path, id);
	delete_path(removal, removal->path, aborted);
}

struct uploads {
	struct s3_removal *removal;
	bool ours; /* the one that is being read has our key */
};

/* Within an upload the key comes first (the API reference's order of elements). */
static void on_text(const char *path, const char *text, void *data)
{
	struct uploads *uploads = data;
	struct s3_removal *removal = uploads->removal;

	if (strcmp(path, "ListMultipartUploadsResult/Upload/Key") == 0)
		uploads->ours = strcmp(text, removal->key) == 0;
	if (strcmp(path, "ListMultipartUploadsResult/Upload/UploadId") == 0 && uploads->ours &&
		strlen(text) < sizeof(removal->upload_id))
		(void)snprintf(removal->upload_id, sizeof(removal->upload_id), "%s", text);
}

static void asked(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct s3_removal *removal = data;
	struct uploads uploads = {.removal = removal};
	struct qmpsnap_error wrong;

	note(removal, err);
	removal->upload_id[0] = '\0';
	if (!err && !xml_each(reply->body, reply->body_len, on_text, &uploads)) {
		error_set(&wrong, QMPSNAP_STORE, "%s: the list of uploads can't be read",
			removal->doing);
		note(removal, &wrong);
	}
	if (!removal->upload_id[0]) {
		delete_data(removal);
	} else if (++removal->rounds > ROUNDS) {
		error_set(&wrong, QMPSNAP_STORE, "%s: there are uploads that can't be aborted",
			removal->doing);
		note(removal, &wrong);
		delete_data(removal);
	} else {
		abort_upload(removal);
	}
}

/* No other image has our key as the beginning of its own, so all fit into one answer. */
static void ask_for_uploads(struct s3_removal *removal)
{
	char prefix[OBJECT_URL_BYTES];
	const struct remote_request request = {.method = "GET",
		.path = removal->path,
		.undo = true,
		.doing = removal->doing,
		.expect = {200, 404}};
	struct s3_store *store = removal->store;

	object_encode(prefix, sizeof(prefix), removal->key, false);
	(void)snprintf(removal->path, sizeof(removal->path), "/?prefix=%s&uploads=", prefix);
	remote_send(&removal->call, &store->remote, &request, asked, removal);
}

/* ---- Objects ------------------------------------------------------------------------------ */

static void data_deleted(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct s3_removal *removal = data;

	(void)reply;
	note(removal, err);
	finish(removal);
}

static void delete_data(struct s3_removal *removal)
{
	delete_path(removal, removal->data_path, data_deleted);
}

static void json_deleted(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct s3_removal *removal = data;

	(void)reply;
	note(removal, err);
	/* A service that can't be reached isn't asked for each of them. */
	if (answer_unreached(err))
		finish(removal);
	else if (removal->known)
		abort_upload(removal);
	else
		ask_for_uploads(removal);
}

void s3_remove(struct s3_removal *removal, struct s3_store *store, const struct object_names *names,
	const char *upload_id, store_done_fn *done, void *data)
{
	*removal = (struct s3_removal){
		.store = store, .known = upload_id != NULL, .done = done, .data = data};
	(void)snprintf(removal->key, sizeof(removal->key), "%s", names->data);
	(void)snprintf(
		removal->upload_id, sizeof(removal->upload_id), "%s", upload_id ? upload_id : "");
	(void)snprintf(removal->doing, sizeof(removal->doing), "deleting s3://%.200s/%.150s",
		store->bucket, names->data);
	object_path(removal->data_path, names->data);
	object_path(removal->json_path, names->json);
	/* First: without it there is no image. */
	delete_path(removal, removal->json_path, json_deleted);
}

/* ---- discard_left ------------------------------------------------------------------------- */

struct leftover {
	struct s3_removal removal;
	store_done_fn *done;
	void *data;
};

static void removed(const struct qmpsnap_error *err, void *data)
{
	struct leftover *left = data;

	left->done(err, left->data);
	free(left);
}

void s3_discard_left(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data)
{
	struct s3_store *store = (struct s3_store *)base;
	struct leftover *left = calloc(1, sizeof(*left));
	struct object_names names;

	/* There is no way to report it later without memory; nothing was deleted. */
	if (!left) {
		struct qmpsnap_error err;
		error_no_memory(&err);
		done(&err, data);
		return;
	}
	left->done = done;
	left->data = data;
	object_names(&names, store->prefix, spec);
	s3_remove(&left->removal, store, &names, NULL, removed, left);
}

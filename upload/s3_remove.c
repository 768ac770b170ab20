/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/answer.h"
#include "upload/s3.h"
#include "upload/xml.h"

#include <stdio.h>
#include <string.h>

static void delete_data(struct s3_removal *removal);
static void ask_for_uploads(struct s3_removal *removal);

/* ---- Uploads ------------------------------------------------------------------------------ */

static void aborted(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct s3_removal *removal = data;

	(void)reply;
	object_removal_note(&removal->base, err);
	if (err)
		delete_data(removal);
	else
		ask_for_uploads(removal);
}

static void abort_upload(struct s3_removal *removal)
{
	char id[S3_ID_URL_BYTES], data_path[OBJECT_URL_BYTES];

	object_encode(id, sizeof(id), removal->upload_id, false);
	object_path(data_path, removal->base.names.data);
	(void)snprintf(removal->path, sizeof(removal->path), "%s?uploadId=%s", data_path, id);
	object_removal_delete(&removal->base, removal->path, aborted);
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
		uploads->ours = strcmp(text, removal->base.names.data) == 0;
	if (strcmp(path, "ListMultipartUploadsResult/Upload/UploadId") == 0 && uploads->ours &&
		strlen(text) < sizeof(removal->upload_id))
		(void)snprintf(removal->upload_id, sizeof(removal->upload_id), "%s", text);
}

static void asked(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct s3_removal *removal = data;
	struct uploads uploads = {.removal = removal};

	/* The one that there is, is aborted: who may not list them has done what can be done. */
	if (!removal->known || !answer_said(err, 400, 599))
		object_removal_note(&removal->base, err);
	removal->upload_id[0] = '\0';
	if (!err && !xml_each(reply->body, reply->body_len, on_text, &uploads))
		object_removal_fail(&removal->base, "the list of uploads can't be read");
	/* An upload may be there once more after it was aborted, when one of its parts was still on
	 * its way: AWS says to ask again. */
	if (removal->upload_id[0] &&
		object_removal_again(&removal->base, "there are uploads that can't be aborted"))
		abort_upload(removal);
	else
		delete_data(removal);
}

/* No other image has our key as the beginning of its own, so all fit into one answer. */
static void ask_for_uploads(struct s3_removal *removal)
{
	char prefix[OBJECT_URL_BYTES];
	const struct remote_request request = {.method = "GET",
		.path = removal->path,
		.undo = true,
		.doing = removal->base.doing,
		.expect = {200}}; /* 404: there is no such bucket */
	struct remote *remote = removal->base.remote;

	object_encode(prefix, sizeof(prefix), removal->base.names.data, false);
	(void)snprintf(removal->path, sizeof(removal->path), "/?prefix=%s&uploads=", prefix);
	remote_send(&removal->base.call, remote, &request, asked, removal);
}

/* ---- Objects ------------------------------------------------------------------------------ */

static void data_deleted(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct s3_removal *removal = data;

	(void)reply;
	object_removal_note(&removal->base, err);
	object_removal_end(&removal->base);
}

static void delete_data(struct s3_removal *removal)
{
	if (removal->base.stopped) {
		object_removal_end(&removal->base);
		return;
	}
	object_path(removal->path, removal->base.names.data);
	object_removal_delete(&removal->base, removal->path, data_deleted);
}

static void json_deleted(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct s3_removal *removal = data;

	(void)reply;
	object_removal_note(&removal->base, err);
	/* A service that can't be reached isn't asked for each of them. */
	if (answer_unreached(err) || removal->base.stopped)
		object_removal_end(&removal->base);
	else if (removal->known)
		abort_upload(removal);
	else
		ask_for_uploads(removal);
}

void s3_remove(struct s3_removal *removal, struct s3_store *store, const struct object_names *names,
	const char *upload_id, store_done_fn *done, void *data)
{
	*removal = (struct s3_removal){
		.base = {.remote = &store->remote, .names = *names, .done = done, .data = data},
		.known = upload_id != NULL};
	(void)snprintf(
		removal->upload_id, sizeof(removal->upload_id), "%s", upload_id ? upload_id : "");
	(void)snprintf(removal->base.doing, sizeof(removal->base.doing),
		"deleting s3://%.200s/%.150s", store->bucket, names->data);
	/* First: without it there is no image. */
	object_path(removal->path, names->json);
	object_removal_delete(&removal->base, removal->path, json_deleted);
}

void s3_discard_left(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data)
{
	struct s3_store *store = (struct s3_store *)base;
	struct s3_removal *left = object_removal_new(sizeof(*left), done, data);
	struct object_names names;

	if (!left)
		return;
	object_names(&names, store->prefix, spec);
	s3_remove(left, store, &names, NULL, done, data);
	left->base.alone = true;
}

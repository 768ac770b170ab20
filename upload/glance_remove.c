/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "base/json.h"
#include "upload/answer.h"
#include "upload/glance.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void delete_record(struct glance_removal *removal);

static void bared(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct glance_removal *removal = data;

	(void)json;
	if (err)
		removal->done(&removal->err, removal->data);
	else
		delete_record(removal);
}

/* It was published as a protected one, and now the set that it belongs to isn't to be. */
static void take_protection_off(struct glance_removal *removal)
{
	const struct glance_request request = {.method = "PATCH",
		.path = removal->path,
		.headers = {"Content-Type: application/openstack-images-v2.1-json-patch"},
		.body = "[{\"op\": \"replace\", \"path\": \"/protected\", \"value\": false}]",
		.undo = true,
		.doing = removal->doing,
		.expect = {200}};
	struct glance_store *store = removal->call.store;

	removal->bared = true;
	glance_send(&removal->call, store, &request, bared, removal);
}

static void deleted(const struct qmpsnap_error *err, struct json_object *json, void *data)
{
	struct glance_removal *removal = data;

	(void)json;
	if (answer_said(err, 403, 403) && !removal->bared) {
		removal->err = *err;
		take_protection_off(removal);
	} else {
		removal->done(err, removal->data);
	}
}

static void delete_record(struct glance_removal *removal)
{
	const struct glance_request request = {.method = "DELETE",
		.path = removal->path,
		.fresh = true,
		.undo = true,
		.doing = removal->doing,
		.expect = {204, 404}};
	struct glance_store *store = removal->call.store;

	glance_send(&removal->call, store, &request, deleted, removal);
}

void glance_remove(struct glance_removal *removal, struct glance_store *store, const char *id,
	const char *doing, store_done_fn *done, void *data)
{
	*removal = (struct glance_removal){.call.store = store, .done = done, .data = data};
	(void)snprintf(removal->path, sizeof(removal->path), "/v2/images/%.36s", id);
	(void)snprintf(removal->doing, sizeof(removal->doing), "%s", doing);
	delete_record(removal);
}

/* ---- discard_left ------------------------------------------------------------------------- */

struct leftover {
	struct glance_removal removal;
	struct glance_store *store;
	char first_id[37];
	unsigned at;
	struct qmpsnap_error err; /* the first */
	store_done_fn *done;
	void *data;
};

static void remove_next(struct leftover *left);

static void removed(const struct qmpsnap_error *err, void *data)
{
	struct leftover *left = data;

	if (err && left->err.code == QMPSNAP_OK)
		left->err = *err;
	/* A service that can't be reached isn't asked for each of them. */
	if (++left->at <= GLANCE_SPARE_IDS && !answer_unreached(err)) {
		remove_next(left);
		return;
	}
	left->done(left->err.code == QMPSNAP_OK ? NULL : &left->err, left->data);
	free(left);
}

static void remove_next(struct leftover *left)
{
	char id[37], doing[64];

	glance_spare_id(id, left->first_id, left->at);
	(void)snprintf(doing, sizeof(doing), "deleting image %s", id);
	glance_remove(&left->removal, left->store, id, doing, removed, left);
}

void glance_discard_left(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data)
{
	struct leftover *left = calloc(1, sizeof(*left));

	/* There is no way to report it later without memory; nothing was deleted. */
	if (!left) {
		struct qmpsnap_error err;
		error_no_memory(&err);
		done(&err, data);
		return;
	}
	left->store = (struct glance_store *)base;
	left->done = done;
	left->data = data;
	(void)snprintf(left->first_id, sizeof(left->first_id), "%.36s", spec->id);
	remove_next(left);
}

/* ---- Ids ---------------------------------------------------------------------------------- */

/* A UUID of version 8 (RFC 9562: whatever the maker likes) out of a digest. */
void glance_spare_id(char id[static 37], const char *first, unsigned n)
{
	unsigned char digest[EVP_MAX_MD_SIZE] = {0};
	char text[64];

	if (n == 0) {
		(void)snprintf(id, 37, "%.36s", first);
		return;
	}
	const int len = snprintf(text, sizeof(text), "qmpsnap %.36s %u", first, n);
	/* It fails only without memory; a later request then names no image. */
	(void)EVP_Digest(text, (size_t)len, digest, NULL, EVP_sha256(), NULL);
	digest[6] = (unsigned char)((digest[6] & 0x0f) | 0x80);
	digest[8] = (unsigned char)((digest[8] & 0x3f) | 0x80);
	for (size_t i = 0, at = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			id[at++] = '-';
		(void)snprintf(id + at, 3, "%02x", digest[i]);
		at += 2;
	}
}

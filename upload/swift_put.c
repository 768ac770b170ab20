/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "base/json.h"
#include "upload/swift.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

enum { MOST_SEGMENTS = 1000 /* Swift's default; an operator may allow more or less */ };

#define MOST_SEGMENT_BYTES (UINT64_C(5) << 30)

/* ---- The whole ---------------------------------------------------------------------------- */

static void confirmed(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct swift_image *image = data;

	if (err)
		object_image_end(err, image);
	else
		object_image_confirm(&image->o, reply, true);
}

static void confirm(struct swift_image *image)
{
	swift_path(image->path, image->store->path, image->o.names.data);
	const struct remote_request request = {.method = "HEAD",
		.path = image->path,
		.doing = object_image_doing(&image->o, "verifying"),
		.expect = {200}};
	remote_send(&image->o.call, &image->store->remote, &request, confirmed, image);
}

static void manifest_stored(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	(void)reply;
	if (err)
		object_image_end(err, data);
	else
		confirm(data);
}

static void put_manifest(struct swift_image *image)
{
	char path[SWIFT_PATH_BYTES];

	swift_path(path, image->store->path, image->o.names.data);
	(void)snprintf(image->path, sizeof(image->path), "%.*s?multipart-manifest=put",
		SWIFT_PATH_BYTES - 32, path);
	(void)snprintf(
		image->etag_header, sizeof(image->etag_header), "ETag: %.64s", image->o.etag);
	const struct remote_request request = {.method = "PUT",
		.path = image->path,
		.headers = {"Content-Type: application/octet-stream", image->etag_header},
		.body = json_text(image->manifest),
		.doing = object_image_doing(&image->o, "completing"),
		.expect = {201}};
	if (request.body) {
		remote_send(
			&image->o.call, &image->store->remote, &request, manifest_stored, image);
	} else {
		error_no_memory(&image->o.err);
		object_image_fail(&image->o);
	}
}

/* ---- Segments ----------------------------------------------------------------------------- */

static void segment_name(
	const struct swift_image *image, unsigned index, char name[static OBJECT_NAME_BYTES])
{
	(void)snprintf(name, OBJECT_NAME_BYTES, "%.*s/%08u", OBJECT_NAME_BYTES - 16,
		image->o.names.data, index + 1);
}

static void segment_request(struct part *part, struct remote_request *request, void *data)
{
	const struct swift_image *image = data;
	const struct swift_store *store = image->store;
	char name[OBJECT_NAME_BYTES], path[SWIFT_PATH_BYTES];

	segment_name(image, part->index, name);
	swift_path(path, image->large ? store->segments_path : store->path,
		image->large ? name : image->o.names.data);
	(void)snprintf(part->path, sizeof(part->path), "%s", path);
	(void)snprintf(part->header, sizeof(part->header), "ETag: %s", part->digest);
	(void)snprintf(part->doing, sizeof(part->doing), "uploading segment %u of %.300s",
		part->index + 1, image->o.base.location);
	*request = (struct remote_request){.method = "PUT",
		.path = part->path,
		.headers = {"Content-Type: application/octet-stream", part->header},
		.doing = part->doing,
		.expect = {201}};
}

/* The MD5 of the segments' in hex. */
static bool whole_etag(struct swift_image *image, const struct part_note *notes, unsigned n)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool well = context && EVP_DigestInit_ex(context, EVP_md5(), NULL) == 1;

	for (unsigned i = 0; well && i < n; i++)
		well = EVP_DigestUpdate(context, notes[i].digest, strlen(notes[i].digest)) == 1;
	well = well && EVP_DigestFinal_ex(context, digest, NULL) == 1;
	EVP_MD_CTX_free(context);
	for (size_t i = 0; well && i < 16; i++)
		(void)snprintf(image->o.etag + 2 * i, 3, "%02x", digest[i]);
	return well;
}

static bool make_manifest(struct swift_image *image, const struct part_note *notes, unsigned n)
{
	char name[OBJECT_NAME_BYTES], path[OBJECT_NAME_BYTES + SWIFT_CONTAINER_BYTES + 16];

	(void)json_object_put(image->manifest);
	image->manifest = json_object_new_array();
	for (unsigned i = 0; image->manifest && i < n; i++) {
		struct json_object *segment = json_object_new_object();
		const uint64_t left = image->o.stream->size_bytes - i * image->part_bytes;
		segment_name(image, i, name);
		(void)snprintf(
			path, sizeof(path), "/%s_segments/%s", image->store->container, name);
		json_put_string(segment, "path", path);
		json_put_string(segment, "etag", notes[i].digest);
		json_put_uint(
			segment, "size_bytes", left < image->part_bytes ? left : image->part_bytes);
		json_append(image->manifest, segment);
	}
	return (image->manifest && whole_etag(image, notes, n)) || error_no_memory(&image->o.err);
}

static void parts_done(const struct qmpsnap_error *err, void *data)
{
	struct swift_image *image = data;
	unsigned n;

	if (err) {
		image->o.err = *err;
	} else {
		const struct part_note *notes = parts_notes(image->o.parts, &n);
		object_image_set_digest(&image->o, parts_sha256(image->o.parts));
		(void)snprintf(image->o.etag, sizeof(image->o.etag), "%s", notes[0].digest);
		if (image->large)
			(void)make_manifest(image, notes, n);
	}
	if (!object_image_end_parts(&image->o))
		return;
	if (image->large)
		put_manifest(image);
	else
		confirm(image);
}

void swift_put(struct store_image *base, struct stream *stream, const struct store_instant *instant,
	store_progress_fn *progress, store_done_fn *done, void *data)
{
	struct swift_image *image = (struct swift_image *)base;

	object_image_begin(&image->o, done, data);
	object_image_begin_put(&image->o, stream, instant, progress);
	image->o.maybe_there = true;
	image->part_bytes = parts_plan(
		stream->size_bytes, image->store->part_bytes, MOST_SEGMENTS, MOST_SEGMENT_BYTES);
	image->large = image->part_bytes && parts_count(stream->size_bytes, image->part_bytes) > 1;
	const struct parts_options options = {.part_bytes = image->part_bytes,
		.part_digest = "md5",
		.request = segment_request,
		.done = parts_done};
	object_image_send_parts(&image->o, &options);
}

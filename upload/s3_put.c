/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "upload/answer.h"
#include "upload/s3.h"
#include "upload/xml.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	/* AWS takes 10,000 parts, Swift by default 1,000. */
	USUAL_PARTS = 1000,
	MOST_PARTS = 10000,
	MD5_BYTES = 16,
	COMPLETE_QUIET_MS = 10 * 60 * 1000, /* AWS: it may take minutes */
};

#define MOST_PART_BYTES (UINT64_C(5) << 30)

/* ---- ETags -------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_md5(unsigned char md5[static MD5_BYTES], const char *hex)
{
	for (size_t i = 0; i < MD5_BYTES; i++) {
		const int high = hex_digit(hex[2 * i]);
		const int low = high < 0 ? -1 : hex_digit(hex[2 * i + 1]);
		if (low < 0)
			return false;
		md5[i] = (unsigned char)(high * 16 + low);
	}
	return hex[(size_t)2 * MD5_BYTES] == '\0';
}

bool s3_whole_etag(char etag[static REMOTE_ETAG_BYTES], const struct part_note *notes, unsigned n)
{
	unsigned char md5[MD5_BYTES], whole[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool well = context && EVP_DigestInit_ex(context, EVP_md5(), NULL) == 1;

	for (unsigned i = 0; well && i < n; i++)
		well = parse_md5(md5, notes[i].etag) &&
		       EVP_DigestUpdate(context, md5, sizeof(md5)) == 1;
	well = well && EVP_DigestFinal_ex(context, whole, NULL) == 1;
	EVP_MD_CTX_free(context);
	etag[0] = '\0';
	if (!well)
		return false;
	for (size_t i = 0; i < MD5_BYTES; i++)
		(void)snprintf(etag + 2 * i, 3, "%02x", whole[i]);
	(void)snprintf(etag + (size_t)2 * MD5_BYTES, REMOTE_ETAG_BYTES - 2 * MD5_BYTES, "-%u", n);
	return true;
}

/* Whether it is one of those that s3_whole_etag() makes; others can't be compared. */
static bool is_whole_etag(const char *etag)
{
	unsigned char md5[MD5_BYTES];
	char head[2 * MD5_BYTES + 1];

	(void)snprintf(head, sizeof(head), "%.32s", etag);
	return parse_md5(md5, head) && etag[strlen(head)] == '-';
}

/* ---- The whole ---------------------------------------------------------------------------- */

static void confirmed(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct s3_image *image = data;

	if (!err) {
		object_image_confirm(
			&image->o, reply, image->o.etag[0] && is_whole_etag(image->o.call.etag));
		return;
	}
	if (image->o.err.code == QMPSNAP_OK)
		image->o.err = *err;
	object_image_end(&image->o.err, image);
}

static void confirm(struct s3_image *image)
{
	const struct remote_request request = {.method = "HEAD",
		.path = image->data_path,
		.doing = object_image_doing(&image->o, "verifying"),
		.expect = {200}};

	remote_send(&image->o.call, &image->store->remote, &request, confirmed, image);
}

static void completed(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct s3_image *image = data;

	(void)reply;
	if (err)
		image->o.err = *err;
	/* A try whose answer was lost may have completed it. */
	if (err && (image->o.stopped || !(answer_said(err, 404, 404) || answer_is_passing(err))))
		object_image_end(&image->o.err, image);
	else
		confirm(image);
}

char *s3_complete_body(const struct part_note *notes, unsigned n)
{
	char *body = NULL, etag[6 * REMOTE_ETAG_BYTES];
	size_t size = 0;
	FILE *out = open_memstream(&body, &size);

	if (!out)
		return NULL;
	(void)fputs("<CompleteMultipartUpload "
		    "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">",
		out);
	for (unsigned i = 0; i < n; i++) {
		(void)xml_escape(etag, sizeof(etag), notes[i].etag);
		(void)fprintf(out, "<Part><ETag>\"%s\"</ETag><PartNumber>%u</PartNumber></Part>",
			etag, i + 1);
	}
	(void)fputs("</CompleteMultipartUpload>", out);
	const bool well = ferror(out) == 0;
	if (fclose(out) == 0 && well)
		return body;
	free(body);
	return NULL;
}

static void complete(struct s3_image *image)
{
	(void)snprintf(image->path, sizeof(image->path), "%s?uploadId=%s", image->data_path,
		image->upload_id_url);
	const struct remote_request request = {.method = "POST",
		.path = image->path,
		.headers = {"Content-Type: application/xml"},
		.body = image->body,
		.quiet_ms = COMPLETE_QUIET_MS,
		.doing = object_image_doing(&image->o, "completing the upload of"),
		.expect = {200}};
	remote_send(&image->o.call, &image->store->remote, &request, completed, image);
}

/* ---- Parts -------------------------------------------------------------------------------- */

static void part_request(struct part *part, struct remote_request *request, void *data)
{
	const struct s3_image *image = data;

	(void)snprintf(part->path, sizeof(part->path), "%s?partNumber=%u&uploadId=%s",
		image->data_path, part->index + 1, image->upload_id_url);
	(void)snprintf(part->doing, sizeof(part->doing), "uploading part %u of %.300s",
		part->index + 1, image->o.base.location);
	*request = (struct remote_request){.method = "PUT",
		.path = part->path,
		.sha256 = part->digest,
		.doing = part->doing,
		.expect = {200}};
}

static void parts_done(const struct qmpsnap_error *err, void *data)
{
	struct s3_image *image = data;
	unsigned n;

	if (err) {
		image->o.err = *err;
	} else {
		const struct part_note *notes = parts_notes(image->o.parts, &n);
		object_image_set_digest(&image->o, parts_sha256(image->o.parts));
		(void)s3_whole_etag(image->o.etag, notes, n);
		image->body = s3_complete_body(notes, n);
		if (!image->body)
			error_no_memory(&image->o.err);
	}
	if (object_image_end_parts(&image->o))
		complete(image);
}

/* ---- No bytes ----------------------------------------------------------------------------- */

static void emptied(const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct s3_image *image = data;

	(void)reply;
	if (!err) {
		confirm(image);
		return;
	}
	image->o.err = *err;
	object_image_end(&image->o.err, image);
}

static void upload_aborted(
	const struct qmpsnap_error *err, const struct http_reply *reply, void *data)
{
	struct s3_image *image = data;
	const struct remote_request request = {.method = "PUT",
		.path = image->data_path,
		.headers = {"Content-Type: application/octet-stream"},
		.body = "",
		.doing = object_image_doing(&image->o, "uploading"),
		.expect = {200}};

	(void)reply;
	if (!err) {
		remote_send(&image->o.call, &image->store->remote, &request, emptied, image);
		return;
	}
	image->o.err = *err;
	object_image_end(&image->o.err, image);
}

/* An upload without a byte can't be completed everywhere: it becomes a plain object. */
static void put_nothing(struct s3_image *image)
{
	(void)snprintf(image->path, sizeof(image->path), "%s?uploadId=%s", image->data_path,
		image->upload_id_url);
	const struct remote_request request = {.method = "DELETE",
		.path = image->path,
		.doing = object_image_doing(&image->o, "giving up the parts of"),
		.expect = {204, 200, 404}};
	object_image_set_digest(
		&image->o, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	remote_send(&image->o.call, &image->store->remote, &request, upload_aborted, image);
}

/* ---- put ---------------------------------------------------------------------------------- */

static uint64_t plan(const struct s3_image *image)
{
	const uint64_t size = image->o.stream->size_bytes, usual = image->store->part_bytes;
	const uint64_t few = parts_plan(size, usual, USUAL_PARTS, MOST_PART_BYTES);

	return few ? few : parts_plan(size, usual, MOST_PARTS, MOST_PART_BYTES);
}

void s3_put(struct store_image *base, struct stream *stream, const struct store_instant *instant,
	store_progress_fn *progress, store_done_fn *done, void *data)
{
	struct s3_image *image = (struct s3_image *)base;

	object_image_begin(&image->o, done, data);
	object_image_begin_put(&image->o, stream, instant, progress);
	if (stream->size_bytes == 0) {
		put_nothing(image);
		return;
	}
	const struct parts_options options = {.part_bytes = plan(image),
		.part_digest = "sha256",
		.request = part_request,
		.done = parts_done};
	object_image_send_parts(&image->o, &options);
}

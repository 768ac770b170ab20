/* SPDX-License-Identifier: Apache-2.0
 *
 * How requests to S3 are signed, and what its answers mean. */
#include "base/error.h"
#include "upload/answer.h"
#include "upload/readable.h"
#include "upload/s3.h"
#include "upload/xml.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CODE_BYTES = 64, TEXT_BYTES = 200, HASH_HEADER_BYTES = 24 + 65 };

/* ---- Requests ----------------------------------------------------------------------------- */

/* The header of the body's SHA-256: libcurl doesn't make one for S3. */
static bool hash_header(char header[static HASH_HEADER_BYTES], const struct remote_request *request)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	const char *body = request->body ? request->body : "";
	char hex[65];

	if (request->sha256) {
		(void)snprintf(hex, sizeof(hex), "%s", request->sha256);
	} else {
		if (EVP_Digest(body, strlen(body), digest, NULL, EVP_sha256(), NULL) != 1)
			return false;
		for (size_t i = 0; i < 32; i++)
			(void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	}
	(void)snprintf(header, HASH_HEADER_BYTES, "x-amz-content-sha256: %s", hex);
	return true;
}

static void authorize(struct remote *remote, struct remote_call *call)
{
	const struct s3_store *store = (const struct s3_store *)remote;
	const struct s3_config *config = &store->config;
	const struct http_signer signer = {
		.scope = store->scope, .user = config->access_key, .secret = config->secret_key};
	char hash[HASH_HEADER_BYTES], *token = NULL;
	struct qmpsnap_error err;

	if (!hash_header(hash, &call->request) ||
		(config->session_token &&
			asprintf(&token, "x-amz-security-token: %s", config->session_token) < 0)) {
		error_no_memory(&err);
		remote_fail(call, &err);
		return;
	}
	const char *const headers[] = {hash, token, NULL};
	const struct remote_access access = {
		.url = store->url, .headers = headers, .signer = &signer};
	remote_go(call, &access);
	free(token);
}

/* ---- Answers ------------------------------------------------------------------------------ */

static const struct {
	const char *code;
	const char *hint;
} hints[] = {
	{"AccessDenied", "the policy of the user or the bucket forbids it"},
	{"AuthorizationHeaderMalformed", "set AWS_REGION to the bucket's region"},
	{"BadDigest", "the bytes changed on their way"},
	{"EntityTooLarge", "the image is larger than the service allows"},
	{"ExpiredToken", "get new credentials"},
	{"InvalidAccessKeyId", "the service doesn't know the access key; is it for this endpoint?"},
	{"NoSuchBucket", "make the bucket first; is this the right endpoint?"},
	{"NoSuchUpload", "somebody, or a rule of the bucket, has aborted the upload meanwhile"},
	{"PermanentRedirect", "set AWS_REGION to the bucket's region"},
	{"QuotaExceeded", "the bucket's quota is used up"},
	{"RequestTimeTooSkewed", "set this host's clock"},
	{"SignatureDoesNotMatch", "check the secret key and the region"},
	{"XAmzContentSHA256Mismatch", "the bytes changed on their way"},
};

/* The text of <Error><NAME>; AWS may begin an answer with white space, to keep it alive. */
static void get_error(const struct http_reply *reply, const char *name, char *text, size_t size)
{
	const size_t blank = strspn(reply->body, " \r\n\t");
	char path[64];

	(void)snprintf(path, sizeof(path), "Error/%s", name);
	xml_get(reply->body + blank, reply->body_len - blank, path, text, size);
}

void s3_error_code(const struct http_reply *reply, char *code, size_t size)
{
	get_error(reply, "Code", code, size);
}

/* A copy or a completion that failed after its answer was begun says so in it. */
static long status(const struct http_reply *reply)
{
	char code[CODE_BYTES];

	if (reply->status != 200 || reply->body_len == 0)
		return reply->status;
	get_error(reply, "Code", code, sizeof(code));
	if (!code[0])
		return reply->status;
	return strcmp(code, "InternalError") == 0 || strcmp(code, "ServiceUnavailable") == 0 ||
			       strcmp(code, "SlowDown") == 0
		       ? 503
		       : 400;
}

static void describe(struct qmpsnap_error *err, const char *doing, const struct http_reply *reply)
{
	char code[CODE_BYTES], text[TEXT_BYTES], line[CODE_BYTES + TEXT_BYTES], id[HTTP_ID_BYTES];
	char both[CODE_BYTES + TEXT_BYTES + 2];

	get_error(reply, "Code", code, sizeof(code));
	get_error(reply, "Message", text, sizeof(text));
	if (!code[0]) {
		answer_describe(err, doing, "S3", reply);
		return;
	}
	(void)snprintf(both, sizeof(both), "%s%s%s", code, text[0] ? ": " : "", text);
	readable_line(line, sizeof(line), both, strlen(both));
	readable_line(id, sizeof(id), reply->request_id, strlen(reply->request_id));
	error_set(err, QMPSNAP_STORE, "%s: S3 answered %ld: %s%s%s%s", doing, reply->status, line,
		id[0] ? " (request " : "", id, id[0] ? ")" : "");
	err->detail = (int)status(reply);
	/* The service waited for bytes for too long: it may do better with the same request. */
	if (strcmp(code, "RequestTimeout") == 0)
		err->detail = 408;
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		if (strcmp(code, hints[i].code) == 0)
			error_hint(err, "%s", hints[i].hint);
	}
}

const struct remote_ops s3_remote_ops = {
	.authorize = authorize,
	.status = status,
	.describe = describe,
};

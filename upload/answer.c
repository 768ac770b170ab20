/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/answer.h"

#include "base/error.h"
#include "base/json.h"
#include "upload/readable.h"

#include <curl/curl.h>
#include <string.h>

enum { JSON_DEPTH = 32, TEXT_BYTES = 200 };

struct json_object *answer_json(const struct http_reply *reply)
{
	struct json_tokener *parser;
	struct json_object *json;

	if (reply->body_len == 0 || !json_is_bounded(reply->body, reply->body_len) ||
		!(parser = json_tokener_new_ex(JSON_DEPTH)))
		return NULL;
	json = json_tokener_parse_ex(parser, reply->body, (int)reply->body_len);
	json_tokener_free(parser);
	if (json_object_is_type(json, json_type_object))
		return json;
	(void)json_object_put(json);
	return NULL;
}

void answer_describe(struct qmpsnap_error *err, const char *doing, const char *who,
	const struct http_reply *reply)
{
	char text[TEXT_BYTES], id[HTTP_ID_BYTES];

	readable_line(text, sizeof(text), reply->body, reply->body_len);
	readable_line(id, sizeof(id), reply->request_id, strlen(reply->request_id));
	error_set(err, QMPSNAP_STORE, "%s: %s answered %ld%s%s%s%s%s", doing, who, reply->status,
		text[0] ? ": " : "", text, id[0] ? " (request " : "", id, id[0] ? ")" : "");
	err->detail = (int)reply->status;
	if (reply->status >= 300 && reply->status <= 399)
		error_hint(err, "use the URL that the service redirects to");
}

bool answer_said(const struct qmpsnap_error *err, long from, long to)
{
	/* CURLcodes end below 100, HTTP's statuses begin there. */
	return err && err->code == QMPSNAP_STORE && err->detail >= 100 && err->detail >= from &&
	       err->detail <= to;
}

static bool is_one_of(const struct qmpsnap_error *err, const CURLcode *codes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (err && err->code == QMPSNAP_STORE && err->detail == (int)codes[i])
			return true;
	}
	return false;
}

bool answer_unreached(const struct qmpsnap_error *err)
{
	static const CURLcode codes[] = {CURLE_UNSUPPORTED_PROTOCOL, CURLE_URL_MALFORMAT,
		CURLE_COULDNT_RESOLVE_PROXY, CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_CONNECT,
		CURLE_SSL_CONNECT_ERROR, CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CERTPROBLEM,
		CURLE_SSL_CACERT_BADFILE};

	return is_one_of(err, codes, sizeof(codes) / sizeof(codes[0]));
}

bool answer_is_passing(const struct qmpsnap_error *err)
{
	static const CURLcode codes[] = {CURLE_COULDNT_RESOLVE_PROXY, CURLE_COULDNT_RESOLVE_HOST,
		CURLE_COULDNT_CONNECT, CURLE_SSL_CONNECT_ERROR, CURLE_OPERATION_TIMEDOUT,
		CURLE_SEND_ERROR, CURLE_RECV_ERROR, CURLE_GOT_NOTHING, CURLE_PARTIAL_FILE,
		CURLE_WEIRD_SERVER_REPLY, CURLE_UPLOAD_FAILED, CURLE_SEND_FAIL_REWIND};

	if (answer_said(err, 500, 599))
		return err->detail != 501 && err->detail != 505;
	return answer_said(err, 408, 408) || answer_said(err, 429, 429) ||
	       answer_said(err, 499, 499) ||
	       is_one_of(err, codes, sizeof(codes) / sizeof(codes[0]));
}

bool answer_is_too_long(const struct qmpsnap_error *err)
{
	static const CURLcode codes[] = {CURLE_FILESIZE_EXCEEDED};

	return is_one_of(err, codes, 1);
}

void answer_hint_left(struct qmpsnap_error *err)
{
	error_hint(err, "`qmpsnap recover --all` deletes what is left, once the service lets it");
}

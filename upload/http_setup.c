/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/http_call.h"
#include "version.h"

#include <string.h>

enum {
	CONNECT_TIMEOUT_S = 15,
	BUFFER_BYTES = 512 * 1024, /* libcurl's 64 KiB was the slowest of all sizes tried */
};

/* A proxy of the environment has no business with this host's own services. */
static bool is_loopback(const char *url)
{
	CURLU *u = curl_url();
	char *host = NULL;
	bool loopback = false;

	if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
		curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK)
		loopback = strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
			   strncmp(host, "127.", 4) == 0;
	curl_free(host);
	curl_url_cleanup(u);
	return loopback;
}

#define SET(option, value) (curl_easy_setopt(call->easy, option, value) == CURLE_OK)

static bool set_common(struct http_call *call)
{
	return SET(CURLOPT_URL, call->url) && SET(CURLOPT_PRIVATE, call) &&
	       SET(CURLOPT_ERRORBUFFER, call->curl_text) && SET(CURLOPT_NOSIGNAL, 1L) &&
	       SET(CURLOPT_PROTOCOLS_STR, "http,https") && SET(CURLOPT_FOLLOWLOCATION, 0L) &&
	       SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) &&
	       SET(CURLOPT_IPRESOLVE, (long)CURL_IPRESOLVE_WHATEVER) &&
	       SET(CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S) &&
	       SET(CURLOPT_USERAGENT, "qmpsnap/" QMPSNAP_VERSION) &&
	       SET(CURLOPT_WRITEFUNCTION, http_write_body) && SET(CURLOPT_WRITEDATA, call) &&
	       SET(CURLOPT_HEADERFUNCTION, http_count_header) && SET(CURLOPT_HEADERDATA, call) &&
	       (!call->sink || SET(CURLOPT_BUFFERSIZE, (long)BUFFER_BYTES)) &&
	       (!is_loopback(call->url) || SET(CURLOPT_PROXY, ""));
}

static bool add_header(struct http_call *call, const char *line)
{
	struct curl_slist *longer = curl_slist_append(call->headers, line);

	if (longer)
		call->headers = longer;
	return longer != NULL;
}

static bool set_body(struct http_call *call, const struct http_request *request)
{
	/* libcurl signs whatever is added here, and a proxy may take Expect out.  It adds one
	 * itself, unsigned, where there is much to send. */
	const bool own_expect = !request->signer;

	if (request->pump)
		/* A connection of its own: bytes that went into a dead one can't be had back. */
		return SET(CURLOPT_UPLOAD, 1L) && SET(CURLOPT_READFUNCTION, http_read_body) &&
		       SET(CURLOPT_READDATA, call) &&
		       SET(CURLOPT_UPLOAD_BUFFERSIZE, (long)BUFFER_BYTES) &&
		       SET(CURLOPT_FRESH_CONNECT, request->renewable ? 0L : 1L) &&
		       (request->sized ? SET(CURLOPT_INFILESIZE_LARGE,
						 (curl_off_t)pump_left_bytes(request->pump))
				       : add_header(call, "Transfer-Encoding: chunked")) &&
		       (!own_expect || add_header(call, "Expect: 100-continue"));
	/* On an old connection that breaks libcurl sends it once more by itself, and what a POST
	 * makes might be there twice. */
	if (request->body)
		return SET(CURLOPT_FRESH_CONNECT, strcmp(request->method, "POST") == 0 ? 1L : 0L) &&
		       SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(request->body)) &&
		       SET(CURLOPT_POSTFIELDS, request->body) &&
		       (!own_expect || add_header(call, "Expect:"));
	return strcmp(request->method, "HEAD") != 0 || SET(CURLOPT_NOBODY, 1L);
}

static bool set_signer(struct http_call *call, const struct http_signer *signer)
{
	return !signer ||
	       (SET(CURLOPT_AWS_SIGV4, signer->scope) && SET(CURLOPT_USERNAME, signer->user) &&
		       SET(CURLOPT_PASSWORD, signer->secret));
}

/* For the server and for a proxy that is spoken to by TLS. */
static bool set_tls(struct http_call *call, const struct http_tls *tls)
{
	return SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) &&
	       SET(CURLOPT_PROXY_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) &&
	       SET(CURLOPT_SSL_VERIFYPEER, tls->insecure ? 0L : 1L) &&
	       SET(CURLOPT_SSL_VERIFYHOST, tls->insecure ? 0L : 2L) &&
	       (!tls->cacert || SET(CURLOPT_CAINFO, tls->cacert)) &&
	       (!tls->cert || SET(CURLOPT_SSLCERT, tls->cert)) &&
	       (!tls->key || SET(CURLOPT_SSLKEY, tls->key));
}

bool http_set_request(struct http_call *call, const struct http_request *request)
{
	for (size_t i = 0; request->headers && request->headers[i]; i++) {
		if (!add_header(call, request->headers[i]))
			return false;
	}
	return set_common(call) && set_tls(call, http_tls(call->http)) && set_body(call, request) &&
	       set_signer(call, request->signer) && SET(CURLOPT_CUSTOMREQUEST, request->method) &&
	       (!call->headers || SET(CURLOPT_HTTPHEADER, call->headers));
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/url.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

static bool has_part(CURLU *u, CURLUPart part)
{
	char *text = NULL;
	const bool there = curl_url_get(u, part, &text, 0) == CURLUE_OK;

	curl_free(text);
	return there;
}

bool url_base(char base[static URL_BASE_BYTES], const char *url)
{
	CURLU *u = curl_url();
	char *text = NULL, *scheme = NULL;
	bool well = false;

	if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
		curl_url_get(u, CURLUPART_URL, &text, 0) == CURLUE_OK &&
		curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK)
		well = (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0) &&
		       !has_part(u, CURLUPART_USER) && !has_part(u, CURLUPART_PASSWORD) &&
		       !has_part(u, CURLUPART_QUERY) && !has_part(u, CURLUPART_FRAGMENT) &&
		       strlen(text) < URL_BASE_BYTES;
	if (well) {
		(void)snprintf(base, URL_BASE_BYTES, "%s", text);
		size_t len = strlen(base);
		while (base[len - 1] == '/')
			base[--len] = '\0';
	}
	curl_free(text);
	curl_free(scheme);
	curl_url_cleanup(u);
	return well;
}

bool url_cut_version(char *base)
{
	char *slash = strrchr(base, '/');

	/* Not the second slash of "http://v3". */
	if (!slash || slash == base || slash[-1] == '/' || slash[1] != 'v')
		return false;
	const size_t digits = strspn(slash + 2, "0123456789.");
	if (digits == 0 || slash[2 + digits] != '\0')
		return false;
	*slash = '\0';
	return true;
}

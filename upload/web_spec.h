/* SPDX-License-Identifier: Apache-2.0
 *
 * web_spec.h - how a URL says what else is needed to open it as a store, so that another process
 * can open the same: in its fragment, which is never sent, "#force&insecure&header=NAME%3A%20VALUE
 * &header-file=PATH&cacert=PATH", each encoded; they say the same as the options of these names.
 * "no-json", which is no option, is for servers that take all that is put there for an image.
 */
#ifndef UPLOAD_WEB_SPEC_H
#define UPLOAD_WEB_SPEC_H

#include "base/store.h"

struct web_spec {
	char *url; /* with its query, without the fragment; there may be a secret in the query */
	char *place; /* the URL without its query, for messages */
	char **headers; /* "Name: value", up to a NULL; there may be secrets among them */
	size_t n_headers;
	char *cacert; /* NULL: the system's authorities */
	bool force, insecure;
	bool json_place; /* with ".json" behind it it names a file beside the image */
	const char *no_json; /* why none goes there; NULL: one does */
	const char *lost; /* what wasn't written down, see web_spec_keep(); NULL: nothing */
};

/* What `spec` and the options say; reads the files of headers.  False and *err (USAGE, INTERNAL);
 * to be freed in any case. */
bool web_spec_open(struct web_spec *web, const char *spec,
	const struct qmpsnap_store_options *options, struct qmpsnap_error *err);
void web_spec_free(struct web_spec *web);

/* `spec` with what the options say in its fragment; to be freed.  NULL without memory. */
char *web_spec_complete(const char *spec, const struct qmpsnap_store_options *options);

/* A completed spec as it may stand in a file, to be freed: the query, which signs some URLs, gives
 * way to the word "no-query" in the fragment, and headers to "no-header".  NULL without memory. */
char *web_spec_keep(const char *spec);

#endif

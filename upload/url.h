/* SPDX-License-Identifier: Apache-2.0
 *
 * url.h - the URLs of services as users, catalogues and profiles give them.
 */
#ifndef UPLOAD_URL_H
#define UPLOAD_URL_H

#include <stdbool.h>

enum { URL_BASE_BYTES = 512 };

/* Copies the URL that paths are put behind: http or https, without a slash at its end.  False for
 * any other, also for one with a user, a password, a query or a fragment in it. */
bool url_base(char base[static URL_BASE_BYTES], const char *url);

/* Cuts a version ("/v3", "/v2.0") off a base's end; whether there was one. */
bool url_cut_version(char *base);

#endif

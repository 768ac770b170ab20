/* SPDX-License-Identifier: Apache-2.0
 *
 * web.h - what the parts of the stores http: and https: share: one image by one PUT, for servers
 * that know no more.
 *
 * There is nothing at a URL that says whose it is, so it is deleted only where it must be the run's
 * own: where the server said that there was nothing before, or has confirmed what was sent.
 */
#ifndef UPLOAD_WEB_H
#define UPLOAD_WEB_H

#include "upload/remote.h"
#include "upload/web_spec.h"

struct web_store {
	struct remote remote;
	struct web_spec spec;
};

extern const struct store_ops web_ops;

void web_free(struct qmpsnap_store *base); /* web_open.c */

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * stores.h - the kinds of store that store.c's table knows, a function each.
 */
#ifndef UPLOAD_STORES_H
#define UPLOAD_STORES_H

#include "base/store.h"

#include <uv.h>

/* Opens a store.  `where` is what stands behind the prefix of its spec, never NULL; `options` is
 * never NULL and borrowed.  NULL and *err (USAGE, STORE, INTERNAL) when it can't. */
typedef struct qmpsnap_store *store_open_fn(uv_loop_t *loop, const char *where,
	const struct qmpsnap_store_options *options, struct qmpsnap_error *err);

/* dir:FOLDER keeps NAME-ID.qcow2 (or .raw, sparse) and NAME-ID.json, which is published last:
 * without it there is no image. */
store_open_fn dir_open;

/* file:PATH keeps one image at PATH and no metadata. */
store_open_fn file_open;

/* - writes one image to a descriptor. */
store_open_fn stdout_open;

/* glance: keeps images in the image service of an OpenStack cloud, glance:URL in one that asks for
 * no authentication; see cloud_spec.h. */
store_open_fn glance_open;

/* s3:BUCKET/PREFIX keeps images as objects in a bucket, with a JSON object beside each; see
 * s3_config.h for where that is. */
store_open_fn s3_open;

/* swift:CONTAINER keeps them in a container of OpenStack's object store in the same way. */
store_open_fn swift_open;

/* http:URL and https:URL send one image there by PUT, without metadata; see web_spec.h. */
store_open_fn web_open_http, web_open_https;

#endif

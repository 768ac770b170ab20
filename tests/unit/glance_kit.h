/* SPDX-License-Identifier: Apache-2.0
 *
 * glance_kit.h - an image in a Glance that follows a script, for the tests of the store glance:.
 */
#ifndef TESTS_GLANCE_KIT_H
#define TESTS_GLANCE_KIT_H

#include "fake_http.h"
#include "fake_stream.h"
#include "store_kit.h"
#include "upload/glance.h"

#define CREATE "POST /v2/images HTTP"
#define PATCH  "PATCH /v2/images/" KIT_ID
#define LIST   "GET /v2/images?limit=1"
#define PUT    "PUT /v2/images/" KIT_ID "/file"
#define STAGE  "PUT /v2/images/" KIT_ID "/stage"
#define IMPORT "POST /v2/images/" KIT_ID "/import"
#define GET    "GET /v2/images/" KIT_ID " "
#define DELETE "DELETE /v2/images/" KIT_ID
#define QUEUED "{\"id\": \"" KIT_ID "\", \"status\": \"queued\"}"
#define HTML                                                                                       \
	"<html><head><title>T</title></head><body><h1>T</h1>Because of \x1b[31m &lt;that&gt;.<br " \
	"/></body></html>"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

extern struct fake_http server;
extern struct fake_stream stream;
extern struct qmpsnap_store *store;
extern struct store_image_spec spec;
extern struct store_image *image;
extern struct qmpsnap_error err;
extern char record[1024]; /* what the record is after the PUT */

extern unsigned tries; /* 0: one */
extern struct qmpsnap_store_options wishes;

/* Opens the store at a server with this script, and makes the image, which may fail. */
void start(uv_loop_t *loop, struct fake_exchange *script, unsigned n);

/* Closes all; `all`: the whole script must have come. */
void finish(bool all);

/* Fills `record`; NULLs are left out. */
void make_record(uint64_t size, const char *algorithm, const char *value, const char *md5);

#endif

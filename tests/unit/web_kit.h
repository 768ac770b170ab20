/* SPDX-License-Identifier: Apache-2.0
 *
 * web_kit.h - an image and its JSON at a web server that follows a script, for the tests of the
 * stores http: and https:.
 */
#ifndef TESTS_WEB_KIT_H
#define TESTS_WEB_KIT_H

#include "fake_http.h"
#include "fake_stream.h"
#include "store_kit.h"
#include "upload/remote.h"

#define HEAD        "HEAD /up/a.img "
#define HEAD_JSON   "HEAD /up/a.img.json "
#define GET_JSON    "GET /up/a.img.json "
#define PUT         "PUT /up/a.img "
#define PUT_JSON    "PUT /up/a.img.json "
#define DELETE      "DELETE /up/a.img "
#define DELETE_JSON "DELETE /up/a.img.json "
#define LENGTH      "Content-Length: 2001\r\n"

enum { SIZE = 2001 };

extern struct fake_http server;
extern struct fake_stream stream;
extern struct qmpsnap_store *store;
extern struct store_image_spec spec;
extern struct store_image *image;
extern struct qmpsnap_error err;
extern struct qmpsnap_store_options options;
extern char said[2048]; /* all that was logged, warnings behind "warning: " */

/* A fixture: no options, and nothing said yet. */
void set_up(void);

/* Opens the store at a server with this script; `behind` is what is behind its name. */
void open_store(uv_loop_t *loop, const char *behind, struct fake_exchange *script, unsigned n);

/* And makes the image at /up/a.img, which may fail. */
void start(uv_loop_t *loop, struct fake_exchange *script, unsigned n);

/* Puts its data, well. */
void put(uv_loop_t *loop);

/* Closes all; the whole script must have come. */
void finish(void);

#endif

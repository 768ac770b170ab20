/* SPDX-License-Identifier: Apache-2.0
 *
 * s3_kit.h - an image in an S3 that follows a script, for the tests of the store s3:.
 */
#ifndef TESTS_S3_KIT_H
#define TESTS_S3_KIT_H

#include "fake_http.h"
#include "fake_stream.h"
#include "store_kit.h"
#include "upload/s3.h"

#define KEY  "/bucket/pre/web_1-" KIT_ID ".qcow2"
#define JSON "/bucket/pre/web_1-" KIT_ID ".json"
#define MD5  "0123456789abcdef0123456789abcdef"
#define BEGUN                                                                                      \
	"<?xml version=\"1.0\"?>\n<InitiateMultipartUploadResult xmlns=\"http://s3/\"><Bucket>b"   \
	"</Bucket><UploadId>up+1/=</UploadId></InitiateMultipartUploadResult>"
#define BEGIN                                                                                      \
	{                                                                                          \
		"POST " KEY "?uploads= ", .status = 200, .body = BEGUN                             \
	}
#define SEND                                                                                       \
	{                                                                                          \
		"PUT " KEY "?partNumber=1&uploadId=up%2B1%2F%3D ",                                 \
			.status = 200, .headers = "ETag: \"" MD5 "\"\r\n"                          \
	}
#define COMPLETE "POST " KEY "?uploadId=up%2B1%2F%3D "
#define ABORT    "DELETE " KEY "?uploadId="
#define LIST     "GET /bucket/?prefix=pre%2Fweb_1-" KIT_ID ".qcow2&uploads= "

enum { SIZE = 300001 };

extern struct fake_http server;
extern struct fake_stream stream;
extern struct qmpsnap_store *store;
extern struct store_image_spec spec;
extern struct store_image *image;
extern struct qmpsnap_error err;

/* A fixture: the environment names an account. */
void set_account(void);

/* Opens the store at a server with this script. */
void open_store(uv_loop_t *loop, struct fake_exchange *script, unsigned n);

/* And makes the image, which may fail. */
void start(uv_loop_t *loop, struct fake_exchange *script, unsigned n);

/* Closes all; the whole script must have come. */
void finish(void);

#endif

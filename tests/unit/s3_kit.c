/* SPDX-License-Identifier: Apache-2.0 */
#include "s3_kit.h"

#include <check.h>
#include <stdlib.h>

struct fake_http server;
struct fake_stream stream;
struct qmpsnap_store *store;
struct store_image_spec spec;
struct store_image *image;
struct qmpsnap_error err;

void set_account(void)
{
	ck_assert_int_eq(setenv("AWS_ACCESS_KEY_ID", "us:er", 1), 0);
	ck_assert_int_eq(setenv("AWS_SECRET_ACCESS_KEY", "hush", 1), 0);
	ck_assert_int_eq(setenv("AWS_SESSION_TOKEN", "pst", 1), 0);
	ck_assert_int_eq(setenv("AWS_REGION", "mars-1", 1), 0);
	ck_assert_int_eq(setenv("HOME", "/nonexistent", 1), 0);
	ck_assert_int_eq(unsetenv("AWS_PROFILE"), 0);
}

void open_store(uv_loop_t *loop, struct fake_exchange *script, unsigned n)
{
	fake_http_start(&server, loop, script, n);
	fake_stream_init(&stream, loop, SIZE);
	ck_assert_int_eq(setenv("AWS_ENDPOINT_URL", server.url, 1), 0);
	store = qmpsnap_store_open(loop, "s3://bucket/pre/", NULL, &err);
	ck_assert_msg(store != NULL, "%s", err.message);
	remote_of(store)->wait_ms = 4;
	remote_of(store)->tries = 2;
	kit_spec(&spec);
}

void start(uv_loop_t *loop, struct fake_exchange *script, unsigned n)
{
	open_store(loop, script, n);
	image = kit_create(loop, store, &spec, &err);
	ck_assert_ptr_nonnull(image);
}

void finish(void)
{
	if (image)
		image->ops->close(image);
	qmpsnap_store_close(store);
	(void)json_object_put(spec.properties);
	fake_http_stop(&server, true);
	ck_assert_uint_eq(stream.open, 0);
}

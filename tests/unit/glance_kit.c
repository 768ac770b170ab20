/* SPDX-License-Identifier: Apache-2.0 */
#include "glance_kit.h"

#include <check.h>
#include <stdio.h>

struct fake_http server;
struct fake_stream stream;
struct qmpsnap_store *store;
struct store_image_spec spec;
struct store_image *image;
struct qmpsnap_error err;
char record[1024];

unsigned tries;
struct qmpsnap_store_options wishes;

void start(uv_loop_t *loop, struct fake_exchange *script, unsigned n)
{
	char text[128];

	fake_http_start(&server, loop, script, n);
	(void)snprintf(text, sizeof(text), "glance:%s/v2/", server.url);
	store = qmpsnap_store_open(loop, text, &wishes, &err);
	ck_assert_ptr_nonnull(store);
	((struct glance_store *)store)->settle_ms = 700;
	((struct glance_store *)store)->wait_ms = 4;
	((struct glance_store *)store)->tries = tries ? tries : 1;
	kit_spec(&spec);
	image = kit_create(loop, store, &spec, &err);
	ck_assert_ptr_nonnull(image);
}

void finish(bool all)
{
	image->ops->close(image);
	qmpsnap_store_close(store);
	(void)json_object_put(spec.properties);
	fake_http_stop(&server, all);
	ck_assert_uint_eq(stream.open, 0);
}

void make_record(uint64_t size, const char *algorithm, const char *value, const char *md5)
{
	char hash[256] = "";

	if (algorithm)
		(void)snprintf(hash, sizeof(hash),
			", \"os_hash_algo\": \"%s\", \"os_hash_value\": \"%s\"", algorithm, value);
	(void)snprintf(record, sizeof(record),
		"{\"id\": \"" KIT_ID "\", \"status\": \"active\", \"size\": %llu%s%s%s%s}",
		(unsigned long long)size, hash, md5 ? ", \"checksum\": \"" : "", md5 ? md5 : "",
		md5 ? "\"" : "");
}

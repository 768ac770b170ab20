/* SPDX-License-Identifier: Apache-2.0 */
#include "web_kit.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

struct fake_http server;
struct fake_stream stream;
struct qmpsnap_store *store;
struct store_image_spec spec;
struct store_image *image;
struct qmpsnap_error err;
struct qmpsnap_store_options options;
char said[2048];

static void say(enum qmpsnap_log_level level, const char *message, void *data)
{
	const size_t len = strlen(said);

	(void)data;
	(void)snprintf(said + len, sizeof(said) - len, "%s%s\n",
		level == QMPSNAP_LOG_WARNING ? "warning: " : "", message);
}

void open_store(uv_loop_t *loop, const char *behind, struct fake_exchange *script, unsigned n)
{
	char text[128];

	fake_http_start(&server, loop, script, n);
	fake_stream_init(&stream, loop, SIZE);
	(void)snprintf(text, sizeof(text), "%s%s", server.url, behind);
	store = qmpsnap_store_open(loop, text, &options, &err);
	ck_assert_msg(store != NULL, "%s", err.message);
	remote_of(store)->wait_ms = 4;
	remote_of(store)->tries = 2;
	kit_spec(&spec);
}

void start(uv_loop_t *loop, struct fake_exchange *script, unsigned n)
{
	open_store(loop, "/up/a.img", script, n);
	image = kit_create(loop, store, &spec, &err);
	ck_assert_ptr_nonnull(image);
}

void put(uv_loop_t *loop)
{
	ck_assert_msg(err.code == QMPSNAP_OK, "%s", err.message);
	ck_assert_msg(kit_put(loop, image, &stream.base, &err), "%s", err.message);
}

void finish(void)
{
	if (image)
		image->ops->close(image);
	qmpsnap_store_close(store);
	(void)json_object_put(spec.properties);
	fake_http_stop(&server, true);
}

void set_up(void)
{
	options = (struct qmpsnap_store_options){.force = false};
	image = NULL;
	said[0] = '\0';
	qmpsnap_log_to(QMPSNAP_LOG_INFO, say, NULL);
}

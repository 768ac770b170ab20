/* SPDX-License-Identifier: Apache-2.0
 *
 * Services that answer anything (answers.h) to whoever lists and fetches images there, uploads one
 * and discards it.  The first byte chooses the store. */
#include "answers.h"
#include "base/json.h"
#include "base/shelf.h"
#include "tests/unit/fake_stream.h"
#include "tests/unit/store_kit.h"
#include "upload/glance.h"
#include "upload/remote.h"

#include <stdlib.h>
#include <string.h>

enum { STREAM_BYTES = 3000, N_STORES = 5 };

static const char *const specs[N_STORES] = {
	"glance:http://127.0.0.1:9", "glance:", "s3://bucket/pre", "swift:box", "swift:box"};

static uv_loop_t loop;

struct listed {
	struct outcome outcome;
	struct json_object *record; /* the first */
};

/* Runs the loop until there is an outcome. */
static bool waited(struct outcome *outcome)
{
	FUZZ_CHECK(outcome->calls == 0);
	while (outcome->calls == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	FUZZ_CHECK(outcome->calls == 1);
	FUZZ_CHECK(outcome->err.code == QMPSNAP_OK || outcome->err.message[0]);
	return outcome->err.code == QMPSNAP_OK;
}

static void on_listed(const struct qmpsnap_error *err, struct json_object *records, void *data)
{
	struct listed *listed = data;

	FUZZ_CHECK((err == NULL) == (records != NULL));
	for (size_t i = 0; i < json_length(records); i++) {
		struct json_object *record = json_object_array_get_idx(records, i);
		FUZZ_CHECK(
			json_string(record, "location") && shelf_time(record) && shelf_set(record));
		(void)shelf_is_published(record);
		(void)shelf_is_protected(record);
		(void)shelf_compare_times(shelf_time(record), "2026-11-23T13:20:14.123Z");
	}
	if (json_length(records) > 0)
		listed->record = json_object_get(json_object_array_get_idx(records, 0));
	outcome_done(err, &listed->outcome);
}

static bool take(struct shelf_sink *sink, const void *bytes, size_t len)
{
	(void)sink;
	FUZZ_CHECK(bytes && len > 0 && len <= SHELF_PIECE_BYTES);
	return true;
}

static void use_shelf(struct qmpsnap_store *store)
{
	const struct shelf_filter filter = {.set = NULL};
	struct listed listed = {.record = NULL};
	struct outcome fetched = {.calls = 0};
	struct shelf_sink sink = {take};
	struct qmpsnap_error err;

	FUZZ_CHECK(store->ops->shelf->list(store, &filter, on_listed, &listed, &err));
	(void)waited(&listed.outcome);
	if (listed.record) {
		FUZZ_CHECK(store->ops->shelf->fetch(
			store, listed.record, &sink, outcome_done, &fetched, &err));
		(void)waited(&fetched);
	}
	(void)json_object_put(listed.record);
}

static void on_progress(uint64_t done_bytes, void *data)
{
	struct outcome *put = data;

	FUZZ_CHECK(done_bytes >= put->progress_bytes && done_bytes <= STREAM_BYTES);
	put->progress_bytes = done_bytes;
}

static void upload(struct qmpsnap_store *store)
{
	struct outcome made = {.calls = 0}, put = made, published = made, discarded = made;
	struct fake_stream stream;
	struct store_image_spec spec;
	struct store_image *image;
	struct qmpsnap_error err;

	fake_stream_init(&stream, &loop, STREAM_BYTES);
	kit_spec(&spec);
	image = store->ops->create(store, &spec, outcome_done, &made, &err);
	FUZZ_CHECK(image);
	if (waited(&made)) {
		image->ops->put(image, &stream.base, &kit_instant, on_progress, outcome_done, &put);
		if (waited(&put)) {
			FUZZ_CHECK(image->size_bytes == STREAM_BYTES);
			image->ops->publish(image, outcome_done, &published);
			(void)waited(&published);
		}
	}
	image->ops->discard(image, outcome_done, &discarded);
	(void)waited(&discarded);
	image->ops->close(image);
	(void)json_object_put(spec.properties);
	FUZZ_CHECK(stream.open == 0);
}

static struct qmpsnap_store *open_store(unsigned which)
{
	struct qmpsnap_store *store;
	struct qmpsnap_error err;

	FUZZ_CHECK(which == 3 ? setenv("ST_AUTH", "http://127.0.0.1:9/auth", 1) == 0
			      : unsetenv("ST_AUTH") == 0);
	store = qmpsnap_store_open(&loop, specs[which], NULL, &err);
	FUZZ_CHECK(store);
	if (which < 2) {
		struct glance_store *glance = (struct glance_store *)store;
		glance->tries = 2;
		glance->wait_ms = glance->settle_ms = 0;
		glance->undo.most_ms = 1;
	} else {
		remote_of(store)->tries = 2;
		remote_of(store)->wait_ms = 0;
		remote_of(store)->undo.most_ms = 1;
	}
	return store;
}

static void set_up(void)
{
	static const char *const settings[][2] = {{"HOME", "/nonexistent"},
		{"OS_AUTH_URL", "http://127.0.0.1:9/v3"}, {"OS_USERNAME", "u"},
		{"OS_PASSWORD", "p"}, {"OS_PROJECT_NAME", "p"}, {"OS_USER_DOMAIN_ID", "default"},
		{"OS_PROJECT_DOMAIN_ID", "default"}, {"AWS_ACCESS_KEY_ID", "k"},
		{"AWS_SECRET_ACCESS_KEY", "s"}, {"AWS_REGION", "r"},
		{"AWS_ENDPOINT_URL", "http://127.0.0.1:9"}, {"ST_USER", "t:u"}, {"ST_KEY", "k"}};

	FUZZ_CHECK(clearenv() == 0);
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		FUZZ_CHECK(setenv(settings[i][0], settings[i][1], 1) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool is_set_up;
	struct fuzz_input in = {data, size};
	const unsigned how = fuzz_byte(&in);

	if (!is_set_up)
		set_up();
	is_set_up = true;
	FUZZ_CHECK(uv_loop_init(&loop) == 0);
	answers_begin(&in);
	struct qmpsnap_store *store = open_store(how % N_STORES);
	if (how & 0x80)
		upload(store);
	else
		use_shelf(store);
	qmpsnap_store_close(store);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	FUZZ_CHECK(answers_pending() == 0 && uv_loop_close(&loop) == 0);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "base/shelf.h"
#include "fake_http.h"
#include "fake_stream.h"
#include "fixture.h"
#include "images/images.h"
#include "store_kit.h"
#include "suite.h"
#include "upload/glance.h"
#include "upload/remote.h"
#include "upload/shelf_op.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILE_NAME "web_1-" KIT_ID

static struct qmpsnap_store *store;
static struct fake_stream stream;
static struct qmpsnap_error err;
static char *base;
static char text[600];
static const char *disks; /* of the set that images are made of; NULL: they don't say */

/* ---- A request to its end ----------------------------------------------------------------- */

static struct {
	unsigned calls, events;
	uint64_t done_bytes, total_bytes;
	struct qmpsnap_error err;
	struct json_object *images;
	struct qmpsnap_images *op;
	uint64_t cancel_at; /* so many bytes */
	bool (*is_turn)(void); /* counts turns of the loop, up to the one to cancel in */
	unsigned cancel_turn, turns;
	bool fetching;
} got;

static bool is_any(void)
{
	return true;
}

/* All bytes are there, and the file gets its name. */
static bool is_fetched(void)
{
	got.fetching = got.fetching || got.op->fetch;
	return got.fetching && !got.op->fetch;
}

/* The files are ready: next what are devices is synced, then they get their names. */
static bool is_settled(void)
{
	return got.op->onto_devices;
}

/* In place of libc's: the n-th one from now on fails. */
static unsigned sync_fails_at;

int fsync(int fd)
{
	if (sync_fails_at && --sync_fails_at == 0) {
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}

static void on_event(const struct qmpsnap_event *event, void *data)
{
	(void)data;
	ck_assert_uint_eq(got.calls, 0);
	got.events++;
	got.done_bytes = event->done_bytes;
	got.total_bytes = event->total_bytes;
	if (got.cancel_at && event->done_bytes >= got.cancel_at)
		qmpsnap_images_cancel(got.op, QMPSNAP_INTERRUPTED);
}

static void on_done(const struct qmpsnap_error *failure, const char *json, void *data)
{
	(void)data;
	got.calls++;
	got.err = failure ? *failure : (struct qmpsnap_error){.code = QMPSNAP_OK};
	got.images = json_tokener_parse(json);
	ck_assert(json_object_is_type(got.images, json_type_array));
}

/* How many images were dealt with; got.err says how it ended. */
static size_t run(const struct qmpsnap_images_options *options)
{
	(void)json_object_put(got.images);
	const uint64_t cancel_at = got.cancel_at;
	const unsigned cancel_turn = got.cancel_turn;
	bool (*const is_turn)(void) = got.is_turn;
	memset(&got, 0, sizeof(got));
	got.cancel_at = cancel_at;
	got.cancel_turn = cancel_turn;
	got.is_turn = is_turn;
	got.op = qmpsnap_images_start(&loop, options, store, on_event, on_done, NULL, &err);
	if (!got.op) {
		got.err = err;
		return 0;
	}
	ck_assert_uint_eq(got.calls, 0);
	if (cancel_at == 1)
		qmpsnap_images_cancel(got.op, QMPSNAP_TERMINATED);
	while (got.calls == 0) {
		(void)uv_run(&loop, UV_RUN_ONCE);
		if (got.calls == 0 && got.is_turn && got.is_turn() &&
			++got.turns == got.cancel_turn)
			qmpsnap_images_cancel(got.op, QMPSNAP_INTERRUPTED);
	}
	ck_assert_uint_eq(got.calls, 1);
	return json_length(got.images);
}

static size_t act(enum qmpsnap_images_action action)
{
	static const char *const which[] = {KIT_ID};

	return run(&(struct qmpsnap_images_options){
		.action = action, .which = which, .n_which = 1, .folder = base});
}

static void clear(void)
{
	(void)json_object_put(got.images);
	memset(&got, 0, sizeof(got));
}

/* ---- A folder ----------------------------------------------------------------------------- */

static void put_image(
	const char *id, const char *set, const char *disk, uint64_t size_bytes, unsigned zero_every)
{
	struct store_image_spec spec;

	kit_spec(&spec);
	spec.id = id;
	spec.format = QMPSNAP_RAW;
	json_put_string(spec.properties, "qmpsnap_run", "abcdefghij");
	json_put_string(spec.properties, "qmpsnap_set", set);
	json_put_string(spec.properties, "qmpsnap_disk", disk);
	json_put_string(spec.properties, "qmpsnap_disks", disks);
	fake_stream_init(&stream, &loop, size_bytes);
	stream.zero_every = zero_every;
	struct store_image *image = kit_create(&loop, store, &spec, &err);
	ck_assert_msg(kit_put(&loop, image, &stream.base, &err), "%s", err.message);
	ck_assert_msg(kit_publish(&loop, image, &err), "%s", err.message);
	image->ops->close(image);
	(void)json_object_put(spec.properties);
}

static void fill(uint64_t size_bytes, unsigned zero_every, const char *set)
{
	base = kit_folder("/var/tmp");
	(void)snprintf(text, sizeof(text), "dir:%s/store", base);
	store = qmpsnap_store_open(&loop, text, NULL, &err);
	ck_assert_ptr_nonnull(store);
	put_image(KIT_ID, set, "vda", size_bytes, zero_every);
}

static void empty(void)
{
	clear();
	qmpsnap_store_close(store);
	kit_remove_folder(base);
}

static const char *path_of(const char *name)
{
	(void)snprintf(text, sizeof(text), "%s/%s", base, name);
	return text;
}

#define SET "6a1c2e0f-4b5d-4e6f-8a9b-0c1d2e3f4a5b"

static const struct {
	uint64_t size_bytes;
	unsigned zero_every;
} shapes[] = {{0, 0}, {1, 0}, {4096, 0}, {1 << 20, 0}, {20000001, 3}, {30000128, 0}, {16 << 20, 1}};

START_TEST(test_download)
{
	struct stat st, from;

	fill(shapes[_i].size_bytes, shapes[_i].zero_every, SET);
	ck_assert_uint_eq(act(QMPSNAP_IMAGES_DOWNLOAD), 1);
	ck_assert_msg(got.err.code == QMPSNAP_OK, "%s", got.err.message);
	ck_assert_uint_eq(got.done_bytes, shapes[_i].size_bytes);
	ck_assert_int_eq(stat(path_of(FILE_NAME ".raw"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_uint_eq((uint64_t)st.st_size, shapes[_i].size_bytes);
	ck_assert_int_eq(stat(path_of("store/" FILE_NAME ".raw"), &from), 0);
	ck_assert_int_le(st.st_blocks, from.st_blocks + 8); /* holes stay holes */
	struct json_object *image = json_object_array_get_idx(got.images, 0);
	ck_assert_str_eq(json_string(image, "path"), path_of(FILE_NAME ".raw"));
	ck_assert(fake_stream_equals_file(&stream, path_of(FILE_NAME ".raw")));
	ck_assert_int_eq(kit_count_files(base), 2);
	/* It isn't written over. */
	ck_assert_uint_eq(act(QMPSNAP_IMAGES_DOWNLOAD), 0);
	ck_assert_int_eq(got.err.code, QMPSNAP_REFUSED);
	ck_assert_uint_eq(act(QMPSNAP_IMAGES_VERIFY), 1);
	empty();
}
END_TEST

START_TEST(test_damaged)
{
	uint8_t byte = 0x5a;

	fill(3000000, 0, SET);
	const int fd = open(path_of("store/" FILE_NAME ".raw"), O_RDWR | O_CLOEXEC);
	if (_i == 0) {
		ck_assert_int_eq(pread(fd, &byte, 1, 2000000), 1);
		byte ^= 1;
		ck_assert_int_eq(pwrite(fd, &byte, 1, 2000000), 1);
	} else {
		ck_assert_int_eq(ftruncate(fd, _i == 1 ? 2999999 : 3000001), 0);
	}
	(void)close(fd);
	ck_assert_uint_eq(act(QMPSNAP_IMAGES_DOWNLOAD), 0);
	ck_assert_int_eq(got.err.code, QMPSNAP_STORE);
	ck_assert_int_eq(kit_count_files(base), 1); /* only the store */
	ck_assert_uint_eq(act(QMPSNAP_IMAGES_VERIFY), 0);
	ck_assert_int_eq(got.err.code, QMPSNAP_STORE);
	empty();
}
END_TEST

START_TEST(test_cancel)
{
	static const uint64_t at[] = {1, 2, 5 << 20};

	fill(30 << 20, 0, SET);
	got.cancel_at = at[_i];
	ck_assert_uint_eq(act(QMPSNAP_IMAGES_DOWNLOAD), 0);
	ck_assert_int_eq(got.err.code, _i ? QMPSNAP_INTERRUPTED : QMPSNAP_TERMINATED);
	ck_assert_int_eq(kit_count_files(base), 1);
	empty();
}
END_TEST

/* ---- A set that goes back whole or not at all --------------------------------------------- */

enum { RESTORED_BYTES = 3000000 };

static void write_old(const char *name)
{
	FILE *file = fopen(path_of(name), "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs("old", file), 0);
	ck_assert_int_eq(fclose(file), 0);
}

/* Two disks over what is there. */
static void restore_two(void)
{
	static const char *const which[] = {SET};
	char a[600], b[600];
	const char *const targets[] = {a, b};

	write_old("a");
	write_old("b");
	(void)snprintf(a, sizeof(a), "vda=%s/a", base);
	(void)snprintf(b, sizeof(b), "vdb=%s/b", base);
	(void)run(&(struct qmpsnap_images_options){.action = QMPSNAP_IMAGES_RESTORE,
		.which = which,
		.n_which = 1,
		.targets = targets,
		.n_targets = 2,
		.force = true,
		.scratch_dir = base});
}

static bool is_new(const char *name)
{
	struct stat st;

	ck_assert_int_eq(stat(path_of(name), &st), 0);
	return st.st_size == RESTORED_BYTES;
}

static void fill_two(void)
{
	fill(RESTORED_BYTES, 0, SET);
	put_image("9a1c2e0f-4b5d-4e6f-8a9b-0c1d2e3f4a5b", SET, "vdb", RESTORED_BYTES, 0);
}

/* A disk that is full shows at the latest when the files are synced. */
START_TEST(test_restore_sync_fails)
{
	unsigned failed = 0;

	fill_two();
	for (unsigned n = 1; n <= 8; n++) {
		sync_fails_at = n;
		restore_two();
		sync_fails_at = 0;
		failed += got.err.code != QMPSNAP_OK;
		ck_assert_int_eq(is_new("a"), got.err.code == QMPSNAP_OK);
		ck_assert_int_eq(is_new("b"), got.err.code == QMPSNAP_OK);
		ck_assert_int_eq(kit_count_files(base), 3);
	}
	ck_assert_uint_eq(failed, 4); /* both as they came, both as they will stand there */
	empty();
}
END_TEST

/* Who is told that it was given up finds all as it was; who comes too late is told that it's done.
 */
START_TEST(test_restore_cancelled)
{
	fill_two();
	got.cancel_turn = (unsigned)_i + 1;
	got.is_turn = _i < 8 ? is_any : is_settled;
	got.cancel_turn -= _i < 8 ? 0 : 8;
	restore_two();
	ck_assert_int_eq(got.err.code, _i < 9 ? QMPSNAP_INTERRUPTED : QMPSNAP_OK);
	ck_assert_int_eq(is_new("a"), got.err.code == QMPSNAP_OK);
	ck_assert_int_eq(is_new("b"), got.err.code == QMPSNAP_OK);
	ck_assert_uint_eq(json_length(got.images), got.err.code == QMPSNAP_OK ? 2 : 0);
	empty();
}
END_TEST

static bool is_incomplete(void)
{
	ck_assert_uint_ge(run(&(struct qmpsnap_images_options){.set = SET}), 1);
	struct json_object *image = json_object_array_get_idx(got.images, 0);
	ck_assert_ptr_nonnull(json_member(image, "incomplete", json_type_boolean));
	return json_flag(image, "incomplete", false);
}

static void restore_one(const char *what)
{
	const char *const which[] = {what};
	char a[600];
	const char *const targets[] = {a};

	(void)snprintf(a, sizeof(a), "%s/a", base);
	(void)run(&(struct qmpsnap_images_options){.action = QMPSNAP_IMAGES_RESTORE,
		.which = which,
		.n_which = 1,
		.targets = targets,
		.n_targets = 1,
		.force = true,
		.scratch_dir = base});
}

/* What is there of a set isn't put back for all of it, unless it is meant by its own name. */
START_TEST(test_restore_half)
{
	static const char *const names[] = {KIT_ID, "web/1"};

	disks = "2";
	fill(RESTORED_BYTES, 0, SET);
	write_old("a");
	restore_one(SET);
	ck_assert_int_eq(got.err.code, QMPSNAP_REFUSED);
	ck_assert_ptr_nonnull(strstr(got.err.message, "of the 2 images of set " SET " only 1 "));
	ck_assert(!is_new("a"));
	ck_assert(is_incomplete());
	restore_one(names[_i]);
	ck_assert_msg(got.err.code == QMPSNAP_OK, "%s", got.err.message);
	ck_assert(is_new("a"));
	put_image("9a1c2e0f-4b5d-4e6f-8a9b-0c1d2e3f4a5b", SET, "vdb", RESTORED_BYTES, 0);
	ck_assert(!is_incomplete());
	restore_two();
	ck_assert_msg(got.err.code == QMPSNAP_OK, "%s", got.err.message);
	ck_assert(is_new("b"));
	empty();
}
END_TEST

START_TEST(test_download_cancelled)
{
	fill(4096, 0, SET);
	got.cancel_turn = 1;
	got.is_turn = _i ? is_fetched : is_any;
	(void)act(QMPSNAP_IMAGES_DOWNLOAD);
	ck_assert_int_eq(got.err.code, _i ? QMPSNAP_OK : QMPSNAP_INTERRUPTED);
	ck_assert_int_eq(access(path_of(FILE_NAME ".raw"), F_OK) == 0, _i);
	empty();
}
END_TEST

START_TEST(test_delete)
{
	fill(4096, 0, SET);
	ck_assert_uint_eq(act(QMPSNAP_IMAGES_DELETE), 1);
	ck_assert_int_eq(got.err.code, QMPSNAP_OK);
	ck_assert_int_eq(kit_count_files(path_of("store")), 0);
	ck_assert_uint_eq(act(QMPSNAP_IMAGES_DELETE), 0);
	ck_assert_int_eq(got.err.detail, 404);
	/* All of a store is never meant by saying nothing. */
	ck_assert_uint_eq(
		run(&(struct qmpsnap_images_options){.action = QMPSNAP_IMAGES_DELETE}), 0);
	ck_assert_int_eq(got.err.code, QMPSNAP_USAGE);
	empty();
}
END_TEST

/* Files that lie about whom they belong to. */
START_TEST(test_strange_files)
{
	static const char *const names[] = {
		"x.json", ".web_1-" KIT_ID ".json", "y-" KIT_ID ".json"};
	static const char *const texts[] = {"{\"id\": \"" KIT_ID "\", \"disk_format\": \"raw\"}",
		"{\"id\": \"../../" KIT_ID "\"}", "[", "",
		"{\"id\": \"" KIT_ID "\", \"disk_format\": \"../x\"}"};
	FILE *file;

	fill(4096, 0, SET);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		for (size_t j = 0; j < sizeof(texts) / sizeof(texts[0]); j++) {
			char name[300];
			(void)snprintf(name, sizeof(name), "store/%s", names[i]);
			file = fopen(path_of(name), "w");
			ck_assert_ptr_nonnull(file);
			(void)fputs(texts[j], file);
			(void)fclose(file);
			ck_assert_uint_eq(run(&(struct qmpsnap_images_options){.all = true}), 1);
		}
	}
	/* A link out of the folder is no image. */
	ck_assert_int_eq(unlink(path_of("store/" FILE_NAME ".raw")), 0);
	ck_assert_int_eq(symlink("/etc/passwd", path_of("store/" FILE_NAME ".raw")), 0);
	ck_assert_uint_eq(run(&(struct qmpsnap_images_options){.all = true}), 0);
	ck_assert_int_eq(got.err.code, QMPSNAP_OK);
	empty();
}
END_TEST

static bool take_nothing(struct shelf_sink *sink, const void *bytes, size_t len)
{
	(void)sink;
	(void)bytes;
	ck_abort_msg("%zu bytes", len);
	return true;
}

static void on_fetched(const struct qmpsnap_error *failure, void *data)
{
	struct qmpsnap_error *end = data;

	*end = failure ? *failure : (struct qmpsnap_error){.code = QMPSNAP_OK};
	got.calls++;
}

/* What stands there is no regular file any more when it is opened. */
START_TEST(test_swapped)
{
	struct json_object *record = json_object_new_object();
	struct shelf_sink sink = {.take = take_nothing};
	struct qmpsnap_error end;

	fill(4096, 0, SET);
	ck_assert_int_eq(unlink(path_of("store/" FILE_NAME ".raw")), 0);
	ck_assert_int_eq(mkfifo(text, 0600), 0);
	json_put_string(record, "location", text);
	ck_assert_ptr_nonnull(
		store->ops->shelf->fetch(store, record, &sink, on_fetched, &end, &err));
	while (got.calls == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	ck_assert_int_eq(end.code, QMPSNAP_STORE);
	ck_assert_ptr_nonnull(strstr(end.message, "is not a regular file"));
	(void)json_object_put(record);
	empty();
}
END_TEST

START_TEST(test_no_shelf)
{
	store = qmpsnap_store_open(&loop, "file:/tmp/x", NULL, &err);
	ck_assert_uint_eq(run(&(struct qmpsnap_images_options){.all = true}), 0);
	ck_assert_int_eq(got.err.code, QMPSNAP_USAGE);
	clear();
	qmpsnap_store_close(store);
}
END_TEST

/* ---- Glance ------------------------------------------------------------------------------- */

#define ID(n)    "0f7a1c2e-4b5d-4e6f-8a9b-0c1d2e3f000" n
#define LIST     "GET /v2/images?limit=50"
#define IMAGE(n) "{\"id\": \"" ID(n) "\", \"status\": \"active\"}"
#define MORE     ", \"next\": \"/v2/images?marker=x\""
#define AFTER(n) LIST "&marker=" ID(n) " "

static struct fake_http server;

static void serve(struct fake_exchange *script, unsigned n)
{
	fake_http_start(&server, &loop, script, n);
	(void)snprintf(text, sizeof(text), "glance:%s", server.url);
	store = qmpsnap_store_open(&loop, text, NULL, &err);
	((struct glance_store *)store)->wait_ms = 4;
	((struct glance_store *)store)->tries = 3;
}

static void stop_serving(void)
{
	clear();
	qmpsnap_store_close(store);
	fake_http_stop(&server, true);
}

START_TEST(test_pages)
{
	struct fake_exchange script[] = {
		{LIST " ", .status = 200,
			.body = "{\"images\": [" IMAGE("1") "," IMAGE("2") "]" MORE "}"},
		{AFTER("2"), .status = 503, .body = "later"},
		{AFTER("2"), .status = 200,
			.body = "{\"images\": [{\"id\": \"../evil\"}," IMAGE("3") "]" MORE "}"},
		{AFTER("3"), .status = 200, .body = "{\"images\": []}"},
	};

	serve(script, 4);
	ck_assert_uint_eq(run(&(struct qmpsnap_images_options){.all = true}), 3);
	ck_assert_msg(got.err.code == QMPSNAP_OK, "%s", got.err.message);
	const char *location = json_string(json_object_array_get_idx(got.images, 2), "location");
	ck_assert_ptr_nonnull(strstr(location, "/v2/images/" ID("3")));
	stop_serving();
}
END_TEST

/* A service that gives the same page for ever. */
START_TEST(test_endless)
{
	struct fake_exchange script[] = {
		{LIST " ", .status = 200, .body = "{\"images\": [" IMAGE("1") "]" MORE "}"},
		{AFTER("1"), .status = 200, .body = "{\"images\": [" IMAGE("1") "]" MORE "}"},
	};

	serve(script, 2);
	ck_assert_uint_eq(run(&(struct qmpsnap_images_options){.all = true}), 2);
	stop_serving();
}
END_TEST

static char long_body[HTTP_REPLY_BYTES + 2];

#define FEWER(n) "GET /v2/images?limit=" n
#define TOO_LONG .status = 200, .body = long_body

/* Images with so many properties that a page of them is too long come in smaller ones. */
START_TEST(test_long_pages)
{
	struct fake_exchange script[] = {
		{LIST " ", TOO_LONG},
		{FEWER("25 "), .status = 200, .body = "{\"images\": [" IMAGE("1") "]" MORE "}"},
		{FEWER("25&marker=" ID("1") " "), TOO_LONG},
		{FEWER("12&marker=" ID("1") " "), .status = 200,
			.body = "{\"images\": [" IMAGE("2") "]}"},
		{LIST " ", TOO_LONG},
		{FEWER("25 "), TOO_LONG},
		{FEWER("12 "), TOO_LONG},
		{FEWER("6 "), TOO_LONG},
		{FEWER("3 "), TOO_LONG},
		{FEWER("1 "), TOO_LONG},
	};

	memset(long_body, ' ', sizeof(long_body) - 1);
	serve(script, 10);
	ck_assert_uint_eq(run(&(struct qmpsnap_images_options){.all = true}), 2);
	ck_assert_msg(got.err.code == QMPSNAP_OK, "%s", got.err.message);
	ck_assert_uint_eq(run(&(struct qmpsnap_images_options){.all = true}), 0);
	ck_assert_int_eq(got.err.code, QMPSNAP_STORE);
	ck_assert_ptr_nonnull(strstr(got.err.message, "longer than"));
	stop_serving();
}
END_TEST

/* In place of SHELF_MOST_IMAGES. */
static bool take_two(void)
{
	if (got.op->call)
		((struct shelf_op *)got.op->call)->most_images = 2;
	return false;
}

static void assert_too_many(void)
{
	got.is_turn = take_two;
	ck_assert_uint_eq(run(&(struct qmpsnap_images_options){.all = true}), 0);
	ck_assert_int_eq(got.err.code, QMPSNAP_STORE);
	ck_assert_ptr_nonnull(strstr(got.err.message, "more than 2 images"));
}

/* A list that is cut off would pass for all there is. */
START_TEST(test_too_many)
{
	struct fake_exchange script[] = {
		{LIST " ", .status = 200,
			.body = "{\"images\": [" IMAGE("1") "," IMAGE("2") "]" MORE "}"},
		{AFTER("2"), .status = 200, .body = "{\"images\": [" IMAGE("3") "]" MORE "}"},
		{LIST " ", .status = 200, .body = "{\"images\": [" IMAGE("1") "," IMAGE("2") "]}"},
	};

	serve(script, 3);
	assert_too_many();
	got.is_turn = take_two;
	ck_assert_uint_eq(run(&(struct qmpsnap_images_options){.all = true}), 2);
	stop_serving();
}
END_TEST

START_TEST(test_narrowed)
{
	struct fake_exchange script[] = {
		{LIST "&qmpsnap_set=a%26b&tag=x%20y ", .status = 200, .body = "{\"images\": []}"},
		/* A list says which sets are incomplete, whichever of their images have the tag. */
		{LIST "&qmpsnap_set=a%26b ", .status = 200, .body = "{\"images\": []}"},
		{LIST " ", .status = 200, .body = "{\"what\": 1}"},
	};
	struct qmpsnap_images_options options = {
		.action = QMPSNAP_IMAGES_VERIFY, .set = "a&b", .tag = "x y"};

	serve(script, 3);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_uint_eq(run(&options), 0);
		ck_assert_msg(got.err.code == QMPSNAP_OK, "%s", got.err.message);
		options.action = QMPSNAP_IMAGES_LIST;
	}
	ck_assert_uint_eq(run(&(struct qmpsnap_images_options){.all = true}), 0);
	ck_assert_int_eq(got.err.code, QMPSNAP_STORE);
	stop_serving();
}
END_TEST

/* ---- Objects ------------------------------------------------------------------------------ */

#define NAMES     "GET /bucket/?list-type=2&max-keys=500&prefix=pre%2F"
#define NAME(one) "<Contents><Key>pre/" one "</Key></Contents>"
#define RECORD(n) "{\"id\": \"" ID(n) "\", \"name\": \"" n "\", \"disk_format\": \"qcow2\"}"

static void serve_objects(struct fake_exchange *script, unsigned n)
{
	fake_http_start(&server, &loop, script, n);
	ck_assert_int_eq(setenv("AWS_ENDPOINT_URL", server.url, 1), 0);
	ck_assert_int_eq(setenv("AWS_ACCESS_KEY_ID", "user", 1), 0);
	ck_assert_int_eq(setenv("AWS_SECRET_ACCESS_KEY", "hush", 1), 0);
	store = qmpsnap_store_open(&loop, "s3://bucket/pre", NULL, &err);
	ck_assert_ptr_nonnull(store);
	remote_of(store)->wait_ms = 4;
	remote_of(store)->tries = 3;
}

static unsigned warnings;

static void count_warning(enum qmpsnap_log_level level, const char *message, void *data)
{
	(void)data;
	if (level != QMPSNAP_LOG_WARNING)
		return;
	ck_assert_ptr_nonnull(strstr(message, "pre/3-" ID("3") ".json is there"));
	warnings++;
}

/* A JSON is one of an image whose bytes are listed, too, if need be on the next page. */
START_TEST(test_objects)
{
	struct fake_exchange script[] = {
		{NAMES " ", .status = 200,
			.body = "<ListBucketResult>" NAME("1-" ID("1") ".json")
				NAME("1-" ID("1") ".qcow2") NAME("1-" ID("1") ".vmdk")
					NAME("2-" ID("2") ".json") "</ListBucketResult>"},
		{"GET /bucket/pre/1-" ID("1") ".json ", .status = 200, .body = RECORD("1")},
		{"GET /bucket/pre/1-" ID("1") ".json ", .status = 200, .body = RECORD("1")},
		{NAMES "&start-after=pre%2F2-" ID("2") ".json ", .status = 200,
			.body = "<ListBucketResult>" NAME("2-" ID("2") ".json.old")
				NAME("2-" ID("2") ".qcow2") NAME("2-" ID("2") ".qcow2/1.json")
					NAME("3-" ID("3") ".json") NAME("others.json")
						NAME("z-" ID("3") ".raw") "</ListBucketResult>"},
		{"GET /bucket/pre/2-" ID("2") ".json ", .status = 200, .body = RECORD("2")},
		{NAMES "&start-after=pre%2Fz-" ID("3") ".raw ", .status = 200,
			.body = "<ListBucketResult/>"},
	};

	warnings = 0;
	qmpsnap_log_to(QMPSNAP_LOG_WARNING, count_warning, NULL);
	serve_objects(script, 6);
	ck_assert_uint_eq(run(&(struct qmpsnap_images_options){.all = true}), 2);
	ck_assert_msg(got.err.code == QMPSNAP_OK, "%s", got.err.message);
	ck_assert_str_eq(json_string(json_object_array_get_idx(got.images, 1), "location"),
		"s3://bucket/pre/2-" ID("2") ".qcow2");
	ck_assert_uint_eq(warnings, 1);
	stop_serving();
}
END_TEST

START_TEST(test_too_many_objects)
{
	struct fake_exchange script[] = {
		{NAMES " ", .status = 200,
			.body = "<ListBucketResult>" NAME("1-" ID("1") ".json")
				NAME("1-" ID("1") ".qcow2") NAME("2-" ID("2") ".json")
					NAME("2-" ID("2") ".qcow2") NAME("3-" ID("3") ".json")
						NAME("3-" ID("3") ".qcow2") "</ListBucketResult>"},
		{"GET /bucket/pre/1-" ID("1") ".json ", .status = 200, .body = RECORD("1")},
		{"GET /bucket/pre/2-" ID("2") ".json ", .status = 200, .body = RECORD("2")},
		{"GET /bucket/pre/3-" ID("3") ".json ", .status = 200, .body = RECORD("3")},
	};

	serve_objects(script, 4);
	assert_too_many();
	stop_serving();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("images");
	TCase *tcase = tcase_create("images");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, loop_setup, loop_teardown);
	tcase_add_loop_test(tcase, test_download, 0, sizeof(shapes) / sizeof(shapes[0]));
	tcase_add_loop_test(tcase, test_damaged, 0, 3);
	tcase_add_loop_test(tcase, test_cancel, 0, 3);
	tcase_add_test(tcase, test_restore_sync_fails);
	tcase_add_loop_test(tcase, test_restore_cancelled, 0, 10);
	tcase_add_loop_test(tcase, test_restore_half, 0, 2);
	tcase_add_loop_test(tcase, test_download_cancelled, 0, 2);
	tcase_add_test(tcase, test_delete);
	tcase_add_test(tcase, test_strange_files);
	tcase_add_test(tcase, test_swapped);
	tcase_add_test(tcase, test_no_shelf);
	tcase_add_test(tcase, test_pages);
	tcase_add_test(tcase, test_endless);
	tcase_add_test(tcase, test_narrowed);
	tcase_add_test(tcase, test_objects);
	tcase_add_test(tcase, test_long_pages);
	tcase_add_test(tcase, test_too_many);
	tcase_add_test(tcase, test_too_many_objects);
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)

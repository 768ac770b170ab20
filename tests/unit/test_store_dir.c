/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "fake_stream.h"
#include "fixture.h"
#include "store_kit.h"
#include "suite.h"
#include "upload/temp.h"
#include "upload/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STEM "web_1-" KIT_ID

static struct qmpsnap_store *store;
static struct store_image_spec spec;
static struct qmpsnap_error err;
static char *base; /* a folder of the test's */
static char folder[256]; /* the store's, below it */

static void nothing(void *data)
{
	(void)data;
}

static void open_store(const char *parent, bool buffered)
{
	const struct qmpsnap_store_options options = {.buffered_writes = buffered};
	char text[300];

	base = kit_folder(parent);
	(void)snprintf(folder, sizeof(folder), "%s/a/b", base);
	(void)snprintf(text, sizeof(text), "dir:%s/", folder);
	store = qmpsnap_store_open(&loop, text, &options, &err);
	ck_assert_ptr_nonnull(store);
	kit_spec(&spec);
}

static void close_store(void)
{
	qmpsnap_store_close(store);
	(void)json_object_put(spec.properties);
	kit_remove_folder(base);
}

static const char *path_of(const char *end)
{
	static char path[512];

	(void)snprintf(path, sizeof(path), "%s/" STEM "%s", folder, end);
	return path;
}

static void check_mode(const char *path, mode_t mode)
{
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, mode);
}

static void check_json(const struct fake_stream *stream, const char *format)
{
	struct json_object *json = json_object_from_file(path_of(".json"));
	char hex[129];

	ck_assert_ptr_nonnull(json);
	fake_stream_digest(stream, "sha256", hex);
	ck_assert_str_eq(json_string(json, "id"), KIT_ID);
	ck_assert_str_eq(json_string(json, "name"), "web/1");
	ck_assert_str_eq(json_string(json, "disk_format"), format);
	ck_assert_str_eq(json_string(json, "os_hash_algo"), "sha256");
	ck_assert_str_eq(json_string(json, "os_hash_value"), hex);
	ck_assert_int_eq(json_int(json, "size", -1), (int64_t)stream->base.size_bytes);
	ck_assert_int_eq(json_int(json, "virtual_size", -1), 1 << 30);
	ck_assert_str_eq(json_string(json, "qmpsnap_guest"), "web");
	ck_assert_str_eq(json_string(json, "image_type"), "snapshot");
	ck_assert_str_eq(json_string(json, "qmpsnap_instant"), KIT_INSTANT);
	ck_assert_str_eq(json_string(json, "qmpsnap_consistency"), KIT_CONSISTENCY);
	ck_assert_str_eq(json_string(json, "qmpsnap_verified"), "true");
	ck_assert_ptr_nonnull(json_string(json, "created_at"));
	(void)json_object_put(json);
}

static const struct {
	uint64_t size_bytes;
	uint32_t block_bytes;
	unsigned ring_blocks, zero_every;
	enum qmpsnap_format format;
	const char *parent;
	bool buffered;
} shapes[] = {
	{1, 65536, 8, 0, QMPSNAP_QCOW2, "/var/tmp", false},
	{4096, 65536, 8, 0, QMPSNAP_QCOW2, "/var/tmp", false},
	{327680, 65536, 2, 0, QMPSNAP_QCOW2, "/var/tmp", false},
	{20000001, 65536, 32, 0, QMPSNAP_QCOW2, "/var/tmp", false},
	{20000001, 65536, 32, 3, QMPSNAP_QCOW2, "/var/tmp", false},
	{20000001, 65536, 32, 0, QMPSNAP_QCOW2, "/var/tmp", true},
	{20000001, 1 << 20, 4, 0, QMPSNAP_QCOW2, "/var/tmp", false},
	{20000001, 65536, 32, 0, QMPSNAP_QCOW2, "/dev/shm", false},
	{20000512, 65536, 32, 3, QMPSNAP_RAW, "/var/tmp", false},
	{6553600, 65536, 32, 2, QMPSNAP_RAW, "/dev/shm", true},
	{19660800, 65536, 32, 1, QMPSNAP_RAW, "/var/tmp", false}, /* nothing but zeroes */
	{0, 65536, 8, 0, QMPSNAP_RAW, "/var/tmp", false},
};

START_TEST(test_publish)
{
	const bool raw = shapes[_i].format == QMPSNAP_RAW;
	const char *const end = raw ? ".raw" : ".qcow2";
	struct fake_stream stream;
	struct stat st;

	open_store(shapes[_i].parent, shapes[_i].buffered);
	spec.format = shapes[_i].format;
	fake_stream_init(&stream, &loop, shapes[_i].size_bytes);
	stream.base.block_bytes = shapes[_i].block_bytes;
	stream.ring_blocks = shapes[_i].ring_blocks;
	stream.zero_every = shapes[_i].zero_every;

	struct store_image *image = kit_create(&loop, store, &spec, &err);
	ck_assert_msg(image && err.code == QMPSNAP_OK, "%s", err.message);
	ck_assert_str_eq(image->location, path_of(end));
	check_mode(base, 0700);
	check_mode(folder, 0700);
	ck_assert_msg(kit_put(&loop, image, &stream.base, &err), "%s", err.message);
	ck_assert_uint_eq(image->size_bytes, shapes[_i].size_bytes);
	/* Nothing stands there yet, not even under another name. */
	ck_assert_int_eq(kit_count_files(folder), 0);
	ck_assert_msg(kit_publish(&loop, image, &err), "%s", err.message);
	image->ops->close(image);

	ck_assert_int_eq(kit_count_files(folder), 2);
	ck_assert(fake_stream_equals_file(&stream, path_of(end)));
	check_mode(path_of(end), 0600);
	check_mode(path_of(".json"), 0600);
	check_json(&stream, raw ? "raw" : "qcow2");
	ck_assert_int_eq(stat(path_of(end), &st), 0);
	if (raw && shapes[_i].zero_every > 0)
		ck_assert_int_lt(st.st_blocks * 512, (int64_t)shapes[_i].size_bytes * 3 / 4);
	close_store();
}
END_TEST

START_TEST(test_discard_any_time)
{
	struct fake_stream stream;

	open_store("/var/tmp", false);
	fake_stream_init(&stream, &loop, 3 << 20);
	struct store_image *image = kit_create(&loop, store, &spec, &err);
	if (_i >= 1)
		ck_assert(kit_put(&loop, image, &stream.base, &err));
	if (_i >= 2)
		ck_assert(kit_publish(&loop, image, &err));
	ck_assert(kit_discard(&loop, image, &err));
	ck_assert_int_eq(kit_count_files(folder), 0);
	ck_assert(kit_discard(&loop, image, &err));
	ck_assert(kit_discard_left(&loop, store, &spec, &err));
	image->ops->close(image);
	close_store();
}
END_TEST

START_TEST(test_put_again_after_failure)
{
	struct fake_stream stream;

	open_store("/var/tmp", false);
	fake_stream_init(&stream, &loop, 3 << 20);
	stream.fail_at = 2 << 20;
	struct store_image *image = kit_create(&loop, store, &spec, &err);
	ck_assert(!kit_put(&loop, image, &stream.base, &err));
	ck_assert_int_eq(err.code, QMPSNAP_VIEW);
	ck_assert_uint_eq(image->size_bytes, 0);
	ck_assert_uint_eq(stream.open, 0);
	stream.fail_at = 0;
	ck_assert(kit_put(&loop, image, &stream.base, &err));
	ck_assert(kit_publish(&loop, image, &err));
	ck_assert(fake_stream_equals_file(&stream, path_of(".qcow2")));
	image->ops->close(image);
	close_store();
}
END_TEST

/* stop() at many moments: an error soon, nothing left, no block in use after it. */
START_TEST(test_stop)
{
	struct outcome outcome = {.calls = 0};
	struct fake_stream stream;

	open_store("/var/tmp", false);
	fake_stream_init(&stream, &loop, (uint64_t)1 << 40);
	struct store_image *image = kit_create(&loop, store, &spec, &err);
	spec.format = QMPSNAP_RAW; /* a size that can't be reserved */
	struct store_image *large = kit_create(&loop, store, &spec, &err);
	large->ops->put(
		large, &stream.base, &kit_instant, outcome_progress, outcome_done, &outcome);
	for (int i = 0; i < _i * 3; i++)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	large->ops->stop(large);
	large->ops->stop(large);
	ck_assert(!outcome_wait(&loop, &outcome));
	ck_assert_int_eq(outcome.err.code, QMPSNAP_STORE);
	ck_assert_uint_eq(stream.open, 0);
	large->ops->close(large);
	image->ops->close(image);
	ck_assert_int_eq(kit_count_files(folder), 0);
	close_store();
}
END_TEST

static void refuse_too_large(void)
{
	struct fake_stream stream;

	open_store("/var/tmp", false);
	fake_stream_init(&stream, &loop, (uint64_t)1 << 50);
	struct store_image *image = kit_create(&loop, store, &spec, &err);
	ck_assert(!kit_put(&loop, image, &stream.base, &err));
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	ck_assert_int_eq(err.detail, ENOSPC);
	ck_assert_uint_eq(stream.opened, 0);
	image->ops->close(image);
	close_store();
}

START_TEST(test_too_large_is_refused_at_once)
{
	refuse_too_large();
}
END_TEST

/* A file system that becomes full in the middle: sparse, so nothing was reserved. */
START_TEST(test_disk_full)
{
	struct fake_stream stream;

	char *mounted = kit_folder("/var/tmp");
	if (mount("none", mounted, "tmpfs", 0, "size=8m") != 0) {
		/* No file system of our own: then by what the one that is there can't hold. */
		kit_remove_folder(mounted);
		refuse_too_large();
		return;
	}
	open_store(mounted, false);
	spec.format = QMPSNAP_RAW;
	fake_stream_init(&stream, &loop, 16 << 20);
	struct store_image *image = kit_create(&loop, store, &spec, &err);
	const bool well = kit_put(&loop, image, &stream.base, &err);
	const struct qmpsnap_error why = err;
	const bool discarded = kit_discard(&loop, image, &err);
	image->ops->close(image);
	close_store();
	ck_assert_int_eq(umount(mounted), 0);
	kit_remove_folder(mounted);
	ck_assert(!well && discarded);
	ck_assert_int_eq(why.code, QMPSNAP_STORE);
	ck_assert_int_eq(why.detail, ENOSPC);
}
END_TEST

START_TEST(test_folder_cannot_be_made)
{
	open_store("/var/tmp", false);
	char path[300];
	(void)snprintf(path, sizeof(path), "%s/a", base);
	const int fd = open(path, O_CREAT | O_WRONLY, 0600); /* in the way */
	ck_assert_int_ge(fd, 0);
	(void)close(fd);
	struct store_image *image = kit_create(&loop, store, &spec, &err);
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	ck_assert_ptr_nonnull(strstr(err.message, folder));
	ck_assert(kit_discard(&loop, image, &err));
	image->ops->close(image);
	close_store();
}
END_TEST

START_TEST(test_bad_properties)
{
	static const char *const taken[] = {"id", "size", "os_hash_value", "os_glance_x", ""};

	open_store("/var/tmp", false);
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		json_put_string(spec.properties, taken[i], "x");
		ck_assert_ptr_null(kit_create(&loop, store, &spec, &err));
		ck_assert_int_eq(err.code, QMPSNAP_USAGE);
		json_object_object_del(spec.properties, taken[i]);
	}
	json_put_int(spec.properties, "number", 1);
	ck_assert_ptr_null(kit_create(&loop, store, &spec, &err));
	ck_assert_int_eq(err.code, QMPSNAP_USAGE);
	close_store();
}
END_TEST

/* A stream whose length O_DIRECT can't write needs no buffered writes. */
START_TEST(test_direct_stays)
{
	struct outcome outcome = {.calls = 0};
	struct fake_stream stream;
	struct temp temp;

	base = kit_folder("/var/tmp");
	fake_stream_init(&stream, &loop, 1000001);
	ck_assert(temp_open(&temp, base, "x", true, &err));
	const struct pump_options from = {.loop = &loop, .stream = &stream.base};
	const struct writer_options to = {
		.loop = &loop, .fd = temp.fd, .direct = temp.direct, .path = base};
	struct pump *pump = pump_open(&from, &err);
	ck_assert_ptr_nonnull(writer_start(&to, pump, outcome_done, &outcome, &err));
	ck_assert_msg(outcome_wait(&loop, &outcome), "%s", outcome.err.message);
	ck_assert_int_eq((fcntl(temp.fd, F_GETFL) & O_DIRECT) != 0, temp.direct);
	pump_close(pump, nothing, NULL);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	temp_drop(&temp);
	kit_remove_folder(base);
}
END_TEST

/* ---- SIGKILL ----------------------------------------------------------------------------- */

/* The child: tells when all is written and only publish() is left. */
static void make_image_and_wait(int tell)
{
	struct fake_stream stream;
	char text[300];

	qmpsnap_store_close(store);
	ck_assert_int_eq(uv_loop_init(&loop), 0);
	(void)snprintf(text, sizeof(text), "dir:%s", folder);
	store = qmpsnap_store_open(&loop, text, NULL, &err);
	fake_stream_init(&stream, &loop, 2 << 20);
	struct store_image *image = kit_create(&loop, store, &spec, &err);
	if (image && kit_put(&loop, image, &stream.base, &err)) {
		ck_assert_int_eq(write(tell, "x", 1), 1);
		(void)kit_publish(&loop, image, &err);
	}
	for (;;)
		(void)pause();
}

/* A process killed at any instant, before publish() (even rounds) or in it, leaves nothing, or a
 * complete image, or what discard_left() removes; and never metadata without its image. */
START_TEST(test_kill)
{
	struct fake_stream stream;
	int status, ends[2];
	char byte;

	open_store("/var/tmp", false);
	fake_stream_init(&stream, &loop, 2 << 20);
	ck_assert_int_eq(pipe(ends), 0);
	const pid_t child = fork();
	if (child == 0)
		make_image_and_wait(ends[1]);
	ck_assert_int_gt(child, 0);
	if (_i % 2)
		ck_assert_int_eq(read(ends[0], &byte, 1), 1);
	(void)usleep((useconds_t)(_i % 2 ? _i * 100 : _i * _i * 20));
	ck_assert_int_eq(kill(child, SIGKILL), 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	(void)close(ends[0]);
	(void)close(ends[1]);
	if (access(path_of(".json"), F_OK) == 0) {
		ck_assert(fake_stream_equals_file(&stream, path_of(".qcow2")));
		check_json(&stream, "qcow2");
	}
	ck_assert_msg(kit_discard_left(&loop, store, &spec, &err), "%s", err.message);
	ck_assert_int_le(kit_count_files(folder), 0);
	close_store();
}
END_TEST

/* All that any version of the sequence could leave behind. */
START_TEST(test_discard_left_removes_all_names)
{
	static const char *const ends[] = {".qcow2", ".json"};
	static const char *const hidden[] = {".part", ".json.part"};
	char path[512];

	open_store("/var/tmp", false);
	struct store_image *image = kit_create(&loop, store, &spec, &err);
	for (size_t i = 0; i < 2; i++) {
		const int plain = open(path_of(ends[i]), O_CREAT | O_WRONLY, 0600);
		(void)snprintf(path, sizeof(path), "%s/." STEM "%s", folder, hidden[i]);
		const int dotted = open(path, O_CREAT | O_WRONLY, 0600);
		ck_assert(plain >= 0 && dotted >= 0);
		(void)close(plain);
		(void)close(dotted);
	}
	(void)snprintf(path, sizeof(path), "%s/other", folder);
	(void)close(open(path, O_CREAT | O_WRONLY, 0600));
	ck_assert_int_eq(kit_count_files(folder), 5);
	ck_assert(kit_discard_left(&loop, store, &spec, &err));
	ck_assert_int_eq(kit_count_files(folder), 1);
	image->ops->close(image);
	close_store();
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("store_dir");
	TCase *c = tcase_create("store_dir");

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, loop_setup, loop_teardown);
	tcase_add_loop_test(c, test_publish, 0, (int)(sizeof(shapes) / sizeof(shapes[0])));
	tcase_add_loop_test(c, test_discard_any_time, 0, 3);
	tcase_add_test(c, test_put_again_after_failure);
	tcase_add_loop_test(c, test_stop, 0, 10);
	tcase_add_test(c, test_too_large_is_refused_at_once);
	tcase_add_test(c, test_disk_full);
	tcase_add_test(c, test_folder_cannot_be_made);
	tcase_add_test(c, test_bad_properties);
	tcase_add_test(c, test_direct_stays);
	tcase_add_loop_test(c, test_kill, 0, 60);
	tcase_add_test(c, test_discard_left_removes_all_names);
	suite_add_tcase(s, c);
	return s;
}

SUITE_MAIN(suite)

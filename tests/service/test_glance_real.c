/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "base/names.h"
#include "fake_stream.h"
#include "fixture.h"
#include "store_kit.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_SKIPPED = 77, CAP_BYTES = 3000000 };

static char *state; /* the service's folder; also for downloads */
static char url[128]; /* of the service */
static struct qmpsnap_store *store;
static struct store_image_spec spec;
static char id[NAME_UUID_BYTES];
static struct qmpsnap_error err;
static struct fake_stream stream;

/* ---- The service ------------------------------------------------------------------------- */

/* The exit code of a shell command. */
static int run(const char *command)
{
	const int status = system(command); /* NOLINT(cert-env33-c): a test's own words */

	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int start_glance(const char *options)
{
	char command[512];

	state = kit_folder("/var/tmp");
	(void)snprintf(command, sizeof(command), SERVICES "/start-glance %s/glance %s > %s/out",
		state, options, state);
	const int rc = run(command);
	if (rc != 0)
		return rc;
	(void)snprintf(command, sizeof(command), "%s/out", state);
	FILE *out = fopen(command, "r");
	ck_assert_ptr_nonnull(out);
	ck_assert_int_eq(fscanf(out, "export GLANCE_URL=%127s", url), 1);
	(void)fclose(out);
	return 0;
}

static void stop_glance(void)
{
	char command[512];

	(void)snprintf(command, sizeof(command), SERVICES "/stop-services %s/glance", state);
	ck_assert_int_eq(run(command), 0);
	kit_remove_folder(state);
}

static void start_plain(void)
{
	ck_assert_int_eq(start_glance(""), 0);
}

static void start_capped(void)
{
	char options[64];

	(void)snprintf(options, sizeof(options), "--size-cap %d", CAP_BYTES);
	ck_assert_int_eq(start_glance(options), 0);
}

static void start_without_hash(void)
{
	ck_assert_int_eq(start_glance("--no-hash"), 0);
}

/* GETs a path of the service by curl, not by what is tested, into "STATE/name". */
static int get(const char *path, const char *name)
{
	char command[1024], out[512];
	char status[8] = "";

	(void)snprintf(out, sizeof(out), "%s/status", state);
	(void)snprintf(command, sizeof(command),
		"curl -s --noproxy '*' -w '%%{http_code}' -o %s/%s '%s%s' > %s", state, name, url,
		path, out);
	ck_assert_int_eq(run(command), 0);
	FILE *file = fopen(out, "r");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%7s", status), 1);
	(void)fclose(file);
	return (int)strtol(status, NULL, 10);
}

static struct json_object *get_record(void)
{
	char path[512];

	(void)snprintf(path, sizeof(path), "/v2/images/%s", id);
	ck_assert_int_eq(get(path, "record"), 200);
	(void)snprintf(path, sizeof(path), "%s/record", state);
	struct json_object *record = json_object_from_file(path);
	ck_assert_ptr_nonnull(record);
	return record;
}

static void check_gone(void)
{
	char path[512];

	(void)snprintf(path, sizeof(path), "/v2/images/%s", id);
	ck_assert_int_eq(get(path, "record"), 404);
	/* The bytes, too, once the service has noticed that no more of them come. */
	(void)snprintf(path, sizeof(path), "%s/glance/store/%s", state, id);
	for (int i = 0; i < 100 && access(path, F_OK) == 0; i++)
		(void)usleep(100 * 1000);
	ck_assert_int_ne(access(path, F_OK), 0);
}

static void check_download(void)
{
	char path[512];

	(void)snprintf(path, sizeof(path), "/v2/images/%s/file", id);
	ck_assert_int_eq(get(path, "image"), stream.base.size_bytes > 0 ? 200 : 204);
	(void)snprintf(path, sizeof(path), "%s/image", state);
	if (stream.base.size_bytes > 0)
		ck_assert(fake_stream_equals_file(&stream, path));
}

/* ---- The store --------------------------------------------------------------------------- */

static void setup(void)
{
	char text[160];

	loop_setup();
	(void)snprintf(text, sizeof(text), "glance:%s", url);
	store = qmpsnap_store_open(&loop, text, NULL, &err);
	ck_assert_ptr_nonnull(store);
	kit_spec(&spec);
	ck_assert(name_new_uuid(id));
	spec.id = id;
	spec.format = QMPSNAP_RAW;
}

static void teardown(void)
{
	qmpsnap_store_close(store);
	(void)json_object_put(spec.properties);
	loop_teardown();
}

static struct store_image *create(void)
{
	struct store_image *image = kit_create(&loop, store, &spec, &err);

	ck_assert_msg(image && err.code == QMPSNAP_OK, "%s", err.message);
	return image;
}

static const uint64_t sizes[] = {1, 65536, 196609, 20000001, 200000512};

START_TEST(test_upload)
{
	char sha512[129];

	fake_stream_init(&stream, &loop, sizes[_i]);
	stream.seed = (uint64_t)_i;
	struct store_image *image = create();
	ck_assert_msg(kit_put(&loop, image, &stream.base, &err), "%s", err.message);
	struct json_object *record = get_record();
	ck_assert_ptr_null(json_string(record, "qmpsnap_verified"));
	(void)json_object_put(record);
	ck_assert_msg(kit_publish(&loop, image, &err), "%s", err.message);

	fake_stream_digest(&stream, "sha512", sha512);
	ck_assert_str_eq(image->digest_algorithm, "sha512");
	ck_assert_str_eq(image->digest, sha512);
	ck_assert_uint_eq(image->size_bytes, sizes[_i]);
	ck_assert_uint_eq(stream.opened, 1);
	record = get_record();
	ck_assert_str_eq(json_string(record, "status"), "active");
	ck_assert_str_eq(json_string(record, "name"), "web/1");
	ck_assert_str_eq(json_string(record, "disk_format"), "raw");
	ck_assert_str_eq(json_string(record, "container_format"), "bare");
	ck_assert_str_eq(json_string(record, "visibility"), "private");
	ck_assert_str_eq(json_string(record, "image_type"), "snapshot");
	ck_assert_str_eq(json_string(record, "qmpsnap_guest"), "web");
	ck_assert_str_eq(json_string(record, "qmpsnap_instant"), KIT_INSTANT);
	ck_assert_str_eq(json_string(record, "qmpsnap_consistency"), KIT_CONSISTENCY);
	ck_assert_str_eq(json_string(record, "qmpsnap_verified"), "true");
	ck_assert_str_eq(json_string(record, "os_hash_value"), sha512);
	ck_assert_int_eq(json_int(record, "size", -1), (int64_t)sizes[_i]);
	(void)json_object_put(record);
	check_download();

	ck_assert(kit_discard(&loop, image, &err));
	ck_assert(kit_discard(&loop, image, &err));
	image->ops->close(image);
	check_gone();
}
END_TEST

START_TEST(test_stream_fails)
{
	fake_stream_init(&stream, &loop, 50 << 20);
	stream.fail_at = 20 << 20;
	struct store_image *image = create();
	ck_assert(!kit_put(&loop, image, &stream.base, &err));
	ck_assert_int_eq(err.code, QMPSNAP_VIEW);
	ck_assert_msg(kit_discard(&loop, image, &err), "%s", err.message);
	image->ops->close(image);
	check_gone();
}
END_TEST

START_TEST(test_stop)
{
	struct outcome outcome = {.calls = 0};

	fake_stream_init(&stream, &loop, (uint64_t)1 << 40);
	struct store_image *image = create();
	image->ops->put(
		image, &stream.base, &kit_instant, outcome_progress, outcome_done, &outcome);
	while (outcome.progress_bytes < ((uint64_t)_i << 20))
		(void)uv_run(&loop, UV_RUN_ONCE);
	image->ops->stop(image);
	ck_assert(!outcome_wait(&loop, &outcome));
	ck_assert_msg(kit_discard(&loop, image, &err), "%s", err.message);
	image->ops->close(image);
	check_gone();
}
END_TEST

/* What another process does when this one is gone. */
START_TEST(test_discard_left)
{
	fake_stream_init(&stream, &loop, 1 << 20);
	ck_assert(kit_discard_left(&loop, store, &spec, &err)); /* nothing there */
	struct store_image *image = create();
	ck_assert(kit_put(&loop, image, &stream.base, &err));
	image->ops->close(image);
	ck_assert(kit_discard_left(&loop, store, &spec, &err));
	check_gone();
}
END_TEST

/* An id that is taken: the image that has it stays. */
START_TEST(test_id_is_taken)
{
	fake_stream_init(&stream, &loop, 1 << 20);
	struct store_image *image = create();
	struct store_image *second = kit_create(&loop, store, &spec, &err);
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	ck_assert_int_eq(err.detail, 409);
	ck_assert_ptr_nonnull(strstr(err.message, "request req-"));
	ck_assert(kit_discard(&loop, second, &err));
	second->ops->close(second);
	(void)json_object_put(get_record());
	ck_assert(kit_discard(&loop, image, &err));
	image->ops->close(image);
}
END_TEST

START_TEST(test_size_cap)
{
	fake_stream_init(&stream, &loop, 50 << 20);
	struct store_image *image = create();
	ck_assert(!kit_put(&loop, image, &stream.base, &err));
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	ck_assert_msg(err.detail == 413, "%s", err.message);
	ck_assert_ptr_null(strchr(err.message, '<'));
	ck_assert_str_ne(err.hint, "");
	ck_assert(kit_discard(&loop, image, &err));
	image->ops->close(image);
	check_gone();
}
END_TEST

START_TEST(test_below_the_cap)
{
	fake_stream_init(&stream, &loop, CAP_BYTES);
	struct store_image *image = create();
	ck_assert_msg(kit_put(&loop, image, &stream.base, &err), "%s", err.message);
	image->ops->close(image);
	check_download();
}
END_TEST

/* The first image tells which digest the service computes; only that one is read twice. */
START_TEST(test_other_digest)
{
	fake_stream_init(&stream, &loop, 5000001);
	for (unsigned i = 1; i <= 2; i++) {
		ck_assert(name_new_uuid(id));
		stream.opened = 0;
		struct store_image *image = create();
		ck_assert_msg(kit_put(&loop, image, &stream.base, &err), "%s", err.message);
		ck_assert_str_eq(image->digest_algorithm, "md5");
		ck_assert_uint_eq(stream.opened, i == 1 ? 2 : 1);
		image->ops->close(image);
		check_download();
	}
}
END_TEST

static TCase *add_case(Suite *s, const char *name, void (*start)(void))
{
	TCase *c = tcase_create(name);

	tcase_set_timeout(c, 120);
	tcase_add_unchecked_fixture(c, start, stop_glance);
	tcase_add_checked_fixture(c, setup, teardown);
	suite_add_tcase(s, c);
	return c;
}

static Suite *suite(void)
{
	Suite *s = suite_create("glance_real");
	TCase *c = add_case(s, "plain", start_plain);

	tcase_add_loop_test(c, test_upload, 0, (int)(sizeof(sizes) / sizeof(sizes[0])));
	tcase_add_test(c, test_stream_fails);
	tcase_add_loop_test(c, test_stop, 0, 3);
	tcase_add_test(c, test_discard_left);
	tcase_add_test(c, test_id_is_taken);
	c = add_case(s, "capped", start_capped);
	tcase_add_test(c, test_size_cap);
	tcase_add_test(c, test_below_the_cap);
	c = add_case(s, "md5", start_without_hash);
	tcase_add_test(c, test_other_digest);
	return s;
}

int main(void)
{
	if (run("/usr/bin/python3 -P -c 'import glance' 2>/dev/null") != 0)
		return EXIT_SKIPPED;
	SRunner *runner = srunner_create(suite());
	srunner_run_all(runner, CK_NORMAL);
	const int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_stream.h"
#include "fixture.h"
#include "store_kit.h"
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct qmpsnap_store *store;
static struct store_image_spec spec;
static struct qmpsnap_error err;
static struct fake_stream stream;
static char *folder;
static char path[256];

static void open_store(bool force)
{
	const struct qmpsnap_store_options options = {.force = force};
	char text[300];

	(void)snprintf(text, sizeof(text), "file:%s", path);
	qmpsnap_store_close(store);
	store = qmpsnap_store_open(&loop, text, &options, &err);
	ck_assert_ptr_nonnull(store);
}

static void setup(void)
{
	loop_setup();
	folder = kit_folder("/var/tmp");
	(void)snprintf(path, sizeof(path), "%s/disk.qcow2", folder);
	kit_spec(&spec);
	fake_stream_init(&stream, &loop, 1000001);
	open_store(false);
}

static void teardown(void)
{
	qmpsnap_store_close(store);
	(void)json_object_put(spec.properties);
	kit_remove_folder(folder);
	loop_teardown();
}

static void write_file(const char *text)
{
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(text, file), 0);
	ck_assert_int_eq(fclose(file), 0);
}

static void check_file(const char *text)
{
	char got[64] = "";
	FILE *file = fopen(path, "r");

	ck_assert_ptr_nonnull(file);
	(void)fread(got, 1, sizeof(got) - 1, file);
	(void)fclose(file);
	ck_assert_str_eq(got, text);
}

static struct store_image *create_and_put(void)
{
	struct store_image *image = kit_create(&loop, store, &spec, &err);

	ck_assert_msg(image && err.code == QMPSNAP_OK, "%s", err.message);
	ck_assert_msg(kit_put(&loop, image, &stream.base, &err), "%s", err.message);
	return image;
}

START_TEST(test_publish)
{
	char hex[129];
	struct store_image *image = create_and_put();

	ck_assert_uint_eq(store->ops->max_images, 1);
	ck_assert_int_eq(kit_count_files(folder), 0);
	ck_assert(kit_publish(&loop, image, &err));
	ck_assert_int_eq(kit_count_files(folder), 1);
	ck_assert(fake_stream_equals_file(&stream, path));
	ck_assert_str_eq(image->location, path);
	ck_assert_str_eq(image->digest_algorithm, "sha256");
	fake_stream_digest(&stream, "sha256", hex);
	ck_assert_str_eq(image->digest, hex);
	image->ops->close(image);
}
END_TEST

START_TEST(test_existing_file_is_refused)
{
	write_file("mine");
	struct store_image *image = kit_create(&loop, store, &spec, &err);
	ck_assert_int_eq(err.code, QMPSNAP_REFUSED);
	/* Undoing a refused create must not touch what was there. */
	ck_assert(kit_discard(&loop, image, &err));
	ck_assert(kit_discard_left(&loop, store, &spec, &err));
	image->ops->close(image);
	check_file("mine");
}
END_TEST

START_TEST(test_file_made_meanwhile_is_kept)
{
	struct store_image *image = create_and_put();

	write_file("mine");
	ck_assert(!kit_publish(&loop, image, &err));
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	ck_assert_int_eq(err.detail, EEXIST);
	ck_assert(kit_discard(&loop, image, &err));
	ck_assert(kit_discard_left(&loop, store, &spec, &err));
	image->ops->close(image);
	check_file("mine");
	ck_assert_int_eq(kit_count_files(folder), 1);
}
END_TEST

START_TEST(test_force)
{
	write_file("mine");
	open_store(true);
	struct store_image *image = create_and_put();
	check_file("mine"); /* until it is published */
	ck_assert_msg(kit_publish(&loop, image, &err), "%s", err.message);
	ck_assert(fake_stream_equals_file(&stream, path));
	ck_assert_int_eq(kit_count_files(folder), 1);
	image->ops->close(image);
}
END_TEST

START_TEST(test_discard_published)
{
	struct store_image *image = create_and_put();

	ck_assert(kit_publish(&loop, image, &err));
	ck_assert(kit_discard(&loop, image, &err));
	ck_assert_int_eq(kit_count_files(folder), 0);
	image->ops->close(image);
}
END_TEST

/* Another process knows the published file by the id in its attributes, and only then. */
START_TEST(test_discard_left)
{
	struct store_image_spec other = spec;
	struct store_image *image = create_and_put();

	other.id = "11111111-4b5d-4e6f-8a9b-0c1d2e3f4a5b";
	ck_assert(kit_publish(&loop, image, &err));
	image->ops->close(image);
	ck_assert(kit_discard_left(&loop, store, &other, &err));
	ck_assert_int_eq(kit_count_files(folder), 1);
	ck_assert(kit_discard_left(&loop, store, &spec, &err));
	ck_assert_int_eq(kit_count_files(folder), 0);
}
END_TEST

START_TEST(test_not_a_file)
{
	ck_assert_int_eq(mkdir(path, 0700), 0);
	open_store(true);
	struct store_image *image = kit_create(&loop, store, &spec, &err);
	ck_assert_int_eq(err.code, QMPSNAP_USAGE);
	image->ops->close(image);
}
END_TEST

START_TEST(test_no_folder)
{
	(void)snprintf(path, sizeof(path), "%s/missing/disk", folder);
	open_store(false);
	struct store_image *image = kit_create(&loop, store, &spec, &err);
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	ck_assert(kit_discard(&loop, image, &err));
	image->ops->close(image);
}
END_TEST

/* ---- Which store a spec names ------------------------------------------------------------ */

static const struct {
	const char *spec, *kind; /* NULL: refused */
} specs[] = {
	{"dir:/x", "dir"},
	{"dir:x", "dir"},
	{"dir:", NULL},
	{"file:/x/y", "file"},
	{"file:y", "file"},
	{"file:", NULL},
	{"file:/x/", NULL},
	{"file:..", NULL},
	{"-", "stdout"},
	{"glance:http://h:9292", "glance"},
	{"glance:http://h:9292/image/v2/", "glance"},
	{"glance:https://[::1]/", "glance"},
	{"glance:", NULL},
	{"glance:h:9292", NULL},
	{"glance:ftp://h", NULL},
	{"glance:http://u:p@h", NULL},
	{"glance:http://h?x=1", NULL},
	{"s3://b/p", NULL}, /* too short for a bucket */
	{"swift:c", NULL}, /* of no cloud */
	{"http://h/", "http"},
	{"https://h/", "http"},
	{"/x", NULL},
	{"", NULL},
};

START_TEST(test_specs)
{
	struct qmpsnap_store *s = qmpsnap_store_open(&loop, specs[_i].spec, NULL, &err);

	if (specs[_i].kind) {
		ck_assert_msg(s != NULL, "%s", err.message);
		ck_assert_str_eq(s->ops->kind, specs[_i].kind);
	} else {
		ck_assert_ptr_null(s);
		ck_assert_int_eq(err.code, QMPSNAP_USAGE);
		ck_assert_str_ne(err.message, "");
	}
	qmpsnap_store_close(s);
}
END_TEST

START_TEST(test_default_store)
{
	char want[512];

	ck_assert_int_eq(setenv("XDG_DATA_HOME", folder, 1), 0);
	struct qmpsnap_store *s = qmpsnap_store_open(&loop, NULL, NULL, &err);
	ck_assert_ptr_nonnull(s);
	ck_assert_str_eq(s->ops->kind, "dir");
	if (geteuid() != 0) { /* root's would be the system's own folder */
		struct store_image *image = kit_create(&loop, s, &spec, &err);
		ck_assert_ptr_nonnull(image);
		(void)snprintf(want, sizeof(want), "%s/qmpsnap/images/", folder);
		ck_assert_int_eq(strncmp(image->location, want, strlen(want)), 0);
		image->ops->close(image);
	}
	qmpsnap_store_close(s);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("store_file");
	TCase *c = tcase_create("store_file");

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, test_publish);
	tcase_add_test(c, test_existing_file_is_refused);
	tcase_add_test(c, test_file_made_meanwhile_is_kept);
	tcase_add_test(c, test_force);
	tcase_add_test(c, test_discard_published);
	tcase_add_test(c, test_discard_left);
	tcase_add_test(c, test_not_a_file);
	tcase_add_test(c, test_no_folder);
	tcase_add_loop_test(c, test_specs, 0, (int)(sizeof(specs) / sizeof(specs[0])));
	tcase_add_test(c, test_default_store);
	suite_add_tcase(s, c);
	return s;
}

SUITE_MAIN(suite)

/* SPDX-License-Identifier: Apache-2.0
 *
 * What is refused before anything is done: records that no service takes, and options that an image
 * file can't follow. */
#include "base/offline.h"
#include "base/record_rules.h"
#include "suite.h"

#include <stdlib.h>
#include <string.h>

static struct qmpsnap_error err;

static void expect_usage(const char *words)
{
	ck_assert_int_eq(err.code, QMPSNAP_USAGE);
	ck_assert_msg(strstr(err.message, words) != NULL, "%s", err.message);
}

/* `n` times 'x'. */
static const char *long_text(size_t n)
{
	static char text[RECORD_VALUE_BYTES + 2];

	ck_assert_uint_lt(n, sizeof(text));
	memset(text, 'x', n);
	text[n] = '\0';
	return text;
}

START_TEST(names_have_a_limit)
{
	ck_assert(record_check_name(long_text(255), &err));
	ck_assert(!record_check_name(long_text(256), &err));
	expect_usage("longer than 255 bytes");
}
END_TEST

START_TEST(properties_have_limits)
{
	ck_assert(record_check_property(long_text(255), "", &err));
	ck_assert(!record_check_property(long_text(256), "", &err));
	expect_usage("1 to 255 bytes");
	ck_assert(!record_check_property("", "v", &err));
	expect_usage("1 to 255 bytes");
	ck_assert(record_check_property("key", long_text(65535), &err));
	ck_assert(!record_check_property("key", long_text(65536), &err));
	expect_usage("longer than 65535 bytes");
	ck_assert(record_check_property("qmpsnap_run", "ours may", &err));
}
END_TEST

static const char *const taken[] = {"id", "size", "deleted", "deleted_at", "is_public", "os_hidden",
	"os_glance_x", "os_hash_value", "stores"};

START_TEST(fields_are_no_properties)
{
	ck_assert(record_key_is_taken(taken[_i]));
	ck_assert(!record_check_property(taken[_i], "1", &err));
	expect_usage("a field of the image");
	ck_assert(!record_key_is_taken("os_distro"));
}
END_TEST

START_TEST(properties_are_parsed)
{
	static const char *const wrong[] = {"", "key", "=v", "qmpsnap_run=1", "os_hidden=1"};
	const char *value;
	char *key;

	ck_assert(record_parse_property("a=b=c", &key, &value, &err));
	ck_assert_str_eq(key, "a");
	ck_assert_str_eq(value, "b=c");
	free(key);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		ck_assert(!record_parse_property(wrong[i], &key, &value, &err));
		expect_usage("property");
	}
}
END_TEST

/* ---- An image file ------------------------------------------------------------------------ */

static const char *const disks[] = {"vda"};

static const struct qmpsnap_snapshot_options of_guests[] = {
	{.qmp_address = "./q"},
	{.disks = disks, .n_disks = 1},
	{.firmware = true},
	{.allow_plaintext = true},
	{.method = "stream"},
	{.method = "cold"},
	{.flavour = "job"},
	{.qga_address = "./q"},
	{.quiesce = QMPSNAP_QUIESCE_REQUIRE},
	{.release_monitor = true},
};

START_TEST(an_image_file_has_no_guest)
{
	struct qmpsnap_snapshot_options options = of_guests[_i];

	ck_assert(offline_check_options(&options, &err));
	options.image_path = "./i";
	options.image_format = "raw";
	ck_assert(!offline_check_options(&options, &err));
	expect_usage("--image and --");
}
END_TEST

START_TEST(an_image_file_has_a_format)
{
	struct qmpsnap_snapshot_options options = {.image_path = "./i",
		.method = "auto",
		.flavour = "auto",
		.quiesce = QMPSNAP_QUIESCE_OFF,
		.force_share = true};

	ck_assert(!offline_check_options(&options, &err));
	expect_usage("--image-format is missing");
	options.image_format = "raw";
	ck_assert(offline_check_options(&options, &err));
}
END_TEST

START_TEST(a_guest_is_no_image_file)
{
	struct qmpsnap_snapshot_options options = {.qmp_address = "./q", .image_format = "raw"};

	ck_assert(!offline_check_options(&options, &err));
	expect_usage("--image-format is for --image alone");
	options.image_format = NULL;
	options.force_share = true;
	ck_assert(!offline_check_options(&options, &err));
	expect_usage("--force-share is for --image alone");
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("rules");
	TCase *t = tcase_create("rules");

	tcase_add_test(t, names_have_a_limit);
	tcase_add_test(t, properties_have_limits);
	tcase_add_loop_test(t, fields_are_no_properties, 0, sizeof(taken) / sizeof(taken[0]));
	tcase_add_test(t, properties_are_parsed);
	tcase_add_loop_test(
		t, an_image_file_has_no_guest, 0, sizeof(of_guests) / sizeof(of_guests[0]));
	tcase_add_test(t, an_image_file_has_a_format);
	tcase_add_test(t, a_guest_is_no_image_file);
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)

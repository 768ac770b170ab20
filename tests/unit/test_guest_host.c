/* SPDX-License-Identifier: Apache-2.0
 *
 * What the guest model knows of where on the host a disk's bytes are: on a raw block device, and
 * how many. */
#include "blockops/guest.h"
#include "suite.h"

#include <stdio.h>

static struct guest guest;

static void teardown(void)
{
	guest_free(&guest);
}

/* The guest anew: with a disk, query-block's `inserted` of which is given, and these nodes. */
static void inspect(const char *nodes, const char *inserted)
{
	struct qmpsnap_error err;
	char text[1024];

	guest_free(&guest);
	(void)snprintf(text, sizeof(text), "[%s]", nodes);
	struct json_object *json = json_tokener_parse(text);
	ck_assert_ptr_nonnull(json);
	ck_assert(guest_parse_basic(&guest, "query-named-block-nodes", json));
	json_object_put(json);
	(void)snprintf(text, sizeof(text),
		"[{\"device\":\"a\",\"inserted\":{\"node-name\":\"n\",%s}}]", inserted);
	json = json_tokener_parse(text);
	ck_assert_ptr_nonnull(json);
	ck_assert(guest_parse_block(&guest, json, &err));
	json_object_put(json);
}

START_TEST(test_block_device)
{
	static const struct {
		const char *file, *nodes;
		bool device;
	} cases[] = {
		{"/dev/v/a",
			"{\"drv\":\"host_device\",\"file\":\"/dev/v/a\"},"
			"{\"drv\":\"raw\",\"file\":\"/dev/v/a\"}",
			true},
		{"/dev/v/a",
			"{\"drv\":\"throttle\",\"file\":\"/dev/v/a\"},"
			"{\"drv\":\"host_device\",\"file\":\"/dev/v/a\"}",
			true},
		{"/dev/v/a",
			"{\"drv\":\"host_device\",\"file\":\"/dev/v/a\"},"
			"{\"drv\":\"qcow2\",\"file\":\"/dev/v/a\"}",
			false},
		{"/dev/v/b", "{\"drv\":\"host_device\",\"file\":\"/dev/v/a\"}", false},
		{"/dev/shm/a",
			"{\"drv\":\"file\",\"file\":\"/dev/shm/a\"},"
			"{\"drv\":\"raw\",\"file\":\"/dev/shm/a\"}",
			false},
		{"/dev/v/a", "3,{},{\"drv\":7,\"file\":\"/dev/v/a\"}", false},
	};
	char text[512];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		(void)snprintf(text, sizeof(text), "\"file\":\"%s\"", cases[i].file);
		inspect(cases[i].nodes, text);
		ck_assert_int_eq(guest.disks[0].block_device, cases[i].device);
	}
}
END_TEST

/* A disk on a base, and where that is a block device; without a size, with a filter, with a sum
 * that is too large. */
START_TEST(test_host_bytes)
{
#define LINK(format, file, size, below)                                                            \
	"{\"format\":\"" format "\",\"filename\":\"" file "\",\"virtual-size\":900" size below "}"
#define TAKES(bytes) ",\"actual-size\":" bytes
#define ON(link)     ",\"backing-image\":" link
	static const struct {
		const char *image;
		uint64_t bytes;
	} cases[] = {
		{LINK("qcow2", "/v/a", TAKES("5"), ""), 5},
		{LINK("qcow2", "/v/a", "", ""), 0},
		{LINK("qcow2", "/v/a", TAKES("-5"), ""), 0},
		{LINK("qcow2", "/v/a", TAKES("5"), ON(LINK("raw", "/v/b", TAKES("7"), ""))), 12},
		{LINK("raw", "/dev/v/a", TAKES("0"), ""), 900},
		{LINK("qcow2", "/v/a", TAKES("5"), ON(LINK("raw", "/dev/v/a", TAKES("0"), ""))),
			905},
		{LINK("qcow2", "/dev/v/q", TAKES("0"), ""), 0},
		{LINK("throttle", "/v/a", TAKES("5"), ON(LINK("qcow2", "/v/a", TAKES("5"), ""))),
			5},
		{LINK("qcow2", "/v/a", TAKES("9223372036854775807"),
			 ON(LINK("qcow2", "/v/b", TAKES("9223372036854775807"),
				 ON(LINK("raw", "/v/c", TAKES("9"), ""))))),
			UINT64_MAX},
		{"7", 0},
	};
	char text[1024];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		(void)snprintf(text, sizeof(text), "\"image\":%s", cases[i].image);
		inspect("{\"drv\":\"host_device\",\"file\":\"/dev/v/a\"},"
			"{\"drv\":\"host_device\",\"file\":\"/dev/v/q\"},"
			"{\"drv\":\"qcow2\",\"file\":\"/dev/v/q\"}",
			text);
		ck_assert_uint_eq(guest.disks[0].host_bytes, cases[i].bytes);
	}
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("guest_host");
	TCase *t = tcase_create("guest_host");

	tcase_add_checked_fixture(t, NULL, teardown);
	tcase_add_test(t, test_block_device);
	tcase_add_test(t, test_host_bytes);
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)

/* SPDX-License-Identifier: Apache-2.0 */
#include "qmp/caps.h"
#include "tests/unit/suite.h"

#include <stdio.h>
#include <string.h>

/* In the form of QEMU 7.2's, with its type names that are numbers; each entry can be left out or
 * replaced. */
/* clang-format off */
static const char *const entries[] = {
	"{\"name\": \"blockdev-add\", \"ret-type\": \"0\", \"meta-type\": \"command\", "
		"\"arg-type\": \"49\"}",
	"{\"name\": \"49\", \"tag\": \"driver\", \"meta-type\": \"object\", "
		"\"members\": [{\"name\": \"driver\", \"type\": \"291\"}, "
		"{\"name\": \"on-cbw-error\", \"type\": \"str\"}], "
		"\"variants\": [{\"case\": \"raw\", \"type\": \"1\"}, "
		"{\"case\": \"copy-before-write\", \"type\": \"299\"}, "
		"{\"case\": \"snapshot-access\", \"type\": \"298\"}]}",
	"{\"name\": \"299\", \"meta-type\": \"object\", "
		"\"members\": [{\"name\": \"file\", \"type\": \"518\"}, "
		"{\"name\": \"on-cbw-error\", \"default\": null, \"type\": \"521\"}, "
		"{\"name\": \"cbw-timeout\", \"default\": null, \"type\": \"int\"}]}",
	"{\"name\": \"298\", \"meta-type\": \"object\", \"members\": []}",
	"{\"name\": \"block-export-add\", \"meta-type\": \"command\", \"arg-type\": \"81\"}",
	"{\"name\": \"81\", \"tag\": \"type\", \"meta-type\": \"object\", \"members\": [], "
		"\"variants\": [{\"case\": \"nbd\", \"type\": \"298\"}]}",
	"{\"name\": \"block-export-del\", \"meta-type\": \"command\", \"arg-type\": \"0\"}",
	"{\"name\": \"nbd-server-start\", \"meta-type\": \"command\", \"arg-type\": \"78\"}",
	"{\"name\": \"78\", \"meta-type\": \"object\", "
		"\"members\": [{\"name\": \"max-connections\", \"type\": \"int\"}]}",
	"{\"name\": \"blockdev-backup\", \"meta-type\": \"command\", \"arg-type\": \"94\"}",
	"{\"name\": \"94\", \"meta-type\": \"object\", "
		"\"members\": [{\"name\": \"x-perf\", \"default\": null, \"type\": \"95\"}]}",
	"{\"name\": \"blockdev-mirror\", \"meta-type\": \"command\", \"arg-type\": \"0\"}",
	"{\"name\": \"add-fd\", \"meta-type\": \"command\", \"arg-type\": \"0\"}",
	"{\"name\": \"getfd\", \"meta-type\": \"command\", \"arg-type\": \"0\"}",
};
/* clang-format on */

enum { N_ENTRIES = sizeof(entries) / sizeof(entries[0]), ALL = (1 << QMP_CAP_COUNT) - 1 };

#define BIT(cap) (1 << QMP_CAP_##cap)
#define CBW      (BIT(CBW) | BIT(CBW_ON_ERROR) | BIT(CBW_TIMEOUT))

/* The capabilities as bits, with entry `at` replaced by `entry`, or left out with NULL. */
static int parse_with(int at, const char *entry)
{
	struct json_object *schema = json_object_new_array();
	struct qmp_caps caps;
	int bits = 0;

	memset(&caps, 0xff, sizeof(caps));
	for (int i = 0; i < N_ENTRIES; i++) {
		const char *text = i == at ? entry : entries[i];
		struct json_object *one = text ? json_tokener_parse(text) : NULL;

		ck_assert(!text || one);
		json_object_array_add(schema, one);
	}
	qmp_caps_parse(&caps, schema);
	json_object_put(schema);
	for (int cap = 0; cap < QMP_CAP_COUNT; cap++)
		bits |= caps.has[cap] ? 1 << cap : 0;
	return bits;
}

START_TEST(all)
{
	ck_assert_int_eq(parse_with(-1, NULL), ALL);
}
END_TEST

/* What goes with each entry. */
static const int gone_with[N_ENTRIES] = {
	CBW | BIT(SNAPSHOT_ACCESS),
	CBW | BIT(SNAPSHOT_ACCESS),
	CBW,
	BIT(SNAPSHOT_ACCESS) | BIT(BLOCK_EXPORT),
	BIT(BLOCK_EXPORT),
	BIT(BLOCK_EXPORT),
	BIT(EXPORT_DEL),
	BIT(NBD_MAX_CONNS),
	BIT(NBD_MAX_CONNS),
	BIT(BLOCKDEV_BACKUP) | BIT(BACKUP_PERF),
	BIT(BACKUP_PERF),
	BIT(BLOCKDEV_MIRROR),
	BIT(ADD_FD),
	BIT(GETFD),
};

START_TEST(left_out)
{
	ck_assert_int_eq(parse_with(_i, NULL), ALL & ~gone_with[_i]);
}
END_TEST

static const struct {
	const char *entry;
	int at;
	int gone;
} odd[] = {
	/* A member of the common part is not the branch's. */
	{"{\"name\": \"299\", \"meta-type\": \"object\", \"members\": []}", 2,
		BIT(CBW_ON_ERROR) | BIT(CBW_TIMEOUT)},
	{"{\"name\": \"299\", \"meta-type\": \"enum\", \"members\": []}", 2, CBW},
	{"{\"name\": \"blockdev-add\", \"meta-type\": \"event\", \"arg-type\": \"49\"}", 0,
		CBW | BIT(SNAPSHOT_ACCESS)},
	{"{\"name\": \"blockdev-add\", \"meta-type\": \"command\"}", 0, CBW | BIT(SNAPSHOT_ACCESS)},
	{"{\"name\": \"blockdev-add\", \"meta-type\": \"command\", \"arg-type\": 49}", 0,
		CBW | BIT(SNAPSHOT_ACCESS)},
	{"{\"name\": \"blockdev-add\", \"meta-type\": 7, \"arg-type\": \"blockdev-add\"}", 0,
		CBW | BIT(SNAPSHOT_ACCESS)},
	{"{\"name\": \"49\", \"meta-type\": \"object\", \"variants\": {\"case\": \"x\"}}", 1,
		CBW | BIT(SNAPSHOT_ACCESS)},
	{"{\"name\": \"49\", \"meta-type\": \"object\", \"variants\": [1, null, [], {}, "
	 "{\"case\": \"copy-before-write\", \"type\": []}]}",
		1, CBW | BIT(SNAPSHOT_ACCESS)},
	{"{\"name\": \"78\", \"meta-type\": \"object\", \"members\": [\"max-connections\"]}", 8,
		BIT(NBD_MAX_CONNS)},
	{"{\"name\": 5, \"meta-type\": \"command\"}", 13, BIT(GETFD)},
	{"[\"getfd\"]", 13, BIT(GETFD)},
	{"\"getfd\"", 13, BIT(GETFD)},
};

START_TEST(odd_entry)
{
	ck_assert_int_eq(parse_with(odd[_i].at, odd[_i].entry), ALL & ~odd[_i].gone);
}
END_TEST

START_TEST(no_schema)
{
	static const char *const texts[] = {"{}", "[]", "7", "\"x\"", "[[[]]]", "{\"name\": []}"};
	struct qmp_caps caps;
	const struct qmp_caps none = {{false}};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct json_object *schema = json_tokener_parse(texts[i]);

		memset(&caps, 0xff, sizeof(caps));
		qmp_caps_parse(&caps, schema);
		ck_assert_mem_eq(&caps, &none, sizeof(caps));
		json_object_put(schema);
	}
	qmp_caps_parse(&caps, NULL);
	ck_assert_mem_eq(&caps, &none, sizeof(caps));
}
END_TEST

START_TEST(names)
{
	for (int a = 0; a < QMP_CAP_COUNT; a++) {
		ck_assert_ptr_nonnull(qmp_cap_name((enum qmp_cap)a));
		for (int b = 0; b < a; b++)
			ck_assert_str_ne(
				qmp_cap_name((enum qmp_cap)a), qmp_cap_name((enum qmp_cap)b));
	}
	ck_assert_str_eq(qmp_cap_name(QMP_CAP_CBW), "copy-before-write");
	ck_assert_str_eq(qmp_cap_name(QMP_CAP_SNAPSHOT_ACCESS), "snapshot-access");
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("caps");
	TCase *t = tcase_create("caps");

	tcase_add_test(t, all);
	tcase_add_loop_test(t, left_out, 0, N_ENTRIES);
	tcase_add_loop_test(t, odd_entry, 0, sizeof(odd) / sizeof(odd[0]));
	tcase_add_test(t, no_schema);
	tcase_add_test(t, names);
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)

/* SPDX-License-Identifier: Apache-2.0
 *
 * The guest model from QEMU's replies (shapes recorded from QEMU 7.2.22), and the decisions over
 * it. */
#include "blockops/dangers.h"
#include "blockops/method.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>

#define IMAGE(more)                                                                                \
	"\"image\":{\"virtual-size\":67108864,\"actual-size\":4096,\"filename\":\"a\"," more       \
	"\"format\":\"qcow2\"}"
#define DISK(qdev, device, node, more)                                                             \
	"{\"device\":\"" device "\",\"qdev\":\"" qdev "\",\"removable\":false,\"inserted\":{"      \
	"\"node-name\":\"" node "\",\"drv\":\"qcow2\",\"file\":\"/v/" node                         \
	".q\",\"ro\":false," more "}}"

static struct guest guest;

static struct json_object *parse(const char *text)
{
	struct json_object *json = json_tokener_parse(text);

	ck_assert_ptr_nonnull(json);
	return json;
}

static void basic(const char *command, const char *reply)
{
	struct json_object *json = parse(reply);

	ck_assert(guest_parse_basic(&guest, command, json));
	json_object_put(json);
}

static void blocks(const char *reply)
{
	struct json_object *json = parse(reply);
	struct qmpsnap_error err;

	ck_assert(guest_parse_block(&guest, json, &err));
	json_object_put(json);
}

static void setup(void)
{
	guest = (struct guest){0};
	basic("query-status", "{\"status\":\"running\",\"running\":true}");
	basic("query-version",
		"{\"qemu\":{\"major\":7,\"minor\":2,\"micro\":22},\"package\":\"Debian\"}");
	for (int i = 0; i < QMP_CAP_COUNT; i++)
		guest.caps.has[i] = true;
}

static void teardown(void)
{
	guest_free(&guest);
}

START_TEST(test_addressing)
{
	blocks("[" DISK("/machine/peripheral/vd0/virtio-backend", "", "n0", IMAGE("")) "," DISK(
		"/machine/peripheral-anon/device[2]/virtio-backend", "virtio0", "#block1",
		IMAGE("")) "," DISK("sd0", "", "n1",
		IMAGE("")) "," DISK("/machine/peripheral/us0/us0.0/legacy[0]", "", "n2",
		IMAGE("")) "]");
	ck_assert_uint_eq(guest.n_disks, 4);
	ck_assert_str_eq(guest.disks[0].qom_path, "/machine/peripheral/vd0");
	ck_assert_str_eq(guest.disks[0].id, "vd0");
	ck_assert_str_eq(guest.disks[1].qom_path, "/machine/peripheral-anon/device[2]");
	ck_assert_str_eq(guest.disks[1].id, "virtio0");
	ck_assert_str_eq(guest.disks[1].node, "#block1");
	ck_assert_str_eq(guest.disks[2].qom_path, "/machine/peripheral/sd0");
	ck_assert_str_eq(guest.disks[2].id, "sd0");
	ck_assert_str_eq(guest.disks[3].qom_path, "/machine/peripheral/us0/us0.0/legacy[0]");
	ck_assert_str_eq(guest.disks[3].id, "us0");
	ck_assert_uint_eq(guest.disks[0].virtual_size_bytes, 67108864);
	ck_assert_uint_eq(guest.disks[0].allocated_bytes, 4096);
}
END_TEST

START_TEST(test_node_options)
{
	blocks("[" DISK("/machine/peripheral/vd0", "", "n0",
		"\"detect_zeroes\":\"unmap\",\"cache\":{\"writeback\":false,\"direct\":true,"
		"\"no-flush\":false}," IMAGE("")) "," DISK("/machine/peripheral/vd1", "", "n1",
		"\"cache\":{\"no-flush\":true},\"detect_zeroes\":\"a long word\"," IMAGE("")) "]");
	ck_assert_str_eq(guest.disks[0].options.detect_zeroes, "unmap");
	ck_assert(guest.disks[0].options.direct);
	ck_assert(!guest.disks[0].options.no_flush);
	ck_assert_str_eq(guest.disks[1].options.detect_zeroes, "");
	ck_assert(!guest.disks[1].options.direct);
	ck_assert(guest.disks[1].options.no_flush);
}
END_TEST

START_TEST(test_hostile_replies)
{
	static const char *const bad[] = {"{}", "3", "\"x\"", "null"};
	struct qmpsnap_error err;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct json_object *json = json_tokener_parse(bad[i]);
		struct guest other = {0};
		ck_assert(!guest_parse_block(&other, json, &err));
		ck_assert_int_eq(err.code, QMPSNAP_QEMU);
		guest_free(&other);
		json_object_put(json);
	}
	blocks("[3,{},{\"inserted\":7},{\"device\":1,\"qdev\":2,\"inserted\":{\"image\":[]}}]");
	ck_assert_uint_eq(guest.n_disks, 4);
	for (size_t i = 0; i < 4; i++) {
		char reason[METHOD_REASON_BYTES];
		ck_assert(!method_takes(METHOD_FILTER, &guest, &guest.disks[i], false, reason));
	}
	struct json_object *json = guest_to_json(&guest);
	ck_assert_ptr_nonnull(json);
	json_object_put(json);
}
END_TEST

START_TEST(test_identity)
{
	basic("query-uuid", "{\"UUID\":\"00000000-0000-0000-0000-000000000000\"}");
	ck_assert_ptr_null(guest.uuid);
	basic("query-uuid", "{\"UUID\":\"6d0f7a0e-0a6b-4d7e-9a3c-0123456789ab\"}");
	ck_assert_str_eq(guest.uuid, "6d0f7a0e-0a6b-4d7e-9a3c-0123456789ab");
	basic("query-name", "{}");
	ck_assert_ptr_null(guest.name);
}
END_TEST

START_TEST(test_encryption_is_seen)
{
	blocks("[" DISK("/machine/peripheral/a", "", "n0", IMAGE("\"encrypted\":true,")) "," DISK(
		"/machine/peripheral/b", "", "n1",
		IMAGE("\"backing-image\":{\"format\":\"luks\"},")) "," DISK("/machine/peripheral/c",
		"", "n2",
		"\"encrypted\":true," IMAGE("")) ","
						 "{\"device\":\"\",\"qdev\":\"/machine/peripheral/"
						 "d\",\"inserted\":{\"node-name\":\"n3\","
						 "\"drv\":\"raw\",\"file\":\"json:{\\\"file\\\":{"
						 "\\\"driver\\\":\\\"luks\\\"}}\"}}," DISK(
							 "/machine/peripheral/e", "", "n4",
							 IMAGE("")) "]");
	for (size_t i = 0; i < 5; i++) {
		char reason[METHOD_REASON_BYTES];
		ck_assert_int_eq(guest.disks[i].encrypted, i < 4);
		ck_assert_int_eq(
			method_takes(METHOD_FILTER, &guest, &guest.disks[i], false, reason),
			i == 4);
		if (i < 4)
			ck_assert_ptr_nonnull(strstr(reason, "encrypted"));
	}
}
END_TEST

static const struct {
	unsigned major, minor, micro;
	bool iothread, taken;
} builds[] = {
	{7, 2, 22, false, true},
	{7, 2, 22, true, false},
	{8, 2, 2, true, false},
	{10, 0, 12, true, false},
	{10, 0, 13, true, true},
	{10, 0, 14, true, true},
	{10, 1, 20, true, false},
	{11, 1, 3, true, true},
};

START_TEST(test_dangerous_builds)
{
	struct guest_disk disk = {
		.inserted = true, .node = "n", .qom_path = (char *)"/m", .id = (char *)"d"};
	char reason[METHOD_REASON_BYTES];

	guest.major = builds[_i].major;
	guest.minor = builds[_i].minor;
	guest.micro = builds[_i].micro;
	disk.iothread = builds[_i].iothread ? (char *)"/objects/io0" : NULL;
	ck_assert_int_eq(
		method_takes(METHOD_FILTER, &guest, &disk, false, reason), builds[_i].taken);
	if (!builds[_i].taken)
		ck_assert_ptr_nonnull(strstr(reason, "iothread"));
}
END_TEST

START_TEST(test_each_capability_is_needed)
{
	static const enum qmp_cap needed[] = {QMP_CAP_CBW, QMP_CAP_CBW_ON_ERROR,
		QMP_CAP_CBW_TIMEOUT, QMP_CAP_SNAPSHOT_ACCESS, QMP_CAP_BLOCK_EXPORT,
		QMP_CAP_EXPORT_DEL, QMP_CAP_ADD_FD, QMP_CAP_GETFD};
	struct guest_disk disk = {.inserted = true, .node = "n", .qom_path = (char *)"/m"};
	char reason[METHOD_REASON_BYTES];

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		guest.caps.has[needed[i]] = false;
		ck_assert(!method_takes(METHOD_FILTER, &guest, &disk, false, reason));
		ck_assert_ptr_nonnull(strstr(reason, qmp_cap_name(needed[i])));
		guest.caps.has[needed[i]] = true;
		ck_assert(method_takes(METHOD_FILTER, &guest, &disk, false, reason));
	}
}
END_TEST

START_TEST(test_run_states)
{
	static const char *const refused[] = {
		"inmigrate", "finish-migrate", "postmigrate", "save-vm", "restore-vm", "colo"};
	static const char *const taken[] = {"running", "paused", "prelaunch", "suspended",
		"io-error", "internal-error", "shutdown", "guest-panicked"};
	struct qmpsnap_error err;

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		guest.status = refused[i];
		ck_assert(!method_state_allows(&guest, &err));
		ck_assert_int_eq(err.code, QMPSNAP_REFUSED);
		ck_assert_ptr_nonnull(strstr(err.message, refused[i]));
	}
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		guest.status = taken[i];
		ck_assert(method_state_allows(&guest, &err));
		ck_assert_int_eq(guest_is_running(&guest), i == 0);
	}
	guest.status = NULL;
	ck_assert(!method_state_allows(&guest, &err));
}
END_TEST

static bool pick(const char *const *wanted, size_t n_wanted, bool firmware,
	const struct guest_disk **chosen, size_t *n, struct qmpsnap_error *err)
{
	const struct method_selection selection = {
		.wanted = wanted, .n_wanted = n_wanted, .firmware = firmware};

	return method_select(&guest, &selection, chosen, n, err);
}

START_TEST(test_selection)
{
	const struct guest_disk *chosen[GUEST_MAX_DISKS];
	struct qmpsnap_error err;
	size_t n;

	blocks("[" DISK("/machine/peripheral/vd0", "", "n0", IMAGE("")) "," DISK(
		"/machine/peripheral/vd1", "drive1", "n1",
		IMAGE("")) ","
			   "{\"device\":\"cd0\",\"removable\":true},"
			   "{\"device\":\"unused\",\"inserted\":{\"node-name\":\"u\",\"ro\":false}}"
			   ","
			   "{\"device\":\"cd1\",\"removable\":true,\"inserted\":{\"node-name\":"
			   "\"c\",\"ro\":true}}," DISK(
				   "/machine/peripheral/dup", "vd0", "n2", IMAGE("")) "]");
	ck_assert(pick(NULL, 0, false, chosen, &n, &err));
	ck_assert_uint_eq(n, 3);
	guest.disks[1].firmware = true;
	ck_assert(pick(NULL, 0, false, chosen, &n, &err));
	ck_assert_uint_eq(n, 2);
	ck_assert(pick(NULL, 0, true, chosen, &n, &err));
	ck_assert_uint_eq(n, 3);
	static const char *const first[] = {"n0"};
	ck_assert(pick(first, 1, true, chosen, &n, &err));
	ck_assert_uint_eq(n, 2);
	guest.disks[1].read_only = true; /* the code, not the variables */
	ck_assert(pick(NULL, 0, true, chosen, &n, &err));
	ck_assert_uint_eq(n, 2);
	guest.disks[1].read_only = false;
	static const char *const names[] = {
		"drive1", "n1", "/v/n1.q", "/machine/peripheral/vd1", "vd1"};
	for (size_t i = 0; i < 5; i++) {
		ck_assert(pick(&names[i], 1, false, chosen, &n, &err));
		ck_assert_uint_eq(n, 1);
		ck_assert_ptr_eq(chosen[0], &guest.disks[1]);
	}
	/* The same disk by two names is one disk; the order is the guest's. */
	const char *const two[] = {"drive1", "n0", "n1"};
	ck_assert(pick(two, 3, false, chosen, &n, &err));
	ck_assert_uint_eq(n, 2);
	ck_assert_ptr_eq(chosen[0], &guest.disks[0]);
	const char *several = "vd0", *none = "nothing";
	ck_assert(!pick(&several, 1, false, chosen, &n, &err));
	ck_assert_int_eq(err.code, QMPSNAP_USAGE);
	ck_assert_ptr_nonnull(strstr(err.message, "vd0, dup"));
	ck_assert(!pick(&none, 1, false, chosen, &n, &err));
	ck_assert_ptr_nonnull(strstr(err.message, "vd1"));
}
END_TEST

START_TEST(test_iothread_owner)
{
	struct guest_disk disk = {
		.qom_path = (char *)"/machine/peripheral/sd0", .driver = (char *)"scsi-hd"};
	char *owner = guest_iothread_owner(&disk, "/machine/peripheral/s0/virtio-backend/s0.0");

	ck_assert_str_eq(owner, "/machine/peripheral/s0");
	free(owner);
	ck_assert_ptr_null(guest_iothread_owner(&disk, NULL));
	disk.driver = (char *)"virtio-blk-pci";
	owner = guest_iothread_owner(&disk, "/machine/q35/pcie.0");
	ck_assert_str_eq(owner, "/machine/peripheral/sd0");
	free(owner);
}
END_TEST

START_TEST(test_json)
{
	blocks("[" DISK("/machine/peripheral/vd0", "", "n0",
		IMAGE("\"backing-image\":{\"format\":\"raw\",\"filename\":\"base\"},")) "]");
	struct json_object *json = guest_to_json(&guest);
	struct json_object *disk =
		json_object_array_get_idx(json_member(json, "disks", json_type_array), 0);
	struct json_object *backing = json_member(disk, "backing", json_type_array);

	ck_assert_str_eq(json_string(json, "status"), "running");
	ck_assert_str_eq(json_string(json, "version"), "7.2.22 (Debian)");
	ck_assert_uint_eq(json_length(backing), 1);
	ck_assert_str_eq(json_string(json_object_array_get_idx(backing, 0), "filename"), "base");
	ck_assert(json_flag(json_member(disk, "stream", json_type_object), "possible", false));
	ck_assert_str_eq(
		json_string(json_member(disk, "stream", json_type_object), "flavour"), "filter");
	static const char *const others[] = {"backup", "mirror", "cold"};
	for (size_t i = 0; i < 3; i++) {
		struct json_object *other = json_member(disk, others[i], json_type_object);
		ck_assert(json_flag(other, "possible", false));
		ck_assert_ptr_nonnull(json_string(other, "reason"));
	}
	ck_assert(json_flag(json_member(json, "capabilities", json_type_object),
		qmp_cap_name(QMP_CAP_CBW), false));
	json_object_put(json);
}
END_TEST

/* Without the filter stream is possible still, in the other flavour; then not at all. */
START_TEST(test_json_flavours)
{
	static const struct {
		enum qmp_cap gone;
		const char *flavour; /* NULL: not possible */
	} cases[] = {{QMP_CAP_CBW, "job"}, {QMP_CAP_BLOCK_EXPORT, NULL}};

	blocks("[" DISK("/machine/peripheral/vd0", "", "n0", IMAGE("")) "]");
	for (size_t i = 0; i < 2; i++) {
		guest.caps.has[cases[i].gone] = false;
		struct json_object *json = guest_to_json(&guest);
		struct json_object *stream = json_member(
			json_object_array_get_idx(json_member(json, "disks", json_type_array), 0),
			"stream", json_type_object);
		const char *flavour = json_string(stream, "flavour");
		ck_assert_int_eq(json_flag(stream, "possible", false), cases[i].flavour != NULL);
		ck_assert_str_eq(flavour ? flavour : "", cases[i].flavour ? cases[i].flavour : "");
		json_object_put(json);
	}
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("guest");
	TCase *t = tcase_create("guest");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_addressing);
	tcase_add_test(t, test_node_options);
	tcase_add_test(t, test_hostile_replies);
	tcase_add_test(t, test_identity);
	tcase_add_test(t, test_encryption_is_seen);
	tcase_add_loop_test(t, test_dangerous_builds, 0, sizeof(builds) / sizeof(builds[0]));
	tcase_add_test(t, test_each_capability_is_needed);
	tcase_add_test(t, test_run_states);
	tcase_add_test(t, test_selection);
	tcase_add_test(t, test_iothread_owner);
	tcase_add_test(t, test_json);
	tcase_add_test(t, test_json_flavours);
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)

/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/inspect_text.h"
#include "cli/json_events.h"
#include "cli/report.h"
#include "suite.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* A pipe for the output, read back by written(). */
static int fds[2];
static struct output out;

static void setup(void)
{
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	output_init(&out, fds[1]);
}

static void teardown(void)
{
	close(fds[0]);
	close(fds[1]);
	output_free(&out);
}

static const char *written(void)
{
	static char text[65536];
	const ssize_t n = read(fds[0], text, sizeof(text) - 1);

	text[n < 0 ? 0 : n] = '\0';
	return text;
}

/* Writes the line and parses it again; it must be one line, with the common members. */
static struct json_object *told(struct json_object *object, const char *event)
{
	ck_assert_ptr_nonnull(object);
	json_put_line(&out, object);
	const char *text = written();
	ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
	struct json_object *line = json_tokener_parse(text);
	ck_assert_ptr_nonnull(line);
	ck_assert_int_eq(json_int(line, "schema", 0), 1);
	ck_assert_str_eq(json_string(line, "event"), event);
	const char *time = json_string(line, "time");
	ck_assert_uint_eq(strlen(time), strlen("2026-11-23T13:20:14.123Z"));
	ck_assert_int_eq(time[10], 'T');
	ck_assert_int_eq(time[23], 'Z');
	return line;
}

static struct json_object *told_event(const struct qmpsnap_event *event, const char *name)
{
	return told(json_from_event(event), name);
}

START_TEST(events_have_their_members)
{
	struct json_object *line = told_event(&(struct qmpsnap_event){.kind = QMPSNAP_EVENT_STATE,
						      .text = "image_snapshot_pending"},
		"state");
	ck_assert_str_eq(json_string(line, "state"), "image_snapshot_pending");
	json_object_put(line);

	line = told_event(
		&(struct qmpsnap_event){
			.kind = QMPSNAP_EVENT_STEP, .phase = QMPSNAP_UNDO_BEGIN, .text = "export"},
		"step");
	ck_assert_str_eq(json_string(line, "step"), "export");
	ck_assert_str_eq(json_string(line, "phase"), "undo-begin");
	json_object_put(line);

	line = told_event(
		&(struct qmpsnap_event){.kind = QMPSNAP_EVENT_PLAN, .text = "add the filters"},
		"step");
	ck_assert_str_eq(json_string(line, "phase"), "plan");
	json_object_put(line);

	line = told_event(&(struct qmpsnap_event){.kind = QMPSNAP_EVENT_PROGRESS,
				  .disk = "vd0",
				  .done_bytes = 1,
				  .total_bytes = UINT64_C(17592186044416)},
		"progress");
	ck_assert_str_eq(json_string(line, "disk"), "vd0");
	ck_assert_int_eq(json_int(line, "done_bytes", -1), 1);
	ck_assert_int_eq(json_int(line, "total_bytes", -1), INT64_C(17592186044416));
	json_object_put(line);

	line = told_event(&(struct qmpsnap_event){.kind = QMPSNAP_EVENT_WARNING,
				  .text = "bad \xff\nbyte \"quoted\""},
		"warning");
	ck_assert_str_eq(json_string(line, "message"), "bad ?\nbyte \"quoted\"");
	json_object_put(line);

	line = told_event(
		&(struct qmpsnap_event){
			.kind = QMPSNAP_EVENT_IMAGE, .text = "/images/a.qcow2", .disk = "vd0"},
		"image");
	ck_assert_str_eq(json_string(line, "location"), "/images/a.qcow2");
	ck_assert_str_eq(json_string(line, "disk"), "vd0");
	json_object_put(line);

	line = told(json_from_log(QMPSNAP_LOG_INFO, "hello"), "log");
	ck_assert_str_eq(json_string(line, "level"), "info");
	ck_assert_str_eq(json_string(line, "message"), "hello");
	json_object_put(line);
}
END_TEST

static char image_name[] = "vm1", image_disk[] = "vd0", image_location[] = "/i/vm1.qcow2";

static struct qmpsnap_image image = {.id = "7f0c3b4e-0000-4000-8000-000000000001",
	.name = image_name,
	.disk = image_disk,
	.location = image_location,
	.format = QMPSNAP_QCOW2,
	.size_bytes = 196608,
	.virtual_size_bytes = 1048576,
	.digest_algorithm = "sha256",
	.digest = "00ff"};

static struct qmpsnap_result good_result(void)
{
	return (struct qmpsnap_result){.run = "abcdefghij",
		.set = "7f0c3b4e-0000-4000-8000-00000000000f",
		.method = "stream",
		.reason = "it can",
		.consistency = "crash",
		.instant = "2026-11-23T13:20:14.123Z",
		.stopped_ms = 1.4,
		.total_ms = 12345.5,
		.scratch_bytes = 65536,
		.images = &image,
		.n_images = 1};
}

START_TEST(result_of_success)
{
	const struct qmpsnap_result result = good_result();
	struct json_object *line = told(json_from_result(NULL, &result), "result");
	struct json_object *value;

	ck_assert_int_eq(json_int(line, "exit_code", -1), 0);
	ck_assert(json_object_object_get_ex(line, "error", &value));
	ck_assert_ptr_null(value);
	ck_assert_str_eq(json_string(line, "run"), "abcdefghij");
	ck_assert_str_eq(json_string(line, "set"), result.set);
	ck_assert_str_eq(json_string(line, "method"), "stream");
	ck_assert_str_eq(json_string(line, "reason"), "it can");
	ck_assert_str_eq(json_string(line, "consistency"), "crash");
	ck_assert_str_eq(json_string(line, "instant"), result.instant);
	ck_assert_double_eq(
		json_object_get_double(json_member(line, "stopped_ms", json_type_double)), 1.4);
	ck_assert_double_eq(
		json_object_get_double(json_member(line, "total_ms", json_type_double)), 12345.5);
	ck_assert_int_eq(json_int(line, "scratch_bytes", -1), 65536);
	value = json_member(line, "images", json_type_array);
	ck_assert_uint_eq(json_length(value), 1);
	value = json_object_array_get_idx(value, 0);
	ck_assert_str_eq(json_string(value, "id"), image.id);
	ck_assert_str_eq(json_string(value, "name"), "vm1");
	ck_assert_str_eq(json_string(value, "disk"), "vd0");
	ck_assert_str_eq(json_string(value, "location"), "/i/vm1.qcow2");
	ck_assert_str_eq(json_string(value, "format"), "qcow2");
	ck_assert_int_eq(json_int(value, "size_bytes", -1), 196608);
	ck_assert_int_eq(json_int(value, "virtual_size_bytes", -1), 1048576);
	ck_assert_str_eq(json_string(value, "digest_algorithm"), "sha256");
	ck_assert_str_eq(json_string(value, "digest"), "00ff");
	json_object_put(line);
}
END_TEST

START_TEST(result_of_failure)
{
	const struct qmpsnap_error err = {
		.code = QMPSNAP_STORE, .message = "no space", .hint = "make some"};
	const struct qmpsnap_result nothing = {.method = NULL};
	struct json_object *line = told(json_from_result(&err, &nothing), "result");
	struct json_object *error = json_member(line, "error", json_type_object), *value;

	ck_assert_int_eq(json_int(line, "exit_code", -1), 5);
	ck_assert_int_eq(json_int(error, "code", -1), 5);
	ck_assert_str_eq(json_string(error, "message"), "no space");
	ck_assert_str_eq(json_string(error, "hint"), "make some");
	ck_assert(json_object_object_get_ex(error, "undo_error", &value));
	ck_assert_ptr_null(value);
	ck_assert(json_object_object_get_ex(line, "instant", &value));
	ck_assert_ptr_null(value);
	ck_assert_uint_eq(json_length(json_member(line, "images", json_type_array)), 0);
	ck_assert_ptr_nonnull(json_member(line, "images", json_type_array));
	json_object_put(line);
}
END_TEST

START_TEST(undo_wins)
{
	const struct qmpsnap_error err = {.code = QMPSNAP_STORE, .message = "no space"};
	const struct qmpsnap_error undo = {.code = QMPSNAP_UNDO, .message = "left: a node"};
	struct qmpsnap_result result = good_result();

	ck_assert_int_eq(result_exit_code(NULL, &result), 0);
	ck_assert_int_eq(result_exit_code(&err, &result), 5);
	result.undo_error = &undo;
	ck_assert_int_eq(result_exit_code(NULL, &result), 9);
	ck_assert_int_eq(result_exit_code(&err, &result), 9);
	struct json_object *line = told(json_from_result(&err, &result), "result");
	struct json_object *error = json_member(line, "error", json_type_object);
	ck_assert_int_eq(json_int(error, "code", -1), 5);
	ck_assert_str_eq(json_string(error, "message"), "no space");
	ck_assert_str_eq(json_string(json_member(error, "undo_error", json_type_object), "message"),
		"left: a node");
	json_object_put(line);
	line = told(json_from_result(NULL, &result), "result");
	error = json_member(line, "error", json_type_object);
	ck_assert_int_eq(json_int(error, "code", -1), 9);
	ck_assert_str_eq(json_string(error, "message"), "left: a node");
	json_object_put(line);
}
END_TEST

START_TEST(errors_for_people)
{
	const struct qmpsnap_error err = {
		.code = QMPSNAP_QEMU, .message = "disk \033[31mvd0: no", .hint = "try again"};
	const struct qmpsnap_error undo = {.code = QMPSNAP_UNDO, .message = "two\nlines"};

	report_failure(&out, &err, NULL);
	ck_assert_str_eq(written(), "qmpsnap: disk ?[31mvd0: no\n  hint: try again\n");
	report_failure(&out, NULL, &undo);
	ck_assert_str_eq(written(), "qmpsnap: not everything could be undone: two\nlines\n");
}
END_TEST

START_TEST(result_for_people)
{
	struct qmpsnap_result result = good_result();

	report_result(&out, &result);
	ck_assert_str_eq(written(),
		"vd0: vm1\n"
		"  id        7f0c3b4e-0000-4000-8000-000000000001\n"
		"  location  /i/vm1.qcow2\n"
		"  image     qcow2, 192 KiB, of a disk of 1.0 MiB\n"
		"  sha256    00ff\n"
		"as of 2026-11-23T13:20:14.123Z, consistency: crash\n"
		"the guest stood still for 1.4 ms; all took 12.3 s, and 64.0 KiB of scratch\n"
		"method stream: it can\n");
	result.n_images = 0;
	report_result(&out, &result);
	ck_assert_str_eq(written(), "");
}
END_TEST

START_TEST(inspect_for_people)
{
	struct json_object *guest = json_tokener_parse(
		"{\"schema\":1,\"name\":\"vm1\",\"uuid\":null,\"version\":\"7.2.22\","
		"\"status\":\"running\",\"disks\":[{\"id\":\"vd0\",\"qdev\":\"/m/p/vd0\","
		"\"device\":\"\",\"node\":\"#block1\",\"driver\":\"virtio-blk-pci\","
		"\"format\":\"qcow2\",\"filename\":\"/a\\u001b[1m\",\"virtual_size_bytes\":1048576,"
		"\"allocated_bytes\":65536,\"backing\":[{\"format\":\"raw\",\"filename\":\"/b\"},"
		"{\"format\":\"raw\",\"filename\":\"/c\"}],\"read_only\":true,"
		"\"removable\":false,\"inserted\":true,\"encrypted\":false,\"iothread\":null,"
		"\"stream\":{\"possible\":false,\"reason\":\"it is read-only\"}},"
		"{\"id\":\"cd0\",\"removable\":true,\"inserted\":false,\"iothread\":\"/objects/"
		"io0\","
		"\"virtual_size_bytes\":0},"
		"{\"id\":\"vd2\",\"inserted\":true,"
		"\"stream\":{\"possible\":true,\"flavour\":\"job\",\"reason\":\"a\"},"
		"\"backup\":{\"possible\":true,\"reason\":\"b\"},"
		"\"mirror\":{\"possible\":false,\"reason\":\"it sleeps\"},"
		"\"cold\":{\"possible\":false,\"reason\":\"it sleeps\"}},17],"
		"\"capabilities\":{\"a\":true,\"b\":false,\"c\":true}}");

	ck_assert_ptr_nonnull(guest);
	inspect_text(&out, guest);
	ck_assert_str_eq(written(), "vm1, UUID none, QEMU 7.2.22, running\n"
				    "disk vd0\n"
				    "  device     /m/p/vd0, virtio-blk-pci\n"
				    "  node       #block1, qcow2, read-only\n"
				    "  file       /a?[1m\n"
				    "  backing    /b, raw\n"
				    "             /c, raw\n"
				    "  size       1.0 MiB, 64.0 KiB allocated\n"
				    "  snapshot   not possible, it is read-only\n"
				    "disk cd0\n"
				    "  device     removable\n"
				    "  iothread   /objects/io0\n"
				    "disk vd2\n"
				    "  snapshot   stream (job), backup\n"
				    "             not mirror, cold: it sleeps\n"
				    "disk ?\n"
				    "this QEMU can: a, c\n"
				    "this QEMU cannot: b\n");
	json_object_put(guest);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("json_events");
	TCase *tc = tcase_create("json_events");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, events_have_their_members);
	tcase_add_test(tc, result_of_success);
	tcase_add_test(tc, result_of_failure);
	tcase_add_test(tc, undo_wins);
	tcase_add_test(tc, errors_for_people);
	tcase_add_test(tc, result_for_people);
	tcase_add_test(tc, inspect_for_people);
	suite_add_tcase(s, tc);
	return s;
}

SUITE_MAIN(suite)

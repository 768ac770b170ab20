/* SPDX-License-Identifier: Apache-2.0
 *
 * The choice of the method, as a table: what QEMU, guest and disks are, what was asked for, and
 * what comes of it. */
#include "blockops/decide.h"
#include "suite.h"

#include <stdlib.h>
#include <string.h>

/* ---- The QEMUs ---- */

enum build { DEBIAN_11, DEBIAN_12, DEBIAN_13, NEWEST, UNKNOWN_8, BARE };

static const struct {
	unsigned major, minor, micro;
	bool has_filter;
} qemus[] = {
	[DEBIAN_11] = {5, 2, 0, false},
	[DEBIAN_12] = {7, 2, 22, true},
	[DEBIAN_13] = {10, 0, 13, true},
	[NEWEST] = {11, 1, 3, true},
	[UNKNOWN_8] = {8, 2, 2, true},
	[BARE] = {4, 2, 0, false},
};

static void make_guest(struct guest *guest, enum build build, const char *status)
{
	static const enum qmp_cap of_filter[] = {
		QMP_CAP_CBW, QMP_CAP_CBW_ON_ERROR, QMP_CAP_CBW_TIMEOUT, QMP_CAP_SNAPSHOT_ACCESS};

	*guest = (struct guest){.major = qemus[build].major,
		.minor = qemus[build].minor,
		.micro = qemus[build].micro,
		.status = status ? status : "running"};
	for (int cap = 0; cap < QMP_CAP_COUNT; cap++)
		guest->caps.has[cap] = true;
	for (size_t i = 0; i < sizeof(of_filter) / sizeof(of_filter[0]); i++)
		guest->caps.has[of_filter[i]] = qemus[build].has_filter;
	if (build == BARE)
		guest->caps.has[QMP_CAP_BLOCK_EXPORT] = guest->caps.has[QMP_CAP_EXPORT_DEL] = false;
}

/* ---- The disks: a letter each ---- */

static struct guest_disk make_disk(char kind)
{
	struct guest_disk disk = {.id = (char *)"vd0",
		.node = "n0",
		.qom_path = (char *)"/machine/peripheral/vd0",
		.inserted = true};

	switch (kind) {
	case 'i': /* in an iothread */
		disk.iothread = (char *)"/objects/io0";
		break;
	case 'e': /* encrypted */
		disk.encrypted = true;
		break;
	case 'b': /* a raw block device */
		disk.block_device = true;
		break;
	case 'm': /* the largest that is laid out, */
		disk.virtual_size_bytes = UINT64_C(16) << 40;
		break;
	case 'l': /* larger, */
	case 'L': /* and on a raw block device */
		disk.virtual_size_bytes = (UINT64_C(16) << 40) + 512;
		disk.block_device = kind == 'L';
		break;
	case 'f': /* what an earlier run left */
		disk.node = "qmpsnap-abcdefghij-f0";
		break;
	case '0': /* an empty drive */
		disk.inserted = false;
		disk.node = NULL;
		break;
	case 'n': /* no device's */
		disk.qom_path = NULL;
		break;
	case 'w': /* of the guest, and not chosen */
		break;
	default:
		ck_assert_int_eq(kind, 'v');
	}
	return disk;
}

/* ---- The table ---- */

#define PLAIN          .request.allow_plaintext = true
#define TAKES(m, text) .method = (m), .says = (text)
#define REFUSES(text)  .code = QMPSNAP_REFUSED, .says = (text)

static const struct {
	enum build build;
	const char *disks;
	const char *status; /* NULL: running */
	struct method_request request;
	enum method method;
	enum qmpsnap_code code; /* OK: it is taken */
	const char *says; /* in the reason, or in the message */
} rows[] = {
	/* auto: the best that all disks allow */
	{DEBIAN_12, "v", TAKES(METHOD_FILTER, "copy-before-write")},
	{DEBIAN_13, "vvb", TAKES(METHOD_FILTER, "all chosen disks")},
	{NEWEST, "v", TAKES(METHOD_FILTER, "snapshot-access")},
	{UNKNOWN_8, "v", TAKES(METHOD_FILTER, "")},
	{DEBIAN_11, "v", TAKES(METHOD_JOB, "lacks copy-before-write")},
	{BARE, "v", TAKES(METHOD_BACKUP, "lacks copy-before-write")},
	{DEBIAN_12, "v", .status = "paused", TAKES(METHOD_FILTER, "")},
	{DEBIAN_12, "v", .status = "prelaunch", TAKES(METHOD_FILTER, "")},
	{DEBIAN_12, "v", .request.method = "auto", .request.flavour = "auto",
		TAKES(METHOD_FILTER, "")},

	/* iothreads */
	{DEBIAN_12, "i", TAKES(METHOD_BACKUP, "iothread")},
	{DEBIAN_12, "vvi", TAKES(METHOD_BACKUP, "iothread")},
	{UNKNOWN_8, "i", TAKES(METHOD_BACKUP, "iothread")},
	{DEBIAN_13, "i", TAKES(METHOD_FILTER, "")},
	{NEWEST, "i", TAKES(METHOD_FILTER, "")},
	{DEBIAN_11, "i", TAKES(METHOD_JOB, "")},
	{DEBIAN_12, "i", .request.method = "stream", REFUSES("iothread")},
	{DEBIAN_12, "i", .request.flavour = "filter", REFUSES("iothread")},
	{DEBIAN_12, "i", .request.flavour = "job", REFUSES("iothread")},
	{DEBIAN_12, "i", .request.method = "backup", TAKES(METHOD_BACKUP, "asked for")},

	/* jobs that would end while the guest stands still; 'w' is a disk that isn't chosen */
	{DEBIAN_11, "iv", .request.method = "mirror", REFUSES("ends while the guest is stopped")},
	{DEBIAN_11, "i", .request.method = "mirror", TAKES(METHOD_MIRROR, "asked for")},
	{DEBIAN_11, "iw", .request.method = "mirror", TAKES(METHOD_MIRROR, "asked for")},
	{DEBIAN_11, "vv", .request.method = "mirror", TAKES(METHOD_MIRROR, "asked for")},
	{DEBIAN_11, "iv", .status = "paused", .request.method = "mirror",
		TAKES(METHOD_MIRROR, "asked for")},
	{DEBIAN_12, "iv", .request.method = "mirror", TAKES(METHOD_MIRROR, "asked for")},

	/* by name: that one, or a refusal */
	{DEBIAN_12, "v", .request.method = "stream", TAKES(METHOD_FILTER, "")},
	{DEBIAN_11, "v", .request.method = "stream", TAKES(METHOD_JOB, "lacks")},
	{DEBIAN_11, "v", .request.flavour = "filter", REFUSES("lacks copy-before-write")},
	{DEBIAN_12, "v", .request.method = "stream", .request.flavour = "job",
		TAKES(METHOD_JOB, "asked for")},
	{DEBIAN_12, "v", .request.flavour = "job", TAKES(METHOD_JOB, "asked for")},
	{DEBIAN_12, "v", .request.method = "backup", TAKES(METHOD_BACKUP, "asked for")},
	{DEBIAN_12, "v", .request.method = "mirror", TAKES(METHOD_MIRROR, "asked for")},
	{DEBIAN_12, "v", .request.method = "cold", TAKES(METHOD_COLD, "asked for")},
	{BARE, "v", .request.method = "stream", REFUSES("lacks")},
	{DEBIAN_12, "v", .status = "prelaunch", .request.method = "cold", REFUSES("never run")},
	{DEBIAN_12, "v", .status = "suspended", .request.method = "cold", REFUSES("sleeps")},
	{DEBIAN_12, "v", .status = "paused", .request.method = "cold", TAKES(METHOD_COLD, "")},

	/* a monitor that is left to others */
	{DEBIAN_12, "v", .request.release_monitor = true, TAKES(METHOD_FILTER, "")},
	{DEBIAN_11, "v", .request.release_monitor = true, TAKES(METHOD_BACKUP, "")},
	{DEBIAN_12, "v", .request.release_monitor = true, .request.flavour = "job",
		REFUSES("watched")},

	/* sizes */
	{DEBIAN_12, "m", TAKES(METHOD_FILTER, "")},
	{DEBIAN_12, "m", .request.method = "backup", TAKES(METHOD_BACKUP, "")},
	{DEBIAN_12, "vl", REFUSES("16 TiB")},
	{DEBIAN_12, "l", .request.method = "stream", .request.format = QMPSNAP_RAW,
		REFUSES("16 TiB")},
	{DEBIAN_12, "l", .request.flavour = "job", REFUSES("16 TiB")},
	{DEBIAN_12, "l", .request.method = "backup", REFUSES("--format raw")},
	{DEBIAN_12, "l", .request.method = "mirror", REFUSES("--format raw")},
	{DEBIAN_12, "l", .request.format = QMPSNAP_RAW, TAKES(METHOD_BACKUP, "16 TiB")},
	{DEBIAN_12, "L", TAKES(METHOD_BACKUP, "16 TiB")},
	{DEBIAN_12, "L", .request.format = QMPSNAP_QCOW2, REFUSES("--format raw")},
	{DEBIAN_12, "l", .request.method = "cold", TAKES(METHOD_COLD, "")},

	/* encryption */
	{DEBIAN_12, "ve", REFUSES("encrypted")},
	{DEBIAN_12, "e", .request.method = "backup", REFUSES("encrypted")},
	{DEBIAN_12, "e", .request.method = "cold", REFUSES("encrypted")},
	{DEBIAN_12, "e", PLAIN, TAKES(METHOD_FILTER, "")},
	{DEBIAN_11, "e", PLAIN, TAKES(METHOD_JOB, "")},

	/* what nobody can take */
	{DEBIAN_12, "0", REFUSES("nothing is inserted")},
	{DEBIAN_12, "n", REFUSES("no device")},
	{DEBIAN_12, "f", REFUSES("recover")},
	{DEBIAN_12, "f", .request.method = "backup", REFUSES("recover")},

	/* formats of qemu-img's alone */
	{DEBIAN_12, "v", .request.format = QMPSNAP_VMDK, REFUSES("cold alone")},
	{DEBIAN_12, "v", .request.format = QMPSNAP_VDI, .request.method = "backup",
		REFUSES("cold alone")},
	{DEBIAN_12, "v", .request.format = QMPSNAP_VDI, .request.method = "cold",
		TAKES(METHOD_COLD, "")},
	{DEBIAN_12, "v", .request.format = QMPSNAP_RAW, TAKES(METHOD_FILTER, "")},

	/* words that are none */
	{DEBIAN_12, "v", .request.method = "snapshot", .code = QMPSNAP_USAGE, .says = "snapshot"},
	{DEBIAN_12, "v", .request.flavour = "sweet", .code = QMPSNAP_USAGE, .says = "sweet"},
	{DEBIAN_12, "v", .request.method = "cold", .request.flavour = "job", .code = QMPSNAP_USAGE,
		.says = "cold with the flavour job"},
};
enum { N_ROWS = sizeof(rows) / sizeof(rows[0]) };

START_TEST(test_row)
{
	struct guest_disk disks[4];
	const struct guest_disk *chosen[4];
	const size_t n = strcspn(rows[_i].disks, "w");
	struct decision decision = {0};
	struct qmpsnap_error err = {0};
	struct guest guest;

	make_guest(&guest, rows[_i].build, rows[_i].status);
	guest.disks = disks;
	guest.n_disks = strlen(rows[_i].disks);
	for (size_t i = 0; i < guest.n_disks; i++) {
		disks[i] = make_disk(rows[_i].disks[i]);
		chosen[i] = &disks[i];
	}
	const bool well = decide(&guest, chosen, n, &rows[_i].request, &decision, &err);
	ck_assert_msg(well == (rows[_i].code == QMPSNAP_OK), "row %d: %s%s", _i, err.message,
		decision.reason);
	const char *said = well ? decision.reason : err.message;
	ck_assert_msg(strstr(said, rows[_i].says) != NULL, "row %d: %s", _i, said);
	if (well) {
		ck_assert_int_eq(decision.method, rows[_i].method);
		ck_assert_uint_gt(strlen(decision.reason), 0);
	} else {
		ck_assert_int_eq(err.code, rows[_i].code);
		ck_assert_uint_gt(strlen(err.hint), 0);
	}
}
END_TEST

START_TEST(test_a_refusal_names_the_disk)
{
	struct guest_disk good = make_disk('v'), bad = make_disk('e');
	const struct guest_disk *chosen[] = {&good, &bad};
	const struct method_request request = {0};
	struct decision decision;
	struct qmpsnap_error err = {0};
	struct guest guest;

	bad.id = (char *)"secret";
	make_guest(&guest, DEBIAN_12, NULL);
	ck_assert(!decide(&guest, chosen, 2, &request, &decision, &err));
	ck_assert_ptr_nonnull(strstr(err.message, "disk secret"));
}
END_TEST

/* Each thing that a method asks of QEMU is asked of it, and named when it isn't there; the filter's
 * are in test_guest.c. */
START_TEST(test_each_capability_is_needed)
{
	static const struct {
		enum method method;
		enum qmp_cap cap;
	} needs[] = {
		{METHOD_JOB, QMP_CAP_BLOCKDEV_BACKUP},
		{METHOD_JOB, QMP_CAP_BLOCK_EXPORT},
		{METHOD_JOB, QMP_CAP_EXPORT_DEL},
		{METHOD_JOB, QMP_CAP_GETFD},
		{METHOD_MIRROR, QMP_CAP_BLOCKDEV_MIRROR},
	};
	char reason[METHOD_REASON_BYTES];
	struct guest_disk disk = make_disk('v');
	struct guest guest;

	for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
		make_guest(&guest, NEWEST, NULL);
		ck_assert(method_takes(needs[i].method, &guest, &disk, false, reason));
		guest.caps.has[needs[i].cap] = false;
		ck_assert(!method_takes(needs[i].method, &guest, &disk, false, reason));
		ck_assert_ptr_nonnull(strstr(reason, qmp_cap_name(needs[i].cap)));
	}
}
END_TEST

/* QEMU's NBD server is another tool's: only who left the method open gets another one. */
START_TEST(test_without_server)
{
	static const struct {
		const char *method, *flavour;
		bool open;
	} asked[] = {{NULL, NULL, true}, {"auto", "auto", true}, {"stream", NULL, false},
		{"auto", "filter", false}, {NULL, "job", false}};
	struct guest guest;
	struct guest_disk disk = make_disk('v');
	const struct guest_disk *disks[] = {&disk};
	struct decision decision;
	struct qmpsnap_error err = {0};

	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		const struct method_request request = {
			.method = asked[i].method, .flavour = asked[i].flavour};
		ck_assert_int_eq(decide_is_open(&request), asked[i].open);
	}
	make_guest(&guest, DEBIAN_12, NULL);
	const struct method_request any = {0};
	ck_assert(decide_without_server(&guest, disks, 1, &any, &decision, &err));
	ck_assert_int_eq(decision.method, METHOD_BACKUP);
	ck_assert_ptr_nonnull(strstr(decision.reason, "NBD server"));
	disk = make_disk('e');
	ck_assert(!decide_without_server(&guest, disks, 1, &any, &decision, &err));
	ck_assert_int_eq(err.code, QMPSNAP_REFUSED);
}
END_TEST

START_TEST(test_format)
{
	const struct guest_disk file = make_disk('v'), device = make_disk('b');

	ck_assert_int_eq(decide_format(QMPSNAP_FORMAT_AUTO, &file), QMPSNAP_QCOW2);
	ck_assert_int_eq(decide_format(QMPSNAP_FORMAT_AUTO, &device), QMPSNAP_RAW);
	ck_assert_int_eq(decide_format(QMPSNAP_QCOW2, &device), QMPSNAP_QCOW2);
	ck_assert_int_eq(decide_format(QMPSNAP_RAW, &file), QMPSNAP_RAW);
	ck_assert_int_eq(decide_format(QMPSNAP_VDI, &device), QMPSNAP_VDI);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("decide");
	TCase *tests = tcase_create("decide");

	tcase_add_loop_test(tests, test_row, 0, N_ROWS);
	tcase_add_test(tests, test_a_refusal_names_the_disk);
	tcase_add_test(tests, test_each_capability_is_needed);
	tcase_add_test(tests, test_without_server);
	tcase_add_test(tests, test_format);
	suite_add_tcase(s, tests);
	return s;
}

SUITE_MAIN(suite)

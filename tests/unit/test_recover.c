/* SPDX-License-Identifier: Apache-2.0
 *
 * Recovery by an embedder, of a guest whose monitor is played by a socket. */
#include "base/error.h"
#include "blockops/record.h"
#include "fixture.h"
#include "suite.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define RUN "abcdefghij"

static char folder[32], path[96], journal[96];
static struct sockaddr_un name;
static int listener;
static bool ended;
static struct qmpsnap_error last_err;

static void setup(void)
{
	loop_setup();
	(void)snprintf(folder, sizeof(folder), "/tmp/qmpsnap-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/journal", folder);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	(void)snprintf(journal, sizeof(journal), "%s/journal/" RUN, folder);
	name = (struct sockaddr_un){.sun_family = AF_UNIX};
	(void)snprintf(name.sun_path, sizeof(name.sun_path), "%s/qmp", folder);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&name, sizeof(name)), 0);
	ck_assert_int_eq(listen(listener, 8), 0);
}

static void teardown(void)
{
	loop_teardown();
	ck_assert_int_eq(unlink(name.sun_path) + unlink(journal) + rmdir(path) + rmdir(folder), 0);
}

/* Of a run that is dead, of the guest that is still there. */
static void write_journal(void)
{
	struct identity id;
	const int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(connect(client, (struct sockaddr *)&name, sizeof(name)), 0);
	identity_of(client, &id);
	(void)close(client);
	FILE *file = fopen(journal, "we");
	ck_assert_ptr_nonnull(file);
	(void)fprintf(file,
		"{\"record\":\"run\",\"schema\":%d,\"run\":\"" RUN "\",\"guest\":\"vm\","
		"\"address\":\"unix:%s\",\"method\":\"cold\",\"store\":\"dir:/nowhere\","
		"\"qemu\":{\"pid\":%d,\"started_ticks\":%" PRIu64 ",\"socket\":%" PRIu64
		",\"boot\":\"%s\"},"
		"\"disks\":[{\"label\":\"vd0\",\"qom_path\":\"/vd0\",\"node\":\"d0\","
		"\"image_name\":\"vm\",\"image_id\":\"x\"}]}\n",
		RECORD_SCHEMA, name.sun_path, (int)id.pid, id.started_ticks, id.socket, id.boot);
	ck_assert_int_eq(fclose(file), 0);
}

static void on_done(
	const struct qmpsnap_error *err, const char *const *undone, size_t n_undone, void *data)
{
	(void)undone;
	(void)n_undone;
	(void)data;
	ended = true;
	last_err = err ? *err : (struct qmpsnap_error){0};
}

/* Its lock is held by this very recovery. */
START_TEST(all_runs_and_a_guest)
{
	const struct qmpsnap_recover_options options = {
		.qmp_address = name.sun_path, .all = true, .state_dir = folder};
	struct qmpsnap_error err;

	write_journal();
	ck_assert_msg(qmpsnap_recover(&loop, &options, on_done, NULL, &err), "%s", err.message);
	(void)close(listener); /* the guest is locked, and can't be reached any more */
	while (!ended)
		ck_assert(uv_run(&loop, UV_RUN_ONCE) != 0 || ended);
	ck_assert_int_eq(last_err.code, QMPSNAP_UNDO);
	ck_assert_msg(!strstr(last_err.message, "at work"), "%s", last_err.message);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("recover");
	TCase *t = tcase_create("embedded");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, all_runs_and_a_guest);
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)

/* SPDX-License-Identifier: Apache-2.0
 *
 * Recovery by an embedder, of a guest whose monitor is played by a socket. */
#include "base/error.h"
#include "base/store.h"
#include "blockops/guest_lock.h"
#include "blockops/record.h"
#include "fixture.h"
#include "suite.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define RUN "abcdefghij"

enum { NOBODY = 65534 };

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
	(void)unlink(journal);
	ck_assert_int_eq(unlink(name.sun_path) + rmdir(path) + rmdir(folder), 0);
}

static struct identity identity_of_guest(void)
{
	struct identity id;
	const int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(connect(client, (struct sockaddr *)&name, sizeof(name)), 0);
	identity_of(client, &id);
	(void)close(client);
	ck_assert_uint_ne(id.pid_namespace, 0);
	return id;
}

/* Of a run that is dead, of that guest. */
static void write_journal(const struct identity *id)
{
	FILE *file = fopen(journal, "we");
	ck_assert_ptr_nonnull(file);
	(void)fprintf(file,
		"{\"record\":\"run\",\"schema\":%d,\"run\":\"" RUN "\",\"guest\":\"vm\","
		"\"address\":\"unix:%s\",\"method\":\"cold\",\"store\":\"dir:/nowhere\","
		"\"qemu\":{\"pid\":%d,\"pid_namespace\":%" PRIu64 ",\"started_ticks\":%" PRIu64
		",\"socket\":%" PRIu64 ",\"boot\":\"%s\"},"
		"\"disks\":[{\"label\":\"vd0\",\"qom_path\":\"/vd0\",\"node\":\"d0\","
		"\"image_name\":\"vm\",\"image_id\":\"x\"}]}\n",
		RECORD_SCHEMA, name.sun_path, (int)id->pid, id->pid_namespace, id->started_ticks,
		id->socket, id->boot);
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

static void recover(const char *address, bool all)
{
	const struct qmpsnap_recover_options options = {
		.qmp_address = address, .all = all, .state_dir = folder};
	struct qmpsnap_error err;

	ended = false;
	ck_assert_msg(qmpsnap_recover(&loop, &options, on_done, NULL, &err), "%s", err.message);
}

static void wait_end(void)
{
	while (!ended)
		ck_assert(uv_run(&loop, UV_RUN_ONCE) != 0 || ended);
}

/* Its lock is held by this very recovery. */
START_TEST(all_runs_and_a_guest)
{
	const struct identity id = identity_of_guest();

	write_journal(&id);
	recover(name.sun_path, true);
	(void)close(listener); /* the guest is locked, and can't be reached any more */
	wait_end();
	ck_assert_int_eq(last_err.code, QMPSNAP_UNDO);
	ck_assert_msg(!strstr(last_err.message, "at work"), "%s", last_err.message);
}
END_TEST

/* It is locked by the connection that is used. */
START_TEST(a_guest_that_is_reached_later_only)
{
	const struct identity id = identity_of_guest();
	char holder[GUEST_LOCK_HOLDER_BYTES], away[104];
	struct guest_lock lock;
	struct qmpsnap_error err;

	(void)snprintf(away, sizeof(away), "%s/away", folder);
	ck_assert_int_eq(guest_lock_take(&lock, &id, RUN, holder, &err), 1);
	ck_assert_int_eq(rename(name.sun_path, away), 0);
	recover(name.sun_path, false);
	ck_assert_int_eq(rename(away, name.sun_path), 0);
	wait_end();
	ck_assert_int_eq(last_err.code, QMPSNAP_REFUSED);
	ck_assert_msg(strstr(last_err.message, "run " RUN), "%s", last_err.message);
	guest_lock_drop(&lock);
}
END_TEST

/* Nothing is known of a process of another pid namespace: it isn't gone because none here has its
 * number.  (But root sees on the host that nobody is in that namespace.) */
START_TEST(a_run_of_another_namespace)
{
	struct identity id = identity_of_guest();

	id.pid_namespace++;
	id.started_ticks++;
	id.socket = 0;
	if (geteuid() == 0)
		ck_assert_int_eq(
			chown(folder, NOBODY, 0) + chown(path, NOBODY, 0) + seteuid(NOBODY), 0);
	ck_assert(identity_is_elsewhere(&id));
	ck_assert(!identity_is_alive(&id));
	write_journal(&id);
	recover(NULL, true);
	wait_end();
	ck_assert_int_eq(last_err.code, QMPSNAP_UNDO);
	ck_assert_msg(strstr(last_err.message, "pid namespace"), "%s", last_err.message);
	ck_assert_int_eq(access(journal, F_OK), 0);
	ck_assert_int_eq(seteuid(getuid()), 0);
}
END_TEST

/* Of another boot all have ended; and a journal of before names no namespace. */
START_TEST(a_run_that_has_ended_for_sure)
{
	struct identity id = identity_of_guest();

	id.started_ticks++;
	id.socket = 0;
	for (unsigned i = 0; i < 2; i++) {
		id.pid_namespace = i;
		if (i == 1)
			id.boot[0] = id.boot[0] == '0' ? '1' : '0';
		write_journal(&id);
		recover(NULL, true);
		wait_end();
		ck_assert_msg(last_err.code == QMPSNAP_OK, "%s", last_err.message);
		ck_assert_int_eq(access(journal, F_OK), -1);
	}
}
END_TEST

/* As after a loss of power before its first line was on the disk. */
START_TEST(a_journal_without_a_whole_line)
{
	FILE *file = fopen(journal, "we");

	ck_assert_ptr_nonnull(file);
	(void)fputs("{\"record\":\"ru", file);
	ck_assert_int_eq(fclose(file), 0);
	recover(NULL, true);
	wait_end();
	ck_assert_msg(last_err.code == QMPSNAP_OK, "%s", last_err.message);
	ck_assert_int_eq(access(journal, F_OK), -1);
}
END_TEST

/* ---- Another store ---- */

static unsigned n_discarded;
static const char *place_now;

static void discard_left(struct qmpsnap_store *store, const struct store_image_spec *spec,
	store_done_fn *done, void *data)
{
	(void)store;
	(void)spec;
	n_discarded++;
	done(NULL, data);
}

static void free_store(struct qmpsnap_store *store)
{
	free(store);
}

static struct qmpsnap_store *open_fake(uv_loop_t *on, const char *spec, struct qmpsnap_error *err)
{
	static const struct store_ops ops = {.discard_left = discard_left, .free = free_store};
	struct qmpsnap_store *store = calloc(1, sizeof(*store));

	(void)on;
	(void)err;
	ck_assert_str_eq(spec, "glance:");
	store->ops = &ops;
	store->place = place_now ? strdup(place_now) : NULL;
	return store;
}

static const struct {
	const char *journalled, *now;
	bool well;
} places[] = {
	{"\"http://k, project a\"", "http://k, project a", true},
	{"\"http://k, project a\"", "http://k, project b", false},
	{"\"http://k, project a\"", NULL, false},
	{"null", "http://k, project b", true}, /* by a version that didn't know it */
};

/* The journal stays where its images can't be known to be gone. */
START_TEST(another_place)
{
	const struct qmpsnap_recover_options options = {
		.all = true, .state_dir = folder, .open_store = open_fake};
	struct qmpsnap_error err;
	FILE *file = fopen(journal, "we");

	ck_assert_ptr_nonnull(file);
	(void)fprintf(file,
		"{\"record\":\"run\",\"schema\":%d,\"run\":\"" RUN "\",\"guest\":\"vm\","
		"\"address\":\"\",\"method\":\"offline\",\"store\":\"glance:\",\"place\":%s,"
		"\"qemu\":{},\"disks\":[{\"label\":\"vd0\",\"qom_path\":\"/vd0\",\"node\":"
		"\"d0\",\"image_name\":\"vm\",\"image_id\":\"x\"}]}\n"
		"{\"record\":\"step\",\"step\":\"upload\"}\n",
		RECORD_SCHEMA, places[_i].journalled);
	ck_assert_int_eq(fclose(file), 0);
	(void)close(listener);
	place_now = places[_i].now;
	ck_assert_msg(qmpsnap_recover(&loop, &options, on_done, NULL, &err), "%s", err.message);
	while (!ended)
		ck_assert(uv_run(&loop, UV_RUN_ONCE) != 0 || ended);
	ck_assert_int_eq(last_err.code, places[_i].well ? QMPSNAP_OK : QMPSNAP_UNDO);
	ck_assert_uint_eq(n_discarded, places[_i].well);
	ck_assert_int_eq(access(journal, F_OK), places[_i].well ? -1 : 0);
	if (places[_i].well)
		return;
	ck_assert_msg(strstr(last_err.message, "left in glance: (http://k, project a)") != NULL,
		"%s", last_err.message);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("recover");
	TCase *t = tcase_create("embedded");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, all_runs_and_a_guest);
	tcase_add_test(t, a_guest_that_is_reached_later_only);
	tcase_add_test(t, a_run_of_another_namespace);
	tcase_add_test(t, a_run_that_has_ended_for_sure);
	tcase_add_test(t, a_journal_without_a_whole_line);
	tcase_add_loop_test(t, another_place, 0, sizeof(places) / sizeof(places[0]));
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)

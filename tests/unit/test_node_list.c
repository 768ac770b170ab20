/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/dangers.h"
#include "blockops/node_list.h"
#include "blockops/node_names.h"
#include "tests/unit/client_fixture.h"

#define OURS     "qmpsnap-abcdefghij-j0"
#define OURS_TOO "qmpsnap-0123456789-j1"

#define JOB(id, type, status)                                                                      \
	"{\"id\": \"" id "\", \"type\": \"" type "\", \"status\": \"" status "\"}"

static struct node_list list;

static void on_safe(const struct qmpsnap_error *err, void *data)
{
	ck_assert_ptr_eq(data, story);
	tell_error("safe", err);
}

/* Runs the script, to the end of what is tested. */
static void make_safe(const struct fake_step *script, bool dismiss_ours)
{
	open_script(script);
	node_list_make_safe(&list, client, dismiss_ours, on_safe, story);
	ck_assert_ptr_null(strstr(story, "safe"));
	until("safe");
}

START_TEST(nothing_stands)
{
	static const struct fake_step script[] = {{FAKE_RETURN, "query-jobs", "[]"}, {0}};

	make_safe(script, true);
	finish();
	expect_story("ready safe closed");
}
END_TEST

START_TEST(only_concluded_backups_count)
{
	static const struct fake_step script[] = {
		{FAKE_RETURN, "query-jobs",
			"[" JOB("a", "backup", "running") ", " JOB("b", "mirror",
				"concluded") ", " JOB(OURS, "backup", "ready") ", {}, 7]"},
		{0}};

	make_safe(script, true);
	finish();
	expect_story("ready safe closed");
}
END_TEST

START_TEST(ours_are_dismissed)
{
	static const struct fake_step script[] = {
		{FAKE_RETURN, "query-jobs",
			"[" JOB(OURS, "backup", "concluded") ", " JOB(
				OURS_TOO, "backup", "concluded") "]"},
		{FAKE_ERROR, "job-dismiss", "GenericError Job not found"},
		{FAKE_RETURN, "job-dismiss", NULL}, {0}};

	make_safe(script, true);
	ck_assert_str_eq(json_string(fake->last_arguments, "id"), OURS_TOO);
	finish();
	expect_story("ready safe closed");
}
END_TEST

START_TEST(ours_may_belong_to_a_run)
{
	static const struct fake_step script[] = {
		{FAKE_RETURN, "query-jobs", "[" JOB(OURS, "backup", "concluded") "]"}, {0}};

	make_safe(script, false);
	expect_error(QMPSNAP_REFUSED, OURS, "qmpsnap recover");
	finish();
	expect_story("ready safe! closed");
}
END_TEST

START_TEST(those_of_others_stay)
{
	static const struct fake_step script[] = {
		{FAKE_RETURN, "query-jobs",
			"[" JOB(OURS, "backup", "concluded") ", " JOB(
				"theirs", "backup", "concluded") "]"},
		{FAKE_RETURN, "job-dismiss", NULL}, {0}};

	make_safe(script, true);
	ck_assert_str_eq(json_string(fake->last_arguments, "id"), OURS);
	expect_error(QMPSNAP_REFUSED, "the backup job theirs", "job-dismiss");
	finish();
	expect_story("ready safe! closed");
}
END_TEST

START_TEST(qemu_ends)
{
	static const struct fake_step script[] = {
		{FAKE_RETURN, "query-jobs", "[" JOB(OURS, "backup", "concluded") "]"},
		{FAKE_HANG_UP, "job-dismiss", NULL}, {0}};

	make_safe(script, true);
	expect_error(QMPSNAP_QEMU, "QEMU", "");
	finish();
}
END_TEST

/* ---- The nodes' names ---- */

static struct node_names names;

static void on_names(const struct node_names *told, const struct qmpsnap_error *err, void *data)
{
	ck_assert_ptr_eq(data, story);
	ck_assert_int_eq(node_names_have(told, OURS), !err);
	ck_assert_int_eq(node_names_have_run(told, "abcdefghij"), !err);
	ck_assert(!node_names_have(told, OURS_TOO));
	ck_assert(!node_names_have_run(told, "0123456789"));
	tell_error("names", err);
}

static void ask_names(const struct fake_step *script)
{
	open_script(script);
	node_names_ask(&names, client, on_names, story);
	ck_assert_ptr_null(strstr(story, "names"));
	until("names");
}

/* A job's name isn't a node's. */
START_TEST(names_from_the_graph)
{
	static const struct fake_step script[] = {
		{FAKE_RETURN, "x-debug-query-block-graph",
			"{\"nodes\": [{\"id\": 1, \"type\": \"block-job\", \"name\": \"" OURS_TOO
			"\"}, {}, 7, {\"id\": 2, \"type\": \"block-driver\", \"name\": \"" OURS
			"\"}], \"edges\": []}"},
		{0}};

	ask_names(script);
	finish();
	expect_story("ready names closed");
}
END_TEST

START_TEST(names_without_unstable_commands)
{
	static const struct fake_step script[] = {
		{FAKE_ERROR, "x-debug-query-block-graph", "CommandNotFound Not allowed"},
		{FAKE_RETURN, "query-named-block-nodes",
			"[{\"node-name\": \"drive0\"}, {\"node-name\": \"" OURS "\"}]"},
		{0}};

	ask_names(script);
	finish();
	expect_story("ready names closed");
}
END_TEST

START_TEST(names_refused)
{
	static const struct fake_step script[] = {
		{FAKE_ERROR, "x-debug-query-block-graph", "GenericError no"}, {0}};

	ask_names(script);
	expect_error(QMPSNAP_QEMU, "no", "");
	finish();
}
END_TEST

START_TEST(which_versions)
{
	ck_assert(danger_of_listing_nodes(&(struct guest){.major = 5, .minor = 2}));
	ck_assert(danger_of_listing_nodes(&(struct guest){.major = 7, .minor = 1, .micro = 90}));
	ck_assert(!danger_of_listing_nodes(&(struct guest){.major = 7, .minor = 2}));
	ck_assert(!danger_of_listing_nodes(&(struct guest){.major = 10}));
}
END_TEST

static Suite *suite(void)
{
	TCase *t = tcase_create("node_list");

	ADD(nothing_stands);
	ADD(only_concluded_backups_count);
	ADD(ours_are_dismissed);
	ADD(ours_may_belong_to_a_run);
	ADD(those_of_others_stay);
	ADD(qemu_ends);
	ADD(names_from_the_graph);
	ADD(names_without_unstable_commands);
	ADD(names_refused);
	ADD(which_versions);
	return client_suite("node_list", t);
}

SUITE_MAIN(suite)

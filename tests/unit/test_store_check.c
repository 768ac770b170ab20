/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_http.h"
#include "fixture.h"
#include "store_kit.h"
#include "suite.h"
#include "upload/glance.h"
#include "upload/remote.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IMAGES "GET /v2/images?limit=1 "
#define USAGE  "GET /v2/info/usage "
#define QUOTA(kind, usage, limit)                                                                  \
	"{\"usage\": {\"" kind "\": {\"usage\": " #usage ", \"limit\": " #limit "}}}"
#define BUCKET "GET /bucket/?max-keys=1 "
#define CODE(code)                                                                                 \
	"<?xml version=\"1.0\"?><Error><Code>" code "</Code><Message>so</Message></Error>"
#define COUNT(table) ((unsigned)(sizeof(table) / sizeof((table)[0])))

static const struct store_need two = {.n_images = 2, .least_bytes = 1000};
static struct fake_http server;
static struct qmpsnap_store *store;
static struct qmpsnap_error err;
static char login[256];

static void open_glance(struct fake_exchange *script, unsigned n)
{
	char text[128];

	fake_http_start(&server, &loop, script, n);
	(void)snprintf(text, sizeof(text), "glance:%s", server.url);
	store = qmpsnap_store_open(&loop, text, NULL, &err);
	ck_assert_ptr_nonnull(store);
	((struct glance_store *)store)->wait_ms = 4;
	((struct glance_store *)store)->tries = 2;
}

static void open_s3(struct fake_exchange *script, unsigned n)
{
	fake_http_start(&server, &loop, script, n);
	ck_assert_int_eq(setenv("AWS_ENDPOINT_URL", server.url, 1), 0);
	store = qmpsnap_store_open(&loop, "s3://bucket/pre", NULL, &err);
	ck_assert_ptr_nonnull(store);
	remote_of(store)->wait_ms = 4;
	remote_of(store)->tries = 2;
}

static void open_swift(struct fake_exchange *script, unsigned n)
{
	char text[128];

	fake_http_start(&server, &loop, script, n);
	(void)snprintf(text, sizeof(text), "%s/auth", server.url);
	ck_assert_int_eq(setenv("ST_AUTH", text, 1), 0);
	(void)snprintf(
		login, sizeof(login), "X-Storage-Url: %s/v1/A\r\nX-Auth-Token: tk\r\n", server.url);
	store = qmpsnap_store_open(&loop, "swift:box", NULL, &err);
	ck_assert_ptr_nonnull(store);
	remote_of(store)->wait_ms = 4;
	remote_of(store)->tries = 2;
}

/* Whether the store says yes; what it says instead is in `err`, and has `part`. */
static bool check_with(void (*open)(struct fake_exchange *, unsigned), struct fake_exchange *script,
	unsigned n, const char *part)
{
	open(script, n);
	const bool well = kit_check(&loop, store, &two, &err);
	qmpsnap_store_close(store);
	fake_http_stop(&server, true);
	if (!well) {
		ck_assert_int_eq(err.code, QMPSNAP_STORE);
		ck_assert_msg(part && strstr(err.message, part), "%s", err.message);
	}
	return well;
}

static void setup(void)
{
	loop_setup();
	ck_assert_int_eq(clearenv(), 0);
	ck_assert_int_eq(setenv("HOME", "/nonexistent", 1), 0);
	ck_assert_int_eq(setenv("AWS_ACCESS_KEY_ID", "us", 1), 0);
	ck_assert_int_eq(setenv("AWS_SECRET_ACCESS_KEY", "hush", 1), 0);
	ck_assert_int_eq(setenv("ST_USER", "u", 1), 0);
	ck_assert_int_eq(setenv("ST_KEY", "hush", 1), 0);
}

/* ---- glance ------------------------------------------------------------------------------- */

START_TEST(test_glance)
{
	static const struct {
		int images, usage;
		const char *listed, *told, *part; /* NULL: it says yes */
	} rows[] = {
		{200, 404, "{\"images\": []}", "", NULL},
		{200, 503, "{\"images\": []}", "", NULL},
		{403, 403, "", "", NULL},
		{401, 0, "", "", "401"},
		{404, 0, "", "", "404"},
		{200, 0, "{}", "", "isn't a list"},
		{200, 200, "{\"images\": []}", "{\"usage\": {}}", NULL},
		{200, 200, "{\"images\": []}", "[]", NULL},
		{200, 200, "{\"images\": []}", QUOTA("image_count_total", 3, 5), NULL},
		{200, 200, "{\"images\": []}", QUOTA("image_count_total", 3, -1), NULL},
		{200, 200, "{\"images\": []}", QUOTA("image_count_total", 4, 5), "2 more images"},
		{200, 200, "{\"images\": []}", QUOTA("image_count_total", 9, 5), "2 more images"},
		{200, 200, "{\"images\": []}", QUOTA("image_count_total", 0, 0), "2 more images"},
		{200, 200, "{\"images\": []}", QUOTA("image_size_total", 5, 5), NULL},
		{200, 200, "{\"images\": []}", QUOTA("image_size_total", 6, 5), "6 MiB"},
	};

	for (unsigned i = 0; i < COUNT(rows); i++) {
		struct fake_exchange script[] = {
			{IMAGES, .status = rows[i].images, .body = rows[i].listed},
			{USAGE, .status = rows[i].usage, .body = rows[i].told},
		};
		ck_assert_msg(check_with(open_glance, script, rows[i].usage ? 2 : 1,
				      rows[i].part) == !rows[i].part,
			"row %u", i);
	}
}
END_TEST

/* A service that has never answered isn't waited for; one that fails is asked again. */
START_TEST(test_glance_gone)
{
	struct fake_exchange script[] = {
		{IMAGES, .status = 503},
		{IMAGES, .status = 200, .body = "{\"images\": []}"},
		{USAGE, .status = 404},
	};

	ck_assert(check_with(open_glance, script, 3, NULL));
	store = qmpsnap_store_open(&loop, "glance:http://127.0.0.1:1", NULL, &err);
	ck_assert_ptr_nonnull(store);
	ck_assert(!kit_check(&loop, store, &two, &err));
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	ck_assert_ptr_nonnull(strstr(err.message, "checking the image service"));
	qmpsnap_store_close(store);
}
END_TEST

START_TEST(test_stopped)
{
	struct fake_exchange script[] = {{IMAGES, .how = FAKE_SILENT}};
	struct outcome outcome = {.calls = 0};

	open_glance(script, 1);
	struct store_check *check = store->ops->check(store, &two, outcome_done, &outcome, &err);
	ck_assert_ptr_nonnull(check);
	while (!script[0].seen)
		ck_assert_int_ne(uv_run(&loop, UV_RUN_ONCE), 0);
	check->stop(check);
	ck_assert(!outcome_wait(&loop, &outcome));
	qmpsnap_store_close(store);
	fake_http_stop(&server, true);
}
END_TEST

/* ---- s3, swift ---------------------------------------------------------------------------- */

START_TEST(test_s3)
{
	static const struct {
		int status;
		const char *body, *part; /* NULL: it says yes */
	} rows[] = {
		{200, "<ListBucketResult></ListBucketResult>", NULL},
		{403, CODE("AccessDenied"), NULL},
		{403, "", NULL},
		{501, CODE("NotImplemented"), NULL},
		{404, CODE("NoSuchBucket"), "NoSuchBucket"},
		{404, "", "404"},
		{403, CODE("InvalidAccessKeyId"), "InvalidAccessKeyId"},
		{403, CODE("SignatureDoesNotMatch"), "SignatureDoesNotMatch"},
		{400, CODE("ExpiredToken"), "ExpiredToken"},
		{301, CODE("PermanentRedirect"), "PermanentRedirect"},
	};

	for (unsigned i = 0; i < COUNT(rows); i++) {
		struct fake_exchange script[] = {
			{BUCKET, .status = rows[i].status, .body = rows[i].body}};
		ck_assert_msg(
			check_with(open_s3, script, 1, rows[i].part) == !rows[i].part, "row %u", i);
	}
	struct fake_exchange failing[] = {{BUCKET, .status = 503, .times = 2}};
	ck_assert(!check_with(open_s3, failing, 1, "503"));
}
END_TEST

START_TEST(test_swift)
{
	static const struct {
		int box, account;
		const char *headers, *part; /* NULL: it says yes */
	} rows[] = {
		{204, 204, NULL, NULL},
		{404, 204, NULL, NULL},
		{403, 403, NULL, NULL},
		{404, 204, "X-Account-Bytes-Used: 5\r\nX-Account-Meta-Quota-Bytes: 1005\r\n", NULL},
		{404, 204, "X-Account-Bytes-Used: 6\r\nX-Account-Meta-Quota-Bytes: 1005\r\n",
			"999 B left"},
		{404, 204, "X-Account-Bytes-Used: 7\r\nX-Account-Meta-Quota-Bytes: 5\r\n",
			"0 B left"},
		{404, 204, "X-Account-Bytes-Used: x\r\nX-Account-Meta-Quota-Bytes: 5\r\n", NULL},
	};

	for (unsigned i = 0; i < COUNT(rows); i++) {
		struct fake_exchange script[] = {
			{"GET /auth ", .status = 200, .headers = login},
			{"HEAD /v1/A/box ", .status = rows[i].box},
			{"HEAD /v1/A ", .status = rows[i].account, .headers = rows[i].headers},
		};
		ck_assert_msg(check_with(open_swift, script, 3, rows[i].part) == !rows[i].part,
			"row %u", i);
	}
	struct fake_exchange wrong[] = {{"GET /auth ", .status = 401}};
	ck_assert(!check_with(open_swift, wrong, 1, "401"));
}
END_TEST

/* ---- dir, file ---------------------------------------------------------------------------- */

static bool check_local(
	const char *kind, const char *folder, const char *name, const struct store_need *need)
{
	char text[256];

	(void)snprintf(text, sizeof(text), "%s:%s%s", kind, folder, name);
	store = qmpsnap_store_open(&loop, text, NULL, &err);
	ck_assert_ptr_nonnull(store);
	const bool well = kit_check(&loop, store, need, &err);
	qmpsnap_store_close(store);
	return well;
}

START_TEST(test_local)
{
	static const struct store_need many = {.n_images = 1U << 31};
	char path[256];
	char *folder = kit_folder("/tmp");

	ck_assert(check_local("dir", folder, "", &two));
	ck_assert(check_local("dir", folder, "/a/b//c", &two));
	ck_assert(check_local("file", folder, "/x.qcow2", &two));
	ck_assert_int_eq(kit_count_files(folder), 0);
	ck_assert(!check_local("dir", folder, "/a", &many));
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	ck_assert_ptr_nonnull(strstr(err.message, folder));
	ck_assert(!check_local("file", folder, "/a/x.qcow2", &two));
	ck_assert_int_eq(err.code, QMPSNAP_STORE);

	(void)snprintf(path, sizeof(path), "%s/x", folder);
	ck_assert_int_eq(close(creat(path, 0600)), 0);
	ck_assert(!check_local("file", folder, "/x", &two));
	ck_assert_int_eq(err.code, QMPSNAP_REFUSED);
	ck_assert(!check_local("dir", folder, "/x", &two));
	ck_assert(!check_local("dir", folder, "/x/y", &two));
	kit_remove_folder(folder);
}
END_TEST

/* Root may write everywhere. */
START_TEST(test_local_not_writable)
{
	char *folder = kit_folder("/tmp");

	ck_assert_int_eq(chmod(folder, 0555), 0);
	ck_assert(geteuid() != 0 || seteuid(65534) == 0);
	ck_assert(!check_local("dir", folder, "/images", &two));
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	ck_assert_ptr_nonnull(strstr(err.message, "writing into the folder /tmp/"));
	ck_assert(getuid() != 0 || seteuid(0) == 0);
	kit_remove_folder(folder);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("store_check");
	TCase *t = tcase_create("check");

	tcase_add_checked_fixture(t, setup, loop_teardown);
	tcase_add_test(t, test_glance);
	tcase_add_test(t, test_glance_gone);
	tcase_add_test(t, test_stopped);
	tcase_add_test(t, test_s3);
	tcase_add_test(t, test_swift);
	tcase_add_test(t, test_local);
	tcase_add_test(t, test_local_not_writable);
	suite_add_tcase(s, t);
	return s;
}

SUITE_MAIN(suite)

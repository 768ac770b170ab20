/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "fake_http.h"
#include "fixture.h"
#include "suite.h"
#include "upload/delay.h"
#include "upload/keystone.h"
#include "upload/keystone_words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct qmpsnap_error err;

/* ---- URLs --------------------------------------------------------------------------------- */

START_TEST(test_urls)
{
	static const struct {
		const char *url, *base; /* NULL: refused */
		const char *cut; /* without its version; NULL: has none */
	} urls[] = {
		{"http://h", "http://h", NULL},
		{"http://h:5000/", "http://h:5000", NULL},
		{"https://h/identity//", "https://h/identity", NULL},
		{"https://h/v3", "https://h/v3", "https://h"},
		{"https://h/image/v2.0/", "https://h/image/v2.0", "https://h/image"},
		{"https://h/very", "https://h/very", NULL},
		{"https://v3", "https://v3", NULL},
		{"https://h/v", "https://h/v", NULL},
		{"ftp://h", NULL, NULL},
		{"http://u@h", NULL, NULL},
		{"http://u:p@h", NULL, NULL},
		{"http://h/?a=1", NULL, NULL},
		{"http://h/#x", NULL, NULL},
		{"", NULL, NULL},
	};

	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		char base[URL_BASE_BYTES];
		ck_assert_msg(
			url_base(base, urls[i].url) == (urls[i].base != NULL), "%s", urls[i].url);
		if (!urls[i].base)
			continue;
		ck_assert_str_eq(base, urls[i].base);
		ck_assert_int_eq(url_cut_version(base), urls[i].cut != NULL);
		ck_assert_str_eq(base, urls[i].cut ? urls[i].cut : urls[i].base);
	}
}
END_TEST

/* ---- Words -------------------------------------------------------------------------------- */

static const struct {
	struct cloud cloud;
	const char *request;
} requests[] = {
	{{.auth = CLOUD_AUTH_PASSWORD,
		 .username = (char *)"u",
		 .user_domain_name = (char *)"D",
		 .password = (char *)"p\"w",
		 .project_name = (char *)"n",
		 .project_domain_id = (char *)"d"},
		"{\"auth\":{\"identity\":{\"methods\":[\"password\"],\"password\":{\"user\":{"
		"\"name\":\"u\",\"domain\":{\"name\":\"D\"},\"password\":\"p\\\"w\"}}},"
		"\"scope\":{\"project\":{\"name\":\"n\",\"domain\":{\"id\":\"d\"}}}}}"},
	{{.auth = CLOUD_AUTH_PASSWORD,
		 .username = (char *)"u",
		 .user_id = (char *)"i",
		 .password = (char *)"p",
		 .project_id = (char *)"pi",
		 .project_name = (char *)"n"},
		"{\"auth\":{\"identity\":{\"methods\":[\"password\"],\"password\":{\"user\":{"
		"\"id\":\"i\",\"password\":\"p\"}}},\"scope\":{\"project\":{\"id\":\"pi\"}}}}"},
	{{.auth = CLOUD_AUTH_TOKEN, .token = (char *)"t", .domain_name = (char *)"D"},
		"{\"auth\":{\"identity\":{\"methods\":[\"token\"],\"token\":{\"id\":\"t\"}},"
		"\"scope\":{\"domain\":{\"name\":\"D\"}}}}"},
	{{.auth = CLOUD_AUTH_TOKEN, .token = (char *)"t", .system_scope = (char *)"all"},
		"{\"auth\":{\"identity\":{\"methods\":[\"token\"],\"token\":{\"id\":\"t\"}},"
		"\"scope\":{\"system\":{\"all\":true}}}}"},
	{{.auth = CLOUD_AUTH_TOKEN, .token = (char *)"t"},
		"{\"auth\":{\"identity\":{\"methods\":[\"token\"],\"token\":{\"id\":\"t\"}}}}"},
	{{.auth = CLOUD_AUTH_APPLICATION_CREDENTIAL,
		 .credential_id = (char *)"i",
		 .credential_secret = (char *)"s",
		 .project_id = (char *)"ignored"},
		"{\"auth\":{\"identity\":{\"methods\":[\"application_credential\"],"
		"\"application_credential\":{\"secret\":\"s\",\"id\":\"i\"}}}}"},
	{{.auth = CLOUD_AUTH_APPLICATION_CREDENTIAL,
		 .credential_name = (char *)"n",
		 .credential_secret = (char *)"s",
		 .username = (char *)"u",
		 .user_domain_id = (char *)"d"},
		"{\"auth\":{\"identity\":{\"methods\":[\"application_credential\"],"
		"\"application_credential\":{\"secret\":\"s\",\"name\":\"n\",\"user\":{"
		"\"name\":\"u\",\"domain\":{\"id\":\"d\"}}}}}}"},
};

START_TEST(test_requests)
{
	struct json_object *request = keystone_request(&requests[_i].cloud);

	ck_assert_str_eq(json_text(request), requests[_i].request);
	(void)json_object_put(request);
}
END_TEST

#define CATALOG                                                                                    \
	"{\"token\": {\"catalog\": [{\"type\": \"compute\", \"endpoints\": [{\"interface\": "      \
	"\"public\", \"region_id\": \"A\", \"url\": \"http://no\"}]}, {\"type\": \"image\", "      \
	"\"endpoints\": [{\"interface\": \"public\", \"region_id\": \"A\", \"url\": "              \
	"\"http://a/\"}, {\"interface\": \"internal\", \"region_id\": \"A\", \"url\": "            \
	"\"http://ai\"}, {\"interface\": \"public\", \"region_id\": \"B\", \"url\": "              \
	"\"http://b/v2\"}, 7]}]}}"

START_TEST(test_endpoints)
{
	static const struct {
		const char *answer, *interface, *region, *url; /* url NULL: not there */
	} rows[] = {
		{CATALOG, "public", NULL, "http://a"},
		{CATALOG, "public", "B", "http://b/v2"},
		{CATALOG, "internal", "A", "http://ai"},
		{CATALOG, "internal", "B", NULL},
		{CATALOG, "admin", NULL, NULL},
		{"{\"token\": {}}", "public", NULL, NULL},
		{"{\"token\": {\"catalog\": [{\"type\": \"image\", \"endpoints\": [{\"interface\": "
		 "\"public\", \"url\": \"file:///etc/passwd\"}]}]}}",
			"public", NULL, NULL},
		{"{\"token\": {\"catalog\": [1, null, [], {\"type\": 2}]}}", "public", NULL, NULL},
		{"[]", "public", NULL, NULL},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct json_object *answer = json_tokener_parse(rows[i].answer);
		const struct cloud cloud = {.name = (char *)"c",
			.interface = (char *)rows[i].interface,
			.region = (char *)rows[i].region};
		char url[URL_BASE_BYTES];
		const bool well = keystone_endpoint(answer, &cloud, "image", url, &err);
		ck_assert_msg(well == (rows[i].url != NULL), "row %zu", i);
		if (well)
			ck_assert_str_eq(url, rows[i].url);
		else
			ck_assert_int_eq(err.code, QMPSNAP_STORE);
		(void)json_object_put(answer);
	}
}
END_TEST

START_TEST(test_lives_and_versions)
{
	static const struct {
		const char *json;
		uint64_t life_ms;
		int v2;
	} rows[] = {
		{"{\"token\": {\"issued_at\": \"2026-11-23T23:59:50.000000Z\", \"expires_at\": "
		 "\"2026-11-24T00:00:05.000000Z\"}}",
			15000, -1},
		{"{\"token\": {\"expires_at\": \"2026-11-24T00:00:05Z\"}}", 300000, -1},
		{"{\"token\": {\"issued_at\": \"2026-11-25\", \"expires_at\": 7}}", 300000, -1},
		{"{\"versions\": [{\"id\": \"v1\"}, {\"id\": \"v2.15\"}]}", 300000, 1},
		{"{\"versions\": [{\"id\": \"v20\"}, {\"id\": 2}, null]}", 300000, 0},
		{"{\"versions\": {\"values\": [{\"id\": \"v2\"}]}}", 300000, 1},
		{"{\"versions\": 1}", 300000, -1},
		{"7", 300000, -1},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct json_object *json = json_tokener_parse(rows[i].json);
		ck_assert_uint_eq(keystone_life_ms(json), rows[i].life_ms);
		ck_assert_int_eq(keystone_has_version(json, "v2"), rows[i].v2);
		(void)json_object_put(json);
	}
}
END_TEST

START_TEST(test_delays)
{
	for (unsigned i = 0; i < 200; i++) {
		ck_assert_uint_le(delay_after(1, 1000, 0), 1000);
		ck_assert_uint_ge(delay_after(1, 1000, 0), 500);
		ck_assert_uint_ge(delay_after(4, 1000, 0), 4000);
		ck_assert_uint_le(delay_after(4, 1000, 0), 8000);
		ck_assert_uint_le(delay_after(4000000, 1000, 0), DELAY_MOST_MS);
	}
	ck_assert_uint_eq(delay_after(1, 1000, 90000), 90000);
	ck_assert_uint_eq(delay_after(1, 1000, UINT64_MAX), DELAY_MOST_ASKED_MS);
}
END_TEST

/* ---- Sessions ----------------------------------------------------------------------------- */

#define TOKEN_SAYS                                                                                 \
	"{\"token\": {\"issued_at\": \"2026-11-23T10:00:00Z\", \"expires_at\": "                   \
	"\"2026-11-23T11:00:00Z\"}}"

static struct fake_http server;
static struct keystone *session;

struct seen {
	struct keystone_wait wait;
	unsigned calls;
	struct qmpsnap_error err;
	char token[64], url[128];
};

static void on_access(
	const struct qmpsnap_error *why, const struct keystone_access *access, void *data)
{
	struct seen *seen = data;

	seen->calls++;
	if (why)
		seen->err = *why;
	if (access) {
		(void)snprintf(seen->token, sizeof(seen->token), "%s", access->token);
		(void)snprintf(seen->url, sizeof(seen->url), "%s", access->url);
	}
}

static void start(struct fake_exchange *script, unsigned n, const char *auth_path)
{
	struct cloud *cloud = calloc(1, sizeof(*cloud));

	fake_http_start(&server, &loop, script, n);
	cloud->auth = CLOUD_AUTH_TOKEN;
	cloud->name = strdup("c");
	cloud->token = strdup("hunter2");
	cloud->endpoint = strdup("http://image/v2/");
	ck_assert_int_gt(asprintf(&cloud->auth_url, "%s%s", server.url, auth_path), 0);
	session = keystone_new(&loop, cloud, "image", &err);
	ck_assert_msg(session != NULL, "%s", err.message);
	ck_assert_ptr_null(keystone_now(session, false));
}

static void wait_for(const struct seen *seen)
{
	while (seen->calls == 0)
		ck_assert_int_ne(uv_run(&loop, UV_RUN_ONCE), 0);
}

/* Two who wait share one login; a fresh token is kept until it is refused. */
START_TEST(test_login)
{
	struct fake_exchange script[] = {
		{"GET / ", .status = 300,
			.body = "{\"versions\": {\"values\": [{\"id\": \"v3.14\"}]}}"},
		{"POST /v3/auth/tokens", .status = 201, .body = TOKEN_SAYS,
			.headers = "X-Subject-Token: one\r\n"},
		{"POST /v3/auth/tokens", .status = 201, .body = TOKEN_SAYS,
			.headers = "X-Subject-Token: two\r\n"},
	};
	struct seen a = {.calls = 0}, b = {.calls = 0}, c = {.calls = 0};

	start(script, 3, "");
	keystone_wait(session, &a.wait, on_access, &a);
	keystone_wait(session, &b.wait, on_access, &b);
	wait_for(&a);
	wait_for(&b);
	ck_assert_msg(a.err.code == QMPSNAP_OK, "%s", a.err.message);
	ck_assert_str_eq(a.token, "one");
	ck_assert_str_eq(b.token, "one");
	ck_assert_str_eq(a.url, "http://image");
	const struct keystone_access *access = keystone_now(session, true);
	ck_assert_str_eq(access->token, "one");
	const unsigned login = access->login;
	ck_assert(keystone_refused(session, login));
	ck_assert_ptr_null(keystone_now(session, false));
	keystone_wait(session, &c.wait, on_access, &c);
	wait_for(&c);
	ck_assert_str_eq(c.token, "two");
	ck_assert(keystone_refused(session, login)); /* the old one: no news */
	ck_assert_str_eq(keystone_now(session, false)->token, "two");
	keystone_free(session);
	fake_http_stop(&server, true);
	ck_assert_ptr_nonnull(strstr(script[1].text, "hunter2"));
}
END_TEST

static const struct {
	int status;
	const char *headers, *body, *says;
} failures[] = {
	{401, "", "{\"error\": {\"message\": \"go away\"}}", "Keystone answered 401: go away"},
	{503, "", "<html>", "Keystone answered 503"},
	{201, "", TOKEN_SAYS, "no token"},
	{201, "X-Subject-Token: t\r\n", "nonsense", "no token"},
	{302, "Location: http://h\r\n", "", "Keystone answered 302"},
};

START_TEST(test_login_fails)
{
	struct fake_exchange script[] = {{"POST /id/v3/auth/tokens", .status = failures[_i].status,
		.headers = failures[_i].headers, .body = failures[_i].body}};
	struct seen seen = {.calls = 0};

	start(script, 1, "/id/v3/");
	keystone_wait(session, &seen.wait, on_access, &seen);
	wait_for(&seen);
	ck_assert_int_eq(seen.err.code, QMPSNAP_STORE);
	ck_assert_msg(strstr(seen.err.message, failures[_i].says) != NULL, "%s", seen.err.message);
	ck_assert_ptr_nonnull(strstr(seen.err.message, "logging in to cloud c"));
	ck_assert_ptr_null(strstr(seen.err.message, "hunter2"));
	ck_assert_ptr_null(keystone_now(session, false));
	keystone_free(session);
	fake_http_stop(&server, true);
}
END_TEST

/* Who leaves isn't told; who comes meanwhile is served; and a session may go in mid-login. */
START_TEST(test_leaving)
{
	struct fake_exchange script[] = {
		{"POST /v3/auth/tokens", .how = FAKE_SILENT},
		{"POST /v3/auth/tokens", .status = 201, .body = TOKEN_SAYS,
			.headers = "X-Subject-Token: one\r\n"},
	};
	struct seen a = {.calls = 0}, b = {.calls = 0};

	start(script, 2, "/v3");
	keystone_wait(session, &a.wait, on_access, &a);
	while (script[0].seen == 0)
		ck_assert_int_ne(uv_run(&loop, UV_RUN_ONCE), 0);
	keystone_leave(session, &a.wait);
	if (_i) {
		keystone_wait(session, &b.wait, on_access, &b);
		wait_for(&b);
		ck_assert_str_eq(b.token, "one");
	}
	keystone_free(session);
	fake_http_stop(&server, _i);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_uint_eq(a.calls, 0);
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

static Suite *suite(void)
{
	Suite *s = suite_create("keystone");
	TCase *c = tcase_create("keystone");

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, loop_setup, loop_teardown);
	tcase_add_test(c, test_urls);
	tcase_add_loop_test(c, test_requests, 0, COUNT(requests));
	tcase_add_test(c, test_endpoints);
	tcase_add_test(c, test_lives_and_versions);
	tcase_add_test(c, test_delays);
	tcase_add_test(c, test_login);
	tcase_add_loop_test(c, test_login_fails, 0, COUNT(failures));
	tcase_add_loop_test(c, test_leaving, 0, 2);
	suite_add_tcase(s, c);
	return s;
}

SUITE_MAIN(suite)

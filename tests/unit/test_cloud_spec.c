/* SPDX-License-Identifier: Apache-2.0
 *
 * What a store in a cloud says of itself for another process: its spec, and where that led. */
#include "fixture.h"
#include "store_kit.h"
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct qmpsnap_error err;

/* What a store is opened by says again what it was opened by. */
START_TEST(test_specs)
{
	static const char *const tags[] = {"t"};
	static const struct {
		const char *spec;
		struct qmpsnap_store_options options;
		const char *again; /* NULL: an error */
	} specs[] = {
		{"glance:http://h", {.force = true}, "glance:http://h"},
		{"glance:http://h/v2/", {.insecure = true}, "glance:http://h/v2/?insecure"},
		{"glance:http://h?insecure", {.force = false}, "glance:http://h?insecure"},
		{"glance:?os-cloud=a%20b", {.insecure = true}, "glance:?os-cloud=a%20b&insecure"},
		{"glance:", {.os_cloud = "a b", .insecure = true},
			"glance:?os-cloud=a%20b&insecure"},
		{"glance:", {.os_cloud = "none such"}, NULL},
		{"glance:http://h", {.os_cloud = "a b"}, NULL},
		{"glance:http://h?frob", {.force = false}, NULL},
		{"glance:ftp://h", {.force = false}, NULL},
		{"glance:http://u:p@h", {.force = false}, NULL},
		{"glance:http://h", {.visibility = "all"}, NULL},
		{"glance:http://h", {.base_image = "../x"}, NULL},
		{"glance:http://h", {.backend = "a\r\nX: y"}, NULL},
		{"dir:/tmp/x", {.n_tags = 1, .tags = tags}, NULL},
		{"dir:/tmp/x", {.insecure = true}, NULL},
		{"dir:/tmp/x", {.force = true}, "dir:/tmp/x"},
	};
	char *folder = kit_folder("/tmp"), path[256];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/clouds.yaml", folder);
	file = fopen(path, "w");
	(void)fputs("clouds: {a b: {auth_type: none, auth: {endpoint: 'http://h'}}}", file);
	(void)fclose(file);
	ck_assert_int_eq(setenv("OS_CLIENT_CONFIG_FILE", path, 1), 0);
	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
		struct qmpsnap_store *store =
			qmpsnap_store_open(&loop, specs[i].spec, &specs[i].options, &err);
		ck_assert_msg((store != NULL) == (specs[i].again != NULL), "row %zu: %s", i,
			store ? qmpsnap_store_spec(store) : err.message);
		if (store)
			ck_assert_str_eq(qmpsnap_store_spec(store), specs[i].again);
		else
			ck_assert_int_eq(err.code, QMPSNAP_USAGE);
		qmpsnap_store_close(store);
	}
	kit_remove_folder(folder);
}
END_TEST

/* What is written down of where a store was. */
START_TEST(test_places)
{
	static const struct {
		const char *environment, *spec, *again, *place; /* `place` NULL: the spec says it */
	} rows[] = {
		{"OS_CLOUD=a", "glance:", "glance:?os-cloud=a",
			"http://k:5000, project d of domain D, region R"},
		{"OS_CLOUD=a", "swift:c?insecure", "swift:c?insecure&os-cloud=a",
			"http://k:5000, project d of domain D, region R"},
		{"OS_CLOUD=a", "glance:?os-cloud=n", "glance:?os-cloud=n", "http://g"},
		{"OS_CLOUD=a", "glance:http://h", "glance:http://h", NULL},
		{"OS_AUTH_URL=http://e/v3/ OS_TOKEN=hush OS_PROJECT_ID=i",
			"glance:", "glance:", "http://e, project i"},
		{"OS_AUTH_URL=http://e OS_TOKEN=hush OS_DOMAIN_NAME=D",
			"glance:", "glance:", "http://e, scope of domain D"},
		{"OS_AUTH_URL=http://e OS_APPLICATION_CREDENTIAL_ID=c "
		 "OS_APPLICATION_CREDENTIAL_SECRET=hush OS_IMAGE_ENDPOINT_OVERRIDE=http://g/v2",
			"glance:", "glance:", "http://e, application credential c, at http://g"},
		{"OS_AUTH_URL=http://e OS_APPLICATION_CREDENTIAL_NAME=n OS_USER_ID=u "
		 "OS_APPLICATION_CREDENTIAL_SECRET=hush",
			"glance:", "glance:", "http://e, application credential n of u"},
	};
	char *folder = kit_folder("/tmp"), path[256];

	(void)snprintf(path, sizeof(path), "%s/clouds.yaml", folder);
	FILE *file = fopen(path, "w");
	(void)fputs("clouds: {a: {region_name: R, auth: {auth_url: 'http://k:5000/v3', username: "
		    "u, password: hush, project_name: d, user_domain_name: D, "
		    "project_domain_name: D}}, n: {auth_type: none, auth: {endpoint: "
		    "'http://g/v2'}}}",
		file);
	(void)fclose(file);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char words[512], *rest = NULL;
		(void)snprintf(words, sizeof(words), "OS_CLIENT_CONFIG_FILE=%s %s", path,
			rows[i].environment);
		ck_assert_int_eq(clearenv(), 0);
		for (char *word = strtok_r(words, " ", &rest); word;
			word = strtok_r(NULL, " ", &rest))
			ck_assert_int_eq(putenv(word), 0);
		struct qmpsnap_store *store = qmpsnap_store_open(&loop, rows[i].spec, NULL, &err);
		ck_assert_msg(store != NULL, "row %zu: %s", i, err.message);
		ck_assert_str_eq(qmpsnap_store_spec(store), rows[i].again);
		if (rows[i].place)
			ck_assert_str_eq(store->place, rows[i].place);
		else
			ck_assert_ptr_null(store->place);
		qmpsnap_store_close(store);
		ck_assert_int_eq(clearenv(), 0);
	}
	kit_remove_folder(folder);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("cloud_spec");
	TCase *c = tcase_create("cloud_spec");

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, loop_setup, loop_teardown);
	tcase_add_test(c, test_specs);
	tcase_add_test(c, test_places);
	suite_add_tcase(s, c);
	return s;
}

SUITE_MAIN(suite)

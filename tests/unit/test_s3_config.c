/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "store_kit.h"
#include "suite.h"
#include "upload/ini.h"
#include "upload/s3_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char *home;
static struct qmpsnap_error err;
static struct s3_config config;
static unsigned warnings;

static void note_warning(enum qmpsnap_log_level level, const char *message, void *data)
{
	(void)level;
	(void)data;
	ck_assert_ptr_null(strstr(message, "hush"));
	warnings++;
}

static void setup(void)
{
	char folder[256];

	home = kit_folder("/tmp");
	ck_assert_int_eq(clearenv(), 0);
	ck_assert_int_eq(setenv("HOME", home, 1), 0);
	(void)snprintf(folder, sizeof(folder), "%s/.aws", home);
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	qmpsnap_log_to(QMPSNAP_LOG_WARNING, note_warning, NULL);
}

static void teardown(void)
{
	s3_config_free(&config);
	kit_remove_folder(home);
}

static void put_file(const char *name, const char *text, mode_t mode)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/.aws/%s", home, name);
	FILE *file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(text, file), 0);
	ck_assert_int_eq(fclose(file), 0);
	ck_assert_int_eq(chmod(path, mode), 0);
}

static void put_environment(const char *words)
{
	char text[512];

	(void)snprintf(text, sizeof(text), "%s", words);
	for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
		char *equals = strchr(word, '=');
		ck_assert_ptr_nonnull(equals);
		*equals = '\0';
		ck_assert_int_eq(setenv(word, equals + 1, 1), 0);
	}
}

/* ---- The language ------------------------------------------------------------------------- */

START_TEST(test_ini)
{
	static const char text[] = "# c\n; c\n[ a ]\r\nKey = v = w \r\n\n  # c\n[profile \t b]\n"
				   "s3 =\n  x = 1\n\ty=2\nz = 3\n[a]\nmore=4\n[empty]";
	static const char *const wrong[] = {"key = v", "[a\nk=v", "[a]\nword", "[a]\n=\nword"};
	struct json_object *all, *none;

	ck_assert(ini_parse(text, "file", &all, &err));
	struct json_object *a = json_member(all, "a", json_type_object);
	struct json_object *b = json_member(all, "profile b", json_type_object);
	ck_assert_str_eq(json_string(a, "key"), "v = w");
	ck_assert_str_eq(json_string(a, "more"), "4");
	ck_assert_str_eq(json_string(json_member(b, "s3", json_type_object), "x"), "1");
	ck_assert_str_eq(json_string(json_member(b, "s3", json_type_object), "y"), "2");
	ck_assert_str_eq(json_string(b, "z"), "3");
	ck_assert_ptr_nonnull(json_member(all, "empty", json_type_object));
	(void)json_object_put(all);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		ck_assert_msg(!ini_parse(wrong[i], "file", &none, &err), "%s", wrong[i]);
		ck_assert_ptr_nonnull(strstr(err.message, "file, line "));
		ck_assert_ptr_null(none);
	}
}
END_TEST

/* ---- What comes before what --------------------------------------------------------------- */

#define CREDENTIALS                                                                                \
	"[default]\naws_access_key_id=cred\naws_secret_access_key=hush\n"                          \
	"[lab]\naws_access_key_id=lab\naws_secret_access_key=hush2\naws_session_token=tok\n"

#define CONFIG                                                                                     \
	"[default]\naws_access_key_id=conf\naws_secret_access_key=hush\nregion=conf-1\n"           \
	"endpoint_url=http://profile\n"                                                            \
	"[profile lab]\nregion=lab-1\nservices=svc\ns3 =\n  addressing_style=virtual\n"            \
	"[services svc]\ns3 =\n  endpoint_url=http://service\n"                                    \
	"[profile half]\naws_access_key_id=half\n"                                                 \
	"[profile sso]\nsso_session=x\n"

static const struct row {
	const char *environment;
	const char *key; /* NULL: refused */
	const char *secret, *token, *region, *endpoint;
	bool virtual_host;
	const char *said; /* in message or hint of a refusal */
} rows[] = {
	{"A=", "cred", "hush", NULL, "conf-1", "http://profile", false, NULL},
	{"AWS_ACCESS_KEY_ID=e AWS_SECRET_ACCESS_KEY=s", "e", "s", NULL, "conf-1", "http://profile",
		false, NULL},
	{"AWS_ACCESS_KEY_ID=e AWS_SECRET_ACCESS_KEY=s AWS_SESSION_TOKEN=t AWS_PROFILE=lab "
	 "AWS_REGION=r AWS_DEFAULT_REGION=no",
		"e", "s", "t", "r", "http://service", true, NULL},
	{"AWS_PROFILE=lab", "lab", "hush2", "tok", "lab-1", "http://service", true, NULL},
	{"AWS_DEFAULT_PROFILE=lab AWS_ENDPOINT_URL=http://any AWS_DEFAULT_REGION=d", "lab", "hush2",
		"tok", "d", "http://any", true, NULL},
	{"AWS_ENDPOINT_URL=http://any AWS_ENDPOINT_URL_S3=http://s3", "cred", "hush", NULL,
		"conf-1", "http://s3", false, NULL},
	{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true", "cred", "hush", NULL, "conf-1", "", true,
		NULL},
	{"AWS_ACCESS_KEY_ID=e", NULL, NULL, NULL, NULL, NULL, false, "AWS_SECRET_ACCESS_KEY isn't"},
	{"AWS_PROFILE=nobody", NULL, NULL, NULL, NULL, NULL, false, "'nobody' is in no file"},
	{"AWS_PROFILE=half", NULL, NULL, NULL, NULL, NULL, false, "no credentials"},
	{"AWS_PROFILE=sso", NULL, NULL, NULL, NULL, NULL, false, "sso_session"},
};

START_TEST(test_precedence)
{
	const struct row *row = &rows[_i];

	put_file("credentials", CREDENTIALS, 0600);
	put_file("config", CONFIG, 0600);
	put_environment(row->environment);
	ck_assert_int_eq(s3_config_open(&config, &err), row->key != NULL);
	ck_assert_uint_eq(warnings, 0);
	if (!row->key) {
		ck_assert_int_eq(err.code, QMPSNAP_USAGE);
		ck_assert_msg(strstr(err.message, row->said) || strstr(err.hint, row->said), "%s",
			err.message);
		ck_assert_ptr_null(strstr(err.message, "hush"));
		return;
	}
	ck_assert_str_eq(config.access_key, row->key);
	ck_assert_str_eq(config.secret_key, row->secret);
	ck_assert_pstr_eq(config.session_token, row->token);
	ck_assert_str_eq(config.region, row->region);
	ck_assert_str_eq(config.endpoint, row->endpoint);
	ck_assert_int_eq(config.virtual_host, row->virtual_host);
}
END_TEST

START_TEST(test_no_files)
{
	ck_assert(!s3_config_open(&config, &err));
	put_environment("AWS_ACCESS_KEY_ID=e AWS_SECRET_ACCESS_KEY=s AWS_CA_BUNDLE=/ca.pem");
	s3_config_free(&config);
	ck_assert(s3_config_open(&config, &err));
	ck_assert_str_eq(config.region, "us-east-1");
	ck_assert_str_eq(config.ca_bundle, "/ca.pem");
}
END_TEST

START_TEST(test_others_may_read)
{
	put_file("config", "[default]\nregion=x\n", 0644);
	put_file("credentials", CREDENTIALS, 0644);
	ck_assert(s3_config_open(&config, &err));
	ck_assert_uint_eq(warnings, 1);
}
END_TEST

START_TEST(test_broken_file)
{
	put_file("credentials", "[default]\nhush\n", 0600);
	ck_assert(!s3_config_open(&config, &err));
	ck_assert_ptr_nonnull(strstr(err.message, "line 2"));
	ck_assert_ptr_null(strstr(err.message, "hush"));
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("s3_config");
	TCase *tcase = tcase_create("s3_config");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_add_test(tcase, test_ini);
	tcase_add_loop_test(tcase, test_precedence, 0, (int)(sizeof(rows) / sizeof(rows[0])));
	tcase_add_test(tcase, test_no_files);
	tcase_add_test(tcase, test_others_may_read);
	tcase_add_test(tcase, test_broken_file);
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)

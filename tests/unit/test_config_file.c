/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/config_file.h"

#include "base/json.h"
#include "store_kit.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static struct qmpsnap_error err;

/* A file of this text, or a FIFO. */
static void assert_refused(const char *text, const char *why)
{
	char *folder = kit_folder("/tmp"), path[64];
	struct json_object *object;

	(void)snprintf(path, sizeof(path), "%s/clouds.yaml", folder);
	if (text) {
		FILE *file = fopen(path, "w");
		ck_assert_ptr_nonnull(file);
		ck_assert_int_ge(fputs(text, file), 0);
		ck_assert_int_eq(fclose(file), 0);
	} else {
		ck_assert_int_eq(mkfifo(path, 0600), 0);
	}
	ck_assert_int_eq(config_file_read(path, &object, NULL, &err), CONFIG_WRONG);
	ck_assert_ptr_nonnull(strstr(err.message, why));
	kit_remove_folder(folder);
}

/* A file whose aliases would unfold to 10^9 texts is read in no time, one that is too deep or too
 * long isn't read. */
START_TEST(test_limits)
{
	static char text[CONFIG_FILE_BYTES + 100];
	struct json_object *object;
	size_t len = 0;

	len += (size_t)snprintf(text, sizeof(text), "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
	for (int i = 1; i < 10; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
			"a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i,
			i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
	ck_assert_msg(config_file_parse(text, len, "f", &object, &err), "%s", err.message);
	ck_assert_uint_eq(json_length(json_member(object, "a9", json_type_array)), 10);
	(void)json_object_put(object);

	for (int depth = CONFIG_FILE_DEPTH; depth <= CONFIG_FILE_DEPTH + 1; depth++) {
		memset(text, '[', (size_t)depth);
		text[depth] = 'x';
		memset(text + depth + 1, ']', (size_t)depth);
		const bool well =
			config_file_parse(text, (size_t)depth * 2 + 1, "f", &object, &err);
		ck_assert_int_eq(well, depth == CONFIG_FILE_DEPTH);
		(void)json_object_put(object);
	}
	memset(text, '[', 500000);
	ck_assert(!config_file_parse(text, 500000, "f", &object, &err));
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_refused(text, "is longer than");
	assert_refused(NULL, "isn't a regular file");
}
END_TEST

/* 30000 mappings of 30000 keys from a file of half a MiB. */
START_TEST(test_many_merges)
{
	static char text[CONFIG_FILE_BYTES];
	struct json_object *object;
	size_t len = (size_t)snprintf(text, sizeof(text), "a: &a {");

	for (int i = 0; i < 30000; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "k%d: 1,", i);
	len += (size_t)snprintf(text + len, sizeof(text) - len, "}\nl:\n");
	for (int i = 0; i < 30000; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "- <<: *a\n");
	ck_assert(!config_file_parse(text, len, "f", &object, &err));
	ck_assert_ptr_nonnull(strstr(err.message, "too much"));
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("config_file");
	TCase *c = tcase_create("config_file");

	tcase_set_timeout(c, 60);
	tcase_add_test(c, test_limits);
	tcase_add_test(c, test_many_merges);
	suite_add_tcase(s, c);
	return s;
}

SUITE_MAIN(suite)

/* SPDX-License-Identifier: Apache-2.0 */
#include "suite.h"
#include "upload/readable.h"

#include <stdlib.h>
#include <string.h>

static const struct {
	const char *body, *line;
} bodies[] = {
	{"", ""},
	{"plain words", "plain words"},
	{"<html>\n <head>\n  <title>413 Too Large</title>\n </head>\n <body>\n  "
	 "<h1>413 Too Large</h1>\n  Image exceeds the\n quota &lt;1&gt;&amp;2<br /><br />\n"
	 "</body>\n</html>",
		"Image exceeds the quota <1>&2"},
	{"<script>evil()</script>a<b>c</b>", "a c"},
	{"\x1b[31mred\x07\xc2\x9b", "[31mred ??"},
	{"<", "<"},
	{"a < b", "a < b"},
	{"<!-- x --> y", "y"},
	{"<title>never closed", ""},
	{"<!-- never closed", ""},
	{"{\"error\": {\"message\": \"not\\nyou\", \"code\": 401}}", "not you"},
	{"{\"message\": \"no\"}", "no"},
	{"{\"error\": \"no\"}", "no"},
	{"{broken", "{broken"},
	{"&#39;&quot;&unknown;", "'\"&unknown;"},
};

START_TEST(test_readable)
{
	const size_t len = strlen(bodies[_i].body);
	char line[64], *body = malloc(len + 1); /* nothing of ours behind it */

	ck_assert_ptr_nonnull(body);
	memcpy(body, bodies[_i].body, len + 1);
	readable_line(line, sizeof(line), body, len);
	ck_assert_str_eq(line, bodies[_i].line);
	free(body);
}
END_TEST

START_TEST(test_readable_fits)
{
	char line[8], body[1000];

	memset(body, 'x', sizeof(body));
	readable_line(line, sizeof(line), body, sizeof(body));
	ck_assert_str_eq(line, "xxxxxxx");
	readable_line(line, sizeof(line), "abcdef ghi", 10);
	ck_assert_str_eq(line, "abcdef");
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("readable");
	TCase *c = tcase_create("readable");

	tcase_add_loop_test(c, test_readable, 0, (int)(sizeof(bodies) / sizeof(bodies[0])));
	tcase_add_test(c, test_readable_fits);
	suite_add_tcase(s, c);
	return s;
}

SUITE_MAIN(suite)

/* SPDX-License-Identifier: Apache-2.0
 *
 * The store s3: what it reads and writes as text: XML, the ETag of parts, specs. */
#include "fixture.h"
#include "s3_kit.h"
#include "suite.h"
#include "upload/xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void count(const char *path, const char *text, void *data)
{
	(void)path;
	(void)text;
	++*(unsigned *)data;
}

START_TEST(test_xml)
{
	static const char xml[] = "<?xml version=\"1.0\"?><n:a xmlns:n=\"x\"><n:b>1 &amp;&#60; "
				  "</n:b>\n<c/><b>2</b></n:a>";
	static const char *const wrong[] = {"", "<a>", "<a></b>", "text", "{\"a\": 1}",
		"<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
		"<a><a><a><a><a><a><a><a><a></a></a></a></a></a></a></a></a></a>"};
	char text[32], longer[XML_TEXT_BYTES + 32];
	unsigned n = 0;

	xml_get(xml, strlen(xml), "a/b", text, sizeof(text));
	ck_assert_str_eq(text, "1 &< ");
	xml_get(xml, strlen(xml), "b", text, sizeof(text));
	ck_assert_str_eq(text, "");
	xml_get(xml, strlen(xml), "a/b", text, 5);
	ck_assert_str_eq(text, "");
	ck_assert(xml_each(xml, strlen(xml), count, &n));
	ck_assert_uint_eq(n, 4);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ck_assert_msg(!xml_each(wrong[i], strlen(wrong[i]), count, &n), "%s", wrong[i]);
	(void)snprintf(longer, sizeof(longer), "<a>%0*d</a>", XML_TEXT_BYTES, 0);
	ck_assert(!xml_each(longer, strlen(longer), count, &n));
	ck_assert(xml_escape(text, sizeof(text), "a<b&\""));
	ck_assert_str_eq(text, "a&lt;b&amp;&quot;");
	ck_assert(!xml_escape(text, 5, "a<b"));
}
END_TEST

START_TEST(test_whole_etag)
{
	/* md5 of the 32 bytes that two of MD5 are, by md5sum(1) */
	static const struct part_note notes[] = {
		{.etag = MD5}, {.etag = MD5}, {.etag = MD5 "-3"}, {.etag = ""}};
	char whole[REMOTE_ETAG_BYTES];

	ck_assert(s3_whole_etag(whole, notes, 2));
	ck_assert_str_eq(whole, "5775d833b6f80e83231f82899ce76c00-2");
	ck_assert(!s3_whole_etag(whole, notes, 3));
	ck_assert(!s3_whole_etag(whole, notes + 3, 1));
	ck_assert_str_eq(whole, "");
	char *body = s3_complete_body(notes, 2);
	ck_assert_ptr_nonnull(strstr(body, "<Part><ETag>\"" MD5 "\"</ETag><PartNumber>2</"));
	free(body);
}
END_TEST

START_TEST(test_specs)
{
	static const struct {
		const char *spec, *region, *endpoint;
		const char *url; /* NULL: refused */
	} rows[] = {
		{"s3://bucket", "eu-1", "", "https://bucket.s3.eu-1.amazonaws.com"},
		{"s3://bucket/a/b/", "cn-1", "", "https://bucket.s3.cn-1.amazonaws.com.cn"},
		{"s3://b.u.c", "eu-1", "", "https://s3.eu-1.amazonaws.com/b.u.c"},
		{"s3://bucket", "x", "http://h:1/p/", "http://h:1/p/bucket"},
		{"s3://bucket/?insecure", "x", "https://h", "https://h/bucket"},
		{"s3:bucket", "x", "http://h", NULL},
		{"s3://", "x", "http://h", NULL},
		{"s3://bu", "x", "http://h", NULL},
		{"s3://bu@cket", "x", "http://h", NULL},
		{"s3://bucket/../x", "x", "http://h", NULL},
		{"s3://bucket/a?b", "x", "http://h", NULL},
		{"s3://bucket", "a:b", "http://h", NULL},
		{"s3://bucket", "x", "ftp://h", NULL},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ck_assert_int_eq(setenv("AWS_ENDPOINT_URL", rows[i].endpoint, 1), 0);
		ck_assert_int_eq(setenv("AWS_REGION", rows[i].region, 1), 0);
		store = qmpsnap_store_open(&loop, rows[i].spec, NULL, &err);
		ck_assert_msg((store != NULL) == (rows[i].url != NULL), "%s", rows[i].spec);
		if (store)
			ck_assert_str_eq(((struct s3_store *)store)->url, rows[i].url);
		else
			ck_assert_int_eq(err.code, QMPSNAP_USAGE);
		qmpsnap_store_close(store);
	}
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("s3 texts");
	TCase *tcase = tcase_create("s3 texts");

	tcase_add_checked_fixture(tcase, loop_setup, loop_teardown);
	tcase_add_checked_fixture(tcase, set_account, NULL);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, test_xml);
	tcase_add_test(tcase, test_whole_etag);
	tcase_add_test(tcase, test_specs);
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)

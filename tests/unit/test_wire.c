/* SPDX-License-Identifier: Apache-2.0 */
#include "qmp/wire.h"
#include "tests/unit/suite.h"

#include <stdio.h>
#include <string.h>

static struct wire wire;
static struct wire_message message;
static struct qmpsnap_error err;

static void setup(void)
{
	ck_assert(wire_init(&wire, 0));
}

static void setup_small(void)
{
	ck_assert(wire_init(&wire, 64));
}

static void teardown(void)
{
	wire_free(&wire);
}

static void feed(const char *text)
{
	ck_assert(wire_feed(&wire, text, strlen(text)));
}

static void expect(enum wire_result result)
{
	ck_assert_int_eq(wire_next(&wire, &message, &err), result);
}

static void expect_return(const char *id)
{
	expect(WIRE_MESSAGE);
	ck_assert_int_eq(message.kind, WIRE_RETURN);
	ck_assert_str_eq(message.id, id);
	wire_drop(&message);
}

START_TEST(kinds)
{
	feed("{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n"
	     "{\"return\": {\"status\": \"running\"}, \"id\": \"a\"}\r\n"
	     "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}, \"id\": \"b\"}\r\n"
	     "\r\n{\"event\": \"STOP\", \"timestamp\": {}}\n"
	     "{\"event\": \"JOB\", \"data\": {\"id\": \"j\"}}\n{\"return\": [1], \"id\": 5}\n");
	expect(WIRE_MESSAGE);
	ck_assert_int_eq(message.kind, WIRE_GREETING);
	ck_assert_ptr_nonnull(json_member(message.value, "capabilities", json_type_array));
	wire_drop(&message);
	expect(WIRE_MESSAGE);
	ck_assert_int_eq(message.kind, WIRE_RETURN);
	ck_assert_str_eq(json_string(message.value, "status"), "running");
	ck_assert_str_eq(message.id, "a");
	wire_drop(&message);
	expect(WIRE_MESSAGE);
	ck_assert_int_eq(message.kind, WIRE_ERROR);
	ck_assert_str_eq(message.name, "GenericError");
	ck_assert_str_eq(message.desc, "no");
	ck_assert_str_eq(message.id, "b");
	wire_drop(&message);
	expect(WIRE_MESSAGE);
	ck_assert_int_eq(message.kind, WIRE_EVENT);
	ck_assert_str_eq(message.name, "STOP");
	ck_assert_ptr_null(message.value);
	ck_assert(!message.has_id);
	wire_drop(&message);
	expect(WIRE_MESSAGE);
	ck_assert_str_eq(json_string(message.value, "id"), "j");
	ck_assert(!message.has_id);
	wire_drop(&message);
	expect(WIRE_MESSAGE);
	ck_assert(message.has_id);
	ck_assert_ptr_null(message.id);
	wire_drop(&message);
	expect(WIRE_MORE);
}
END_TEST

#define THREE                                                                                      \
	"{\"return\": {\"x\": \"\\r\\n}\"}, \"id\": \"1\"}\r\n"                                    \
	"{\n    \"return\": {\n    },\n    \"id\": \"2\"\n}\n"                                     \
	"{\"return\": [[], {}], \"id\": \"3\"}\r\n"

/* Every pair of places to split at. */
START_TEST(split_anywhere)
{
	const size_t length = strlen(THREE);

	for (size_t a = 0; a <= length; a++) {
		for (size_t b = a; b <= length; b++) {
			const size_t cuts[] = {0, a, b, length};
			char id[] = "1";

			for (int i = 0; i < 3; i++) {
				ck_assert(wire_feed(&wire, &THREE[cuts[i]], cuts[i + 1] - cuts[i]));
				while (wire_next(&wire, &message, &err) == WIRE_MESSAGE) {
					ck_assert_str_eq(message.id, id);
					wire_drop(&message);
					id[0]++;
				}
				ck_assert_int_eq(err.code, QMPSNAP_OK);
			}
			ck_assert_str_eq(id, "4");
		}
	}
}
END_TEST

START_TEST(many_mebibytes)
{
	const size_t element = strlen("\"0123456789abcdef\", ");
	const size_t n = (24 << 20) / element;
	char *text = malloc(n * element + 100);
	size_t length = 0;
	size_t at = 0;

	ck_assert_ptr_nonnull(text);
	length += (size_t)sprintf(text, "{\"return\": [");
	for (size_t i = 0; i < n; i++)
		length += (size_t)sprintf(text + length, "\"0123456789abcdef\", ");
	length += (size_t)sprintf(text + length, "0], \"id\": \"big\"}\r\n");
	while (at < length) {
		size_t chunk = 1 + (size_t)random() % 100000;

		ck_assert(at == 0 || wire_next(&wire, &message, &err) == WIRE_MORE);
		chunk = chunk < length - at ? chunk : length - at;
		ck_assert(wire_feed(&wire, text + at, chunk));
		at += chunk;
	}
	expect(WIRE_MESSAGE);
	ck_assert_uint_eq(json_length(message.value), n + 1);
	ck_assert_str_eq(message.id, "big");
	wire_drop(&message);
	expect(WIRE_MORE);
	ck_assert_uint_le(wire.size, 1 << 20);
	free(text);
}
END_TEST

/* clang-format off */
static const struct {
	const char *line, *why;
} wrong[] = {
	{"QEMU 7.2.22 monitor - type 'help'", "no JSON (\"QEMU 7.2.22"},
	{"{\"return\": {}, \"id\": \"a\"", "no JSON"},
	{"{\"return\": {}} {\"return\": {}}", "no JSON"},
	{"{\"return\": {}}x", "no JSON"},
	{"{return: {}}", "no JSON"},
	{"{\"return\": \"\xff\xfe\"}", "no JSON (\"{\"return\": \"..\"}"},
	{"[]", "no object"},
	{"\"return\"", "no object"},
	{"7", "no JSON"},
	{"null", "no JSON"},
	{"{}", "neither a reply nor an event"},
	{"{\"id\": \"a\"}", "neither a reply nor an event"},
	{"{\"return\": null}", "without a value"},
	{"{\"error\": \"no\"}", "without class and text"},
	{"{\"error\": {\"class\": \"GenericError\"}}", "without class and text"},
	{"{\"error\": {\"class\": 1, \"desc\": []}}", "without class and text"},
	{"{\"event\": 7}", "name is no string"},
	{"{\"event\": null}", "name is no string"},
	{"{\"event\": \"STOP\", \"data\": []}", "data is no object"},
	{"{\"event\": \"STOP\", \"data\": null}", "data is no object"},
	{"{\"QMP\": []}", "greeting that is no object"},
};
/* clang-format on */

START_TEST(wrong_line_is_broken)
{
	feed(wrong[_i].line);
	expect(WIRE_MORE);
	feed("\r\n{\"return\": {}, \"id\": \"x\"}\r\n");
	expect(WIRE_BROKEN);
	ck_assert_int_eq(err.code, QMPSNAP_QEMU);
	ck_assert_msg(strstr(err.message, wrong[_i].why), "%s", err.message);
	for (const char *c = err.message; *c; c++)
		ck_assert_msg(*c >= ' ' && *c < 127, "%s", err.message);
}
END_TEST

START_TEST(wrong_line_is_dropped_when_tolerant)
{
	wire.tolerant = true;
	feed(wrong[_i].line);
	feed("\r\n{\"return\": {}, \"id\": \"x\"}\r\n");
	expect_return("x");
	expect(WIRE_MORE);
}
END_TEST

START_TEST(nul_is_no_end)
{
	static const char line[] = "{\"return\": {}}\0garbage\n";

	ck_assert(wire_feed(&wire, line, sizeof(line) - 1));
	expect(WIRE_BROKEN);
}
END_TEST

static void feed_nested(int depth)
{
	feed("{\"id\": \"deep\", \"return\": ");
	for (int i = 0; i < depth; i++)
		feed("[");
	for (int i = 0; i < depth; i++)
		feed("]");
	feed("}\n");
}

START_TEST(depth_is_limited)
{
	feed_nested(1000);
	expect_return("deep");
	feed_nested(1100);
	expect(WIRE_BROKEN);
	ck_assert_ptr_nonnull(strstr(err.message, "too deeply"));
}
END_TEST

/* What would take gigabytes of memory once it is parsed. */
static void feed_values(const char *value, size_t n)
{
	feed("{\"id\": \"many\", \"return\": [");
	for (size_t i = 0; i < n; i++)
		feed(value);
	feed("0]}\n");
}

START_TEST(number_of_values_is_limited)
{
	feed_values("{},", JSON_MOST_CONTAINERS - 2);
	expect_return("many");
	feed_values("{},", JSON_MOST_CONTAINERS - 1);
	expect(WIRE_BROKEN);
	ck_assert_ptr_nonnull(strstr(err.message, "too many values"));
	wire_reset(&wire);
	feed_values("[],", JSON_MOST_CONTAINERS - 1);
	expect(WIRE_BROKEN);
	wire_reset(&wire);
	feed_values("0,", JSON_MOST_VALUES - 1);
	expect(WIRE_BROKEN);
	ck_assert_ptr_nonnull(strstr(err.message, "too many values"));
}
END_TEST

#define OF_64 "{\"return\": \"01234567890123456789012345678901234567\", \"id\": \"64\"}"

START_TEST(length_is_limited)
{
	ck_assert_uint_eq(strlen(OF_64), 64);
	feed(OF_64 "    \n");
	expect_return("64");
	feed(OF_64);
	expect(WIRE_MORE);
	feed(" ");
	expect(WIRE_BROKEN);
	ck_assert_str_eq(err.message, "a message of more than 64 bytes");
}
END_TEST

START_TEST(length_is_limited_in_one_read)
{
	feed("{     " OF_64 "\n");
	expect(WIRE_BROKEN);
	ck_assert_str_eq(err.message, "a message of more than 64 bytes");
}
END_TEST

START_TEST(long_line_is_dropped_when_tolerant)
{
	wire.tolerant = true;
	for (int i = 0; i < 1000; i++) {
		feed("{\"return\": \"");
		feed(OF_64);
		expect(WIRE_MORE);
		ck_assert_uint_le(wire.size, 16 << 10);
	}
	feed("{\"return\": 1, \"id\": \"same line\"}\n{\"return\": 1, \"id\": \"x\"}\n");
	expect_return("x");
	feed(OF_64 OF_64 "\n" OF_64 "\n");
	expect_return("64");
}
END_TEST

/* Every tail of a reply, as a dead reader leaves it: at most that line is lost. */
START_TEST(torn_line_is_dropped)
{
	static const char torn[] = "{\"return\": {\"s\": \"a } { \\\" b\", \"o\": {\"p\": [{}]}}, "
				   "\"id\": \"old\"}\r\n";

	wire.tolerant = true;
	for (size_t i = 1; i < sizeof(torn) - 1; i++) {
		feed(torn + i);
		feed("{\"return\": {}, \"id\": \"new\"}\r\n");
		expect_return("new");
	}
}
END_TEST

START_TEST(noise_is_survived)
{
	static const char alphabet[] = "{}[]\",:\\ \n\r\t0123eE-.nulltruefalse\"return\"\"id\"";

	wire.tolerant = true;
	for (int round = 0; round < 3000; round++) {
		char noise[120];
		const size_t length = (size_t)random() % sizeof(noise);
		enum wire_result result;

		for (size_t i = 0; i < length; i++)
			noise[i] = (char)(random() % 4 ? alphabet[(size_t)random() %
								  (sizeof(alphabet) - 1)]
						       : random());
		ck_assert(wire_feed(&wire, noise, length));
		while ((result = wire_next(&wire, &message, &err)) == WIRE_MESSAGE)
			wire_drop(&message);
		ck_assert_int_eq(result, WIRE_MORE);
	}
	/* A "{" alone begins a message over several lines. */
	feed("\n}\n{\"return\": {}, \"id\": \"x\"}\n");
	expect_return("x");
}
END_TEST

START_TEST(excerpts)
{
	char out[8];

	wire_excerpt(out, sizeof(out), "ab\x1b\n\xc3", 5);
	ck_assert_str_eq(out, "ab...");
	wire_excerpt(out, sizeof(out), "1234567", 7);
	ck_assert_str_eq(out, "1234567");
	wire_excerpt(out, sizeof(out), "12345678", 8);
	ck_assert_str_eq(out, "1234...");
	wire_excerpt(out, sizeof(out), NULL, 0);
	ck_assert_str_eq(out, "");
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("wire");
	TCase *usual = tcase_create("usual");
	TCase *small = tcase_create("small limit");

	tcase_add_checked_fixture(usual, setup, teardown);
	tcase_set_timeout(usual, 60);
	tcase_add_test(usual, kinds);
	tcase_add_test(usual, split_anywhere);
	tcase_add_test(usual, many_mebibytes);
	tcase_add_loop_test(usual, wrong_line_is_broken, 0, sizeof(wrong) / sizeof(wrong[0]));
	tcase_add_loop_test(
		usual, wrong_line_is_dropped_when_tolerant, 0, sizeof(wrong) / sizeof(wrong[0]));
	tcase_add_test(usual, nul_is_no_end);
	tcase_add_test(usual, depth_is_limited);
	tcase_add_test(usual, number_of_values_is_limited);
	tcase_add_test(usual, torn_line_is_dropped);
	tcase_add_test(usual, noise_is_survived);
	tcase_add_test(usual, excerpts);
	suite_add_tcase(s, usual);
	tcase_add_checked_fixture(small, setup_small, teardown);
	tcase_add_test(small, length_is_limited);
	tcase_add_test(small, length_is_limited_in_one_read);
	tcase_add_test(small, long_line_is_dropped_when_tolerant);
	suite_add_tcase(s, small);
	return s;
}

SUITE_MAIN(suite)

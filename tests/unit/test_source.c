/* SPDX-License-Identifier: Apache-2.0
 *
 * Sources: what is said of a disk, from QEMU's block graph (shapes recorded from QEMU 7.2.22) and
 * from an image file's header. */
#include "blockops/qcow2_header.h"
#include "blockops/source.h"
#include "suite.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NODE(name, driver, file, more)                                                             \
	"{\"node-name\":\"" name "\",\"drv\":\"" driver "\",\"file\":\"" file "\"" more "}"
#define BLOCK(id, name) "{\"id\":" #id ",\"type\":\"block-driver\",\"name\":\"" name "\"}"
#define EDGE(parent, child, name)                                                                  \
	"{\"parent\":" #parent ",\"child\":" #child ",\"name\":\"" name "\"}"
#define GRAPH(nodes, edges) "{\"nodes\":[" nodes "],\"edges\":[" edges "]}"
#define FILE_0              "{\"driver\":\"file\",\"filename\":\"/proc/self/fd/4\"}"
#define FILE_1              "{\"driver\":\"file\",\"filename\":\"/proc/self/fd/5\"}"

static char opened[4][128];
static size_t n_opened;
static struct qmpsnap_error err;

static int open_file(const char *filename, void *data, struct qmpsnap_error *error)
{
	(void)data;
	if (strcmp(filename, "/missing") == 0) {
		error_errno(error, QMPSNAP_REFUSED, ENOENT, "%s", filename);
		return -1;
	}
	ck_assert_uint_lt(n_opened, 4);
	(void)snprintf(opened[n_opened++], sizeof(opened[0]), "%s", filename);
	return memfd_create("disk", MFD_CLOEXEC);
}

static struct source *source_of(
	const char *nodes, const char *graph, const char *node, uint64_t size_bytes)
{
	const struct source_graph from = {.nodes = json_tokener_parse(nodes),
		.graph = json_tokener_parse(graph),
		.open = open_file};

	ck_assert(from.nodes && from.graph);
	n_opened = 0;
	err = (struct qmpsnap_error){0};
	struct source *source = source_of_node(&from, node, size_bytes, &err);
	json_object_put(from.nodes);
	json_object_put(from.graph);
	return source;
}

/* Compares the node, whatever the order of its members. */
static void says(struct source *source, const char *expected)
{
	struct json_object *json = json_tokener_parse(expected);

	ck_assert_msg(source != NULL, "%s", err.message);
	ck_assert_ptr_nonnull(json);
	ck_assert_msg(json_object_equal(source->node, json), "%s", source->name);
	ck_assert_int_eq(strncmp(source->name, "json:{", 6), 0);
	json_object_put(json);
	source_free(source);
}

static void refused(struct source *source, const char *word)
{
	ck_assert_ptr_null(source);
	ck_assert_int_eq(err.code, QMPSNAP_REFUSED);
	ck_assert_msg(strstr(err.message, word) != NULL, "%s", err.message);
}

/* ---- From QEMU's graph ---- */

START_TEST(qcow2_on_a_file)
{
	/* A name that would break any list of options is opened here, and told to nobody. */
	says(source_of("[" NODE("d", "qcow2", "x", "") "," NODE(
			       "f", "file", "/v/a,b=c:\\\"d\\\" .qcow2", "") "]",
		     GRAPH(BLOCK(1, "d") "," BLOCK(2, "f"), EDGE(1, 2, "file")), "d", 65536),
		"{\"driver\":\"qcow2\",\"file\":" FILE_0 ",\"backing\":null,\"force-share\":true}");
	ck_assert_uint_eq(n_opened, 1);
	ck_assert_str_eq(opened[0], "/v/a,b=c:\"d\" .qcow2");
}
END_TEST

START_TEST(raw_keeps_the_size_that_qemu_knows)
{
	static const char nodes[] =
		"[" NODE("d", "raw", "/v/d", "") "," NODE("f", "file", "/v/d", "") "]";
	static const char graph[] = GRAPH(BLOCK(1, "d") "," BLOCK(2, "f"), EDGE(1, 2, "file"));

	says(source_of(nodes, graph, "d", 1024),
		"{\"driver\":\"raw\",\"file\":" FILE_0 ",\"size\":1024,\"force-share\":true}");
	says(source_of(nodes, graph, "d", 1000),
		"{\"driver\":\"raw\",\"file\":" FILE_0 ",\"force-share\":true}");
}
END_TEST

START_TEST(raw_with_a_window)
{
	says(source_of("[" NODE("d", "raw",
			       "json:{\\\"driver\\\":\\\"raw\\\",\\\"offset\\\":1048576,"
			       "\\\"size\\\":4096,\\\"file\\\":{\\\"driver\\\":\\\"file\\\","
			       "\\\"filename\\\":\\\"/v/d\\\"}}",
			       "") "," NODE("f", "file", "/v/d", "") "]",
		     GRAPH(BLOCK(1, "d") "," BLOCK(2, "f"), EDGE(1, 2, "file")), "d", 4096),
		"{\"driver\":\"raw\",\"offset\":1048576,\"size\":4096,\"file\":" FILE_0
		",\"force-share\":true}");
}
END_TEST

START_TEST(backing_and_data_file)
{
	/* The backing file is raw to QEMU, whatever stands in it. */
	says(source_of("[" NODE("d", "qcow2", "x", "") "," NODE("f", "file", "/v/d", "") "," NODE(
			       "r", "file", "/v/data", "") "," NODE("b", "raw", "/v/b",
			       "") "," NODE("g", "host_device", "/dev/b", "") "]",
		     GRAPH(BLOCK(1, "d") "," BLOCK(2, "f") "," BLOCK(3, "r") "," BLOCK(
				   4, "b") "," BLOCK(5, "g"),
			     EDGE(1, 2, "file") "," EDGE(1, 3, "data-file") "," EDGE(
				     1, 4, "backing") "," EDGE(4, 5, "file")),
		     "d", 4096),
		"{\"driver\":\"qcow2\",\"file\":" FILE_0 ",\"data-file\":" FILE_1
		",\"backing\":{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":"
		"\"/proc/self/fd/6\"}},\"force-share\":true}");
	ck_assert_str_eq(opened[1], "/v/data");
	ck_assert_str_eq(opened[2], "/dev/b");
}
END_TEST

START_TEST(throttle_changes_nothing)
{
	says(source_of("[" NODE("t", "throttle", "json:{}", "") "," NODE(
			       "d", "qcow2", "x", "") "," NODE("f", "file",
			       "json:{\\\"driver\\\":\\\"file\\\",\\\"filename\\\":\\\"/v/d\\\","
			       "\\\"pr-manager\\\":\\\"p\\\"}",
			       "") "]",
		     GRAPH(BLOCK(1, "t") "," BLOCK(2, "d") "," BLOCK(3, "f"),
			     EDGE(1, 2, "file") "," EDGE(2, 3, "file")),
		     "t", 4096),
		"{\"driver\":\"qcow2\",\"file\":" FILE_0 ",\"backing\":null,\"force-share\":true}");
	ck_assert_str_eq(opened[0], "/v/d");
}
END_TEST

static struct source *single(const char *nodes, const char *edges)
{
	char graph[512];

	(void)snprintf(graph, sizeof(graph),
		"{\"nodes\":[" BLOCK(1, "d") "," BLOCK(2, "f") "],\"edges\":[%s]}", edges);
	return source_of(nodes, graph, "d", 4096);
}

START_TEST(what_cannot_be_said)
{
	static const char below[] = EDGE(1, 2, "file");

	refused(single("[" NODE("d", "qcow2", "x", ",\"encrypted\":true") "," NODE(
			       "f", "file", "/v/d", "") "]",
			below),
		"encrypted");
	refused(single("[" NODE("d", "luks", "x", "") "," NODE("f", "file", "/v/d", "") "]", below),
		"encrypted");
	refused(single("[" NODE("d", "nbd", "nbd://h/x", "") "]", ""), "nbd");
	refused(single("[" NODE("d", "raw", "x", "") "," NODE("f", "rbd", "x", "") "]", below),
		"rbd");
	refused(single("[" NODE("d", "raw", "x", "") "," NODE("f", "file", "/dev/fdset/3", "") "]",
			below),
		"descriptor");
	refused(single("[" NODE("d", "raw", "x", "") "," NODE("f", "file", "/missing", "") "]",
			below),
		"/missing");
	refused(single("[" NODE("d", "vmdk", "x", "") "," NODE("f", "file", "/v/d", "") "]",
			EDGE(1, 2, "file") "," EDGE(1, 2, "extents.0")),
		"extents.0");
	refused(single("[" NODE("d", "qcow2", "x", "") "]", ""), "stands on");
	refused(single("[" NODE("d", "file", "", "") "]", ""), "which file");
	refused(single("[]", ""), "d");
	/* A graph that bites its tail, from a QEMU that lies. */
	refused(single("[" NODE("d", "throttle", "x", "") "]", EDGE(1, 1, "file")), "d");
}
END_TEST

/* ---- From a file's header ---- */

static uint8_t header[512];

static void put32(size_t at, uint32_t value)
{
	const uint32_t big = htobe32(value);

	memcpy(header + at, &big, sizeof(big));
}

/* Version 3, without anything. */
static void empty_header(void)
{
	memset(header, 0, sizeof(header));
	put32(0, 0x514649fb);
	put32(4, 3);
	put32(20, 16);
	put32(100, 104);
}

static void put_bytes(size_t at, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		header[at + i] = (uint8_t)bytes[i];
}

static size_t put_extension(size_t at, uint32_t type, const char *text)
{
	put32(at, type);
	put32(at + 4, (uint32_t)strlen(text));
	put_bytes(at + 8, text, strlen(text));
	return at + 8 + (strlen(text) + 7) / 8 * 8;
}

static bool read_header(struct qcow2_header *read)
{
	const int fd = memfd_create("header", MFD_CLOEXEC);

	ck_assert_int_eq(write(fd, header, sizeof(header)), sizeof(header));
	err = (struct qmpsnap_error){0};
	const bool well = qcow2_header_read(fd, read, &err);
	close(fd);
	return well;
}

START_TEST(header_names_other_files)
{
	struct qcow2_header read;

	empty_header();
	ck_assert(read_header(&read));
	ck_assert(!read.backing_file[0] && !read.has_data_file && !read.encrypted);
	put32(76, 4); /* the second half of the incompatible features */
	(void)put_extension(put_extension(104, 0xe2792aca, "raw"), 0x44415441, "data,file");
	put32(12, 400);
	put32(16, 6);
	put_bytes(400, "../b.q", 6);
	ck_assert(read_header(&read));
	ck_assert_str_eq(read.backing_file, "../b.q");
	ck_assert_str_eq(read.backing_format, "raw");
	ck_assert_str_eq(read.data_file, "data,file");
	ck_assert(read.has_data_file);
	put32(32, 2);
	ck_assert(read_header(&read) && read.encrypted);
}
END_TEST

START_TEST(header_of_version_2)
{
	struct qcow2_header read;

	empty_header();
	put32(4, 2);
	(void)put_extension(72, 0xe2792aca, "qcow2");
	put32(12, 200);
	put32(16, 1);
	header[200] = 'b';
	ck_assert(read_header(&read));
	ck_assert_str_eq(read.backing_file, "b");
	ck_assert_str_eq(read.backing_format, "qcow2");
}
END_TEST

START_TEST(damaged_headers)
{
	static const struct {
		size_t at;
		uint32_t value;
	} damages[] = {
		{0, 0x514649fc}, /* the magic */
		{4, 4}, /* the version */
		{4, 1},
		{100, 513}, /* the header is longer than the file */
		{100, UINT32_MAX},
		{8, 1}, /* the backing file's name is far away, */
		{16, 1024}, /* or too long, */
		{16, UINT32_MAX},
		{108, 1000}, /* an extension too long */
		{108, UINT32_MAX},
	};
	struct qcow2_header read;

	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		empty_header();
		put32(12, 400);
		put32(16, 3);
		put_bytes(400, "abc", 3);
		(void)put_extension(104, 0xe2792aca, "raw");
		ck_assert(read_header(&read));
		put32(damages[i].at, damages[i].value);
		ck_assert_msg(!read_header(&read), "damage %zu", i);
		ck_assert_int_eq(err.code, QMPSNAP_REFUSED);
	}
	empty_header(); /* an unknown extension is skipped, but not out of the file */
	put32(put_extension(104, 0x12345678, "what"), 0);
	ck_assert(read_header(&read));
	put32(108, 100000);
	ck_assert(!read_header(&read));
	empty_header();
	put32(12, 400);
	put32(16, 3);
	put_bytes(400, "a\0c", 3);
	ck_assert(!read_header(&read));
}
END_TEST

START_TEST(a_qcow2_file_that_stands_on_nothing)
{
	char path[] = "/tmp/qmpsnap-source-XXXXXX";
	const int fd = mkstemp(path);

	empty_header();
	ck_assert_int_eq(write(fd, header, sizeof(header)), sizeof(header));
	struct source *source = source_of_file(path, "qcow2", false, &err);
	ck_assert_msg(source != NULL, "%s", err.message);
	ck_assert_ptr_nonnull(strstr(source->name, "\"backing\":null"));
	source_free(source);
	ck_assert_int_eq(close(fd), 0);
	ck_assert_int_eq(unlink(path), 0);
}
END_TEST

START_TEST(formats_are_known_ones)
{
	ck_assert_ptr_null(source_of_file("/dev/null", "brick", false, &err));
	ck_assert_int_eq(err.code, QMPSNAP_USAGE);
	ck_assert_ptr_null(source_of_file("/", "raw", false, &err));
	ck_assert_int_eq(err.code, QMPSNAP_REFUSED);
	ck_assert_ptr_null(source_of_file("/dev/null", "raw", false, &err));
	ck_assert_int_eq(err.code, QMPSNAP_REFUSED);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("source");
	TCase *c = tcase_create("graph");

	tcase_add_test(c, qcow2_on_a_file);
	tcase_add_test(c, raw_keeps_the_size_that_qemu_knows);
	tcase_add_test(c, raw_with_a_window);
	tcase_add_test(c, backing_and_data_file);
	tcase_add_test(c, throttle_changes_nothing);
	tcase_add_test(c, what_cannot_be_said);
	suite_add_tcase(s, c);
	c = tcase_create("file");
	tcase_add_test(c, header_names_other_files);
	tcase_add_test(c, header_of_version_2);
	tcase_add_test(c, damaged_headers);
	tcase_add_test(c, a_qcow2_file_that_stands_on_nothing);
	tcase_add_test(c, formats_are_known_ones);
	suite_add_tcase(s, c);
	return s;
}

SUITE_MAIN(suite)

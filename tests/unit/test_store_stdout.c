/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_stream.h"
#include "fixture.h"
#include "store_kit.h"
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct qmpsnap_store *store;
static struct store_image_spec spec;
static struct qmpsnap_error err;
static struct fake_stream stream;

/* Reads everything, slowly or fast, and compares. */
struct reader {
	pthread_t thread;
	int fd;
	unsigned delay_us;
	uint64_t stop_at; /* closes its end there; 0: never */
	uint64_t n;
	bool same;
};

static void *read_all(void *data)
{
	struct reader *r = data;
	static uint8_t got[100000], want[100000];
	ssize_t n;

	r->same = true;
	while ((n = read(r->fd, got, sizeof(got))) > 0) {
		fake_stream_bytes(&stream, r->n, want, (size_t)n);
		r->same = r->same && memcmp(got, want, (size_t)n) == 0;
		r->n += (uint64_t)n;
		if (r->stop_at > 0 && r->n >= r->stop_at)
			break;
		(void)usleep(r->delay_us);
	}
	(void)close(r->fd);
	return NULL;
}

static void open_store(int fd)
{
	const struct qmpsnap_store_options options = {.stdout_fd = fd};

	store = qmpsnap_store_open(&loop, "-", &options, &err);
	ck_assert_ptr_nonnull(store);
}

static void setup(void)
{
	loop_setup();
	kit_spec(&spec);
	fake_stream_init(&stream, &loop, 5000001);
}

static void teardown(void)
{
	qmpsnap_store_close(store);
	(void)json_object_put(spec.properties);
	loop_teardown();
}

static void make_ends(int ends[2], bool socket)
{
	if (socket)
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	else
		ck_assert_int_eq(pipe(ends), 0);
}

static const struct {
	bool socket;
	unsigned delay_us;
} shapes[] = {{false, 0}, {false, 500}, {true, 0}, {true, 500}};

START_TEST(test_all_bytes)
{
	char hex[129];
	int ends[2];

	make_ends(ends, shapes[_i].socket);
	struct reader reader = {.fd = ends[0], .delay_us = shapes[_i].delay_us};
	ck_assert_int_eq(pthread_create(&reader.thread, NULL, read_all, &reader), 0);
	open_store(ends[1]);
	const int flags = fcntl(ends[1], F_GETFL);
	struct store_image *image = kit_create(&loop, store, &spec, &err);
	ck_assert_msg(kit_put(&loop, image, &stream.base, &err), "%s", err.message);
	ck_assert_int_eq(fcntl(ends[1], F_GETFL), flags);
	ck_assert(kit_publish(&loop, image, &err));
	fake_stream_digest(&stream, "sha256", hex);
	ck_assert_str_eq(image->digest, hex);
	ck_assert_uint_eq(image->size_bytes, stream.base.size_bytes);
	image->ops->close(image);
	(void)close(ends[1]);
	ck_assert_int_eq(pthread_join(reader.thread, NULL), 0);
	ck_assert_uint_eq(reader.n, stream.base.size_bytes);
	ck_assert(reader.same);
}
END_TEST

/* `qmpsnap ... > file`: behind what stands there already. */
START_TEST(test_into_a_file)
{
	char name[] = "/var/tmp/qmpsnap-test-XXXXXX";
	const int fd = mkstemp(name);

	ck_assert_int_ge(fd, 0);
	open_store(fd);
	struct store_image *image = kit_create(&loop, store, &spec, &err);
	ck_assert(kit_put(&loop, image, &stream.base, &err));
	image->ops->close(image);
	ck_assert(fake_stream_equals_file(&stream, name));
	(void)close(fd);
	ck_assert_int_eq(unlink(name), 0);
}
END_TEST

/* The default action of SIGPIPE would end this process. */
START_TEST(test_reader_goes_away)
{
	int ends[2];

	ck_assert(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
	make_ends(ends, _i);
	struct reader reader = {.fd = ends[0], .stop_at = 300000};
	ck_assert_int_eq(pthread_create(&reader.thread, NULL, read_all, &reader), 0);
	open_store(ends[1]);
	struct store_image *image = kit_create(&loop, store, &spec, &err);
	ck_assert(!kit_put(&loop, image, &stream.base, &err));
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	ck_assert_int_eq(err.detail, EPIPE);
	ck_assert_str_ne(err.hint, "");
	ck_assert_uint_eq(stream.open, 0);
	ck_assert(kit_discard(&loop, image, &err));
	image->ops->close(image);
	(void)close(ends[1]);
	ck_assert_int_eq(pthread_join(reader.thread, NULL), 0);
}
END_TEST

/* A reader that doesn't read blocks neither the loop nor the stop. */
START_TEST(test_stop_with_a_full_pipe)
{
	struct outcome outcome = {.calls = 0};
	int ends[2];

	make_ends(ends, _i);
	open_store(ends[1]);
	struct store_image *image = kit_create(&loop, store, &spec, &err);
	image->ops->put(
		image, &stream.base, &kit_instant, outcome_progress, outcome_done, &outcome);
	const uint64_t until = uv_hrtime() + UINT64_C(100000000);
	while (uv_hrtime() < until)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	ck_assert_uint_eq(outcome.calls, 0);
	image->ops->stop(image);
	ck_assert(!outcome_wait(&loop, &outcome));
	ck_assert_ptr_nonnull(strstr(outcome.err.message, "stopped"));
	image->ops->close(image);
	(void)close(ends[0]);
	(void)close(ends[1]);
}
END_TEST

/* Nor does it wait for bytes that don't come. */
START_TEST(test_stop_of_a_stalled_stream)
{
	struct outcome outcome = {.calls = 0};
	int ends[2];

	make_ends(ends, false);
	open_store(ends[1]);
	stream.delay_ms = UINT64_C(3600) * 1000;
	struct store_image *image = kit_create(&loop, store, &spec, &err);
	image->ops->put(
		image, &stream.base, &kit_instant, outcome_progress, outcome_done, &outcome);
	const uint64_t until = uv_hrtime() + UINT64_C(100000000);
	while (uv_hrtime() < until)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	image->ops->stop(image);
	image->ops->stop(image);
	ck_assert(!outcome_wait(&loop, &outcome));
	ck_assert_int_eq(outcome.calls, 1);
	ck_assert_ptr_nonnull(strstr(outcome.err.message, "stopped"));
	image->ops->close(image);
	(void)close(ends[0]);
	(void)close(ends[1]);
}
END_TEST

START_TEST(test_stream_fails)
{
	int ends[2];

	make_ends(ends, false);
	struct reader reader = {.fd = ends[0]};
	ck_assert_int_eq(pthread_create(&reader.thread, NULL, read_all, &reader), 0);
	open_store(ends[1]);
	stream.fail_at = 1 << 20;
	struct store_image *image = kit_create(&loop, store, &spec, &err);
	ck_assert(!kit_put(&loop, image, &stream.base, &err));
	ck_assert_int_eq(err.code, QMPSNAP_VIEW);
	image->ops->close(image);
	(void)close(ends[1]);
	ck_assert_int_eq(pthread_join(reader.thread, NULL), 0);
}
END_TEST

START_TEST(test_terminal_is_refused)
{
	const int fd = posix_openpt(O_RDWR | O_NOCTTY);

	ck_assert_int_ge(fd, 0);
	open_store(fd);
	ck_assert_ptr_null(kit_create(&loop, store, &spec, &err));
	ck_assert_int_eq(err.code, QMPSNAP_REFUSED);
	ck_assert(kit_discard_left(&loop, store, &spec, &err));
	(void)close(fd);
}
END_TEST

START_TEST(test_closed_descriptor)
{
	open_store(987);
	struct store_image *image = kit_create(&loop, store, &spec, &err);
	ck_assert_ptr_nonnull(image);
	ck_assert(!kit_put(&loop, image, &stream.base, &err));
	ck_assert_int_eq(err.code, QMPSNAP_STORE);
	image->ops->close(image);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("store_stdout");
	TCase *c = tcase_create("store_stdout");

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_loop_test(c, test_all_bytes, 0, 4);
	tcase_add_test(c, test_into_a_file);
	tcase_add_loop_test(c, test_reader_goes_away, 0, 2);
	tcase_add_loop_test(c, test_stop_with_a_full_pipe, 0, 2);
	tcase_add_test(c, test_stop_of_a_stalled_stream);
	tcase_add_test(c, test_stream_fails);
	tcase_add_test(c, test_terminal_is_refused);
	tcase_add_test(c, test_closed_descriptor);
	suite_add_tcase(s, c);
	return s;
}

SUITE_MAIN(suite)

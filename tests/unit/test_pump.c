/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_stream.h"
#include "fixture.h"
#include "suite.h"
#include "upload/digest.h"
#include "upload/pump.h"

#include <string.h>

/* A sink that takes at most `step` blocks at a time, each some turns of the loop after the last,
 * and compares every byte. */
struct sink {
	struct fake_stream stream;
	struct pump *pump;
	uv_timer_t timer;
	uint64_t delay_ms;
	size_t step;
	uint64_t at;
	bool ended, closed;
	struct qmpsnap_error err;
};

static void on_timer(uv_timer_t *timer);

static void compare(struct sink *s, const struct stream_block *block, uint64_t at)
{
	uint8_t *want = malloc(block->len);

	fake_stream_bytes(&s->stream, at, want, block->len);
	ck_assert_mem_eq(block->data, want, block->len);
	free(want);
}

static void on_event(void *data)
{
	struct sink *s = data;

	if (pump_error(s->pump)) {
		s->err = *pump_error(s->pump);
		s->ended = true;
	} else if (pump_finished(s->pump)) {
		s->ended = true;
	} else if (s->step > 0 && !uv_is_active((uv_handle_t *)&s->timer)) {
		(void)uv_timer_start(&s->timer, on_timer, s->delay_ms, 0);
	}
}

static void on_timer(uv_timer_t *timer)
{
	struct sink *s = timer->data;
	size_t n = 0;

	for (const struct stream_block *block; n < s->step && (block = pump_block(s->pump, n));
		n++) {
		compare(s, block, s->at);
		s->at += block->len;
	}
	pump_take(s->pump, n);
	on_event(s);
	if (s->ended || !pump_block(s->pump, 0))
		(void)uv_timer_stop(&s->timer);
}

static void on_closed(void *data)
{
	struct sink *s = data;

	s->closed = true;
}

static void sink_init(struct sink *s, uint64_t size_bytes)
{
	*s = (struct sink){.step = 100};
	fake_stream_init(&s->stream, &loop, size_bytes);
	ck_assert_int_eq(uv_timer_init(&loop, &s->timer), 0);
	s->timer.data = s;
}

static void sink_open(struct sink *s, const char *digest)
{
	const struct pump_options options = {
		.loop = &loop, .stream = &s->stream.base, .digest = digest};
	struct qmpsnap_error err;

	s->pump = pump_open(&options, &err);
	ck_assert_ptr_nonnull(s->pump);
	pump_on_event(s->pump, on_event, s);
}

static void sink_run(struct sink *s)
{
	while (!s->ended)
		ck_assert(uv_run(&loop, UV_RUN_ONCE) != 0 || s->ended);
}

static void sink_close(struct sink *s)
{
	pump_close(s->pump, on_closed, s);
	ck_assert(!s->closed);
	uv_close((uv_handle_t *)&s->timer, NULL);
	while (!s->closed)
		(void)uv_run(&loop, UV_RUN_ONCE);
	ck_assert_uint_eq(s->stream.open, 0);
	ck_assert_uint_eq(s->stream.held, 0);
}

static void check_digest(struct sink *s, const char *algorithm)
{
	char hex[129];

	fake_stream_digest(&s->stream, algorithm, hex);
	ck_assert_str_eq(pump_digest(s->pump), hex);
}

static const struct {
	uint64_t size_bytes;
	unsigned ring_blocks;
	size_t step;
	uint64_t sink_ms, source_ms;
	const char *digest;
} shapes[] = {
	{1, 8, 100, 0, 0, "sha256"},
	{65536, 1, 1, 0, 0, "sha512"},
	{65537, 2, 1, 0, 0, "sha512"},
	{10000001, 3, 1, 0, 0, "md5"},
	{10000001, 64, 100, 0, 0, "sha256"},
	{3000000, 8, 2, 2, 0, "sha256"}, /* a slow sink */
	{3000000, 8, 100, 0, 3, "sha256"}, /* a slow source */
	{3000000, 8, 100, 0, 0, NULL},
};

START_TEST(test_all_bytes)
{
	struct sink s;

	sink_init(&s, shapes[_i].size_bytes);
	s.stream.ring_blocks = shapes[_i].ring_blocks;
	s.stream.delay_ms = shapes[_i].source_ms;
	s.stream.per_delivery = 3;
	s.step = shapes[_i].step;
	s.delay_ms = shapes[_i].sink_ms;
	sink_open(&s, shapes[_i].digest);
	ck_assert(!pump_finished(s.pump));
	sink_run(&s);
	ck_assert_int_eq(s.err.code, QMPSNAP_OK);
	ck_assert_uint_eq(s.at, shapes[_i].size_bytes);
	ck_assert_uint_le(s.stream.most_held, shapes[_i].ring_blocks);
	if (shapes[_i].digest)
		check_digest(&s, shapes[_i].digest);
	sink_close(&s);
}
END_TEST

START_TEST(test_empty_stream)
{
	struct sink s;

	sink_init(&s, 0);
	sink_open(&s, "sha256");
	ck_assert(pump_finished(s.pump));
	ck_assert_ptr_null(pump_block(s.pump, 0));
	ck_assert_str_eq(pump_digest(s.pump),
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	sink_close(&s);
}
END_TEST

/* A sink that takes nothing holds the reader, and the digest ends at what the ring holds. */
START_TEST(test_back_pressure)
{
	struct sink s;

	sink_init(&s, 10 << 20);
	s.step = 0;
	sink_open(&s, "sha256");
	for (int i = 0; i < 100; i++)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	ck_assert_uint_eq(s.stream.held, 8);
	ck_assert(!pump_finished(s.pump));
	ck_assert_uint_eq(pump_left_bytes(s.pump), 10 << 20);
	sink_close(&s);
}
END_TEST

START_TEST(test_reader_fails)
{
	struct sink s;

	sink_init(&s, 10 << 20);
	s.stream.fail_at = 5 << 20;
	sink_open(&s, "sha512");
	sink_run(&s);
	ck_assert_int_eq(s.err.code, QMPSNAP_VIEW);
	sink_close(&s);
}
END_TEST

/* Closing at any moment, also while a batch is being hashed: blocks that are given back are
 * overwritten, so the sanitizers would see a late reader. */
START_TEST(test_close_any_time)
{
	struct sink s;

	sink_init(&s, 64 << 20);
	s.stream.ring_blocks = 64;
	sink_open(&s, "sha512");
	for (int i = 0; i < _i; i++)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	sink_close(&s);
}
END_TEST

START_TEST(test_unknown_digest)
{
	struct fake_stream stream;
	struct qmpsnap_error err;
	struct pump_options options = {.loop = &loop, .stream = &stream.base};
	static const char *const wrong[] = {
		"", "sha0", "shake_128", "a-very-long-name-of-a-digest"};

	fake_stream_init(&stream, &loop, 1000);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		options.digest = wrong[i];
		ck_assert(!digest_is_known(wrong[i]));
		ck_assert_ptr_null(pump_open(&options, &err));
		ck_assert_int_eq(err.code, QMPSNAP_STORE);
	}
	ck_assert_uint_eq(stream.opened, 0);
}
END_TEST

START_TEST(test_hashlib_names)
{
	static const char *const names[] = {"md5", "sha1", "sha224", "sha256", "sha384", "sha512",
		"sha3_256", "sha3_512", "blake2b", "blake2s"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		ck_assert_msg(digest_is_known(names[i]), "%s", names[i]);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("pump");
	TCase *c = tcase_create("pump");

	tcase_add_checked_fixture(c, loop_setup, loop_teardown);
	tcase_add_loop_test(c, test_all_bytes, 0, (int)(sizeof(shapes) / sizeof(shapes[0])));
	tcase_add_test(c, test_empty_stream);
	tcase_add_test(c, test_back_pressure);
	tcase_add_test(c, test_reader_fails);
	tcase_add_loop_test(c, test_close_any_time, 0, 12);
	tcase_add_test(c, test_unknown_digest);
	tcase_add_test(c, test_hashlib_names);
	suite_add_tcase(s, c);
	return s;
}

SUITE_MAIN(suite)

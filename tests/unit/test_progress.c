/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"
#include "cli/steps.h"
#include "cli/text.h"
#include "suite.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

static struct progress_disk half_done(void)
{
	return (struct progress_disk){.name = "vd0",
		.done_bytes = 1024 * MIB,
		.total_bytes = 2048 * MIB,
		.rate_bytes_per_s = 256.0 * MIB};
}

START_TEST(bar_shows_everything)
{
	const struct progress_disk disk = half_done();
	char text[PROGRESS_TEXT_BYTES];

	progress_bar(text, &disk, 5, 100);
	ck_assert_str_eq(text,
		"vd0   [==================>                 ]  50%    1.0 GiB of 2.0 GiB   "
		"256 MiB/s  5 s left");
}
END_TEST

START_TEST(bar_fits_any_width)
{
	struct progress_disk disk = half_done();
	char text[PROGRESS_TEXT_BYTES];
	size_t before = 0;

	for (unsigned columns = 1; columns < 300; columns++) {
		progress_bar(text, &disk, 3, columns);
		ck_assert_uint_lt(strlen(text), columns ? columns : 1);
		ck_assert(columns < 13 || strstr(text, "50%"));
		ck_assert(columns < 100 || strstr(text, "5 s left"));
		ck_assert(columns < 100 || strlen(text) >= before);
		before = strlen(text);
	}
	(void)snprintf(disk.name, sizeof(disk.name), "%s", "a-very-long-name-of-a-disk-indeed");
	progress_bar(text, &disk, 20, 80);
	ck_assert_uint_eq(strspn(text, "a-very-long-name-of-"), 20);
	ck_assert_int_eq(text[20], ' ');
}
END_TEST

START_TEST(bar_at_the_ends)
{
	struct progress_disk disk = {.name = "d", .total_bytes = 10 * MIB};
	char text[PROGRESS_TEXT_BYTES];

	progress_bar(text, &disk, 1, 70);
	ck_assert_ptr_nonnull(strstr(text, "[>  "));
	ck_assert_ptr_nonnull(strstr(text, "   0%"));
	ck_assert_ptr_null(strstr(text, "left"));
	disk.done_bytes = 11 * MIB;
	progress_bar(text, &disk, 1, 70);
	ck_assert_ptr_nonnull(strstr(text, "=] 100%"));
	disk = (struct progress_disk){.name = "empty"};
	progress_bar(text, &disk, 5, 70);
	ck_assert_ptr_nonnull(strstr(text, "=] 100%"));
	/* A crawl isn't told in years. */
	disk = (struct progress_disk){
		.name = "d", .total_bytes = UINT64_MAX / 2, .rate_bytes_per_s = 1};
	progress_bar(text, &disk, 1, 120);
	ck_assert_ptr_null(strstr(text, "left"));
}
END_TEST

START_TEST(line_sums_up)
{
	struct progress_disk disks[9] = {half_done(), half_done()};
	char text[PROGRESS_TEXT_BYTES];

	(void)snprintf(disks[1].name, sizeof(disks[1].name), "vd1");
	disks[1].done_bytes = 0;
	progress_line(text, disks, 2);
	ck_assert_str_eq(text, "vd0 50%, vd1 0%: 1.0 GiB of 4.0 GiB, 512 MiB/s, 7 s left");
	progress_line(text, disks, 9);
	ck_assert_int_eq(strncmp(text, "9 disks 25%: ", 13), 0);
}
END_TEST

START_TEST(rate_follows)
{
	struct progress_disk disk = {.name = "d", .total_bytes = 1000 * MIB, .sampled_ms = 1000};

	disk.done_bytes = 10 * MIB;
	progress_sample(&disk, 1100); /* too soon */
	ck_assert(disk.rate_bytes_per_s < 1);
	progress_sample(&disk, 2000);
	ck_assert(disk.rate_bytes_per_s > 9.9 * MIB && disk.rate_bytes_per_s < 10.1 * MIB);
	for (uint64_t now_ms = 3000; now_ms < 60000; now_ms += 1000) /* stands still */
		progress_sample(&disk, now_ms);
	ck_assert(disk.rate_bytes_per_s < 1);
	disk.done_bytes = 1 * MIB; /* a retry */
	progress_sample(&disk, 61000);
	ck_assert(disk.rate_bytes_per_s < 1);
}
END_TEST

START_TEST(json_twice_a_second)
{
	struct progress_disk disk = {.name = "d", .total_bytes = 1000};
	unsigned told = 0;

	for (uint64_t now_ms = 0; now_ms < 10000; now_ms += 10) {
		disk.done_bytes = now_ms / 10 + 1;
		told += progress_due(&disk, now_ms);
	}
	ck_assert_uint_ge(told, 20);
	ck_assert_uint_le(told, 22);
	ck_assert(disk.told_end); /* the last one, at once */
	ck_assert(!progress_due(&disk, 20000));
}
END_TEST

START_TEST(text_is_made_safe)
{
	char text[] = "a\033[2Jb\xc2\x9b"
		      "c\xff\xc3\xa4\xe2\x82\xac\xed\xa0\x80\n\x7f";
	char lines[] = "a\nb\r";
	char json[] = "a\033\xff\n";

	ck_assert(!text_is_clean(text));
	text_clean(text);
	ck_assert_str_eq(text, "a?[2Jb??c?\xc3\xa4\xe2\x82\xac?????");
	ck_assert(text_is_clean(text));
	text_clean_lines(lines);
	ck_assert_str_eq(lines, "a\nb?");
	text_clean_utf8(json);
	ck_assert_str_eq(json, "a\033?\n");
}
END_TEST

static void note(struct steps *steps, enum qmpsnap_phase phase, const char *name)
{
	const struct qmpsnap_event event = {
		.kind = QMPSNAP_EVENT_STEP, .phase = phase, .text = name};

	steps_note(steps, &event);
}

START_TEST(steps_tell_what_is_left)
{
	struct steps steps = {.n = 0};
	char text[256];

	steps_describe(&steps, text, sizeof(text));
	ck_assert_str_eq(text, "nothing is left to undo");
	note(&steps, QMPSNAP_BEGIN, "connect");
	note(&steps, QMPSNAP_END, "connect");
	note(&steps, QMPSNAP_BEGIN, "query");
	note(&steps, QMPSNAP_END, "query");
	note(&steps, QMPSNAP_BEGIN, "export");
	steps_describe(&steps, text, sizeof(text));
	ck_assert_str_eq(text, "waiting for 'export', left to undo: query, connect");
	note(&steps, QMPSNAP_END, "export");
	note(&steps, QMPSNAP_UNDO_BEGIN, "export");
	steps_describe(&steps, text, sizeof(text));
	ck_assert_str_eq(text, "undoing 'export', left to undo: query, connect");
	note(&steps, QMPSNAP_UNDO_END, "export");
	note(&steps, QMPSNAP_UNDO_BEGIN, "connect"); /* query needs none */
	steps_describe(&steps, text, sizeof(text));
	ck_assert_str_eq(text, "undoing 'connect'");
	note(&steps, QMPSNAP_UNDO_END, "connect");
	steps_describe(&steps, text, sizeof(text));
	ck_assert_str_eq(text, "nothing is left to undo");
	for (unsigned i = 0; i < 100; i++)
		note(&steps, QMPSNAP_BEGIN, "a step with a name that is longer than a name may be");
	steps_describe(&steps, text, sizeof(text));
	ck_assert_uint_eq(strlen(text), sizeof(text) - 1);
}
END_TEST

/* Whoever doesn't read must not hold us up; what was written comes out whole, in order. */
START_TEST(output_never_waits)
{
	static char text[300000], got[sizeof(text) + 1];
	struct output out;
	size_t len = 0;
	int fds[2];

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)('a' + i * 7 % 26);
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	output_init(&out, fds[1]);
	output_put(&out, text, sizeof(text) / 2); /* more than a pipe holds: would hang here */
	output_put(&out, text + sizeof(text) / 2, sizeof(text) / 2);
	ck_assert(!output_flush(&out));
	while (len < sizeof(text)) {
		const ssize_t n = read(fds[0], got + len, sizeof(got) - len);
		ck_assert_int_gt(n, 0);
		len += (size_t)n;
		(void)output_flush(&out);
	}
	ck_assert_uint_eq(len, sizeof(text));
	ck_assert_int_eq(memcmp(got, text, len), 0);
	ck_assert(output_flush(&out));
	ck_assert(output_wait(&out));
	(void)signal(SIGPIPE, SIG_IGN);
	close(fds[0]);
	output_printf(&out, "%s\n", "nobody reads this");
	ck_assert(!output_wait(&out));
	ck_assert_int_ne(out.error, 0);
	close(fds[1]);
	output_free(&out);
}
END_TEST

/* What a terminal got, in `got`. */
static void read_all(int fd, char *got, size_t size)
{
	const ssize_t n = read(fd, got, size - 1);

	got[n < 0 ? 0 : n] = '\0';
}

START_TEST(bars_are_redrawn_in_place)
{
	struct output out;
	struct progress progress;
	char got[4096];
	int fds[2];

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	output_init(&out, fds[1]);
	progress_init(&progress, &out, PROGRESS_BARS);
	ck_assert_ptr_nonnull(progress_update(&progress, "vd0", 1, 2, 1000));
	ck_assert_ptr_nonnull(progress_update(&progress, "vd\033", 1, 2, 1000));
	ck_assert_ptr_eq(progress_update(&progress, "vd\033", 1, 2, 1000), &progress.disks[1]);
	progress_status(&progress, "upload\a ...");
	progress_tick(&progress, 1000);
	read_all(fds[0], got, sizeof(got));
	ck_assert_int_eq(strncmp(got, "vd0 [", 5), 0); /* nothing to go up to yet */
	ck_assert_ptr_nonnull(strstr(got, "\nvd? ["));
	ck_assert_ptr_nonnull(strstr(got, "upload? ...\033[K\n"));
	progress_tick(&progress, 1100); /* nothing new */
	read_all(fds[0], got, sizeof(got));
	ck_assert_str_eq(got, "");
	(void)progress_update(&progress, "vd0", 2, 2, 1200);
	progress_tick(&progress, 1200);
	read_all(fds[0], got, sizeof(got));
	ck_assert_int_eq(strncmp(got, "\033[3A\rvd0 [", 10), 0);
	progress_hide(&progress);
	read_all(fds[0], got, sizeof(got));
	ck_assert_str_eq(got, "\033[3A\r\033[J");
	progress_end(&progress);
	read_all(fds[0], got, sizeof(got));
	ck_assert_int_eq(strncmp(got, "vd0 [", 5), 0); /* the bars stay, the status goes */
	ck_assert_ptr_null(strstr(got, "upload"));
	close(fds[0]);
	close(fds[1]);
	output_free(&out);
}
END_TEST

START_TEST(lines_come_now_and_then)
{
	struct output out;
	struct progress progress;
	char got[4096];
	unsigned lines = 0;
	int fds[2];

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	output_init(&out, fds[1]);
	progress_init(&progress, &out, progress_mode_for(fds[1]));
	ck_assert_int_eq(progress.mode, PROGRESS_LINES);
	for (uint64_t now_ms = 100000; now_ms < 120000; now_ms += PROGRESS_TICK_MS) {
		(void)progress_update(&progress, "vd0", now_ms, 120000, now_ms);
		progress_tick(&progress, now_ms);
	}
	progress_end(&progress);
	read_all(fds[0], got, sizeof(got));
	for (const char *s = got; (s = strchr(s, '\n')); s++)
		lines++;
	ck_assert_uint_eq(lines, 4);
	ck_assert_ptr_null(strchr(got, '\033'));
	close(fds[0]);
	close(fds[1]);
	output_free(&out);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("progress");
	TCase *tc = tcase_create("progress");

	tcase_add_test(tc, bar_shows_everything);
	tcase_add_test(tc, bar_fits_any_width);
	tcase_add_test(tc, bar_at_the_ends);
	tcase_add_test(tc, line_sums_up);
	tcase_add_test(tc, rate_follows);
	tcase_add_test(tc, json_twice_a_second);
	tcase_add_test(tc, text_is_made_safe);
	tcase_add_test(tc, steps_tell_what_is_left);
	tcase_add_test(tc, output_never_waits);
	tcase_add_test(tc, bars_are_redrawn_in_place);
	tcase_add_test(tc, lines_come_now_and_then);
	suite_add_tcase(s, tc);
	return s;
}

SUITE_MAIN(suite)

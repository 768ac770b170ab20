/* SPDX-License-Identifier: Apache-2.0
 *
 * A file system that takes O_DIRECT at open() and refuses it at write(), while several writes are
 * under way: pwritev() is linked over (ld's --wrap). */
#include "fake_stream.h"
#include "fixture.h"
#include "store_kit.h"
#include "suite.h"
#include "upload/temp.h"
#include "upload/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SIZE = 8 << 20, PATIENCE_MS = 5000 };

static atomic_uint n_direct; /* writes that began while O_DIRECT was set */

/* NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the linker's names */
ssize_t __real_pwritev(int fd, const struct iovec *parts, int n, off_t offset);
ssize_t __wrap_pwritev(int fd, const struct iovec *parts, int n, off_t offset);

static bool is_direct(int fd)
{
	return fcntl(fd, F_GETFL) & O_DIRECT;
}

/* The first one's refusal waits until a second write is under way, all others' until the first one
 * has dropped O_DIRECT. */
ssize_t __wrap_pwritev(int fd, const struct iovec *parts, int n, off_t offset)
{
	if (!is_direct(fd))
		return __real_pwritev(fd, parts, n, offset);
	const bool first = atomic_fetch_add(&n_direct, 1) == 0;
	for (int i = 0; i < PATIENCE_MS && (first ? atomic_load(&n_direct) < 2 : is_direct(fd));
		i++)
		(void)usleep(1000);
	errno = EINVAL;
	return -1;
}
/* NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */

static void closed(void *data)
{
	*(bool *)data = true;
}

START_TEST(test_refused_at_write)
{
	struct fake_stream stream;
	struct outcome outcome = {.calls = 0};
	struct qmpsnap_error err;
	struct temp temp = TEMP_NONE;
	char *folder = kit_folder("/var/tmp"), path[256];
	bool gone = false;

	ck_assert(temp_open(&temp, folder, "image.part", true, &err));
	fake_stream_init(&stream, &loop, SIZE);
	stream.ring_blocks = 64;
	const struct pump_options pump_options = {.loop = &loop, .stream = &stream.base};
	const struct writer_options options = {
		.loop = &loop, .fd = temp.fd, .direct = temp.direct, .path = folder};
	struct pump *pump = pump_open(&pump_options, &err);
	ck_assert_ptr_nonnull(pump);
	ck_assert_ptr_nonnull(writer_start(&options, pump, outcome_done, &outcome, &err));
	ck_assert_msg(outcome_wait(&loop, &outcome), "%s", outcome.err.message);
	if (temp.direct)
		ck_assert_uint_ge(atomic_load(&n_direct), 2);
	pump_close(pump, closed, &gone);
	while (!gone)
		(void)uv_run(&loop, UV_RUN_ONCE);
	ck_assert_int_eq(ftruncate(temp.fd, SIZE), 0);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", temp.fd);
	ck_assert(fake_stream_equals_file(&stream, path));
	temp_drop(&temp);
	kit_remove_folder(folder);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("writer");
	TCase *tcase = tcase_create("writer");

	tcase_add_checked_fixture(tcase, loop_setup, loop_teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, test_refused_at_write);
	suite_add_tcase(s, tcase);
	return s;
}

SUITE_MAIN(suite)

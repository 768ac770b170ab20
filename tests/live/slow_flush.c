/* SPDX-License-Identifier: Apache-2.0
 *
 * slow_flush - preloaded into a QEMU: each of its fdatasync() takes 7 s longer for as long as the
 * file exists that the environment's SLOW_FLUSH names.  test_others.py builds it, since it goes
 * into a process without sanitizers. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The prototype is glibc's own.
 * NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
int fdatasync(int fd)
{
	const char *path = getenv("SLOW_FLUSH");

	if (path && access(path, F_OK) == 0)
		(void)sleep(7);
	return (int)syscall(SYS_fdatasync, fd);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

_Noreturn void fuzz_broken(const char *promise, const char *file, int line)
{
	(void)fprintf(stderr, "%s:%d: not so: %s\n", file, line, promise);
	abort();
}

uint8_t fuzz_byte(struct fuzz_input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->bytes++;
}

uint64_t fuzz_number(struct fuzz_input *in, size_t n)
{
	uint64_t value = 0;

	for (size_t i = 0; i < n; i++)
		value |= (uint64_t)fuzz_byte(in) << (8 * i);
	return value;
}

char *fuzz_until(struct fuzz_input *in, const char *separator, size_t *len)
{
	const size_t skip = strlen(separator);
	const uint8_t *found;
	char *text;

	if (!in->left)
		return NULL;
	found = memmem(in->bytes, in->left, separator, skip);
	*len = found ? (size_t)(found - in->bytes) : in->left;
	text = malloc(*len + 1);
	FUZZ_CHECK(text);
	memcpy(text, in->bytes, *len);
	text[*len] = '\0';
	in->bytes += *len + (found ? skip : 0);
	in->left -= *len + (found ? skip : 0);
	return text;
}

int fuzz_file(const void *bytes, size_t len)
{
	const int fd = memfd_create("fuzz", MFD_CLOEXEC);

	FUZZ_CHECK(fd >= 0);
	FUZZ_CHECK(write(fd, bytes, len) == (ssize_t)len);
	return fd;
}

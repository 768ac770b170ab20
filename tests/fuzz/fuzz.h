/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz.h - what the fuzz targets share.  A target is one file fuzz_NAME.c with libFuzzer's entry
 * point; corpus/NAME/ keeps what led it to new code.  Linked with libFuzzer (the preset `fuzz`) it
 * looks for more; linked with replay.c it runs its corpus once.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* See libFuzzer's documentation: returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Aborts, which is a finding, when a promise isn't kept. */
#define FUZZ_CHECK(promise) ((promise) ? (void)0 : fuzz_broken(#promise, __FILE__, __LINE__))
_Noreturn void fuzz_broken(const char *promise, const char *file, int line);

/* The input, taken from its front. */
struct fuzz_input {
	const uint8_t *bytes;
	size_t left;
};

/* 0 when there is nothing left. */
uint8_t fuzz_byte(struct fuzz_input *in);
/* A number of `n` bytes, little-endian. */
uint64_t fuzz_number(struct fuzz_input *in, size_t n);

/* What stands before the next `separator`, or all that is left; the caller's, with a NUL that isn't
 * counted.  NULL when nothing is left. */
char *fuzz_until(struct fuzz_input *in, const char *separator, size_t *len);

/* A descriptor of an anonymous file with these bytes. */
int fuzz_file(const void *bytes, size_t len);

#endif

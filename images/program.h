/* SPDX-License-Identifier: Apache-2.0
 *
 * program.h - qemu-img on an image that came out of a store, with limits to the time and memory
 * that it may use: what the image says is what somebody else wrote.
 */
#ifndef IMAGES_PROGRAM_H
#define IMAGES_PROGRAM_H

#include "base/store.h"

#include <uv.h>

struct program;

/* Descriptors become PROGRAM_IN and PROGRAM_OUT there, to be named by /proc/self/fd. */
#define PROGRAM_IN  "/proc/self/fd/3"
#define PROGRAM_OUT "/proc/self/fd/4"

struct program_options {
	uv_loop_t *loop;
	char *const *argv; /* "qemu-img", ... */
	int in_fd, out_fd; /* borrowed; out_fd -1: none */
	uint64_t work_bytes; /* that it has to go through: more time for more */
	const char *what; /* "checking image web (0f7a...)", for messages; copied */
	store_done_fn *done;
	void *data;
};

/* `done` fires once, later, and then it is gone: NULL when the program has ended well, else what it
 * said (STORE).  NULL and *err (REFUSED) when it can't be started. */
struct program *program_start(const struct program_options *options, struct qmpsnap_error *err);

/* Kills it; `done` follows. */
void program_kill(struct program *p);

#endif

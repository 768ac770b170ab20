/* SPDX-License-Identifier: Apache-2.0
 *
 * child.h - a program that works for us (qemu-img, qemu-nbd): no shell, nothing on its standard
 * input, what it says bounded, and never alive longer than this process: the kernel kills it when
 * the thread that started it ends (PR_SET_PDEATHSIG), which uv_spawn() has no way to ask for.
 */
#ifndef BLOCKOPS_CHILD_H
#define BLOCKOPS_CHILD_H

#include "base/error.h"

#include <uv.h>

enum {
	CHILD_FIRST_FD = 3, /* where options.fds begin in the child */
	CHILD_MAX_FDS = 80,
	CHILD_OUTPUT_BYTES = 1 << 20, /* kept of its standard output when it is kept, */
	CHILD_ERRORS_BYTES = 4096, /* and of its standard error always; the rest is dropped */
};

struct child;

struct child_end {
	int status; /* as waitpid(2) has it */
	const char *output, *errors; /* what it said; valid until `ended` returns */
};

/* A piece of its standard output up to '\n' or '\r', for progress; cut to 255 bytes. */
typedef void child_line_fn(const char *line, void *data);
typedef void child_ended_fn(const struct child_end *end, void *data);

/* What it may use, for work on files that others made; 0: any amount. */
struct child_limits {
	uint64_t cpu_s;
	uint64_t address_space_bytes;
	uint64_t file_bytes; /* length of any file that it writes; further on EFBIG */
};

struct child_options {
	char *const *argv; /* NULL at the end; argv[0] is looked for in PATH */
	const int *fds; /* become 3, 4, ... in the child, which gets no other descriptors */
	size_t n_fds;
	struct child_limits limits;
	bool listens; /* its descriptor 3 is a listening socket: LISTEN_FDS, see sd_listen_fds(3) */
	child_line_fn *line; /* NULL: the output is kept for `ended` */
	child_ended_fn *ended;
	void *data;
};

/* Starts it; the descriptors stay the caller's.  `ended` fires once, later, and then it is freed.
 * NULL and *err when it can't be started: REFUSED, with errno as the detail (ENOENT: there is no
 * such program). */
struct child *child_start(
	uv_loop_t *loop, const struct child_options *options, struct qmpsnap_error *err);

/* SIGKILL; `ended` follows. */
void child_kill(struct child *child);

/* SIGKILL, and nobody cares any more: neither `line` nor `ended` is called.  It leaves the loop
 * when it is dead. */
void child_abandon(struct child *child);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "images/program.h"

#include "base/error.h"
#include "blockops/child.h"
#include "upload/readable.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum {
	LEAST_CPU_S = 60,
	BYTES_EACH_CPU_S = 8 << 20, /* a slow host's pace, and more */
};
/* qemu-img maps its libraries and a thread's stacks, some 300 MiB, and refcounts for a check: 32
 * MiB for each TiB. */
#define MOST_BYTES (UINT64_C(2) << 30)

struct program {
	struct child *child;
	char what[384];
	store_done_fn *done;
	void *data;
};

static void fail(const struct program *p, const struct child_end *end, struct qmpsnap_error *err)
{
	char line[300];

	readable_line(line, sizeof(line), end->errors, strlen(end->errors));
	if (WIFSIGNALED(end->status))
		error_set(err, QMPSNAP_STORE, "%s: qemu-img was ended by signal %d%s", p->what,
			WTERMSIG(end->status),
			WTERMSIG(end->status) == SIGXCPU ? ": it took too long" : "");
	else
		error_set(err, QMPSNAP_STORE, "%s: %s", p->what,
			line[0] ? line : "qemu-img failed without a word");
}

static void on_ended(const struct child_end *end, void *data)
{
	struct program *p = data;
	struct qmpsnap_error err = {.code = QMPSNAP_OK};
	/* 3: `qemu-img check` has found clusters that nothing uses, which harm nobody. */
	const bool well =
		end->status == 0 || (WIFEXITED(end->status) && WEXITSTATUS(end->status) == 3);

	if (!well)
		fail(p, end, &err);
	p->done(well ? NULL : &err, p->data);
	free(p);
}

struct program *program_start(const struct program_options *o, struct qmpsnap_error *err)
{
	const int fds[] = {o->in_fd, o->out_fd};
	struct program *p = calloc(1, sizeof(*p));

	if (!p) {
		error_no_memory(err);
		return NULL;
	}
	const struct child_options options = {.argv = o->argv,
		.fds = fds,
		.n_fds = o->out_fd >= 0 ? 2 : 1,
		.limits = {.cpu_s = LEAST_CPU_S + o->work_bytes / BYTES_EACH_CPU_S,
			.address_space_bytes = MOST_BYTES},
		.ended = on_ended,
		.data = p};
	p->done = o->done;
	p->data = o->data;
	(void)snprintf(p->what, sizeof(p->what), "%s", o->what);
	p->child = child_start(o->loop, &options, err);
	if (p->child)
		return p;
	if (err->detail == ENOENT)
		error_hint(err, "install qemu-img: the package qemu-utils, on other systems "
				"qemu-img");
	free(p);
	return NULL;
}

void program_kill(struct program *p)
{
	child_kill(p->child);
}

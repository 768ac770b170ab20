/* SPDX-License-Identifier: Apache-2.0
 *
 * guard_process.h - the guard's own state, and what fills it: private to guard_*.c.
 */
#ifndef BLOCKOPS_GUARD_PROCESS_H
#define BLOCKOPS_GUARD_PROCESS_H

#include "blockops/snapshot.h"

struct guard_process {
	uv_loop_t loop;
	uv_poll_t poll;
	uv_timer_t pause_timer, freeze_timer;
	int control_fd;
	int monitor_fd, agent_fd;
	pid_t main_pid;
	char last_step[32];
	struct qmpsnap_snapshot *s;
	qmpsnap_open_store_fn *open_store;
	bool published, farewell, left;
	int exit_code;
};

/* Takes one record of the main process in.  Descriptors that it brings are the snapshot's from then
 * on.  False for a record that makes no sense. */
bool guard_take(struct guard_process *g, struct json_object *record, const int *fds, size_t n_fds);

#endif

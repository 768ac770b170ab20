/* SPDX-License-Identifier: Apache-2.0
 *
 * The guard's side: it keeps what it is told, and unwinds it when the teller dies. */
#include "base/log.h"
#include "blockops/guard.h"
#include "blockops/steps.h"
#include "blockops/unwind.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct guard_process {
	uv_loop_t loop;
	uv_poll_t poll;
	uv_timer_t pause_timer;
	int control_fd;
	int monitor_fd;
	pid_t main_pid;
	char last_step[32];
	struct qmpsnap_snapshot *s;
	qmpsnap_open_store_fn *open_store;
	bool published, farewell;
	int exit_code;
};

/* ---- What it is told ---- */

static bool take_disk(struct snapshot_disk *d, struct json_object *from)
{
	const char *id = json_string(from, "image_id");
	const char *const texts[] = {json_string(from, "label"), json_string(from, "qom_path"),
		json_string(from, "node"), json_string(from, "image_name")};

	if (!id || !texts[0] || !texts[1] || !texts[2] || !texts[3])
		return false;
	d->label = strdup(texts[0]);
	d->qom_path = strdup(texts[1]);
	d->node = strdup(texts[2]);
	d->image_name = strdup(texts[3]);
	(void)snprintf(d->image_id, sizeof(d->image_id), "%s", id);
	d->virtual_size_bytes = (uint64_t)json_int(from, "virtual_size_bytes", 0);
	d->format = (enum qmpsnap_format)json_int(from, "format", QMPSNAP_QCOW2);
	return d->label && d->qom_path && d->node && d->image_name;
}

static bool take_run(struct guard_process *g, struct json_object *record, const int *fds, size_t n)
{
	struct qmpsnap_snapshot *s = g->s;
	struct json_object *disks = json_member(record, "disks", json_type_array);
	const char *run = json_string(record, "run");
	const char *store = json_string(record, "store");

	if (n != 1 || !run || !json_length(disks) || !snapshot_add_disks(s, json_length(disks)))
		return false;
	g->monitor_fd = fds[0];
	g->main_pid = (pid_t)json_int(record, "pid", 0);
	(void)snprintf(s->run, sizeof(s->run), "%s", run);
	s->multi = json_flag(record, "multi", false);
	s->table = method_table_by_key(json_string(record, "method"));
	s->store_spec = store ? strdup(store) : NULL;
	for (size_t i = 0; i < s->n_disks; i++) {
		if (!take_disk(&s->disks[i], json_object_array_get_idx(disks, i)))
			return false;
	}
	return s->table != NULL;
}

static void on_pause_deadline(uv_timer_t *timer)
{
	struct guard_process *g = timer->data;

	log_line(QMPSNAP_LOG_WARNING,
		"the guest has been held for over %d ms: ending the process that holds it",
		SNAPSHOT_PAUSE_MS);
	/* Only the process that started us: a number that was given to another one since isn't our
	 * parent. */
	if (g->main_pid > 1 && getppid() == g->main_pid)
		kill(g->main_pid, SIGKILL);
}

static void take_running(struct guard_process *g)
{
	g->s->stopped = false;
	uv_timer_stop(&g->pause_timer);
}

static void take_step(struct guard_process *g, struct json_object *record)
{
	const char *step = json_string(record, "step");
	const bool pauses = step && strcmp(step, "pause") == 0;

	if (!step)
		return;
	/* The pause, the instant and the resumption are told as one. */
	(void)snprintf(g->last_step, sizeof(g->last_step), "%s", pauses ? "resume" : step);
	take_running(g);
	if (pauses) {
		g->s->stopped = true;
		g->s->stopped_ns = uv_hrtime();
		uv_timer_start(&g->pause_timer, on_pause_deadline, SNAPSHOT_PAUSE_MS, 0);
	}
}

static void take_server(struct guard_process *g, struct json_object *record)
{
	const char *folder = json_string(record, "folder");

	free(g->s->server_folder);
	g->s->server_folder = folder && folder[0] ? strdup(folder) : NULL;
	g->s->server = (enum nbd_server)json_int(record, "state", SERVER_IN_DOUBT);
}

static void take_scratch(
	struct snapshot_disk *d, struct json_object *record, const int *fds, size_t n)
{
	const char *path = json_string(record, "path");

	free(d->scratch_path);
	d->scratch_path = path && path[0] ? strdup(path) : NULL;
	if (d->scratch_fd >= 0)
		close(d->scratch_fd);
	d->scratch_fd = n == 1 ? fds[0] : -1;
}

static void take_connections(struct snapshot_disk *d, const int *fds, size_t n)
{
	size_t slot = 0;

	for (size_t i = 0; i < n; i++) {
		while (slot < SNAPSHOT_FDS && d->nbd_fds[slot] >= 0)
			slot++;
		if (slot < SNAPSHOT_FDS)
			d->nbd_fds[slot] = fds[i];
	}
}

static struct snapshot_disk *disk_of(struct guard_process *g, struct json_object *record)
{
	const int64_t i = json_int(record, "disk", -1);

	return i >= 0 && (size_t)i < g->s->n_disks ? &g->s->disks[i] : NULL;
}

/* Descriptors that a record brings are the snapshot's from then on. */
static bool take(struct guard_process *g, struct json_object *record, const int *fds, size_t n)
{
	const char *kind = json_string(record, "record");
	struct snapshot_disk *d = disk_of(g, record);

	if (!kind)
		return false;
	if (strcmp(kind, "run") == 0)
		return take_run(g, record, fds, n);
	if (strcmp(kind, "step") == 0)
		take_step(g, record);
	else if (strcmp(kind, "server") == 0)
		take_server(g, record);
	else if (strcmp(kind, "scratch") == 0 && d)
		take_scratch(d, record, fds, n);
	else if (strcmp(kind, "connections") == 0 && d)
		take_connections(d, fds, n);
	else if (strcmp(kind, "running") == 0)
		take_running(g);
	else if (strcmp(kind, "published") == 0)
		g->published = true;
	else if (strcmp(kind, "end") == 0)
		g->farewell = true;
	return true;
}

/* ---- What it does then ---- */

static void close_up(struct guard_process *g)
{
	uv_close((uv_handle_t *)&g->pause_timer, NULL);
	if (g->s->store)
		qmpsnap_store_close(g->s->store);
	snapshot_free(g->s);
}

static void on_unwound(struct qmpsnap_snapshot *s, void *data)
{
	struct guard_process *g = data;
	const struct qmpsnap_error *left = &s->flow.undo_err;

	if (left->code == QMPSNAP_OK && g->exit_code == QMPSNAP_OK) {
		log_line(QMPSNAP_LOG_WARNING,
			"run %s was killed in its step %s; all of it has been undone", s->run,
			g->last_step);
	} else {
		g->exit_code = QMPSNAP_UNDO;
		log_line(QMPSNAP_LOG_WARNING,
			"run %s was killed in its step %s; not all could be undone%s%s; run "
			"`qmpsnap recover`",
			s->run, g->last_step, left->message[0] ? ": " : "", left->message);
	}
	close_up(g);
}

static void on_lost(const struct qmpsnap_error *err, void *data)
{
	(void)err; /* the undos see that QEMU is gone */
	(void)data;
}

static void reopen_store(struct guard_process *g)
{
	struct qmpsnap_error err;

	if (g->published)
		return;
	g->s->store = g->open_store(&g->loop, g->s->store_spec, &err);
	if (g->s->store)
		return;
	g->exit_code = QMPSNAP_UNDO;
	log_line(QMPSNAP_LOG_WARNING, "images may be left, since the store can't be opened: %s",
		err.message);
}

/* The main process is gone without a farewell. */
static void take_over(struct guard_process *g)
{
	struct qmpsnap_error err;

	if (!g->last_step[0] || g->monitor_fd < 0) {
		close_up(g);
		return;
	}
	reopen_store(g);
	g->s->qmp = qmp_adopt(&g->loop, g->monitor_fd, NULL, on_lost, g, &err);
	if (!g->s->qmp) {
		g->exit_code = QMPSNAP_UNDO;
		log_line(QMPSNAP_LOG_WARNING, "the monitor can't be taken over: %s", err.message);
	}
	unwind(g->s, g->last_step, on_unwound, g);
}

static void on_control(uv_poll_t *handle, int status, int events)
{
	struct guard_process *g = handle->data;
	struct json_object *record = NULL;
	int fds[GUARD_MAX_FDS];
	size_t n = 0;
	bool well = true;

	(void)events;
	const int got = status < 0 ? 0 : guard_receive(g->control_fd, &record, fds, &n);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got > 0)
		well = take(g, record, fds, n);
	json_object_put(record);
	if (got > 0 && well && !g->farewell)
		return;
	uv_timer_stop(&g->pause_timer);
	uv_close((uv_handle_t *)&g->poll, NULL);
	if (g->farewell)
		close_up(g);
	else
		take_over(g);
}

static bool set_up(struct guard_process *g)
{
	static const char hello[] = "{\"record\":\"ready\"}";

	if (uv_loop_init(&g->loop) < 0)
		return false;
	g->s = snapshot_new(&g->loop);
	if (!g->s)
		return false;
	g->poll.data = g->pause_timer.data = g;
	return uv_timer_init(&g->loop, &g->pause_timer) == 0 &&
	       uv_poll_init(&g->loop, &g->poll, g->control_fd) == 0 &&
	       uv_poll_start(&g->poll, UV_READABLE, on_control) == 0 &&
	       send(g->control_fd, hello, sizeof(hello) - 1, MSG_NOSIGNAL) > 0;
}

int qmpsnap_guard_main(int control_fd, qmpsnap_open_store_fn *open_store)
{
	struct guard_process g = {
		.control_fd = control_fd, .monitor_fd = -1, .open_store = open_store};

	if (!set_up(&g))
		return QMPSNAP_INTERNAL;
	uv_run(&g.loop, UV_RUN_DEFAULT);
	uv_loop_close(&g.loop);
	close(control_fd);
	return g.exit_code;
}

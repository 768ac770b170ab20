/* SPDX-License-Identifier: Apache-2.0
 *
 * What the guard is told, and the deadlines that it holds the teller to. */
#include "base/log.h"
#include "blockops/guard_process.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
	const char *address = json_string(record, "address");
	struct qmpsnap_error err;

	if (n > 1 || !run || !address ||
		(n == 1 && !qmp_address_parse(address, &s->address, &err)) || !json_length(disks) ||
		!snapshot_add_disks(s, json_length(disks)))
		return false;
	g->monitor_fd = n == 1 ? fds[0] : -1; /* offline: no QEMU */
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

static void end_main(struct guard_process *g, const char *what, unsigned ms)
{
	log_line(QMPSNAP_LOG_WARNING, "%s for over %u ms: ending the process that holds it", what,
		ms);
	/* Only the process that started us: a number that was given to another one since isn't our
	 * parent. */
	if (g->main_pid > 1 && getppid() == g->main_pid)
		kill(g->main_pid, SIGKILL);
}

static void on_pause_deadline(uv_timer_t *timer)
{
	end_main(timer->data, "the guest has been held", SNAPSHOT_PAUSE_MS);
}

static unsigned freeze_limit_ms(const struct guard_process *g)
{
	return g->s->freeze_deadline_ms + SNAPSHOT_FREEZE_MARGIN_MS;
}

static void on_freeze_deadline(uv_timer_t *timer)
{
	struct guard_process *g = timer->data;

	end_main(g, "the guest's file systems have been held frozen", freeze_limit_ms(g));
}

static void take_agent(
	struct guard_process *g, struct json_object *record, const int *fds, size_t n)
{
	g->s->freeze_deadline_ms = (unsigned)json_int(record, "freeze_deadline_ms", 0);
	if (n == 1)
		g->agent_fd = fds[0];
}

/* A process that thaws hasn't hung: it says so again and again. */
static void take_frozen(struct guard_process *g)
{
	g->s->freeze.in_doubt = true;
	uv_timer_start(&g->freeze_timer, on_freeze_deadline, freeze_limit_ms(g), 0);
}

static void take_thawed(struct guard_process *g)
{
	g->s->freeze.in_doubt = false;
	uv_timer_stop(&g->freeze_timer);
}

static void take_running(struct guard_process *g)
{
	g->s->stopped = false;
	uv_timer_stop(&g->pause_timer);
}

/* QEMU serves others once nobody holds the connection. */
static void take_released(struct guard_process *g, struct json_object *record)
{
	g->s->detached = json_flag(record, "detached", false);
	g->s->released = g->s->release_monitor = true;
	if (g->monitor_fd >= 0)
		close(g->monitor_fd);
	g->monitor_fd = -1;
}

/* Other tables of methods begin as the first one did, so what has begun stays what it was. */
static bool take_method(struct guard_process *g, struct json_object *record)
{
	g->s->table = method_table_by_key(json_string(record, "method"));
	g->s->server_refused = true;
	return g->s->table != NULL;
}

/* A copy that takes its time holds the guest; who hangs can't say so. */
static void take_holding(struct guard_process *g)
{
	if (g->s->stopped)
		uv_timer_start(&g->pause_timer, on_pause_deadline, SNAPSHOT_PAUSE_MS, 0);
	if (g->s->freeze.in_doubt)
		take_frozen(g);
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
	if (strcmp(step, "freeze") == 0)
		take_frozen(g);
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

bool guard_take(struct guard_process *g, struct json_object *record, const int *fds, size_t n)
{
	const char *kind = json_string(record, "record");
	struct snapshot_disk *d = disk_of(g, record);

	if (!kind)
		return false;
	if (strcmp(kind, "run") == 0)
		return take_run(g, record, fds, n);
	if (strcmp(kind, "method") == 0)
		return take_method(g, record);
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
	else if (strcmp(kind, "released") == 0)
		take_released(g, record);
	else if (strcmp(kind, "holding") == 0)
		take_holding(g);
	else if (strcmp(kind, "agent") == 0)
		take_agent(g, record, fds, n);
	else if (strcmp(kind, "thawing") == 0)
		take_frozen(g);
	else if (strcmp(kind, "thawed") == 0)
		take_thawed(g);
	else if (strcmp(kind, "published") == 0)
		g->published = true;
	else if (strcmp(kind, "left") == 0)
		g->left = true;
	else if (strcmp(kind, "end") == 0)
		g->farewell = true;
	return true;
}

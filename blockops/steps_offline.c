/* SPDX-License-Identifier: Apache-2.0
 *
 * An image file without a QEMU: qemu-nbd serves it to the reader that also reads frozen views, in
 * one pass; formats whose size must be known from a whole copy are copied by qemu-img first.  Both
 * keep QEMU's locks on the file for as long as they read it. */
#include "base/log.h"
#include "blockops/qemu_img.h"
#include "blockops/rotate.h"
#include "blockops/steps.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SERVER_DIES_MS = 3000 };

/* ---- open ---- */

/* The file's name, without its folder and the last of its extensions. */
static bool name_the_guest(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	char *copy = strdup(s->image_path);

	if (!copy)
		return error_no_memory(err);
	char *name = basename(copy);
	char *dot = strrchr(name, '.');
	if (dot && dot != name)
		*dot = '\0';
	(void)snprintf(
		s->guest_name, sizeof(s->guest_name), "%s", s->guest_id ? s->guest_id : name);
	free(copy);
	return true;
}

static bool check_info(
	struct json_object *info, const struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	const char *parent = json_string(info, "backing-filename");

	if (json_flag(info, "encrypted", false))
		return error_set(err, QMPSNAP_REFUSED, "%s is encrypted", s->image_path);
	/* A qcow2's own header was read, and what it names is part of the source. */
	if (parent && strcmp(s->image_format, "qcow2") != 0)
		return error_set(err, QMPSNAP_REFUSED, "%s stands on %s, which only qcow2 can say",
			s->image_path, parent);
	if (json_int(info, "virtual-size", -1) < 0)
		return error_set(
			err, QMPSNAP_REFUSED, "the size of %s is not known", s->image_path);
	return true;
}

/* What plan does for a guest. */
static bool make_plan(
	struct qmpsnap_snapshot *s, struct json_object *info, struct qmpsnap_error *err)
{
	if (!check_info(info, s, err) || !name_the_guest(s, err) || !rotate_check_guest(s, err))
		return false;
	if (!name_new_run(s->run) || !name_new_uuid(s->set))
		return error_set(err, QMPSNAP_INTERNAL, "the system gives no random bytes");
	const struct guest_disk file = {.id = s->guest_name,
		.qom_path = "",
		.node = "",
		.block_device = source_is_raw_device(s->disks[0].source),
		.virtual_size_bytes = (uint64_t)json_int(info, "virtual-size", 0)};
	if (!plan_take_disk(&s->disks[0], &file, err))
		return false;
	if (offline_is_streamed(s) && file.virtual_size_bytes > CLUSTER_MAP_MOST_BYTES)
		return error_set(err, QMPSNAP_REFUSED,
			"%s is larger than 16 TiB, the most that is laid out as a stream",
			s->image_path);
	(void)snprintf(s->decision.reason, sizeof(s->decision.reason), "an image file was named");
	s->result.method = s->table->name;
	s->result.reason = s->decision.reason;
	s->result.consistency = "offline";
	memcpy(s->result.run, s->run, sizeof(s->result.run));
	memcpy(s->result.set, s->set, sizeof(s->result.set));
	return true;
}

static void on_info(const struct qmpsnap_error *err, struct json_object *info, void *data)
{
	struct qmpsnap_snapshot *s = data;
	struct qmpsnap_error mine = {0};

	s->converting = NULL;
	if (err) {
		mine = *err;
		mine.code = QMPSNAP_REFUSED;
	} else if (make_plan(s, info, &mine) && s->dry_run) {
		flow_go_on_with(&s->flow, s->table->steps, s->flow.at + 1 + s->table->n_looks);
		plan_print(s);
	}
	if (mine.code == QMPSNAP_OK && offline_is_copied(s))
		convert_measure(s);
	else
		flow_done(&s->flow, &mine);
}

void offline_open(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct qmpsnap_error err;

	if (!snapshot_add_disks(s, 1)) {
		error_no_memory(&err);
		flow_done(f, &err);
		return;
	}
	struct snapshot_disk *d = &s->disks[0];
	d->source = source_of_file(s->image_path, s->image_format, s->force_share, &err);
	if (d->source)
		s->converting = qemu_img_info(s->loop, d->source, s->image_path, on_info, s, &err);
	if (!s->converting)
		flow_done(f, &err);
}

void offline_open_cancel(struct flow *f, void *self)
{
	(void)f;
	convert_cancel(self);
}

bool offline_is_copied(const void *self)
{
	const struct qmpsnap_snapshot *s = self;

	return s->disks[0].format == QMPSNAP_VMDK || s->disks[0].format == QMPSNAP_VDI;
}

bool offline_is_streamed(const void *self)
{
	return !offline_is_copied(self);
}

bool offline_has_room(struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	return offline_is_streamed(s) || convert_has_room(s, err);
}

static void take_instant(struct qmpsnap_snapshot *s)
{
	clock_gettime(CLOCK_REALTIME, &s->instant);
	name_time(s->result.instant, &s->instant);
	snapshot_tell(s, QMPSNAP_EVENT_STATE, "image_pending_upload");
}

/* ---- copy ---- */

static void after_copy(struct qmpsnap_snapshot *s)
{
	flow_done(&s->flow, NULL);
}

void offline_copy(struct flow *f, void *self)
{
	(void)f;
	take_instant(self);
	convert_disks(self, after_copy);
}

void offline_copy_cancel(struct flow *f, void *self)
{
	(void)f;
	convert_cancel(self);
}

/* ---- serve ---- */

/* qemu-nbd has ended: by itself only for a reason, which says more than a connection that was
 * closed. */
static void on_served(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	snapshot_fn *then = s->serve_then;

	s->serving = NULL;
	if (err && s->serve_err.code == QMPSNAP_OK)
		s->serve_err = *err;
	s->serve_then = NULL;
	if (then) {
		snapshot_timer_stop(s);
		then(s);
	}
}

/* One that hangs in the kernel is not waited for. */
static void abandon_serving(struct qmpsnap_snapshot *s)
{
	struct qemu_img *serving = s->serving;
	snapshot_fn *then = s->serve_then;

	s->serving = NULL;
	s->serve_then = NULL;
	if (s->serve_err.code == QMPSNAP_OK)
		error_set(&s->serve_err, QMPSNAP_QEMU, "%s: qemu-nbd hangs", s->image_path);
	log_line(QMPSNAP_LOG_WARNING, "qemu-nbd doesn't end: it isn't waited for any longer");
	qemu_img_abandon(serving);
	then(s);
}

static void stop_serving(struct qmpsnap_snapshot *s, snapshot_fn *then)
{
	if (!s->serving) {
		then(s);
		return;
	}
	s->serve_then = then;
	qemu_img_kill(s->serving);
	snapshot_after(s, SERVER_DIES_MS, abandon_serving);
}

static void serving_failed(struct qmpsnap_snapshot *s)
{
	flow_done(&s->flow, &s->serve_err);
}

static void on_view_ready(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;

	if (!err) {
		take_instant(s);
		flow_done(&s->flow, NULL);
		return;
	}
	if (s->serve_err.code == QMPSNAP_OK && !s->serving)
		s->serve_err = *err;
	stop_serving(s, serving_failed);
}

/* The connections wait in the socket's queue before there is a qemu-nbd: nobody else can have
 * them, and the socket's name is gone at once. */
static bool connect_and_serve(struct qmpsnap_snapshot *s, int *fds, struct qmpsnap_error *err)
{
	struct snapshot_disk *d = &s->disks[0];

	if (!server_listen(s, err))
		return false;
	for (size_t i = 0; i < SNAPSHOT_CONNECTIONS; i++) {
		fds[i] = server_connect(s, err);
		if (fds[i] < 0)
			return false;
	}
	server_unlink(s);
	s->serving = qemu_img_serve(s->loop, d->source, d->label, s->listen_fd,
		SNAPSHOT_CONNECTIONS, on_served, s, err);
	close(s->listen_fd);
	s->listen_fd = -1;
	return s->serving != NULL;
}

void offline_serve(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct snapshot_disk *d = &s->disks[0];
	struct qmpsnap_error err = {0};
	int fds[SNAPSHOT_CONNECTIONS];
	const struct view_options options = {
		.export_name = "", .disk = d->label, .expected_size_bytes = d->virtual_size_bytes};

	for (size_t i = 0; i < SNAPSHOT_CONNECTIONS; i++)
		fds[i] = -1;
	if (connect_and_serve(s, fds, &err)) {
		d->view = view_open(
			s->loop, fds, SNAPSHOT_CONNECTIONS, &options, on_view_ready, s, &err);
	} else {
		for (size_t i = 0; i < SNAPSHOT_CONNECTIONS; i++) {
			if (fds[i] >= 0)
				close(fds[i]);
		}
	}
	if (!d->view)
		flow_done(f, &err);
}

static void served_no_more(struct qmpsnap_snapshot *s)
{
	flow_done(&s->flow, NULL);
}

static void on_view_closed(void *data)
{
	stop_serving(data, served_no_more);
}

void offline_serve_end(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;
	struct view *view = s->disks[0].view;

	(void)f;
	server_unlink(s);
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	s->listen_fd = -1;
	s->disks[0].view = NULL;
	if (view)
		view_close(view, on_view_closed, s);
	else
		on_view_closed(s);
}

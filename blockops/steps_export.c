/* SPDX-License-Identifier: Apache-2.0
 *
 * The exports of the frozen views, and our connections to them. */
#include "blockops/steps.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EXPORT_POLL_MS = 20, EXPORT_GONE_MS = 15000 };

enum { READ_VIEW, READ_SCRATCH, HOLD_SIZE };

/* What is exported and read: the frozen view, and, where its map can't be trusted alone, the
 * scratch.  The export of a filter has no reader: QEMU refuses to resize what it exports.  A
 * block_resize of the device would pass through the filter, and a view that is read past the new
 * end of its disk aborts QEMU (7.2.22: hbitmap_status, "start + count <= hb->orig_size"). */
static const struct {
	const char *node_role, *export_role;
	size_t first_fd, most_fds;
} readings[] = {
	[READ_VIEW] = {"v", "e", 0, SNAPSHOT_CONNECTIONS},
	[READ_SCRATCH] = {"s", "x", SNAPSHOT_CONNECTIONS, SNAPSHOT_FDS - SNAPSHOT_CONNECTIONS},
	[HOLD_SIZE] = {"f", "r", SNAPSHOT_FDS, 0},
};

/* Each connection takes three descriptors of ours, one of the guard's and one of QEMU's. */
static size_t n_connections(const struct qmpsnap_snapshot *s)
{
	const size_t most = readings[s->reading].most_fds;
	const size_t share = SNAPSHOT_ALL_CONNECTIONS / s->n_disks;

	if (share >= most)
		return most;
	return share < SNAPSHOT_FEW_CONNECTIONS ? SNAPSHOT_FEW_CONNECTIONS : share;
}

static void add_export(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	struct json_object *args = json_new();
	char name[NAME_NODE_BYTES];

	json_put_string(args, "type", "nbd");
	disk_node(s, d, readings[s->reading].node_role, name);
	json_put_string(args, "node-name", name);
	disk_node(s, d, readings[s->reading].export_role, name);
	json_put_string(args, "id", name);
	json_put_string(args, "name", name);
	json_put_bool(args, "writable", false);
	json_put_bool(args, "allocation-depth", s->reading == READ_SCRATCH);
	disk_command(s, d, "block-export-add", args);
}

static bool connect_all(
	struct snapshot_disk *d, int *fds, int *copies, size_t n, struct qmpsnap_error *err)
{
	for (size_t i = 0; i < n; i++)
		fds[i] = -1;
	for (size_t i = 0; i < n; i++) {
		fds[i] = server_connect(d->snapshot, err);
		if (fds[i] >= 0)
			copies[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
		if (copies[i] >= 0)
			continue;
		if (fds[i] >= 0)
			error_errno(err, QMPSNAP_INTERNAL, errno, "dup");
		for (size_t j = 0; j <= i; j++) {
			if (fds[j] >= 0)
				close(fds[j]);
		}
		return false;
	}
	return true;
}

static void open_view(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	const size_t n = n_connections(s);
	int fds[SNAPSHOT_FDS], *copies = &d->nbd_fds[readings[s->reading].first_fd];
	struct view **view = s->reading ? &d->scratch_view : &d->view;
	struct qmpsnap_error err = {0};
	char name[NAME_NODE_BYTES];

	disk_node(s, d, readings[s->reading].export_role, name);
	const struct view_options options = {.export_name = name,
		.disk = d->label,
		.expected_size_bytes = d->virtual_size_bytes};
	if (connect_all(d, fds, copies, n, &err)) {
		if (record_connections(d, copies, n, &err)) {
			*view = view_open(s->loop, fds, n, &options, view_answered, d, &err);
		} else {
			for (size_t i = 0; i < n; i++)
				close(fds[i]);
		}
	}
	if (!*view)
		disk_done(s, &err);
}

static void next_reading(struct qmpsnap_snapshot *s);

static void open_views(struct qmpsnap_snapshot *s)
{
	disks_in_order(s, open_view, next_reading);
}

static void next_reading(struct qmpsnap_snapshot *s)
{
	if (s->reading == READ_VIEW && s->check_reads) {
		s->reading = READ_SCRATCH;
		disks_in_order(s, add_export, open_views);
		return;
	}
	for (size_t i = 0; s->check_reads && i < s->n_disks; i++)
		view_check_reads(s->disks[i].view, s->disks[i].scratch_view);
	server_unlink(s);
	flow_done(&s->flow, &s->disk_err);
}

static void export_views(struct qmpsnap_snapshot *s)
{
	s->reading = READ_VIEW;
	disks_in_order(s, add_export, open_views);
}

void export_add(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	(void)f;
	s->reading = HOLD_SIZE;
	if (s->decision.method == METHOD_FILTER)
		disks_in_order(s, add_export, export_views);
	else
		export_views(s);
}

/* ---- Undo ----
 *
 * Our connections end first, and nothing may lie unread in them.  QEMU's server waits for room to
 * send a reply, and neither a shutdown nor a hard deletion of the export wakes it while the
 * socket is full; but the deletion makes QEMU's main loop wait for the server, and so the guest
 * would hang (seen on 7.2.22). */

static void on_view_closed(void *data)
{
	struct snapshot_disk *d = data;

	disk_done(d->snapshot, NULL);
}

/* Others, a guard, hold duplicates, so a close alone ends nothing. */
static void end_connection(int fd)
{
	static char unread[64 * 1024];

	(void)shutdown(fd, SHUT_RDWR);
	while (recv(fd, unread, sizeof(unread), MSG_DONTWAIT) > 0)
		;
}

bool export_is_read(const struct qmpsnap_snapshot *s)
{
	for (size_t i = 0; i < s->n_disks; i++) {
		for (size_t c = 0; c < SNAPSHOT_FDS; c++) {
			if (s->disks[i].nbd_fds[c] >= 0)
				return true;
		}
	}
	return false;
}

void export_cut(struct qmpsnap_snapshot *s)
{
	for (size_t i = 0; i < s->n_disks; i++) {
		for (size_t c = 0; c < SNAPSHOT_FDS; c++) {
			if (s->disks[i].nbd_fds[c] >= 0)
				end_connection(s->disks[i].nbd_fds[c]);
		}
	}
}

static void close_view(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	struct view **view = s->reading ? &d->scratch_view : &d->view;
	struct view *old = *view;

	*view = NULL;
	for (size_t i = 0; i < readings[s->reading].most_fds; i++) {
		int *fd = &d->nbd_fds[readings[s->reading].first_fd + i];
		if (*fd >= 0) {
			end_connection(*fd);
			(void)close(*fd);
		}
		*fd = -1;
	}
	if (old)
		view_close(old, on_view_closed, d);
	else
		disk_done(s, NULL);
}

static struct json_object *find_export(
	const struct snapshot_disk *d, unsigned reading, struct json_object *exports)
{
	char name[NAME_NODE_BYTES];

	disk_node(d->snapshot, d, readings[reading].export_role, name);
	for (size_t i = 0; i < json_length(exports); i++) {
		struct json_object *export = json_object_array_get_idx(exports, i);
		const char *id = json_string(export, "id");
		if (id && strcmp(id, name) == 0)
			return export;
	}
	return NULL;
}

static void on_listed(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;
	struct qmpsnap_snapshot *s = d->snapshot;
	struct json_object *export = find_export(d, s->reading, result);

	if (!export || json_flag(export, "shutting-down", false)) {
		disk_done(s, snapshot_qemu_is_gone(s) ? NULL : err);
		return;
	}
	struct json_object *args = json_new();
	json_put_string(args, "id", json_string(export, "id"));
	json_put_string(args, "mode", "hard");
	disk_command(s, d, "block-export-del", args);
}

static void delete_export(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	if (snapshot_qemu_is_gone(s))
		disk_done(s, NULL);
	else
		qmp_execute(s->qmp, "query-block-exports", NULL, on_listed, d);
}

/* How many of ours QEMU has, and of those how many it doesn't let go of already. */
static size_t count_exports(
	const struct qmpsnap_snapshot *s, struct json_object *exports, size_t *n_staying)
{
	size_t n = 0;

	*n_staying = 0;
	for (size_t i = 0; i < s->n_disks; i++) {
		for (unsigned reading = READ_VIEW; reading <= HOLD_SIZE; reading++) {
			struct json_object *export = find_export(&s->disks[i], reading, exports);
			n += export != NULL;
			*n_staying += export && !json_flag(export, "shutting-down", false);
		}
	}
	return n;
}

static void ask_for_exports(struct qmpsnap_snapshot *s);
static void delete_view_exports(struct qmpsnap_snapshot *s);

static void on_exports(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	const uint64_t waited_ms = (uv_hrtime() - s->wait_from_ns) / 1000000;
	size_t n_staying;
	const size_t n = count_exports(s, result, &n_staying);

	if (err && !snapshot_qemu_is_gone(s) && s->disk_err.code == QMPSNAP_OK)
		s->disk_err = *err;
	if (err || n == 0 || (n == n_staying && s->delete_refused)) {
		flow_done(&s->flow, &s->disk_err);
	} else if (n_staying > 0 && !s->delete_refused) { /* it is tried once more */
		s->delete_refused = true;
		s->disk_err = (struct qmpsnap_error){0};
		delete_view_exports(s);
	} else if (waited_ms > EXPORT_GONE_MS) {
		error_set(&s->disk_err, QMPSNAP_DEADLINE,
			"QEMU hasn't let go of our NBD export within %u s", EXPORT_GONE_MS / 1000);
		flow_done(&s->flow, &s->disk_err);
	} else {
		snapshot_after(s, EXPORT_POLL_MS, ask_for_exports);
	}
}

static void ask_for_exports(struct qmpsnap_snapshot *s)
{
	qmp_execute(s->qmp, "query-block-exports", NULL, on_exports, s);
}

/* A deletion is done only when its event comes; asking serves as well, and can't be missed. */
static void wait_for_exports(struct qmpsnap_snapshot *s)
{
	s->wait_from_ns = uv_hrtime();
	if (snapshot_qemu_is_gone(s))
		flow_done(&s->flow, &s->disk_err);
	else
		ask_for_exports(s);
}

/* The round of undos over all disks: both readings' connections, then all exports. */
static void delete_size_exports(struct qmpsnap_snapshot *s)
{
	s->reading = HOLD_SIZE;
	disks_in_order(s, delete_export, wait_for_exports);
}

static void delete_scratch_exports(struct qmpsnap_snapshot *s)
{
	s->reading = READ_SCRATCH;
	disks_in_order(s, delete_export, delete_size_exports);
}

static void delete_view_exports(struct qmpsnap_snapshot *s)
{
	s->reading = READ_VIEW;
	disks_in_order(s, delete_export, delete_scratch_exports);
}

static void close_scratch_views(struct qmpsnap_snapshot *s)
{
	s->reading = READ_SCRATCH;
	disks_in_order(s, close_view, delete_view_exports);
}

void export_remove(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	(void)f;
	s->reading = READ_VIEW;
	disks_in_order(s, close_view, close_scratch_views);
}

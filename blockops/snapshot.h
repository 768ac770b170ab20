/* SPDX-License-Identifier: Apache-2.0
 *
 * snapshot.h - one snapshot in the making: what its step functions share.  The step functions of
 * the methods stand in steps_*.c, their tables in table_*.c.  The guard and recover fill in the
 * same struct with what they know and run the same undo functions.
 */
#ifndef BLOCKOPS_SNAPSHOT_H
#define BLOCKOPS_SNAPSHOT_H

#include "base/flow.h"
#include "base/names.h"
#include "base/store.h"
#include "blockops/decide.h"
#include "blockops/guard.h"
#include "blockops/guest.h"
#include "blockops/inspect.h"
#include "blockops/layout.h"
#include "blockops/pace.h"
#include "blockops/view.h"
#include "qmp/address.h"
#include "qmp/client.h"

#include <stdio.h>
#include <time.h>

enum {
	SNAPSHOT_CONNECTIONS = 2, /* NBD connections to a disk's view, */
	SNAPSHOT_FDS = 3, /* and with the one to its scratch */
	SNAPSHOT_BLOCK_BYTES = 512 * 1024,
	SNAPSHOT_RING_BLOCKS = 32,
	SNAPSHOT_MAX_DISKS = 64,
	SNAPSHOT_FREEZE_MS = 10000,
	SNAPSHOT_PAUSE_MS = 5000, /* the guard ends a main process that holds the guest longer */
};

struct snapshot_disk {
	struct qmpsnap_snapshot *snapshot;
	unsigned index;
	char *label; /* the short name that users see */
	char *qom_path; /* the device whose `drive` is switched */
	char *node; /* the node that the device had and goes back to */
	uint64_t virtual_size_bytes;

	enum qmpsnap_format format; /* of the image */
	char *image_name;
	char image_id[NAME_UUID_BYTES];
	struct store_image *image; /* NULL in a guard, which knows only name and id */
	bool published;

	int scratch_fd; /* -1: none */
	uint64_t scratch_limit_bytes;
	uint64_t scratch_seen_bytes;
	char *scratch_path; /* while it has one */
	int64_t fdset; /* -1: none */
	bool by_path; /* QEMU is offered the scratch's path, not a descriptor */

	int nbd_fds[SNAPSHOT_FDS]; /* duplicates, to shut the connections down; -1: none */
	struct view *view;
	struct view *scratch_view; /* read for its map only, see danger_of_wide_reads() */
	struct qmpsnap_error view_err; /* why it couldn't be read */
	struct cluster_map map;
	struct layout layout;
	struct stream *stream;
	bool uploading, uploaded;
	uint64_t done_bytes;
	struct qmp_request *switch_request;
	char doomed[NAME_NODE_BYTES]; /* the node that an undo is deleting */
};

typedef void snapshot_fn(struct qmpsnap_snapshot *s);
typedef void disk_fn(struct qmpsnap_snapshot *s, struct snapshot_disk *d);
typedef void diagnosed_fn(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err);

struct deferred_step {
	enum qmpsnap_phase phase;
	const struct flow_step *step;
};

enum nbd_server { SERVER_NONE, SERVER_IN_DOUBT, SERVER_OURS };

/* Only tests fill this in; see tests/live. */
struct snapshot_faults {
	unsigned switch_gap_ms; /* waits between the switches of two disks ... */
	bool no_stop; /* ... of a guest that runs on */
	int signal; /* raised as the step `before` begins or `after` has ended */
	const char *before, *after;
};

struct qmpsnap_snapshot {
	struct flow flow;
	uv_loop_t *loop;
	struct qmpsnap_store *store;
	qmpsnap_event_fn *event;
	qmpsnap_done_fn *done;
	void (*unwound)(struct qmpsnap_snapshot *s, void *data); /* instead, see unwind.h */
	void *data;
	struct qmpsnap_result result;
	struct snapshot_faults faults;
	uint64_t started_ns;

	/* What was asked for, owned. */
	struct qmp_address address;
	char *store_spec, *name, *guest_id, *scratch_dir, *guard_path;
	char **wanted;
	size_t n_wanted;
	struct json_object *properties;
	char *method_wanted, *flavour_wanted; /* NULL: auto */
	char *qga_address, *image_path, *image_format;
	enum qmpsnap_format format;
	enum qmpsnap_quiesce quiesce;
	enum qmpsnap_zero_scan zero_scan;
	unsigned freeze_deadline_ms;
	bool firmware, allow_plaintext, release_monitor, force_share;
	uint64_t scratch_limit_bytes;
	unsigned parallel;
	bool no_guard, dry_run;
	struct pace pace;

	/* The guest. */
	struct qmp_client *qmp;
	struct inspect inspect;
	struct guest guest;
	struct qmp_subscription on_event;
	char guest_name[256];
	char run[NAME_RUN_BYTES];
	char set[NAME_UUID_BYTES];

	struct decision decision;
	const struct method_table *table; /* the method's; before the plan, the first one's */
	struct snapshot_disk *disks;
	size_t n_disks;
	bool multi; /* several disks of a running guest: they switch while it stands still */

	bool check_reads; /* danger_of_wide_reads() */

	/* What of ours may stand. */
	struct guard *guard;
	bool is_guard; /* this process undoes for a dead one */
	bool keep_server; /* recover: no export of ours stood, or a foreign one does */
	enum nbd_server server;
	char *server_folder; /* holds the NBD socket until the connections stand */
	int listen_fd;
	bool stopped; /* our `stop` may stand without its `cont` */
	bool continuing; /* our `cont` was sent */
	bool resumed_by_others;
	uint64_t stopped_ns;
	struct qmp_request *stop_request, *cont_request;
	struct timespec instant;

	/* What happened while the guest stood still, to be told afterwards. */
	struct deferred_step deferred[12];
	size_t n_deferred;

	/* The disk loop, see disks_in_order(). */
	disk_fn *disk_fn;
	snapshot_fn *disks_then;
	size_t disk_at;
	struct qmpsnap_error disk_err; /* the running step's first */

	/* An undo's wait for exports to go, and its timer. */
	uv_timer_t timer;
	snapshot_fn *timer_fn;
	uint64_t wait_from_ns;
	unsigned reading; /* the running phase is about the views (0) or the scratches (1) */

	/* Uploads under way. */
	unsigned n_uploading;
	struct qmpsnap_error upload_err;
	diagnosed_fn *diagnosed;
};

/* The flow's watch: tells the guard, the user and, in tests, SIGKILL (snapshot.c). */
flow_watch_fn snapshot_watch;

/* ---- Shared by the step functions (snapshot_tools.c) ---- */

/* Calls `fn` for each disk, first to last when going forward and last to first in an undo; each
 * call ends in one disk_done(), at once or later.  Forward, the first error or a cancel ends the
 * step; an undo goes on.  Then calls `then`, which ends the step; NULL: flow_done() with
 * s->disk_err. */
void disks_in_order(struct qmpsnap_snapshot *s, disk_fn *fn, snapshot_fn *then);
void disk_done(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err);

/* A command whose whole outcome is the disk's: its reply ends in disk_done().  A forward error is
 * prefixed with the disk's name. */
void disk_command(struct qmpsnap_snapshot *s, struct snapshot_disk *d, const char *command,
	struct json_object *arguments);

/* Deletes our node of that role, if it is there: ends in disk_done(). */
void disk_delete_node(struct qmpsnap_snapshot *s, struct snapshot_disk *d, const char *role);

/* Our name for a node, export or descriptor of a disk. */
void disk_node(const struct qmpsnap_snapshot *s, const struct snapshot_disk *d, const char *role,
	char node[static NAME_NODE_BYTES]);

/* A one-shot timer for the running step. */
void snapshot_after(struct qmpsnap_snapshot *s, unsigned ms, snapshot_fn *fn);
void snapshot_timer_stop(struct qmpsnap_snapshot *s);

/* Whether there is no QEMU any more to undo anything in. */
bool snapshot_qemu_is_gone(const struct qmpsnap_snapshot *s);

/* Frees it and all it owns, the struct itself once the timer's handle is closed. */
void snapshot_free(struct qmpsnap_snapshot *s);

/* Makes an empty one: descriptors at -1, times set. */
struct qmpsnap_snapshot *snapshot_new(uv_loop_t *loop);
bool snapshot_add_disks(struct qmpsnap_snapshot *s, size_t n);

void snapshot_tell(struct qmpsnap_snapshot *s, enum qmpsnap_event_kind kind, const char *text);
void snapshot_tell_disk(struct snapshot_disk *d, enum qmpsnap_event_kind kind, const char *text,
	uint64_t done_bytes, uint64_t total_bytes);

/* The store's view of a disk's image; the caller puts .properties. */
struct store_image_spec disk_image_spec(struct snapshot_disk *d);

#endif

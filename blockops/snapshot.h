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
#include "blockops/deadlines.h"
#include "blockops/decide.h"
#include "blockops/file_stream.h"
#include "blockops/guard.h"
#include "blockops/guest.h"
#include "blockops/guest_lock.h"
#include "blockops/inspect.h"
#include "blockops/jobs.h"
#include "blockops/journal.h"
#include "blockops/layout.h"
#include "blockops/node_names.h"
#include "blockops/pace.h"
#include "blockops/recover_journal.h"
#include "blockops/room_watch.h"
#include "blockops/source.h"
#include "blockops/speed.h"
#include "blockops/view.h"
#include "qmp/address.h"
#include "qmp/client.h"
#include "qmp/freeze.h"
#include "qmp/identity.h"

#include <stdio.h>
#include <time.h>

enum {
	SNAPSHOT_CONNECTIONS = 6, /* NBD connections to a disk's view at most, */
	SNAPSHOT_FEW_CONNECTIONS = 2, /* or, where there are many disks, at least, */
	SNAPSHOT_ALL_CONNECTIONS = 96, /* so that those of all disks aren't more */
	SNAPSHOT_FDS = SNAPSHOT_CONNECTIONS + 1, /* with the one to its scratch */
	SNAPSHOT_BLOCK_BYTES = 512 * 1024,
	SNAPSHOT_RING_BLOCKS = 32,
	SNAPSHOT_MAX_DISKS = 64,
	SNAPSHOT_PIN_INDEX = SNAPSHOT_MAX_DISKS, /* no disk's */
	SNAPSHOT_FREEZE_MS = 10000,
	SNAPSHOT_FREEZE_MARGIN_MS = 15000, /* over the deadline, before the guard ends a process */
	SNAPSHOT_STALL_MS = 30 * 60 * 1000, /* a store may take its time to confirm */
	SNAPSHOT_SILENCE_MS = 20000, /* of a main process that may leave replies unread, */
	SNAPSHOT_UNWATCHED_MS = 10000, /* or of one whose scratch can stop the guest */
	SNAPSHOT_PAUSE_MS = 5000, /* of switches in turn; the guard ends who is silent so long */
	SNAPSHOT_PAUSED_COMMAND_MS = 3000, /* of each command meanwhile, so that it seldom has to */
	SNAPSHOT_HOLDING_STOP_MS = 120000, /* of a `stop` for a copy: it flushes all the disks */
	SNAPSHOT_FROZEN_COMMAND_MS = 10000, /* of the instant's while file systems are frozen */
};

struct snapshot_disk {
	struct qmpsnap_snapshot *snapshot;
	unsigned index;
	char *label; /* the short name that users see */
	char *qom_path; /* the device whose `drive` is switched */
	char *node; /* the node that the device had and goes back to */
	uint64_t virtual_size_bytes;
	uint64_t host_bytes; /* see guest.h */
	struct guest_node_options node_options;

	enum qmpsnap_format format; /* of the image */
	bool plaintext; /* the disk is encrypted, its image isn't */
	char *image_name;
	char image_id[NAME_UUID_BYTES];
	bool published;
	struct store_image *image; /* NULL in a guard, which knows only name and id */

	int scratch_fd; /* -1: none */
	bool by_path; /* QEMU is offered the scratch's path, not a descriptor */
	bool scratch_holds; /* scratch_limit_bytes are reserved, whatever others do, */
	bool scratch_is_reserved; /* and are all that it can ever need */
	uint64_t scratch_limit_bytes;
	uint64_t scratch_seen_bytes;
	uint64_t scratch_written_bytes; /* up to where QEMU has written it; 0: not asked */
	char *scratch_path; /* while it has one */
	const char *scratch_role; /* the command under way about the scratch, see scratch_file.h */
	struct json_object *(*make_node)(const struct snapshot_disk *d, const char *filename);
	void (*reserved_fn)(struct snapshot_disk *d, const struct qmpsnap_error *err);
	void (*added_fn)(struct snapshot_disk *d, const struct qmpsnap_error *err);
	uv_work_t reserve_work;
	uint64_t reserve_bytes;
	int reserve_errno;

	int nbd_fds[SNAPSHOT_FDS]; /* duplicates, to shut the connections down; -1: none */
	struct view *view;
	struct view *scratch_view; /* read for its map only, see danger_of_wide_reads() */
	struct qmpsnap_error view_err; /* why it couldn't be read */
	struct cluster_map map;
	struct layout layout;
	struct stream *stream;
	struct source *source; /* the files behind it, for programs beside QEMU; NULL: none */
	uint64_t needed_bytes; /* what qemu-img's copy of it would take, by convert_measure() */
	struct file_stream spool; /* the image in a file of ours, where .stream.ops is set */
	uint64_t copied_bytes; /* by QEMU's job */
	bool job_over, job_dismissed;
	bool job_ended_well; /* it was seen concluded, without an error */
	bool job_stood; /* as its end was begun */
	bool uploading, uploaded;
	uint64_t done_bytes;
	uint64_t told_bytes; /* of any step */
	struct qmp_request *switch_request;
	char doomed[NAME_NODE_BYTES]; /* the node that an undo is deleting */
	bool node_stands; /* one couldn't be deleted: QEMU may still write to the scratch */
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
	bool no_watch; /* of a scratch that fills up */
	unsigned stall_ms; /* a mirror is given up that soon; 0: COPY_STALL_MS */
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
	char *store_spec, *store_place, *name, *guest_id, *scratch_dir, *guard_path, *state_dir;
	qmpsnap_open_store_fn *open_store;
	uint64_t wait_ms; /* for another run on the same guest */
	char **wanted;
	size_t n_wanted;
	struct json_object *properties;
	char *method_wanted, *flavour_wanted; /* NULL: auto */
	char *qga_address, *image_path, *image_format;
	char *backup_type; /* NULL: the images are snapshots */
	unsigned rotation; /* sets of it that are kept; 0: all */
	enum qmpsnap_format format;
	enum qmpsnap_quiesce quiesce;
	enum qmpsnap_zero_scan zero_scan;
	unsigned freeze_deadline_ms;
	bool firmware, allow_plaintext, release_monitor, force_share;
	uint64_t scratch_limit_bytes;
	unsigned parallel;
	bool no_guard, dry_run;
	struct pace pace;
	struct speed speed;
	struct deadlines deadlines;

	/* The guest. */
	int monitor_fd; /* connected, and not yet a client's; -1: none */
	bool recovering; /* runs that were killed are being undone, */
	struct monitor_way way; /* over this monitor */
	struct identity qemu;
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
	struct snapshot_disk pin; /* no disk: a file and a node of ours, see steps_pin.c */
	bool multi; /* several disks of a running guest: they switch while it stands still */
	bool detached; /* the images are in files of ours: QEMU is needed no more */
	bool server_refused; /* another tool's NBD server runs: `auto` took another method then */
	bool check_reads; /* danger_of_wide_reads() */
	bool by_paths; /* no descriptor can be passed to QEMU, over TCP: it gets paths */
	bool released; /* the monitor was given up, and isn't ours again */
	void (*regain_then)(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err);
	int lost_pid; /* the QEMU that closed it; 0: unknown */
	bool out_of_reach; /* nor can it be had again: QEMU may still use what is ours */

	struct store_check *checking; /* the store's, under way */

	/* What of ours may stand. */
	struct guest_lock lock;
	struct journal journal;
	uv_work_t sync_work;
	int sync_errno;
	struct guard *guard; /* NULL: none, or it is lost */
	bool guard_goes_on; /* thawing, without this process */
	bool is_guard; /* this process undoes for a dead one */
	bool keep_server; /* recover: no export of ours stood, or a foreign one does */
	bool ran; /* guard, recover: the guest did, when the run began */
	enum nbd_server server;
	bool stop_refused, close_refused; /* by QEMU, once: of the server, of its descriptor */
	bool delete_refused; /* of an export */
	char *server_folder; /* holds the NBD socket until the connections stand */
	int listen_fd;
	unsigned retake_ms; /* the back-off of taking a released or lost monitor again */
	bool stopped; /* our `stop` may stand without its `cont` */
	bool log_held; /* meanwhile */
	bool continuing; /* our `cont` was sent */
	bool reset_in_pause; /* by others; it is continued all the same */
	unsigned n_refusals; /* of QEMU to continue the guest, in the undo */
	bool stop_answered; /* from then on a RESUME that isn't ours ends our pause */
	bool resumed_by_others; /* before the instant; it wasn't running when inspected */
	bool shut_down; /* the guest was, or QEMU is about to end */
	bool holding; /* cold: the copy is good only for as long as nobody continues the guest */
	uint64_t stopped_ns;
	struct agent *agent; /* the guest's, in step; NULL: none */
	struct freeze freeze; /* .in_doubt: file systems may be frozen by us */
	struct qmpsnap_error freeze_err; /* why they weren't, of a snapshot that goes on */
	unsigned n_agents_lost; /* in the undo of the freeze */
	unsigned thaw_ticks; /* how long a thaw has been waited for */
	void (*thawed)(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err);
	bool agent_absent; /* none answers: then no freeze */
	bool paused_by_others; /* since the guest was inspected */
	struct qmp_request *stop_request, *status_request, *cont_request, *transaction_request;
	struct timespec instant;

	/* The methods cold and offline. */
	struct json_object *block_nodes, *block_graph; /* while the sources are looked for */
	struct qemu_img *converting; /* the copy under way, or a question before it */
	uint64_t convert_most_bytes; /* all copies together */
	struct room_watch *room_watch; /* of the copy under way */
	struct qemu_img *serving; /* qemu-nbd */
	struct qmpsnap_error serve_err; /* why it ended */
	void (*serve_then)(struct qmpsnap_snapshot *s); /* waits for its end */

	/* What happened while the guest stood still, to be told afterwards. */
	struct deferred_step deferred[12];
	size_t n_deferred;

	/* The disk loop, see disks_in_order(). */
	disk_fn *disk_fn;
	snapshot_fn *disks_then;
	size_t disk_at;
	struct qmpsnap_error disk_err; /* the running step's first */
	struct qmpsnap_error refusal; /* QEMU's, until a question has told its reason */
	struct node_names names;

	/* An undo's wait for exports to go, and its timer. */
	uv_timer_t timer;
	snapshot_fn *timer_fn;
	uint64_t wait_from_ns;
	unsigned reading; /* the running phase is about the views (0) or the scratches (1) */

	/* The method's jobs, and what watches over them (jobs.h, job_watch.h). */
	struct jobs jobs;
	struct {
		struct qmp_subscription on_event;
		bool watching, ending;
		bool ours; /* our full scratch has stopped the guest, */
		bool continued; /* and it was continued */
		unsigned n_refusals; /* by QEMU, in this end of it */
		snapshot_fn *ended;
	} watch;

	/* The wait for jobs that copy whole disks, see steps_copy.c and steps_mirror.c. */
	struct {
		struct qmp_subscription on_event;
		bool waiting; /* else a late reply is nobody's */
		bool to_ready; /* for mirrors that have caught up, not for the end */
		bool asking, again; /* query-jobs is under way; and something has changed since */
		uint64_t from_ns, least_ns; /* since when; when it last came nearer to the end */
		uint64_t least_left_bytes;
	} copying;

	/* The end of older backups (rotate.h). */
	struct {
		struct json_object *doomed;
		size_t at;
		struct shelf_call *call;
		struct qmpsnap_error stopped; /* why */
		void (*then)(struct qmpsnap_snapshot *s); /* NULL: not under way */
	} rotating;

	/* Uploads under way. */
	unsigned n_uploading;
	struct qmpsnap_error upload_err;
	diagnosed_fn *diagnosed;

	diagnosed_fn *devices_checked; /* see devices_check() */
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

/* The deadline of a command of the instant: shorter than the guard's. */
unsigned snapshot_instant_ms(const struct qmpsnap_snapshot *s);

/* A one-shot timer for the running step. */
void snapshot_after(struct qmpsnap_snapshot *s, unsigned ms, snapshot_fn *fn);
void snapshot_timer_stop(struct qmpsnap_snapshot *s);

/* Whether no QEMU can be asked to undo anything: there is no monitor.  QEMU itself may live; then
 * steps_regain.c has made an error of that. */
bool snapshot_qemu_is_gone(const struct qmpsnap_snapshot *s);
/* Whether QEMU's process is known to have ended, and known to live; neither where nobody can tell.
 */
bool snapshot_qemu_has_ended(const struct qmpsnap_snapshot *s);
bool snapshot_qemu_lives(const struct qmpsnap_snapshot *s);

/* Tells the debug lines that were held back since the `stop`, if they were. */
void snapshot_release_log(struct qmpsnap_snapshot *s);

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

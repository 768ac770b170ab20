/* SPDX-License-Identifier: Apache-2.0
 *
 * qmpsnap.h - point-in-time images of the disks of a running QEMU guest, taken over its QMP
 * monitor and delivered to an image store.
 *
 * Everything runs on a libuv loop that the caller lends; nothing here blocks it.  No function
 * calls back before it has returned; all callbacks come from the loop.  Strings, arrays and structs
 * passed in are copied where they are kept; what is handed to a callback lives until it returns.
 * `data` is the caller's, handed on as it is.  A function that returns NULL or false has filled
 * *err and will not call back.  Not thread-safe: one thread of a process uses this library.
 *
 * docs/embedding.md has the rest, and an example.
 */
#ifndef QMPSNAP_H
#define QMPSNAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QMPSNAP_API __attribute__((visibility("default")))

struct uv_loop_s;

/* "1.2.3", the version of the library that runs. */
QMPSNAP_API const char *qmpsnap_version(void);

/* ---- Errors ------------------------------------------------------------------------------ */

/* What kind of failure it was; the numbers are the command's exit codes. */
enum qmpsnap_code {
	QMPSNAP_OK = 0,
	QMPSNAP_INTERNAL = 1, /* a bug, or no memory */
	QMPSNAP_USAGE = 2, /* the request itself is wrong */
	QMPSNAP_REFUSED = 3, /* refused before anything was touched */
	QMPSNAP_QEMU = 4, /* QEMU said no, or is gone */
	QMPSNAP_STORE = 5, /* the image store said no, or is gone */
	QMPSNAP_VIEW = 6, /* the frozen view broke, or the scratch is full */
	QMPSNAP_DEADLINE = 7, /* something took too long */
	QMPSNAP_AGENT = 8, /* the guest agent */
	QMPSNAP_UNDO = 9, /* not all could be undone: the message lists what is left */
	QMPSNAP_INTERRUPTED = 130, /* SIGINT */
	QMPSNAP_TERMINATED = 143, /* SIGTERM */
};

/* An error by value: no ownership, no allocation, outlives the callback that brought it. */
struct qmpsnap_error {
	enum qmpsnap_code code;
	int detail; /* errno, HTTP status or CURLcode where one is known, else 0 */
	char message[512]; /* one phrase: what failed, on which disk, VM or URL, and why */
	char hint[320]; /* what the user can do, or "" */
};

/* ---- Log --------------------------------------------------------------------------------- */

enum qmpsnap_log_level {
	QMPSNAP_LOG_WARNING,
	QMPSNAP_LOG_INFO,
	QMPSNAP_LOG_DEBUG, /* QMP and HTTP traffic, secrets left out */
};

typedef void qmpsnap_log_fn(enum qmpsnap_log_level level, const char *message, void *data);

/* Sends all log lines of the process up to `level` to `fn`, which may be called from within any
 * function of this library and must call none; NULL: silence, the default.  Guards are processes of
 * their own: they write their warnings to the standard error. */
QMPSNAP_API void qmpsnap_log_to(enum qmpsnap_log_level level, qmpsnap_log_fn *fn, void *data);

/* ---- Image stores ------------------------------------------------------------------------ */

struct qmpsnap_store;

struct qmpsnap_store_options {
	bool force; /* `file:` and `http:` may replace what exists */
	int stdout_fd; /* the descriptor behind the store "-"; 0 means 1 */
	bool buffered_writes; /* no O_DIRECT; for tests and odd file systems */

	/* For `http:` and `https:` alone; with another store they are a USAGE error, as the ones
	 * below are with a store that they aren't for. */
	const char *const *headers; /* of the request, "Name: value"; no secrets */
	size_t n_headers;
	const char *header_file; /* more of them, a line each; read by this process and the guard */
	const char *cacert; /* file of the authorities that sign certificates; NULL: the system's */

	/* For `glance:`; os_cloud also for `swift:`, insecure also for that, `s3:` and `https:`. */
	const char *os_cloud; /* of clouds.yaml; NULL: OS_CLOUD, else the other OS_* variables */
	bool insecure; /* certificates aren't verified */
	const char *base_image; /* id of the image whose properties are inherited, or NULL */
	const char *const *tags;
	size_t n_tags;
	const char *visibility; /* "private", "shared", "community", "public"; NULL: private */
	bool is_protected;
	const char *backend; /* which of the service's stores; NULL: its default */
	bool sized; /* under a Content-Length instead of in chunks */
	bool import; /* staged, then imported (glance-direct) */
};

/* Opens the store named by `spec`: dir:PATH, file:PATH, -, glance:, glance:URL, s3://BUCKET/PREFIX,
 * swift:CONTAINER, http://URL, https://URL.  NULL spec: the default directory.  Configuration files
 * of clouds are read; nothing is contacted or created yet. Returns NULL and fills *err (USAGE,
 * STORE) when the spec or the configuration is wrong.
 */
QMPSNAP_API struct qmpsnap_store *qmpsnap_store_open(struct uv_loop_s *loop, const char *spec,
	const struct qmpsnap_store_options *options, struct qmpsnap_error *err);

/* What to open the same store by in another process, and so what to give as `store_spec` to a
 * snapshot: the spec, with those of the options that name the cloud, or with the cloud of
 * clouds.yaml that was chosen without one.  Nothing secret, but for what a URL may have in its
 * query and in `headers`; these aren't written into the journal.  Lives as long as the store; NULL
 * for the default directory. */
QMPSNAP_API const char *qmpsnap_store_spec(const struct qmpsnap_store *store);

/* Closes it, once nothing uses it any more: from within the `done` of its last user on.  Its
 * handles leave the loop during the loop's next turns.  NULL is fine. */
QMPSNAP_API void qmpsnap_store_close(struct qmpsnap_store *store);

/* Opens a store by what qmpsnap_store_spec() said of it, for images that a killed run left. */
typedef struct qmpsnap_store *qmpsnap_open_store_fn(
	struct uv_loop_s *loop, const char *spec, struct qmpsnap_error *err);

/* ---- Inspect ----------------------------------------------------------------------------- */

typedef void qmpsnap_json_fn(const struct qmpsnap_error *err, const char *json, void *data);

/* Asks the QEMU at `qmp_address` (unix:PATH, any word with a '/', tcp:HOST:PORT, fd:N) what it is,
 * and calls `done` once with a JSON text (the members are listed in qmpsnap(1), "INSPECT") or an
 * error: REFUSED (nobody answers there, or another client has the monitor), QEMU, DEADLINE,
 * INTERNAL.  False and *err: USAGE (no address), REFUSED (it can't be connected to), INTERNAL. */
QMPSNAP_API bool qmpsnap_inspect(struct uv_loop_s *loop, const char *qmp_address,
	qmpsnap_json_fn *done, void *data, struct qmpsnap_error *err);

/* ---- Snapshot ---------------------------------------------------------------------------- */

/* AUTO: qcow2, but raw for a raw block device.  VMDK and VDI: by the method cold alone. */
enum qmpsnap_format {
	QMPSNAP_FORMAT_AUTO,
	QMPSNAP_QCOW2,
	QMPSNAP_RAW,
	QMPSNAP_VMDK,
	QMPSNAP_VDI,
};

/* Whether the file systems in the guest are frozen around the instant, by its agent. */
enum qmpsnap_quiesce {
	QMPSNAP_QUIESCE_AUTO, /* when an agent answers */
	QMPSNAP_QUIESCE_REQUIRE, /* or no snapshot */
	QMPSNAP_QUIESCE_OFF,
};

/* Whether the frozen views are read once more beforehand, to leave out what is allocated and holds
 * only zeroes.  AUTO: where the extent map can't tell.  Copies (backup, mirror) aren't read for it:
 * there it is whether QEMU looks at each cluster that it copies; NEVER: nor at larger pieces. */
enum qmpsnap_zero_scan {
	QMPSNAP_ZERO_SCAN_AUTO,
	QMPSNAP_ZERO_SCAN_ALWAYS,
	QMPSNAP_ZERO_SCAN_NEVER,
};

/* Rates, besides bytes a second. */
#define QMPSNAP_SPEED_AUTO      UINT64_C(0) /* slows down while the guest's writes are slow */
#define QMPSNAP_SPEED_UNLIMITED UINT64_MAX

struct qmpsnap_snapshot_options {
	const char *qmp_address;
	const char *store_spec; /* what `store` was opened with; the guard opens it again */
	const char *name; /* NULL: <guest>-<UTC time> */
	const char *guest_id; /* NULL: QEMU's name, else UUID, else the socket's name */
	const char *const *disks; /* device id, QOM path, drive id, node name or file */
	size_t n_disks; /* 0: all inserted writable disks */
	const char *method; /* NULL or "auto", "stream", "backup", "mirror", "cold" */
	const char *flavour; /* of stream: NULL or "auto", "filter", "job" */
	bool firmware; /* take pflash (UEFI variables) too */
	bool allow_plaintext; /* take encrypted disks; their images aren't encrypted */
	enum qmpsnap_zero_scan zero_scan;
	bool release_monitor; /* leave the monitor to others during the upload; not with fd:N */
	const char *qga_address; /* the guest agent's socket, or NULL */
	enum qmpsnap_quiesce quiesce;
	unsigned freeze_deadline_ms; /* 0: 10 s */
	const char *image_path; /* no guest: the image file to take; what only a guest could follow
				   (qmp_address, disks, method, qga_address, ...) is refused then */
	const char *image_format; /* its format, never probed */
	bool force_share; /* take it although somebody holds its lock */
	enum qmpsnap_format format;
	const char *const *properties; /* "KEY=VALUE" */
	size_t n_properties;
	uint64_t speed_bytes_per_s; /* over all disks; 0: QMPSNAP_SPEED_AUTO */
	const char *scratch_dir; /* NULL: $TMPDIR, else /var/tmp */
	uint64_t scratch_limit_bytes; /* 0: free space less the larger of 5 % and 1 GiB */
	unsigned parallel; /* disks uploaded at once; 0: 2 */
	const char *guard_path; /* the qmpsnap-guard executable, of the library's own version; NULL:
				   beside the program or shared library that holds this code,
				   else where it is installed (libexec) */
	bool no_guard; /* run without one */
	const char *state_dir; /* absolute; NULL: $QMPSNAP_STATE_DIR, else as qmpsnap(1) says */
	uint64_t deadline_ms; /* of the whole run, undo excluded; 0: none */
	uint64_t stall_timeout_ms; /* without any progress; 0: 30 min */
	uint64_t wait_ms; /* for another run on the same guest; 0: REFUSED at once */
	qmpsnap_open_store_fn *open_store; /* to delete what an earlier run of the same guest, which
					      was killed, has left in a store; NULL: it stays */
	bool dry_run; /* report the steps as events, touch nothing */
	const char *backup_type; /* "daily": the images are backups of that type; NULL: snapshots */
	unsigned rotation; /* once all is well the oldest sets of the same guest and type beyond so
			      many are deleted; 0: none are */
};

enum qmpsnap_event_kind {
	QMPSNAP_EVENT_PLAN, /* dry run: `text` is a step that would run */
	QMPSNAP_EVENT_STATE, /* `text` is Nova's name of the state reached */
	QMPSNAP_EVENT_STEP, /* `text` names the step, `phase` says what about it */
	QMPSNAP_EVENT_PROGRESS, /* `disk`, `done_bytes`, `total_bytes`; `text` names the step when
				   it isn't the upload */
	QMPSNAP_EVENT_WARNING, /* `text` */
	QMPSNAP_EVENT_IMAGE, /* `text` is the location of an image just published, `disk` its disk
			      */
};

enum qmpsnap_phase { QMPSNAP_BEGIN, QMPSNAP_END, QMPSNAP_UNDO_BEGIN, QMPSNAP_UNDO_END };

struct qmpsnap_event {
	enum qmpsnap_event_kind kind;
	enum qmpsnap_phase phase;
	const char *text;
	const char *disk; /* the disk's short name, or NULL */
	uint64_t done_bytes, total_bytes;
};

struct qmpsnap_image {
	char id[37]; /* UUID, also the record's id in the store */
	char *name;
	char *disk; /* the disk's short name */
	char *location; /* path or URL */
	enum qmpsnap_format format;
	uint64_t size_bytes; /* of the image */
	uint64_t virtual_size_bytes;
	char digest_algorithm[16]; /* "sha256", ...; "" where the store confirms none */
	char digest[129]; /* hex */
};

struct qmpsnap_result {
	char run[11];
	char set[37];
	const char *method; /* "stream", ... */
	const char *reason; /* why this method, one sentence */
	const char *consistency; /* "filesystem", "crash", "paused" */
	char instant[28]; /* UTC, "2026-11-23T13:20:14.123Z"; "" when not reached */
	double stopped_ms; /* how long the guest stood still for us */
	double total_ms;
	uint64_t scratch_bytes; /* most that the guest's overwrites took */
	const struct qmpsnap_image *images;
	size_t n_images; /* 0 unless all were published */
	const struct qmpsnap_error *undo_error; /* what could not be undone, or NULL */
};

typedef void qmpsnap_event_fn(const struct qmpsnap_event *event, void *data);

/* The end, exactly once, when the guest is as before (but see undo_error); the last handles leave
 * the loop during its next turns.  `err` is NULL on success, else the first failure; `result` is
 * never NULL, and has what is known also beside an error. */
typedef void qmpsnap_done_fn(
	const struct qmpsnap_error *err, const struct qmpsnap_result *result, void *data);

struct qmpsnap_snapshot;

/* Takes a snapshot.  Returns NULL and fills *err (USAGE, INTERNAL) when it cannot even begin;
 * then `done` is not called.  The handle is the library's, and gone when `done` returns.  `store`
 * must live until then and have no other user meanwhile.  `event` (NULL: nobody listens) is never
 * called after `done`; from within it the three functions below may be called.  Several snapshots,
 * each of a guest of its own, may run on a loop at once. */
QMPSNAP_API struct qmpsnap_snapshot *qmpsnap_snapshot_start(struct uv_loop_s *loop,
	const struct qmpsnap_snapshot_options *options, struct qmpsnap_store *store,
	qmpsnap_event_fn *event, qmpsnap_done_fn *done, void *data, struct qmpsnap_error *err);

/* Gives it up with `code` (INTERRUPTED, TERMINATED) as the reason; everything is undone and
 * `done` called, later.  No effect once the undo has begun; so it may be called any number of times
 * until `done` is. */
QMPSNAP_API void qmpsnap_snapshot_cancel(struct qmpsnap_snapshot *snapshot, enum qmpsnap_code code);

/* The same, with the error's message; copied. */
QMPSNAP_API void qmpsnap_snapshot_cancel_saying(
	struct qmpsnap_snapshot *snapshot, enum qmpsnap_code code, const char *message);

/* Another speed from now on, as in the options; of a copy by qemu-img that is under way only once
 * it has ended: see speed_is_fixed. */
QMPSNAP_API void qmpsnap_snapshot_set_speed(
	struct qmpsnap_snapshot *snapshot, uint64_t bytes_per_s);

/* What there is to know besides the events. */
struct qmpsnap_status {
	const char *run; /* "" before the step `plan` has ended, as are the next two */
	const char *guest, *method;
	uint64_t speed_bytes_per_s; /* the limit in force; 0: none */
	bool speed_is_auto;
	bool monitor_is_released;
	bool speed_is_fixed; /* qemu-img copies a disk, at the speed that it began with */
};

/* Fills `status`; its strings live as long as the snapshot. */
QMPSNAP_API void qmpsnap_snapshot_get_status(
	const struct qmpsnap_snapshot *snapshot, struct qmpsnap_status *status);

/* ---- Images that stand in a store --------------------------------------------------------- */

enum qmpsnap_images_action {
	QMPSNAP_IMAGES_LIST,
	QMPSNAP_IMAGES_DELETE,
	QMPSNAP_IMAGES_DOWNLOAD, /* into files */
	QMPSNAP_IMAGES_VERIFY, /* the store's digest, or all of it */
	QMPSNAP_IMAGES_RESTORE, /* a set onto files or block devices */
};

struct qmpsnap_images_options {
	enum qmpsnap_images_action action;

	/* Which: those that this tool made and published, as far as all that is said here is true
	 * of them. */
	const char *const *which; /* ids of images or of sets, or names */
	size_t n_which; /* 0: any; DELETE, DOWNLOAD and RESTORE want some choice to be made */
	const char *guest; /* its name or UUID */
	const char *set, *tag;
	const char *since, *before; /* "2026-11-23", "2026-11-23T13:20Z", or so long ago: "36h" */
	bool all; /* also those that others made, and those that weren't published */

	bool force; /* DELETE: what others made; DOWNLOAD, RESTORE: over what exists */
	const char *folder; /* DOWNLOAD: as NAME-ID.FORMAT into it; NULL: "." */
	const char *output; /* DOWNLOAD: one image, to this path */
	bool deep; /* VERIFY: read it all, and have qemu-img check it */
	const char *scratch_dir; /* VERIFY, RESTORE: as for a snapshot */
	/* RESTORE: "DISK=PATH", for a single image also "PATH"; PATH with its format before it
	 * where `format` isn't the right one: "vda=raw:/dev/vg/web". */
	const char *const *targets;
	size_t n_targets;
	enum qmpsnap_format format; /* RESTORE: of the files; AUTO: the image's; devices: raw */
};

struct qmpsnap_images;

/* The end, exactly once.  `json` is an array of the records of those images that were dealt with,
 * which have the member `path` after DOWNLOAD and RESTORE, and `incomplete` after LIST: whether
 * other images of their set are missing; never NULL, also beside an error. */
typedef void qmpsnap_images_fn(const struct qmpsnap_error *err, const char *json, void *data);

/* Does it.  `event` hears of progress and warnings.  Returns NULL and fills *err (USAGE, INTERNAL)
 * when it cannot even begin.  The handle is gone when `done` returns; `store` must live until then.
 *
 * REFUSED before anything is changed: deleting what is protected or another project's, whatever
 * `force` says; restoring onto what some process has open, or a set of which images are missing. */
QMPSNAP_API struct qmpsnap_images *qmpsnap_images_start(struct uv_loop_s *loop,
	const struct qmpsnap_images_options *options, struct qmpsnap_store *store,
	qmpsnap_event_fn *event, qmpsnap_images_fn *done, void *data, struct qmpsnap_error *err);

/* Gives it up with `code` as the reason; files that aren't whole are removed. */
QMPSNAP_API void qmpsnap_images_cancel(struct qmpsnap_images *images, enum qmpsnap_code code);

/* ---- Recover and guard ------------------------------------------------------------------- */

typedef void qmpsnap_recovered_fn(
	const struct qmpsnap_error *err, const char *const *undone, size_t n_undone, void *data);

struct qmpsnap_recover_options {
	const char *qmp_address; /* the guest; NULL: `all` */
	bool all; /* every run of this user that was killed, of whatever guest */
	bool dry_run; /* only say what would be undone */
	const char *state_dir; /* as for a snapshot */
	qmpsnap_open_store_fn *open_store; /* to delete images that weren't published; NULL: they
					      stay, and so do the journals */
};

/* Undoes runs that were killed, and their guards too: from their journals, all of it, the guest
 * continued and thawed if it stands still for them.  Then removes from the QEMU at `qmp_address`
 * whatever else carries qmpsnap's names: exports, jobs, views, filters, scratches, targets,
 * descriptors; without a journal nothing is continued or thawed.  Live runs are left alone
 * (REFUSED when one is at work on that guest).
 *
 * The agent of a guest that stays frozen is asked to thaw it, after all else, for as long as its
 * QEMU lives; only then is this at its end.
 *
 * `undone` says what was found and undone, a phrase each.  UNDO: something is left, and the journal
 * of it kept. */
QMPSNAP_API bool qmpsnap_recover(struct uv_loop_s *loop,
	const struct qmpsnap_recover_options *options, qmpsnap_recovered_fn *done, void *data,
	struct qmpsnap_error *err);

/* The guard's whole life, for the qmpsnap-guard executable: listens on `control_fd` until the
 * main process ends, undoes what it left, and returns the exit code.  Runs its own loop. */
QMPSNAP_API int qmpsnap_guard_main(int control_fd, qmpsnap_open_store_fn *open_store);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * qmpsnap.h - point-in-time images of the disks of a running QEMU guest, taken over its QMP
 * monitor and delivered to an image store.
 *
 * Everything runs on a libuv loop that the caller lends; nothing here blocks it.  No function
 * calls back before it has returned.  Strings passed in are copied where they are kept; strings
 * handed to a callback live until it returns.  Not thread-safe: one loop, one thread.
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

/* Sends all log lines of the process up to `level` to `fn`; NULL: silence, the default. */
QMPSNAP_API void qmpsnap_log_to(enum qmpsnap_log_level level, qmpsnap_log_fn *fn, void *data);

/* ---- Image stores ------------------------------------------------------------------------ */

struct qmpsnap_store;

struct qmpsnap_store_options {
	bool force; /* `file:` may replace an existing file */
	int stdout_fd; /* the descriptor behind the store "-"; 0 means 1 */
	bool buffered_writes; /* no O_DIRECT; for tests and odd file systems */
};

/* Opens the store named by `spec`: dir:PATH, file:PATH, -, glance:URL.  NULL spec: the default
 * directory.  Nothing is contacted or created yet.  Returns NULL and fills *err (USAGE, STORE)
 * when the spec is wrong. */
QMPSNAP_API struct qmpsnap_store *qmpsnap_store_open(struct uv_loop_s *loop, const char *spec,
	const struct qmpsnap_store_options *options, struct qmpsnap_error *err);

/* Closes it; its handles leave the loop during the loop's next turns.  NULL is fine. */
QMPSNAP_API void qmpsnap_store_close(struct qmpsnap_store *store);

/* ---- Inspect ----------------------------------------------------------------------------- */

typedef void qmpsnap_json_fn(const struct qmpsnap_error *err, const char *json, void *data);

/* Asks the QEMU at `qmp_address` (unix:PATH, any word with a '/', fd:N) what it is, and calls
 * `done` once with a JSON text (the members are listed in qmpsnap(1), "INSPECT") or an error. */
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
 * only zeroes.  AUTO: where the extent map can't tell. */
enum qmpsnap_zero_scan {
	QMPSNAP_ZERO_SCAN_AUTO,
	QMPSNAP_ZERO_SCAN_ALWAYS,
	QMPSNAP_ZERO_SCAN_NEVER,
};

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
	bool release_monitor; /* leave the monitor to others during the upload */
	const char *qga_address; /* the guest agent's socket, or NULL */
	enum qmpsnap_quiesce quiesce;
	unsigned freeze_deadline_ms; /* 0: 10 s */
	const char *image_path; /* no guest: the image file to take, with qmp_address NULL */
	const char *image_format; /* its format, never probed */
	bool force_share; /* take it although somebody holds its lock */
	enum qmpsnap_format format;
	const char *const *properties; /* "KEY=VALUE" */
	size_t n_properties;
	uint64_t speed_bytes_per_s; /* over all disks; 0: no limit */
	const char *scratch_dir; /* NULL: $TMPDIR, else /var/tmp */
	uint64_t scratch_limit_bytes; /* 0: free space less the larger of 5 % and 1 GiB */
	unsigned parallel; /* disks uploaded at once; 0: 2 */
	const char *guard_path; /* the qmpsnap-guard executable; NULL: beside this one */
	bool no_guard; /* run without one */
	bool dry_run; /* report the steps as events, touch nothing */
};

enum qmpsnap_event_kind {
	QMPSNAP_EVENT_PLAN, /* dry run: `text` is a step that would run */
	QMPSNAP_EVENT_STATE, /* `text` is Nova's name of the state reached */
	QMPSNAP_EVENT_STEP, /* `text` names the step, `phase` says what about it */
	QMPSNAP_EVENT_PROGRESS, /* `disk`, `done_bytes`, `total_bytes` */
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
	const char *consistency; /* "crash", "paused" */
	char instant[28]; /* UTC, "2026-11-23T13:20:14.123Z"; "" when not reached */
	double stopped_ms; /* how long the guest stood still for us */
	double total_ms;
	uint64_t scratch_bytes; /* most that the guest's overwrites took */
	const struct qmpsnap_image *images;
	size_t n_images; /* 0 unless all were published */
	const struct qmpsnap_error *undo_error; /* what could not be undone, or NULL */
};

typedef void qmpsnap_event_fn(const struct qmpsnap_event *event, void *data);

/* The end, exactly once.  `err` is NULL on success; `result` is never NULL. */
typedef void qmpsnap_done_fn(
	const struct qmpsnap_error *err, const struct qmpsnap_result *result, void *data);

struct qmpsnap_snapshot;

/* Takes a snapshot.  Returns NULL and fills *err (USAGE, INTERNAL) when it cannot even begin;
 * then `done` is not called.  The handle is gone when `done` returns.  `store` must live until
 * then. */
QMPSNAP_API struct qmpsnap_snapshot *qmpsnap_snapshot_start(struct uv_loop_s *loop,
	const struct qmpsnap_snapshot_options *options, struct qmpsnap_store *store,
	qmpsnap_event_fn *event, qmpsnap_done_fn *done, void *data, struct qmpsnap_error *err);

/* Gives it up with `code` (INTERRUPTED, TERMINATED) as the reason; everything is undone and
 * `done` called.  No effect once the undo has begun. */
QMPSNAP_API void qmpsnap_snapshot_cancel(struct qmpsnap_snapshot *snapshot, enum qmpsnap_code code);

/* ---- Recover and guard ------------------------------------------------------------------- */

typedef void qmpsnap_recovered_fn(
	const struct qmpsnap_error *err, const char *const *undone, size_t n_undone, void *data);

/* Removes from the QEMU at `qmp_address` whatever carries qmpsnap's names: exports, views,
 * filters, scratch nodes, descriptors.  Never continues a guest.  `undone` says what was removed,
 * a phrase each. */
QMPSNAP_API bool qmpsnap_recover(struct uv_loop_s *loop, const char *qmp_address,
	qmpsnap_recovered_fn *done, void *data, struct qmpsnap_error *err);

typedef struct qmpsnap_store *qmpsnap_open_store_fn(
	struct uv_loop_s *loop, const char *spec, struct qmpsnap_error *err);

/* The guard's whole life, for the qmpsnap-guard executable: listens on `control_fd` until the
 * main process ends, undoes what it left, and returns the exit code.  Runs its own loop. */
QMPSNAP_API int qmpsnap_guard_main(int control_fd, qmpsnap_open_store_fn *open_store);

#ifdef __cplusplus
}
#endif
#endif

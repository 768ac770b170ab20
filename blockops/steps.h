/* SPDX-License-Identifier: Apache-2.0
 *
 * steps.h - the step functions, named by what they do; the contract of each is flow.h's.
 */
#ifndef BLOCKOPS_STEPS_H
#define BLOCKOPS_STEPS_H

#include "blockops/record.h"
#include "blockops/snapshot.h"

/* steps_begin.c: the monitor, the guest, the decision */
flow_fn monitor_open, monitor_close, monitor_cancel;
/* The connection, with its events; `ready` fires as qmp_open() says. */
bool monitor_connect(struct qmpsnap_snapshot *s, const struct qmp_options *options,
	qmp_ready_fn *ready, struct qmpsnap_error *err);
flow_fn guest_inspect;
flow_fn plan_make;
/* QEMU's NBD server is another tool's: goes on with the table of a method that needs none, if the
 * choice was ours and there is one.  From within the step `server`, before its flow_done(). */
bool plan_without_server(struct qmpsnap_snapshot *s);
/* What a plan takes down of a disk, the image's name and format included. */
bool plan_take_disk(
	struct snapshot_disk *d, const struct guest_disk *from, struct qmpsnap_error *err);
/* Tells the user of the disks and of the table's steps, as a dry run does. */
void plan_print(struct qmpsnap_snapshot *s);

/* steps_monitor.c: the monitor left to others during the upload; and one over TCP */
flow_fn monitor_release, monitor_retake;
flow_applies_fn release_applies;
/* Whether QEMU can be given what it needs; over TCP only if it runs on this host.  REFUSED. */
bool monitor_reaches(struct qmpsnap_snapshot *s, struct qmpsnap_error *err);

/* steps_regain.c: a monitor that QEMU has closed, had again for the undo */
flow_ready_fn monitor_regain;
flow_spoilt_fn monitor_is_lost;
/* The same in the middle of an undo, while our `stop` stands: `then` fires once, later, with what
 * is the undo's error.  False: there is nothing to wait for. */
bool monitor_regain_in_pause(struct qmpsnap_snapshot *s, diagnosed_fn *then);

/* steps_check.c: whether there is room, and whether the store would take the images; touches
 * nothing, so a dry run does it too */
flow_fn check_begin, check_cancel;
/* For struct method_table, beside scratch_file_share(): room for copies made by QEMU, and such that
 * must not lose it once it is reserved (steps_spool.c), by qemu-img (steps_convert.c), and by that
 * if need be (steps_offline.c). */
method_room_fn spool_has_room, backup_has_room, convert_has_room, offline_has_room;

/* steps_guard.c */
flow_fn guard_begin, guard_dismiss;
flow_applies_fn guard_applies;

/* steps_lock.c: one run per guest, and what dead runs have left of it */
flow_fn guest_lock_begin, guest_lock_cancel, guest_lock_end;
flow_applies_fn guest_lock_applies;

/* steps_journal.c */
flow_fn journal_begin, journal_end;
flow_applies_fn journal_applies;
/* Its end where a freeze outlasted the step's undo; false: it is left to `recover`, or to the
 * guard. */
void journal_over(struct qmpsnap_snapshot *s, bool all_undone);
/* images_announce() once it is on the disk that nobody must delete the images any more. */
void journal_published(struct qmpsnap_snapshot *s);
/* From the flow's watch: the step waits until its intent is on the disk. */
void journal_hold(struct qmpsnap_snapshot *s);

/* steps_freeze.c: the guest's agent, and its file systems frozen around the instant */
flow_fn agent_begin, agent_cancel, agent_end;
flow_applies_fn agent_applies;
flow_fn guest_freeze, guest_thaw, freeze_cancel;
flow_applies_fn freeze_applies;
/* An event of QEMU's: others paused the guest, continued it, or reset it. */
void freeze_on_event(struct qmpsnap_snapshot *s, const char *name);
/* The guest was reset after its freeze was answered: nothing is frozen any more. */
void freeze_was_lost(struct qmpsnap_snapshot *s);

/* steps_thaw.c: the thaw, whatever happens */
flow_fn guest_unfreeze;
/* freeze_end(), for the running step: the guard hears that it is waited for, and an agent that says
 * nothing is given up in time.  `then` begins with thaw_ended(). */
void thaw_begin(struct qmpsnap_snapshot *s, freeze_fn *then);
void thaw_ended(struct qmpsnap_snapshot *s);
/* After all else was undone: thaws for as long as QEMU lives.  `thawed` fires once, later, with
 * NULL also when QEMU has ended; AGENT: there is no way to the agent any more. */
void thaw_on(struct qmpsnap_snapshot *s, diagnosed_fn *thawed);
/* The run's agent, by its address.  NULL and *err, with the detail EBADF where no later try can do
 * better: it was given as a descriptor, whose number means nothing by now. */
struct agent *agent_connect_again(struct qmpsnap_snapshot *s, struct qmpsnap_error *err);

/* steps_server.c: QEMU's NBD server on a socket of ours */
flow_fn server_start, server_stop;
/* In the table of the method that is taken instead of one whose server was refused. */
flow_applies_fn server_was_refused;
/* s->listen_fd in a private folder, which the guard is told of. */
bool server_listen(struct qmpsnap_snapshot *s, struct qmpsnap_error *err);
/* A connection to it; non-blocking.  -1 and *err. */
int server_connect(struct qmpsnap_snapshot *s, struct qmpsnap_error *err);
/* The socket's path is needed no more. */
void server_unlink(struct qmpsnap_snapshot *s);

/* steps_images.c: the records in the store, the bytes, the publication */
flow_fn images_create, images_cancel, images_discard;
/* Whether a store can take the record as it is planned: USAGE, from within the plan. */
bool images_check_record(const struct snapshot_disk *d, struct qmpsnap_error *err);
flow_fn images_upload, images_upload_cancel;
flow_fn images_publish;
/* Tells of the images, and ends the step `publish`. */
void images_announce(struct qmpsnap_snapshot *s);

/* steps_scratch.c: where the filter puts what the guest overwrites */
flow_fn scratch_add, scratch_remove;
/* Bytes that a disk's scratch takes on the host now (scratch_file.c). */
uint64_t scratch_used_bytes(const struct snapshot_disk *d);

/* steps_devices.c: whether each device still stands on the node that was planned; `checked` is
 * called once, later: QEMU, somebody has changed that. */
void devices_check(struct qmpsnap_snapshot *s, diagnosed_fn *checked);

/* steps_filter.c: the filter, and the instant */
flow_fn filter_add, filter_remove;
flow_fn drives_switch, drives_switch_back;

/* steps_pause.c: the guest stands still around the instant of several disks */
flow_fn guest_pause, guest_unpause, guest_resume;
flow_applies_fn pause_applies;
/* While the guest stands still for us no deadline ends an undo: QEMU drops the commands of a
 * client that closes, and nobody else would continue the guest.  QEMU answers when it is free. */
bool pause_waits_on(const struct qmpsnap_snapshot *s, const struct qmpsnap_error *err);
/* The guest is held on purpose, and perhaps frozen in that: the guard need not end us for it, for
 * as long as we say so; until snapshot_timer_stop(). */
void pause_keep_telling(struct qmpsnap_snapshot *s);
/* Our `stop` stands no more: the guest runs again, by whomever. */
void pause_over(struct qmpsnap_snapshot *s);
/* An event of QEMU's: others continued the guest, inside our pause or inside theirs. */
void pause_on_event(struct qmpsnap_snapshot *s, const char *name);

/* steps_export.c, for a guard: whether there are connections to our exports, and to end them. */
bool export_is_read(const struct qmpsnap_snapshot *s);
void export_cut(struct qmpsnap_snapshot *s);

/* steps_job.c: the overlays, and the jobs that make views of them */
flow_fn scratch_add_reserved; /* undone by scratch_remove */
flow_fn overlay_add; /* undone by view_remove */
flow_fn jobs_prepare, jobs_begin, jobs_remove, jobs_check_stayed;
flow_fn overlay_export; /* undone by export_remove */

/* steps_spool.c: files that take a copy of each disk */
flow_fn spool_reserve, spool_drop;

/* steps_target.c: QEMU's nodes over them; their end, after which the files are the images */
flow_fn target_add, target_remove;
flow_fn target_close;

/* steps_pin.c: what keeps others from migrating the guest.  `pin_remove` is a start, too: to jobs
 * that have ended a migration does no harm, dismissed or not (5.2 to 11.1). */
flow_fn pin_add, pin_remove, pin_undo;

/* steps_copy.c: the wait for the jobs that copy, and their end as an undo */
flow_fn copy_to_end, copy_to_ready, copy_cancel;
flow_fn copy_jobs_remove;
/* Once the guest runs again: the user hears of the instant; the first time only. */
void copy_tell_instant(struct qmpsnap_snapshot *s);
/* A step's wait for JOB_STATUS_CHANGE events, ended by copying_done() or copy_cancel(). */
void copying_begin(struct qmpsnap_snapshot *s, qmp_event_fn *on_event);
void copying_done(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err);

/* steps_backup.c, steps_mirror.c: the jobs, and the instant at their beginning or end */
flow_fn backup_prepare, backup_begin;
flow_fn mirror_add, mirror_prepare, mirror_end;

/* steps_export.c: the views' exports, and our connections to them */
flow_fn export_add, export_remove;

/* steps_view.c: the frozen views and their maps */
flow_fn view_add, view_remove;
flow_fn map_read;
void map_lay_out(struct snapshot_disk *d);
/* Nothing is waited for any more that the views should bring: also from a QEMU that hangs. */
flow_fn views_cancel;
/* What was asked of the view of the disk `data` has ended: ends in disk_done(), later where a
 * failure is diagnosed first. */
void view_answered(const struct qmpsnap_error *err, void *data);
/* A read of a view failed with `err`: finds out whether QEMU is gone, the scratch full or the view
 * broken, says so in *err and calls `told`, at once where no monitor can be asked. */
void view_diagnose(struct snapshot_disk *d, const struct qmpsnap_error *err, diagnosed_fn *told);

/* steps_source.c: the files behind the disks, for programs beside QEMU */
flow_fn sources_find, sources_cancel, sources_close;

/* steps_convert.c: copies made by qemu-img; convert_spool is undone by spool_drop */
flow_fn convert_spool;
/* Copies each disk's source into its spool, which then is the image; goes on as disks_in_order().
 */
void convert_disks(struct qmpsnap_snapshot *s, snapshot_fn *then);
void convert_cancel(struct qmpsnap_snapshot *s);
/* Takes each disk's .needed_bytes down, which convert_has_room() goes by; ends the running step.
 * convert_cancel() ends it early. */
void convert_measure(struct qmpsnap_snapshot *s);

/* steps_cold.c: the copy of a guest that stands still */
flow_applies_fn cold_pause_applies;
flow_fn cold_copy, cold_copy_cancel;
/* An event of QEMU's: others continued the guest. */
void cold_on_event(struct qmpsnap_snapshot *s, const char *name);

/* steps_offline.c: an image file without a QEMU */
flow_fn offline_open, offline_open_cancel; /* undone by sources_close */
flow_fn offline_serve, offline_serve_end;
flow_fn offline_copy, offline_copy_cancel;
flow_applies_fn offline_is_streamed, offline_is_copied;

/* steps_scan.c: a first read of the views, for the zeroes in them */
flow_fn zeroes_scan;
flow_applies_fn zeroes_scan_applies;

#endif

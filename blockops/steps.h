/* SPDX-License-Identifier: Apache-2.0
 *
 * steps.h - the step functions, named by what they do; the contract of each is flow.h's.
 */
#ifndef BLOCKOPS_STEPS_H
#define BLOCKOPS_STEPS_H

#include "blockops/snapshot.h"

/* steps_begin.c: the monitor, the guest, the decision */
flow_fn monitor_open, monitor_close, monitor_cancel;
flow_fn guest_inspect;
flow_fn plan_make;

/* steps_guard.c */
flow_fn guard_begin, guard_dismiss;
flow_applies_fn guard_applies;
void guard_tell_step(struct qmpsnap_snapshot *s, const struct flow_step *step);
bool guard_tell_server(struct qmpsnap_snapshot *s, struct qmpsnap_error *err);
bool guard_tell_scratch(struct snapshot_disk *d, struct qmpsnap_error *err);
bool guard_tell_connections(
	struct snapshot_disk *d, const int *fds, size_t n_fds, struct qmpsnap_error *err);
/* No `stop` of ours stands any more: a guard must not send `cont`, nor end us for being slow. */
void guard_tell_running(struct qmpsnap_snapshot *s);
void guard_tell_published(struct qmpsnap_snapshot *s);

/* steps_server.c: QEMU's NBD server on a socket of ours */
flow_fn server_start, server_stop;
/* A connection to it; non-blocking.  -1 and *err. */
int server_connect(struct qmpsnap_snapshot *s, struct qmpsnap_error *err);
/* The socket's path is needed no more. */
void server_unlink(struct qmpsnap_snapshot *s);

/* steps_images.c: the records in the store, the bytes, the publication */
flow_fn images_create, images_discard;
flow_fn images_upload, images_upload_cancel;
flow_fn images_publish;

/* steps_scratch.c: where the filter puts what the guest overwrites */
flow_fn scratch_add, scratch_remove;
/* Bytes that a disk's scratch takes on the host now. */
uint64_t scratch_used_bytes(const struct snapshot_disk *d);

/* steps_filter.c: the filter, and the instant */
flow_fn filter_add, filter_remove;
flow_fn guest_pause, guest_unpause, guest_resume;
flow_applies_fn pause_applies;
flow_fn drives_switch, drives_switch_back;

/* steps_export.c: the views' exports, and our connections to them */
flow_fn export_add, export_remove;

/* steps_view.c: the frozen views and their maps */
flow_fn view_add, view_remove;
flow_fn map_read;
/* Nothing is waited for any more that the views should bring: also from a QEMU that hangs. */
flow_fn views_cancel;
/* A read of a view failed with `err`: finds out whether QEMU is gone, the scratch full or the view
 * broken, says so in *err and calls `told`, later. */
void view_diagnose(struct snapshot_disk *d, const struct qmpsnap_error *err, diagnosed_fn *told);

#endif

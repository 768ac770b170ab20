/* SPDX-License-Identifier: Apache-2.0
 *
 * The method `stream` in its filter flavour, as a table.  Read downwards it is the snapshot, read
 * upwards its undo. */
#include "blockops/table.h"

/* clang-format off */
const struct flow_step filter_steps[] = {
	STEPS_BEGIN,
	STEP_CHECK,
	STEP_AGENT,
	STEP_GUARD,
	{.name = "server", .start = server_start, .undo = server_stop, .when = UNDO_ALWAYS,
	 .text = "getfd, nbd-server-start on a private socket"},
	STEP_IMAGES,
	{.name = "scratch", .start = scratch_add, .undo = scratch_remove, .when = UNDO_ALWAYS,
	 .text = "add-fd and blockdev-add of an unlinked scratch file for each disk"},
	{.name = "filter", .start = filter_add, .undo = filter_remove, .when = UNDO_ALWAYS,
	 .text = "blockdev-add of copy-before-write (break-snapshot, timeout 5 s) for each disk"},
	STEP_FREEZE,
	{.name = "pause", .start = guest_pause, .undo = guest_unpause, .when = UNDO_ALWAYS,
	 .applies = pause_applies,
	 .text = "stop the guest for a moment, so that several disks have one instant"},
	{.name = "instant", .start = drives_switch, .undo = drives_switch_back, .when = UNDO_ALWAYS,
	 .text = "qom-set drive: each device onto its filter, the point in time"},
	{.name = "resume", .start = guest_resume, .applies = pause_applies,
	 .text = "cont"},
	STEP_THAW,
	{.name = "view", .start = view_add, .undo = view_remove, .when = UNDO_ALWAYS,
	 .text = "blockdev-add of snapshot-access for each disk"},
	{.name = "export", .start = export_add, .undo = export_remove, .when = UNDO_ALWAYS,
	 .cancel = views_cancel,
	 .text = "block-export-add (NBD, read-only) and connect"},
	{.name = "map", .start = map_read, .cancel = views_cancel,
	 .text = "read the extent maps and lay the images out"},
	STEP_SCAN,
	STEP_RELEASE,
	{.name = "upload", .start = images_upload, .cancel = images_upload_cancel,
	 .text = "read, upload and verify each image"},
	STEP_PUBLISH,
};
/* clang-format on */

const size_t n_filter_steps = sizeof(filter_steps) / sizeof(filter_steps[0]);

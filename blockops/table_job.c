/* SPDX-License-Identifier: Apache-2.0
 *
 * The method `stream` in its job flavour, as a table: for a QEMU or a device that the filter can't
 * serve. */
#include "blockops/table.h"

/* clang-format off */
const struct flow_step job_steps[] = {
	STEPS_BEGIN,
	STEP_CHECK,
	STEP_AGENT,
	STEP_GUARD,
	{.name = "server", .start = server_start, .undo = server_stop, .when = UNDO_ALWAYS,
	 .text = "getfd, nbd-server-start on a private socket"},
	STEP_IMAGES,
	{.name = "scratch", .start = scratch_add_reserved, .undo = scratch_remove,
	 .when = UNDO_ALWAYS,
	 .text = "reserve an unlinked scratch file for each disk, add-fd and blockdev-add it"},
	{.name = "overlay", .start = overlay_add, .undo = view_remove, .when = UNDO_ALWAYS,
	 .text = "blockdev-add of a qcow2 overlay over each disk, in its scratch"},
	{.name = "prepare", .start = jobs_prepare,
	 .text = "make the transaction ready"},
	STEP_FREEZE,
	{.name = "instant", .start = jobs_begin, .undo = jobs_remove, .when = UNDO_ALWAYS,
	 .text = "transaction of blockdev-backup sync=none onto the overlays, the point in time"},
	STEP_THAW,
	{.name = "export", .start = overlay_export, .undo = export_remove, .when = UNDO_ALWAYS,
	 .cancel = views_cancel,
	 .text = "block-export-add (NBD, read-only) of the overlays and connect"},
	{.name = "map", .start = map_read, .cancel = views_cancel,
	 .text = "read the extent maps and lay the images out"},
	STEP_SCAN,
	{.name = "upload", .start = images_upload, .cancel = images_upload_cancel,
	 .text = "read, upload and verify each image"},
	{.name = "stayed", .start = jobs_check_stayed,
	 .text = "ask whether the guest was migrated away meanwhile"},
	STEP_PUBLISH,
};
/* clang-format on */

const size_t n_job_steps = sizeof(job_steps) / sizeof(job_steps[0]);

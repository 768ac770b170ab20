/* SPDX-License-Identifier: Apache-2.0
 *
 * The method `mirror`, as a table: QEMU copies the disks as they are at its end. */
#include "blockops/table.h"

/* clang-format off */
const struct flow_step mirror_steps[] = {
	STEPS_BEGIN,
	STEP_CHECK,
	STEP_AGENT,
	STEP_GUARD,
	STEP_SPOOL,
	STEP_IMAGES,
	{.name = "pin", .start = pin_add, .undo = pin_undo, .when = UNDO_ALWAYS,
	 .text = "add-fd and blockdev-add of an empty vpc node, with which QEMU refuses to migrate"},
	STEP_TARGET,
	{.name = "mirror", .start = mirror_add, .undo = copy_jobs_remove, .when = UNDO_ALWAYS,
	 .text = "blockdev-mirror (in the background) for each disk"},
	{.name = "copy", .start = copy_to_ready, .cancel = copy_cancel,
	 .text = "wait until the copies have caught up with the disks"},
	{.name = "prepare", .start = mirror_prepare,
	 .text = "make the commands of the instant ready"},
	STEP_FREEZE,
	{.name = "pause", .start = guest_pause, .undo = guest_unpause, .when = UNDO_ALWAYS,
	 .applies = pause_applies,
	 .text = "stop the guest for a moment, so that several disks have one instant"},
	{.name = "instant", .start = mirror_end, .cancel = copy_cancel,
	 .text = "block-job-cancel without force for each disk: its end is the point in time"},
	{.name = "resume", .start = guest_resume, .applies = pause_applies,
	 .text = "cont"},
	STEP_THAW,
	{.name = "unpin", .start = pin_remove,
	 .text = "blockdev-del of the vpc node"},
	STEP_CLOSE,
	STEP_RELEASE,
	STEP_UPLOAD_SPOOL,
	STEP_PUBLISH,
};
/* clang-format on */

const size_t n_mirror_steps = sizeof(mirror_steps) / sizeof(mirror_steps[0]);

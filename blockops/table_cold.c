/* SPDX-License-Identifier: Apache-2.0
 *
 * The method `cold`, as a table: the guest stands still for as long as qemu-img copies its disks,
 * and runs again before the upload. */
#include "blockops/table.h"

/* clang-format off */
const struct flow_step cold_steps[] = {
	STEPS_BEGIN,
	{.name = "sources", .start = sources_find, .undo = sources_close, .when = UNDO_ALWAYS,
	 .cancel = sources_cancel,
	 .text = "find the disks' files through QEMU's block graph, open them read-only, measure "
		 "what they hold"},
	STEP_CHECK,
	STEP_AGENT,
	STEP_GUARD,
	{.name = "spool", .start = convert_spool, .undo = spool_drop, .when = UNDO_ALWAYS,
	 .text = "an unlinked file for the copy of each disk"},
	STEP_IMAGES,
	STEP_FREEZE,
	{.name = "pause", .start = guest_pause, .undo = guest_unpause, .when = UNDO_ALWAYS,
	 .applies = cold_pause_applies,
	 .text = "stop the guest, which flushes its disks"},
	{.name = "copy", .start = cold_copy, .cancel = cold_copy_cancel,
	 .text = "qemu-img convert of each disk, while the guest stands still"},
	{.name = "resume", .start = guest_resume, .applies = cold_pause_applies,
	 .text = "cont"},
	STEP_THAW,
	STEP_RELEASE,
	STEP_UPLOAD_SPOOL,
	STEP_PUBLISH,
};
/* clang-format on */

const size_t n_cold_steps = sizeof(cold_steps) / sizeof(cold_steps[0]);

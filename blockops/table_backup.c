/* SPDX-License-Identifier: Apache-2.0
 *
 * The method `backup`, as a table: QEMU copies the disks as they are at its beginning. */
#include "blockops/table.h"

/* clang-format off */
const struct flow_step backup_steps[] = {
	STEPS_BEGIN,
	STEP_CHECK,
	STEP_AGENT,
	STEP_GUARD,
	STEP_SERVER_REFUSED,
	STEP_SPOOL,
	STEP_IMAGES,
	STEP_TARGET,
	{.name = "prepare", .start = backup_prepare,
	 .text = "make the transaction ready"},
	STEP_FREEZE,
	{.name = "instant", .start = backup_begin, .undo = copy_jobs_remove, .when = UNDO_ALWAYS,
	 .text = "one transaction of blockdev-backup for each disk, the point in time"},
	STEP_THAW,
	{.name = "copy", .start = copy_to_end, .cancel = copy_cancel,
	 .text = "wait until QEMU has copied the disks"},
	STEP_CLOSE,
	STEP_RELEASE,
	STEP_UPLOAD_SPOOL,
	STEP_PUBLISH,
};
/* clang-format on */

const size_t n_backup_steps = sizeof(backup_steps) / sizeof(backup_steps[0]);

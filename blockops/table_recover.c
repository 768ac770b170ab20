/* SPDX-License-Identifier: Apache-2.0
 *
 * What recover unwinds: nobody knows which method left the things that it finds, so this is all of
 * them in one table, of undos alone.  Each is idempotent, so what another method would have left is
 * well when it isn't there.  The guest is never continued, and the store isn't known. */
#include "blockops/table.h"

/* clang-format off */
const struct flow_step recover_steps[] = {
	{.name = "connect", .undo = monitor_close, .when = UNDO_ALWAYS},
	{.name = "server", .undo = server_stop, .when = UNDO_ALWAYS},
	{.name = "pin", .undo = pin_undo, .when = UNDO_ALWAYS},
	{.name = "target", .undo = target_remove, .when = UNDO_ALWAYS},
	{.name = "scratch", .undo = scratch_remove, .when = UNDO_ALWAYS},
	{.name = "filter", .undo = filter_remove, .when = UNDO_ALWAYS},
	{.name = "instant", .undo = drives_switch_back, .when = UNDO_ALWAYS},
	{.name = "view", .undo = view_remove, .when = UNDO_ALWAYS},
	{.name = "jobs", .undo = jobs_remove, .when = UNDO_ALWAYS},
	{.name = "export", .undo = export_remove, .when = UNDO_ALWAYS},
};
/* clang-format on */

const size_t n_recover_steps = sizeof(recover_steps) / sizeof(recover_steps[0]);

/* SPDX-License-Identifier: Apache-2.0
 *
 * The method `offline`, as a table: an image file that no guest uses. */
#include "blockops/table.h"

/* clang-format off */
const struct flow_step offline_steps[] = {
	{.name = "open", .start = offline_open, .undo = sources_close, .when = UNDO_ALWAYS,
	 .cancel = offline_open_cancel,
	 .text = "open the file and what it stands on, if nobody has locked them"},
	STEP_CHECK,
	STEP_GUARD,
	{.name = "serve", .start = offline_serve, .undo = offline_serve_end, .when = UNDO_ALWAYS,
	 .applies = offline_is_streamed, .cancel = views_cancel,
	 .text = "qemu-nbd, read-only, on a private socket"},
	{.name = "map", .start = map_read, .applies = offline_is_streamed, .cancel = views_cancel,
	 .text = "read the extent map and lay the image out"},
	STEP_SCAN,
	{.name = "spool", .start = convert_spool, .undo = spool_drop, .when = UNDO_ALWAYS,
	 .applies = offline_is_copied,
	 .text = "an unlinked file for the copy, if there is room"},
	{.name = "copy", .start = offline_copy, .applies = offline_is_copied,
	 .cancel = offline_copy_cancel,
	 .text = "qemu-img convert"},
	STEP_IMAGES,
	STEP_UPLOAD_SPOOL,
	STEP_PUBLISH,
};
/* clang-format on */

const size_t n_offline_steps = sizeof(offline_steps) / sizeof(offline_steps[0]);

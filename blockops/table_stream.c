/* SPDX-License-Identifier: Apache-2.0
 *
 * The method `stream` in its filter flavour, as a table.  Read downwards it is the snapshot, read
 * upwards its undo. */
#include "blockops/steps.h"

#include <string.h>

/* clang-format off */
const struct flow_step stream_steps[] = {
	{.name = "connect", .start = monitor_open, .undo = monitor_close, .when = UNDO_ALWAYS,
	 .cancel = monitor_cancel,
	 .text = "connect to the monitor and negotiate QMP"},
	{.name = "inspect", .start = guest_inspect,
	 .text = "ask QEMU for its capabilities, its run state and its disks"},
	{.name = "plan", .start = plan_make,
	 .text = "choose the disks and the method, or refuse"},
	{.name = "guard", .start = guard_begin, .undo = guard_dismiss, .when = UNDO_ALWAYS,
	 .applies = guard_applies,
	 .text = "start the guard, which undoes all of this should this process be killed"},
	{.name = "server", .start = server_start, .undo = server_stop, .when = UNDO_ALWAYS,
	 .text = "getfd, nbd-server-start on a private socket"},
	{.name = "images", .start = images_create, .undo = images_discard, .when = UNDO_ON_FAILURE,
	 .text = "make the hidden image records in the store"},
	{.name = "scratch", .start = scratch_add, .undo = scratch_remove, .when = UNDO_ALWAYS,
	 .text = "add-fd and blockdev-add of an unlinked scratch file for each disk"},
	{.name = "filter", .start = filter_add, .undo = filter_remove, .when = UNDO_ALWAYS,
	 .text = "blockdev-add of copy-before-write (break-snapshot, timeout 5 s) for each disk"},
	{.name = "pause", .start = guest_pause, .undo = guest_unpause, .when = UNDO_ALWAYS,
	 .applies = pause_applies, .quiet = true,
	 .text = "stop the guest for a moment, so that several disks have one instant"},
	{.name = "instant", .start = drives_switch, .undo = drives_switch_back, .when = UNDO_ALWAYS,
	 .quiet = true,
	 .text = "qom-set drive: each device onto its filter, the point in time"},
	{.name = "resume", .start = guest_resume, .applies = pause_applies, .quiet = true,
	 .text = "cont"},
	{.name = "view", .start = view_add, .undo = view_remove, .when = UNDO_ALWAYS,
	 .text = "blockdev-add of snapshot-access for each disk"},
	{.name = "export", .start = export_add, .undo = export_remove, .when = UNDO_ALWAYS,
	 .cancel = views_cancel,
	 .text = "block-export-add (NBD, read-only) and connect"},
	{.name = "map", .start = map_read, .cancel = views_cancel,
	 .text = "read the extent maps and lay the images out"},
	{.name = "upload", .start = images_upload, .cancel = images_upload_cancel,
	 .text = "read, upload and verify each image"},
	{.name = "publish", .start = images_publish,
	 .text = "publish the whole set"},
};
/* clang-format on */

const size_t n_stream_steps = sizeof(stream_steps) / sizeof(stream_steps[0]);

size_t stream_step_index(const char *name)
{
	size_t i = 0;

	while (i < n_stream_steps && strcmp(stream_steps[i].name, name) != 0)
		i++;
	return i;
}

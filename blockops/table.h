/* SPDX-License-Identifier: Apache-2.0
 *
 * table.h - the rows that the tables of all methods share; for table_*.c alone.
 */
#ifndef BLOCKOPS_TABLE_H
#define BLOCKOPS_TABLE_H

#include "blockops/method_table.h"
#include "blockops/steps.h"

/* clang-format off */

/* The first rows of every table: until they have ended nobody knows which table it will be. */
#define STEPS_BEGIN                                                                                \
	{.name = "lock", .start = guest_lock_begin, .undo = guest_lock_end, .when = UNDO_ALWAYS,   \
	 .applies = guest_lock_applies, .cancel = guest_lock_cancel,                               \
	 .text = "lock the guest for this run, and undo what killed runs have left of it"},        \
	{.name = "connect", .start = monitor_open, .undo = monitor_close, .when = UNDO_ALWAYS,     \
	 .cancel = monitor_cancel,                                                                 \
	 .text = "connect to the monitor and negotiate QMP"},                                      \
	{.name = "inspect", .start = guest_inspect,                                                \
	 .text = "ask QEMU for its capabilities, its run state and its disks"},                    \
	{.name = "plan", .start = plan_make,                                                       \
	 .text = "choose the disks and the method, or refuse"}

/* The last thing before anything is done that must be undone. */
#define STEP_CHECK                                                                                 \
	{.name = "check", .start = check_begin, .cancel = check_cancel,                            \
	 .text = "see whether there is room, and whether the store takes images"}

#define STEP_AGENT                                                                                 \
	{.name = "agent", .start = agent_begin, .undo = agent_end, .when = UNDO_ALWAYS,            \
	 .applies = agent_applies, .cancel = agent_cancel,                                         \
	 .text = "ask whether the guest's agent answers"}

/* What may have to be undone is watched over, and written down, from here on. */
#define STEP_GUARD                                                                                 \
	{.name = "guard", .start = guard_begin, .undo = guard_dismiss, .when = UNDO_ALWAYS,        \
	 .applies = guard_applies,                                                                 \
	 .text = "start the guard, which undoes all of this should this process be killed"},       \
	{.name = "journal", .start = journal_begin, .undo = journal_end, .when = UNDO_ALWAYS,      \
	 .applies = journal_applies,                                                               \
	 .text = "begin the journal, from which `qmpsnap recover` undoes a killed run"}

/* The row of another table, whose step has failed: see plan_without_server(). */
#define STEP_SERVER_REFUSED                                                                        \
	{.name = "server", .start = server_start, .undo = server_stop, .when = UNDO_ALWAYS,        \
	 .applies = server_was_refused,                                                            \
	 .text = "getfd, nbd-server-start on a private socket"}

#define STEP_IMAGES                                                                                \
	{.name = "images", .start = images_create, .undo = images_discard,                         \
	 .when = UNDO_ON_FAILURE, .cancel = images_cancel,                                         \
	 .text = "make the hidden image records in the store"}

/* Around the instant, with the pause between them: a guest that stands still can't answer. */
#define STEP_FREEZE                                                                                \
	{.name = "freeze", .start = guest_freeze, .undo = guest_unfreeze, .when = UNDO_ALWAYS,     \
	 .applies = freeze_applies, .cancel = freeze_cancel,                                       \
	 .text = "have the guest's agent freeze its file systems"}

#define STEP_THAW                                                                                  \
	{.name = "thaw", .start = guest_thaw, .applies = freeze_applies,                           \
	 .cancel = freeze_cancel,                                                                  \
	 .text = "have them thawed, confirmed by their status"}

/* Behind the step that reads the maps of the views. */
#define STEP_SCAN                                                                                  \
	{.name = "scan", .start = zeroes_scan, .applies = zeroes_scan_applies,                     \
	 .cancel = views_cancel,                                                                   \
	 .text = "read disks whose map tells no holes once beforehand, to leave out the zeroes"}

/* Behind the last step that needs the monitor. */
#define STEP_RELEASE                                                                               \
	{.name = "release", .start = monitor_release, .undo = monitor_retake,                      \
	 .when = UNDO_ALWAYS, .applies = release_applies,                                          \
	 .text = "leave the monitor to others until the undo"}

/* Methods that have QEMU copy the disks into files. */
#define STEP_SPOOL                                                                                 \
	{.name = "spool", .start = spool_reserve, .undo = spool_drop, .when = UNDO_ALWAYS,         \
	 .text = "reserve room for the copies in unlinked files (fallocate)"}

#define STEP_TARGET                                                                                \
	{.name = "target", .start = target_add, .undo = target_remove, .when = UNDO_ALWAYS,        \
	 .text = "add-fd and blockdev-add of a target over each file"}

#define STEP_CLOSE                                                                                 \
	{.name = "close", .start = target_close,                                                   \
	 .text = "job-dismiss and blockdev-del of the targets: the files are whole"}

#define STEP_UPLOAD_SPOOL                                                                          \
	{.name = "upload", .start = images_upload, .cancel = images_upload_cancel,                 \
	 .text = "read the files, upload and verify each image"}

#define STEP_PUBLISH                                                                               \
	{.name = "publish", .start = images_publish, .cancel = images_cancel,                      \
	 .text = "publish the whole set"}

/* clang-format on */

#endif

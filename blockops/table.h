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
	{.name = "connect", .start = monitor_open, .undo = monitor_close, .when = UNDO_ALWAYS,     \
	 .cancel = monitor_cancel,                                                                 \
	 .text = "connect to the monitor and negotiate QMP"},                                      \
	{.name = "inspect", .start = guest_inspect,                                                \
	 .text = "ask QEMU for its capabilities, its run state and its disks"},                    \
	{.name = "plan", .start = plan_make,                                                       \
	 .text = "choose the disks and the method, or refuse"}

#define STEP_GUARD                                                                                 \
	{.name = "guard", .start = guard_begin, .undo = guard_dismiss, .when = UNDO_ALWAYS,        \
	 .applies = guard_applies,                                                                 \
	 .text = "start the guard, which undoes all of this should this process be killed"}

#define STEP_IMAGES                                                                                \
	{.name = "images", .start = images_create, .undo = images_discard,                         \
	 .when = UNDO_ON_FAILURE,                                                                  \
	 .text = "make the hidden image records in the store"}

#define STEP_PUBLISH                                                                               \
	{.name = "publish", .start = images_publish,                                               \
	 .text = "publish the whole set"}

/* clang-format on */

#endif

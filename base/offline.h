/* SPDX-License-Identifier: Apache-2.0
 *
 * offline.h - what goes with an image file instead of a guest, and what doesn't.
 */
#ifndef BASE_OFFLINE_H
#define BASE_OFFLINE_H

#include <qmpsnap.h>

#include <stdbool.h>

/* USAGE when options contradict that an image file is taken (there is no guest whose disks could be
 * chosen, or which could be frozen, stopped or asked), or that none is. */
bool offline_check_options(
	const struct qmpsnap_snapshot_options *options, struct qmpsnap_error *err);

#endif

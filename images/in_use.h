/* SPDX-License-Identifier: Apache-2.0
 *
 * in_use.h - whether somebody else has a file or block device open, so that it must not be written
 * over: QEMU's locks say it, or the descriptors of processes in /proc.  Of other users' processes
 * only root sees those, so that it isn't sure for others.  Blocks.
 */
#ifndef IMAGES_IN_USE_H
#define IMAGES_IN_USE_H

#include "base/error.h"

/* REFUSED when it is in use. */
bool in_use_check(int fd, const char *path, struct qmpsnap_error *err);

#endif

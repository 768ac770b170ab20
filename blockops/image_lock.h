/* SPDX-License-Identifier: Apache-2.0
 *
 * image_lock.h - QEMU's lock on an image file, taken as a reader who wants no writer beside him.
 * qemu-img and qemu-nbd take it by themselves only where they keep metadata (qcow2), not on raw
 * files.
 *
 * Source: QEMU's block/file-posix.c (RAW_LOCK_PERM_BASE, RAW_LOCK_SHARED_BASE, the same since 2.10)
 * and the BLK_PERM_ bits of its block layer.
 */
#ifndef BLOCKOPS_IMAGE_LOCK_H
#define BLOCKOPS_IMAGE_LOCK_H

#include "base/error.h"

/* Held until all duplicates of `fd` are closed.  Nothing is locked where the file system can't.
 * REFUSED, with the lock named, when somebody may write the file. */
bool image_lock(int fd, const char *path, struct qmpsnap_error *err);

/* REFUSED when anybody has any of QEMU's locks on it, a reader's too; takes none. */
bool image_lock_is_free(int fd, const char *path, struct qmpsnap_error *err);

/* The advice that goes with it. */
void image_lock_hint(struct qmpsnap_error *err);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * dangers.h - the known ways in which a QEMU build harms its guest when asked for what a method
 * needs.  One table, each row with its source.
 */
#ifndef BLOCKOPS_DANGERS_H
#define BLOCKOPS_DANGERS_H

#include "blockops/guest.h"

/* Why an NBD export or the copy-before-write filter must not be used on this disk of this QEMU,
 * or NULL when nothing is known against it. */
const char *danger_of_stream(const struct guest *guest, const struct guest_disk *disk);

#endif

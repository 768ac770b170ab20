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

/* Whether a view of this QEMU must be read, and its map amended, cluster by cluster.
 *
 * Before QEMU 8.0 hbitmap_status() calls a stretch that was copied to the scratch "not copied" when
 * it ends within the range asked about (fixed by QEMU's commit a4d5224c2c, "hbitmap: fix
 * hbitmap_status() return value for first dirty bit case").  A read or a block status over several
 * clusters may then see the disk as it is now.  A request within one cluster of the filter sees
 * the frozen one; and a map is right once all that the scratch holds has been added to it, since
 * what a guest has zeroed after the instant was copied there before. */
bool danger_of_wide_reads(const struct guest *guest);

#endif

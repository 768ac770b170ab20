/* SPDX-License-Identifier: Apache-2.0
 *
 * dangers.h - the known ways in which a QEMU build harms its guest, or the image, when asked for
 * what a method needs.  One table in dangers.c, each row with its source.
 */
#ifndef BLOCKOPS_DANGERS_H
#define BLOCKOPS_DANGERS_H

#include "blockops/guest.h"
#include "blockops/method_table.h"

/* Why this method must not be used on this disk of this QEMU, one phrase; NULL when nothing is
 * known against it. */
const char *danger_of(enum method method, const struct guest *guest, const struct guest_disk *disk);

/* And why not on this one together with others, in one snapshot. */
const char *danger_of_several(
	enum method method, const struct guest *guest, const struct guest_disk *disk);

/* Whether reads over several clusters of a snapshot-access view of this QEMU may bring the disk as
 * it is now, and its extent map tell of it.
 *
 * Before QEMU 8.0 hbitmap_status() calls a stretch that was copied to the scratch "not copied" when
 * it ends within the range asked about (fixed by QEMU's commit a4d5224c2c, "hbitmap: fix
 * hbitmap_status() return value for first dirty bit case"); QEMU then looks at the disk itself.  A
 * read within one cluster of the filter is right.  A wide one is right if nothing of its range is
 * in the scratch afterwards (checked_read.h), and the map is right once all that the scratch holds
 * has been added to it, since what the guest zeroes is copied there before. */
bool danger_of_wide_reads(const struct guest *guest);

/* Whether this QEMU may die of query-named-block-nodes while a backup job has concluded and wasn't
 * dismissed: 5.2.0 (Debian 11) does each time (SIGSEGV, of the job's filter that has lost what it
 * stood on), 7.2.22 never.  node_list_make_safe() comes before it; what only wants names takes
 * node_names_ask(). */
bool danger_of_listing_nodes(const struct guest *guest);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2.h - the metadata of the qcow2 file that layout.h describes: where the tables stand and
 * what is in them.  Only layout.c uses it.
 */
#ifndef BLOCKOPS_QCOW2_H
#define BLOCKOPS_QCOW2_H

#include "blockops/layout.h"

/* Places header, tables and data, and sets size_bytes; `layout->map` is set. */
void qcow2_place(struct layout *layout);

/* Generates [offset, offset + length) of the image, all of it in front of the data clusters. */
void qcow2_fill(const struct layout *layout, uint64_t offset, uint32_t length, uint8_t *bytes);

#endif

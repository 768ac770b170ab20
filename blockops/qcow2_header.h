/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2_header.h - what the header of a qcow2 file says about other files, read without opening any
 * of them.  Source: QEMU's docs/interop/qcow2.txt, "Header" and "Header extensions".
 */
#ifndef BLOCKOPS_QCOW2_HEADER_H
#define BLOCKOPS_QCOW2_HEADER_H

#include "base/error.h"

enum { QCOW2_NAME_BYTES = 1024 };

struct qcow2_header {
	char backing_file[QCOW2_NAME_BYTES]; /* "": none */
	char backing_format[16]; /* "": not recorded */
	char data_file[QCOW2_NAME_BYTES]; /* "": none is named */
	bool has_data_file, encrypted;
	uint64_t incompatible; /* all of these features, as bits */
};

/* Bits that this tool and every QEMU since 4.0 know: dirty, corrupt, data file, compression type.
 */
#define QCOW2_KNOWN_INCOMPATIBLE UINT64_C(0x0f)

/* REFUSED when `fd` isn't a qcow2 file, or its header is not what the format says. */
bool qcow2_header_read(int fd, struct qcow2_header *header, struct qmpsnap_error *err);

/* Whether a file begins like one. */
bool qcow2_header_is_there(int fd);

#endif

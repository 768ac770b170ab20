/* SPDX-License-Identifier: Apache-2.0
 *
 * peer_file.h - a file that another process, QEMU, names: opened as that process sees it, and only
 * if it has the file open for reading itself.  So a QEMU that was taken over by its guest can't
 * have a qmpsnap with more rights read a file for it.
 */
#ifndef BLOCKOPS_PEER_FILE_H
#define BLOCKOPS_PEER_FILE_H

#include "base/error.h"

#include <sys/types.h>

/* Opens `filename` read-only, below the root or the working folder of the process `pid`: a
 * descriptor, or -1 and *err (REFUSED).  A descriptor that the process has with O_PATH or for
 * writing alone doesn't count: neither needs the right to read. */
int peer_file_open(pid_t pid, const char *filename, struct qmpsnap_error *err);

#endif

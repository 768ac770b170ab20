/* SPDX-License-Identifier: Apache-2.0
 *
 * peer.h - who serves a monitor over TCP: whether that process runs on this host.
 *
 * A loopback connection's other end is a socket of this network namespace: /proc/net/tcp and tcp6
 * give its inode, /proc/PID/fd who holds it (proc(5)).  A forwarder (ssh -L, socat) would hold it
 * just as well, so only a process whose executable is a QEMU counts.  A connection that waits to be
 * accepted has no inode yet; then it is who listens.
 */
#ifndef QMP_PEER_H
#define QMP_PEER_H

#include "base/error.h"

#include <sys/types.h>

/* The QEMU on this host that holds the other end of the connected TCP socket `fd`; 0 and *err (may
 * be NULL): there is none, or it can't be told. */
pid_t peer_pid(int fd, struct qmpsnap_error *err);

/* Whether the other end of the connected TCP socket `fd` is a QEMU on this host that can open what
 * this process makes: of the same user or of root, and with the same mounts.  False: *err
 * (REFUSED) says why it isn't, or can't be told. */
bool peer_is_here(int fd, struct qmpsnap_error *err);

#endif

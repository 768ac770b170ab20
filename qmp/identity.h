/* SPDX-License-Identifier: Apache-2.0
 *
 * identity.h - which process is behind a monitor: tells a QEMU from another one that was started
 * on the same socket since, or that got the same pid.
 */
#ifndef QMP_IDENTITY_H
#define QMP_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { IDENTITY_BOOT_BYTES = 37 };

struct identity {
	pid_t pid; /* 0: unknown */
	uint64_t pid_namespace; /* that the pid is one of: /proc/self/ns/pid's inode; 0: not told */
	uint64_t started_ticks; /* since the host's start: proc(5), field 22 of /proc/PID/stat */
	uint64_t socket; /* a mark of the one that some other program listens on; or 0 */
	char boot[IDENTITY_BOOT_BYTES]; /* /proc/sys/kernel/random/boot_id */
};

/* Who serves the connected socket `fd`: of a unix socket by SO_PEERCRED, which names the process
 * that called listen() (unix(7)); one that isn't called qemu or kvm may have done so for several
 * guests, so then the socket counts too.  Over TCP as in peer.h.  Unknown where none can tell. */
void identity_of(int fd, struct identity *id);

/* The same of a process; unknown when there is none. */
void identity_of_process(pid_t pid, struct identity *id);

static inline bool identity_is_known(const struct identity *id)
{
	return id->pid > 0;
}

/* The same QEMU.  False when either is unknown, or was told in another pid namespace. */
bool identity_equals(const struct identity *a, const struct identity *b);

/* Whether its pid says nothing here: it was told in another pid namespace (a container) of this
 * same boot, where the process may live on.  That a namespace has ended only who sees all of the
 * host's processes can tell. */
bool identity_is_elsewhere(const struct identity *id);

/* Its pid in the innermost pid namespace that it is in, which is the same wherever it is seen from;
 * its pid here where the kernel doesn't tell. */
pid_t identity_inner_pid(const struct identity *id);

/* Whose process it is (its effective user); false: it has ended, or can't be seen. */
bool identity_owner(const struct identity *id, uid_t *owner);

/* Whether that very process still runs. */
bool identity_is_alive(const struct identity *id);

#endif

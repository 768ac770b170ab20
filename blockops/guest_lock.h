/* SPDX-License-Identifier: Apache-2.0
 *
 * guest_lock.h - one run per guest: lock files in /run/lock/qmpsnap, which all users of the host
 * share, named after QEMU's pid (the innermost one, so that containers that share the folder with
 * the host name it alike), its start time and the user.  Held by a lock of the open file
 * (F_OFD_SETLK, fcntl(2)), so it ends with who holds it; a guard holds it on through a duplicate.
 *
 * A file that is neither root's, nor of the user whose process QEMU is, nor of this user, is no
 * lock: anybody can make one.
 */
#ifndef BLOCKOPS_GUEST_LOCK_H
#define BLOCKOPS_GUEST_LOCK_H

#include "base/error.h"
#include "qmp/identity.h"

enum { GUEST_LOCK_NAME_BYTES = 96, GUEST_LOCK_HOLDER_BYTES = 96 };

struct guest_lock {
	int fd; /* -1: none */
	char name[GUEST_LOCK_NAME_BYTES];
};

#define GUEST_LOCK_NONE ((struct guest_lock){.fd = -1})

/* Opens the folder of locks at `path`, and makes it (01777) where it is missing.  One that is
 * neither root's nor this user's, or that everybody may write to without the sticky bit, is taken
 * by root, and refused by others: -1 with EPERM, as who owns it could take locks away.  -1 and
 * errno.
 */
int guest_lock_open_folder(const char *path);

/* Takes the lock of `guest`, which must be known, for `run`.  1: it is ours; 0: another one has
 * it, and `holder` says who: "run k3j9..., process 4711 of user 0"; of runs of two users that begin
 * at once both may hear that; -1: *err (REFUSED). */
int guest_lock_take(struct guest_lock *lock, const struct identity *guest, const char *run,
	char holder[static GUEST_LOCK_HOLDER_BYTES], struct qmpsnap_error *err);

/* Gives it up and removes the file; or leaves it to who has a duplicate.  Fine without one. */
void guest_lock_drop(struct guest_lock *lock);
void guest_lock_close(struct guest_lock *lock);

/* Removes what locks of dead runs have left of this user's. */
void guest_lock_sweep(void);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * state.h - the state folder and what stands in it: `run`, the sockets of the runs that go on, and
 * `journal`, what those that ended badly have left to be undone.  It is $QMPSNAP_STATE_DIR, else
 * /var/lib/qmpsnap/state for root, else $XDG_STATE_HOME/qmpsnap, else ~/.local/state/qmpsnap.
 */
#ifndef BASE_STATE_H
#define BASE_STATE_H

#include <qmpsnap.h>
#include <sys/un.h>

/* A descriptor of the folder `sub` in the state folder `state` (NULL: as said above),
 * close-on-exec; with `make` both are made where they are missing, 0700.  -1 and *err (REFUSED): it
 * can't be made or opened, isn't this user's, or, without `make`, isn't there (detail ENOENT). */
int state_open(const char *state, const char *sub, bool make, struct qmpsnap_error *err);

/* Whether `run` looks like a run's id, and so can't lead out of the folder. */
bool state_is_run(const char *run);

/* The address of the socket `name` in the folder, in a form that no long path can break. */
void state_address(int folder, const char *name, struct sockaddr_un *address);

#endif

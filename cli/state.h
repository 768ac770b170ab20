/* SPDX-License-Identifier: Apache-2.0
 *
 * state.h - the folder of the sockets of the runs that go on, STATE/run.  STATE is
 * $QMPSNAP_STATE_DIR, else /var/lib/qmpsnap/state for root, else $XDG_STATE_HOME/qmpsnap, else
 * ~/.local/state/qmpsnap.
 */
#ifndef CLI_STATE_H
#define CLI_STATE_H

#include <qmpsnap.h>
#include <sys/un.h>

/* A descriptor of the folder, close-on-exec; with `make` it is made where it is missing, 0700.  -1
 * and *err (REFUSED): it can't be made or opened, isn't this user's, or, without `make`, isn't
 * there (detail ENOENT). */
int state_open(bool make, struct qmpsnap_error *err);

/* Whether `run` looks like a run's id, and so can't lead out of the folder. */
bool state_is_run(const char *run);

/* The address of the socket `name` in the folder, in a form that no long path can break. */
void state_address(int folder, const char *name, struct sockaddr_un *address);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * session_control.h - what a snapshot answers on its control socket (control.h).
 */
#ifndef CLI_SESSION_CONTROL_H
#define CLI_SESSION_CONTROL_H

#include "cli/session.h"

/* Begins to listen once the run has its id; called at each step.  Where it can't listen it warns,
 * and the snapshot goes on. */
void session_control_begin(struct session *session);

void session_control_end(struct session *session);

#endif

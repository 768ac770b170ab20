/* SPDX-License-Identifier: Apache-2.0
 *
 * stage_client.h - what the hooked programs tell the test that watches them, tests/faults/stage.py,
 * and what it has them do.
 */
#ifndef TESTS_FAULTS_STAGE_CLIENT_H
#define TESTS_FAULTS_STAGE_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

/* Says where the table's run is ("begin upload") and waits until the stage is done with it; it may
 * kill this process meanwhile.  Without a stage (no $FAULTS_STAGE, or it is gone) no effect. */
void stage_announce(const char *phase, const char *step);

/* Whether the stage wants to hear of each message that changes something at QEMU or the agent, too:
 * stage_announce("message", COMMAND) once it is sent, or ("spoiled", COMMAND). */
bool stage_takes_messages(void);

/* Whether QEMU or the agent shall refuse this message: once for each answer "spoil" to an
 * announcement, and not beyond the next one of a step. */
bool stage_spoils_message(void);

/* Whether the file system is full from now on; counts what was written, for the stage to know
 * which steps write. */
bool stage_disk_is_full(void);

/* How many times as fast as the clock the programs' own clocks run ($FAULTS_SPEED). */
uint64_t stage_speed(void);

#endif

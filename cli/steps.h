/* SPDX-License-Identifier: Apache-2.0
 *
 * steps.h - which steps of a snapshot have begun and are not undone yet, so that an impatient ^C
 * can be answered.
 */
#ifndef CLI_STEPS_H
#define CLI_STEPS_H

#include <qmpsnap.h>

enum { STEPS_MAX = 32, STEP_NAME_BYTES = 48 };

struct steps {
	char names[STEPS_MAX][STEP_NAME_BYTES];
	size_t n; /* begun and not undone; while undoing, the one being undone is the last */
	bool running, undoing;
};

/* Takes a QMPSNAP_EVENT_STEP into account. */
void steps_note(struct steps *steps, const struct qmpsnap_event *event);

/* "undoing 'export', then: view, connect", or what else is going on; always terminated. */
void steps_describe(const struct steps *steps, char *text, size_t size);

#endif

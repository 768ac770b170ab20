/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/steps.h"

#include <stdio.h>
#include <string.h>

/* The undo goes backwards and skips steps that need none: what stands behind `name` is done. */
static void drop_behind(struct steps *steps, const char *name)
{
	for (size_t i = steps->n; i-- > 0;) {
		if (strncmp(steps->names[i], name, STEP_NAME_BYTES - 1) == 0) {
			steps->n = i + 1;
			return;
		}
	}
}

void steps_note(struct steps *steps, const struct qmpsnap_event *event)
{
	switch (event->phase) {
	case QMPSNAP_BEGIN:
		if (steps->n < STEPS_MAX)
			(void)snprintf(
				steps->names[steps->n++], STEP_NAME_BYTES, "%s", event->text);
		steps->running = true;
		break;
	case QMPSNAP_END:
		steps->running = false;
		break;
	case QMPSNAP_UNDO_BEGIN:
		steps->undoing = true;
		steps->running = true;
		drop_behind(steps, event->text);
		break;
	case QMPSNAP_UNDO_END:
		drop_behind(steps, event->text);
		if (steps->n)
			steps->n--;
		steps->running = false;
		break;
	}
}

void steps_describe(const struct steps *steps, char *text, size_t size)
{
	const size_t now = steps->running && steps->n ? 1 : 0;
	size_t used = 0;

	if (!steps->n) {
		(void)snprintf(text, size, "nothing is left to undo");
		return;
	}
	if (now)
		(void)snprintf(text, size, "%s '%s'", steps->undoing ? "undoing" : "waiting for",
			steps->names[steps->n - 1]);
	else
		(void)snprintf(text, size, "undoing");
	for (size_t i = steps->n - now; i-- > 0;) {
		used = strlen(text);
		(void)snprintf(text + used, size - used, "%s%s",
			i + 1 == steps->n - now ? ", left to undo: " : ", ", steps->names[i]);
	}
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * progress.h - shows how far a snapshot is: on a terminal a bar per disk and a line that says what
 * is going on, redrawn in place; elsewhere a line every few seconds.
 *
 * All text for stderr goes through here while a snapshot runs, so that it lands above the bars.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include "cli/output.h"
#include "cli/progress_text.h"

enum progress_mode { PROGRESS_NONE, PROGRESS_LINES, PROGRESS_BARS };

enum {
	PROGRESS_TICK_MS = 100, /* how often progress_tick() is wanted */
	PROGRESS_LINE_MS = 5000, /* between the lines of PROGRESS_LINES */
};

struct progress {
	struct output *out; /* borrowed */
	enum progress_mode mode;
	struct progress_disk *disks;
	size_t n_disks;
	char status[96]; /* what is going on, "" for nothing */
	unsigned standing; /* lines on the terminal that are ours to redraw */
	bool dirty;
	uint64_t line_ms; /* PROGRESS_LINES: when the last line was printed */
};

/* What suits the descriptor: bars on a terminal that can move its cursor, else lines. */
enum progress_mode progress_mode_for(int fd);

void progress_init(struct progress *progress, struct output *out, enum progress_mode mode);

/* Notes where a disk is, and returns it; a name seen for the first time adds a disk.  NULL without
 * memory. */
struct progress_disk *progress_update(struct progress *progress, const char *disk,
	uint64_t done_bytes, uint64_t total_bytes, uint64_t now_ms);

/* Says what is going on; "" for nothing. */
void progress_status(struct progress *progress, const char *status);

/* Draws when it is time to. */
void progress_tick(struct progress *progress, uint64_t now_ms);

/* Takes the bars off the terminal; whoever writes to it next does so in a clean place.  The next
 * tick draws them again. */
void progress_hide(struct progress *progress);

/* Draws the bars a last time, as they stay, and frees all. */
void progress_end(struct progress *progress);

#endif

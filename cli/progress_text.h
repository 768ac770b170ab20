/* SPDX-License-Identifier: Apache-2.0
 *
 * progress_text.h - how far each disk is, as text: pure functions.
 */
#ifndef CLI_PROGRESS_TEXT_H
#define CLI_PROGRESS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PROGRESS_NAME_BYTES = 64, PROGRESS_TEXT_BYTES = 512 };

struct progress_disk {
	char name[PROGRESS_NAME_BYTES];
	uint64_t done_bytes, total_bytes;
	double rate_bytes_per_s; /* smoothed; 0: not known or standing still */
	uint64_t sampled_ms, sampled_bytes; /* where the rate was last taken */
	uint64_t told_ms; /* JSON: when it was last told; 0: never */
	bool told_end; /* JSON: that it is complete was told */
};

/* Takes the present into the rate; call it every now and then. */
void progress_sample(struct progress_disk *disk, uint64_t now_ms);

/* "vd0 [=====>     ]  50%  1.0 GiB of 2.0 GiB   240 MiB/s  4 s left" in less than `columns`; what
 * doesn't fit is left out from the right.  `name_columns` is the width of the name's column. */
void progress_bar(char text[static PROGRESS_TEXT_BYTES], const struct progress_disk *disk,
	unsigned name_columns, unsigned columns);

/* "vd0 50%, vd1 3%: 1.1 GiB of 4.0 GiB, 240 MiB/s, 12 s left" */
void progress_line(
	char text[static PROGRESS_TEXT_BYTES], const struct progress_disk *disks, size_t n_disks);

/* All disks as one. */
void progress_sum(struct progress_disk *sum, const struct progress_disk *disks, size_t n_disks);

/* Whether a progress event of this disk shall be told as JSON now: at most 2 a second, and the
 * complete disk always, once.  Notes that it was. */
bool progress_due(struct progress_disk *disk, uint64_t now_ms);

#endif

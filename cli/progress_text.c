/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress_text.h"

#include "base/units.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
	SAMPLE_MS = 500,
	JSON_INTERVAL_MS = 500,
	BAR_MIN = 10,
	BAR_MAX = 60,
	BYTES_COLUMNS = 23, /* "1023 MiB of 1023 MiB" and some */
	RATE_COLUMNS = 10, /* "1023 MiB/s" */
};

/* snprintf() behind what stands in `text`. */
__attribute__((format(printf, 2, 3))) static void add(char *text, const char *format, ...)
{
	const size_t used = strlen(text);
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text + used, PROGRESS_TEXT_BYTES - used, format, args);
	va_end(args);
}

void progress_sample(struct progress_disk *disk, uint64_t now_ms)
{
	const uint64_t passed = now_ms - disk->sampled_ms;

	if (passed < SAMPLE_MS)
		return;
	const double now =
		disk->done_bytes < disk->sampled_bytes
			? 0 /* a retry began again */
			: (double)(disk->done_bytes - disk->sampled_bytes) * 1000 / (double)passed;
	disk->rate_bytes_per_s =
		disk->rate_bytes_per_s > 0 ? disk->rate_bytes_per_s * 0.7 + now * 0.3 : now;
	disk->sampled_ms = now_ms;
	disk->sampled_bytes = disk->done_bytes;
}

static unsigned percent(const struct progress_disk *disk)
{
	if (disk->done_bytes >= disk->total_bytes)
		return 100;
	return (unsigned)((double)disk->done_bytes * 100 / (double)disk->total_bytes);
}

/* "" when it isn't known, or nothing moves. */
static void rate_text(char text[static UNITS_TEXT_BYTES + 2], const struct progress_disk *disk)
{
	char size[UNITS_TEXT_BYTES];

	text[0] = '\0';
	if (disk->rate_bytes_per_s < 1)
		return;
	units_format_size(size, (uint64_t)disk->rate_bytes_per_s);
	(void)snprintf(text, UNITS_TEXT_BYTES + 2, "%s/s", size);
}

/* "" when it can't be told. */
static void left_text(char text[static UNITS_TEXT_BYTES + 8], const struct progress_disk *disk)
{
	const double most_s = 99.0 * 3600;
	char time[UNITS_TEXT_BYTES];

	text[0] = '\0';
	if (disk->done_bytes >= disk->total_bytes || disk->rate_bytes_per_s < 1)
		return;
	const double s =
		(double)(disk->total_bytes - disk->done_bytes) / disk->rate_bytes_per_s + 1;
	if (s > most_s)
		return;
	units_format_duration(time, (uint64_t)s * 1000);
	(void)snprintf(text, UNITS_TEXT_BYTES + 8, "%s left", time);
}

/* What stands right of the bar, `level` parts of it. */
static void tail_text(
	char text[static PROGRESS_TEXT_BYTES], const struct progress_disk *disk, unsigned level)
{
	char done[UNITS_TEXT_BYTES], total[UNITS_TEXT_BYTES], bytes[2 * UNITS_TEXT_BYTES + 4];
	char rate[UNITS_TEXT_BYTES + 2], left[UNITS_TEXT_BYTES + 8];

	text[0] = '\0';
	add(text, " %3u%%", percent(disk));
	if (level >= 1) {
		units_format_size(done, disk->done_bytes);
		units_format_size(total, disk->total_bytes);
		(void)snprintf(bytes, sizeof(bytes), "%s of %s", done, total);
		add(text, "  %*s", BYTES_COLUMNS - 3, bytes);
	}
	if (level >= 2) {
		rate_text(rate, disk);
		add(text, "  %*s", RATE_COLUMNS, rate);
	}
	if (level >= 3) {
		left_text(left, disk);
		add(text, "  %-14s", left);
	}
}

static void bar_text(char *text, unsigned width, unsigned percent_done)
{
	const unsigned full = width * percent_done / 100;

	memset(text, ' ', width);
	memset(text, '=', full);
	if (full < width)
		text[full] = '>';
	text[width] = '\0';
}

void progress_bar(char text[static PROGRESS_TEXT_BYTES], const struct progress_disk *disk,
	unsigned name_columns, unsigned columns)
{
	char tail[PROGRESS_TEXT_BYTES], bar[BAR_MAX + 1];
	unsigned level = 4, around, width = 0;

	do {
		tail_text(tail, disk, --level);
		around = name_columns + (unsigned)strlen(tail) + 4; /* " [", "]", a free column */
	} while (level > 0 && around + BAR_MIN > columns);
	if (around + BAR_MIN <= columns)
		width = columns - around < BAR_MAX ? columns - around : BAR_MAX;
	text[0] = '\0';
	add(text, "%-*.*s", (int)name_columns, (int)name_columns, disk->name);
	if (width) {
		bar_text(bar, width, percent(disk));
		add(text, " [%s]", bar);
	}
	add(text, "%s", tail);
	for (size_t len = strlen(text); len && (text[len - 1] == ' ' || len >= columns); len--)
		text[len - 1] = '\0';
}

void progress_sum(struct progress_disk *sum, const struct progress_disk *disks, size_t n_disks)
{
	*sum = (struct progress_disk){.name = ""};
	(void)snprintf(sum->name, sizeof(sum->name), "%zu disks", n_disks);
	for (size_t i = 0; i < n_disks; i++) {
		sum->done_bytes += disks[i].done_bytes;
		sum->total_bytes += disks[i].total_bytes;
		sum->rate_bytes_per_s += disks[i].rate_bytes_per_s;
	}
}

void progress_line(
	char text[static PROGRESS_TEXT_BYTES], const struct progress_disk *disks, size_t n_disks)
{
	enum { MOST_NAMED = 8 };
	struct progress_disk sum;
	char done[UNITS_TEXT_BYTES], total[UNITS_TEXT_BYTES];
	char rate[UNITS_TEXT_BYTES + 2], left[UNITS_TEXT_BYTES + 8];

	progress_sum(&sum, disks, n_disks);
	text[0] = '\0';
	if (n_disks > MOST_NAMED)
		add(text, "%s %u%%", sum.name, percent(&sum));
	for (size_t i = 0; i < n_disks && n_disks <= MOST_NAMED; i++)
		add(text, "%s%.32s %u%%", i ? ", " : "", disks[i].name, percent(&disks[i]));
	units_format_size(done, sum.done_bytes);
	units_format_size(total, sum.total_bytes);
	rate_text(rate, &sum);
	left_text(left, &sum);
	add(text, ": %s of %s", done, total);
	if (*rate)
		add(text, ", %s", rate);
	if (*left)
		add(text, ", %s", left);
}

bool progress_due(struct progress_disk *disk, uint64_t now_ms)
{
	const bool complete = disk->total_bytes > 0 && disk->done_bytes >= disk->total_bytes;

	if (complete && disk->told_end)
		return false;
	if (!complete && disk->told_ms && now_ms - disk->told_ms < JSON_INTERVAL_MS)
		return false;
	disk->told_ms = now_ms ? now_ms : 1;
	disk->told_end = complete;
	return true;
}

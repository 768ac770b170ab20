/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

static struct {
	enum qmpsnap_log_level level;
	qmpsnap_log_fn *fn;
	void *data;
} sink;

void qmpsnap_log_to(enum qmpsnap_log_level level, qmpsnap_log_fn *fn, void *data)
{
	sink.level = level;
	sink.fn = fn;
	sink.data = data;
}

bool log_wanted(enum qmpsnap_log_level level)
{
	return sink.fn && level <= sink.level;
}

/* ---- Lines that are held back ---- */

enum { HELD_LINES = 64, HELD_BYTES = 600 };

static struct {
	char lines[HELD_LINES][HELD_BYTES];
	size_t n_lines, n_lost;
	unsigned holders;
} held;

static void keep(const char *line)
{
	if (held.n_lines < HELD_LINES)
		(void)snprintf(
			held.lines[held.n_lines++], HELD_BYTES, "%.*s", HELD_BYTES - 1, line);
	else
		held.n_lost++;
}

void log_hold(void)
{
	held.holders++;
}

void log_release(void)
{
	if (--held.holders > 0)
		return;
	for (size_t i = 0; i < held.n_lines; i++)
		log_line(QMPSNAP_LOG_DEBUG, "%s", held.lines[i]);
	if (held.n_lost)
		log_line(QMPSNAP_LOG_DEBUG, "(and %zu more lines)", held.n_lost);
	held.n_lines = held.n_lost = 0;
}

void log_line(enum qmpsnap_log_level level, const char *format, ...)
{
	char line[2048];
	va_list args;

	if (!log_wanted(level))
		return;
	va_start(args, format);
	(void)vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (held.holders && level == QMPSNAP_LOG_DEBUG)
		keep(line);
	else
		sink.fn(level, line, sink.data);
}

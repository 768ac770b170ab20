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

void log_line(enum qmpsnap_log_level level, const char *format, ...)
{
	char line[2048];
	va_list args;

	if (!log_wanted(level))
		return;
	va_start(args, format);
	(void)vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	sink.fn(level, line, sink.data);
}

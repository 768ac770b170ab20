/* SPDX-License-Identifier: Apache-2.0
 *
 * log.h - log lines to the one sink that qmpsnap_log_to() set.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <qmpsnap.h>

/* Whether a line of this level would be heard; ask before building an expensive one. */
bool log_wanted(enum qmpsnap_log_level level);

/* One line, no newline; never a secret. */
void log_line(enum qmpsnap_log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* From log_hold() to log_release() debug lines, such as the monitor's traffic, are kept in memory
 * of their own and heard at the end: for as long as a guest stands still for us.  May be nested, as
 * by two snapshots on one loop. */
void log_hold(void);
void log_release(void);

#endif

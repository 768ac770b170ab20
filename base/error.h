/* SPDX-License-Identifier: Apache-2.0
 *
 * error.h - filling in struct qmpsnap_error, the error value of all layers (qmpsnap.h).
 *
 * A function that can fail at once takes the error last, never NULL, and returns false or NULL
 * when it has filled it.  An asynchronous one brings it in its completion only.  A message is one
 * phrase without a full stop; advice goes into the hint.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <qmpsnap.h>

/* Fills *err and returns false, so that `return error_set(...)` is the whole failure path. */
bool error_set(struct qmpsnap_error *err, enum qmpsnap_code code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same, with ": " and the text of `errnum` behind it; `detail` becomes errnum. */
bool error_errno(struct qmpsnap_error *err, enum qmpsnap_code code, int errnum, const char *format,
	...) __attribute__((format(printf, 4, 5)));

/* Puts "<text>: " in front of the message. */
void error_wrap(struct qmpsnap_error *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Sets the advice. */
void error_hint(struct qmpsnap_error *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* "no memory" as INTERNAL. */
bool error_no_memory(struct qmpsnap_error *err);

#endif

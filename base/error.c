/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool error_set(struct qmpsnap_error *err, enum qmpsnap_code code, const char *format, ...)
{
	va_list args;

	*err = (struct qmpsnap_error){.code = code};
	va_start(args, format);
	(void)vsnprintf(err->message, sizeof(err->message), format, args);
	va_end(args);
	return false;
}

bool error_errno(
	struct qmpsnap_error *err, enum qmpsnap_code code, int errnum, const char *format, ...)
{
	va_list args;
	char text[128];

	*err = (struct qmpsnap_error){.code = code, .detail = errnum};
	va_start(args, format);
	(void)vsnprintf(err->message, sizeof(err->message), format, args);
	va_end(args);
	const size_t used = strlen(err->message);
	(void)snprintf(err->message + used, sizeof(err->message) - used, ": %s",
		strerror_r(errnum, text, sizeof(text)));
	return false;
}

void error_wrap(struct qmpsnap_error *err, const char *format, ...)
{
	va_list args;
	char old[sizeof(err->message)];

	memcpy(old, err->message, sizeof(old));
	va_start(args, format);
	(void)vsnprintf(err->message, sizeof(err->message), format, args);
	va_end(args);
	const size_t used = strlen(err->message);
	(void)snprintf(err->message + used, sizeof(err->message) - used, ": %s", old);
}

void error_hint(struct qmpsnap_error *err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(err->hint, sizeof(err->hint), format, args);
	va_end(args);
}

bool error_no_memory(struct qmpsnap_error *err)
{
	return error_set(err, QMPSNAP_INTERNAL, "no memory");
}

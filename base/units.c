/* SPDX-License-Identifier: Apache-2.0 */
#include "base/units.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The number in front of `text`: decimal digits and at most one point, nothing else. */
static bool number(const char *text, double *value, const char **rest)
{
	const size_t len = strspn(text, "0123456789.");
	char *end;

	if (len == 0 || len > 31)
		return false;
	errno = 0;
	*value = strtod(text, &end);
	*rest = text + len;
	return errno == 0 && end == *rest && text[0] != '.';
}

bool units_parse_size(const char *text, uint64_t *bytes)
{
	static const char letters[] = "KMGTP";
	double value;
	const char *rest;
	const char *letter;

	if (!text || !number(text, &value, &rest))
		return false;
	if (isalpha((unsigned char)*rest) && (letter = strchr(letters, *rest & ~0x20))) {
		value = ldexp(value, 10 * (int)(letter - letters + 1));
		rest++;
		if (*rest == 'i')
			rest++;
	}
	if (*rest == 'B')
		rest++;
	if (strcmp(rest, "/s") == 0)
		rest += 2;
	if (*rest || value >= ldexp(1, 63))
		return false;
	*bytes = (uint64_t)value;
	return true;
}

bool units_parse_duration(const char *text, uint64_t *ms)
{
	double value;
	const char *rest;

	if (!text || !number(text, &value, &rest))
		return false;
	if (strcmp(rest, "ms") == 0)
		;
	else if (*rest == '\0' || strcmp(rest, "s") == 0)
		value *= 1000;
	else if (strcmp(rest, "m") == 0)
		value *= 60 * 1000;
	else if (strcmp(rest, "h") == 0)
		value *= 60 * 60 * 1000;
	else
		return false;
	if (value >= ldexp(1, 53))
		return false;
	*ms = (uint64_t)value;
	return true;
}

void units_format_size(char text[static UNITS_TEXT_BYTES], uint64_t bytes)
{
	static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	size_t i = 0;

	while (value >= 1024 && i < sizeof(names) / sizeof(names[0]) - 1) {
		value /= 1024;
		i++;
	}
	(void)snprintf(
		text, UNITS_TEXT_BYTES, i && value < 100 ? "%.1f %s" : "%.0f %s", value, names[i]);
}

void units_format_duration(char text[static UNITS_TEXT_BYTES], uint64_t ms)
{
	const unsigned long long s = ms / 1000;

	if (ms < 1000)
		(void)snprintf(text, UNITS_TEXT_BYTES, "%u ms", (unsigned)ms);
	else if (s < 60)
		(void)snprintf(text, UNITS_TEXT_BYTES, "%llu s", s);
	else if (s < 3600)
		(void)snprintf(text, UNITS_TEXT_BYTES, "%llu:%02llu min", s / 60, s % 60);
	else
		(void)snprintf(text, UNITS_TEXT_BYTES, "%llu:%02llu:%02llu h", s / 3600,
			s / 60 % 60, s % 60);
}

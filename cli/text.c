/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/text.h"

#include <stddef.h>

/* The length of the UTF-8 character at `s` (Unicode 15, table 3-7), 0 for anything else. */
static size_t utf8_length(const unsigned char *s)
{
	size_t len;
	unsigned low = 0x80, high = 0xbf;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		len = 2;
	else if (s[0] >= 0xe0 && s[0] <= 0xef)
		len = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		len = 4;
	else
		return 0;
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed) /* surrogates */
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++) {
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	}
	return len;
}

/* C0, DEL, and C1 (U+0080..U+009F), which some terminals obey as well. */
static bool is_control(const unsigned char *s)
{
	return s[0] < 0x20 || s[0] == 0x7f || (s[0] == 0xc2 && s[1] < 0xa0);
}

/* The length of the character at `s` if it does no harm, else 0. */
static size_t harmless(const char *s, bool controls, bool newlines)
{
	const unsigned char *bytes = (const unsigned char *)s;
	const bool allowed = controls || (newlines && *s == '\n') || !is_control(bytes);

	return allowed ? utf8_length(bytes) : 0;
}

static void clean(char *text, bool controls, bool newlines)
{
	for (char *s = text; *s;) {
		const size_t len = harmless(s, controls, newlines);
		if (len == 0)
			*s = '?';
		s += len ? len : 1;
	}
}

void text_clean(char *text)
{
	clean(text, false, false);
}

void text_clean_lines(char *text)
{
	clean(text, false, true);
}

void text_clean_utf8(char *text)
{
	clean(text, true, true);
}

bool text_is_clean(const char *text)
{
	while (*text) {
		const size_t len = harmless(text, false, false);
		if (len == 0)
			return false;
		text += len;
	}
	return true;
}

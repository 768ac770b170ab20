/* SPDX-License-Identifier: Apache-2.0
 *
 * text.h - text from elsewhere made safe to show: a guest's name or a file's must not be able to
 * send escape sequences to a terminal, nor break a JSON line.
 */
#ifndef CLI_TEXT_H
#define CLI_TEXT_H

#include <stdbool.h>

/* Control characters (newline and C1 included) and bytes that aren't UTF-8 become '?'. */
void text_clean(char *text);

/* The same, but newlines stay: for messages. */
void text_clean_lines(char *text);

/* Only bytes that aren't UTF-8: for JSON, which escapes control characters. */
void text_clean_utf8(char *text);

/* Whether text_clean() would leave it as it is. */
bool text_is_clean(const char *text);

#endif

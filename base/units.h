/* SPDX-License-Identifier: Apache-2.0
 *
 * units.h - sizes, rates and durations as users write and read them: K, M, G, T are powers of
 * 1024; ms, s, m, h.
 */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UNITS_TEXT_BYTES = 24 };

/* "64M", "1.5G", "4096", also with B or iB behind; for a rate also "/s".  False for anything
 * else, and for what doesn't fit. */
bool units_parse_size(const char *text, uint64_t *bytes);

/* "500ms", "5s", "2m", "1h"; a bare number is seconds. */
bool units_parse_duration(const char *text, uint64_t *ms);

/* "1.5 GiB", "512 B". */
void units_format_size(char text[static UNITS_TEXT_BYTES], uint64_t bytes);

/* "850 ms", "12 s", "3:05 min", "2:03:05 h". */
void units_format_duration(char text[static UNITS_TEXT_BYTES], uint64_t ms);

#endif

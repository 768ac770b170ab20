/* SPDX-License-Identifier: Apache-2.0
 *
 * readable.h - one readable line out of what a server sent as the body of an error: HTML
 * (Glance), JSON (Keystone, proxies) or text.
 */
#ifndef UPLOAD_READABLE_H
#define UPLOAD_READABLE_H

#include <stddef.h>

/* Writes at most `size` bytes, the final NUL included: tags and headings dropped, the basic
 * entities decoded, white space collapsed, and all that isn't printable ASCII replaced by '?', so
 * that nothing in it can act on a terminal.  "" when nothing is left. */
void readable_line(char *line, size_t size, const char *body, size_t body_len);

#endif

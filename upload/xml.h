/* SPDX-License-Identifier: Apache-2.0
 *
 * xml.h - the texts in a small XML document that a service answered.
 */
#ifndef UPLOAD_XML_H
#define UPLOAD_XML_H

#include <stdbool.h>
#include <stddef.h>

enum { XML_DEPTH = 8, XML_PATH_BYTES = 256, XML_TEXT_BYTES = 4096 };

/* An element has ended: `path` is "ListMultipartUploadsResult/Upload/Key", without namespaces;
 * `text` is what stood in it since its beginning or its last child. */
typedef void xml_text_fn(const char *path, const char *text, void *data);

/* Calls `fn` for each element.  False for what is no XML, is too deep or has too long a text, and
 * for a document type declaration, which no answer has. */
bool xml_each(const char *xml, size_t len, xml_text_fn *fn, void *data);

/* Copies the text of the first element of that path; "" when there is none or it doesn't fit. */
void xml_get(const char *xml, size_t len, const char *path, char *text, size_t size);

/* Writes `text` as the contents of an element; what can't stand there as references.  False when it
 * doesn't fit. */
bool xml_escape(char *to, size_t size, const char *text);

#endif

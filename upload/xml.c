/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/xml.h"

#include <expat.h>
#include <stdio.h>
#include <string.h>

struct walk {
	XML_Parser parser;
	char path[XML_PATH_BYTES];
	unsigned depth;
	char text[XML_TEXT_BYTES];
	size_t len;
	xml_text_fn *fn;
	void *data;
};

static void on_start(void *data, const XML_Char *name, const XML_Char **attributes)
{
	struct walk *w = data;
	const char *colon = strchr(name, ':');
	const size_t at = strlen(w->path);
	const char *local = colon ? colon + 1 : name;

	(void)attributes;
	if (w->depth == XML_DEPTH || at + 1 + strlen(local) >= sizeof(w->path)) {
		(void)XML_StopParser(w->parser, XML_FALSE);
		return;
	}
	(void)snprintf(w->path + at, sizeof(w->path) - at, "%s%s", w->depth ? "/" : "", local);
	w->depth++;
	w->len = 0;
}

static void on_end(void *data, const XML_Char *name)
{
	struct walk *w = data;
	char *slash = strrchr(w->path, '/');

	(void)name;
	w->text[w->len] = '\0';
	w->fn(w->path, w->text, w->data);
	*(slash ? slash : w->path) = '\0';
	w->depth--;
	w->len = 0;
}

static void on_text(void *data, const XML_Char *text, int len)
{
	struct walk *w = data;

	if (w->len + (size_t)len >= sizeof(w->text)) {
		(void)XML_StopParser(w->parser, XML_FALSE);
		return;
	}
	memcpy(w->text + w->len, text, (size_t)len);
	w->len += (size_t)len;
}

static void on_doctype(void *data, const XML_Char *name, const XML_Char *system_id,
	const XML_Char *public_id, int has_subset)
{
	const struct walk *w = data;

	(void)name, (void)system_id, (void)public_id, (void)has_subset;
	(void)XML_StopParser(w->parser, XML_FALSE);
}

bool xml_each(const char *xml, size_t len, xml_text_fn *fn, void *data)
{
	struct walk w = {.parser = XML_ParserCreate(NULL), .fn = fn, .data = data};

	if (!w.parser)
		return false;
	XML_SetUserData(w.parser, &w);
	XML_SetElementHandler(w.parser, on_start, on_end);
	XML_SetCharacterDataHandler(w.parser, on_text);
	XML_SetStartDoctypeDeclHandler(w.parser, on_doctype);
	const bool well = XML_Parse(w.parser, xml, (int)len, XML_TRUE) == XML_STATUS_OK;
	XML_ParserFree(w.parser);
	return well;
}

struct search {
	const char *path;
	char *text;
	size_t size;
	bool found;
};

static void on_candidate(const char *path, const char *text, void *data)
{
	struct search *s = data;

	if (s->found || strcmp(path, s->path) != 0)
		return;
	s->found = true;
	if (strlen(text) < s->size)
		(void)snprintf(s->text, s->size, "%s", text);
}

void xml_get(const char *xml, size_t len, const char *path, char *text, size_t size)
{
	struct search s = {.path = path, .text = text, .size = size};

	text[0] = '\0';
	(void)xml_each(xml, len, on_candidate, &s);
}

bool xml_escape(char *to, size_t size, const char *text)
{
	size_t at = 0;

	for (; *text; text++) {
		const char plain[] = {*text, '\0'};
		const char *word = *text == '&'   ? "&amp;"
				   : *text == '<' ? "&lt;"
				   : *text == '>' ? "&gt;"
				   : *text == '"' ? "&quot;"
						  : plain;
		if (at + strlen(word) >= size)
			return false;
		memcpy(to + at, word, strlen(word) + 1);
		at += strlen(word);
	}
	to[at] = '\0';
	return true;
}

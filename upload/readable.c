/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/readable.h"

#include "base/json.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { JSON_DEPTH = 8 };

/* Text in these repeats the status, or isn't text. */
static const char *const skipped[] = {"head", "title", "h1", "script", "style"};

static const struct {
	const char *name;
	char c;
} entities[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&#34;", '"'},
	{"&#39;", '\''}, {"&#x27;", '\''}, {"&nbsp;", ' '}};

struct line {
	char *text;
	size_t size, len;
	bool space; /* one is due before the next character */
};

static void add(struct line *line, char c)
{
	const unsigned char u = (unsigned char)c;

	if (u <= ' ') {
		line->space = line->len > 0;
		return;
	}
	if (line->len + 2 + line->space > line->size)
		return;
	if (line->space)
		line->text[line->len++] = ' ';
	line->space = false;
	line->text[line->len++] = (char)(u < 0x7f ? u : '?');
}

static bool starts_with(const char *at, const char *end, const char *word)
{
	const size_t len = strlen(word);

	/* Whoever looks behind the first character of what never ends looks behind the end. */
	return at < end && (size_t)(end - at) >= len && strncasecmp(at, word, len) == 0;
}

static const char *find(const char *at, const char *end, const char *word)
{
	while (at < end && !starts_with(at, end, word))
		at++;
	return at;
}

/* Steps over a tag; for an element of no interest, over all of it. */
static const char *skip_tag(const char *at, const char *end)
{
	if (starts_with(at, end, "<!--"))
		at = find(at, end, "-->");
	for (size_t i = 0; i < sizeof(skipped) / sizeof(skipped[0]); i++) {
		char closing[16];
		const size_t len = strlen(skipped[i]);
		if (!starts_with(at + 1, end, skipped[i]) || at + 1 + len >= end ||
			!strchr("> \t\r\n", at[1 + len]))
			continue;
		(void)snprintf(closing, sizeof(closing), "</%s", skipped[i]);
		at = find(at, end, closing);
		break;
	}
	const char *close = at < end ? memchr(at, '>', (size_t)(end - at)) : NULL;
	return close ? close + 1 : end;
}

static const char *add_entity(struct line *line, const char *at, const char *end)
{
	for (size_t i = 0; i < sizeof(entities) / sizeof(entities[0]); i++) {
		if (starts_with(at, end, entities[i].name)) {
			add(line, entities[i].c);
			return at + strlen(entities[i].name);
		}
	}
	add(line, *at);
	return at + 1;
}

static bool is_tag(const char *at, const char *end)
{
	const unsigned char next = at + 1 < end ? (unsigned char)at[1] : 0;

	return *at == '<' && (isalpha(next) || next == '/' || next == '!');
}

static void add_html(struct line *line, const char *at, const char *end)
{
	while (at < end) {
		if (is_tag(at, end)) {
			at = skip_tag(at, end);
			add(line, ' ');
		} else if (*at == '&') {
			at = add_entity(line, at, end);
		} else {
			add(line, *at++);
		}
	}
}

/* {"message": ...}, {"error": {"message": ...}}, {"error": "..."} */
static bool add_json(struct line *line, const char *body, size_t len)
{
	struct json_tokener *parser =
		json_is_bounded(body, len) ? json_tokener_new_ex(JSON_DEPTH) : NULL;
	struct json_object *json = parser ? json_tokener_parse_ex(parser, body, (int)len) : NULL;
	struct json_object *inner = json_member(json, "error", json_type_object);
	const char *text = json_string(inner ? inner : json, "message");

	if (!text)
		text = json_string(json, "error");
	for (const char *c = text; c && *c; c++)
		add(line, *c);
	(void)json_object_put(json);
	if (parser)
		json_tokener_free(parser);
	return text != NULL;
}

void readable_line(char *line, size_t size, const char *body, size_t body_len)
{
	struct line out = {.text = line, .size = size};

	if (!(body_len > 0 && body[0] == '{' && add_json(&out, body, body_len)))
		add_html(&out, body, body + body_len);
	line[out.len] = '\0';
}

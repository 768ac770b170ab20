/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/web_spec.h"

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "upload/config_file.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MOST_HEADERS = 8 /* what is sent has room for more */ };

/* ---- Headers ------------------------------------------------------------------------------ */

/* Those that the transfer itself has. */
static const char *const taken[] = {
	"Content-Length", "Transfer-Encoding", "Expect", "Host", "Connection"};

static bool check_header(const char *line, struct qmpsnap_error *err)
{
	const size_t len = strcspn(line, ":");

	/* Its value isn't shown, since it may be a secret. */
	if (len == 0 || line[len] != ':' || strcspn(line, " \t()<>@,;\\\"/[]?={}\r\n") < len ||
		strpbrk(line, "\r\n"))
		return error_set(
			err, QMPSNAP_USAGE, "a header has to be of the form 'Name: value'");
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
		if (strlen(taken[i]) == len && strncasecmp(line, taken[i], len) == 0)
			return error_set(
				err, QMPSNAP_USAGE, "the header %s isn't yours to set", taken[i]);
	}
	return true;
}

static bool add_header(struct web_spec *web, const char *line, struct qmpsnap_error *err)
{
	char **more;

	if (!check_header(line, err))
		return false;
	if (web->n_headers == MOST_HEADERS)
		return error_set(
			err, QMPSNAP_USAGE, "there are more than %d headers", MOST_HEADERS);
	more = realloc((void *)web->headers, (web->n_headers + 2) * sizeof(*more));
	if (!more)
		return error_no_memory(err);
	web->headers = more;
	more[web->n_headers] = strdup(line);
	more[web->n_headers + 1] = NULL;
	return more[web->n_headers++] || error_no_memory(err);
}

/* A file of headers as an array of its lines; '#' begins a comment. */
static bool parse_lines(const char *text, size_t len, const char *name, struct json_object **object,
	struct qmpsnap_error *err)
{
	(void)len, (void)name;
	if (!(*object = json_object_new_array()))
		return error_no_memory(err);
	while (*text) {
		const size_t line = strcspn(text, "\r\n");
		if (line > 0 && text[0] != '#')
			json_append(*object, json_object_new_string_len(text, (int)line));
		text += line + (text[line] != '\0');
	}
	return true;
}

static bool add_file(struct web_spec *web, const char *path, struct qmpsnap_error *err)
{
	struct json_object *lines = NULL;
	bool others_read = false;
	const enum config_read how =
		config_file_read_as(path, parse_lines, &lines, &others_read, err);
	bool well = how == CONFIG_READ;

	if (how == CONFIG_NOT_THERE)
		(void)error_set(err, QMPSNAP_USAGE, "the file of headers %s can't be read", path);
	if (well && others_read)
		log_line(QMPSNAP_LOG_WARNING,
			"other users may read %s, and there may be secrets in it: chmod 600", path);
	for (size_t i = 0; well && i < json_object_array_length(lines); i++)
		well = add_header(
			web, json_object_get_string(json_object_array_get_idx(lines, i)), err);
	(void)json_object_put(lines);
	return well;
}

/* ---- The spec ----------------------------------------------------------------------------- */

/* Whether ".json" behind the URL makes the name of another file in the same folder: a signature is
 * for one path, and behind a host's name it would make another host's. */
static void look_for_json(struct web_spec *web, const char *path)
{
	const size_t len = strlen(path);

	if (strcmp(web->url, web->place) != 0)
		web->no_json = "a URL with a query may be good for its own path only";
	else if (len == 0 || path[len - 1] == '/')
		web->no_json = "the URL doesn't end in a file's name";
	web->json_place = !web->no_json;
}

static bool check_url(struct web_spec *web, struct qmpsnap_error *err)
{
	CURLU *u = curl_url();
	char *host = NULL, *user = NULL, *path = NULL;
	bool well = u && curl_url_set(u, CURLUPART_URL, web->url, 0) == CURLUE_OK &&
		    curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
		    curl_url_get(u, CURLUPART_PATH, &path, 0) == CURLUE_OK;

	if (!well) {
		(void)error_set(err, QMPSNAP_USAGE, "'%.200s' is no URL", web->place);
	} else if (curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_OK) {
		well = error_set(err, QMPSNAP_USAGE, "a user's name doesn't belong into a URL");
		error_hint(err, "put 'Authorization: Basic ...' into a file for --header-file");
	} else {
		look_for_json(web, path);
	}
	curl_free(path);
	curl_free(host);
	curl_free(user);
	curl_url_cleanup(u);
	return well;
}

static bool set_cacert(struct web_spec *web, const char *path, struct qmpsnap_error *err)
{
	free(web->cacert);
	web->cacert = strdup(path);
	return web->cacert || error_no_memory(err);
}

/* One word of the fragment. */
static bool take_word(struct web_spec *web, const char *word, struct qmpsnap_error *err)
{
	static const char header[] = "header=", file[] = "header-file=", cacert[] = "cacert=";
	const char *equals = strchr(word, '=');
	char *value = equals ? curl_easy_unescape(NULL, equals + 1, 0, NULL) : NULL;
	bool well;

	if (strcmp(word, "force") == 0)
		well = web->force = true;
	else if (strcmp(word, "insecure") == 0)
		well = web->insecure = true;
	else if (strcmp(word, "no-json") == 0)
		well = (web->no_json = "the URL says so by #no-json") != NULL;
	else if (strcmp(word, "no-query") == 0)
		well = (web->lost = "query") != NULL;
	else if (strcmp(word, "no-header") == 0)
		well = (web->lost = "--header") != NULL;
	else if (value && strncmp(word, header, strlen(header)) == 0)
		well = add_header(web, value, err);
	else if (value && strncmp(word, file, strlen(file)) == 0)
		well = add_file(web, value, err);
	else if (value && strncmp(word, cacert, strlen(cacert)) == 0)
		well = set_cacert(web, value, err);
	else
		well = error_set(err, QMPSNAP_USAGE,
			"behind the '#' of a URL go force, insecure, no-json, header=, "
			"header-file=, cacert=");
	curl_free(value);
	return well;
}

static bool take_options(struct web_spec *web, const struct qmpsnap_store_options *options,
	struct qmpsnap_error *err)
{
	web->force |= options->force;
	web->insecure |= options->insecure;
	for (size_t i = 0; i < options->n_headers; i++) {
		if (!add_header(web, options->headers[i], err))
			return false;
	}
	if (options->cacert && !set_cacert(web, options->cacert, err))
		return false;
	return !options->header_file || add_file(web, options->header_file, err);
}

bool web_spec_open(struct web_spec *web, const char *spec,
	const struct qmpsnap_store_options *options, struct qmpsnap_error *err)
{
	char *rest = NULL;

	*web = (struct web_spec){.url = strdup(spec)};
	char *end = web->url ? strchr(web->url, '#') : NULL;
	if (end)
		*end++ = '\0';
	web->place = web->url ? strndup(web->url, strcspn(web->url, "?")) : NULL;
	if (!web->place)
		return error_no_memory(err);
	bool well = check_url(web, err);
	for (char *word = end ? strtok_r(end, "&", &rest) : NULL; word && well;
		word = strtok_r(NULL, "&", &rest))
		well = take_word(web, word, err);
	return well && take_options(web, options, err);
}

void web_spec_free(struct web_spec *web)
{
	for (size_t i = 0; i < web->n_headers; i++)
		free(web->headers[i]);
	free((void *)web->headers);
	free(web->cacert);
	free(web->url);
	free(web->place);
}

/* "NAME=" and the value, encoded. */
static void write_word(FILE *out, const char *name, const char *value, bool *bad)
{
	char *encoded = curl_easy_escape(NULL, value, 0);

	if (encoded)
		(void)fprintf(out, "&%s=%s", name, encoded);
	*bad |= !encoded;
	curl_free(encoded);
}

char *web_spec_complete(const char *spec, const struct qmpsnap_store_options *options)
{
	char *text = NULL, *whole = NULL;
	size_t size = 0;
	bool bad = false;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	if (options->force)
		(void)fputs("&force", out);
	if (options->insecure)
		(void)fputs("&insecure", out);
	for (size_t i = 0; i < options->n_headers; i++)
		write_word(out, "header", options->headers[i], &bad);
	if (options->header_file)
		write_word(out, "header-file", options->header_file, &bad);
	if (options->cacert)
		write_word(out, "cacert", options->cacert, &bad);
	bad |= ferror(out) != 0;
	bad |= fclose(out) != 0;
	if (!bad && asprintf(&whole, "%s%s%s", spec, size > 0 && !strchr(spec, '#') ? "#" : "",
			    strchr(spec, '#') || size == 0 ? text : text + 1) < 0)
		whole = NULL;
	free(text);
	return whole;
}

static void put_word(FILE *out, const char *word, bool *more)
{
	(void)fprintf(out, "%c%s", *more ? '&' : '#', word);
	*more = true;
}

char *web_spec_keep(const char *spec)
{
	static const char header[] = "header=";
	const size_t end = strcspn(spec, "#"), place = strcspn(spec, "?#");
	char *kept = NULL, *words = strdup(spec[end] ? spec + end + 1 : ""), *rest = NULL;
	size_t size = 0;
	FILE *out = words ? open_memstream(&kept, &size) : NULL;
	bool more = false, no_header = false;

	if (!out) {
		free(words);
		return NULL;
	}
	(void)fprintf(out, "%.*s", (int)place, spec);
	if (place < end)
		put_word(out, "no-query", &more);
	for (char *word = strtok_r(words, "&", &rest); word; word = strtok_r(NULL, "&", &rest)) {
		const bool is_header = strncmp(word, header, strlen(header)) == 0;
		if (!is_header)
			put_word(out, word, &more);
		else if (!no_header)
			put_word(out, "no-header", &more);
		no_header |= is_header;
	}
	free(words);
	const bool bad = ferror(out) != 0;
	if (fclose(out) == 0 && !bad)
		return kept;
	free(kept);
	return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "images/select.h"

#include "base/error.h"
#include "base/json.h"
#include "base/units.h"

#include <stdio.h>
#include <string.h>

/* ---- Times -------------------------------------------------------------------------------- */

/* "2026-11-23T13:20:14.123Z" or a beginning of it that ends behind a number. */
static bool is_time(const char *text)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd.ddd";
	size_t len = strlen(text);

	if (len > 0 && text[len - 1] == 'Z')
		len--;
	if (len != 10 && len != 13 && len != 16 && len != 19 && len != 23)
		return false;
	for (size_t i = 0; i < len; i++) {
		const bool digit = text[i] >= '0' && text[i] <= '9';
		if (form[i] == 'd' ? !digit : text[i] != form[i])
			return false;
	}
	return true;
}

bool select_time(char time[static NAME_TIME_BYTES], const char *text, const struct timespec *now,
	struct qmpsnap_error *err)
{
	struct timespec then = *now;
	uint64_t ms;

	if (is_time(text)) {
		(void)snprintf(time, NAME_TIME_BYTES, "%s", text);
		return true;
	}
	/* A bare number may well be meant as a year. */
	if (strspn(text, "0123456789") < strlen(text) && units_parse_duration(text, &ms) &&
		ms / 1000 < (uint64_t)now->tv_sec) {
		then.tv_sec -= (time_t)(ms / 1000);
		name_time(time, &then);
		return true;
	}
	error_set(err, QMPSNAP_USAGE, "'%.64s' is no time", text);
	error_hint(err, "in UTC: 2026-11-23, 2026-11-23T13:20, 2026-11-23T13:20:14Z; or so long "
			"ago: 36h");
	return false;
}

/* ---- One image ---------------------------------------------------------------------------- */

static bool word_means(struct json_object *record, const char *word)
{
	return shelf_says(record, "id", word) || shelf_is_of_set(record, word) ||
	       shelf_says(record, "name", word);
}

static bool is_chosen(struct json_object *record, const struct selection *s)
{
	if ((s->guest && !shelf_is_guest(record, s->guest)) ||
		(s->set && !shelf_is_of_set(record, s->set)) ||
		(s->tag && !shelf_has_tag(record, s->tag)) ||
		(s->since[0] && shelf_compare_times(shelf_time(record), s->since) < 0) ||
		(s->before[0] && shelf_compare_times(shelf_time(record), s->before) >= 0))
		return false;
	return true;
}

/* Who gives the id itself means it, whatever it is. */
static bool is_meant(struct json_object *record, const struct selection *s)
{
	const bool good = s->all || (shelf_is_ours(record) && shelf_is_published(record));

	if (!is_chosen(record, s))
		return false;
	for (size_t i = 0; i < s->n_which; i++) {
		if (shelf_says(record, "id", s->which[i]) ||
			(good && word_means(record, s->which[i])))
			return true;
	}
	return s->n_which == 0 && good;
}

/* ---- All of them -------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	struct json_object *one = *(struct json_object *const *)a,
			   *other = *(struct json_object *const *)b;
	const char *disk = shelf_own(one, "qmpsnap_disk"),
		   *other_disk = shelf_own(other, "qmpsnap_disk");
	int order = shelf_compare_times(shelf_time(one), shelf_time(other));

	if (order == 0)
		order = strcmp(shelf_set(one), shelf_set(other));
	return order ? order : strcmp(disk ? disk : "", other_disk ? other_disk : "");
}

/* Each word must mean something, and where one set is wanted only one. */
static bool check_word(
	struct json_object *chosen, const char *word, bool one_set, struct qmpsnap_error *err)
{
	const char *set = NULL;

	for (size_t i = 0; i < json_length(chosen); i++) {
		struct json_object *record = json_object_array_get_idx(chosen, i);
		if (!word_means(record, word))
			continue;
		if (one_set && set && strcmp(set, shelf_set(record)) != 0) {
			error_set(err, QMPSNAP_REFUSED,
				"'%.100s' is the name of images of several sets: %.36s, %.36s, ...",
				word, set, shelf_set(record));
			error_hint(err, "name the image or the set by its id, which 'qmpsnap "
					"images list' shows");
			return false;
		}
		set = shelf_set(record);
	}
	if (set)
		return true;
	error_set(err, QMPSNAP_STORE, "there is no image '%.100s' in the store", word);
	err->detail = 404;
	error_hint(err, "'qmpsnap images list' shows those that qmpsnap made; with --all also "
			"others");
	return false;
}

struct json_object *select_images(
	struct json_object *records, const struct selection *selection, struct qmpsnap_error *err)
{
	struct json_object *chosen = json_object_new_array();

	if (!chosen) {
		error_no_memory(err);
		return NULL;
	}
	for (size_t i = 0; i < json_length(records); i++) {
		struct json_object *record = json_object_array_get_idx(records, i);
		if (is_meant(record, selection))
			json_append(chosen, json_object_get(record));
	}
	for (size_t i = 0; i < selection->n_which; i++) {
		if (check_word(chosen, selection->which[i], selection->one_set, err))
			continue;
		(void)json_object_put(chosen);
		return NULL;
	}
	json_object_array_sort(chosen, compare);
	return chosen;
}

bool select_names_image(const struct selection *selection, struct json_object *record)
{
	for (size_t i = 0; i < selection->n_which; i++) {
		if (shelf_says(record, "id", selection->which[i]) ||
			shelf_says(record, "name", selection->which[i]))
			return true;
	}
	return false;
}

void select_mark_incomplete(struct json_object *records)
{
	struct json_object *counts = json_new(); /* of published images, by set */
	const size_t n = json_length(records);

	for (size_t i = 0; i < n; i++) {
		struct json_object *record = json_object_array_get_idx(records, i);
		const char *set = shelf_set(record);
		if (shelf_is_published(record))
			json_put_int(counts, set, json_int(counts, set, 0) + 1);
	}
	for (size_t i = 0; i < n; i++) {
		struct json_object *record = json_object_array_get_idx(records, i);
		json_put_bool(record, "incomplete",
			json_int(counts, shelf_set(record), 0) < shelf_set_images(record));
	}
	(void)json_object_put(counts);
}

bool select_may_delete(struct json_object *record, bool force, struct qmpsnap_error *err)
{
	const char *name = json_string(record, "name"), *id = json_string(record, "id");

	if (!name)
		name = "";
	if (json_flag(record, "foreign", true)) {
		error_set(err, QMPSNAP_REFUSED, "image %.200s (%s) belongs to another project",
			name, id);
		error_hint(err, "nothing was deleted; only its owner may");
	} else if (shelf_is_protected(record)) {
		error_set(err, QMPSNAP_REFUSED, "image %.200s (%s) is protected", name, id);
		error_hint(err, "nothing was deleted; take its protection off first");
	} else if (!shelf_is_ours(record) && !force) {
		error_set(
			err, QMPSNAP_REFUSED, "image %.200s (%s) wasn't made by qmpsnap", name, id);
		error_hint(err, "nothing was deleted; --force deletes it all the same");
	} else {
		return true;
	}
	return false;
}

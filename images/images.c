/* SPDX-License-Identifier: Apache-2.0
 *
 * A request about images: what is asked for, the list, then one image after the other. */
#include "images/images.h"

#include "base/error.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct json_object *images_record(const struct qmpsnap_images *op)
{
	return json_object_array_get_idx(op->images, op->at);
}

const char *images_name(struct json_object *record)
{
	static char text[256];
	const char *name = json_string(record, "name");

	(void)snprintf(
		text, sizeof(text), "%.200s (%.36s)", name ? name : "", json_string(record, "id"));
	return text;
}

void images_progress(uint64_t done_bytes, void *data)
{
	const struct qmpsnap_images *op = data;
	struct json_object *record = images_record(op);
	const struct qmpsnap_event event = {.kind = QMPSNAP_EVENT_PROGRESS,
		.disk = json_string(record, "name"),
		.done_bytes = done_bytes,
		.total_bytes = (uint64_t)json_int(record, "size", 0)};

	if (op->event)
		op->event(&event, op->data);
}

void images_fetch(struct qmpsnap_images *op, int fd, store_done_fn *done)
{
	struct qmpsnap_error err;
	const struct fetch_options options = {.loop = op->loop,
		.store = op->store,
		.record = images_record(op),
		.fd = fd,
		.path = op->path[0] ? op->path : NULL,
		.progress = images_progress,
		.done = done,
		.data = op};

	op->fetch = fetch_start(&options, &err);
	if (!op->fetch)
		done(&err, op);
}

/* ---- The end ------------------------------------------------------------------------------ */

static void free_list(char **list, size_t n)
{
	for (size_t i = 0; list && i < n; i++)
		free(list[i]);
	free(list);
}

static void free_images(struct qmpsnap_images *op)
{
	images_restore_free(op);
	temp_drop(&op->temp);
	(void)json_object_put(op->images);
	(void)json_object_put(op->dealt);
	free_list(op->which, op->selection.n_which);
	free_list(op->targets, op->n_targets);
	free(op->guest);
	free(op->set);
	free(op->tag);
	free(op->folder);
	free(op->output);
	free(op->scratch_dir);
	free(op);
}

/* What verify has found is told once it has seen all of them. */
static void sum_up(struct qmpsnap_images *op)
{
	if (op->n_bad == 0 || op->err.code != QMPSNAP_OK)
		return;
	op->err = op->bad;
	if (json_length(op->images) > 1)
		error_wrap(&op->err, "%u of %zu images aren't as they were stored; the first",
			op->n_bad, json_length(op->images));
}

void images_end(struct qmpsnap_images *op, const struct qmpsnap_error *err)
{
	/* A request that was given up ends for that reason, whatever it was doing. */
	if (err && op->err.code == QMPSNAP_OK)
		op->err = *err;
	sum_up(op);
	op->done(op->err.code != QMPSNAP_OK ? &op->err : NULL, json_text(op->dealt), op->data);
	free_images(op);
}

/* ---- One after the other ------------------------------------------------------------------ */

static void do_next(struct qmpsnap_images *op)
{
	static images_fn *const actions[] = {
		[QMPSNAP_IMAGES_DELETE] = images_remove,
		[QMPSNAP_IMAGES_DOWNLOAD] = images_download,
		[QMPSNAP_IMAGES_VERIFY] = images_verify,
	};

	const bool all = op->at >= json_length(op->images);

	if (all) /* what was to be given up has been done */
		op->err = (struct qmpsnap_error){.code = QMPSNAP_OK};
	if (all || op->cancelled)
		images_end(op, NULL);
	else
		actions[op->action](op);
}

static void warn(struct qmpsnap_images *op, const struct qmpsnap_error *err)
{
	const struct qmpsnap_event event = {.kind = QMPSNAP_EVENT_WARNING, .text = err->message};

	if (op->event)
		op->event(&event, op->data);
}

static void on_turn(const struct qmpsnap_error *err, void *self)
{
	(void)err;
	do_next(self);
}

void images_one_done(struct qmpsnap_images *op, const struct qmpsnap_error *err)
{
	if (err && (op->action != QMPSNAP_IMAGES_VERIFY || op->cancelled)) {
		images_end(op, err);
		return;
	}
	if (err) {
		warn(op, err);
		if (op->n_bad++ == 0)
			op->bad = *err;
	} else {
		json_append(op->dealt, json_object_get(images_record(op)));
	}
	op->at++;
	/* A turn of the loop for each: thousands must not pile up on the stack. */
	work_report(&op->work, op->loop, NULL, on_turn, op);
}

/* ---- The list ----------------------------------------------------------------------------- */

static bool check_all(struct qmpsnap_images *op, struct qmpsnap_error *err)
{
	const size_t n = json_length(op->images);

	if (op->output && n > 1)
		return error_set(
			err, QMPSNAP_USAGE, "one file was named, and %zu images are meant", n);
	for (size_t i = 0; op->action == QMPSNAP_IMAGES_DELETE && i < n; i++) {
		if (!select_may_delete(json_object_array_get_idx(op->images, i), op->force, err))
			return false;
	}
	return true;
}

static void listed(const struct qmpsnap_error *err, struct json_object *records, void *data)
{
	struct qmpsnap_images *op = data;
	struct qmpsnap_error mine;

	op->call = NULL;
	if (err || op->cancelled) {
		images_end(op, err);
		return;
	}
	if (op->action == QMPSNAP_IMAGES_LIST)
		select_mark_incomplete(records);
	op->images = select_images(records, &op->selection, &mine);
	if (!op->images || !check_all(op, &mine)) {
		images_end(op, &mine);
	} else if (op->action == QMPSNAP_IMAGES_LIST) {
		(void)json_object_put(op->dealt);
		op->dealt = json_object_get(op->images);
		images_end(op, NULL);
	} else if (op->action == QMPSNAP_IMAGES_RESTORE) {
		images_restore(op);
	} else {
		do_next(op);
	}
}

static void begin(const struct qmpsnap_error *err, void *self)
{
	struct qmpsnap_images *op = self;
	/* One with a tag and one without may be of the same set, which the list judges. */
	const struct shelf_filter filter = {
		.set = op->set, .tag = op->action == QMPSNAP_IMAGES_LIST ? NULL : op->tag};
	struct qmpsnap_error mine;

	(void)err;
	if (op->cancelled) {
		images_end(op, NULL);
		return;
	}
	op->call = op->store->ops->shelf->list(op->store, &filter, listed, op, &mine);
	if (!op->call)
		images_end(op, &mine);
}

/* ---- What is asked for -------------------------------------------------------------------- */

static bool copy(char **to, const char *text, struct qmpsnap_error *err)
{
	return !text || (*to = strdup(text)) || error_no_memory(err);
}

static bool copy_list(
	char ***to, size_t *n_to, const char *const *list, size_t n, struct qmpsnap_error *err)
{
	if (n == 0)
		return true;
	if (!(*to = calloc(n, sizeof(**to))))
		return error_no_memory(err);
	*n_to = n;
	for (size_t i = 0; i < n; i++) {
		if (!copy(&(*to)[i], list[i], err))
			return false;
	}
	return true;
}

/* What acts on images wants to be told on which. */
static bool check_choice(const struct qmpsnap_images_options *o, struct qmpsnap_error *err)
{
	if (o->action == QMPSNAP_IMAGES_LIST || o->action == QMPSNAP_IMAGES_VERIFY || o->n_which ||
		(o->action != QMPSNAP_IMAGES_RESTORE &&
			(o->guest || o->set || o->tag || o->since || o->before)) ||
		(o->action == QMPSNAP_IMAGES_RESTORE && o->set))
		return true;
	error_set(err, QMPSNAP_USAGE, "no image was named");
	error_hint(err, "the id of an image or a set, or a name: 'qmpsnap images list' shows them");
	return false;
}

static bool take_selection(struct qmpsnap_images *op, const struct qmpsnap_images_options *o,
	struct qmpsnap_error *err)
{
	struct selection *s = &op->selection;
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (!check_choice(o, err) ||
		!copy_list(&op->which, &s->n_which, o->which, o->n_which, err) ||
		!copy(&op->guest, o->guest, err) || !copy(&op->set, o->set, err) ||
		!copy(&op->tag, o->tag, err) ||
		(o->since && !select_time(s->since, o->since, &now, err)) ||
		(o->before && !select_time(s->before, o->before, &now, err)))
		return false;
	s->which = (const char *const *)op->which;
	s->guest = op->guest;
	s->set = op->set;
	s->tag = op->tag;
	s->all = o->all;
	s->one_set = o->action != QMPSNAP_IMAGES_LIST && o->action != QMPSNAP_IMAGES_VERIFY;
	return true;
}

static bool take_options(struct qmpsnap_images *op, const struct qmpsnap_images_options *o,
	struct qmpsnap_error *err)
{
	const char *scratch = o->scratch_dir ? o->scratch_dir : getenv("TMPDIR");

	op->action = o->action;
	op->force = o->force;
	op->deep = o->deep;
	op->format = o->format;
	return take_selection(op, o, err) &&
	       copy_list(&op->targets, &op->n_targets, o->targets, o->n_targets, err) &&
	       copy(&op->folder, o->folder ? o->folder : ".", err) &&
	       copy(&op->output, o->output, err) &&
	       copy(&op->scratch_dir, scratch && scratch[0] ? scratch : "/var/tmp", err);
}

struct qmpsnap_images *qmpsnap_images_start(struct uv_loop_s *loop,
	const struct qmpsnap_images_options *options, struct qmpsnap_store *store,
	qmpsnap_event_fn *event, qmpsnap_images_fn *done, void *data, struct qmpsnap_error *err)
{
	struct qmpsnap_images *op;

	if (!store->ops->shelf) {
		error_set(err, QMPSNAP_USAGE, "the store %s: keeps no list of images",
			store->ops->kind);
		error_hint(err, "its images are for others to look after; the stores that do are "
				"dir:, glance:, s3: and swift:");
		return NULL;
	}
	if (!(op = calloc(1, sizeof(*op)))) {
		error_no_memory(err);
		return NULL;
	}
	op->loop = loop;
	op->store = store;
	op->event = event;
	op->done = done;
	op->data = data;
	op->temp = TEMP_NONE;
	op->dealt = json_object_new_array();
	if (op->dealt ? !take_options(op, options, err) : !error_no_memory(err)) {
		free_images(op);
		return NULL;
	}
	work_report(&op->work, loop, NULL, begin, op);
	return op;
}

void qmpsnap_images_cancel(struct qmpsnap_images *images, enum qmpsnap_code code)
{
	if (images->cancelled)
		return;
	images->cancelled = true;
	error_set(&images->err, code, "given up on request%s",
		code == QMPSNAP_INTERRUPTED ? " (interrupt)" : "");
	if (images->call)
		images->call->ops->stop(images->call);
	if (images->fetch)
		fetch_stop(images->fetch);
	if (images->program)
		program_kill(images->program);
}

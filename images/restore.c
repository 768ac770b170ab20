/* SPDX-License-Identifier: Apache-2.0
 *
 * A set of images back onto its disks.  First all targets are looked at, then all images are
 * fetched and found right, and converted where need be.  When all the new files are on their disks,
 * block devices are written to; when these are, too, the files take their places, one right after
 * the other, by nothing but a rename. */
#include "base/error.h"
#include "base/json.h"
#include "base/names.h"
#include "images/images.h"
#include "images/target.h"

#include <stdlib.h>
#include <string.h>

void images_restore_free(struct qmpsnap_images *op)
{
	for (size_t i = 0; i < op->n_restoring; i++)
		target_drop(&op->restoring[i]);
	free(op->restoring);
}

static struct target *current(const struct qmpsnap_images *op)
{
	return &op->restoring[op->at];
}

static bool all_done(const struct qmpsnap_images *op)
{
	return op->at >= op->n_restoring;
}

/* What isn't any more what it was, for whoever has to put it right. */
static void name_touched(const struct qmpsnap_images *op, struct qmpsnap_error *err)
{
	char names[sizeof(err->hint) - 64] = "";
	size_t used = 0;

	for (size_t i = 0; i < op->n_restoring; i++) {
		const struct target *t = &op->restoring[i];
		if (!t->touched || used >= sizeof(names))
			continue;
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s%s",
			used ? ", " : "", t->path,
			t->is_device ? " (written over, perhaps in part)" : " (replaced)");
	}
	if (used)
		error_hint(err, "no longer what it was: %s; all else is untouched", names);
}

static void end(struct qmpsnap_images *op, const struct qmpsnap_error *err)
{
	if (op->err.code == QMPSNAP_OK && err)
		op->err = *err;
	if (op->err.code != QMPSNAP_OK)
		name_touched(op, &op->err);
	images_end(op, NULL);
}

/* Whether it is over, by an error or a cancel. */
static bool is_over(struct qmpsnap_images *op, const struct qmpsnap_error *err)
{
	if (!err && !op->cancelled)
		return false;
	end(op, err);
	return true;
}

/* ---- The files take their places ---------------------------------------------------------- */

static bool settle_all(struct qmpsnap_images *op, bool devices, struct qmpsnap_error *err)
{
	for (size_t i = 0; i < op->n_restoring; i++) {
		struct target *t = &op->restoring[i];
		if (t->is_device == devices && !target_settle(t, err))
			return false;
	}
	return true;
}

static bool check_all(struct qmpsnap_images *op, struct qmpsnap_error *err)
{
	for (size_t i = 0; i < op->n_restoring; i++) {
		if (!target_check(&op->restoring[i], err))
			return false;
	}
	return true;
}

static void place_all(void *self, struct qmpsnap_error *err)
{
	struct qmpsnap_images *op = self;

	for (size_t i = 0; i < op->n_restoring; i++) {
		if (!target_place(&op->restoring[i], err))
			return;
	}
	for (size_t i = 0; i < op->n_restoring; i++)
		target_placed(&op->restoring[i]);
}

/* It can't be given up meanwhile: it is done, or failed for a reason of its own. */
static void placed(const struct qmpsnap_error *err, void *self)
{
	struct qmpsnap_images *op = self;

	op->err = (struct qmpsnap_error){.code = QMPSNAP_OK};
	for (size_t i = 0; !err && i < op->n_restoring; i++) {
		struct json_object *record = json_object_array_get_idx(op->images, i);
		json_put_string(record, "path", op->restoring[i].path);
		json_append(op->dealt, json_object_get(record));
	}
	end(op, err);
}

static void settle_devices(void *self, struct qmpsnap_error *err)
{
	(void)(settle_all(self, true, err) && check_all(self, err));
}

static void devices_settled(const struct qmpsnap_error *err, void *self)
{
	struct qmpsnap_images *op = self;

	if (!is_over(op, err))
		work_start(&op->work, op->loop, place_all, placed, op);
}

/* ---- Conversion --------------------------------------------------------------------------- */

static void convert_next(struct qmpsnap_images *op);

static void converted(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_images *op = data;

	op->program = NULL;
	if (is_over(op, err))
		return;
	temp_drop(&current(op)->spool);
	op->at++;
	convert_next(op);
}

/* The source's format is said, never probed. */
static bool convert(struct qmpsnap_images *op, struct qmpsnap_error *err)
{
	const struct target *t = current(op);
	struct json_object *record = images_record(op);
	char *argv[12] = {"qemu-img", "convert", "-f",
		shelf_says(record, "disk_format", "raw") ? "raw" : "qcow2", "-O",
		(char *)name_format(t->format)};
	char what[320];
	size_t n = 6;
	const int64_t size = json_int(record, "virtual_size", 0);
	const struct program_options options = {.loop = op->loop,
		.argv = argv,
		.in_fd = t->spool.fd,
		.out_fd = t->is_device ? t->device_fd : t->file.fd,
		.work_bytes = size > 0 ? (uint64_t)size : 0,
		.what = what,
		.done = converted,
		.data = op};

	if (t->is_device)
		argv[n++] = "-n"; /* it needn't be made */
	argv[n++] = PROGRAM_IN;
	argv[n] = PROGRAM_OUT;
	(void)snprintf(what, sizeof(what), "putting image %s back", images_name(record));
	op->program = program_start(&options, err);
	current(op)->touched = t->is_device && op->program;
	return op->program != NULL;
}

static void check_target(void *self, struct qmpsnap_error *err)
{
	(void)target_check(current(self), err);
}

static void target_checked(const struct qmpsnap_error *err, void *self)
{
	struct qmpsnap_images *op = self;
	struct qmpsnap_error mine;

	if (!is_over(op, err) && !convert(op, &mine))
		end(op, &mine);
}

static void settle_files(void *self, struct qmpsnap_error *err)
{
	(void)(settle_all(self, false, err) && check_all(self, err));
}

static void files_settled(const struct qmpsnap_error *err, void *self)
{
	struct qmpsnap_images *op = self;

	if (is_over(op, err))
		return;
	op->onto_devices = true;
	op->at = 0;
	convert_next(op);
}

/* Files first: until all of them are ready, no device is written to. */
static void convert_next(struct qmpsnap_images *op)
{
	while (!all_done(op) &&
		(!current(op)->converts || current(op)->is_device != op->onto_devices))
		op->at++;
	if (!all_done(op))
		work_start(&op->work, op->loop, check_target, target_checked, op);
	else if (!op->onto_devices)
		work_start(&op->work, op->loop, settle_files, files_settled, op);
	else
		work_start(&op->work, op->loop, settle_devices, devices_settled, op);
}

/* ---- Bytes -------------------------------------------------------------------------------- */

static void fetch_next(struct qmpsnap_images *op);

static void fetched(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_images *op = data;

	op->fetch = NULL;
	if (is_over(op, err))
		return;
	op->at++;
	fetch_next(op);
}

static void fetch_next(struct qmpsnap_images *op)
{
	if (!all_done(op)) {
		(void)snprintf(op->path, sizeof(op->path), "%s", current(op)->path);
		images_fetch(op, target_first_fd(current(op)), fetched);
		return;
	}
	op->at = 0;
	convert_next(op);
}

/* ---- Targets ------------------------------------------------------------------------------ */

/* "DISK=PATH" for this disk; for a single image also "PATH".  NULL: none. */
static const char *path_for(const struct qmpsnap_images *op, struct json_object *record, bool *used)
{
	const char *disk = shelf_own(record, "qmpsnap_disk");
	const size_t len = disk ? strlen(disk) : 0;

	for (size_t i = 0; i < op->n_targets; i++) {
		const char *target = op->targets[i];
		const bool for_it = disk && strncmp(target, disk, len) == 0 && target[len] == '=';
		if (!for_it && !(json_length(op->images) == 1 && op->n_targets == 1))
			continue;
		used[i] = true;
		return target + (for_it ? len + 1 : 0);
	}
	return NULL;
}

/* "raw:PATH", "qcow2:PATH" */
static const char *take_format(const char *path, enum qmpsnap_format *format)
{
	static const enum qmpsnap_format formats[] = {QMPSNAP_RAW, QMPSNAP_QCOW2};

	for (size_t i = 0; path && i < 2; i++) {
		const size_t len = strlen(name_format(formats[i]));
		if (strncmp(path, name_format(formats[i]), len) != 0 || path[len] != ':')
			continue;
		*format = formats[i];
		return path + len + 1;
	}
	return path;
}

static bool check_path(const struct qmpsnap_images *op, const char *path,
	struct json_object *record, struct qmpsnap_error *err)
{
	const char *disk = shelf_own(record, "qmpsnap_disk");

	if (path)
		return true;
	error_set(err, QMPSNAP_USAGE, "nothing says where disk %.64s of the set goes",
		disk ? disk : "?");
	error_hint(err,
		"--target %.64s=PATH; or name a single image of the set by its id (%zu "
		"images are meant)",
		disk ? disk : "DISK", json_length(op->images));
	return false;
}

static bool check_used(const struct qmpsnap_images *op, const bool *used, struct qmpsnap_error *err)
{
	for (size_t i = 0; i < op->n_targets; i++) {
		if (!used[i])
			return error_set(err, QMPSNAP_USAGE,
				"--target %.200s: no image of such a disk is meant",
				op->targets[i]);
		for (size_t j = 0; j < i; j++) {
			if (strcmp(op->restoring[i].path, op->restoring[j].path) == 0)
				return error_set(err, QMPSNAP_USAGE, "two images go to %s",
					op->restoring[i].path);
		}
	}
	return true;
}

static bool open_all(struct qmpsnap_images *op, bool *used, struct qmpsnap_error *err)
{
	for (size_t i = 0; i < op->n_restoring; i++) {
		struct json_object *record = json_object_array_get_idx(op->images, i);
		struct target_wish wish = {.path = path_for(op, record, used),
			.record = record,
			.format = op->format,
			.force = op->force,
			.scratch_dir = op->scratch_dir};
		wish.path = take_format(wish.path, &wish.format);
		if (!check_path(op, wish.path, record, err) ||
			!target_open(&op->restoring[i], &wish, err))
			return false;
	}
	return check_used(op, used, err);
}

static void open_targets(void *self, struct qmpsnap_error *err)
{
	struct qmpsnap_images *op = self;
	bool *used = calloc(op->n_targets + 1, sizeof(*used));

	if (!used)
		error_no_memory(err);
	else
		(void)open_all(op, used, err);
	free(used);
}

static void targets_opened(const struct qmpsnap_error *err, void *self)
{
	struct qmpsnap_images *op = self;

	if (!is_over(op, err))
		fetch_next(op);
}

/* A set is meant whole; who wants what is there of it names the images. */
static bool check_set(const struct qmpsnap_images *op, struct qmpsnap_error *err)
{
	const size_t n = json_length(op->images);
	const char *set = n ? shelf_set(json_object_array_get_idx(op->images, 0)) : "";
	bool named = true;
	unsigned of = 0;

	for (size_t i = 0; i < n; i++) {
		struct json_object *record = json_object_array_get_idx(op->images, i);
		if (strcmp(shelf_set(record), set) != 0)
			return error_set(err, QMPSNAP_USAGE,
				"the images that are meant belong to several sets");
		named = named && select_names_image(&op->selection, record);
		if (shelf_set_images(record) > of)
			of = shelf_set_images(record);
	}
	if (named || n >= of)
		return true;
	error_set(err, QMPSNAP_REFUSED, "of the %u images of set %.36s only %zu are there", of, set,
		n);
	error_hint(err, "nothing was touched; an image that is named by its id goes back alone");
	return false;
}

void images_restore(struct qmpsnap_images *op)
{
	const size_t n = json_length(op->images);
	struct qmpsnap_error err;

	if (!check_set(op, &err)) {
		images_end(op, &err);
		return;
	}
	op->restoring = n ? calloc(n, sizeof(*op->restoring)) : NULL;
	if (!op->restoring) {
		if (n)
			error_no_memory(&err);
		else
			error_set(&err, QMPSNAP_STORE, "there is no such image");
		images_end(op, &err);
		return;
	}
	op->n_restoring = n;
	for (size_t i = 0; i < n; i++)
		target_init(&op->restoring[i]);
	work_start(&op->work, op->loop, open_targets, targets_opened, op);
}

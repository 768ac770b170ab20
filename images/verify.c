/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether an image is what was stored: by what the store says, or by all its bytes. */
#include "base/error.h"
#include "base/json.h"
#include "images/images.h"

static void end(struct qmpsnap_images *op, const struct qmpsnap_error *err)
{
	const struct qmpsnap_error mine = err ? *err : (struct qmpsnap_error){.code = QMPSNAP_OK};

	temp_drop(&op->temp);
	images_one_done(op, err ? &mine : NULL);
}

static void checked(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_images *op = data;

	op->program = NULL;
	end(op, err);
}

static void check(struct qmpsnap_images *op)
{
	char *argv[] = {"qemu-img", "check", "-q", "-f", "qcow2", PROGRAM_IN, NULL};
	struct json_object *record = images_record(op);
	char what[320];
	struct qmpsnap_error err;
	const struct program_options options = {.loop = op->loop,
		.argv = argv,
		.in_fd = op->temp.fd,
		.out_fd = -1,
		.work_bytes = (uint64_t)json_int(record, "size", 0),
		.what = what,
		.done = checked,
		.data = op};

	(void)snprintf(what, sizeof(what), "checking image %s", images_name(record));
	op->program = program_start(&options, &err);
	if (!op->program)
		end(op, &err);
}

static void fetched(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_images *op = data;

	op->fetch = NULL;
	/* qemu-img check knows nothing to check in raw images, and others may name files. */
	if (!err && !op->cancelled && op->deep &&
		shelf_says(images_record(op), "disk_format", "qcow2"))
		check(op);
	else
		end(op, err);
}

static void open_temp(void *self, struct qmpsnap_error *err)
{
	struct qmpsnap_images *op = self;
	(void)snprintf(op->path, sizeof(op->path), "a temporary file in %.512s", op->scratch_dir);
	(void)temp_open_random(&op->temp, op->scratch_dir, "qmpsnap", err);
}

static void temp_opened(const struct qmpsnap_error *err, void *self)
{
	struct qmpsnap_images *op = self;

	if (err || op->cancelled)
		end(op, err ? err : &op->err);
	else
		images_fetch(op, op->temp.fd, fetched);
}

static void compared(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_images *op = data;

	op->call = NULL;
	end(op, err);
}

/* Whether the record is of a good image. */
static bool check_record(struct json_object *record, struct qmpsnap_error *err)
{
	const char *algorithm, *hex, *name = images_name(record);

	if (!shelf_is_published(record) &&
		(shelf_is_ours(record) || !shelf_says(record, "status", "active")))
		return error_set(err, QMPSNAP_STORE, "image %s was never published", name);
	if (json_int(record, "size", -1) < 0)
		return error_set(err, QMPSNAP_STORE, "image %s has no bytes", name);
	return fetch_digest(record, &algorithm, &hex) ||
	       error_set(err, QMPSNAP_STORE, "image %s: the store gives no digest", name);
}

void images_verify(struct qmpsnap_images *op)
{
	const struct shelf_ops *shelf = op->store->ops->shelf;
	struct qmpsnap_error err;

	op->path[0] = '\0';
	if (check_record(images_record(op), &err)) {
		if (op->deep) {
			work_start(&op->work, op->loop, open_temp, temp_opened, op);
			return;
		}
		if (shelf->is_local) {
			images_fetch(op, -1, fetched);
			return;
		}
		op->call = shelf->check(op->store, images_record(op), compared, op, &err);
		if (op->call)
			return;
	}
	images_one_done(op, &err);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * An image into a file of its own: under another name until it is whole and right. */
#include "base/error.h"
#include "base/json.h"
#include "base/names.h"
#include "images/images.h"
#include "upload/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Splits what the file is called into folder and name. */
static bool place(const struct qmpsnap_images *op, char *folder, size_t size, const char **name,
	struct qmpsnap_error *err)
{
	const char *slash = strrchr(op->path, '/');

	(void)snprintf(folder, size, "%.*s", slash ? (int)(slash - op->path) : 0, op->path);
	if (!slash)
		(void)snprintf(folder, size, ".");
	else if (slash == op->path)
		(void)snprintf(folder, size, "/");
	*name = slash ? slash + 1 : op->path;
	return ((*name)[0] && strlen(*name) <= NAME_MAX) ||
	       error_set(err, QMPSNAP_USAGE, "'%s' is no name for a file", op->path);
}

static void open_file(void *self, struct qmpsnap_error *err)
{
	struct qmpsnap_images *op = self;
	char folder[PATH_MAX];
	const char *name;
	struct stat st;

	if (!place(op, folder, sizeof(folder), &name, err))
		return;
	if (lstat(op->path, &st) == 0 && !(op->force && S_ISREG(st.st_mode))) {
		error_set(err, QMPSNAP_REFUSED, "%s exists", op->path);
		error_hint(err, "choose another path, or replace the file with --force");
		return;
	}
	if (temp_open_random(&op->temp, folder, name, err))
		(void)writer_reserve(op->temp.fd, (uint64_t)json_int(images_record(op), "size", 0),
			true, op->path, err);
}

static void link_file(void *self, struct qmpsnap_error *err)
{
	struct qmpsnap_images *op = self;
	const char *slash = strrchr(op->path, '/');

	if (temp_link(&op->temp, slash ? slash + 1 : op->path, op->force, err))
		(void)fsync(op->temp.folder_fd); /* where it can be; the file itself is synced */
	temp_drop(&op->temp);
}

static void linked(const struct qmpsnap_error *err, void *self)
{
	struct qmpsnap_images *op = self;

	if (!err)
		json_put_string(images_record(op), "path", op->path);
	images_one_done(op, err);
}

static void dropped(const struct qmpsnap_error *err, struct qmpsnap_images *op)
{
	const struct qmpsnap_error mine = *err;

	temp_drop(&op->temp);
	images_one_done(op, &mine);
}

static void fetched(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_images *op = data;

	op->fetch = NULL;
	if (err)
		dropped(err, op);
	else
		work_start(&op->work, op->loop, link_file, linked, op);
}

static void opened(const struct qmpsnap_error *err, void *self)
{
	struct qmpsnap_images *op = self;

	if (err || op->cancelled)
		dropped(err ? err : &op->err, op);
	else
		images_fetch(op, op->temp.fd, fetched);
}

void images_download(struct qmpsnap_images *op)
{
	struct json_object *record = images_record(op);
	const char *name = json_string(record, "name"),
		   *format = json_string(record, "disk_format");
	char stem[NAME_FILE_BYTES], end[16];

	name_for_file(stem, name ? name : "image");
	(void)snprintf(end, sizeof(end), "%.15s", format ? format : "img");
	if (strspn(end, "abcdefghijklmnopqrstuvwxyz0123456789") != strlen(end))
		(void)snprintf(end, sizeof(end), "img");
	if (op->output)
		(void)snprintf(op->path, sizeof(op->path), "%s", op->output);
	else
		(void)snprintf(op->path, sizeof(op->path), "%s/%s-%.36s.%s", op->folder, stem,
			json_string(record, "id"), end);
	work_start(&op->work, op->loop, open_file, opened, op);
}

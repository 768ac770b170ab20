/* SPDX-License-Identifier: Apache-2.0
 *
 * What stands in a folder: each JSON file of ours with its image beside it. */
#include "upload/dir.h"

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "upload/record.h"
#include "upload/work.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { JSON_BYTES = 1 << 20, JSON_DEPTH = 32, READ_BYTES = SHELF_PIECE_BYTES };

struct shelf {
	struct shelf_call base;
	struct dir_store *store;
	struct work work;
	char path[LOCAL_FOLDER_BYTES + NAME_MAX + 2]; /* of the image */
	bool stopped;
	void *data;

	/* list */
	shelf_listed_fn *listed;
	struct json_object *records;
	unsigned n_skipped;
	char skipped[NAME_MAX + 1]; /* the first of them */

	/* fetch, remove */
	store_done_fn *done;
	struct shelf_sink *sink;
	char *bytes;
	size_t n_bytes;
	int fd;
	bool full; /* the sink is, or work is under way */
};

static struct shelf *new_shelf(struct qmpsnap_store *store, struct json_object *record, void *data,
	struct qmpsnap_error *err)
{
	struct shelf *s = calloc(1, sizeof(*s));

	if (!s) {
		error_no_memory(err);
		return NULL;
	}
	s->base.ops = &dir_shelf;
	s->store = (struct dir_store *)store;
	s->fd = -1;
	s->data = data;
	if (record)
		(void)snprintf(s->path, sizeof(s->path), "%s", json_string(record, "location"));
	return s;
}

/* ---- The list ----------------------------------------------------------------------------- */

/* A small regular file, whole; to be freed.  NULL: it isn't one. */
static char *read_small(int folder_fd, const char *name)
{
	const int fd = openat(folder_fd, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	char *text = NULL;
	struct stat st;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= JSON_BYTES)
		text = calloc(1, (size_t)st.st_size + 1);
	if (text && read(fd, text, (size_t)st.st_size) != (ssize_t)st.st_size) {
		free(text);
		text = NULL;
	}
	(void)close(fd);
	return text;
}

static struct json_object *parse(const char *text)
{
	const size_t len = strlen(text);
	struct json_tokener *parser =
		json_is_bounded(text, len) ? json_tokener_new_ex(JSON_DEPTH) : NULL;
	struct json_object *json;

	if (!parser)
		return NULL;
	json = json_tokener_parse_ex(parser, text, (int)len);
	json_tokener_free(parser);
	if (json_object_is_type(json, json_type_object))
		return json;
	(void)json_object_put(json);
	return NULL;
}

static bool add_location(
	struct json_object *record, int folder_fd, const char *folder, const char *json_name)
{
	char file[RECORD_FILE_BYTES], location[LOCAL_FOLDER_BYTES + RECORD_FILE_BYTES];
	struct stat st;

	if (!record_data_file(record, json_name, file) ||
		fstatat(folder_fd, file, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
		return false;
	(void)snprintf(location, sizeof(location), "%s/%s", folder, file);
	json_put_string(record, "location", location);
	json_put_bool(record, "foreign", false);
	return true;
}

static void take_entry(struct shelf *s, int folder_fd, const char *name)
{
	const size_t len = strlen(name);
	char *text;
	struct json_object *record;

	if (name[0] == '.' || len < strlen(".json") || strcmp(name + len - 5, ".json") != 0)
		return;
	text = read_small(folder_fd, name);
	record = text ? parse(text) : NULL;
	free(text);
	if (record && add_location(record, folder_fd, s->store->folder, name)) {
		json_append(s->records, record);
		return;
	}
	(void)json_object_put(record);
	if (s->n_skipped++ == 0)
		(void)snprintf(s->skipped, sizeof(s->skipped), "%s", name);
}

static void read_folder(void *self, struct qmpsnap_error *err)
{
	struct shelf *s = self;
	DIR *folder = opendir(s->store->folder);
	const struct dirent *entry;

	if (!folder) {
		/* Nothing was ever stored in it. */
		if (errno != ENOENT)
			error_errno(err, QMPSNAP_STORE, errno, "the folder %s", s->store->folder);
		return;
	}
	errno = 0;
	while ((entry = readdir(folder)))
		take_entry(s, dirfd(folder), entry->d_name);
	(void)closedir(folder);
}

static void folder_read(const struct qmpsnap_error *err, void *self)
{
	struct shelf *s = self;

	if (s->n_skipped)
		log_line(QMPSNAP_LOG_INFO, "%s: %u JSON files belong to no image, the first is %s",
			s->store->folder, s->n_skipped, s->skipped);
	s->listed(err, err ? NULL : s->records, s->data);
	(void)json_object_put(s->records);
	free(s);
}

static struct shelf_call *list(struct qmpsnap_store *store, const struct shelf_filter *filter,
	shelf_listed_fn *done, void *data, struct qmpsnap_error *err)
{
	struct shelf *s = new_shelf(store, NULL, data, err);

	(void)filter;
	if (!s)
		return NULL;
	s->listed = done;
	s->records = json_object_new_array();
	if (!s->records) {
		free(s);
		error_no_memory(err);
		return NULL;
	}
	work_start(&s->work, s->store->loop, read_folder, folder_read, s);
	return &s->base;
}

/* ---- Bytes -------------------------------------------------------------------------------- */

static void end(const struct qmpsnap_error *err, void *self)
{
	struct shelf *s = self;

	if (s->fd >= 0)
		(void)close(s->fd);
	s->done(err, s->data);
	free(s->bytes);
	free(s);
}

/* It was a regular file when the list was made; a FIFO would be waited for. */
static bool open_image(struct shelf *s, struct qmpsnap_error *err)
{
	struct stat st;

	s->fd = open(s->path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (s->fd < 0 || fstat(s->fd, &st) != 0)
		return error_errno(err, QMPSNAP_STORE, errno, "opening %s", s->path);
	return S_ISREG(st.st_mode) ||
	       error_set(err, QMPSNAP_STORE, "%s is not a regular file", s->path);
}

static void read_piece(void *self, struct qmpsnap_error *err)
{
	struct shelf *s = self;
	ssize_t n;

	if (s->fd < 0 && !open_image(s, err))
		return;
	do
		n = read(s->fd, s->bytes, READ_BYTES);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		error_errno(err, QMPSNAP_STORE, errno, "reading %s", s->path);
	s->n_bytes = n > 0 ? (size_t)n : 0;
}

static void piece_read(const struct qmpsnap_error *err, void *self);

static void give(struct shelf *s)
{
	s->full = !s->sink->take(s->sink, s->bytes, s->n_bytes);
	if (s->full && s->stopped) { /* the sink gave up from within */
		s->full = false;
		work_report(&s->work, s->store->loop, NULL, piece_read, s);
	} else if (!s->full) {
		work_start(&s->work, s->store->loop, read_piece, piece_read, s);
	}
}

static void piece_read(const struct qmpsnap_error *err, void *self)
{
	struct shelf *s = self;
	struct qmpsnap_error stopped;

	if (!err && s->stopped) {
		error_set(&stopped, QMPSNAP_STORE, "reading %s was stopped", s->path);
		err = &stopped;
	}
	if (err || s->n_bytes == 0)
		end(err, s);
	else
		give(s);
}

static void resume(struct shelf_call *call)
{
	struct shelf *s = (struct shelf *)call;

	if (s->full && !s->stopped)
		give(s);
}

static void stop(struct shelf_call *call)
{
	struct shelf *s = (struct shelf *)call;

	if (s->stopped)
		return;
	s->stopped = true;
	if (s->full) {
		s->full = false;
		work_report(&s->work, s->store->loop, NULL, piece_read, s);
	}
}

static struct shelf_call *fetch(struct qmpsnap_store *store, struct json_object *record,
	struct shelf_sink *sink, store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct shelf *s = new_shelf(store, record, data, err);

	if (!s)
		return NULL;
	s->bytes = malloc(READ_BYTES);
	if (!s->bytes) {
		free(s);
		error_no_memory(err);
		return NULL;
	}
	s->done = done;
	s->sink = sink;
	work_start(&s->work, s->store->loop, read_piece, piece_read, s);
	return &s->base;
}

/* ---- Removal ------------------------------------------------------------------------------ */

static void unlink_both(void *self, struct qmpsnap_error *err)
{
	const struct shelf *s = self;
	const struct local_mark unknown = {.set = false};
	const char *file = s->path + strlen(s->store->folder) + 1;
	struct local_names names = {.make_folder = false};

	(void)snprintf(names.folder, sizeof(names.folder), "%s", s->store->folder);
	(void)snprintf(names.file, sizeof(names.file), "%s", file);
	(void)snprintf(names.json, sizeof(names.json), "%.*s.json",
		(int)(strrchr(file, '.') - file), file);
	(void)local_remove(&names, &unknown, err);
}

static struct shelf_call *remove_image(struct qmpsnap_store *store, struct json_object *record,
	store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct shelf *s = new_shelf(store, record, data, err);

	if (!s)
		return NULL;
	s->done = done;
	work_start(&s->work, s->store->loop, unlink_both, end, s);
	return &s->base;
}

const struct shelf_ops dir_shelf = {
	.is_local = true,
	.list = list,
	.fetch = fetch,
	.remove = remove_image,
	.resume = resume,
	.stop = stop,
};

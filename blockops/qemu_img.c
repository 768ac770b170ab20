/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/qemu_img.h"

#include "base/names.h"
#include "blockops/image_lock.h"
#include "blockops/room_watch.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_ARGUMENTS = 16 };

struct qemu_img {
	struct child *child;
	const struct source *source;
	const char *disk;
	const char *program;
	uint64_t most_bytes; /* of the file it writes; 0: any */
	qemu_img_progress_fn *progress;
	qemu_img_done_fn *done;
	qemu_img_info_fn *info;
	void *data;
};

/* ---- What it says ---- */

/* Appends `text`, cut at what fits. */
static void append(char *line, size_t line_bytes, const char *text, size_t len)
{
	const size_t used = strlen(line), room = line_bytes - 1 - used;

	memcpy(line + used, text, len < room ? len : room);
	line[used + (len < room ? len : room)] = '\0';
}

/* The file that stands at `text` as "/proc/self/fd/N", and how long that is; NULL: none. */
static const char *file_at(const struct source *source, const char *text, size_t *len)
{
	static const char prefix[] = "/proc/self/fd/";
	char *end;

	if (strncmp(text, prefix, sizeof(prefix) - 1) != 0)
		return NULL;
	const unsigned long n = strtoul(text + sizeof(prefix) - 1, &end, 10);
	if (n < SOURCE_FIRST_FD || n - SOURCE_FIRST_FD >= source->n_files)
		return NULL;
	*len = (size_t)(end - text);
	return source->paths[n - SOURCE_FIRST_FD];
}

void qemu_img_explain(
	const struct source *source, const char *errors, char *line, size_t line_bytes)
{
	const char *colon = strstr(errors, ": ");
	const char *const names[] = {source->name, source->bare_name};

	line[0] = '\0';
	/* "qemu-img: ", "qemu-nbd: " */
	if (colon && strncmp(errors, "qemu-", 5) == 0)
		errors = colon + 2;
	while (*errors && strlen(line) < line_bytes - 1) {
		size_t len = 1;
		const char *file = file_at(source, errors, &len);

		for (size_t i = 0; i < 2 && !file; i++) {
			if (strncmp(errors, names[i], strlen(names[i])) != 0)
				continue;
			file = source->n_files ? source->paths[0] : "";
			len = strlen(names[i]);
		}
		if (file)
			append(line, line_bytes, file, strlen(file));
		else if (*errors == '\n')
			append(line, line_bytes, errors[1] ? "; " : "", errors[1] ? 2 : 0);
		else
			append(line, line_bytes, iscntrl((unsigned char)*errors) ? " " : errors, 1);
		errors += len;
	}
}

static void fail(const struct qemu_img *img, const struct child_end *end, struct qmpsnap_error *err)
{
	char line[384];

	qemu_img_explain(img->source, end->errors, line, sizeof(line));
	if (strstr(line, "Failed to get ") && strstr(line, " lock")) {
		error_set(err, QMPSNAP_REFUSED, "%s is in use: %s", img->disk, line);
		image_lock_hint(err);
	} else if (img->most_bytes && strstr(line, "File too large")) {
		(void)room_watch_refuse(img->disk, img->most_bytes, err);
	} else if (strstr(line, "No space left")) {
		error_set(err, QMPSNAP_VIEW, "disk %s: its copy has no room: %s", img->disk, line);
		error_hint(err, "name a roomier folder with --scratch, or raise --scratch-limit");
	} else if (!line[0] && WIFSIGNALED(end->status)) {
		error_set(err, QMPSNAP_QEMU, "disk %s: %s was ended by signal %d", img->disk,
			img->program, WTERMSIG(end->status));
	} else {
		error_set(err, QMPSNAP_QEMU, "disk %s: %s: %s", img->disk, img->program,
			line[0] ? line : "it failed without a word");
	}
}

static void take_info(struct qemu_img *img, const struct child_end *end, struct qmpsnap_error *err)
{
	struct json_object *info = NULL;

	if (err->code == QMPSNAP_OK && !(info = json_tokener_parse(end->output)))
		error_set(err, QMPSNAP_QEMU, "disk %s: qemu-img says no JSON", img->disk);
	img->info(err->code != QMPSNAP_OK ? err : NULL, info, img->data);
	json_object_put(info);
}

static void on_ended(const struct child_end *end, void *data)
{
	struct qemu_img *img = data;
	struct qmpsnap_error err = {0};

	/* Who serves has no good end. */
	if (end->status != 0 || (!img->info && !img->progress && end->errors[0]))
		fail(img, end, &err);
	if (img->info)
		take_info(img, end, &err);
	else
		img->done(err.code != QMPSNAP_OK ? &err : NULL, img->data);
	free(img);
}

/* "    (12.34/100%)" */
static void on_line(const char *line, void *data)
{
	const struct qemu_img *img = data;
	const char *open = strchr(line, '(');
	char *end;

	if (!open || !img->progress)
		return;
	const double percent = strtod(open + 1, &end);
	if (*end == '/' && percent >= 0 && percent <= 100)
		img->progress(percent, img->data);
}

/* ---- Running it ---- */

/* .fds[0] becomes the child's 3, the source's files those behind it. */
static bool start(struct qemu_img *img, uv_loop_t *loop, const struct child_options *some,
	struct qmpsnap_error *err)
{
	int fds[1 + SOURCE_MAX_FILES] = {some->fds[0]};
	struct child_options options = *some;

	memcpy(fds + 1, img->source->fds, img->source->n_files * sizeof(int));
	options.fds = fds;
	options.n_fds = 1 + img->source->n_files;
	options.line = img->info ? NULL : on_line;
	options.ended = on_ended;
	options.data = img;
	img->program = options.argv[0];
	img->child = child_start(loop, &options, err);
	if (img->child)
		return true;
	if (err->detail == ENOENT)
		error_hint(err, "install qemu-img and qemu-nbd: the package qemu-utils, on other "
				"systems qemu-img");
	return false;
}

static struct qemu_img *new_img(
	const struct source *source, const char *disk, void *data, struct qmpsnap_error *err)
{
	struct qemu_img *img = calloc(1, sizeof(*img));

	if (!img) {
		error_no_memory(err);
		return NULL;
	}
	img->source = source;
	img->disk = disk;
	img->data = data;
	return img;
}

static void no_progress(double percent, void *data)
{
	(void)percent;
	(void)data;
}

struct qemu_img *qemu_img_convert(
	uv_loop_t *loop, const struct qemu_img_copy *copy, struct qmpsnap_error *err)
{
	static char to[] = "/proc/self/fd/3";
	char *argv[MAX_ARGUMENTS] = {"qemu-img", "convert", "-p", "-O"};
	char rate[24];
	size_t n = 4;
	const struct child_options options = {
		.argv = argv, .fds = &copy->to_fd, .limits = {.file_bytes = copy->most_bytes}};
	struct qemu_img *img = new_img(copy->source, copy->disk, copy->data, err);

	if (!img)
		return NULL;
	img->progress = copy->progress ? copy->progress : no_progress;
	img->done = copy->done;
	img->most_bytes = copy->most_bytes;
	argv[n++] = (char *)name_format(copy->format);
	/* Out of order: the guest may be waiting for the end.  Only these formats don't mind. */
	if (copy->format == QMPSNAP_RAW || copy->format == QMPSNAP_QCOW2)
		argv[n++] = "-W";
	if (copy->speed_bytes_per_s) {
		(void)snprintf(rate, sizeof(rate), "%" PRIu64, copy->speed_bytes_per_s);
		argv[n++] = "-r";
		argv[n++] = rate;
	}
	argv[n++] = copy->source->name;
	argv[n] = to;
	if (start(img, loop, &options, err))
		return img;
	free(img);
	return NULL;
}

/* Asks a question: a program that writes no file. */
static struct qemu_img *ask(
	struct qemu_img *img, uv_loop_t *loop, char *const *argv, struct qmpsnap_error *err)
{
	const int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	const struct child_options options = {.argv = argv, .fds = &null_fd};
	bool started = false;

	if (img && null_fd >= 0)
		started = start(img, loop, &options, err);
	else if (img)
		error_errno(err, QMPSNAP_INTERNAL, errno, "/dev/null");
	if (null_fd >= 0)
		close(null_fd);
	if (started)
		return img;
	free(img);
	return NULL;
}

struct qemu_img *qemu_img_info(uv_loop_t *loop, const struct source *source, const char *disk,
	qemu_img_info_fn *done, void *data, struct qmpsnap_error *err)
{
	char *argv[] = {"qemu-img", "info", "--output=json", source->bare_name, NULL};
	struct qemu_img *img = new_img(source, disk, data, err);

	if (img)
		img->info = done;
	return ask(img, loop, argv, err);
}

struct qemu_img *qemu_img_measure(uv_loop_t *loop, const struct source *source, const char *disk,
	unsigned cluster_bytes, qemu_img_info_fn *done, void *data, struct qmpsnap_error *err)
{
	char option[40];
	char *argv[] = {"qemu-img", "measure", "--output=json", "-O", "qcow2", "-o", option,
		source->name, NULL};
	struct qemu_img *img = new_img(source, disk, data, err);

	(void)snprintf(option, sizeof(option), "cluster_size=%u", cluster_bytes);
	if (img)
		img->info = done;
	return ask(img, loop, argv, err);
}

struct qemu_img *qemu_img_serve(uv_loop_t *loop, const struct source *source, const char *disk,
	int listen_fd, unsigned n_clients, qemu_img_done_fn *done, void *data,
	struct qmpsnap_error *err)
{
	char clients[16];
	char *argv[] = {"qemu-nbd", "--read-only", "-e", clients, source->name, NULL};
	const struct child_options options = {.argv = argv, .fds = &listen_fd, .listens = true};
	struct qemu_img *img = new_img(source, disk, data, err);

	(void)snprintf(clients, sizeof(clients), "%u", n_clients);
	if (!img)
		return NULL;
	img->done = done;
	if (start(img, loop, &options, err))
		return img;
	free(img);
	return NULL;
}

void qemu_img_kill(struct qemu_img *img)
{
	child_kill(img->child);
}

void qemu_img_abandon(struct qemu_img *img)
{
	child_abandon(img->child);
	free(img);
}

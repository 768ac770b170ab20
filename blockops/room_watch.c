/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/room_watch.h"

#include "base/units.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

enum { LOOK_MS = 50 };

struct room_watch {
	uv_timer_t timer;
	struct room_watch_options options;
	blkcnt_t seen_blocks;
};

/* What lies allocated behind its end is the file system's own, and goes when the file is closed. */
static uint64_t taken_bytes(const struct stat *st)
{
	const uint64_t allocated = (uint64_t)st->st_blocks * 512, length = (uint64_t)st->st_size;

	return allocated < length ? allocated : length;
}

bool room_watch_refuse(const char *disk, uint64_t most_bytes, struct qmpsnap_error *err)
{
	char text[UNITS_TEXT_BYTES];

	units_format_size(text, most_bytes);
	error_set(err, QMPSNAP_VIEW, "disk %s: its copy needs more than the %s left for it", disk,
		text);
	error_hint(err, "name a roomier folder with --scratch, or raise --scratch-limit");
	return false;
}

bool room_watch_fits(const struct room_watch *watch, struct qmpsnap_error *err)
{
	const struct room_watch_options *options = &watch->options;
	struct stat st;
	struct statvfs fs;

	if (fstat(options->fd, &st) == 0 && taken_bytes(&st) > options->most_bytes)
		return room_watch_refuse(options->disk, options->most_bytes, err);
	if (fstatvfs(options->fd, &fs) == 0 &&
		(uint64_t)fs.f_bavail * fs.f_frsize < options->keep_free_bytes) {
		char text[UNITS_TEXT_BYTES];
		units_format_size(text, options->keep_free_bytes);
		error_set(err, QMPSNAP_VIEW,
			"disk %s: its copy was given up, since %s has less than %s left",
			options->disk, options->folder, text);
		error_hint(err, "name a roomier folder with --scratch, or say with --scratch-limit "
				"what may be taken");
		return false;
	}
	return true;
}

static void tell_growth(struct room_watch *watch)
{
	struct stat st;

	if (fstat(watch->options.fd, &st) < 0 || st.st_blocks <= watch->seen_blocks)
		return;
	watch->seen_blocks = st.st_blocks;
	watch->options.grew(watch->options.data);
}

static void on_look(uv_timer_t *timer)
{
	struct room_watch *watch = timer->data;
	struct qmpsnap_error err;

	tell_growth(watch);
	if (room_watch_fits(watch, &err))
		return;
	uv_timer_stop(timer);
	watch->options.full(&err, watch->options.data);
}

struct room_watch *room_watch_start(
	uv_loop_t *loop, const struct room_watch_options *options, struct qmpsnap_error *err)
{
	struct room_watch *watch = calloc(1, sizeof(*watch));

	if (!watch) {
		error_no_memory(err);
		return NULL;
	}
	watch->options = *options;
	watch->timer.data = watch;
	(void)uv_timer_init(loop, &watch->timer); /* neither fails with a callback */
	(void)uv_timer_start(&watch->timer, on_look, LOOK_MS, LOOK_MS);
	return watch;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void room_watch_stop(struct room_watch *watch)
{
	if (watch)
		uv_close((uv_handle_t *)&watch->timer, on_closed);
}

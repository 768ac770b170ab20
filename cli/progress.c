/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include "cli/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { NAME_COLUMNS_MAX = 20, COLUMNS_DEFAULT = 80, ROWS_DEFAULT = 24 };

enum progress_mode progress_mode_for(int fd)
{
	const char *term = getenv("TERM");

	return isatty(fd) && term && *term && strcmp(term, "dumb") != 0 ? PROGRESS_BARS
									: PROGRESS_LINES;
}

void progress_init(struct progress *progress, struct output *out, enum progress_mode mode)
{
	*progress = (struct progress){.out = out, .mode = mode};
}

static struct progress_disk *add_disk(struct progress *progress, const char *name, uint64_t now_ms)
{
	struct progress_disk *bigger =
		realloc(progress->disks, (progress->n_disks + 1) * sizeof(*bigger));

	if (!bigger)
		return NULL;
	progress->disks = bigger;
	struct progress_disk *disk = &bigger[progress->n_disks++];
	*disk = (struct progress_disk){.sampled_ms = now_ms};
	(void)snprintf(disk->name, sizeof(disk->name), "%s", name);
	text_clean(disk->name);
	return disk;
}

static struct progress_disk *find_disk(struct progress *progress, const char *name)
{
	char key[PROGRESS_NAME_BYTES];

	(void)snprintf(key, sizeof(key), "%s", name);
	text_clean(key);
	for (size_t i = 0; i < progress->n_disks; i++) {
		if (strcmp(progress->disks[i].name, key) == 0)
			return &progress->disks[i];
	}
	return NULL;
}

struct progress_disk *progress_update(struct progress *progress, const char *disk,
	uint64_t done_bytes, uint64_t total_bytes, uint64_t now_ms)
{
	struct progress_disk *found = find_disk(progress, disk);

	if (!found)
		found = add_disk(progress, disk, now_ms);
	if (!found)
		return NULL;
	found->done_bytes = done_bytes;
	found->total_bytes = total_bytes;
	progress->dirty = true;
	return found;
}

void progress_status(struct progress *progress, const char *status)
{
	(void)snprintf(progress->status, sizeof(progress->status), "%s", status);
	text_clean(progress->status);
	progress->dirty = true;
}

/* Escape sequences of ECMA-48, which all terminals of today know. */
void progress_hide(struct progress *progress)
{
	char text[32];

	if (!progress->standing)
		return;
	const int len = snprintf(text, sizeof(text), "\033[%uA\r\033[J", progress->standing);
	(void)output_put(progress->out, text, (size_t)len);
	progress->standing = 0;
	progress->dirty = true;
}

static void put_row(struct progress *progress, const char *text)
{
	(void)output_put(progress->out, text, strlen(text));
	(void)output_put(progress->out, "\033[K\n", 4);
	progress->standing++;
}

static unsigned name_columns(const struct progress *progress)
{
	unsigned columns = 0;

	for (size_t i = 0; i < progress->n_disks; i++) {
		const unsigned len = (unsigned)strlen(progress->disks[i].name);
		if (len > columns)
			columns = len < NAME_COLUMNS_MAX ? len : NAME_COLUMNS_MAX;
	}
	return columns;
}

static void put_bars(struct progress *progress, const struct winsize *window)
{
	struct progress_disk sum;
	char text[PROGRESS_TEXT_BYTES];

	/* What doesn't fit on the screen could not be redrawn: the cursor can't leave it. */
	if (progress->n_disks > 1 && progress->n_disks + 2 > window->ws_row) {
		progress_sum(&sum, progress->disks, progress->n_disks);
		progress_bar(text, &sum, (unsigned)strlen(sum.name), window->ws_col);
		put_row(progress, text);
		return;
	}
	for (size_t i = 0; i < progress->n_disks; i++) {
		progress_bar(text, &progress->disks[i], name_columns(progress), window->ws_col);
		put_row(progress, text);
	}
}

static void draw(struct progress *progress)
{
	struct winsize window = {.ws_col = 0};
	char text[PROGRESS_TEXT_BYTES];

	if (ioctl(progress->out->fd, TIOCGWINSZ, &window) != 0 || !window.ws_col)
		window = (struct winsize){.ws_col = COLUMNS_DEFAULT, .ws_row = ROWS_DEFAULT};
	if (progress->standing) {
		(void)snprintf(text, sizeof(text), "\033[%uA\r", progress->standing);
		(void)output_put(progress->out, text, strlen(text));
	}
	progress->standing = 0;
	put_bars(progress, &window);
	if (*progress->status) {
		(void)snprintf(text, sizeof(text), "%.*s", window.ws_col - 1, progress->status);
		put_row(progress, text);
	}
	(void)output_put(progress->out, "\033[J", 3);
	progress->dirty = false;
}

static void print_line(struct progress *progress, uint64_t now_ms)
{
	char text[PROGRESS_TEXT_BYTES];

	if (!progress->n_disks || now_ms - progress->line_ms < PROGRESS_LINE_MS)
		return;
	progress_line(text, progress->disks, progress->n_disks);
	output_printf(progress->out, "%s\n", text);
	progress->line_ms = now_ms;
	progress->dirty = false;
}

void progress_tick(struct progress *progress, uint64_t now_ms)
{
	for (size_t i = 0; i < progress->n_disks; i++)
		progress_sample(&progress->disks[i], now_ms);
	/* A reader that can't keep up is not given more to read. */
	if (!output_flush(progress->out) || progress->mode == PROGRESS_NONE)
		return;
	if (progress->mode == PROGRESS_LINES)
		print_line(progress, now_ms);
	else if (progress->dirty)
		draw(progress);
}

void progress_end(struct progress *progress)
{
	progress->status[0] = '\0';
	if (progress->mode == PROGRESS_BARS && (progress->n_disks || progress->standing))
		draw(progress);
	free(progress->disks);
	progress_init(progress, progress->out, PROGRESS_NONE);
}

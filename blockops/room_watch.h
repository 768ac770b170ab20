/* SPDX-License-Identifier: Apache-2.0
 *
 * room_watch.h - a file of ours that another program writes, looked at while it grows: what it
 * takes of its file system, and what that has left for others.
 */
#ifndef BLOCKOPS_ROOM_WATCH_H
#define BLOCKOPS_ROOM_WATCH_H

#include "base/error.h"

#include <uv.h>

struct room_watch;

/* VIEW: the file takes too much, or the file system has too little left. */
typedef void room_watch_fn(const struct qmpsnap_error *err, void *data);

struct room_watch_options {
	int fd; /* the caller's, until room_watch_stop() */
	uint64_t most_bytes; /* that it may take; a sparse file's holes don't count */
	uint64_t keep_free_bytes; /* for others than root, on its file system */
	const char *disk, *folder; /* for messages; the caller's, as long */
	void (*grew)(void *data); /* since the last look */
	room_watch_fn *full;
	void *data;
};

/* `full` fires at most once, later; how much is taken by then depends on how fast it is written,
 * since the file is looked at every 50 ms.  NULL and *err without memory. */
struct room_watch *room_watch_start(
	uv_loop_t *loop, const struct room_watch_options *options, struct qmpsnap_error *err);

/* Whether all is well now: the last look, once the program has ended.  VIEW. */
bool room_watch_fits(const struct room_watch *watch, struct qmpsnap_error *err);

/* `full` fires no more; the handle leaves the loop.  NULL is fine. */
void room_watch_stop(struct room_watch *watch);

/* "may take no more than 8 MiB", with the hint what to do about it. */
bool room_watch_refuse(const char *disk, uint64_t most_bytes, struct qmpsnap_error *err);

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * images.h - one request about images in a store, between images.c, which finds the images and
 * takes them one after the other, and the files of the actions.
 */
#ifndef IMAGES_IMAGES_H
#define IMAGES_IMAGES_H

#include "images/fetch.h"
#include "images/program.h"
#include "images/select.h"
#include "upload/temp.h"
#include "upload/work.h"

#include <limits.h>

struct target; /* target.h */

struct qmpsnap_images {
	uv_loop_t *loop;
	struct qmpsnap_store *store;
	qmpsnap_event_fn *event;
	qmpsnap_images_fn *done;
	void *data;

	/* What was asked for, owned. */
	enum qmpsnap_images_action action;
	struct selection selection;
	char **which, **targets;
	size_t n_targets;
	char *guest, *set, *tag, *folder, *output, *scratch_dir;
	bool force, deep;
	enum qmpsnap_format format;

	struct json_object *images; /* those that are meant */
	struct json_object *dealt; /* those that were dealt with */
	size_t at; /* the one it is about */
	unsigned n_bad; /* that verify found */
	struct qmpsnap_error err, bad; /* the first; of those that verify found */
	bool cancelled;

	/* What is under way: at most one of them. */
	struct shelf_call *call;
	struct fetch *fetch;
	struct program *program;
	struct work work;

	struct temp temp; /* download, verify: what is being filled */
	char path[PATH_MAX];
	struct target *restoring; /* one for each image */
	size_t n_restoring;
	bool onto_devices; /* its files are ready, what is left are block devices */
};

typedef void images_fn(struct qmpsnap_images *op);

/* The image it is about has been dealt with, or failed: goes on with the next, or ends. */
void images_one_done(struct qmpsnap_images *op, const struct qmpsnap_error *err);

/* The whole request has ended. */
void images_end(struct qmpsnap_images *op, const struct qmpsnap_error *err);

struct json_object *images_record(const struct qmpsnap_images *op); /* of the image it is about */

/* "NAME (ID)" of it, for messages; valid until the next call. */
const char *images_name(struct json_object *record);

/* Says how far its bytes are. */
void images_progress(uint64_t done_bytes, void *data);

/* Begins to fetch its bytes into `fd`; -1: to look at them only.  `done` fires later, from within
 * only with an error that it couldn't begin. */
void images_fetch(struct qmpsnap_images *op, int fd, store_done_fn *done);

/* Ends in images_one_done(): download.c, verify.c, remove.c. */
images_fn images_download, images_verify, images_remove;
/* Of all the images at once; ends in images_end(): restore.c. */
images_fn images_restore;
void images_restore_free(struct qmpsnap_images *op);

#endif

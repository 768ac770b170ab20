/* SPDX-License-Identifier: Apache-2.0
 *
 * fetch.h - the bytes of an image out of a store, into a file or only through a digest, compared
 * with what the record says: size and digest, and for qcow2 that its header names no other file and
 * no feature that isn't known.  Until then nothing may open the file.
 */
#ifndef IMAGES_FETCH_H
#define IMAGES_FETCH_H

#include "images/receiver.h"

struct fetch;

struct fetch_options {
	uv_loop_t *loop;
	struct qmpsnap_store *store;
	struct json_object *record; /* borrowed */
	int fd; /* see receiver.h */
	const char *path; /* for messages; borrowed */
	store_progress_fn *progress; /* may be NULL */
	store_done_fn *done;
	void *data;
};

/* `done` fires once, later, and then it is gone.  NULL and *err when it can't begin: the record has
 * no size, or no digest that can be compared (STORE). */
struct fetch *fetch_start(const struct fetch_options *options, struct qmpsnap_error *err);

/* Hurries it: `done` brings an error soon. */
void fetch_stop(struct fetch *f);

/* The record's digest, Glance's own way: os_hash_value by os_hash_algo, else the MD5 in `checksum`.
 * False when it has none that is known here. */
bool fetch_digest(struct json_object *record, const char **algorithm, const char **hex);

#endif

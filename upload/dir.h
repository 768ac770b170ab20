/* SPDX-License-Identifier: Apache-2.0
 *
 * dir.h - the store dir:, between dir.c, which puts images into a folder, and dir_shelf.c, which
 * finds them there.
 */
#ifndef UPLOAD_DIR_H
#define UPLOAD_DIR_H

#include "base/shelf.h"
#include "upload/local_files.h"

#include <uv.h>

struct dir_store {
	struct qmpsnap_store base;
	uv_loop_t *loop;
	char folder[LOCAL_FOLDER_BYTES];
	bool direct;
};

extern const struct shelf_ops dir_shelf;

#endif

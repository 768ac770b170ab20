/* SPDX-License-Identifier: Apache-2.0
 *
 * The check of a store on this host, before anything is made in it. */
#include "base/error.h"
#include "upload/local.h"
#include "upload/work.h"

#include <stdlib.h>

struct local_check {
	struct store_check base;
	struct work work;
	struct local_names names;
	struct store_need need;
	store_done_fn *done;
	void *data;
};

static void look(void *self, struct qmpsnap_error *err)
{
	const struct local_check *check = self;

	(void)local_check(&check->names, &check->need, err);
}

static void looked(const struct qmpsnap_error *err, void *self)
{
	struct local_check *check = self;

	check->done(err, check->data);
	free(check);
}

/* It ends when the file system answers. */
static void stop(struct store_check *check)
{
	(void)check;
}

struct store_check *local_check_start(uv_loop_t *loop, const struct local_names *names,
	const struct store_need *need, store_done_fn *done, void *data, struct qmpsnap_error *err)
{
	struct local_check *check = calloc(1, sizeof(*check));

	if (!check) {
		error_no_memory(err);
		return NULL;
	}
	check->base.stop = stop;
	check->names = *names;
	check->need = *need;
	check->done = done;
	check->data = data;
	work_start(&check->work, loop, look, looked, check);
	return &check->base;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "images/images.h"

static void removed(const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_images *op = data;

	op->call = NULL;
	images_one_done(op, err);
}

void images_remove(struct qmpsnap_images *op)
{
	struct qmpsnap_error err;

	op->call = op->store->ops->shelf->remove(op->store, images_record(op), removed, op, &err);
	if (!op->call)
		images_one_done(op, &err);
}

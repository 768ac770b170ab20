/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the plan and the instant others may have put another node under a device, an external
 * snapshot for one: a copy of the node that was planned would lack what was written since. */
#include "blockops/steps.h"

#include <string.h>

static bool stands(
	const struct snapshot_disk *d, const struct guest *guest, struct qmpsnap_error *err)
{
	for (size_t i = 0; i < guest->n_disks; i++) {
		const struct guest_disk *disk = &guest->disks[i];
		if (disk->qom_path && disk->node && strcmp(disk->qom_path, d->qom_path) == 0 &&
			strcmp(disk->node, d->node) == 0)
			return true;
	}
	error_set(err, QMPSNAP_QEMU,
		"disk %s: its device doesn't stand on the node %s any more: others have changed it "
		"while its snapshot was being prepared",
		d->label, d->node);
	error_hint(err, "run it again");
	return false;
}

static void on_block(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct qmpsnap_snapshot *s = data;
	struct guest guest = {0};
	struct qmpsnap_error mine = {0};

	if (err)
		mine = *err;
	else if (guest_parse_block(&guest, result, &mine)) {
		for (size_t i = 0; i < s->n_disks && mine.code == QMPSNAP_OK; i++)
			(void)stands(&s->disks[i], &guest, &mine);
	}
	guest_free(&guest);
	s->devices_checked(s, mine.code != QMPSNAP_OK ? &mine : NULL);
}

void devices_check(struct qmpsnap_snapshot *s, diagnosed_fn *checked)
{
	s->devices_checked = checked;
	qmp_execute(s->qmp, "query-block", NULL, on_block, s);
}

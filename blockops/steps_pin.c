/* SPDX-License-Identifier: Apache-2.0
 *
 * The pin: a node of ours that holds the guest in this QEMU.  A migration that hands the guest over
 * takes the target from a mirror that is copying, and QEMU (5.2 to 11.1) dies of the job's next
 * write.  But it refuses each `migrate` while a node of the format vpc is open, also a read-only
 * one that nobody reads (vpc_open() in block/vpc.c adds a migration blocker; seen with 5.2
 * to 11.1).
 *
 * QEMU takes no such node with -only-migratable, or when it was built without the format: the
 * snapshot goes on then, since a guest that nobody migrates is well without it.  It takes none
 * either while a migration is under way: then the mirror isn't begun, as it would end QEMU.
 */
#include "base/log.h"
#include "blockops/scratch_file.h"
#include "blockops/steps.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { PIN_SECTOR_BYTES = 512 };

/* Microsoft's Virtual Hard Disk Image Format Specification, "Hard Disk Footer Format": a fixed disk
 * of one sector, whose footer stands behind it. */
static const uint8_t footer[PIN_SECTOR_BYTES] = {
	'c', 'o', 'n', 'e', 'c', 't', 'i', 'x', /* cookie */
	0, 0, 0, 2, 0, 1, 0, 0, /* features, version */
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, /* no further header */
	0, 0, 0, 0, 'q', 'm', 'p', 's', /* time, who made it, */
	0, 0, 0, 0, 0, 0, 0, 0, /* in which version and where */
	0, 0, 0, 0, 0, 0, 2, 0, /* size at first, */
	0, 0, 0, 0, 0, 0, 2, 0, /* and now */
	0, 1, 1, 1, 0, 0, 0, 2, /* geometry; fixed */
	0xff, 0xff, 0xf2, 0xdd, /* checksum: the complement of the sum of the other bytes */
};

/* The descriptor that QEMU gets can be written to, and it takes one only for what it asks for. */
static struct json_object *pin_node(const struct snapshot_disk *d, const char *filename)
{
	struct json_object *node = json_new(), *file = json_new();
	char name[NAME_NODE_BYTES];

	json_put_string(file, "driver", "file");
	json_put_string(file, "filename", filename);
	json_put_bool(file, "read-only", false);
	disk_node(d->snapshot, d, "p", name);
	json_put_string(node, "driver", "vpc");
	json_put_string(node, "node-name", name);
	json_put_bool(node, "read-only", true);
	json_put(node, "file", file);
	return node;
}

static bool is_under_way(const char *migration)
{
	static const char *const over[] = {"none", "completed", "failed", "cancelled"};

	for (size_t i = 0; migration && i < sizeof(over) / sizeof(over[0]); i++) {
		if (strcmp(migration, over[i]) == 0)
			return false;
	}
	return migration;
}

static void on_migration(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;
	struct qmpsnap_snapshot *s = d->snapshot;
	const char *migration = json_string(result, "status");
	struct qmpsnap_error mine = {0};

	if (err) {
		mine = *err;
	} else if (is_under_way(migration)) {
		error_set(&mine, QMPSNAP_REFUSED,
			"others are migrating the guest (%s), and QEMU dies of a mirror meanwhile",
			migration);
		error_hint(&mine, "wait until the migration has ended");
	} else {
		log_line(QMPSNAP_LOG_WARNING,
			"nothing keeps others from migrating the guest while its disks are "
			"mirrored, and its QEMU dies of that: %s",
			s->refusal.message);
	}
	disk_done(s, &mine);
}

static void on_added(struct snapshot_disk *d, const struct qmpsnap_error *err)
{
	struct qmpsnap_snapshot *s = d->snapshot;

	if (!err || !qmp_error_class(s->qmp)[0]) {
		disk_done(s, err);
		return;
	}
	s->refusal = *err;
	qmp_execute(s->qmp, "query-migrate", NULL, on_migration, d);
}

static bool make_file(struct snapshot_disk *d, struct qmpsnap_error *err)
{
	if (!scratch_file_open(d, err))
		return false;
	errno = 0; /* a write that is cut short leaves it */
	return pwrite(d->scratch_fd, footer, sizeof(footer), PIN_SECTOR_BYTES) == sizeof(footer) ||
	       error_errno(err, QMPSNAP_REFUSED, errno ? errno : ENOSPC, "a file in %s",
		       scratch_file_folder(d->snapshot));
}

/* There is one for all disks; their loop carries it. */
static bool is_first(const struct snapshot_disk *d)
{
	return d->index == 0;
}

static void add(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	struct qmpsnap_error err = {0};

	if (is_first(d) && make_file(&s->pin, &err))
		scratch_file_add_node(&s->pin, "p", pin_node, on_added);
	else
		disk_done(s, &err);
}

void pin_add(struct flow *f, void *self)
{
	(void)f;
	disks_in_order(self, add, NULL);
}

static void remove_node(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	if (is_first(d))
		disk_delete_node(s, &s->pin, "p");
	else
		disk_done(s, NULL);
}

static void remove_file(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	if (is_first(d)) {
		scratch_file_drop(&s->pin);
		scratch_file_remove_fdset(&s->pin, "p");
	} else {
		disk_done(s, NULL);
	}
}

static void remove_files(struct qmpsnap_snapshot *s)
{
	disks_in_order(s, remove_file, NULL);
}

void pin_remove(struct flow *f, void *self)
{
	(void)f;
	disks_in_order(self, remove_node, remove_files);
}

/* It stays with a job of ours that hasn't ended, maybe; recover removes both. */
void pin_undo(struct flow *f, void *self)
{
	const struct qmpsnap_snapshot *s = self;

	if (s->jobs.any_left || s->jobs.err.code != QMPSNAP_OK)
		flow_done(f, NULL);
	else
		pin_remove(f, self);
}

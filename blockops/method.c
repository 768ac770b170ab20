/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/method.h"

#include "base/names.h"
#include "blockops/cluster_map.h"
#include "blockops/dangers.h"

#include <stdio.h>
#include <string.h>

/* What a method asks of QEMU. */
static const enum qmp_cap filter_needs[] = {QMP_CAP_CBW, QMP_CAP_CBW_ON_ERROR, QMP_CAP_CBW_TIMEOUT,
	QMP_CAP_SNAPSHOT_ACCESS, QMP_CAP_BLOCK_EXPORT, QMP_CAP_EXPORT_DEL, QMP_CAP_NBD_MAX_CONNS,
	QMP_CAP_ADD_FD, QMP_CAP_GETFD};
static const enum qmp_cap job_needs[] = {QMP_CAP_BLOCKDEV_BACKUP, QMP_CAP_BLOCK_EXPORT,
	QMP_CAP_EXPORT_DEL, QMP_CAP_NBD_MAX_CONNS, QMP_CAP_ADD_FD, QMP_CAP_GETFD};
static const enum qmp_cap backup_needs[] = {QMP_CAP_BLOCKDEV_BACKUP};
static const enum qmp_cap mirror_needs[] = {QMP_CAP_BLOCKDEV_MIRROR};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
	const enum qmp_cap *needs;
	size_t n_needs;
	const char *serves; /* why it can */
} methods[N_METHODS] = {
	[METHOD_FILTER] = {filter_needs, COUNT(filter_needs),
		"copy-before-write and snapshot-access serve it"},
	[METHOD_JOB] = {job_needs, COUNT(job_needs), "an overlay with a backup job serves it"},
	[METHOD_BACKUP] = {backup_needs, COUNT(backup_needs), "QEMU can copy it to a spool file"},
	[METHOD_MIRROR] = {mirror_needs, COUNT(mirror_needs), "QEMU can mirror it to a spool file"},
	[METHOD_COLD] = {NULL, 0, "its file can be copied while the guest stands still"},
};

static const char *missing_capability(enum method method, const struct guest *guest)
{
	for (size_t i = 0; i < methods[method].n_needs; i++) {
		if (!guest->caps.has[methods[method].needs[i]])
			return qmp_cap_name(methods[method].needs[i]);
	}
	return NULL;
}

/* What no method gets over. */
static const char *obstacle(const struct guest_disk *disk, bool allow_plaintext)
{
	if (!disk->inserted || !disk->node)
		return "nothing is inserted";
	if (!disk->qom_path)
		return "no device of the guest uses it";
	if (name_is_ours(disk->node, NULL))
		return "a filter of an earlier run stands on it: qmpsnap recover removes it";
	if (disk->encrypted && !allow_plaintext)
		return "it is encrypted and its image would not be: --allow-plaintext takes it all "
		       "the same";
	return NULL;
}

bool method_takes(enum method method, const struct guest *guest, const struct guest_disk *disk,
	bool allow_plaintext, char reason[static METHOD_REASON_BYTES])
{
	const char *missing = missing_capability(method, guest);
	const char *why = obstacle(disk, allow_plaintext);

	if (!why && missing) {
		(void)snprintf(reason, METHOD_REASON_BYTES, "this QEMU (%u.%u.%u) lacks %s",
			guest->major, guest->minor, guest->micro, missing);
		return false;
	}
	if (!why && (method == METHOD_FILTER || method == METHOD_JOB) &&
		disk->virtual_size_bytes > CLUSTER_MAP_MOST_BYTES)
		why = "it is larger than 16 TiB, the most that is laid out as a stream";
	if (!why)
		why = danger_of(method, guest, disk);
	(void)snprintf(reason, METHOD_REASON_BYTES, "%s", why ? why : methods[method].serves);
	return !why;
}

bool method_state_allows(const struct guest *guest, struct qmpsnap_error *err)
{
	static const char *const refused[] = {
		"inmigrate", "finish-migrate", "postmigrate", "save-vm", "restore-vm", "colo"};

	if (!guest->status)
		return error_set(err, QMPSNAP_QEMU, "query-status: QEMU names no run state");
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		if (strcmp(guest->status, refused[i]) == 0) {
			error_set(err, QMPSNAP_REFUSED, "the guest is in run state %s",
				guest->status);
			error_hint(err, "its disks belong to a migration or a saved state; wait "
					"until that has ended");
			return false;
		}
	}
	return true;
}

static bool is_same(const char *a, const char *b)
{
	return a && b && a[0] && strcmp(a, b) == 0;
}

static bool matches(const struct guest_disk *disk, const char *word)
{
	return is_same(disk->id, word) || is_same(disk->qdev, word) ||
	       is_same(disk->qom_path, word) || is_same(disk->drive, word) ||
	       is_same(disk->node, word) || is_same(disk->filename, word);
}

/* Adds the disks that match `word` (NULL: all) to the message as "a, b, c". */
static void list_candidates(const struct guest *guest, const char *word, struct qmpsnap_error *err)
{
	size_t used = strlen(err->message);
	const char *comma = "";

	for (size_t i = 0; i < guest->n_disks && used < sizeof(err->message) - 1; i++) {
		const struct guest_disk *disk = &guest->disks[i];
		if (word ? !matches(disk, word) : !disk->inserted)
			continue;
		(void)snprintf(
			err->message + used, sizeof(err->message) - used, "%s%s", comma, disk->id);
		used = strlen(err->message);
		comma = ", ";
	}
}

static const struct guest_disk *find_one(
	const struct guest *guest, const char *word, struct qmpsnap_error *err)
{
	const struct guest_disk *found = NULL;

	for (size_t i = 0; i < guest->n_disks; i++) {
		if (!matches(&guest->disks[i], word))
			continue;
		if (found) {
			error_set(err, QMPSNAP_USAGE, "--disk %s matches several disks: ", word);
			list_candidates(guest, word, err);
			error_hint(err, "name one by its QOM path; qmpsnap inspect shows them");
			return NULL;
		}
		found = &guest->disks[i];
	}
	if (!found) {
		error_set(err, QMPSNAP_USAGE, "--disk %s matches no disk; the guest has: ", word);
		list_candidates(guest, NULL, err);
	}
	return found;
}

/* A drive that no device uses isn't a disk of the guest. */
static bool is_taken_unnamed(
	const struct guest_disk *disk, const struct method_selection *selection)
{
	if (!disk->inserted || !disk->node || !disk->qom_path || disk->read_only)
		return false;
	return disk->firmware ? selection->firmware : selection->n_wanted == 0;
}

bool method_select(const struct guest *guest, const struct method_selection *selection,
	const struct guest_disk **chosen, size_t *n_chosen, struct qmpsnap_error *err)
{
	bool take[GUEST_MAX_DISKS] = {false};

	for (size_t w = 0; w < selection->n_wanted; w++) {
		const struct guest_disk *disk = find_one(guest, selection->wanted[w], err);
		if (!disk)
			return false;
		take[disk - guest->disks] = true;
	}
	*n_chosen = 0;
	for (size_t i = 0; i < guest->n_disks; i++) {
		if (take[i] || is_taken_unnamed(&guest->disks[i], selection))
			chosen[(*n_chosen)++] = &guest->disks[i];
	}
	if (*n_chosen == 0) {
		error_set(err, QMPSNAP_REFUSED, "the guest has no writable disk to take");
		error_hint(err, "qmpsnap inspect lists its disks");
		return false;
	}
	return true;
}

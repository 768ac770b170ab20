/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/leftovers.h"

#include "blockops/block_graph.h"

#include <stdlib.h>
#include <string.h>

typedef bool name_fn(const char *name, void *data);

/* The name of a descriptor set is what its descriptors carry. */
static const char *fdset_name(struct json_object *set)
{
	struct json_object *fds = json_member(set, "fds", json_type_array);

	return json_length(fds) ? json_string(json_object_array_get_idx(fds, 0), "opaque") : NULL;
}

/* Calls `fn` with every name in one list until it returns true. */
static bool any_name(struct json_object *list, const char *key, name_fn *fn, void *data)
{
	for (size_t i = 0; i < json_length(list); i++) {
		struct json_object *item = json_object_array_get_idx(list, i);
		const char *name = key ? json_string(item, key) : fdset_name(item);
		if (name && fn(name, data))
			return true;
	}
	return false;
}

static bool any_of_all(const struct leftovers *left, name_fn *fn, void *data)
{
	return any_name(left->exports, "id", fn, data) || any_name(left->jobs, "id", fn, data) ||
	       any_name(left->nodes, "node-name", fn, data) ||
	       any_name(left->fdsets, NULL, fn, data);
}

static bool take_run(const char *name, void *data)
{
	return name_is_ours(name, data);
}

bool leftovers_find_run(const struct leftovers *left, char run[static NAME_RUN_BYTES])
{
	return any_of_all(left, take_run, run);
}

static bool is_of_run(const char *name, const struct qmpsnap_snapshot *s)
{
	char run[NAME_RUN_BYTES];

	return name_is_ours(name, run) && strcmp(run, s->run) == 0;
}

static bool is_ours_too(const char *name, void *data)
{
	return is_of_run(name, data);
}

bool leftovers_has_of(const struct leftovers *left, const struct qmpsnap_snapshot *s)
{
	return any_of_all(left, is_ours_too, (void *)s);
}

/* The number at the end of one of our names: the disk's. */
static unsigned long disk_number(const char *name)
{
	const size_t len = strlen(name);
	size_t at = len;

	while (at > 0 && name[at - 1] >= '0' && name[at - 1] <= '9')
		at--;
	return strtoul(name + at, NULL, 10);
}

struct counting {
	const struct qmpsnap_snapshot *s;
	size_t n_disks;
};

static bool count_disks(const char *name, void *data)
{
	struct counting *c = data;

	if (is_of_run(name, c->s) && disk_number(name) < SNAPSHOT_MAX_DISKS &&
		disk_number(name) >= c->n_disks)
		c->n_disks = disk_number(name) + 1;
	return false;
}

/* ---- The way back ---- */

static bool fill_disk(const struct leftovers *left, struct snapshot_disk *d,
	const struct guest *guest, struct qmpsnap_error *err)
{
	char filter[NAME_NODE_BYTES];
	const struct guest_disk *device = NULL;

	disk_node(d->snapshot, d, "f", filter);
	for (size_t i = 0; i < guest->n_disks; i++) {
		if (guest->disks[i].node && strcmp(guest->disks[i].node, filter) == 0)
			device = &guest->disks[i];
	}
	const char *node = device ? block_graph_child(left->graph, filter, "file") : "";
	const char *path = device ? device->qom_path : "";
	if (device && (!node || !path)) {
		error_set(err, QMPSNAP_UNDO,
			"device %s stands on our filter %s and the node that it goes back to can't "
			"be found; nothing was removed",
			device->id, filter);
		error_hint(err,
			"find the node with query-named-block-nodes, then: qom-set path=%s "
			"property=drive value=NODE; blockdev-del node-name=%s",
			path ? path : device->id, filter);
		return false;
	}
	d->label = strdup(device ? device->id : filter);
	d->qom_path = strdup(path);
	d->node = strdup(node);
	return (d->label && d->qom_path && d->node) || error_no_memory(err);
}

bool leftovers_fill(
	const struct leftovers *left, struct qmpsnap_snapshot *s, struct qmpsnap_error *err)
{
	struct counting counting = {.s = s};
	struct guest guest = {0};
	bool well = true;

	(void)any_of_all(left, count_disks, &counting);
	if (!guest_parse_block(&guest, left->block, err) ||
		!snapshot_add_disks(s, counting.n_disks ? counting.n_disks : 1)) {
		guest_free(&guest);
		return err->code != QMPSNAP_OK ? false : error_no_memory(err);
	}
	for (size_t i = 0; well && i < s->n_disks; i++)
		well = fill_disk(left, &s->disks[i], &guest, err);
	guest_free(&guest);
	s->server = SERVER_OURS;
	s->keep_server = !any_name(left->exports, "id", is_ours_too, s);
	return well;
}

/* ---- For the report ---- */

struct listing {
	const struct qmpsnap_snapshot *s;
	const char *what, *command;
	bool with_commands;
	leftovers_found_fn *found;
	void *data;
};

static bool list_one(const char *name, void *data)
{
	const struct listing *l = data;
	char phrase[128];

	if (l->s ? is_of_run(name, l->s) : name_is_ours(name, NULL)) {
		(void)snprintf(phrase, sizeof(phrase), "%s %s%s", l->what, name,
			l->with_commands ? l->command : "");
		l->found(phrase, l->data);
	}
	return false;
}

void leftovers_list(const struct leftovers *left, const struct qmpsnap_snapshot *s,
	bool with_commands, leftovers_found_fn *found, void *data)
{
	struct listing l = {.s = s, .with_commands = with_commands, .found = found, .data = data};

	l.what = "export";
	l.command = " (block-export-del)";
	(void)any_name(left->exports, "id", list_one, &l);
	l.what = "job";
	l.command = " (job-cancel)";
	(void)any_name(left->jobs, "id", list_one, &l);
	l.what = "node";
	l.command = " (blockdev-del)";
	(void)any_name(left->nodes, "node-name", list_one, &l);
	l.what = "descriptor set";
	l.command = " (remove-fd)";
	(void)any_name(left->fdsets, NULL, list_one, &l);
}

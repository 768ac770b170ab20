/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/node_names.h"

#include "base/json.h"
#include "base/names.h"

#include <string.h>

static void on_names(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct node_names *names = data;

	names->reply = err ? NULL : result;
	names->told(names, err, names->data);
}

/* A QEMU that was told to do without its unstable commands is 6.2 or newer. */
static void on_graph(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct node_names *names = data;

	if (!err || strcmp(qmp_error_class(names->qmp), "CommandNotFound") != 0) {
		on_names(json_member(result, "nodes", json_type_array), err, names);
		return;
	}
	struct json_object *args = json_new();
	json_put_bool(args, "flat", true);
	qmp_execute(names->qmp, "query-named-block-nodes", args, on_names, names);
}

void node_names_ask(
	struct node_names *names, struct qmp_client *qmp, node_names_fn *told, void *data)
{
	*names = (struct node_names){.qmp = qmp, .told = told, .data = data};
	qmp_execute(qmp, "x-debug-query-block-graph", NULL, on_graph, names);
}

/* The graph has jobs and block backends, too; the other command's nodes have no type. */
static const char *name_at(const struct node_names *names, size_t i)
{
	struct json_object *node = json_object_array_get_idx(names->reply, i);
	const char *type = json_string(node, "type");

	if (!type)
		return json_string(node, "node-name");
	return strcmp(type, "block-driver") == 0 ? json_string(node, "name") : NULL;
}

bool node_names_have(const struct node_names *names, const char *node)
{
	for (size_t i = 0; i < json_length(names->reply); i++) {
		const char *name = name_at(names, i);

		if (name && strcmp(name, node) == 0)
			return true;
	}
	return false;
}

bool node_names_have_run(const struct node_names *names, const char *run)
{
	char its[NAME_RUN_BYTES];

	for (size_t i = 0; i < json_length(names->reply); i++) {
		const char *name = name_at(names, i);

		if (name && name_is_ours(name, its) && strcmp(its, run) == 0)
			return true;
	}
	return false;
}

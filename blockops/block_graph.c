/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/block_graph.h"

#include "base/json.h"

#include <string.h>

/* Jobs and block backends are in the list, too. */
static struct json_object *find_node(struct json_object *graph, const char *name, int64_t id)
{
	struct json_object *nodes = json_member(graph, "nodes", json_type_array);

	for (size_t i = 0; i < json_length(nodes); i++) {
		struct json_object *node = json_object_array_get_idx(nodes, i);
		const char *type = json_string(node, "type"), *its = json_string(node, "name");
		if (!type || !its || strcmp(type, "block-driver") != 0)
			continue;
		if (name ? strcmp(its, name) == 0 : json_int(node, "id", -1) == id)
			return node;
	}
	return NULL;
}

struct json_object *block_graph_edge(struct json_object *graph, const char *node, size_t i)
{
	struct json_object *edges = json_member(graph, "edges", json_type_array);
	const int64_t parent = json_int(find_node(graph, node, 0), "id", -1);

	for (size_t e = 0; parent >= 0 && e < json_length(edges); e++) {
		struct json_object *found = json_object_array_get_idx(edges, e);
		if (json_int(found, "parent", -1) == parent && i-- == 0)
			return found;
	}
	return NULL;
}

const char *block_graph_child(struct json_object *graph, const char *node, const char *as)
{
	struct json_object *found;

	for (size_t i = 0; (found = block_graph_edge(graph, node, i)); i++) {
		const char *its = json_string(found, "name");
		if (its && strcmp(its, as) == 0)
			return json_string(
				find_node(graph, NULL, json_int(found, "child", -1)), "name");
	}
	return NULL;
}

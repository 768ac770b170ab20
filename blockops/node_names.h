/* SPDX-License-Identifier: Apache-2.0
 *
 * node_names.h - which nodes there are in QEMU, asked for in a way that no QEMU is known to die of,
 * see danger_of_listing_nodes(): x-debug-query-block-graph, which doesn't look into the nodes.
 * (5.2.0 beside a concluded backup job: well, where query-named-block-nodes ends it.)
 */
#ifndef BLOCKOPS_NODE_NAMES_H
#define BLOCKOPS_NODE_NAMES_H

#include "qmp/client.h"

#include <json-c/json.h>

struct node_names;

/* `names` for the two questions below, valid inside the callback; with an error it has none. */
typedef void node_names_fn(
	const struct node_names *names, const struct qmpsnap_error *err, void *data);

/* Embedded by the caller; node_names.c's own. */
struct node_names {
	struct qmp_client *qmp;
	struct json_object *reply;
	node_names_fn *told;
	void *data;
};

/* `told` is called once, later. */
void node_names_ask(
	struct node_names *names, struct qmp_client *qmp, node_names_fn *told, void *data);

bool node_names_have(const struct node_names *names, const char *node);

/* Whether there is any of ours of that run. */
bool node_names_have_run(const struct node_names *names, const char *run);

#endif

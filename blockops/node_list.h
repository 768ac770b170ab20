/* SPDX-License-Identifier: Apache-2.0
 *
 * node_list.h - makes it safe to ask an old QEMU for its nodes, see danger_of_listing_nodes().
 */
#ifndef BLOCKOPS_NODE_LIST_H
#define BLOCKOPS_NODE_LIST_H

#include "qmp/client.h"

#include <json-c/json.h>

/* NULL: query-named-block-nodes can be asked.  Else the connection's error, or REFUSED: a backup
 * job that isn't ours to dismiss has concluded and stands. */
typedef void node_list_safe_fn(const struct qmpsnap_error *err, void *data);

/* Embedded by the caller; node_list.c's own. */
struct node_list {
	struct qmp_client *qmp;
	struct json_object *jobs;
	size_t at;
	bool dismiss_ours;
	node_list_safe_fn *safe;
	void *data;
};

/* Looks for concluded backup jobs; with `dismiss_ours` those with names of ours, of any run, are
 * dismissed.  `safe` is called once, later. */
void node_list_make_safe(struct node_list *list, struct qmp_client *qmp, bool dismiss_ours,
	node_list_safe_fn *safe, void *data);

#endif

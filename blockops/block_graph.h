/* SPDX-License-Identifier: Apache-2.0
 *
 * block_graph.h - which node hangs below which, from the reply to x-debug-query-block-graph: only
 * the debug query tells edges on QEMUs before 10.0.
 */
#ifndef BLOCKOPS_BLOCK_GRAPH_H
#define BLOCKOPS_BLOCK_GRAPH_H

#include <json-c/json.h>
#include <stddef.h>

/* The i-th edge down from the node of that name; NULL: it has no more, or isn't there.  Borrowed,
 * as all that these return. */
struct json_object *block_graph_edge(struct json_object *graph, const char *node, size_t i);

/* The name of the node that hangs below `node` by the edge `as` ("file", "backing"); NULL: none. */
const char *block_graph_child(struct json_object *graph, const char *node, const char *as);

#endif

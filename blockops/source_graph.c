/* SPDX-License-Identifier: Apache-2.0
 *
 * A source from the block graph of a QEMU. */
#include "blockops/block_graph.h"
#include "blockops/source.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 200, MAX_OPTIONS_BYTES = 64 * 1024 };

struct walk {
	const struct source_graph *graph;
	struct source *source;
	struct qmpsnap_error *err;
	unsigned depth;
};

static struct json_object *build(struct walk *w, const char *name);

/* ---- The replies ---- */

static struct json_object *find_node(const struct source_graph *graph, const char *name)
{
	for (size_t i = 0; i < json_length(graph->nodes); i++) {
		struct json_object *node = json_object_array_get_idx(graph->nodes, i);
		const char *its = json_string(node, "node-name");
		if (its && strcmp(its, name) == 0)
			return node;
	}
	return NULL;
}

/* What hangs below a format node by any other edge makes up its contents in ways unknown here. */
static bool only_known_edges(struct walk *w, const char *name, const char *driver)
{
	struct json_object *found;

	for (size_t i = 0; (found = block_graph_edge(w->graph->graph, name, i)); i++) {
		const char *its = json_string(found, "name");
		if (its && (strcmp(its, "file") == 0 || strcmp(its, "backing") == 0 ||
				   strcmp(its, "data-file") == 0))
			continue;
		return error_set(w->err, QMPSNAP_REFUSED,
			"its %s node %s is made of parts (%s) that can't be named to qemu-img",
			driver, name, its ? its : "unnamed");
	}
	return true;
}

/* The options that QEMU shows in a node's "json:" file name, where it has one. */
static struct json_object *shown_options(struct json_object *node)
{
	const char *file = json_string(node, "file");

	if (!file || strncmp(file, "json:", 5) != 0 || strlen(file) > MAX_OPTIONS_BYTES)
		return NULL;
	return json_tokener_parse(file + 5);
}

/* ---- The nodes ---- */

static struct json_object *build_file(struct walk *w, const char *name, struct json_object *node)
{
	struct json_object *options = shown_options(node), *made = NULL;
	const char *file = options ? json_string(options, "filename") : json_string(node, "file");

	if (!file || !file[0]) {
		error_set(w->err, QMPSNAP_REFUSED, "QEMU doesn't tell which file its node %s is",
			name);
	} else if (strncmp(file, "/dev/fdset/", 11) == 0) {
		error_set(w->err, QMPSNAP_REFUSED,
			"QEMU was given %s as a descriptor, which nobody else can open by its name",
			file);
	} else {
		const int fd = w->graph->open(file, w->graph->data, w->err);
		if (fd >= 0)
			made = source_add_file(w->source, fd, file, w->err);
	}
	json_object_put(options);
	return made;
}

/* The child of that edge, built; for "backing", JSON's null when there is none: then what the
 * image's header says of one doesn't hold. */
static bool add_child(struct walk *w, struct json_object *made, const char *name, const char *as)
{
	const char *child = block_graph_child(w->graph->graph, name, as);
	struct json_object *below = NULL;

	if (child && !(below = build(w, child)))
		return false;
	if (child)
		json_put(made, as, below);
	else if (strcmp(as, "backing") == 0)
		json_put_null(made, as);
	return true;
}

/* A window into a file, or a size that QEMU keeps to although the file has grown. */
static void add_raw_options(struct json_object *made, struct json_object *node)
{
	static const char *const keys[] = {"offset", "size"};
	struct json_object *options = shown_options(node);

	for (size_t i = 0; i < 2; i++) {
		const int64_t value = json_int(options, keys[i], -1);
		if (value >= 0)
			json_put_int(made, keys[i], value);
	}
	json_object_put(options);
}

static struct json_object *build_format(
	struct walk *w, const char *name, struct json_object *node, const char *driver)
{
	const char *file = block_graph_child(w->graph->graph, name, "file");
	struct json_object *below, *made;

	if (json_flag(node, "encrypted", false)) {
		error_set(w->err, QMPSNAP_REFUSED,
			"it is encrypted, and its key is QEMU's alone to use");
		return NULL;
	}
	if (!file) {
		error_set(w->err, QMPSNAP_REFUSED, "QEMU doesn't tell what its node %s stands on",
			name);
		return NULL;
	}
	if (!only_known_edges(w, name, driver) || !(below = build(w, file)))
		return NULL;
	made = source_format_node(driver, below);
	if (!made) {
		error_no_memory(w->err);
		return NULL;
	}
	if (strcmp(driver, "raw") == 0)
		add_raw_options(made, node);
	if (!add_child(w, made, name, "data-file") ||
		(source_has_backing(driver) && !add_child(w, made, name, "backing"))) {
		json_object_put(made);
		return NULL;
	}
	return made;
}

/* Nodes that change nothing of what is read through them. */
static bool passes_through(const char *driver)
{
	return strcmp(driver, "throttle") == 0 || strcmp(driver, "copy-on-read") == 0;
}

static struct json_object *build(struct walk *w, const char *name)
{
	struct json_object *node = find_node(w->graph, name), *made = NULL;
	const char *driver = json_string(node, "drv");

	if (!driver || ++w->depth > MAX_DEPTH) {
		error_set(w->err, QMPSNAP_REFUSED, "QEMU's block graph can't be followed at %s",
			name);
		return NULL;
	}
	if (strcmp(driver, "file") == 0 || strcmp(driver, "host_device") == 0) {
		made = build_file(w, name, node);
	} else if (source_is_format(driver)) {
		made = build_format(w, name, node, driver);
	} else if (passes_through(driver) && block_graph_child(w->graph->graph, name, "file")) {
		made = build(w, block_graph_child(w->graph->graph, name, "file"));
	} else {
		error_set(w->err, QMPSNAP_REFUSED,
			strcmp(driver, "luks") == 0
				? "it is encrypted (%s node %s), and its key is QEMU's alone to use"
				: "it stands on a %s node (%s), which qemu-img can't open as QEMU "
				  "does",
			driver, name);
	}
	w->depth--;
	return made;
}

struct source *source_of_node(const struct source_graph *graph, const char *node,
	uint64_t virtual_size_bytes, struct qmpsnap_error *err)
{
	struct source *source = source_new(err);
	struct walk w = {.graph = graph, .source = source, .err = err};
	struct json_object *made = source ? build(&w, node) : NULL;

	if (made) {
		const char *driver = json_string(made, "driver");
		/* A file or device that grew since QEMU opened it; `size` takes whole sectors. */
		if (driver && strcmp(driver, "raw") == 0 && json_int(made, "size", -1) < 0 &&
			virtual_size_bytes % 512 == 0)
			json_put_uint(made, "size", virtual_size_bytes);
		json_put_bool(made, "force-share", true);
		if (source_finish(source, made, err))
			return source;
	}
	source_free(source);
	return NULL;
}

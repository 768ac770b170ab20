/* SPDX-License-Identifier: Apache-2.0
 *
 * A source from an image file that no QEMU of ours has open: its header names what it stands on. */
#include "base/log.h"
#include "blockops/image_lock.h"
#include "blockops/qcow2_header.h"
#include "blockops/source.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_LAYERS = 60 };

static struct json_object *build(struct source *source, const char *path, const char *format,
	unsigned layer, struct qmpsnap_error *err);

/* A name from a header, as a path: relative ones stand beside the image.  QEMU takes a name with a
 * protocol in front ("nbd:...", "json:{...}") for more than a file; owned. */
static char *path_beside(const char *image, const char *name, struct qmpsnap_error *err)
{
	const char *colon = strchr(name, ':'), *slash = strchr(name, '/');
	char *copy = strdup(image), *path = NULL;

	if (strncmp(name, "file:", 5) == 0)
		name += 5;
	else if (colon && (!slash || colon < slash)) {
		error_set(err, QMPSNAP_REFUSED, "it stands on \"%.200s\", which is no local file",
			name);
		free(copy);
		return NULL;
	}
	if (copy && asprintf(&path, "%s%s%s", name[0] == '/' ? "" : dirname(copy),
			    name[0] == '/' ? "" : "/", name) < 0)
		path = NULL;
	if (!path)
		error_no_memory(err);
	free(copy);
	return path;
}

static bool add_backing(struct source *source, struct json_object *node, const char *path,
	const struct qcow2_header *header, unsigned layer, struct qmpsnap_error *err)
{
	struct json_object *below = NULL;
	char *beside;

	if (header->backing_file[0] && !header->backing_format[0]) {
		error_set(err, QMPSNAP_REFUSED,
			"%s doesn't record the format of its backing file %s", path,
			header->backing_file);
		error_hint(err, "say which it is: qemu-img rebase -u -b FILE -F FORMAT %s", path);
		return false;
	}
	if (header->backing_file[0]) {
		beside = path_beside(path, header->backing_file, err);
		if (beside)
			below = build(source, beside, header->backing_format, layer + 1, err);
		free(beside);
		if (!below)
			return false;
	}
	if (below)
		json_put(node, "backing", below);
	else
		json_put_null(node, "backing");
	return true;
}

static bool add_data_file(struct source *source, struct json_object *node, const char *path,
	const struct qcow2_header *header, struct qmpsnap_error *err)
{
	struct json_object *below = NULL;

	if (!header->has_data_file)
		return true;
	if (!header->data_file[0])
		return error_set(err, QMPSNAP_REFUSED,
			"%s keeps its data in another file and doesn't record which", path);
	char *beside = path_beside(path, header->data_file, err);
	const int fd = beside ? open(beside, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
	if (fd >= 0)
		below = source_add_file(source, fd, beside, err);
	else if (beside)
		error_errno(err, QMPSNAP_REFUSED, errno, "%s", beside);
	free(beside);
	if (below)
		json_put(node, "data-file", below);
	return below != NULL;
}

/* Adds what a qcow2 file stands on. */
static bool add_layers(struct source *source, struct json_object *node, const char *path, int fd,
	unsigned layer, struct qmpsnap_error *err)
{
	struct qcow2_header header;

	if (!qcow2_header_read(fd, &header, err)) {
		error_wrap(err, "%s", path);
		return false;
	}
	if (header.encrypted)
		return error_set(err, QMPSNAP_REFUSED, "%s is encrypted", path);
	return add_data_file(source, node, path, &header, err) &&
	       add_backing(source, node, path, &header, layer, err);
}

static struct json_object *build(struct source *source, const char *path, const char *format,
	unsigned layer, struct qmpsnap_error *err)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct json_object *file, *node;
	bool well = true;

	if (fd < 0) {
		error_errno(err, QMPSNAP_REFUSED, errno, "%s", path);
		return NULL;
	}
	if (!source_is_format(format) || layer == MAX_LAYERS) {
		close(fd);
		error_set(err, QMPSNAP_REFUSED,
			layer == MAX_LAYERS ? "%s stands on too many backing files"
					    : "%s has the format %s, which isn't known",
			path, format);
		return NULL;
	}
	file = source_add_file(source, fd, path, err);
	node = file ? source_format_node(format, file) : NULL;
	if (file && !node)
		error_no_memory(err);
	if (!node)
		return NULL;
	if (strcmp(format, "qcow2") == 0)
		well = add_layers(source, node, path, fd, layer, err);
	else if (source_has_backing(format)) /* a parent, if it has one, is found later */
		json_put_null(node, "backing");
	else if (strcmp(format, "raw") == 0 && qcow2_header_is_there(fd))
		log_line(QMPSNAP_LOG_WARNING,
			"%s begins like a qcow2 file and is taken as raw, as it was said to be",
			path);
	if (!well) {
		json_object_put(node);
		return NULL;
	}
	return node;
}

static bool lock_all(const struct source *source, struct qmpsnap_error *err)
{
	for (size_t i = 0; i < source->n_files; i++) {
		if (!image_lock(source->fds[i], source->paths[i], err))
			return false;
	}
	return true;
}

struct source *source_of_file(
	const char *path, const char *format, bool force_share, struct qmpsnap_error *err)
{
	struct source *source;
	struct json_object *node;

	if (!source_is_format(format)) {
		error_set(err, QMPSNAP_USAGE, "there is no image format %.64s", format);
		error_hint(err, "raw, qcow2, vmdk, vdi, vhdx, vpc, qed, qcow or parallels");
		return NULL;
	}
	source = source_new(err);
	node = source ? build(source, path, format, 0, err) : NULL;
	if (node) {
		if (force_share)
			json_put_bool(node, "force-share", true);
		if (source_finish(source, node, err) && (force_share || lock_all(source, err)))
			return source;
	}
	source_free(source);
	return NULL;
}

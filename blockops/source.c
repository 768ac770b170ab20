/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
	const char *driver;
	bool has_backing;
} formats[] = {
	{"raw", false},
	{"qcow2", true},
	{"vmdk", true},
	{"vdi", false},
	{"vhdx", false},
	{"vpc", false},
	{"qed", true},
	{"qcow", true},
	{"parallels", false},
};

enum { N_FORMATS = sizeof(formats) / sizeof(formats[0]) };

static size_t format_index(const char *driver)
{
	size_t i = 0;

	while (i < N_FORMATS && strcmp(formats[i].driver, driver) != 0)
		i++;
	return i;
}

bool source_is_format(const char *driver)
{
	return format_index(driver) < N_FORMATS;
}

bool source_has_backing(const char *driver)
{
	const size_t i = format_index(driver);

	return i < N_FORMATS && formats[i].has_backing;
}

struct source *source_new(struct qmpsnap_error *err)
{
	struct source *source = calloc(1, sizeof(*source));

	if (!source)
		error_no_memory(err);
	return source;
}

struct json_object *source_add_file(
	struct source *source, int fd, const char *path, struct qmpsnap_error *err)
{
	struct stat st;
	char name[32];
	struct json_object *node;

	if (source->n_files == SOURCE_MAX_FILES) {
		close(fd);
		error_set(err, QMPSNAP_REFUSED, "it consists of more than %d files",
			SOURCE_MAX_FILES);
		return NULL;
	}
	if (fstat(fd, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))) {
		close(fd);
		error_set(err, QMPSNAP_REFUSED, "%s is %s, no file and no block device", path,
			S_ISDIR(st.st_mode) ? "a folder" : "something special");
		return NULL;
	}
	const size_t i = source->n_files++;
	source->fds[i] = fd;
	source->paths[i] = strdup(path);
	node = json_new();
	if (!source->paths[i] || !node) {
		json_object_put(node);
		error_no_memory(err);
		return NULL;
	}
	(void)snprintf(name, sizeof(name), "/proc/self/fd/%zu", SOURCE_FIRST_FD + i);
	json_put_string(node, "driver", S_ISBLK(st.st_mode) ? "host_device" : "file");
	json_put_string(node, "filename", name);
	return node;
}

struct json_object *source_format_node(const char *driver, struct json_object *file)
{
	struct json_object *node = json_new();

	if (!node) {
		json_object_put(file);
		return NULL;
	}
	json_put_string(node, "driver", driver);
	json_put(node, "file", file);
	return node;
}

static char *name_of(struct json_object *node)
{
	const char *text = json_text(node);
	char *name = NULL;

	return text && asprintf(&name, "json:%s", text) >= 0 ? name : NULL;
}

bool source_finish(struct source *source, struct json_object *node, struct qmpsnap_error *err)
{
	struct json_object *bare = NULL;

	source->node = node;
	source->name = name_of(node);
	if (source->name && json_object_deep_copy(node, &bare, NULL) == 0) {
		if (json_member(bare, "backing", json_type_object))
			json_put_null(bare, "backing");
		source->bare_name = name_of(bare);
	}
	json_object_put(bare);
	return source->bare_name || error_no_memory(err);
}

bool source_is_raw_device(const struct source *source)
{
	const char *driver = json_string(source->node, "driver");
	struct stat st;

	return driver && strcmp(driver, "raw") == 0 && fstat(source->fds[0], &st) == 0 &&
	       S_ISBLK(st.st_mode);
}

uint64_t source_allocated_bytes(const struct source *source)
{
	uint64_t sum = 0;
	struct stat st;

	for (size_t i = 0; i < source->n_files; i++) {
		if (fstat(source->fds[i], &st) < 0)
			continue;
		if (S_ISBLK(st.st_mode))
			return UINT64_MAX;
		sum += (uint64_t)st.st_blocks * 512;
	}
	return sum;
}

void source_free(struct source *source)
{
	if (!source)
		return;
	for (size_t i = 0; i < source->n_files; i++) {
		close(source->fds[i]);
		free(source->paths[i]);
	}
	json_object_put(source->node);
	free(source->name);
	free(source->bare_name);
	free(source);
}

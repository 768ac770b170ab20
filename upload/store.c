/* SPDX-License-Identifier: Apache-2.0 */
#include "base/store.h"

#include "base/error.h"
#include "upload/local_files.h"
#include "upload/stores.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOT_FOLDER "/var/lib/qmpsnap/images"

/* The first row whose prefix a spec begins with; one without `open` is known, and not there yet. */
static const struct {
	const char *prefix;
	store_open_fn *open;
} kinds[] = {
	{"dir:", dir_open},
	{"file:", file_open},
	{"glance:", glance_open},
	{"s3:", NULL},
	{"swift:", NULL},
	{"http:", NULL},
	{"https:", NULL},
};

static bool absolute(const char *path)
{
	return path && path[0] == '/';
}

static struct qmpsnap_store *open_default(
	uv_loop_t *loop, const struct qmpsnap_store_options *options, struct qmpsnap_error *err)
{
	char folder[LOCAL_FOLDER_BYTES];
	const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
	int len;

	/* The XDG Base Directory Specification: a relative path counts as unset. */
	if (geteuid() == 0) {
		len = snprintf(folder, sizeof(folder), ROOT_FOLDER);
	} else if (absolute(data)) {
		len = snprintf(folder, sizeof(folder), "%s/qmpsnap/images", data);
	} else if (absolute(home)) {
		len = snprintf(folder, sizeof(folder), "%s/.local/share/qmpsnap/images", home);
	} else {
		error_set(err, QMPSNAP_USAGE, "HOME isn't set, so there is no default store");
		error_hint(err, "choose a store with --to dir:PATH");
		return NULL;
	}
	if (len < 0 || (size_t)len >= sizeof(folder)) {
		error_set(err, QMPSNAP_USAGE, "the path of the default store is too long");
		return NULL;
	}
	return dir_open(loop, folder, options, err);
}

static struct qmpsnap_store *open_kind(uv_loop_t *loop, const char *spec,
	const struct qmpsnap_store_options *options, struct qmpsnap_error *err)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const size_t len = strlen(kinds[i].prefix);
		if (strncmp(spec, kinds[i].prefix, len) != 0)
			continue;
		if (kinds[i].open)
			return kinds[i].open(loop, spec + len, options, err);
		error_set(err, QMPSNAP_USAGE, "the store %s is not available in this version",
			kinds[i].prefix);
		error_hint(err, "there are dir:PATH, file:PATH, glance:URL and -");
		return NULL;
	}
	error_set(err, QMPSNAP_USAGE, "'%.200s' names no store", spec);
	error_hint(err, "there are dir:PATH, file:PATH, glance:URL and -");
	return NULL;
}

QMPSNAP_API struct qmpsnap_store *qmpsnap_store_open(struct uv_loop_s *loop, const char *spec,
	const struct qmpsnap_store_options *options, struct qmpsnap_error *err)
{
	static const struct qmpsnap_store_options defaults;

	if (!options)
		options = &defaults;
	if (!spec)
		return open_default(loop, options, err);
	if (strcmp(spec, "-") == 0)
		return stdout_open(loop, spec, options, err);
	return open_kind(loop, spec, options, err);
}

QMPSNAP_API void qmpsnap_store_close(struct qmpsnap_store *store)
{
	if (store)
		store->ops->free(store);
}

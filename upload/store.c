/* SPDX-License-Identifier: Apache-2.0 */
#include "base/store.h"

#include "base/error.h"
#include "upload/cloud_spec.h"
#include "upload/local_files.h"
#include "upload/stores.h"
#include "upload/web_spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOT_FOLDER "/var/lib/qmpsnap/images"

/* Which options a store has a use for. */
enum {
	CLOUD = 1, /* which cloud of clouds.yaml */
	TLS = 2, /* how certificates are verified */
	IMAGES = 4, /* what is special to an image service */
	WEB = 8, /* headers of requests */
};

/* The first row whose prefix a spec begins with. */
static const struct kind {
	const char *prefix;
	store_open_fn *open;
	/* The spec with what the options say, for another process; NULL: they say nothing. */
	char *(*complete)(const char *spec, const struct qmpsnap_store_options *options);
	/* The same for a file; NULL: there is nothing secret in it. */
	char *(*keep)(const char *spec);
	unsigned takes;
} kinds[] = {
	{"dir:", dir_open, NULL, NULL, 0},
	{"file:", file_open, NULL, NULL, 0},
	{"glance:", glance_open, cloud_spec_complete, NULL, CLOUD | TLS | IMAGES},
	{"s3:", s3_open, cloud_spec_complete, NULL, TLS},
	{"swift:", swift_open, cloud_spec_complete, NULL, CLOUD | TLS},
	{"http:", web_open_http, web_spec_complete, web_spec_keep, TLS | WEB},
	{"https:", web_open_https, web_spec_complete, web_spec_keep, TLS | WEB},
};

#define STORES                                                                                     \
	"there are dir:PATH, file:PATH, glance:, glance:URL, s3://BUCKET/PREFIX, "                 \
	"swift:CONTAINER, http://URL, https://URL and -"

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

/* An option that the store would have no use for is a mistake. */
static bool check_options(
	const struct qmpsnap_store_options *options, unsigned takes, struct qmpsnap_error *err)
{
	const struct {
		bool given;
		unsigned by;
		const char *option, *stores;
	} rows[] = {
		{options->os_cloud, CLOUD, "--os-cloud", "glance: and swift:"},
		{options->insecure, TLS, "--insecure", "stores in a cloud or at a URL"},
		{options->base_image, IMAGES, "--base-image", "glance:"},
		{options->n_tags > 0, IMAGES, "--tag", "glance:"},
		{options->visibility, IMAGES, "--visibility", "glance:"},
		{options->is_protected, IMAGES, "--protected", "glance:"},
		{options->backend, IMAGES, "--store", "glance:"},
		{options->sized, IMAGES, "--transfer", "glance:"},
		{options->import, IMAGES, "--import", "glance:"},
		{options->n_headers > 0, WEB, "--header", "http:// and https://"},
		{options->header_file, WEB, "--header-file", "http:// and https://"},
		{options->cacert, WEB, "--cacert", "http:// and https://"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (!rows[i].given || (takes & rows[i].by))
			continue;
		error_set(err, QMPSNAP_USAGE, "%s is for %s alone", rows[i].option, rows[i].stores);
		error_hint(err, "--to chooses the store");
		return false;
	}
	return true;
}

static const struct kind *find_kind(const char *spec, struct qmpsnap_error *err)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strncmp(spec, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
			return &kinds[i];
	}
	error_set(err, QMPSNAP_USAGE, "'%.200s' names no store", spec);
	error_hint(err, STORES);
	return NULL;
}

static struct qmpsnap_store *open_kind(uv_loop_t *loop, const struct kind *kind, const char *spec,
	const struct qmpsnap_store_options *options, struct qmpsnap_error *err)
{
	struct qmpsnap_store *store = kind->open(loop, spec + strlen(kind->prefix), options, err);
	struct qmpsnap_store_options all = *options;

	if (!store)
		return NULL;
	if (store->cloud)
		all.os_cloud = store->cloud;
	store->spec = kind->complete ? kind->complete(spec, &all) : strdup(spec);
	store->kept_spec = store->spec && kind->keep ? kind->keep(store->spec) : NULL;
	if (store->spec && (store->kept_spec || !kind->keep))
		return store;
	error_no_memory(err);
	qmpsnap_store_close(store);
	return NULL;
}

QMPSNAP_API struct qmpsnap_store *qmpsnap_store_open(struct uv_loop_s *loop, const char *spec,
	const struct qmpsnap_store_options *options, struct qmpsnap_error *err)
{
	static const struct qmpsnap_store_options defaults;
	static const struct kind standard_output = {"", stdout_open, NULL, NULL, 0};
	const struct kind *kind;

	if (!options)
		options = &defaults;
	if (!spec)
		return check_options(options, 0, err) ? open_default(loop, options, err) : NULL;
	kind = strcmp(spec, "-") == 0 ? &standard_output : find_kind(spec, err);
	if (!kind || !check_options(options, kind->takes, err))
		return NULL;
	return open_kind(loop, kind, spec, options, err);
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening the store glance: - which cloud or URL, and what the user wants of its images. */
#include "base/error.h"
#include "base/json.h"
#include "upload/cloud_spec.h"
#include "upload/clouds.h"
#include "upload/glance.h"
#include "upload/stores.h"

#include <stdlib.h>
#include <string.h>

enum {
	SETTLE_MS = 60 * 1000,
	TRIES = 8, /* two to four minutes in all */
	WAIT_MS = 1000,
	/* A backend may copy the image once more before the PUT is answered. */
	QUIET_MS = 10 * 60 * 1000,
	TAG_BYTES = 255, /* the column in Glance's database */
};

void glance_free(struct glance_store *store)
{
	keystone_free(store->session);
	free(store->base_image);
	free(store->visibility);
	free(store->backend);
	(void)json_object_put(store->tags);
	free(store);
}

static bool copy(char **to, const char *text, struct qmpsnap_error *err)
{
	if (text && !(*to = strdup(text)))
		return error_no_memory(err);
	return true;
}

static bool take_tags(struct glance_store *store, const struct qmpsnap_store_options *options,
	struct qmpsnap_error *err)
{
	if (options->n_tags == 0)
		return true;
	if (!(store->tags = json_object_new_array()))
		return error_no_memory(err);
	for (size_t i = 0; i < options->n_tags; i++) {
		if (!options->tags[i][0] || strlen(options->tags[i]) > TAG_BYTES)
			return error_set(
				err, QMPSNAP_USAGE, "a tag must have 1 to %d bytes", TAG_BYTES);
		json_append(store->tags, json_object_new_string(options->tags[i]));
	}
	return true;
}

static bool is_one_of(const char *value, const char *const *words, size_t n)
{
	for (size_t i = 0; value && i < n; i++) {
		if (strcmp(value, words[i]) == 0)
			return true;
	}
	return !value;
}

/* An id is put into a URL. */
static bool is_id(const char *text)
{
	return !text || (strlen(text) == 36 && strspn(text, "0123456789abcdefABCDEF-") == 36);
}

static bool take_wishes(struct glance_store *store, const struct qmpsnap_store_options *options,
	struct qmpsnap_error *err)
{
	static const char *const visibilities[] = {"private", "shared", "community", "public"};

	if (!is_one_of(options->visibility, visibilities, 4))
		return error_set(err, QMPSNAP_USAGE,
			"the visibility '%.64s' is none of private, shared, community, public",
			options->visibility);
	if (!is_id(options->base_image))
		return error_set(
			err, QMPSNAP_USAGE, "'%.64s' is no id of an image", options->base_image);
	if (options->backend &&
		(strlen(options->backend) > TAG_BYTES || strpbrk(options->backend, "\r\n")))
		return error_set(
			err, QMPSNAP_USAGE, "'%.64s' is no name of a store", options->backend);
	store->is_protected = options->is_protected;
	store->sized = options->sized;
	store->import = options->import;
	return copy(&store->base_image, options->base_image, err) &&
	       copy(&store->visibility, options->visibility, err) &&
	       copy(&store->backend, options->backend, err) && take_tags(store, options, err);
}

struct qmpsnap_store *glance_open(uv_loop_t *loop, const char *where,
	const struct qmpsnap_store_options *options, struct qmpsnap_error *err)
{
	struct glance_store *store = calloc(1, sizeof(*store));
	struct cloud *cloud;

	if (!store) {
		error_no_memory(err);
		return NULL;
	}
	store->base.ops = &glance_ops;
	store->loop = loop;
	store->settle_ms = SETTLE_MS;
	store->quiet_ms = QUIET_MS;
	store->tries = TRIES;
	store->wait_ms = WAIT_MS;
	if (take_wishes(store, options, err) &&
		(cloud = cloud_spec_open(where, options, "image", err)) &&
		(store->session = keystone_new(loop, cloud, "image", err)) &&
		cloud_spec_note(&store->base, where, options, cloud, err))
		return &store->base;
	glance_free(store);
	return NULL;
}

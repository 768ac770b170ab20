/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening the store swift: - which container, and who we are. */
#include "base/error.h"
#include "upload/cloud_spec.h"
#include "upload/stores.h"
#include "upload/swift.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEGMENT_BYTES = 64 << 20 };

static bool take_container(struct swift_store *store, const char *where, struct qmpsnap_error *err)
{
	const size_t len = strcspn(where, "?");
	char encoded[3 * SWIFT_CONTAINER_BYTES];

	(void)snprintf(store->container, sizeof(store->container), "%.*s", (int)len, where);
	if (len == 0 || len >= sizeof(store->container) || strchr(store->container, '/') ||
		!object_prefix_is_fine(store->container))
		return error_set(err, QMPSNAP_USAGE,
			"swift: takes the name of a container, of 1 to %zu bytes without a '/'",
			sizeof(store->container) - 1);
	object_encode(encoded, sizeof(encoded), store->container, false);
	(void)snprintf(store->path, sizeof(store->path), "/%s", encoded);
	(void)snprintf(store->segments_path, sizeof(store->segments_path), "/%s_segments", encoded);
	return true;
}

static char *variable(const char *name)
{
	const char *value = getenv(name);

	return strdup(value ? value : "");
}

/* The variables of the swift command.  A cloud that is named is meant instead of them. */
static bool take_v1(struct swift_store *store, struct qmpsnap_error *err)
{
	struct swift_v1 *v1 = &store->v1;
	char base[URL_BASE_BYTES];

	v1->url = variable("ST_AUTH");
	v1->user = variable("ST_USER");
	v1->key = variable("ST_KEY");
	if (!v1->url || !v1->user || !v1->key)
		return error_no_memory(err);
	if (!url_base(base, v1->url))
		return error_set(err, QMPSNAP_USAGE, "ST_AUTH isn't the URL of a service");
	if (!v1->user[0] || !v1->key[0])
		return error_set(err, QMPSNAP_USAGE, "ST_AUTH is set, and ST_USER or ST_KEY isn't");
	return true;
}

static struct cloud *open_cloud(struct swift_store *store, const char *end,
	const struct qmpsnap_store_options *options, struct qmpsnap_error *err)
{
	const char *auth = getenv("ST_AUTH");
	struct cloud *cloud;

	if (options->os_cloud || strstr(end, "os-cloud=") || !auth || !auth[0])
		return cloud_spec_open(end, options, "object-store", err);
	if (!take_v1(store, err))
		return NULL;
	cloud = cloud_at_url(store->v1.url, err);
	if (cloud && (options->insecure || strcmp(end, "?insecure") == 0))
		cloud->insecure = true;
	return cloud;
}

static bool note_place(struct swift_store *store, const char *end,
	const struct qmpsnap_store_options *options, const struct cloud *cloud,
	struct qmpsnap_error *err)
{
	struct qmpsnap_store *base = &store->remote.base;

	if (!store->v1.url)
		return cloud_spec_note(base, end, options, cloud, err);
	if (asprintf(&base->place, "%s, user %s", store->v1.url, store->v1.user) >= 0)
		return true;
	base->place = NULL;
	return error_no_memory(err);
}

struct qmpsnap_store *swift_open(uv_loop_t *loop, const char *where,
	const struct qmpsnap_store_options *options, struct qmpsnap_error *err)
{
	struct swift_store *store = calloc(1, sizeof(*store));
	struct cloud *cloud;

	if (!store) {
		error_no_memory(err);
		return NULL;
	}
	store->remote.base.ops = &swift_ops;
	store->part_bytes = SEGMENT_BYTES;
	remote_init(&store->remote, &swift_remote_ops, loop);
	if (take_container(store, where, err) &&
		(cloud = open_cloud(store, where + strcspn(where, "?"), options, err)) &&
		(store->session = keystone_new(loop, cloud, "object-store", err)) &&
		note_place(store, where + strcspn(where, "?"), options, cloud, err)) {
		store->remote.http = keystone_http(store->session);
		return &store->remote.base;
	}
	swift_free(store);
	return NULL;
}

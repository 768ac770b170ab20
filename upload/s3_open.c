/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening the store s3: - which bucket, and where. */
#include "base/error.h"
#include "upload/s3.h"
#include "upload/stores.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PART_BYTES = 16 << 20, BUCKET_LEAST = 3, BUCKET_MOST = S3_BUCKET_BYTES - 1 };

#define BUCKET_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

void s3_free(struct s3_store *store)
{
	http_free(store->remote.http);
	s3_config_free(&store->config);
	free(store);
}

/* "//BUCKET/PREFIX", or with "?insecure" at its end. */
static bool take_where(
	struct s3_store *store, const char *where, bool *insecure, struct qmpsnap_error *err)
{
	const char *bucket = where + (strncmp(where, "//", 2) == 0 ? 2 : 0);
	const size_t bucket_len = strcspn(bucket, "/?");
	const char *prefix = bucket + bucket_len + strspn(bucket + bucket_len, "/");
	const size_t before_end = strcspn(prefix, "?");
	size_t len = before_end;

	*insecure = strcmp(prefix + before_end, "?insecure") == 0;
	while (len > 0 && prefix[len - 1] == '/')
		len--;
	if (bucket == where || bucket_len < BUCKET_LEAST || bucket_len > BUCKET_MOST ||
		strspn(bucket, BUCKET_CHARACTERS) < bucket_len || bucket[0] == '.')
		return error_set(err, QMPSNAP_USAGE,
			"s3: takes //BUCKET or //BUCKET/PREFIX, and '%.64s' isn't that", where);
	if (prefix[before_end] && !*insecure)
		return error_set(err, QMPSNAP_USAGE, "'%.64s': behind the '?' of s3: goes insecure",
			prefix + before_end);
	if (len >= sizeof(store->prefix))
		return error_set(err, QMPSNAP_USAGE, "the prefix of s3: is longer than %zu bytes",
			sizeof(store->prefix) - 1);
	(void)snprintf(store->bucket, sizeof(store->bucket), "%.*s", (int)bucket_len, bucket);
	(void)snprintf(store->prefix, sizeof(store->prefix), "%.*s", (int)len, prefix);
	return object_prefix_is_fine(store->prefix) ||
	       error_set(err, QMPSNAP_USAGE, "the prefix '%.64s' has a part that is empty, . or ..",
		       store->prefix);
}

static void set_url(struct s3_store *store)
{
	const struct s3_config *config = &store->config;
	const bool china = strncmp(config->region, "cn-", 3) == 0;
	char aws[URL_BASE_BYTES];

	(void)snprintf(aws, sizeof(aws), "https://s3.%s.amazonaws.com%s", config->region,
		china ? ".cn" : "");
	const char *endpoint = config->endpoint[0] ? config->endpoint : aws;
	const char *host = strstr(endpoint, "://");
	/* A certificate for *.HOST isn't one for BUCK.ET.HOST. */
	if (config->virtual_host && !strchr(store->bucket, '.') && host)
		(void)snprintf(store->url, sizeof(store->url), "%.*s://%s.%s",
			(int)(host - endpoint), endpoint, store->bucket, host + 3);
	else
		(void)snprintf(store->url, sizeof(store->url), "%s/%s", endpoint, store->bucket);
	(void)snprintf(store->scope, sizeof(store->scope), "aws:amz:%s:s3", config->region);
}

struct qmpsnap_store *s3_open(uv_loop_t *loop, const char *where,
	const struct qmpsnap_store_options *options, struct qmpsnap_error *err)
{
	struct s3_store *store = calloc(1, sizeof(*store));
	bool insecure = false;

	if (!store) {
		error_no_memory(err);
		return NULL;
	}
	store->remote.base.ops = &s3_ops;
	store->part_bytes = PART_BYTES;
	remote_init(&store->remote, &s3_remote_ops, loop);
	if (take_where(store, where, &insecure, err) && s3_config_open(&store->config, err)) {
		const struct http_tls tls = {.insecure = insecure || options->insecure,
			.cacert = store->config.ca_bundle};
		set_url(store);
		store->remote.http = http_new(loop, &tls, err);
		if (store->remote.http && (store->remote.base.place = strdup(store->url)))
			return &store->remote.base;
		if (store->remote.http)
			error_no_memory(err);
	}
	s3_free(store);
	return NULL;
}

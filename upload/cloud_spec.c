/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/cloud_spec.h"

#include "upload/url.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct said {
	char *name; /* of the cloud, from libcurl; NULL: none */
	bool insecure;
};

static bool take_word(struct said *said, const char *word, struct qmpsnap_error *err)
{
	static const char name[] = "os-cloud=";

	if (strcmp(word, "insecure") == 0) {
		said->insecure = true;
		return true;
	}
	if (strncmp(word, name, strlen(name)) != 0 || said->name || !word[strlen(name)])
		return error_set(err, QMPSNAP_USAGE,
			"'%.64s': behind the '?' of a store go os-cloud=NAME and insecure", word);
	said->name = curl_easy_unescape(NULL, word + strlen(name), 0, NULL);
	return said->name || error_no_memory(err);
}

/* `end` is what stands behind the '?', and is cut into words. */
static bool take_end(struct said *said, char *end, struct qmpsnap_error *err)
{
	char *rest = NULL;

	for (char *word = strtok_r(end, "&", &rest); word; word = strtok_r(NULL, "&", &rest)) {
		if (!take_word(said, word, err))
			return false;
	}
	return true;
}

static struct cloud *open_said(const char *url, const struct said *said,
	const struct qmpsnap_store_options *options, const char *service, struct qmpsnap_error *err)
{
	const char *name = said->name ? said->name : options->os_cloud;
	struct cloud *cloud;

	if (url[0] && name) {
		error_set(err, QMPSNAP_USAGE,
			"glance:URL is an image service without a login, so --os-cloud isn't for "
			"it");
		error_hint(err, "--to glance: uses the cloud");
		return NULL;
	}
	cloud = url[0] ? cloud_at_url(url, err) : cloud_open(name, service, err);
	if (cloud && (said->insecure || options->insecure))
		cloud->insecure = true;
	return cloud;
}

struct cloud *cloud_spec_open(const char *where, const struct qmpsnap_store_options *options,
	const char *service, struct qmpsnap_error *err)
{
	struct said said = {.name = NULL};
	struct cloud *cloud = NULL;
	char *url = strdup(where);
	char *end = url ? strrchr(url, '?') : NULL;

	if (!url) {
		error_no_memory(err);
		return NULL;
	}
	if (end)
		*end++ = '\0';
	if (!end || take_end(&said, end, err))
		cloud = open_said(url, &said, options, service, err);
	curl_free(said.name);
	free(url);
	return cloud;
}

/* ---- Where it led ------------------------------------------------------------------------- */

static void write_domain(FILE *out, const char *id, const char *name)
{
	if (id || name)
		(void)fprintf(out, " of domain %s", id ? id : name);
}

/* Whose images are seen: what is known of it without a login. */
static void write_scope(FILE *out, const struct cloud *cloud)
{
	if (cloud->auth == CLOUD_AUTH_APPLICATION_CREDENTIAL) {
		(void)fprintf(out, ", application credential %s",
			cloud->credential_id ? cloud->credential_id : cloud->credential_name);
		if (!cloud->credential_id)
			(void)fprintf(
				out, " of %s", cloud->user_id ? cloud->user_id : cloud->username);
	} else if (cloud->project_id) {
		(void)fprintf(out, ", project %s", cloud->project_id);
	} else if (cloud->project_name) {
		(void)fprintf(out, ", project %s", cloud->project_name);
		write_domain(out, cloud->project_domain_id, cloud->project_domain_name);
	} else if (cloud->domain_id || cloud->domain_name) {
		(void)fputs(", scope", out);
		write_domain(out, cloud->domain_id, cloud->domain_name);
	}
}

static void write_place(FILE *out, const struct cloud *cloud)
{
	char keystone[URL_BASE_BYTES] = "", endpoint[URL_BASE_BYTES] = "";

	/* The same place however its URL ends. */
	if (cloud->endpoint && url_base(endpoint, cloud->endpoint))
		(void)url_cut_version(endpoint);
	if (cloud->auth == CLOUD_AUTH_NONE) {
		(void)fputs(endpoint, out);
		return;
	}
	if (url_base(keystone, cloud->auth_url))
		(void)url_cut_version(keystone);
	(void)fputs(keystone, out);
	write_scope(out, cloud);
	if (cloud->region)
		(void)fprintf(out, ", region %s", cloud->region);
	if (endpoint[0])
		(void)fprintf(out, ", at %s", endpoint);
}

bool cloud_spec_note(struct qmpsnap_store *store, const char *where,
	const struct qmpsnap_store_options *options, const struct cloud *cloud,
	struct qmpsnap_error *err)
{
	const bool is_named = options->os_cloud || strstr(where, "os-cloud=");
	size_t size = 0;
	FILE *out;

	if (where[0] && where[0] != '?') /* a URL */
		return true;
	if (!(out = open_memstream(&store->place, &size)))
		return error_no_memory(err);
	write_place(out, cloud);
	const bool bad = ferror(out) != 0;
	if (fclose(out) == 0 && !bad &&
		(is_named || !cloud->in_file || (store->cloud = strdup(cloud->name))))
		return true;
	free(store->place);
	return error_no_memory(err);
}

char *cloud_spec_complete(const char *spec, const struct qmpsnap_store_options *options)
{
	char *name = options->os_cloud ? curl_easy_escape(NULL, options->os_cloud, 0) : NULL;
	char *whole = NULL;

	if (name || !options->os_cloud) {
		const char *first = strchr(spec, '?') ? "&" : "?";
		if (asprintf(&whole, "%s%s%s%s%s%s", spec, name ? first : "",
			    name ? "os-cloud=" : "", name ? name : "",
			    options->insecure ? (name ? "&" : first) : "",
			    options->insecure ? "insecure" : "") < 0)
			whole = NULL;
	}
	curl_free(name);
	return whole;
}

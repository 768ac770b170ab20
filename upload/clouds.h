/* SPDX-License-Identifier: Apache-2.0
 *
 * clouds.h - which OpenStack cloud is meant and how to log in to it: clouds.yaml, secure.yaml,
 * clouds-public.yaml and the variables OS_*, with the precedence that openstacksdk has (its
 * user/config/configuration; checked against openstacksdk 0.101's config/loader.py).
 *
 * A cloud is chosen by name (--os-cloud, else OS_CLOUD); without a name the variables themselves
 * are one, called "envvars"; else the only cloud of clouds.yaml is taken.  Its settings are, from
 * the weakest to the strongest: the profile (from clouds-public.yaml), the cloud's own (secure.yaml
 * over clouds.yaml), the values of its region.  A cloud of a file takes nothing from OS_* but
 * OS_REGION_NAME, which selects one of its regions.
 */
#ifndef UPLOAD_CLOUDS_H
#define UPLOAD_CLOUDS_H

#include "base/error.h"

#include <json-c/json.h>

enum cloud_auth {
	CLOUD_AUTH_NONE, /* the service is at `endpoint` and wants no token */
	CLOUD_AUTH_PASSWORD,
	CLOUD_AUTH_TOKEN,
	CLOUD_AUTH_APPLICATION_CREDENTIAL,
};

/* All strings are owned; NULL or "" never distinguishes anything: what isn't given is NULL. */
struct cloud {
	char *name; /* for messages */
	bool in_file; /* the name finds it in clouds.yaml again */
	enum cloud_auth auth;
	char *auth_url;
	char *username, *user_id, *user_domain_id, *user_domain_name;
	char *password, *token; /* secrets: never into a message, a log, an argument */
	char *project_id, *project_name, *project_domain_id, *project_domain_name;
	char *domain_id, *domain_name; /* of a token scoped to a domain */
	char *system_scope; /* "all" */
	char *credential_id, *credential_name, *credential_secret;

	/* For the service that was asked for. */
	char *endpoint; /* override: no catalogue, no discovery */
	char *region, *interface; /* `interface` is "public", "internal" or "admin" */

	bool insecure; /* certificates aren't verified */
	char *cacert, *cert, *key; /* files in PEM */
};

/* The cloud that is meant, for a service ("image", "object-store"); `name` NULL: as described
 * above.  Reads files.  Errors: USAGE, INTERNAL. */
struct cloud *cloud_open(const char *name, const char *service, struct qmpsnap_error *err);

/* A service at `url` that wants no authentication; how its certificate is checked comes from
 * OS_CACERT, OS_CERT and OS_KEY.  Errors: USAGE, INTERNAL. */
struct cloud *cloud_at_url(const char *url, struct qmpsnap_error *err);

void cloud_free(struct cloud *cloud);

/* ---- Between clouds.c and clouds_files.c --------------------------------------------------- */

/* What the files and the environment say of the cloud that is meant: one object, keys with
 * underscores, "auth" in it is one, too.  `chosen` is the cloud's name, to be freed; `in_file`: see
 * struct cloud.  The caller's; NULL and *err (USAGE, INTERNAL). */
struct json_object *clouds_settings(
	const char *name, char **chosen, bool *in_file, struct qmpsnap_error *err);

/* The variables OS_* as such an object. */
struct json_object *clouds_environment(void);

#endif

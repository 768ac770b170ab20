/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/keystone_words.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { UNKNOWN_LIFE_MS = 5 * 60 * 1000 };

/* ---- The request -------------------------------------------------------------------------- */

static struct json_object *add_object(struct json_object *to, const char *key)
{
	struct json_object *object = json_object_new_object();

	json_put(to, key, object);
	return object;
}

static void put_domain(struct json_object *to, const char *id, const char *name)
{
	struct json_object *domain;

	if (!id && !name)
		return;
	domain = add_object(to, "domain");
	json_put_string(domain, id ? "id" : "name", id ? id : name);
}

static void put_user(struct json_object *to, const struct cloud *cloud)
{
	if (cloud->user_id) {
		json_put_string(to, "id", cloud->user_id);
		return;
	}
	json_put_string(to, "name", cloud->username);
	put_domain(to, cloud->user_domain_id, cloud->user_domain_name);
}

static void put_credential(struct json_object *to, const struct cloud *cloud)
{
	json_put_string(to, "secret", cloud->credential_secret);
	if (cloud->credential_id) {
		json_put_string(to, "id", cloud->credential_id);
		return;
	}
	json_put_string(to, "name", cloud->credential_name);
	put_user(add_object(to, "user"), cloud);
}

static void put_identity(struct json_object *auth, const struct cloud *cloud)
{
	static const char *const methods[] = {"", "password", "token", "application_credential"};
	const char *method = methods[cloud->auth];
	struct json_object *identity = add_object(auth, "identity"), *given, *list;

	list = json_object_new_array();
	json_append(list, json_object_new_string(method));
	json_put(identity, "methods", list);
	given = add_object(identity, method);
	if (cloud->auth == CLOUD_AUTH_TOKEN) {
		json_put_string(given, "id", cloud->token);
	} else if (cloud->auth == CLOUD_AUTH_APPLICATION_CREDENTIAL) {
		put_credential(given, cloud);
	} else {
		struct json_object *user = add_object(given, "user");
		put_user(user, cloud);
		json_put_string(user, "password", cloud->password);
	}
}

/* An application credential has its scope, and a token without one keeps what it has. */
static void put_scope(struct json_object *auth, const struct cloud *cloud)
{
	struct json_object *scope;

	if (cloud->auth == CLOUD_AUTH_APPLICATION_CREDENTIAL)
		return;
	if (cloud->project_id || cloud->project_name) {
		scope = add_object(add_object(auth, "scope"), "project");
		json_put_string(scope, cloud->project_id ? "id" : "name",
			cloud->project_id ? cloud->project_id : cloud->project_name);
		if (!cloud->project_id)
			put_domain(scope, cloud->project_domain_id, cloud->project_domain_name);
	} else if (cloud->domain_id || cloud->domain_name) {
		put_domain(add_object(auth, "scope"), cloud->domain_id, cloud->domain_name);
	} else if (cloud->system_scope) {
		scope = add_object(add_object(auth, "scope"), "system");
		json_put_bool(scope, "all", true);
	}
}

struct json_object *keystone_request(const struct cloud *cloud)
{
	struct json_object *request = json_object_new_object(), *auth;

	if (!request)
		return NULL;
	auth = add_object(request, "auth");
	put_identity(auth, cloud);
	put_scope(auth, cloud);
	return request;
}

/* ---- The answers -------------------------------------------------------------------------- */

static bool parse_time(const char *text, time_t *when)
{
	struct tm tm = {.tm_year = 0};

	if (!text || !strptime(text, "%Y-%m-%dT%H:%M:%S", &tm))
		return false;
	*when = timegm(&tm);
	return *when > 0;
}

uint64_t keystone_life_ms(struct json_object *answer)
{
	struct json_object *token = json_member(answer, "token", json_type_object);
	time_t issued, expires;

	if (!parse_time(json_string(token, "issued_at"), &issued) ||
		!parse_time(json_string(token, "expires_at"), &expires) || expires <= issued)
		return UNKNOWN_LIFE_MS;
	return (uint64_t)(expires - issued) * 1000;
}

void keystone_project(struct json_object *answer, char project[static KEYSTONE_PROJECT_BYTES])
{
	struct json_object *token = json_member(answer, "token", json_type_object);
	const char *id = json_string(json_member(token, "project", json_type_object), "id");

	(void)snprintf(project, KEYSTONE_PROJECT_BYTES, "%s",
		id && strlen(id) < KEYSTONE_PROJECT_BYTES ? id : "");
}

static bool in_region(struct json_object *endpoint, const char *region)
{
	const char *id = json_string(endpoint, "region_id"),
		   *name = json_string(endpoint, "region");

	return !region || (id && strcmp(id, region) == 0) || (name && strcmp(name, region) == 0);
}

/* For the message, what there is instead. */
static void note(char *seen, size_t size, struct json_object *endpoint)
{
	const size_t used = strlen(seen);
	const char *interface = json_string(endpoint, "interface");
	const char *region = json_string(endpoint, "region_id");

	(void)snprintf(seen + used, size - used, "%s%.32s %.64s", used ? ", " : "",
		interface ? interface : "?", region ? region : "?");
}

static const char *find_endpoint(
	struct json_object *entry, const struct cloud *cloud, char *seen, size_t size)
{
	struct json_object *endpoints = json_member(entry, "endpoints", json_type_array);

	for (size_t i = 0; i < json_length(endpoints); i++) {
		struct json_object *endpoint = json_object_array_get_idx(endpoints, i);
		const char *interface = json_string(endpoint, "interface");
		const char *url = json_string(endpoint, "url");
		if (interface && url && strcmp(interface, cloud->interface) == 0 &&
			in_region(endpoint, cloud->region))
			return url;
		note(seen, size, endpoint);
	}
	return NULL;
}

bool keystone_endpoint(struct json_object *answer, const struct cloud *cloud, const char *service,
	char url[static URL_BASE_BYTES], struct qmpsnap_error *err)
{
	struct json_object *token = json_member(answer, "token", json_type_object);
	struct json_object *catalog = json_member(token, "catalog", json_type_array);
	const char *found = NULL;
	char seen[256] = "";

	for (size_t i = 0; !found && i < json_length(catalog); i++) {
		struct json_object *entry = json_object_array_get_idx(catalog, i);
		const char *type = json_string(entry, "type");
		if (type && strcmp(type, service) == 0)
			found = find_endpoint(entry, cloud, seen, sizeof(seen));
	}
	if (!found) {
		error_set(err, QMPSNAP_STORE,
			"cloud %s: its catalogue has no %s endpoint of the service '%s'%s%.64s",
			cloud->name, cloud->interface, service,
			cloud->region ? " in the region " : "", cloud->region ? cloud->region : "");
		if (seen[0])
			error_hint(err, "there are: %s", seen);
		else if (!catalog)
			error_hint(err, "the token has no catalogue: it is scoped to nothing; name "
					"a project");
		return false;
	}
	return url_base(url, found) ||
	       error_set(err, QMPSNAP_STORE,
		       "cloud %s: the endpoint of '%s' in its catalogue is no http URL",
		       cloud->name, service);
}

int keystone_has_version(struct json_object *versions, const char *version)
{
	struct json_object *list = json_member(versions, "versions", json_type_array);
	const size_t len = strlen(version);

	/* Keystone has the list one level deeper. */
	if (!list)
		list = json_member(json_member(versions, "versions", json_type_object), "values",
			json_type_array);
	if (!list)
		return -1;
	for (size_t i = 0; i < json_length(list); i++) {
		const char *id = json_string(json_object_array_get_idx(list, i), "id");
		if (id && strncmp(id, version, len) == 0 && (id[len] == '\0' || id[len] == '.'))
			return 1;
	}
	return 0;
}

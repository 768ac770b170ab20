/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/clouds.h"

#include "base/json.h"
#include "base/log.h"
#include "upload/config_file.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- Single settings ---------------------------------------------------------------------- */

/* openstacksdk looks for what belongs to the login in "auth" first. */
static const char *auth_setting(struct json_object *settings, const char *key)
{
	const char *value = json_string(json_member(settings, "auth", json_type_object), key);

	if (!value || !value[0])
		value = json_string(settings, key);
	return value && value[0] ? value : NULL;
}

static const char *plain_setting(struct json_object *settings, const char *key)
{
	const char *value = json_string(settings, key);

	return value && value[0] ? value : NULL;
}

static bool is_word(const char *value, const char *const *words, size_t n)
{
	for (size_t i = 0; value && i < n; i++) {
		if (strcasecmp(value, words[i]) == 0)
			return true;
	}
	return false;
}

static bool is_yes(const char *value)
{
	static const char *const words[] = {"true", "yes", "on", "1"};

	return is_word(value, words, 4);
}

static bool is_no(const char *value)
{
	static const char *const words[] = {"false", "no", "off", "0"};

	return is_word(value, words, 4);
}

static bool set(char **to, const char *value, struct qmpsnap_error *err)
{
	if (!value)
		return true;
	free(*to);
	*to = strdup(value);
	return *to || error_no_memory(err);
}

/* A path; "~/" is the user's home. */
static bool set_path(char **to, const char *value, struct qmpsnap_error *err)
{
	const char *home = getenv("HOME");

	if (!value || strncmp(value, "~/", 2) != 0 || !home)
		return set(to, value, err);
	free(*to);
	if (asprintf(to, "%s%s", home, value + 1) >= 0)
		return true;
	*to = NULL;
	return error_no_memory(err);
}

/* ---- The login ---------------------------------------------------------------------------- */

/* The names that a setting has had, the current one first. */
static const struct {
	const char *keys[4];
	size_t at;
} auth_settings[] = {
	{{"username", "user_name"}, offsetof(struct cloud, username)},
	{{"user_id"}, offsetof(struct cloud, user_id)},
	{{"password"}, offsetof(struct cloud, password)},
	{{"user_domain_id"}, offsetof(struct cloud, user_domain_id)},
	{{"user_domain_name"}, offsetof(struct cloud, user_domain_name)},
	{{"token", "auth_token"}, offsetof(struct cloud, token)},
	{{"project_id", "tenant_id"}, offsetof(struct cloud, project_id)},
	{{"project_name", "tenant_name"}, offsetof(struct cloud, project_name)},
	{{"project_domain_id"}, offsetof(struct cloud, project_domain_id)},
	{{"project_domain_name"}, offsetof(struct cloud, project_domain_name)},
	{{"domain_id"}, offsetof(struct cloud, domain_id)},
	{{"domain_name"}, offsetof(struct cloud, domain_name)},
	{{"system_scope"}, offsetof(struct cloud, system_scope)},
	{{"application_credential_id"}, offsetof(struct cloud, credential_id)},
	{{"application_credential_name"}, offsetof(struct cloud, credential_name)},
	{{"application_credential_secret"}, offsetof(struct cloud, credential_secret)},
};

static bool take_auth_settings(
	struct cloud *cloud, struct json_object *settings, struct qmpsnap_error *err)
{
	for (size_t i = 0; i < sizeof(auth_settings) / sizeof(auth_settings[0]); i++) {
		const char *value = NULL;
		for (size_t k = 0; !value && k < 4 && auth_settings[i].keys[k]; k++)
			value = auth_setting(settings, auth_settings[i].keys[k]);
		if (!set((char **)((char *)cloud + auth_settings[i].at), value, err))
			return false;
	}
	return true;
}

/* A domain that is given once is that of the user and of the project, unless the token shall be
 * scoped to it; then the default one. */
static bool spread_domains(
	struct cloud *cloud, struct json_object *settings, struct qmpsnap_error *err)
{
	const bool project = cloud->project_id || cloud->project_name;
	const char *id = project ? cloud->domain_id : NULL;
	const char *name = project ? cloud->domain_name : NULL;

	if (!id && !name) {
		id = auth_setting(settings, "default_domain_id");
		name = id ? NULL : auth_setting(settings, "default_domain_name");
	}
	if (!cloud->user_domain_id && !cloud->user_domain_name &&
		(!set(&cloud->user_domain_id, id, err) ||
			!set(&cloud->user_domain_name, name, err)))
		return false;
	if (project && !cloud->project_domain_id && !cloud->project_domain_name &&
		(!set(&cloud->project_domain_id, id, err) ||
			!set(&cloud->project_domain_name, name, err)))
		return false;
	if (project) {
		free(cloud->domain_id);
		free(cloud->domain_name);
		cloud->domain_id = cloud->domain_name = NULL;
	}
	return true;
}

static const struct {
	const char *name;
	enum cloud_auth auth;
} auth_types[] = {
	{"password", CLOUD_AUTH_PASSWORD},
	{"v3password", CLOUD_AUTH_PASSWORD},
	{"token", CLOUD_AUTH_TOKEN},
	{"v3token", CLOUD_AUTH_TOKEN},
	{"v3applicationcredential", CLOUD_AUTH_APPLICATION_CREDENTIAL},
	{"none", CLOUD_AUTH_NONE},
	{"None", CLOUD_AUTH_NONE},
};

static bool choose_auth(
	struct cloud *cloud, struct json_object *settings, struct qmpsnap_error *err)
{
	const char *type = plain_setting(settings, "auth_type");

	if (!type)
		type = plain_setting(settings, "auth_plugin");
	if (!type) {
		cloud->auth = cloud->credential_secret && !cloud->password
				      ? CLOUD_AUTH_APPLICATION_CREDENTIAL
			      : cloud->token && !cloud->password ? CLOUD_AUTH_TOKEN
								 : CLOUD_AUTH_PASSWORD;
		return true;
	}
	for (size_t i = 0; i < sizeof(auth_types) / sizeof(auth_types[0]); i++) {
		if (strcmp(type, auth_types[i].name) == 0) {
			cloud->auth = auth_types[i].auth;
			return true;
		}
	}
	(void)error_set(err, QMPSNAP_USAGE, "cloud %s: the auth_type '%.64s' is not known here",
		cloud->name, type);
	error_hint(err, "there are password, token, v3applicationcredential and none");
	return false;
}

static bool missing(const struct cloud *cloud, const char *what, const char *variable,
	struct qmpsnap_error *err)
{
	(void)error_set(err, QMPSNAP_USAGE, "cloud %s: %s is missing", cloud->name, what);
	error_hint(err, "set it in clouds.yaml, or %s in the environment", variable);
	return false;
}

static bool check_password(const struct cloud *cloud, struct qmpsnap_error *err)
{
	if (!cloud->username && !cloud->user_id)
		return missing(cloud, "username", "OS_USERNAME", err);
	if (!cloud->password)
		return missing(cloud, "password", "OS_PASSWORD", err);
	if (!cloud->user_id && !cloud->user_domain_id && !cloud->user_domain_name)
		return missing(cloud, "user_domain_name", "OS_USER_DOMAIN_NAME", err);
	return true;
}

static bool check_credential(const struct cloud *cloud, struct qmpsnap_error *err)
{
	if (!cloud->credential_secret)
		return missing(cloud, "application_credential_secret",
			"OS_APPLICATION_CREDENTIAL_SECRET", err);
	if (cloud->credential_id)
		return true;
	if (!cloud->credential_name)
		return missing(
			cloud, "application_credential_id", "OS_APPLICATION_CREDENTIAL_ID", err);
	if (!cloud->username && !cloud->user_id)
		return missing(
			cloud, "username (or application_credential_id)", "OS_USERNAME", err);
	if (!cloud->user_id && !cloud->user_domain_id && !cloud->user_domain_name)
		return missing(cloud, "user_domain_name", "OS_USER_DOMAIN_NAME", err);
	return true;
}

/* Application credentials have their scope within. */
static bool check_scope(const struct cloud *cloud, struct qmpsnap_error *err)
{
	if (cloud->auth == CLOUD_AUTH_PASSWORD && !cloud->project_id && !cloud->project_name &&
		!cloud->domain_id && !cloud->domain_name && !cloud->system_scope)
		return missing(cloud, "project_name", "OS_PROJECT_NAME", err);
	if (cloud->project_name && !cloud->project_id && !cloud->project_domain_id &&
		!cloud->project_domain_name && cloud->auth != CLOUD_AUTH_APPLICATION_CREDENTIAL)
		return missing(cloud, "project_domain_name", "OS_PROJECT_DOMAIN_NAME", err);
	return true;
}

static bool check_auth(const struct cloud *cloud, struct qmpsnap_error *err)
{
	if (cloud->auth == CLOUD_AUTH_NONE)
		return cloud->endpoint ||
		       missing(cloud, "image_endpoint_override", "OS_ENDPOINT", err);
	if (!cloud->auth_url)
		return missing(cloud, "auth_url", "OS_AUTH_URL", err);
	if (cloud->auth == CLOUD_AUTH_TOKEN && !cloud->token)
		return missing(cloud, "token", "OS_TOKEN", err);
	if (cloud->auth == CLOUD_AUTH_PASSWORD && !check_password(cloud, err))
		return false;
	if (cloud->auth == CLOUD_AUTH_APPLICATION_CREDENTIAL && !check_credential(cloud, err))
		return false;
	return check_scope(cloud, err);
}

/* ---- Where the service is ----------------------------------------------------------------- */

/* "image_interface" for "interface"; `service` is "image", "object-store". */
static const char *service_setting(
	struct json_object *settings, const char *service, const char *key)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "%s_%s", service, key);
	for (char *c = name; *c; c++) {
		if (*c == '-')
			*c = '_';
	}
	return plain_setting(settings, name);
}

static bool take_interface(struct cloud *cloud, struct json_object *settings, const char *service,
	struct qmpsnap_error *err)
{
	static const char *const known[] = {"public", "internal", "admin"};
	const char *value = service_setting(settings, service, "interface");
	size_t len;

	/* Of old an interface was called endpoint_type. */
	if (!value)
		value = service_setting(settings, service, "endpoint_type");
	if (!value)
		value = plain_setting(settings, "endpoint_type");
	if (!value)
		value = plain_setting(settings, "interface");
	if (!value)
		value = known[0];
	/* The names of old: "publicURL". */
	len = strcspn(value, "U");
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strncmp(value, known[i], len) == 0 && strlen(known[i]) == len &&
			(value[len] == '\0' || strcmp(value + len, "URL") == 0))
			return set(&cloud->interface, known[i], err);
	}
	return error_set(err, QMPSNAP_USAGE,
		"cloud %s: the interface '%.64s' is none of public, internal, admin", cloud->name,
		value);
}

/* "{region_name}" in it, as profiles have it, is replaced. */
static bool set_auth_url(struct cloud *cloud, const char *url, struct qmpsnap_error *err)
{
	static const char place[] = "{region_name}";
	const char *at = url ? strstr(url, place) : NULL;

	if (!at)
		return set(&cloud->auth_url, url, err);
	if (asprintf(&cloud->auth_url, "%.*s%s%s", (int)(at - url), url,
		    cloud->region ? cloud->region : "", at + strlen(place)) >= 0)
		return true;
	cloud->auth_url = NULL;
	return error_no_memory(err);
}

static bool take_places(struct cloud *cloud, struct json_object *settings, const char *service,
	struct qmpsnap_error *err)
{
	const char *endpoint = service_setting(settings, service, "endpoint_override");
	const char *region = service_setting(settings, service, "region_name");
	const char *auth_url = auth_setting(settings, "auth_url");

	if (!endpoint)
		endpoint = service_setting(settings, service, "endpoint");
	if (!endpoint && cloud->auth == CLOUD_AUTH_NONE)
		endpoint = auth_setting(settings, "endpoint");
	if (!auth_url)
		auth_url = plain_setting(settings, "identity_endpoint_override");
	return set(&cloud->endpoint, endpoint, err) &&
	       set(&cloud->region, region ? region : plain_setting(settings, "region_name"), err) &&
	       set_auth_url(cloud, auth_url, err) && take_interface(cloud, settings, service, err);
}

static bool take_tls(struct cloud *cloud, struct json_object *settings, struct qmpsnap_error *err)
{
	cloud->insecure = is_yes(plain_setting(settings, "insecure")) ||
			  is_no(plain_setting(settings, "verify"));
	if (!set_path(&cloud->cacert, plain_setting(settings, "cacert"), err) ||
		!set_path(&cloud->cert, plain_setting(settings, "cert"), err) ||
		!set_path(&cloud->key, plain_setting(settings, "key"), err))
		return false;
	/* Without a file of its own the key is in that of the certificate. */
	const char *key = cloud->key ? cloud->key : cloud->cert;
	if (key && config_others_read(key))
		log_line(QMPSNAP_LOG_WARNING,
			"other users may read %s, and there is a private key in it: chmod 600",
			key);
	return true;
}

/* ---- The whole ---------------------------------------------------------------------------- */

struct cloud *cloud_open(const char *name, const char *service, struct qmpsnap_error *err)
{
	struct cloud *cloud = calloc(1, sizeof(*cloud));
	struct json_object *settings;

	if (!cloud) {
		(void)error_no_memory(err);
		return NULL;
	}
	settings = clouds_settings(name, &cloud->name, &cloud->in_file, err);
	const bool well = settings && take_auth_settings(cloud, settings, err) &&
			  choose_auth(cloud, settings, err) &&
			  spread_domains(cloud, settings, err) &&
			  take_places(cloud, settings, service, err) &&
			  take_tls(cloud, settings, err) && check_auth(cloud, err);
	(void)json_object_put(settings);
	if (well)
		return cloud;
	cloud_free(cloud);
	return NULL;
}

struct cloud *cloud_at_url(const char *url, struct qmpsnap_error *err)
{
	struct cloud *cloud = calloc(1, sizeof(*cloud));
	struct json_object *environment = clouds_environment();

	if (cloud && environment && set(&cloud->name, url, err) &&
		set(&cloud->endpoint, url, err) && take_tls(cloud, environment, err)) {
		(void)json_object_put(environment);
		return cloud;
	}
	(void)error_no_memory(err);
	(void)json_object_put(environment);
	cloud_free(cloud);
	return NULL;
}

void cloud_free(struct cloud *cloud)
{
	if (!cloud)
		return;
	for (size_t i = 0; i < sizeof(auth_settings) / sizeof(auth_settings[0]); i++)
		free(*(char **)((char *)cloud + auth_settings[i].at));
	free(cloud->name);
	free(cloud->auth_url);
	free(cloud->endpoint);
	free(cloud->region);
	free(cloud->interface);
	free(cloud->cacert);
	free(cloud->cert);
	free(cloud->key);
	free(cloud);
}

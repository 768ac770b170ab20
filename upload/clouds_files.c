/* SPDX-License-Identifier: Apache-2.0
 *
 * clouds.yaml and its relatives: where they are, and which of their settings count. */
#include "base/json.h"
#include "base/log.h"
#include "upload/clouds.h"
#include "upload/config_file.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_ENVIRONMENT_CLOUD "envvars"

static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value && value[0] ? value : NULL;
}

/* ---- Objects of settings ------------------------------------------------------------------ */

/* Keys with '-' and with '_' are the same. */
static void put_setting(struct json_object *to, const char *key, struct json_object *value)
{
	char *name = strdup(key);

	for (char *c = name; c && *c; c++) {
		if (*c == '-')
			*c = '_';
	}
	if (!name)
		return;
	if (value)
		(void)json_object_object_add(to, name, json_object_get(value));
	else
		json_object_object_del(to, name);
	free(name);
}

/* `to` gets what `from` has; the members of "auth" one by one. */
static void update(struct json_object *to, struct json_object *from)
{
	if (!json_object_is_type(from, json_type_object))
		return;
	json_object_object_foreach(from, key, value)
	{
		if (strcmp(key, "auth") != 0) {
			put_setting(to, key, value);
			continue;
		}
		struct json_object *auth = json_member(to, "auth", json_type_object);
		if (!auth && (auth = json_object_new_object()))
			(void)json_object_object_add(to, "auth", auth);
		update(auth, value);
	}
}

/* ---- Files -------------------------------------------------------------------------------- */

static bool holds_secret(struct json_object *settings)
{
	static const char *const secrets[] = {"password", "token", "auth_token", "auth-token",
		"application_credential_secret", "application-credential-secret"};

	for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
		if (json_string(settings, secrets[i]))
			return true;
	}
	struct json_object *regions = json_member(settings, "regions", json_type_array);
	for (size_t i = 0; i < json_length(regions); i++) {
		struct json_object *region = json_object_array_get_idx(regions, i);
		if (holds_secret(json_member(region, "values", json_type_object)))
			return true;
	}
	struct json_object *auth = json_member(settings, "auth", json_type_object);
	return auth && holds_secret(auth);
}

/* Whether any cloud of the file, or profile of clouds-public.yaml, comes with a secret. */
static bool file_holds_secret(struct json_object *file)
{
	static const char *const lists[] = {"clouds", "public-clouds"};

	for (size_t i = 0; i < 2; i++) {
		struct json_object *clouds = json_member(file, lists[i], json_type_object);
		if (!clouds)
			continue;
		json_object_object_foreach(clouds, name, cloud)
		{
			(void)name;
			if (holds_secret(cloud))
				return true;
		}
	}
	return false;
}

static enum config_read read_file(
	const char *path, struct json_object **object, struct qmpsnap_error *err)
{
	bool others_read = false;
	const enum config_read how = config_file_read(path, object, &others_read, err);

	if (how == CONFIG_READ && others_read && file_holds_secret(*object))
		log_line(QMPSNAP_LOG_WARNING,
			"other users may read %s, and there are secrets in it: chmod 600", path);
	return how;
}

/* One folder's "BASE.yaml", "BASE.yml", "BASE.json". */
static enum config_read read_in_folder(const char *folder, const char *base,
	struct json_object **object, struct qmpsnap_error *err)
{
	static const char *const suffixes[] = {"yaml", "yml", "json"};
	char path[PATH_MAX];
	enum config_read how = CONFIG_NOT_THERE;

	for (size_t i = 0; i < 3 && how == CONFIG_NOT_THERE; i++) {
		const int len = snprintf(path, sizeof(path), "%s/%s.%s", folder, base, suffixes[i]);
		if (len > 0 && (size_t)len < sizeof(path))
			how = read_file(path, object, err);
	}
	return how;
}

/* The first that is found: the file that the variable `named` names, then in the current folder,
 * the user's, the host's. */
static enum config_read find_file(
	const char *base, const char *named, struct json_object **object, struct qmpsnap_error *err)
{
	const char *home = variable("HOME"), *config = variable("XDG_CONFIG_HOME");
	const char *path = named ? variable(named) : NULL;
	enum config_read how = CONFIG_NOT_THERE;
	char folders[3][PATH_MAX] = {".", "", ""};

	if (config)
		(void)snprintf(folders[1], sizeof(folders[1]), "%.4000s/openstack", config);
	if (home)
		(void)snprintf(folders[2], sizeof(folders[2]), "%.4000s/.config/openstack", home);
	*object = NULL;
	if (path && (how = read_file(path, object, err)) == CONFIG_NOT_THERE)
		log_line(QMPSNAP_LOG_WARNING, "%s: there is no file %s that can be read", named,
			path);
	for (size_t i = 0; i < 3 && how == CONFIG_NOT_THERE; i++) {
		if (folders[i][0])
			how = read_in_folder(folders[i], base, object, err);
	}
	if (how == CONFIG_NOT_THERE)
		how = read_in_folder("/etc/openstack", base, object, err);
	return how;
}

/* clouds.yaml and secure.yaml; each NULL where there is none. */
struct files {
	struct json_object *open, *secure;
};

static void free_files(struct files *files)
{
	(void)json_object_put(files->open);
	(void)json_object_put(files->secure);
}

static bool read_files(struct files *files, struct qmpsnap_error *err)
{
	*files = (struct files){.open = NULL};
	if (find_file("clouds", "OS_CLIENT_CONFIG_FILE", &files->open, err) != CONFIG_WRONG &&
		find_file("secure", "OS_CLIENT_SECURE_FILE", &files->secure, err) != CONFIG_WRONG)
		return true;
	free_files(files);
	return false;
}

static struct json_object *cloud_in(struct json_object *file, const char *name)
{
	return json_member(json_member(file, "clouds", json_type_object), name, json_type_object);
}

/* ---- The environment ---------------------------------------------------------------------- */

static bool starts(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Selects a cloud or a file, and makes no cloud by itself. */
static bool is_selector(const char *name)
{
	static const char *const selectors[] = {
		"cloud", "region_name", "client_config_file", "client_secure_file", "cloud_name"};

	for (size_t i = 0; i < sizeof(selectors) / sizeof(selectors[0]); i++) {
		if (strcmp(name, selectors[i]) == 0)
			return true;
	}
	return false;
}

/* What turns the verification of certificates off is a word of its own or of a file: a variable
 * that was left behind in some shell doesn't. */
static bool unverifies(const char *name)
{
	if (strcmp(name, "insecure") != 0 && strcmp(name, "verify") != 0)
		return false;
	log_line(QMPSNAP_LOG_WARNING,
		"OS_%s isn't heeded: --insecure turns the verification of certificates off",
		name[0] == 'i' ? "INSECURE" : "VERIFY");
	return true;
}

struct json_object *clouds_environment(void)
{
	struct json_object *settings = json_object_new_object();

	for (char **entry = environ; settings && *entry; entry++) {
		const char *equals = strchr(*entry, '=');
		char name[64];
		if (!starts(*entry, "OS_") || starts(*entry, "OS_TEST") ||
			starts(*entry, "OS_STD") || starts(*entry, "OS_LOG") || !equals ||
			!equals[1] || (size_t)(equals - *entry) >= sizeof(name))
			continue;
		size_t len = 0;
		for (const char *c = *entry + strlen("OS_"); c < equals; c++)
			name[len++] = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
		name[len] = '\0';
		if (!unverifies(name))
			json_put_string(settings, name, equals + 1);
	}
	return settings;
}

static bool makes_a_cloud(struct json_object *environment)
{
	json_object_object_foreach(environment, key, value)
	{
		(void)value;
		if (!is_selector(key))
			return true;
	}
	return false;
}

/* ---- Choosing ----------------------------------------------------------------------------- */

static bool add_profile(
	struct json_object *settings, struct json_object *cloud, struct qmpsnap_error *err)
{
	const char *profile = json_string(cloud, "profile");
	struct json_object *file = NULL, *found;

	if (!profile && !(profile = json_string(cloud, "cloud")))
		return true;
	if (find_file("clouds-public", NULL, &file, err) == CONFIG_WRONG)
		return false;
	found = json_member(
		json_member(file, "public-clouds", json_type_object), profile, json_type_object);
	if (found)
		update(settings, found);
	else
		log_line(QMPSNAP_LOG_WARNING,
			"the profile '%.64s' is in no clouds-public.yaml; there are no others here",
			profile);
	(void)json_object_put(file);
	return true;
}

/* The name of a region of the list `regions`: a text, or "name" of a mapping. */
static const char *region_name(struct json_object *region)
{
	return json_object_is_type(region, json_type_string) ? json_object_get_string(region)
							     : json_string(region, "name");
}

static bool no_such_region(const char *wanted, const char *cloud, struct qmpsnap_error *err)
{
	(void)error_set(
		err, QMPSNAP_USAGE, "the cloud '%.64s' has no region '%.64s'", cloud, wanted);
	error_hint(err, "its regions are those in clouds.yaml; OS_REGION_NAME chooses among them");
	return false;
}

static bool choose_among(struct json_object *regions, struct json_object *settings,
	const char *cloud, struct qmpsnap_error *err)
{
	const char *wanted = variable("OS_REGION_NAME"),
		   *own = json_string(settings, "region_name");

	for (size_t i = 0; i < json_length(regions); i++) {
		struct json_object *region = json_object_array_get_idx(regions, i);
		const char *name = region_name(region);
		if (!name || (wanted && strcmp(name, wanted) != 0))
			continue;
		json_put_string(settings, "region_name", name);
		update(settings, json_member(region, "values", json_type_object));
		return true;
	}
	if (!wanted)
		return true;
	if (regions || (own && strcmp(own, wanted) != 0))
		return no_such_region(wanted, cloud, err);
	json_put_string(settings, "region_name", wanted);
	return true;
}

/* The list is held meanwhile, since a region's values may put another in its place. */
static bool choose_region(
	struct json_object *settings, const char *cloud, struct qmpsnap_error *err)
{
	struct json_object *regions =
		json_object_get(json_member(settings, "regions", json_type_array));
	const bool well = choose_among(regions, settings, cloud, err);

	(void)json_object_put(regions);
	return well;
}

static struct json_object *new_settings(
	struct json_object *open, struct json_object *secure, struct qmpsnap_error *err)
{
	struct json_object *settings = json_object_new_object(), *own = json_object_new_object();

	update(own, open);
	update(own, secure);
	const bool well = settings && own && add_profile(settings, own, err);
	if (!settings || !own)
		(void)error_no_memory(err);
	/* A list of regions of its own stands in for the profile's region, and the reverse. */
	if (well && json_member(own, "regions", json_type_array))
		json_object_object_del(settings, "region_name");
	if (well && json_string(own, "region_name"))
		json_object_object_del(settings, "regions");
	if (well)
		update(settings, own);
	(void)json_object_put(own);
	if (well)
		return settings;
	(void)json_object_put(settings);
	return NULL;
}

static struct json_object *from_files(
	const struct files *files, const char *name, struct qmpsnap_error *err)
{
	struct json_object *open = cloud_in(files->open, name);
	struct json_object *secure = cloud_in(files->secure, name), *settings;

	if (!open && !secure) {
		(void)error_set(
			err, QMPSNAP_USAGE, "there is no cloud '%.64s' in clouds.yaml", name);
		error_hint(err, "clouds.yaml is looked for in ., ~/.config/openstack and "
				"/etc/openstack; OS_CLIENT_CONFIG_FILE names another");
		return NULL;
	}
	settings = new_settings(open, secure, err);
	if (settings && choose_region(settings, name, err))
		return settings;
	(void)json_object_put(settings);
	return NULL;
}

/* The name of the only one. */
static const char *only_cloud(struct json_object *file)
{
	struct json_object *clouds = json_member(file, "clouds", json_type_object);

	if (!clouds || json_object_object_length(clouds) != 1)
		return NULL;
	json_object_object_foreach(clouds, key, value)
	{
		(void)value;
		return key;
	}
	return NULL;
}

static struct json_object *choose(const struct files *files, const char *name, char **chosen,
	bool *in_file, struct qmpsnap_error *err)
{
	const char *own =
		variable("OS_CLOUD_NAME") ? variable("OS_CLOUD_NAME") : DEFAULT_ENVIRONMENT_CLOUD;
	struct json_object *environment = clouds_environment();
	const bool made = environment && makes_a_cloud(environment);

	if (!name)
		name = variable("OS_CLOUD");
	if (!name)
		name = made ? own : only_cloud(files->open);
	*chosen = name ? strdup(name) : NULL;
	*in_file = !(made && name && strcmp(name, own) == 0);
	if (*chosen && !*in_file)
		return environment;
	(void)json_object_put(environment);
	if (*chosen)
		return from_files(files, name, err);
	if (name || !environment) {
		(void)error_no_memory(err);
		return NULL;
	}
	(void)error_set(err, QMPSNAP_USAGE, "no cloud was named");
	error_hint(err, "name one of clouds.yaml with --os-cloud, or set OS_AUTH_URL and the other "
			"OS_* variables");
	return NULL;
}

struct json_object *clouds_settings(
	const char *name, char **chosen, bool *in_file, struct qmpsnap_error *err)
{
	struct json_object *settings = NULL;
	struct files files;

	*chosen = NULL;
	if (!read_files(&files, err))
		return NULL;
	settings = choose(&files, name, chosen, in_file, err);
	free_files(&files);
	return settings;
}

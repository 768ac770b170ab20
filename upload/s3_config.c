/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/s3_config.h"

#include "base/json.h"
#include "base/log.h"
#include "upload/ini.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { PATH_BYTES = 4096, SECTION_BYTES = 256 };

/* The profile that is meant, in both files; NULL: it isn't in that one. */
struct profile {
	const char *name;
	struct json_object *config_file, *credentials_file;
	struct json_object *config, *credentials; /* borrowed from them */
};

/* An empty variable counts as unset. */
static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value && value[0] ? value : NULL;
}

static const char *either(const char *first, const char *second)
{
	return first ? first : second;
}

/* ---- Files -------------------------------------------------------------------------------- */

static bool holds_secret(struct json_object *file)
{
	if (!file)
		return false;
	json_object_object_foreach(file, name, section)
	{
		(void)name;
		if (json_string(section, "aws_secret_access_key"))
			return true;
	}
	return false;
}

static bool read_file(const char *path_variable, const char *below_home,
	struct json_object **object, struct qmpsnap_error *err)
{
	const char *named = variable(path_variable), *home = variable("HOME");
	char path[PATH_BYTES];
	bool others_read = false;

	*object = NULL;
	if (!named && !home)
		return true;
	const int len =
		snprintf(path, sizeof(path), "%s%s", named ? named : home, named ? "" : below_home);
	if (len < 0 || (size_t)len >= sizeof(path))
		return error_set(err, QMPSNAP_USAGE, "the path of %s is too long", path_variable);
	const enum config_read how = ini_read(path, object, &others_read, err);
	if (how == CONFIG_READ && others_read && holds_secret(*object))
		log_line(QMPSNAP_LOG_WARNING,
			"other users may read %s, and there are secrets in it: chmod 600", path);
	return how != CONFIG_WRONG;
}

static bool find_profile(struct profile *profile, struct qmpsnap_error *err)
{
	const char *named = either(variable("AWS_PROFILE"), variable("AWS_DEFAULT_PROFILE"));
	char section[SECTION_BYTES];

	profile->name = named ? named : "default";
	if (!read_file("AWS_CONFIG_FILE", "/.aws/config", &profile->config_file, err) ||
		!read_file("AWS_SHARED_CREDENTIALS_FILE", "/.aws/credentials",
			&profile->credentials_file, err))
		return false;
	(void)snprintf(section, sizeof(section), "profile %s", profile->name);
	profile->config = json_member(profile->config_file, section, json_type_object);
	if (!profile->config && strcmp(profile->name, "default") == 0)
		profile->config = json_member(profile->config_file, "default", json_type_object);
	profile->credentials =
		json_member(profile->credentials_file, profile->name, json_type_object);
	if (!named || profile->config || profile->credentials)
		return true;
	error_set(err, QMPSNAP_USAGE, "the AWS profile '%.64s' is in no file", named);
	error_hint(err, "AWS_PROFILE names a section of ~/.aws/credentials or ~/.aws/config");
	return false;
}

static const char *setting(const struct profile *profile, const char *key)
{
	return either(json_string(profile->credentials, key), json_string(profile->config, key));
}

/* ---- Credentials -------------------------------------------------------------------------- */

static bool take(struct s3_config *config, const char *access_key, const char *secret_key,
	const char *session_token, struct qmpsnap_error *err)
{
	config->access_key = strdup(access_key);
	config->secret_key = strdup(secret_key);
	config->session_token = session_token ? strdup(session_token) : NULL;
	return (config->access_key && config->secret_key &&
		       (config->session_token || !session_token)) ||
	       error_no_memory(err);
}

static bool no_credentials(const struct profile *profile, struct qmpsnap_error *err)
{
	static const char *const others[] = {"credential_process", "sso_session", "sso_start_url",
		"role_arn", "web_identity_token_file", "credential_source"};

	error_set(err, QMPSNAP_USAGE, "there are no credentials for S3");
	error_hint(err, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or have a profile in "
			"~/.aws/credentials");
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (setting(profile, others[i]))
			error_hint(err,
				"the profile '%.64s' gets them by %s, which isn't supported: "
				"export "
				"them with 'aws configure export-credentials --format env'",
				profile->name, others[i]);
	}
	return false;
}

static bool take_credentials(
	struct s3_config *config, const struct profile *profile, struct qmpsnap_error *err)
{
	struct json_object *const sections[] = {profile->credentials, profile->config};
	const char *key = variable("AWS_ACCESS_KEY_ID");
	const char *secret = variable("AWS_SECRET_ACCESS_KEY");

	if (key && secret)
		return take(config, key, secret, variable("AWS_SESSION_TOKEN"), err);
	if (key || secret)
		return error_set(err, QMPSNAP_USAGE, "%s is set and %s isn't",
			key ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
			key ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
	for (size_t i = 0; i < 2; i++) {
		key = json_string(sections[i], "aws_access_key_id");
		secret = json_string(sections[i], "aws_secret_access_key");
		if (key && secret)
			return take(config, key, secret,
				json_string(sections[i], "aws_session_token"), err);
	}
	return no_credentials(profile, err);
}

/* ---- Place -------------------------------------------------------------------------------- */

/* It becomes a part of host names and of the signature's scope. */
static bool take_region(
	struct s3_config *config, const struct profile *profile, struct qmpsnap_error *err)
{
	const char *region = either(variable("AWS_REGION"), variable("AWS_DEFAULT_REGION"));

	region = either(region, either(setting(profile, "region"), "us-east-1"));
	if (strlen(region) >= S3_REGION_BYTES ||
		region[strspn(region, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789-_")] != '\0')
		return error_set(err, QMPSNAP_USAGE, "'%.64s' is no region of S3", region);
	(void)snprintf(config->region, sizeof(config->region), "%s", region);
	return true;
}

static const char *configured_endpoint(const struct profile *profile)
{
	const char *ignored = variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
	const char *services = setting(profile, "services");
	char section[SECTION_BYTES];
	struct json_object *all;

	if (ignored && strcasecmp(ignored, "true") == 0)
		return NULL;
	(void)snprintf(section, sizeof(section), "services %s", services ? services : "");
	all = json_member(profile->config_file, section, json_type_object);
	return either(json_string(json_member(all, "s3", json_type_object), "endpoint_url"),
		setting(profile, "endpoint_url"));
}

static bool take_endpoint(
	struct s3_config *config, const struct profile *profile, struct qmpsnap_error *err)
{
	struct json_object *s3 = json_member(profile->config, "s3", json_type_object);
	const char *style = json_string(s3, "addressing_style");
	const char *url = either(variable("AWS_ENDPOINT_URL_S3"), variable("AWS_ENDPOINT_URL"));

	url = either(url, configured_endpoint(profile));
	if (url && !url_base(config->endpoint, url))
		return error_set(
			err, QMPSNAP_USAGE, "the endpoint of S3 isn't the URL of a service");
	/* Services other than AWS have seldom a host name for each bucket. */
	config->virtual_host =
		style && strcmp(style, "auto") != 0 ? strcmp(style, "virtual") == 0 : !url;
	return true;
}

bool s3_config_open(struct s3_config *config, struct qmpsnap_error *err)
{
	struct profile profile = {.name = NULL};

	*config = (struct s3_config){.access_key = NULL};
	bool well = find_profile(&profile, err) && take_credentials(config, &profile, err) &&
		    take_region(config, &profile, err) && take_endpoint(config, &profile, err);
	const char *bundle =
		well ? either(variable("AWS_CA_BUNDLE"), setting(&profile, "ca_bundle")) : NULL;
	if (bundle && !(config->ca_bundle = strdup(bundle)))
		well = error_no_memory(err);
	(void)json_object_put(profile.config_file);
	(void)json_object_put(profile.credentials_file);
	return well;
}

void s3_config_free(struct s3_config *config)
{
	free(config->access_key);
	free(config->secret_key);
	free(config->session_token);
	free(config->ca_bundle);
	*config = (struct s3_config){.access_key = NULL};
}

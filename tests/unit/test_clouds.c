/* SPDX-License-Identifier: Apache-2.0 */
#include "store_kit.h"
#include "suite.h"
#include "upload/clouds.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *home; /* also the current folder */
static struct qmpsnap_error err;
static char warnings[4096];

static void note_warning(enum qmpsnap_log_level level, const char *message, void *data)
{
	const size_t used = strlen(warnings);

	(void)level;
	(void)data;
	(void)snprintf(warnings + used, sizeof(warnings) - used, "%s\n", message);
}

static void setup(void)
{
	home = kit_folder("/tmp");
	ck_assert_int_eq(chdir(home), 0);
	ck_assert_int_eq(clearenv(), 0);
	ck_assert_int_eq(setenv("HOME", home, 1), 0);
	warnings[0] = '\0';
	qmpsnap_log_to(QMPSNAP_LOG_WARNING, note_warning, NULL);
}

static void teardown(void)
{
	ck_assert_int_eq(chdir("/"), 0);
	kit_remove_folder(home);
}

static void put_file(const char *name, const char *text, mode_t mode)
{
	FILE *file = fopen(name, "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(text, file), 0);
	ck_assert_int_eq(fclose(file), 0);
	ck_assert_int_eq(chmod(name, mode), 0);
}

/* "A=1 B=2" */
static void put_environment(const char *words)
{
	char text[1024];

	(void)snprintf(text, sizeof(text), "%s", words);
	for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
		char *equals = strchr(word, '=');
		ck_assert_ptr_nonnull(equals);
		*equals = '\0';
		ck_assert_int_eq(setenv(word, equals + 1, 1), 0);
	}
}

static void say(char *text, size_t size, const char *key, const char *value)
{
	const size_t used = strlen(text);

	if (value)
		(void)snprintf(text + used, size - used, "%s%s=%s", used ? " " : "", key, value);
}

/* All that a cloud says, secrets too. */
static const char *summary(const struct cloud *c)
{
	static const char *const auths[] = {"none", "password", "token", "appcred"};
	static char text[2048];

	text[0] = '\0';
	say(text, sizeof(text), "cloud", c->name);
	say(text, sizeof(text), "auth", auths[c->auth]);
	say(text, sizeof(text), "url", c->auth_url);
	say(text, sizeof(text), "user", c->username);
	say(text, sizeof(text), "userid", c->user_id);
	say(text, sizeof(text), "udi", c->user_domain_id);
	say(text, sizeof(text), "udn", c->user_domain_name);
	say(text, sizeof(text), "pw", c->password);
	say(text, sizeof(text), "token", c->token);
	say(text, sizeof(text), "pi", c->project_id);
	say(text, sizeof(text), "pn", c->project_name);
	say(text, sizeof(text), "pdi", c->project_domain_id);
	say(text, sizeof(text), "pdn", c->project_domain_name);
	say(text, sizeof(text), "di", c->domain_id);
	say(text, sizeof(text), "dn", c->domain_name);
	say(text, sizeof(text), "sys", c->system_scope);
	say(text, sizeof(text), "aci", c->credential_id);
	say(text, sizeof(text), "acn", c->credential_name);
	say(text, sizeof(text), "acs", c->credential_secret);
	say(text, sizeof(text), "at", c->endpoint);
	say(text, sizeof(text), "region", c->region);
	say(text, sizeof(text), "if", c->interface);
	say(text, sizeof(text), "cacert", c->cacert);
	say(text, sizeof(text), "cert", c->cert);
	say(text, sizeof(text), "key", c->key);
	if (c->insecure)
		say(text, sizeof(text), "insecure", "1");
	return text;
}

#define AUTH                                                                                       \
	"auth: {auth_url: 'http://k:5000/v3', username: u, password: p, project_name: d, "         \
	"user_domain_id: default, project_domain_id: default}"
#define AUTH_SAYS " auth=password url=http://k:5000/v3 user=u udi=default pw=p pn=d pdi=default"

static const struct row {
	const char *clouds, *secure, *public; /* files; NULL: none */
	const char *environment, *name;
	const char *says; /* the summary, or how the error begins */
} rows[] = {
	/* Which cloud */
	{"clouds: {a: {" AUTH "}}", NULL, NULL, "", NULL, "cloud=a" AUTH_SAYS " if=public"},
	{"clouds: {a: {" AUTH "}, b: {" AUTH ", region_name: R}}", NULL, NULL, "", "b",
		"cloud=b" AUTH_SAYS " region=R if=public"},
	{"clouds: {a: {" AUTH "}, b: {" AUTH "}}", NULL, NULL, "OS_CLOUD=b", NULL,
		"cloud=b" AUTH_SAYS " if=public"},
	{"clouds: {a: {" AUTH "}, b: {" AUTH "}}", NULL, NULL, "OS_CLOUD=b", "a",
		"cloud=a" AUTH_SAYS " if=public"},
	{"clouds: {a: {" AUTH "}, b: {" AUTH "}}", NULL, NULL, "", NULL, "no cloud was named"},
	{"clouds: {a: {" AUTH "}}", NULL, NULL, "", "b", "there is no cloud 'b' in clouds.yaml"},
	{NULL, NULL, NULL, "", "b", "there is no cloud 'b' in clouds.yaml"},
	{NULL, NULL, NULL, "", NULL, "no cloud was named"},
	{NULL, NULL, NULL, "OS_CLOUD=b", NULL, "there is no cloud 'b' in clouds.yaml"},
	/* The variables are a cloud, and no more than that */
	{"clouds: {a: {" AUTH "}}", NULL, NULL,
		"OS_AUTH_URL=http://e OS_USERNAME=eu OS_PASSWORD=ep OS_PROJECT_ID=ei "
		"OS_USER_DOMAIN_NAME=ed OS_REGION_NAME=er OS_INTERFACE=internal OS_CACERT=/c",
		NULL,
		"cloud=envvars auth=password url=http://e user=eu udn=ed pw=ep pi=ei region=er "
		"if=internal cacert=/c"},
	{"clouds: {a: {" AUTH "}}", NULL, NULL, "OS_AUTH_URL=http://e OS_USERNAME=eu", "a",
		"cloud=a" AUTH_SAYS " if=public"},
	{"clouds: {a: {" AUTH "}}", NULL, NULL, "OS_AUTH_URL=http://e OS_CLOUD=a", NULL,
		"cloud=a" AUTH_SAYS " if=public"},
	{"clouds: {a: {" AUTH "}}", NULL, NULL, "OS_REGION_NAME=R OS_TEST_X=1 OS_LOG_CAPTURE=1",
		NULL, "cloud=a" AUTH_SAYS " region=R if=public"},
	{NULL, NULL, NULL,
		"OS_AUTH_URL=http://e OS_TOKEN=t OS_TENANT_NAME=tn OS_PROJECT_DOMAIN_ID=default",
		"envvars",
		"cloud=envvars auth=token url=http://e token=t pn=tn pdi=default if=public"},
	{NULL, NULL, NULL, "OS_CLOUD_NAME=me OS_AUTH_TYPE=none OS_ENDPOINT=http://g", NULL,
		"cloud=me auth=none at=http://g if=public"},
	{NULL, NULL, NULL,
		"OS_AUTH_TYPE=v3applicationcredential OS_AUTH_URL=http://e "
		"OS_APPLICATION_CREDENTIAL_ID=ai OS_APPLICATION_CREDENTIAL_SECRET=as",
		NULL, "cloud=envvars auth=appcred url=http://e aci=ai acs=as if=public"},
	{NULL, NULL, NULL,
		"OS_AUTH_URL=http://e OS_USERNAME=u OS_PASSWORD=p OS_PROJECT_NAME=n "
		"OS_DEFAULT_DOMAIN_ID=default OS_INSECURE=True OS_IMAGE_ENDPOINT_OVERRIDE=http://i "
		"OS_ENDPOINT_TYPE=internalURL",
		NULL,
		"cloud=envvars auth=password url=http://e user=u udi=default pw=p pn=n pdi=default "
		"at=http://i if=internal"},
	{NULL, NULL, NULL, "OS_AUTH_TYPE=none OS_ENDPOINT=http://g OS_VERIFY=false", NULL,
		"cloud=envvars auth=none at=http://g if=public"},
	/* secure.yaml and profiles */
	{"clouds: {a: {auth: {auth_url: x, username: u, user_domain_name: D, project_id: i}}}",
		"clouds: {a: {auth: {password: s, username: v}}}", NULL, "", "a",
		"cloud=a auth=password url=x user=v udn=D pw=s pi=i if=public"},
	{NULL, "clouds: {a: {" AUTH "}}", NULL, "", "a", "cloud=a" AUTH_SAYS " if=public"},
	{"clouds: {a: {profile: v, auth: {username: u, password: p, project_id: i, user-domain-id: "
	 "d}}}",
		NULL,
		"public-clouds: {v: {auth: {auth_url: 'https://{region_name}.v/', username: w}, "
		"interface: admin, regions: [X, {name: Y, values: {interface: internal}}]}}",
		"OS_REGION_NAME=Y", "a",
		"cloud=a auth=password url=https://Y.v/ user=u udi=d pw=p pi=i region=Y "
		"if=internal"},
	{"clouds: {a: {profile: v, region_name: Z, auth: {username: u, password: p, project_id: i, "
	 "user_domain_id: d}}}",
		NULL,
		"public-clouds: {v: {auth: {auth_url: 'https://{region_name}.v/'}, regions: [X]}}",
		"", "a",
		"cloud=a auth=password url=https://Z.v/ user=u udi=d pw=p pi=i region=Z if=public"},
	{"clouds: {a: {profile: v, auth: {username: u, password: p, project_id: i, user_domain_id: "
	 "d}}}",
		NULL,
		"public-clouds: {v: {auth: {auth_url: x}, regions: [{name: X, values: {regions: "
		"[Y], interface: admin}}]}}",
		"", "a", "cloud=a auth=password url=x user=u udi=d pw=p pi=i region=X if=admin"},
	{"clouds: {a: {profile: gone, auth: {username: u, password: p, project_id: i}}}", NULL,
		NULL, "", "a", "cloud a: auth_url is missing"},
	/* Regions */
	{"clouds: {a: {regions: [X, Y], " AUTH "}}", NULL, NULL, "", "a",
		"cloud=a" AUTH_SAYS " region=X if=public"},
	{"clouds: {a: {regions: [X, Y], " AUTH "}}", NULL, NULL, "OS_REGION_NAME=Y", "a",
		"cloud=a" AUTH_SAYS " region=Y if=public"},
	{"clouds: {a: {regions: [X, Y], " AUTH "}}", NULL, NULL, "OS_REGION_NAME=Q", "a",
		"the cloud 'a' has no region 'Q'"},
	{"clouds: {a: {region_name: X, " AUTH "}}", NULL, NULL, "OS_REGION_NAME=Y", "a",
		"the cloud 'a' has no region 'Y'"},
	{"clouds: {a: {region_name: X, image_region_name: I, image_interface: admin, " AUTH "}}",
		NULL, NULL, "", "a", "cloud=a" AUTH_SAYS " region=I if=admin"},
	/* Endpoints and interfaces; each was compared with openstacksdk 0.101 */
	{"clouds: {a: {endpoint_override: 'http://e', endpoint: 'http://x', " AUTH "}}", NULL, NULL,
		"", "a", "cloud=a" AUTH_SAYS " if=public"},
	{"clouds: {a: {image_endpoint: 'http://i', " AUTH "}}", NULL, NULL, "", "a",
		"cloud=a" AUTH_SAYS " at=http://i if=public"},
	{"clouds: {a: {image_endpoint: 'http://i', image_endpoint_override: 'http://o', " AUTH "}}",
		NULL, NULL, "", "a", "cloud=a" AUTH_SAYS " at=http://o if=public"},
	{NULL, NULL, NULL, "OS_AUTH_TYPE=none OS_ENDPOINT=http://n OS_IMAGE_ENDPOINT=http://i",
		NULL, "cloud=envvars auth=none at=http://i if=public"},
	{NULL, NULL, NULL, "OS_AUTH_TYPE=none OS_ENDPOINT_OVERRIDE=http://n", NULL,
		"cloud envvars: image_endpoint_override is missing"},
	{"clouds: {a: {endpoint_type: internal, interface: admin, " AUTH "}}", NULL, NULL, "", "a",
		"cloud=a" AUTH_SAYS " if=internal"},
	{"clouds: {a: {endpoint_type: internal, image_interface: admin, " AUTH "}}", NULL, NULL, "",
		"a", "cloud=a" AUTH_SAYS " if=admin"},
	{"clouds: {a: {image_endpoint_type: internalURL, interface: admin, " AUTH "}}", NULL, NULL,
		"", "a", "cloud=a" AUTH_SAYS " if=internal"},
	/* Spellings and kinds of login */
	{"clouds: {a: {auth-type: v3token, auth: {auth-url: x, auth_token: t, domain_name: D}}}",
		NULL, NULL, "", "a", "cloud=a auth=token url=x token=t dn=D if=public"},
	{"clouds: {a: {username: o, auth: {auth_url: x, user_id: 0123, password: 'null', "
	 "project_name: n, domain_id: D}}}",
		NULL, NULL, "", "a",
		"cloud=a auth=password url=x user=o userid=0123 udi=D pw=null pn=n pdi=D "
		"if=public"},
	{"clouds: {a: {auth: {auth_url: x, application_credential_name: n, username: u, "
	 "user_domain_id: d, application_credential_secret: s}}}",
		NULL, NULL, "", "a",
		"cloud=a auth=appcred url=x user=u udi=d acn=n acs=s if=public"},
	{"clouds: {a: {auth: {auth_url: x, username: u, password: p, user_domain_id: d, "
	 "system_scope: all}}}",
		NULL, NULL, "", "a",
		"cloud=a auth=password url=x user=u udi=d pw=p sys=all if=public"},
	{"clouds: {a: {auth_type: none, image_endpoint_override: 'http://i'}}", NULL, NULL, "", "a",
		"cloud=a auth=none at=http://i if=public"},
	{"clouds: {a: {identity_endpoint_override: 'http://i', auth: {token: t}}}", NULL, NULL, "",
		"a", "cloud=a auth=token url=http://i token=t if=public"},
	/* TLS */
	{"clouds: {a: {verify: false, cacert: ~, cert: /c, key: /k, " AUTH "}}", NULL, NULL, "",
		"a", "cloud=a" AUTH_SAYS " if=public cert=/c key=/k insecure=1"},
	{"clouds: {a: {verify: True, insecure: no, cacert: /ca, " AUTH "}}", NULL, NULL, "", "a",
		"cloud=a" AUTH_SAYS " if=public cacert=/ca"},
	/* Aliases and merges */
	{"clouds:\n  a: &x\n    " AUTH
	 "\n    region_name: X\n  b:\n    <<: *x\n    region_name: Y\n",
		NULL, NULL, "", "b", "cloud=b" AUTH_SAYS " region=Y if=public"},
	{"x: &x {region_name: X, interface: admin}\ny: &y {region_name: Y}\nclouds:\n  b:\n"
	 "    " AUTH "\n    <<: [*y, *x]\n",
		NULL, NULL, "", "b", "cloud=b" AUTH_SAYS " region=Y if=admin"},
	/* What is missing or unknown */
	{"clouds: {a: {auth_type: v3oidcpassword, " AUTH "}}", NULL, NULL, "", "a",
		"cloud a: the auth_type 'v3oidcpassword' is not known here"},
	{"clouds: {a: {interface: intern, " AUTH "}}", NULL, NULL, "", "a",
		"cloud a: the interface 'intern' is none of"},
	{"clouds: {a: {auth: {auth_url: x, password: p}}}", NULL, NULL, "", "a",
		"cloud a: username is missing"},
	{"clouds: {a: {auth: {auth_url: x, username: u}}}", NULL, NULL, "", "a",
		"cloud a: password is missing"},
	{"clouds: {a: {auth: {auth_url: x, username: u, password: p}}}", NULL, NULL, "", "a",
		"cloud a: user_domain_name is missing"},
	{"clouds: {a: {auth: {auth_url: x, user_id: u, password: p}}}", NULL, NULL, "", "a",
		"cloud a: project_name is missing"},
	{"clouds: {a: {auth: {auth_url: x, user_id: u, password: p, project_name: n}}}", NULL, NULL,
		"", "a", "cloud a: project_domain_name is missing"},
	{"clouds: {a: {auth_type: token, auth: {auth_url: x}}}", NULL, NULL, "", "a",
		"cloud a: token is missing"},
	{"clouds: {a: {auth_type: none}}", NULL, NULL, "", "a",
		"cloud a: image_endpoint_override is missing"},
	{"clouds: {a: {auth_type: v3applicationcredential, auth: {auth_url: x, "
	 "application_credential_id: i}}}",
		NULL, NULL, "", "a", "cloud a: application_credential_secret is missing"},
	{"clouds: [a, b]", NULL, NULL, "", "a", "there is no cloud 'a'"},
	{"clouds: {a: [1]}", NULL, NULL, "", "a", "there is no cloud 'a'"},
	{"", NULL, NULL, "", "a", "there is no cloud 'a'"},
	{"clouds: {a: {auth: [hunter2", NULL, NULL, "", "a", "./clouds.yaml, line 2: "},
	{"clouds: &c {a: *c}", NULL, NULL, "", "a", "./clouds.yaml, line 1: an alias has no"},
	{"clouds: {[a]: b}", NULL, NULL, "", "a", "./clouds.yaml, line 1: a key must be a text"},
	{"clouds: {a: \"x\\0y\"}", NULL, NULL, "", "a", "./clouds.yaml, line 1: there is a NUL"},
	{"clouds: {a: {<<: hunter2}}", NULL, NULL, "", "a", "./clouds.yaml, line 1: << takes"},
};

START_TEST(test_clouds)
{
	const struct row *row = &rows[_i];

	if (row->clouds)
		put_file("clouds.yaml", row->clouds, 0600);
	if (row->secure)
		put_file("secure.yaml", row->secure, 0600);
	if (row->public)
		put_file("clouds-public.yaml", row->public, 0600);
	put_environment(row->environment);
	struct cloud *cloud = cloud_open(row->name, "image", &err);
	if (cloud) {
		ck_assert_str_eq(summary(cloud), row->says);
	} else {
		ck_assert_int_eq(err.code, QMPSNAP_USAGE);
		ck_assert_msg(strncmp(err.message, row->says, strlen(row->says)) == 0,
			"%s instead of %s", err.message, row->says);
		ck_assert_ptr_null(strstr(err.message, "hunter2"));
	}
	cloud_free(cloud);
}
END_TEST

/* The search path, its first file winning. */
START_TEST(test_search_path)
{
	static const char *const places[] = {"named.yaml", "clouds.yaml", "clouds.yml",
		"clouds.json", "x/openstack/clouds.yaml", ".config/openstack/clouds.yaml"};
	char text[256];

	ck_assert_int_eq(mkdir("x", 0700), 0);
	ck_assert_int_eq(mkdir("x/openstack", 0700), 0);
	ck_assert_int_eq(mkdir(".config", 0700), 0);
	ck_assert_int_eq(mkdir(".config/openstack", 0700), 0);
	(void)snprintf(text, sizeof(text), "%s/x", home);
	ck_assert_int_eq(setenv("XDG_CONFIG_HOME", text, 1), 0);
	(void)snprintf(text, sizeof(text), "%s/named.yaml", home);
	ck_assert_int_eq(setenv("OS_CLIENT_CONFIG_FILE", text, 1), 0);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		(void)snprintf(text, sizeof(text),
			"{\"clouds\": {\"c\": {\"region_name\": \"%zu\", \"auth_type\": \"none\", "
			"\"auth\": {\"endpoint\": \"http://h\"}}}}",
			i);
		put_file(places[i], text, 0600);
	}
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct cloud *cloud = cloud_open("c", "image", &err);
		ck_assert_msg(cloud != NULL, "%s", err.message);
		(void)snprintf(text, sizeof(text), "%zu", i);
		ck_assert_str_eq(cloud->region, text);
		cloud_free(cloud);
		ck_assert_int_eq(unlink(places[i]), 0);
	}
	ck_assert_ptr_nonnull(strstr(warnings, "OS_CLIENT_CONFIG_FILE"));
}
END_TEST

START_TEST(test_readable_by_others)
{
	static const struct {
		const char *text;
		mode_t mode;
		bool warns;
	} files[] = {
		{"clouds: {a: {" AUTH "}}", 0600, false},
		{"clouds: {a: {" AUTH "}}", 0604, true},
		{"clouds: {a: {" AUTH "}}", 0644, true},
		{"clouds: {a: {" AUTH "}}", 0640, false}, /* our own group */
		{"clouds: {a: {password: p, auth: {auth_url: x}}}", 0644, true},
		{"clouds: {a: {auth: {auth_url: x}}, b: {auth: {auth_token: t}}}", 0644, true},
		{"clouds: {a: {auth: {auth_url: x}}}", 0644, false},
		{"clouds: {a: {regions: [X, {name: Y, values: {auth: {password: p}}}]}}", 0644,
			true},
		{"clouds: {a: {regions: [X, {name: Y, values: {interface: admin}}]}}", 0644, false},
		{"public-clouds: {v: {auth: {password: p}}}", 0644, true},
	};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		warnings[0] = '\0';
		put_file("clouds.yaml", files[i].text, files[i].mode);
		cloud_free(cloud_open("a", "image", &err));
		ck_assert_msg((strstr(warnings, "other users may read ./clouds.yaml") != NULL) ==
				      files[i].warns,
			"row %zu: %s", i, warnings);
	}
}
END_TEST

/* Where no key is named, it is in the certificate's file. */
START_TEST(test_key_readable_by_others)
{
	static const struct {
		const char *names;
		mode_t cert, key;
		const char *warns; /* of which file; NULL: none */
	} keys[] = {
		{"cert: c.pem, key: k.pem", 0644, 0600, NULL},
		{"cert: c.pem, key: k.pem", 0644, 0644, "read k.pem"},
		{"cert: c.pem", 0644, 0644, "read c.pem"},
		{"cert: c.pem", 0600, 0644, NULL},
		{"cert: c.pem, key: none.pem", 0644, 0644, NULL},
	};
	char text[512];

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		(void)snprintf(text, sizeof(text), "clouds: {a: {%s, " AUTH "}}", keys[i].names);
		put_file("clouds.yaml", text, 0600);
		put_file("c.pem", "", keys[i].cert);
		put_file("k.pem", "", keys[i].key);
		warnings[0] = '\0';
		cloud_free(cloud_open("a", "image", &err));
		ck_assert_msg(
			keys[i].warns ? strstr(warnings, keys[i].warns) != NULL : !warnings[0],
			"row %zu: %s", i, warnings);
	}
}
END_TEST

START_TEST(test_at_url)
{
	put_environment("OS_CACERT=~/ca.pem OS_INSECURE=yes OS_AUTH_URL=x");
	struct cloud *cloud = cloud_at_url("https://h:9292", &err);
	char want[512];

	(void)snprintf(want, sizeof(want),
		"cloud=https://h:9292 auth=none at=https://h:9292 cacert=%s/ca.pem", home);
	ck_assert_str_eq(summary(cloud), want);
	cloud_free(cloud);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("clouds");
	TCase *c = tcase_create("clouds");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_loop_test(c, test_clouds, 0, sizeof(rows) / sizeof(rows[0]));
	tcase_add_test(c, test_search_path);
	tcase_add_test(c, test_readable_by_others);
	tcase_add_test(c, test_key_readable_by_others);
	tcase_add_test(c, test_at_url);
	suite_add_tcase(s, c);
	return s;
}

SUITE_MAIN(suite)

/* SPDX-License-Identifier: Apache-2.0
 *
 * Configuration files: clouds.yaml, secure.yaml, clouds-public.yaml, ~/.aws/config and
 * ~/.aws/credentials, separated by lines of "---8<---"; as parsers and as all of what reads them.
 */
#include "fuzz.h"
#include "upload/clouds.h"
#include "upload/ini.h"
#include "upload/s3_config.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const names[] = {
	"clouds.yaml", "secure.yaml", "clouds-public.yaml", "aws-config", "aws-credentials"};
enum { N_FILES = sizeof(names) / sizeof(names[0]) };

static char folder[] = "/tmp/qmpsnap-fuzz-XXXXXX";

static void remove_folder(void)
{
	for (size_t i = 0; i < N_FILES; i++)
		(void)unlink(names[i]);
	(void)chdir("/");
	(void)rmdir(folder);
}

static void set_up(void)
{
	char path[PATH_MAX];

	FUZZ_CHECK(mkdtemp(folder) && chdir(folder) == 0 && clearenv() == 0);
	FUZZ_CHECK(atexit(remove_folder) == 0);
	FUZZ_CHECK(setenv("HOME", "/nonexistent", 1) == 0);
	(void)snprintf(path, sizeof(path), "%s/aws-config", folder);
	FUZZ_CHECK(setenv("AWS_CONFIG_FILE", path, 1) == 0);
	(void)snprintf(path, sizeof(path), "%s/aws-credentials", folder);
	FUZZ_CHECK(setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1) == 0);
}

static void put_file(const char *name, const char *text, size_t len)
{
	FILE *file = fopen(name, "w");

	FUZZ_CHECK(file && fwrite(text, 1, len, file) == len && fclose(file) == 0);
	FUZZ_CHECK(chmod(name, 0600) == 0);
}

static void parse_alone(const char *text, size_t len)
{
	struct json_object *object = NULL;
	struct qmpsnap_error err;

	if (config_file_parse(text, len, "a file", &object, &err))
		(void)json_object_put(object);
	if (ini_parse(text, "a file", &object, &err))
		(void)json_object_put(object);
}

static void read_all(const char *cloud_name, const char *region)
{
	struct s3_config s3 = {.access_key = NULL};
	struct qmpsnap_error err = {.code = QMPSNAP_OK};
	struct cloud *cloud;

	if (region)
		FUZZ_CHECK(setenv("OS_REGION_NAME", region, 1) == 0);
	else
		FUZZ_CHECK(unsetenv("OS_REGION_NAME") == 0);
	cloud = cloud_open(cloud_name, "image", &err);
	FUZZ_CHECK(cloud ? cloud->name != NULL : err.message[0] != '\0');
	FUZZ_CHECK(!cloud || cloud->auth == CLOUD_AUTH_NONE || cloud->auth_url);
	cloud_free(cloud);
	FUZZ_CHECK(s3_config_open(&s3, &err) ? s3.access_key && s3.secret_key
					     : err.message[0] != '\0');
	s3_config_free(&s3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool is_set_up;
	struct fuzz_input in = {data, size};

	if (!is_set_up)
		set_up();
	is_set_up = true;
	for (size_t i = 0; i < N_FILES; i++) {
		size_t len;
		char *text = fuzz_until(&in, "---8<---\n", &len);
		(void)unlink(names[i]);
		if (text) {
			parse_alone(text, len);
			put_file(names[i], text, len);
		}
		free(text);
	}
	read_all(NULL, NULL);
	read_all("c", "r");
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * replay FILE|FOLDER... - runs a target once on each file, without libFuzzer, so that any compiler
 * will do.  The last line is "1 passed, 0 failed"; a finding ends the program. */
#include "fuzz.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static unsigned n_runs;

static void run_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	struct stat status;
	uint8_t *bytes;

	FUZZ_CHECK(file && fstat(fileno(file), &status) == 0);
	/* Of exactly that size, so that the sanitizer sees a read behind the end. */
	bytes = malloc(status.st_size ? (size_t)status.st_size : 1);
	FUZZ_CHECK(bytes);
	FUZZ_CHECK(fread(bytes, 1, (size_t)status.st_size, file) == (size_t)status.st_size);
	(void)fclose(file);
	(void)fprintf(stderr, "%s\n", path); /* for whoever looks for the cause of an end */
	(void)LLVMFuzzerTestOneInput(bytes, (size_t)status.st_size);
	free(bytes);
	n_runs++;
}

static void run_folder(DIR *folder, const char *name)
{
	const struct dirent *entry;
	char path[PATH_MAX];

	while ((entry = readdir(folder))) {
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", name, entry->d_name);
		run_file(path);
	}
	(void)closedir(folder);
}

int main(int argc, char **argv)
{
	(void)LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
	for (int i = 1; i < argc; i++) {
		DIR *folder = opendir(argv[i]);
		if (folder)
			run_folder(folder, argv[i]);
		else
			run_file(argv[i]);
	}
	(void)printf("%u inputs\n%d passed, %d failed\n", n_runs, n_runs > 0, n_runs == 0);
	return n_runs > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

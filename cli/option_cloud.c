/* SPDX-License-Identifier: Apache-2.0
 *
 * The values of the options that are about clouds and the records of images there. */
#include "base/error.h"
#include "cli/options.h"

#include <stdlib.h>
#include <string.h>

bool option_set_os_cloud(struct options *options, const char *value, struct qmpsnap_error *err)
{
	options->store.os_cloud = value;
	return option_check_text(value, err);
}

bool option_set_insecure(struct options *options, const char *value, struct qmpsnap_error *err)
{
	(void)value, (void)err;
	options->store.insecure = true;
	return true;
}

bool option_set_base_image(struct options *options, const char *value, struct qmpsnap_error *err)
{
	options->store.base_image = value;
	return option_check_text(value, err);
}

bool option_add_tag(struct options *options, const char *value, struct qmpsnap_error *err)
{
	const size_t n = options->store.n_tags;

	/* In the commands about images it is one that they have. */
	if (options->command != COMMAND_SNAPSHOT) {
		options->images.tag = value;
		return option_check_text(value, err);
	}
	const char **bigger;

	if (!option_check_text(value, err))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (strcmp(options->tags[i], value) == 0)
			return error_set(err, QMPSNAP_USAGE, "'%.64s' was given twice", value);
	}
	if (!(bigger = realloc((void *)options->tags, (n + 1) * sizeof(*bigger))))
		return error_no_memory(err);
	bigger[n] = value;
	options->tags = bigger;
	options->store.tags = bigger;
	options->store.n_tags = n + 1;
	return true;
}

/* Whether it is a header is the store's to say. */
bool option_add_header(struct options *options, const char *value, struct qmpsnap_error *err)
{
	if (!option_check_word(value, err) ||
		!option_append(&options->headers, &options->store.n_headers, value, err))
		return false;
	options->store.headers = options->headers;
	return true;
}

bool option_set_cacert(struct options *options, const char *value, struct qmpsnap_error *err)
{
	options->store.cacert = value;
	return option_check_word(value, err);
}

bool option_set_header_file(struct options *options, const char *value, struct qmpsnap_error *err)
{
	options->store.header_file = value;
	return option_check_word(value, err);
}

bool option_set_visibility(struct options *options, const char *value, struct qmpsnap_error *err)
{
	static const char *const words[] = {"private", "shared", "community", "public"};

	options->store.visibility = value;
	return option_choose(value, words, 4, err) >= 0;
}

bool option_set_protected(struct options *options, const char *value, struct qmpsnap_error *err)
{
	(void)value, (void)err;
	options->store.is_protected = true;
	return true;
}

bool option_set_store(struct options *options, const char *value, struct qmpsnap_error *err)
{
	options->store.backend = value;
	if (strchr(value, ':')) {
		(void)error_set(err, QMPSNAP_USAGE,
			"'%.64s' is no name of one of the service's stores", value);
		error_hint(err, "where the images go is said by --to; --store names one of the "
				"stores that an image service has");
		return false;
	}
	return option_check_text(value, err);
}

bool option_set_transfer(struct options *options, const char *value, struct qmpsnap_error *err)
{
	static const char *const words[] = {"chunked", "sized"};
	const int chosen = option_choose(value, words, 2, err);

	options->store.sized = chosen == 1;
	return chosen >= 0;
}

bool option_set_import(struct options *options, const char *value, struct qmpsnap_error *err)
{
	(void)value, (void)err;
	options->store.import = true;
	return true;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * The values of the options that say how a snapshot is taken. */
#include "base/error.h"
#include "base/units.h"
#include "cli/options.h"

#include <stdio.h>
#include <string.h>

int option_choose(const char *value, const char *const *words, int n, struct qmpsnap_error *err)
{
	size_t used;

	for (int i = 0; i < n; i++) {
		if (strcmp(value, words[i]) == 0)
			return i;
	}
	(void)error_set(err, QMPSNAP_USAGE, "'%.64s' is none of ", value);
	used = strlen(err->message);
	for (int i = 0; i < n; i++) {
		(void)snprintf(err->message + used, sizeof(err->message) - used, "%s%s",
			i ? ", " : "", words[i]);
		used = strlen(err->message);
	}
	return -1;
}

bool option_set_method(struct options *options, const char *value, struct qmpsnap_error *err)
{
	static const char *const words[] = {"auto", "stream", "backup", "mirror", "cold"};

	options->snapshot.method = value;
	return option_choose(value, words, 5, err) >= 0;
}

bool option_set_flavour(struct options *options, const char *value, struct qmpsnap_error *err)
{
	static const char *const words[] = {"auto", "filter", "job"};

	options->snapshot.flavour = value;
	return option_choose(value, words, 3, err) >= 0;
}

bool option_set_zero_scan(struct options *options, const char *value, struct qmpsnap_error *err)
{
	static const char *const words[] = {"auto", "always", "never"};
	const int chosen = option_choose(value, words, 3, err);

	if (chosen >= 0)
		options->snapshot.zero_scan = (enum qmpsnap_zero_scan)chosen;
	return chosen >= 0;
}

bool option_set_quiesce(struct options *options, const char *value, struct qmpsnap_error *err)
{
	static const char *const words[] = {"auto", "require", "off"};
	const int chosen = option_choose(value, words, 3, err);

	if (chosen >= 0)
		options->snapshot.quiesce = (enum qmpsnap_quiesce)chosen;
	return chosen >= 0;
}

bool option_set_qga(struct options *options, const char *value, struct qmpsnap_error *err)
{
	options->snapshot.qga_address = value;
	return option_check_word(value, err);
}

bool option_set_image(struct options *options, const char *value, struct qmpsnap_error *err)
{
	options->snapshot.image_path = value;
	return option_check_word(value, err);
}

bool option_set_image_format(struct options *options, const char *value, struct qmpsnap_error *err)
{
	options->snapshot.image_format = value;
	return option_check_word(value, err);
}

bool option_set_firmware(struct options *options, const char *value, struct qmpsnap_error *err)
{
	(void)value, (void)err;
	options->snapshot.firmware = true;
	return true;
}

bool option_set_allow_plaintext(
	struct options *options, const char *value, struct qmpsnap_error *err)
{
	(void)value, (void)err;
	options->snapshot.allow_plaintext = true;
	return true;
}

bool option_set_release_monitor(
	struct options *options, const char *value, struct qmpsnap_error *err)
{
	(void)value, (void)err;
	options->snapshot.release_monitor = true;
	return true;
}

bool option_set_force_share(struct options *options, const char *value, struct qmpsnap_error *err)
{
	(void)value, (void)err;
	options->snapshot.force_share = true;
	return true;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * The values of the options about images in stores, and about backups. */
#include "base/error.h"
#include "cli/options.h"

#include <stdlib.h>
#include <string.h>

bool option_set_guest(struct options *options, const char *value, struct qmpsnap_error *err)
{
	options->images.guest = value;
	return option_check_word(value, err);
}

bool option_set_set(struct options *options, const char *value, struct qmpsnap_error *err)
{
	options->images.set = value;
	return option_check_word(value, err);
}

bool option_set_since(struct options *options, const char *value, struct qmpsnap_error *err)
{
	options->images.since = value;
	return option_check_word(value, err);
}

bool option_set_before(struct options *options, const char *value, struct qmpsnap_error *err)
{
	options->images.before = value;
	return option_check_word(value, err);
}

bool option_set_all(struct options *options, const char *value, struct qmpsnap_error *err)
{
	(void)value, (void)err;
	options->images.all = true;
	return true;
}

bool option_set_into(struct options *options, const char *value, struct qmpsnap_error *err)
{
	options->images.folder = value;
	return option_check_word(value, err);
}

bool option_set_output(struct options *options, const char *value, struct qmpsnap_error *err)
{
	options->images.output = value;
	return option_check_word(value, err);
}

bool option_set_deep(struct options *options, const char *value, struct qmpsnap_error *err)
{
	(void)value, (void)err;
	options->images.deep = true;
	return true;
}

bool option_add_target(struct options *options, const char *value, struct qmpsnap_error *err)
{
	if (!option_check_word(value, err) ||
		!option_append(&options->targets, &options->images.n_targets, value, err))
		return false;
	options->images.targets = options->targets;
	return true;
}

bool option_set_backup_type(struct options *options, const char *value, struct qmpsnap_error *err)
{
	options->snapshot.backup_type = value;
	return option_check_text(value, err);
}

bool option_set_rotation(struct options *options, const char *value, struct qmpsnap_error *err)
{
	enum { DIGITS = 6 };
	const size_t digits = strspn(value, "0123456789");
	const unsigned long n =
		digits && digits <= DIGITS && !value[digits] ? strtoul(value, NULL, 10) : 0;

	options->snapshot.rotation = (unsigned)n;
	if (n > 0)
		return true;
	(void)error_set(err, QMPSNAP_USAGE, "'%.64s' is no number from 1 on", value);
	error_hint(err, "so many sets are kept, the new one among them; to delete all of them is "
			"the task of 'qmpsnap images delete'");
	return false;
}

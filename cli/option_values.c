/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "base/names.h"
#include "base/record_rules.h"
#include "base/units.h"
#include "cli/options.h"
#include "cli/text.h"

#include <stdlib.h>
#include <string.h>

bool option_check_word(const char *value, struct qmpsnap_error *err)
{
	if (!*value)
		return error_set(err, QMPSNAP_USAGE, "the value is empty");
	return true;
}

bool option_check_text(const char *value, struct qmpsnap_error *err)
{
	if (!option_check_word(value, err) || !record_check_name(value, err))
		return false;
	return text_is_clean(value) ||
	       error_set(
		       err, QMPSNAP_USAGE, "the value has control characters in it or isn't UTF-8");
}

bool option_append(const char ***list, size_t *n, const char *value, struct qmpsnap_error *err)
{
	const char **bigger = realloc((void *)*list, (*n + 1) * sizeof(*bigger));

	if (!bigger)
		return error_no_memory(err);
	bigger[(*n)++] = value;
	*list = bigger;
	return true;
}

bool option_set_qmp(struct options *options, const char *value, struct qmpsnap_error *err)
{
	options->qmp_address = value;
	options->snapshot.qmp_address = value;
	if (!strchr(value, '/') && strncmp(value, "unix:", 5) != 0 &&
		strncmp(value, "tcp:", 4) != 0 && strncmp(value, "fd:", 3) != 0) {
		(void)error_set(err, QMPSNAP_USAGE, "'%.64s' is no address of a monitor", value);
		error_hint(err, "unix:PATH, a path with a '/' in it such as ./vm.qmp, "
				"tcp:HOST:PORT or fd:N");
		return false;
	}
	return true;
}

bool option_set_name(struct options *options, const char *value, struct qmpsnap_error *err)
{
	options->snapshot.name = value;
	return option_check_text(value, err);
}

bool option_set_guest_id(struct options *options, const char *value, struct qmpsnap_error *err)
{
	options->snapshot.guest_id = value;
	return option_check_text(value, err);
}

bool option_set_to(struct options *options, const char *value, struct qmpsnap_error *err)
{
	options->snapshot.store_spec = value;
	return option_check_word(value, err);
}

bool option_add_disk(struct options *options, const char *value, struct qmpsnap_error *err)
{
	if (!option_check_word(value, err))
		return false;
	for (size_t i = 0; i < options->snapshot.n_disks; i++) {
		if (strcmp(options->disks[i], value) == 0)
			return error_set(err, QMPSNAP_USAGE, "'%.64s' was given twice", value);
	}
	if (!option_append(&options->disks, &options->snapshot.n_disks, value, err))
		return false;
	options->snapshot.disks = options->disks;
	return true;
}

bool option_set_format(struct options *options, const char *value, struct qmpsnap_error *err)
{
	for (int format = QMPSNAP_QCOW2; format <= QMPSNAP_VDI; format++) {
		if (strcmp(value, name_format((enum qmpsnap_format)format)) == 0) {
			options->snapshot.format = (enum qmpsnap_format)format;
			options->images.format = (enum qmpsnap_format)format;
			return true;
		}
	}
	return error_set(err, QMPSNAP_USAGE, "'%.64s' is none of qcow2, raw, vmdk, vdi", value);
}

/* Whether it may stand beside those that were given before. */
static bool check_property(
	const struct options *options, const char *text, const char *key, struct qmpsnap_error *err)
{
	const size_t front = strlen(key) + 1; /* with the '=' */

	for (size_t i = 0; i < options->snapshot.n_properties; i++) {
		if (strncmp(options->properties[i], text, front) == 0)
			return error_set(
				err, QMPSNAP_USAGE, "the key '%.64s' was given twice", key);
	}
	return text_is_clean(text) ||
	       error_set(err, QMPSNAP_USAGE,
		       "the property has control characters in it or isn't UTF-8");
}

bool option_add_property(struct options *options, const char *value, struct qmpsnap_error *err)
{
	const char *text;
	char *key;

	if (!record_parse_property(value, &key, &text, err))
		return false;
	const bool good = check_property(options, value, key, err);
	free(key);
	if (!good ||
		!option_append(&options->properties, &options->snapshot.n_properties, value, err))
		return false;
	options->snapshot.properties = options->properties;
	return true;
}

/* A size above zero, where leaving the option out means "no limit" or a default. */
static bool parse_amount(
	const char *value, const char *what, uint64_t *bytes, struct qmpsnap_error *err)
{
	if (units_parse_size(value, bytes) && *bytes > 0)
		return true;
	(void)error_set(err, QMPSNAP_USAGE, "'%.64s' is no %s", value, what);
	error_hint(err, "a number above 0 with K, M, G or T (powers of 1024) behind it: 100M");
	return false;
}

bool option_set_speed(struct options *options, const char *value, struct qmpsnap_error *err)
{
	if (strcmp(value, "auto") == 0) {
		options->snapshot.speed_bytes_per_s = QMPSNAP_SPEED_AUTO;
		return true;
	}
	return parse_amount(value, "rate", &options->snapshot.speed_bytes_per_s, err);
}

bool option_set_scratch_limit(struct options *options, const char *value, struct qmpsnap_error *err)
{
	return parse_amount(value, "size", &options->snapshot.scratch_limit_bytes, err);
}

bool option_set_scratch(struct options *options, const char *value, struct qmpsnap_error *err)
{
	options->snapshot.scratch_dir = value;
	options->images.scratch_dir = value;
	return option_check_word(value, err);
}

bool option_set_parallel(struct options *options, const char *value, struct qmpsnap_error *err)
{
	enum { MOST = 64 };
	const size_t digits = strspn(value, "0123456789");
	const unsigned long n =
		digits && digits < 4 && !value[digits] ? strtoul(value, NULL, 10) : 0;

	if (n < 1 || n > MOST)
		return error_set(
			err, QMPSNAP_USAGE, "'%.64s' is no number from 1 to %d", value, MOST);
	options->snapshot.parallel = (unsigned)n;
	return true;
}

bool option_set_force(struct options *options, const char *value, struct qmpsnap_error *err)
{
	(void)value, (void)err;
	options->store.force = true;
	options->images.force = true;
	return true;
}

bool option_set_no_guard(struct options *options, const char *value, struct qmpsnap_error *err)
{
	(void)value, (void)err;
	options->snapshot.no_guard = true;
	return true;
}

bool option_set_dry_run(struct options *options, const char *value, struct qmpsnap_error *err)
{
	(void)value, (void)err;
	options->snapshot.dry_run = true;
	return true;
}

bool option_set_json(struct options *options, const char *value, struct qmpsnap_error *err)
{
	(void)value, (void)err;
	options->json = true;
	return true;
}

bool option_set_quiet(struct options *options, const char *value, struct qmpsnap_error *err)
{
	(void)value, (void)err;
	options->quiet = true;
	return true;
}

bool option_set_verbose(struct options *options, const char *value, struct qmpsnap_error *err)
{
	(void)value, (void)err;
	options->verbose++;
	return true;
}

bool option_set_help(struct options *options, const char *value, struct qmpsnap_error *err)
{
	(void)value, (void)err;
	options->help_on = options->command;
	return true;
}

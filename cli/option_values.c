/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "base/names.h"
#include "base/units.h"
#include "cli/options.h"
#include "cli/text.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 255 /* Glance's limit, for names and for the keys of properties */ };

/* Fields of an image that qmpsnap or the service fills in (Glance's image schema, v2.15). */
static const char *const image_fields[] = {"id", "name", "status", "size", "virtual_size",
	"checksum", "os_hash_algo", "os_hash_value", "disk_format", "container_format",
	"visibility", "owner", "protected", "tags", "min_disk", "min_ram", "created_at",
	"updated_at", "file", "schema", "self", "direct_url", "locations", "stores"};

static bool is_image_field(const char *key)
{
	for (size_t i = 0; i < sizeof(image_fields) / sizeof(image_fields[0]); i++) {
		if (strcmp(image_fields[i], key) == 0)
			return true;
	}
	return false;
}

bool option_check_word(const char *value, struct qmpsnap_error *err)
{
	if (!*value)
		return error_set(err, QMPSNAP_USAGE, "the value is empty");
	return true;
}

/* A text that goes into records of others. */
static bool check_name(const char *value, struct qmpsnap_error *err)
{
	if (!option_check_word(value, err))
		return false;
	if (strlen(value) > NAME_MAX_BYTES)
		return error_set(err, QMPSNAP_USAGE, "'%.32s...' is longer than %d bytes", value,
			NAME_MAX_BYTES);
	if (!text_is_clean(value))
		return error_set(err, QMPSNAP_USAGE,
			"the value has control characters in it or isn't UTF-8");
	return true;
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
	return check_name(value, err);
}

bool option_set_guest_id(struct options *options, const char *value, struct qmpsnap_error *err)
{
	options->snapshot.guest_id = value;
	return check_name(value, err);
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

static bool check_property(const char *value, size_t key_len, struct qmpsnap_error *err)
{
	char key[NAME_MAX_BYTES + 1];

	if (key_len == 0)
		return error_set(err, QMPSNAP_USAGE, "'%.64s' has nothing before the '='", value);
	if (key_len > NAME_MAX_BYTES)
		return error_set(err, QMPSNAP_USAGE, "the key '%.32s...' is longer than %d bytes",
			value, NAME_MAX_BYTES);
	if (!text_is_clean(value))
		return error_set(err, QMPSNAP_USAGE,
			"the property has control characters in it or isn't UTF-8");
	memcpy(key, value, key_len);
	key[key_len] = '\0';
	if (strncmp(key, "qmpsnap_", 8) == 0)
		return error_set(
			err, QMPSNAP_USAGE, "the key '%.64s': qmpsnap_* are set by qmpsnap", key);
	if (is_image_field(key))
		return error_set(
			err, QMPSNAP_USAGE, "'%s' is a field of the image, not a property", key);
	return true;
}

bool option_add_property(struct options *options, const char *value, struct qmpsnap_error *err)
{
	const char *equals = strchr(value, '=');

	if (!equals) {
		(void)error_set(err, QMPSNAP_USAGE, "'%.64s' has no '=' in it", value);
		error_hint(err, "--property KEY=VALUE");
		return false;
	}
	const size_t key_len = (size_t)(equals - value);
	if (!check_property(value, key_len, err))
		return false;
	for (size_t i = 0; i < options->snapshot.n_properties; i++) {
		if (strncmp(options->properties[i], value, key_len + 1) == 0)
			return error_set(err, QMPSNAP_USAGE, "the key '%.*s' was given twice",
				(int)key_len, value);
	}
	if (!option_append(&options->properties, &options->snapshot.n_properties, value, err))
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

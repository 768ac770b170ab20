/* SPDX-License-Identifier: Apache-2.0
 *
 * options.h - the command line as a struct.  Parsing touches nothing but its arguments: no file,
 * no socket, no output.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <qmpsnap.h>

enum command {
	COMMAND_NONE, /* no command was given; as `help_on`: the overview */
	COMMAND_SNAPSHOT,
	COMMAND_INSPECT,
	COMMAND_RECOVER,
	COMMAND_STATUS,
	COMMAND_SPEED,
	COMMAND_CANCEL,
	COMMAND_LIST, /* images list, ... */
	COMMAND_SHOW,
	COMMAND_DELETE,
	COMMAND_DOWNLOAD,
	COMMAND_VERIFY,
	COMMAND_RESTORE,
	COMMAND_HELP,
	COMMAND_VERSION,
};

enum { OPTIONS_WORDS = 2 };

struct options {
	enum command command;
	enum command help_on; /* COMMAND_HELP: which command's help */
	const char *qmp_address;
	struct qmpsnap_snapshot_options snapshot; /* its `qmp_address` is set too */
	struct qmpsnap_store_options store;
	struct qmpsnap_images_options images;
	bool json, quiet;
	unsigned verbose; /* how often -v was given */
	const char *words[OPTIONS_WORDS]; /* RUN and RATE of status, speed, cancel */
	size_t n_words;
	const char **disks, **properties; /* owned; `snapshot` points to them */
	const char **tags; /* owned; `store` points to them */
	const char **headers; /* the same */
	const char **targets; /* owned; `images` points to them */
	uint64_t seen; /* rows of the option table, for "given twice" */
};

/* Parses; strings and `images.which` are borrowed from `argv`, whose order may change.  False and
 * *err (USAGE or, without memory, INTERNAL) at the first thing that is wrong; the options behind it
 * are still taken in, so that `json` and `store_spec` say how the error is to be reported.
 * options_free() either way. */
bool options_parse(struct options *options, int argc, char *argv[], struct qmpsnap_error *err);
void options_free(struct options *options);

/* Whether the image itself goes to stdout (--to -). */
bool options_image_on_stdout(const struct options *options);

/* Whether --json means a line for each event, and a result as the last one. */
bool options_json_lines(const struct options *options);

/* "snapshot", "images list", ... */
const char *command_name(enum command command);

/* ---- The values of options (option_values.c) ---- */

/* Sets what `value` says; the error lacks the option's name, which the parser puts in front. */
typedef bool option_set_fn(struct options *options, const char *value, struct qmpsnap_error *err);

option_set_fn option_set_qmp, option_set_name, option_set_to, option_add_disk, option_set_format,
	option_add_property, option_set_speed, option_set_scratch, option_set_scratch_limit,
	option_set_parallel, option_set_guest_id, option_set_force, option_set_no_guard,
	option_set_dry_run, option_set_json, option_set_quiet, option_set_verbose, option_set_help;

/* ---- How it is taken (option_methods.c) ---- */

option_set_fn option_set_method, option_set_flavour, option_set_firmware,
	option_set_allow_plaintext, option_set_zero_scan, option_set_release_monitor,
	option_set_qga, option_set_quiesce, option_set_image, option_set_image_format,
	option_set_force_share;

/* ---- How long it may take (option_limits.c) ---- */

option_set_fn option_set_freeze_deadline, option_set_deadline, option_set_stall_timeout,
	option_set_wait;

/* ---- Clouds and records (option_cloud.c) ---- */

option_set_fn option_set_os_cloud, option_set_insecure, option_set_base_image, option_add_tag,
	option_add_header, option_set_header_file, option_set_cacert, option_set_visibility,
	option_set_protected, option_set_store, option_set_transfer, option_set_import;

/* ---- Images in stores, backups (option_images.c) ---- */

option_set_fn option_set_guest, option_set_set, option_set_since, option_set_before, option_set_all,
	option_set_into, option_set_output, option_set_deep, option_add_target,
	option_set_backup_type, option_set_rotation;

/* ---- Shared by them ---- */

/* A value that isn't empty. */
bool option_check_word(const char *value, struct qmpsnap_error *err);

/* A plain text that goes into records of images, no longer than they take names. */
bool option_check_text(const char *value, struct qmpsnap_error *err);

/* The index of `value` among `n` words, or -1 and an error that lists them. */
int option_choose(const char *value, const char *const *words, int n, struct qmpsnap_error *err);

/* Grows a list kept as (pointer, count) by one. */
bool option_append(const char ***list, size_t *n, const char *value, struct qmpsnap_error *err);

#endif

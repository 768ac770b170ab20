/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/options.h"

#include "base/error.h"
#include "base/offline.h"
#include "cli/option_table.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	enum command command;
} commands[] = {
	{"snapshot", COMMAND_SNAPSHOT},
	{"inspect", COMMAND_INSPECT},
	{"recover", COMMAND_RECOVER},
	{"status", COMMAND_STATUS},
	{"speed", COMMAND_SPEED},
	{"cancel", COMMAND_CANCEL},
	{"images list", COMMAND_LIST},
	{"images show", COMMAND_SHOW},
	{"images delete", COMMAND_DELETE},
	{"images download", COMMAND_DOWNLOAD},
	{"images verify", COMMAND_VERIFY},
	{"restore", COMMAND_RESTORE},
	{"help", COMMAND_HELP},
};

static const char commands_hint[] =
	"commands are snapshot, inspect, recover, status, speed, cancel, images, restore and help";

static enum command command_by_name(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, name) == 0)
			return commands[i].command;
	}
	return COMMAND_NONE;
}

const char *command_name(enum command command)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (commands[i].command == command)
			return commands[i].name;
	}
	return "";
}

bool options_json_lines(const struct options *options)
{
	return options->json && (IN_STORES & (1U << options->command)) != 0;
}

bool options_image_on_stdout(const struct options *options)
{
	const char *spec = options->snapshot.store_spec;

	return spec && strcmp(spec, "-") == 0;
}

static bool unknown_command(struct qmpsnap_error *err, const char *name)
{
	(void)error_set(err, QMPSNAP_USAGE, "there is no command '%.64s'", name);
	error_hint(err, "%s", commands_hint);
	return false;
}

enum { FIRST_ID = 256 /* of getopt's answers: no letter */ };

/* What getopt gets of the table: the rows of this command; `val` leads back to the row. */
struct getopt_view {
	struct option longs[OPTION_ROWS_MOST + 1];
	char shorts[2 + 2 * OPTION_ROWS_MOST];
};

static void view_init(struct getopt_view *view, enum command command)
{
	size_t n_longs = 0, n_shorts = 0;

	memset(view, 0, sizeof(*view));
	view->shorts[n_shorts++] = ':'; /* a missing value is told apart from an unknown option */
	for (size_t i = 0; i < n_option_rows; i++) {
		if (!(option_rows[i].commands & (1U << command)))
			continue;
		view->longs[n_longs++] = (struct option){.name = option_rows[i].name,
			.has_arg = option_rows[i].takes,
			.val = FIRST_ID + (int)i};
		if (!option_rows[i].letter)
			continue;
		view->shorts[n_shorts++] = option_rows[i].letter;
		if (option_rows[i].takes == required_argument)
			view->shorts[n_shorts++] = ':';
	}
}

/* The row that getopt's answer means, or NULL. */
static const struct option_row *row_of(int id)
{
	if (id >= FIRST_ID && id < FIRST_ID + (int)n_option_rows)
		return &option_rows[id - FIRST_ID];
	for (size_t i = 0; i < n_option_rows; i++) {
		if (option_rows[i].letter && option_rows[i].letter == id)
			return &option_rows[i];
	}
	return NULL;
}

/* getopt's '?' and ':'; `word` is what it stumbled over. */
static bool bad_option(
	const struct options *options, int answer, const char *word, struct qmpsnap_error *err)
{
	const struct option_row *row = row_of(optopt);
	const char *command = command_name(options->command);

	if (row && answer == ':')
		(void)error_set(err, QMPSNAP_USAGE, "--%s needs a value", row->name);
	else if (row && optopt >= FIRST_ID)
		(void)error_set(err, QMPSNAP_USAGE, "--%s takes no value", row->name);
	else if (optopt)
		(void)error_set(
			err, QMPSNAP_USAGE, "'qmpsnap %s' has no option '-%c'", command, optopt);
	else
		(void)error_set(
			err, QMPSNAP_USAGE, "'qmpsnap %s' has no option '%.64s'", command, word);
	error_hint(err, "'qmpsnap help %s' lists the options", command);
	return false;
}

static bool take_option(
	struct options *options, const struct option_row *row, struct qmpsnap_error *err)
{
	const uint64_t bit = UINT64_C(1) << (row - option_rows);

	if (!row->repeatable && (options->seen & bit))
		return error_set(err, QMPSNAP_USAGE, "--%s was given twice", row->name);
	options->seen |= bit;
	if (row->set(options, optarg, err))
		return true;
	error_wrap(err, "--%s", row->name);
	return false;
}

/* What gives up a protection is spelled out. */
static bool check_spelling(
	const struct option_row *row, const char *word, struct qmpsnap_error *err)
{
	return row->set != option_set_insecure || strcmp(word, "--insecure") == 0 ||
	       error_set(err, QMPSNAP_USAGE, "'%.64s' must be spelled out: --insecure", word);
}

/* Keeps the first error. */
static void note(struct qmpsnap_error *first, const struct qmpsnap_error *err)
{
	if (first->code == QMPSNAP_OK)
		*first = *err;
}

/* What isn't an option: RUN, and for `speed` the rate. */
static bool take_words(struct options *options, int n, char *argv[], struct qmpsnap_error *err)
{
	const enum command command = options->command;
	const int least = command == COMMAND_SPEED ? 2 : command == COMMAND_CANCEL;
	const int most = command == COMMAND_STATUS ? 1 : least;

	if (ON_IMAGES & (1U << command)) {
		options->images.which = (const char *const *)argv;
		options->images.n_which = (size_t)n;
		return command != COMMAND_SHOW || n > 0 ||
		       error_set(err, QMPSNAP_USAGE, "the image is missing");
	}
	if (n > most) {
		(void)error_set(
			err, QMPSNAP_USAGE, "there is no use for the argument '%.64s'", argv[most]);
		error_hint(err,
			most ? "'qmpsnap help %s' shows how it is used"
			     : "values belong to options: --qmp ADDRESS, --to STORE, ...",
			command_name(command));
		return false;
	}
	if (n < least) {
		(void)error_set(err, QMPSNAP_USAGE, "%s is missing", n ? "the rate" : "the run");
		error_hint(err, "'qmpsnap status' lists the runs that go on");
		return false;
	}
	for (int i = 0; i < n; i++)
		options->words[options->n_words++] = argv[i];
	return command != COMMAND_SPEED || option_set_speed(options, argv[1], err);
}

static void parse_options(
	struct options *options, int argc, char *argv[], struct qmpsnap_error *first)
{
	struct getopt_view view;
	struct qmpsnap_error err;
	int answer;

	view_init(&view, options->command);
	opterr = 0;
	optind = 0; /* glibc: forget any earlier parse */
	while ((answer = getopt_long(argc, argv, view.shorts, view.longs, NULL)) != -1) {
		const bool bad = answer == '?' || answer == ':';
		if (bad ? !bad_option(options, answer, argv[optind - 1], &err)
			: !check_spelling(row_of(answer), argv[optind - 1], &err) ||
					!take_option(options, row_of(answer), &err))
			note(first, &err);
	}
	if (!take_words(options, argc - optind, argv + optind, &err))
		note(first, &err);
}

static bool is_two_words(enum command command)
{
	return strchr(command_name(command), ' ') != NULL;
}

/* "images" and what is to be done with them as one name; NULL: the first word alone. */
static const char *two_words(char *text, size_t size, int argc, char *argv[])
{
	if (argc < 2 || strcmp(argv[0], "images") != 0)
		return argv[0];
	(void)snprintf(text, size, "images %s", argv[1]);
	return text;
}

static bool parse_command(
	struct options *options, int argc, char *argv[], struct qmpsnap_error *err)
{
	*err = (struct qmpsnap_error){.code = QMPSNAP_OK};
	const int words = is_two_words(options->command) ? 2 : 1;

	parse_options(options, argc - words, argv + words, err);
	if (options->help_on != COMMAND_NONE) {
		options->command = COMMAND_HELP; /* --help wins over whatever else is wrong */
		return true;
	}
	if (err->code != QMPSNAP_OK)
		return false;
	if (!offline_check_options(&options->snapshot, err))
		return false;
	if (options->snapshot.rotation && !options->snapshot.backup_type)
		return error_set(err, QMPSNAP_USAGE,
			"--rotation is for backups: --backup-type is "
			"missing");
	if (options->command == COMMAND_RECOVER && options->images.all && options->qmp_address)
		return error_set(err, QMPSNAP_USAGE, "--all and --qmp exclude each other");
	if (((IN_CONTROL | ON_IMAGES) & (1U << options->command)) == 0 && !options->qmp_address &&
		!options->snapshot.image_path &&
		!(options->command == COMMAND_RECOVER && options->images.all)) {
		(void)error_set(err, QMPSNAP_USAGE, "--qmp is missing");
		error_hint(err, "--qmp unix:PATH is the guest's QMP monitor; see 'qmpsnap help %s'",
			command_name(options->command));
		return false;
	}
	return true;
}

static bool parse_help(struct options *options, int argc, char *argv[], struct qmpsnap_error *err)
{
	char text[64];

	options->command = COMMAND_HELP;
	if (argc < 3)
		return true;
	const char *name = two_words(text, sizeof(text), argc - 2, argv + 2);

	/* Any of its commands leads to the page of all. */
	options->help_on = strcmp(name, "images") == 0 ? COMMAND_LIST : command_by_name(name);
	if (options->help_on == COMMAND_HELP)
		options->help_on = COMMAND_NONE;
	else if (options->help_on == COMMAND_NONE)
		return unknown_command(err, name);
	return true;
}

bool options_parse(struct options *options, int argc, char *argv[], struct qmpsnap_error *err)
{
	char text[64];

	*options = (struct options){.command = COMMAND_NONE};
	if (argc < 2) {
		(void)error_set(err, QMPSNAP_USAGE, "no command was given");
		error_hint(err, "%s", commands_hint);
		return false;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		options->command = COMMAND_HELP;
		return true;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		options->command = COMMAND_VERSION;
		return true;
	}
	const char *name = two_words(text, sizeof(text), argc - 1, argv + 1);
	options->command = command_by_name(name);
	if (options->command == COMMAND_HELP)
		return parse_help(options, argc, argv, err);
	if (options->command == COMMAND_NONE)
		return unknown_command(err, name);
	return parse_command(options, argc, argv, err);
}

void options_free(struct options *options)
{
	free((void *)options->disks);
	free((void *)options->properties);
	free((void *)options->tags);
	free((void *)options->headers);
	free((void *)options->targets);
	*options = (struct options){.command = COMMAND_NONE};
}

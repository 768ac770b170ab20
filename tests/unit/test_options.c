/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/option_table.h"
#include "cli/options.h"
#include "cli/usage.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>

enum { ARGS_MAX = 24 };

/* Parses "qmpsnap" and the words of `line`, which are separated by single spaces. */
static bool parse(struct options *options, const char *line, struct qmpsnap_error *err)
{
	static char words[2048];
	static char *argv[ARGS_MAX] = {(char *)"qmpsnap"}; /* `images.which` points into it */
	int argc = 1;

	(void)snprintf(words, sizeof(words), "%s", line);
	for (char *word = words; *line && word; argc++) {
		ck_assert_int_lt(argc, ARGS_MAX - 1);
		argv[argc] = word;
		word = strchr(word, ' ');
		if (word)
			*word++ = '\0';
	}
	memset(err, 0x5a, sizeof(*err));
	return options_parse(options, argc, argv, err);
}

static void expect_error(const char *line, const char *message)
{
	struct options options;
	struct qmpsnap_error err;

	ck_assert_msg(!parse(&options, line, &err), "accepted: %s", line);
	ck_assert_int_eq(err.code, QMPSNAP_USAGE);
	ck_assert_str_eq(err.message, message);
	options_free(&options);
}

START_TEST(takes_all_of_snapshot)
{
	struct options o;
	struct qmpsnap_error err;

	ck_assert(parse(&o,
		"snapshot --qmp unix:/run/vm.qmp --name n1 --to file:/x --disk vd0 --disk=vd1 "
		"--format raw --property a=1 --property b= --speed 1.5M/s --scratch /s",
		&err));
	ck_assert_int_eq(o.command, COMMAND_SNAPSHOT);
	ck_assert_str_eq(o.qmp_address, "unix:/run/vm.qmp");
	ck_assert_str_eq(o.snapshot.qmp_address, "unix:/run/vm.qmp");
	ck_assert_str_eq(o.snapshot.name, "n1");
	ck_assert_str_eq(o.snapshot.store_spec, "file:/x");
	ck_assert_uint_eq(o.snapshot.n_disks, 2);
	ck_assert_str_eq(o.snapshot.disks[0], "vd0");
	ck_assert_str_eq(o.snapshot.disks[1], "vd1");
	ck_assert_int_eq(o.snapshot.format, QMPSNAP_RAW);
	ck_assert_uint_eq(o.snapshot.n_properties, 2);
	ck_assert_str_eq(o.snapshot.properties[0], "a=1");
	ck_assert_str_eq(o.snapshot.properties[1], "b=");
	ck_assert_uint_eq(o.snapshot.speed_bytes_per_s, 3 << 19);
	ck_assert_str_eq(o.snapshot.scratch_dir, "/s");
	options_free(&o);

	ck_assert(parse(&o,
		"snapshot --force --no-guard --dry-run --json -qvv --qmp ./s --scratch-limit 2G "
		"--parallel 64 --guest-id g --verbose --to -",
		&err));
	ck_assert(o.store.force && o.snapshot.no_guard && o.snapshot.dry_run && o.json && o.quiet);
	ck_assert_uint_eq(o.verbose, 3);
	ck_assert_uint_eq(o.snapshot.scratch_limit_bytes, UINT64_C(2) << 30);
	ck_assert_uint_eq(o.snapshot.parallel, 64);
	ck_assert_str_eq(o.snapshot.guest_id, "g");
	ck_assert(options_image_on_stdout(&o));
	options_free(&o);
}
END_TEST

START_TEST(takes_what_is_for_clouds)
{
	struct options o;
	struct qmpsnap_error err;

	ck_assert(parse(&o,
		"snapshot --qmp ./s --to glance: --os-cloud c --insecure --base-image b --tag x "
		"--tag y --visibility shared --protected --store s --transfer sized --import",
		&err));
	ck_assert_str_eq(o.store.os_cloud, "c");
	ck_assert(o.store.insecure && o.store.is_protected && o.store.sized && o.store.import);
	ck_assert_str_eq(o.store.base_image, "b");
	ck_assert_uint_eq(o.store.n_tags, 2);
	ck_assert_str_eq(o.store.tags[0], "x");
	ck_assert_str_eq(o.store.tags[1], "y");
	ck_assert_str_eq(o.store.visibility, "shared");
	ck_assert_str_eq(o.store.backend, "s");
	options_free(&o);
	expect_error("snapshot --qmp ./s --insec", "'--insec' must be spelled out: --insecure");
	expect_error("snapshot --qmp ./s --tag x --tag x", "--tag: 'x' was given twice");
	expect_error("snapshot --qmp ./s --visibility all",
		"--visibility: 'all' is none of private, shared, community, public");
	expect_error(
		"snapshot --qmp ./s --transfer big", "--transfer: 'big' is none of chunked, sized");
	expect_error("snapshot --qmp ./s --store dir:/x",
		"--store: 'dir:/x' is no name of one of the service's stores");
}
END_TEST

START_TEST(leaves_the_defaults)
{
	struct options o;
	struct qmpsnap_error err;

	ck_assert(parse(&o, "snapshot --qmp ./s", &err));
	ck_assert_ptr_null(o.snapshot.store_spec);
	ck_assert_ptr_null(o.snapshot.name);
	ck_assert_ptr_null(o.snapshot.scratch_dir);
	ck_assert_uint_eq(o.snapshot.n_disks, 0);
	ck_assert_uint_eq(o.snapshot.parallel, 0);
	ck_assert_int_eq(o.snapshot.format, QMPSNAP_FORMAT_AUTO);
	ck_assert(!o.store.force && !o.snapshot.no_guard && !o.snapshot.dry_run && !o.json);
	ck_assert(!options_image_on_stdout(&o));
	options_free(&o);
}
END_TEST

START_TEST(takes_the_other_commands)
{
	struct options o;
	struct qmpsnap_error err;

	ck_assert(parse(&o, "inspect --json --qmp fd:3", &err));
	ck_assert_int_eq(o.command, COMMAND_INSPECT);
	ck_assert(o.json);
	options_free(&o);
	ck_assert(parse(&o, "recover -v --qmp tcp:localhost:4444", &err));
	ck_assert_int_eq(o.command, COMMAND_RECOVER);
	ck_assert_uint_eq(o.verbose, 1);
	options_free(&o);
	ck_assert(parse(&o, "--version", &err));
	ck_assert_int_eq(o.command, COMMAND_VERSION);
	ck_assert(parse(&o, "-h", &err));
	ck_assert_int_eq(o.command, COMMAND_HELP);
	ck_assert_int_eq(o.help_on, COMMAND_NONE);
}
END_TEST

START_TEST(helps)
{
	struct options o;
	struct qmpsnap_error err;

	ck_assert(parse(&o, "help inspect", &err));
	ck_assert_int_eq(o.command, COMMAND_HELP);
	ck_assert_int_eq(o.help_on, COMMAND_INSPECT);
	ck_assert(parse(&o, "snapshot --speed nonsense --help", &err));
	ck_assert_int_eq(o.command, COMMAND_HELP);
	ck_assert_int_eq(o.help_on, COMMAND_SNAPSHOT);
	options_free(&o);
	ck_assert(parse(&o, "help", &err));
	ck_assert_int_eq(o.help_on, COMMAND_NONE);
	ck_assert(parse(&o, "help help", &err));
	ck_assert_int_eq(o.help_on, COMMAND_NONE);
	expect_error("help fly", "there is no command 'fly'");
	ck_assert_ptr_nonnull(strstr(usage_text(COMMAND_SNAPSHOT), "--scratch-limit"));
	ck_assert_ptr_nonnull(strstr(usage_text(COMMAND_NONE), "recover"));
}
END_TEST

/* Whether `text` has `word` in it, and not only as the front of a longer word. */
static bool has_word(const char *text, const char *word)
{
	for (const char *at = strstr(text, word); at; at = strstr(at + 1, word)) {
		const char next = at[strlen(word)];

		if (next != '-' && (next < 'a' || next > 'z'))
			return true;
	}
	return false;
}

START_TEST(help_tells_of_each_option)
{
	char word[64];

	for (size_t i = 0; i < n_option_rows; i++) {
		for (int command = COMMAND_NONE; command <= COMMAND_VERSION; command++) {
			if (!(option_rows[i].commands & (1U << command)))
				continue;
			(void)snprintf(word, sizeof(word), "--%s", option_rows[i].name);
			ck_assert_msg(has_word(usage_text((enum command)command), word),
				"the help of %s lacks %s", command_name((enum command)command),
				word);
		}
	}
}
END_TEST

static const struct {
	const char *line, *message;
} wrong[] = {
	{"", "no command was given"}, {"fly", "there is no command 'fly'"},
	{"snapshot", "--qmp is missing"}, {"inspect --json", "--qmp is missing"},
	{"snapshot --qmp", "--qmp needs a value"},
	{"snapshot --qmp ./a --qmp ./b", "--qmp was given twice"},
	{"snapshot --qmp vm.qmp", "--qmp: 'vm.qmp' is no address of a monitor"},
	{"snapshot --qmp ./a --frob", "'qmpsnap snapshot' has no option '--frob'"},
	{"snapshot --qmp ./a -x", "'qmpsnap snapshot' has no option '-x'"},
	{"snapshot --qmp ./a --json=1", "--json takes no value"},
	{"inspect --qmp ./a --to -", "'qmpsnap inspect' has no option '--to'"},
	{"recover --qmp ./a --json", "'qmpsnap recover' has no option '--json'"},
	{"snapshot --qmp ./a vd0", "there is no use for the argument 'vd0'"},
	{"snapshot --qmp ./a --to=", "--to: the value is empty"},
	{"snapshot --qmp ./a --scratch=", "--scratch: the value is empty"},
	{"snapshot --qmp ./a --disk=", "--disk: the value is empty"},
	{"snapshot --qmp ./a --disk a --disk a", "--disk: 'a' was given twice"},
	{"snapshot --qmp ./a --name=", "--name: the value is empty"},
	{"snapshot --qmp ./a --name a\033b",
		"--name: the value has control characters in it or isn't UTF-8"},
	{"snapshot --qmp ./a --guest-id \xff",
		"--guest-id: the value has control characters in it or isn't UTF-8"},
	{"snapshot --qmp ./a --format vhd", "--format: 'vhd' is none of qcow2, raw, vmdk, vdi"},
	{"snapshot --qmp ./a --property x", "--property: the property 'x' has no '=' in it"},
	{"snapshot --qmp ./a --property =x",
		"--property: the property '': its name must have 1 to 255 bytes"},
	{"snapshot --qmp ./a --property a=1 --property a=2",
		"--property: the key 'a' was given twice"},
	{"snapshot --qmp ./a --property size=1",
		"--property: 'size' is a field of the image, not a property"},
	{"snapshot --qmp ./a --property os_hidden=1",
		"--property: 'os_hidden' is a field of the image, not a property"},
	{"snapshot --qmp ./a --property os_glance_x=1",
		"--property: 'os_glance_x' is a field of the image, not a property"},
	{"snapshot --qmp ./a --property qmpsnap_run=1",
		"--property: the property 'qmpsnap_run': qmpsnap_* are set by qmpsnap"},
	{"snapshot --image ./a", "--image-format is missing"},
	{"snapshot --image ./a --image-format raw --method cold",
		"--image and --method exclude each other"},
	{"snapshot --image ./a --image-format raw --rotation 1",
		"--rotation is for backups: --backup-type is missing"},
	{"snapshot --qmp ./a --image-format raw", "--image-format is for --image alone"},
	{"snapshot --qmp ./a --force-share", "--force-share is for --image alone"},
	{"snapshot --qmp ./a --speed fast", "--speed: 'fast' is no rate"},
	{"snapshot --qmp ./a --speed 0", "--speed: '0' is no rate"},
	{"snapshot --qmp ./a --speed -1", "--speed: '-1' is no rate"},
	{"snapshot --qmp ./a --scratch-limit 1X", "--scratch-limit: '1X' is no size"},
	{"snapshot --qmp ./a --parallel 0", "--parallel: '0' is no number from 1 to 64"},
	{"snapshot --qmp ./a --parallel 65", "--parallel: '65' is no number from 1 to 64"},
	{"snapshot --qmp ./a --parallel 4294967297",
		"--parallel: '4294967297' is no number from 1 to 64"},
	{"snapshot --speed x --parallel x", "--speed: 'x' is no rate"}, /* the first one */
};

START_TEST(says_what_is_wrong)
{
	expect_error(wrong[_i].line, wrong[_i].message);
}
END_TEST

START_TEST(limits_lengths)
{
	struct options o;
	struct qmpsnap_error err;
	char key[257], line[600];

	memset(key, 'k', sizeof(key) - 1);
	key[255] = '\0';
	(void)snprintf(
		line, sizeof(line), "snapshot --qmp ./a --property %s=v --name %s", key, key);
	ck_assert(parse(&o, line, &err));
	options_free(&o);
	key[255] = 'k';
	key[256] = '\0';
	(void)snprintf(line, sizeof(line), "snapshot --qmp ./a --property %s=v", key);
	ck_assert(!parse(&o, line, &err));
	ck_assert_ptr_nonnull(strstr(err.message, "its name must have 1 to 255 bytes"));
	options_free(&o);
	(void)snprintf(line, sizeof(line), "snapshot --qmp ./a --name %s", key);
	ck_assert(!parse(&o, line, &err));
	ck_assert_ptr_nonnull(strstr(err.message, "--name: "));
	ck_assert_ptr_nonnull(strstr(err.message, "is longer than 255 bytes"));
	options_free(&o);
}
END_TEST

/* So that the error can be reported where the user wanted it. */
START_TEST(goes_on_behind_an_error)
{
	struct options o;
	struct qmpsnap_error err;

	ck_assert(!parse(&o, "snapshot --frob --qmp ./a --to - --json", &err));
	ck_assert(o.json && options_image_on_stdout(&o));
	options_free(&o);
}
END_TEST

START_TEST(takes_control_commands)
{
	struct options o;
	struct qmpsnap_error err;

	ck_assert(parse(&o, "status --json", &err));
	ck_assert_int_eq(o.command, COMMAND_STATUS);
	ck_assert_uint_eq(o.n_words, 0);
	ck_assert(o.json);
	ck_assert(parse(&o, "status abcdefghij", &err));
	ck_assert_str_eq(o.words[0], "abcdefghij");
	ck_assert(parse(&o, "speed abcdefghij 3M", &err));
	ck_assert_int_eq(o.command, COMMAND_SPEED);
	ck_assert_str_eq(o.words[0], "abcdefghij");
	ck_assert_uint_eq(o.snapshot.speed_bytes_per_s, 3 << 20);
	ck_assert(parse(&o, "speed abcdefghij auto", &err));
	ck_assert_uint_eq(o.snapshot.speed_bytes_per_s, QMPSNAP_SPEED_AUTO);
	ck_assert(parse(&o, "cancel abcdefghij", &err));
	ck_assert_int_eq(o.command, COMMAND_CANCEL);
	ck_assert(parse(&o, "snapshot --qmp ./x --speed auto", &err));
	ck_assert_uint_eq(o.snapshot.speed_bytes_per_s, QMPSNAP_SPEED_AUTO);

	expect_error("cancel", "the run is missing");
	expect_error("speed", "the run is missing");
	expect_error("speed abcdefghij", "the rate is missing");
	expect_error("speed abcdefghij none", "'none' is no rate");
	expect_error("speed abcdefghij 0", "'0' is no rate");
	expect_error("cancel a b", "there is no use for the argument 'b'");
	expect_error("status a b", "there is no use for the argument 'b'");
	expect_error("status --qmp ./x", "'qmpsnap status' has no option '--qmp'");
	expect_error("cancel --json a", "'qmpsnap cancel' has no option '--json'");
	ck_assert_ptr_nonnull(strstr(usage_text(COMMAND_SPEED), "RATE|auto"));
}
END_TEST

START_TEST(takes_images)
{
	struct options o;
	struct qmpsnap_error err;

	ck_assert(parse(&o,
		"images list --from dir:/x --guest g --set s --tag t --since 36h --before "
		"2026-11-23 "
		"--all --json one two",
		&err));
	ck_assert_int_eq(o.command, COMMAND_LIST);
	ck_assert_str_eq(o.snapshot.store_spec, "dir:/x");
	ck_assert_str_eq(o.images.guest, "g");
	ck_assert_str_eq(o.images.set, "s");
	ck_assert_str_eq(o.images.tag, "t");
	ck_assert_uint_eq(o.store.n_tags, 0);
	ck_assert_str_eq(o.images.since, "36h");
	ck_assert_str_eq(o.images.before, "2026-11-23");
	ck_assert(o.images.all);
	ck_assert_uint_eq(o.images.n_which, 2);
	ck_assert_str_eq(o.images.which[0], "one");
	ck_assert_str_eq(o.images.which[1], "two");
	ck_assert(options_json_lines(&o));
	options_free(&o);

	ck_assert(parse(&o, "images download -o x --force one", &err));
	ck_assert_int_eq(o.command, COMMAND_DOWNLOAD);
	ck_assert_str_eq(o.images.output, "x");
	ck_assert(o.images.force);
	options_free(&o);

	ck_assert(parse(&o, "restore s --target vda=raw:/a --target vdb=/b --format raw", &err));
	ck_assert_int_eq(o.command, COMMAND_RESTORE);
	ck_assert_uint_eq(o.images.n_targets, 2);
	ck_assert_str_eq(o.images.targets[1], "vdb=/b");
	ck_assert_int_eq(o.images.format, QMPSNAP_RAW);
	options_free(&o);

	ck_assert(parse(&o, "snapshot --qmp ./q --backup-type daily --rotation 7 --tag t", &err));
	ck_assert_str_eq(o.snapshot.backup_type, "daily");
	ck_assert_uint_eq(o.snapshot.rotation, 7);
	ck_assert_uint_eq(o.store.n_tags, 1);
	options_free(&o);
	ck_assert(parse(&o, "help images", &err));
	ck_assert_int_eq(o.help_on, COMMAND_LIST);
	ck_assert(parse(&o, "help images delete", &err));
	ck_assert_int_eq(o.help_on, COMMAND_DELETE);
	ck_assert(parse(&o, "help restore", &err));
	ck_assert_int_eq(o.help_on, COMMAND_RESTORE);
	ck_assert_ptr_nonnull(strstr(usage_text(COMMAND_DELETE), "--before"));
	ck_assert_ptr_nonnull(strstr(usage_text(COMMAND_RESTORE), "--target"));
}
END_TEST

START_TEST(refuses_wrong_images)
{
	static const char *const words[] = {"0", "-1", "x", "1x", "", "99999999"};
	char line[128], message[128];

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		(void)snprintf(line, sizeof(line),
			"snapshot --qmp ./q --backup-type d --rotation=%s", words[i]);
		(void)snprintf(message, sizeof(message), "--rotation: '%s' is no number from 1 on",
			words[i]);
		expect_error(line, message);
	}
	expect_error("snapshot --qmp ./q --rotation 1",
		"--rotation is for backups: --backup-type is missing");
	expect_error("images", "there is no command 'images'");
	expect_error("images rename", "there is no command 'images rename'");
	expect_error("images show", "the image is missing");
	expect_error("images list --deep", "'qmpsnap images list' has no option '--deep'");
	expect_error("images list --to dir:/x", "'qmpsnap images list' has no option '--to'");
	expect_error("restore -o x y", "'qmpsnap restore' has no option '-o'");
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("options");
	TCase *tc = tcase_create("options");

	tcase_add_test(tc, takes_all_of_snapshot);
	tcase_add_test(tc, help_tells_of_each_option);
	tcase_add_test(tc, takes_images);
	tcase_add_test(tc, refuses_wrong_images);
	tcase_add_test(tc, takes_control_commands);
	tcase_add_test(tc, takes_what_is_for_clouds);
	tcase_add_test(tc, leaves_the_defaults);
	tcase_add_test(tc, takes_the_other_commands);
	tcase_add_test(tc, helps);
	tcase_add_loop_test(tc, says_what_is_wrong, 0, sizeof(wrong) / sizeof(wrong[0]));
	tcase_add_test(tc, limits_lengths);
	tcase_add_test(tc, goes_on_behind_an_error);
	suite_add_tcase(s, tc);
	return s;
}

SUITE_MAIN(suite)

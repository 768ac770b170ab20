/* SPDX-License-Identifier: Apache-2.0
 *
 * upload_image SPEC BYTES [OPTION]... - makes an image of BYTES bytes of a known pattern in the
 * store SPEC, publishes it, and prints what came of it as a JSON object; a failure is undone, as a
 * snapshot would.  For tests that have a real service, or a faulty one, at the other end.
 *
 * Options: --os-cloud NAME, --insecure, --base-image ID, --tag TAG, --visibility V, --protected,
 * --store NAME, --sized, --import, --property KEY=VALUE; for glance: --settle MS, --wait MS,
 * --quiet MS and --tries N shorten its patience, --wait and --tries also that for other stores;
 * --header-file FILE, --cacert FILE, --force: for http and https;
 * --part BYTES: the usual size of parts; --delay MS slows the bytes down; --left: ends
 * without publishing or undoing, after the bytes; --discard-left ID: does only what a guard would
 * do.
 */
#include "base/json.h"
#include "base/names.h"
#include "fake_stream.h"
#include "store_kit.h"
#include "upload/glance.h"
#include "upload/s3.h"
#include "upload/swift.h"

#include <check.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uv_loop_t loop;
static struct fake_stream stream;
static struct qmpsnap_store *store;
static struct store_image_spec spec;
static char id[NAME_UUID_BYTES];

static struct {
	struct qmpsnap_store_options store;
	const char *tags[8];
	const char *property, *discard_left;
	uint64_t settle_ms, wait_ms, delay_ms, quiet_ms, part_bytes;
	unsigned tries;
	bool left;
} wanted;

static const struct option options[] = {
	{"os-cloud", required_argument, NULL, 'c'},
	{"insecure", no_argument, NULL, 'k'},
	{"base-image", required_argument, NULL, 'b'},
	{"tag", required_argument, NULL, 't'},
	{"visibility", required_argument, NULL, 'v'},
	{"protected", no_argument, NULL, 'p'},
	{"store", required_argument, NULL, 's'},
	{"sized", no_argument, NULL, 'z'},
	{"import", no_argument, NULL, 'i'},
	{"property", required_argument, NULL, 'P'},
	{"settle", required_argument, NULL, 'S'},
	{"wait", required_argument, NULL, 'W'},
	{"quiet", required_argument, NULL, 'Q'},
	{"tries", required_argument, NULL, 'T'},
	{"delay", required_argument, NULL, 'D'},
	{"part", required_argument, NULL, 'B'},
	{"header-file", required_argument, NULL, 'H'},
	{"cacert", required_argument, NULL, 'C'},
	{"force", no_argument, NULL, 'f'},
	{"left", no_argument, NULL, 'l'},
	{"discard-left", required_argument, NULL, 'L'},
	{NULL, 0, NULL, 0},
};

static bool take_text(int letter, const char *value)
{
	switch (letter) {
	case 'c':
		wanted.store.os_cloud = value;
		return true;
	case 'b':
		wanted.store.base_image = value;
		return true;
	case 't':
		if (wanted.store.n_tags < 8)
			wanted.tags[wanted.store.n_tags++] = value;
		wanted.store.tags = wanted.tags;
		return true;
	case 'v':
		wanted.store.visibility = value;
		return true;
	case 's':
		wanted.store.backend = value;
		return true;
	case 'H':
		wanted.store.header_file = value;
		return true;
	case 'C':
		wanted.store.cacert = value;
		return true;
	case 'P':
		wanted.property = value;
		return true;
	case 'L':
		wanted.discard_left = value;
		return true;
	default:
		return false;
	}
}

static bool take_flag(int letter)
{
	switch (letter) {
	case 'k':
		wanted.store.insecure = true;
		return true;
	case 'f':
		wanted.store.force = true;
		return true;
	case 'p':
		wanted.store.is_protected = true;
		return true;
	case 'z':
		wanted.store.sized = true;
		return true;
	case 'i':
		wanted.store.import = true;
		return true;
	case 'l':
		wanted.left = true;
		return true;
	default:
		return false;
	}
}

static bool take_number(int letter, const char *value)
{
	const uint64_t number = value ? strtoull(value, NULL, 10) : 0;

	switch (letter) {
	case 'S':
		wanted.settle_ms = number;
		return true;
	case 'W':
		wanted.wait_ms = number;
		return true;
	case 'T':
		wanted.tries = (unsigned)number;
		return true;
	case 'Q':
		wanted.quiet_ms = number;
		return true;
	case 'D':
		wanted.delay_ms = number;
		return true;
	case 'B':
		wanted.part_bytes = number;
		return true;
	default:
		return false;
	}
}

static void say(enum qmpsnap_log_level level, const char *message, void *data)
{
	(void)level;
	(void)data;
	(void)fprintf(stderr, "%s\n", message);
}

static void shorten_patience(void)
{
	const char *kind = store->ops->kind;
	struct remote *remote = remote_of(store);

	if (wanted.wait_ms)
		remote->wait_ms = wanted.wait_ms;
	if (wanted.tries)
		remote->tries = wanted.tries;
	if (wanted.part_bytes && strcmp(kind, "s3") == 0)
		((struct s3_store *)store)->part_bytes = wanted.part_bytes;
	if (wanted.part_bytes && strcmp(kind, "swift") == 0)
		((struct swift_store *)store)->part_bytes = wanted.part_bytes;
}

static void set_up(const char *where, const char *bytes)
{
	struct qmpsnap_error err;

	store = qmpsnap_store_open(&loop, where, &wanted.store, &err);
	if (!store) {
		(void)printf("{\"code\": %d, \"message\": \"%s\"}\n", (int)err.code, err.message);
		exit(1);
	}
	if (strcmp(store->ops->kind, "glance") == 0) {
		struct glance_store *glance = (struct glance_store *)store;
		if (wanted.settle_ms)
			glance->settle_ms = wanted.settle_ms;
		if (wanted.wait_ms)
			glance->wait_ms = wanted.wait_ms;
		if (wanted.quiet_ms)
			glance->quiet_ms = wanted.quiet_ms;
		if (wanted.tries)
			glance->tries = wanted.tries;
	} else {
		shorten_patience();
	}
	fake_stream_init(&stream, &loop, strtoull(bytes, NULL, 10));
	stream.delay_ms = wanted.delay_ms;
	stream.per_delivery = wanted.delay_ms ? 4 : 0;
	kit_spec(&spec);
	spec.format = QMPSNAP_RAW;
	(void)name_new_uuid(id);
	spec.id = wanted.discard_left ? wanted.discard_left : id;
	if (wanted.property) {
		char key[64];
		const char *equals = strchr(wanted.property, '=');
		(void)snprintf(
			key, sizeof(key), "%.*s", (int)(equals - wanted.property), wanted.property);
		json_put_string(spec.properties, key, equals + 1);
	}
}

/* What a snapshot does with an image. */
static bool make_image(struct json_object *result, struct qmpsnap_error *err)
{
	struct store_image *image = kit_create(&loop, store, &spec, err);
	struct qmpsnap_error undo = {.code = QMPSNAP_OK};
	bool well;

	if (!image)
		return false;
	well = err->code == QMPSNAP_OK && kit_put(&loop, image, &stream.base, err);
	if (well && !wanted.left)
		well = kit_publish(&loop, image, err);
	if (!well && !kit_discard(&loop, image, &undo))
		json_put_string(result, "undo", undo.message);
	json_put_string(result, "id", image->id[0] ? image->id : spec.id);
	json_put_string(result, "location", image->location);
	json_put_string(result, "digest", image->digest);
	json_put_string(result, "algorithm", image->digest_algorithm);
	image->ops->close(image);
	return well;
}

static char *const *words; /* SPEC and BYTES */
static bool failed;

/* As a test of Check's, since the kits that it uses assert. */
START_TEST(upload)
{
	struct json_object *result = json_object_new_object();
	struct qmpsnap_error err = {.code = QMPSNAP_OK};
	char sha512[129];

	ck_assert_int_eq(uv_loop_init(&loop), 0);
	qmpsnap_log_to(QMPSNAP_LOG_DEBUG, say, NULL);
	set_up(words[0], words[1]);
	failed = wanted.discard_left ? !kit_discard_left(&loop, store, &spec, &err)
				     : !make_image(result, &err);
	json_put_int(result, "code", failed ? (int)err.code : 0);
	json_put_int(result, "detail", err.detail);
	json_put_string(result, "message", err.message);
	json_put_string(result, "hint", err.hint);
	json_put_string(result, "spec", qmpsnap_store_spec(store));
	json_put_uint(result, "readers", stream.opened);
	fake_stream_digest(&stream, "sha512", sha512);
	json_put_string(result, "sha512", sha512);
	(void)printf("%s\n", json_text(result));
	(void)json_object_put(result);
	(void)json_object_put(spec.properties);
	qmpsnap_store_close(store);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

int main(int argc, char *argv[])
{
	Suite *suite = suite_create("upload");
	TCase *tcase = tcase_create("upload");
	SRunner *runner = srunner_create(suite);
	int letter;

	while ((letter = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (!take_text(letter, optarg) && !take_flag(letter) &&
			!take_number(letter, optarg))
			return 2;
	}
	if (argc - optind != 2)
		return 2;
	words = argv + optind;
	tcase_add_test(tcase, upload);
	suite_add_tcase(suite, tcase);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_SILENT);
	const int asserted = srunner_ntests_failed(runner);
	srunner_free(runner);
	return asserted ? 3 : failed;
}

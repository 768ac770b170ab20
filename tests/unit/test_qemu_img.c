/* SPDX-License-Identifier: Apache-2.0
 *
 * Children: qemu-img in the shape of shell scripts that say and do what the test wants. */
#include "blockops/qemu_img.h"
#include "fixture.h"
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[64];
static struct source *source;
static struct qmpsnap_error last;
static unsigned n_done;
static double seen[8];
static size_t n_seen;
static long long info_size;
static uint64_t most_bytes;

/* A program of that name in front of all others. */
static void program(const char *name, const char *script)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *out = fopen(path, "w");
	ck_assert_ptr_nonnull(out);
	ck_assert_int_gt(fprintf(out, "#!/bin/sh\n%s\n", script), 0);
	ck_assert_int_eq(fclose(out), 0);
	ck_assert_int_eq(chmod(path, 0700), 0);
}

static void setup(void)
{
	char path[256];
	struct qmpsnap_error err;

	loop_setup();
	(void)snprintf(folder, sizeof(folder), "/tmp/qmpsnap-child-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s:/usr/bin:/bin", folder);
	ck_assert_int_eq(setenv("PATH", path, 1), 0);
	source = source_new(&err);
	const int fd = memfd_create("disk", MFD_CLOEXEC);
	ck_assert_int_eq(write(fd, "content\n", 8), 8);
	struct json_object *file = source_add_file(source, fd, "/v/disk.raw", &err);
	ck_assert_ptr_nonnull(file);
	ck_assert(source_finish(source, source_format_node("raw", file), &err));
	last = (struct qmpsnap_error){0};
	n_done = 0;
	n_seen = 0;
	info_size = -1;
	most_bytes = 0;
}

static void teardown(void)
{
	char path[128];

	loop_teardown();
	source_free(source);
	for (size_t i = 0; i < 2; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", folder, i ? "qemu-nbd" : "qemu-img");
		(void)unlink(path);
	}
	ck_assert_int_eq(rmdir(folder), 0);
}

static void on_progress(double percent, void *data)
{
	(void)data;
	if (n_seen < 8)
		seen[n_seen++] = percent;
}

static void on_done(const struct qmpsnap_error *err, void *data)
{
	(void)data;
	n_done++;
	if (err)
		last = *err;
}

static void on_info(const struct qmpsnap_error *err, struct json_object *info, void *data)
{
	on_done(err, data);
	info_size = json_int(info, "virtual-size", -1);
}

static struct qemu_img *convert(int to_fd, struct qmpsnap_error *err)
{
	const struct qemu_img_copy copy = {.source = source,
		.to_fd = to_fd,
		.format = QMPSNAP_QCOW2,
		.speed_bytes_per_s = 4096,
		.most_bytes = most_bytes,
		.disk = "vda",
		.progress = on_progress,
		.done = on_done};

	return qemu_img_convert(&loop, &copy, err);
}

static int empty_file(void)
{
	return memfd_create("out", MFD_CLOEXEC);
}

static void run(void)
{
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
}

START_TEST(gets_its_arguments_and_descriptors)
{
	struct qmpsnap_error err;
	char bytes[512] = "";
	const int out = empty_file();

	/* The arguments, standard input, our file, and no other descriptor than those. */
	program("qemu-img",
		"echo \"$*\" >&3; cat >&3; cat /proc/self/fd/4 >&3; ls /proc/self/fd >&3");
	ck_assert_msg(convert(out, &err) != NULL, "%s", err.message);
	ck_assert_uint_eq(n_done, 0);
	run();
	ck_assert_uint_eq(n_done, 1);
	ck_assert_msg(last.code == QMPSNAP_OK, "%s", last.message);
	ck_assert_int_gt(pread(out, bytes, sizeof(bytes) - 1, 0), 0);
	ck_assert_msg(
		strncmp(bytes, "convert -p -O qcow2 -W -r 4096 json:{", 37) == 0, "%s", bytes);
	ck_assert_msg(strstr(bytes, "} /proc/self/fd/3\ncontent\n0\n1\n2\n3\n4\n5\n") != NULL, "%s",
		bytes); /* 5 is the folder that ls reads */
	close(out);
}
END_TEST

START_TEST(tells_its_progress)
{
	struct qmpsnap_error err;
	const int out = empty_file();

	program("qemu-img", "printf '    (0.00/100%%)\\r    (12.50/100%%)\\r'; echo nonsense; echo "
			    "'(1e99/100%)';"
			    "echo '(-3/100%)'; head -c 5000 /dev/zero | tr '\\0' x; echo; echo "
			    "'(100.00/100%)'");
	ck_assert_ptr_nonnull(convert(out, &err));
	run();
	ck_assert_int_eq(last.code, QMPSNAP_OK);
	ck_assert_uint_eq(n_seen, 3);
	ck_assert(seen[0] == 0 && seen[1] == 12.5 && seen[2] == 100);
	close(out);
}
END_TEST

static void check_failure(const char *script, enum qmpsnap_code code, const char *message)
{
	struct qmpsnap_error err;
	const int out = empty_file();

	last = (struct qmpsnap_error){0};
	program("qemu-img", script);
	ck_assert_ptr_nonnull(convert(out, &err));
	run();
	ck_assert_int_eq(last.code, code);
	ck_assert_str_eq(last.message, message);
	close(out);
}

START_TEST(says_what_went_wrong)
{
	check_failure("echo \"qemu-img: Could not open '/proc/self/fd/4': Broken\" >&2; exit 1",
		QMPSNAP_QEMU, "disk vda: qemu-img: Could not open '/v/disk.raw': Broken");
	/* The source is the last argument but one; the lines become one. */
	check_failure(
		"for a; do b=$c; c=$a; done;"
		"printf \"qemu-img: Could not open '%s':\\n\\033[1mBroken\\n\" \"$b\" >&2; exit 1",
		QMPSNAP_QEMU, "disk vda: qemu-img: Could not open '/v/disk.raw':;  [1mBroken");
	check_failure("exit 3", QMPSNAP_QEMU, "disk vda: qemu-img: it failed without a word");
	check_failure("kill -SEGV $$", QMPSNAP_QEMU, "disk vda: qemu-img was ended by signal 11");
	check_failure("echo 'qemu-img: error while writing: No space left on device' >&2; exit 1",
		QMPSNAP_VIEW,
		"disk vda: its copy has no room: error while writing: No space left on device");
	check_failure("echo \"qemu-img: Failed to get shared \\\"write\\\" lock\" >&2; exit 1",
		QMPSNAP_REFUSED, "vda is in use: Failed to get shared \"write\" lock");
	ck_assert_ptr_nonnull(strstr(last.hint, "--force-share"));
}
END_TEST

/* The file is a real one: the limit isn't for pipes and the like. */
START_TEST(its_file_is_bounded)
{
	static const char script[] =
		"head -c 1000000 /dev/zero >&3 && exit 0;"
		"echo 'qemu-img: error while writing: File too large' >&2; exit 1";
	char path[128];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/out", folder);
	const int out = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	ck_assert_int_eq(unlink(path), 0);
	for (most_bytes = 1000000; most_bytes >= 999999; most_bytes--) {
		struct qmpsnap_error err;
		ck_assert_int_eq(ftruncate(out, 0), 0);
		ck_assert_int_eq(lseek(out, 0, SEEK_SET), 0);
		program("qemu-img", script);
		ck_assert_ptr_nonnull(convert(out, &err));
		run();
		ck_assert_int_eq(fstat(out, &st), 0);
		ck_assert_uint_eq((uint64_t)st.st_size, most_bytes);
		ck_assert_int_eq(last.code, most_bytes < 1000000 ? QMPSNAP_VIEW : QMPSNAP_OK);
	}
	ck_assert_str_eq(
		last.message, "disk vda: its copy needs more than the 977 KiB left for it");
	close(out);
}
END_TEST

START_TEST(a_flood_of_words_is_cut)
{
	struct qmpsnap_error err;
	const int out = empty_file();

	program("qemu-img", "head -c 3000000 /dev/zero | tr '\\0' y >&2;"
			    "head -c 3000000 /dev/zero | tr '\\0' z; exit 1");
	ck_assert_ptr_nonnull(convert(out, &err));
	run();
	ck_assert_int_eq(last.code, QMPSNAP_QEMU);
	ck_assert_uint_lt(strlen(last.message), sizeof(last.message));
	close(out);
}
END_TEST

START_TEST(there_is_none)
{
	struct qmpsnap_error err;
	const int out = empty_file();

	ck_assert_int_eq(setenv("PATH", folder, 1), 0);
	ck_assert_ptr_null(convert(out, &err));
	ck_assert_int_eq(err.code, QMPSNAP_REFUSED);
	ck_assert_int_eq(err.detail, ENOENT);
	ck_assert_ptr_nonnull(strstr(err.hint, "qemu-utils"));
	run();
	ck_assert_uint_eq(n_done, 0);
	close(out);
}
END_TEST

START_TEST(killed_it_tells_so)
{
	struct qmpsnap_error err;
	const int out = empty_file();

	program("qemu-img", "exec sleep 100");
	struct qemu_img *img = convert(out, &err);
	ck_assert_ptr_nonnull(img);
	qemu_img_kill(img);
	run();
	ck_assert_uint_eq(n_done, 1);
	ck_assert_str_eq(last.message, "disk vda: qemu-img was ended by signal 9");
	close(out);
}
END_TEST

START_TEST(abandoned_it_tells_nothing)
{
	struct qmpsnap_error err;
	const int out = empty_file();

	program("qemu-img", "echo '(1.00/100%)'; exec sleep 100");
	struct qemu_img *img = convert(out, &err);
	ck_assert_ptr_nonnull(img);
	qemu_img_abandon(img);
	run();
	ck_assert_uint_eq(n_done, 0);
	ck_assert_uint_eq(n_seen, 0);
	close(out);
}
END_TEST

START_TEST(informs)
{
	struct qmpsnap_error err;

	program("qemu-img", "echo '{\"virtual-size\": 4096, \"format\": \"raw\"}'");
	ck_assert_ptr_nonnull(qemu_img_info(&loop, source, "vda", on_info, NULL, &err));
	run();
	ck_assert_int_eq(last.code, QMPSNAP_OK);
	ck_assert_int_eq(info_size, 4096);
	program("qemu-img", "echo '{\"virtual-size\": 40'");
	ck_assert_ptr_nonnull(qemu_img_info(&loop, source, "vda", on_info, NULL, &err));
	run();
	ck_assert_int_eq(last.code, QMPSNAP_QEMU);
	ck_assert_uint_eq(n_done, 2);
}
END_TEST

START_TEST(measures)
{
	struct qmpsnap_error err;

	program("qemu-img",
		"[ \"$1 $2 $3 $4 $5 $6\" = 'measure --output=json -O qcow2 -o cluster_size=65536' ]"
		" && [ \"$(cat /proc/self/fd/4)\" = content ] && echo '{\"virtual-size\": 7}'");
	ck_assert_ptr_nonnull(qemu_img_measure(&loop, source, "vda", 65536, on_info, NULL, &err));
	run();
	ck_assert_msg(last.code == QMPSNAP_OK, "%s", last.message);
	ck_assert_int_eq(info_size, 7);
	ck_assert_uint_eq(n_done, 1);
}
END_TEST

START_TEST(listens_on_our_socket)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct qmpsnap_error err;
	struct stat st;
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", folder);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(unlink(address.sun_path), 0);
	ck_assert_int_eq(setenv("LISTEN_FDS", "7", 1), 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	/* sd_listen_fds(3): its own number, in which leading zeroes don't matter. */
	program("qemu-nbd", "[ \"$LISTEN_FDS\" = 1 ] && [ $(expr $LISTEN_PID + 0) = $$ ] && [ -S "
			    "/proc/self/fd/3 ]"
			    " && echo well >&2; exit 1");
	ck_assert_ptr_nonnull(qemu_img_serve(&loop, source, "vda", fd, 2, on_done, NULL, &err));
	run();
	ck_assert_uint_eq(n_done, 1);
	ck_assert_str_eq(last.message, "disk vda: qemu-nbd: well");
	close(fd);
}
END_TEST

/* The process that started it is killed; we are whom orphans come to. */
START_TEST(never_outlives_us)
{
	int ends[2];
	pid_t child = 0;
	char byte;

	ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	ck_assert_int_eq(pipe(ends), 0);
	program("qemu-img", "echo $$ >&3; exec sleep 100");
	const pid_t starter = fork();
	if (starter == 0) {
		struct qmpsnap_error err;
		if (!convert(ends[1], &err))
			_exit(1);
		(void)raise(SIGKILL);
	}
	ck_assert_int_eq(waitpid(starter, NULL, 0), starter);
	close(ends[1]);
	/* The end of file comes when the last who holds the pipe is gone. */
	while (read(ends[0], &byte, 1) > 0)
		;
	close(ends[0]);
	do {
		child = waitpid(-1, NULL, 0);
	} while (child < 0 && errno == EINTR);
	ck_assert(child > 0 || errno == ECHILD);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("qemu_img");
	TCase *c = tcase_create("children");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_set_timeout(c, 30);
	tcase_add_test(c, gets_its_arguments_and_descriptors);
	tcase_add_test(c, tells_its_progress);
	tcase_add_test(c, says_what_went_wrong);
	tcase_add_test(c, its_file_is_bounded);
	tcase_add_test(c, a_flood_of_words_is_cut);
	tcase_add_test(c, there_is_none);
	tcase_add_test(c, killed_it_tells_so);
	tcase_add_test(c, abandoned_it_tells_nothing);
	tcase_add_test(c, informs);
	tcase_add_test(c, measures);
	tcase_add_test(c, listens_on_our_socket);
	tcase_add_test(c, never_outlives_us);
	suite_add_tcase(s, c);
	return s;
}

SUITE_MAIN(suite)

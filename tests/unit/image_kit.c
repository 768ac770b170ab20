/* SPDX-License-Identifier: Apache-2.0 */
#include "image_kit.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PIECE_BYTES = 1 << 20 };

static char folder[KIT_PATH_BYTES - 64];
static uint64_t seed, state;

void kit_setup(void)
{
	const char *text = getenv("QMPSNAP_TEST_SEED");
	const char *tmp = getenv("TMPDIR");
	struct timespec now;

	ck_assert_int_eq(clock_gettime(CLOCK_REALTIME, &now), 0);
	seed = text ? strtoull(text, NULL, 0) : (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec;
	(void)printf("QMPSNAP_TEST_SEED=%" PRIu64 "\n", seed);
	(void)fflush(stdout);
	(void)snprintf(folder, sizeof(folder), "%s/qmpsnap-test-XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(folder));
}

void kit_teardown(void)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			(void)unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		(void)closedir(dir);
	(void)rmdir(folder);
}

/* Steele, Lea, Flood: "Fast splittable pseudorandom number generators". */
static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

void kit_seed(uint64_t stream)
{
	state = mix(seed) + mix(stream + 1);
}

uint64_t kit_random(uint64_t below)
{
	state += UINT64_C(0x9e3779b97f4a7c15);
	return mix(state) % below;
}

void kit_path(char path[static KIT_PATH_BYTES], const char *name)
{
	(void)snprintf(path, KIT_PATH_BYTES, "%s/%s", folder, name);
}

void kit_pattern(uint64_t offset, uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length;) {
		const uint64_t at = offset + i;
		const uint64_t word = mix(at / 8) | UINT64_C(0x0101010101010101);
		for (size_t b = at % 8; b < 8 && i < length; b++)
			bytes[i++] = (uint8_t)(word >> (8 * b));
	}
}

void kit_produce(const struct layout *layout, const struct segment *segment, uint8_t *bytes)
{
	if (segment->kind == SEGMENT_TABLES)
		layout_fill(layout, segment, bytes);
	else if (segment->kind == SEGMENT_DATA)
		kit_pattern(segment->guest_offset, bytes, segment->len);
	else
		memset(bytes, 0, segment->len);
}

void kit_at(const struct layout *layout, uint64_t offset, uint32_t most, struct segment *segment)
{
	memset(segment, 0xa5, sizeof(*segment));
	layout_at(layout, offset, most, segment);
	const uint64_t end = offset + segment->len;
	bool good = segment->offset == offset && segment->len > 0 && segment->len <= most &&
		    end <= layout->size_bytes;
	if (segment->kind == SEGMENT_DATA)
		good = good &&
		       segment->guest_offset + segment->len <= layout->map->virtual_size_bytes;
	else if (segment->kind == SEGMENT_TABLES)
		good = good && end <= layout->data_at * CLUSTER_BYTES;
	/* No assertion unless it fails: Check writes each down. */
	if (!good)
		ck_abort_msg("bad segment at %" PRIu64 ", most %u", offset, most);
}

static int create(const char *path, uint64_t size)
{
	const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static uint32_t random_most(void)
{
	switch (kit_random(8)) {
	case 0:
		return 1 + (uint32_t)kit_random(16);
	case 1:
		return 1 + (uint32_t)kit_random(8192);
	case 2:
		return 4096u << kit_random(8);
	default:
		return 1 + (uint32_t)kit_random(PIECE_BYTES);
	}
}

void kit_write_image(const struct layout *layout, const char *path)
{
	const int fd = create(path, layout->size_bytes);
	uint8_t *piece = malloc(PIECE_BYTES);
	struct segment segment;

	ck_assert_ptr_nonnull(piece);
	for (uint64_t at = 0; at < layout->size_bytes; at += segment.len) {
		kit_at(layout, at, random_most(), &segment);
		kit_produce(layout, &segment, piece);
		if (segment.kind != SEGMENT_ZERO)
			ck_assert_int_eq(
				pwrite(fd, piece, segment.len, (off_t)at), (ssize_t)segment.len);
	}
	free(piece);
	ck_assert_int_eq(close(fd), 0);
}

void kit_write_tables(const struct layout *layout, const char *path)
{
	const int fd = create(path, layout->size_bytes);
	uint8_t *piece = malloc(PIECE_BYTES);
	struct segment segment;

	ck_assert_ptr_nonnull(piece);
	for (uint64_t at = 0; at < layout->data_at * CLUSTER_BYTES; at += segment.len) {
		kit_at(layout, at, PIECE_BYTES, &segment);
		kit_produce(layout, &segment, piece);
		ck_assert_int_eq(pwrite(fd, piece, segment.len, (off_t)at), (ssize_t)segment.len);
	}
	free(piece);
	ck_assert_int_eq(close(fd), 0);
}

void kit_write_reference(const struct cluster_map *map, const char *path)
{
	const int fd = create(path, map->virtual_size_bytes);
	uint8_t cluster[CLUSTER_BYTES];

	for (uint64_t i = 0; i < map->n_clusters; i++) {
		i += cluster_map_gap(map, i, UINT64_MAX);
		if (i >= map->n_clusters)
			break;
		const uint64_t at = i * CLUSTER_BYTES, left = map->virtual_size_bytes - at;
		const size_t length = left < CLUSTER_BYTES ? left : CLUSTER_BYTES;
		kit_pattern(at, cluster, length);
		ck_assert_int_eq(pwrite(fd, cluster, length, (off_t)at), (ssize_t)length);
	}
	ck_assert_int_eq(close(fd), 0);
}

int kit_run(const char *output, char *const argv[])
{
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int status;

	ck_assert_int_eq(posix_spawn_file_actions_init(&actions), 0);
	ck_assert_int_eq(posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO,
				 output ? output : "/dev/null", O_WRONLY | O_CREAT | O_TRUNC, 0600),
		0);
	ck_assert_int_eq(posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ), 0);
	ck_assert_int_eq(posix_spawn_file_actions_destroy(&actions), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

void kit_assert_check(const char *path)
{
	char *argv[] = {"qemu-img", "check", "-q", "-f", "qcow2", (char *)path, NULL};

	ck_assert_int_eq(kit_run(NULL, argv), 0);
}

void kit_assert_equal(const char *image, const char *format, const char *raw)
{
	char *argv[] = {"qemu-img", "compare", "-q", "-f", (char *)format, "-F", "raw",
		(char *)image, (char *)raw, NULL};

	ck_assert_int_eq(kit_run(NULL, argv), 0);
}

struct json_object *kit_qemu_img_json(const char *command, const char *path)
{
	char *argv[] = {
		"qemu-img", (char *)command, "--output=json", "-f", "qcow2", (char *)path, NULL};
	char output[KIT_PATH_BYTES];

	kit_path(output, "output.json");
	ck_assert_int_eq(kit_run(output, argv), 0);
	struct json_object *json = json_object_from_file(output);
	ck_assert_ptr_nonnull(json);
	return json;
}

double kit_cpu_ms(void)
{
	struct timespec now;

	ck_assert_int_eq(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now), 0);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

long kit_peak_kib(void)
{
	struct rusage usage;

	ck_assert_int_eq(getrusage(RUSAGE_SELF, &usage), 0);
	return usage.ru_maxrss;
}

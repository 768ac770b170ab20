/* SPDX-License-Identifier: Apache-2.0
 *
 * guestjob - what a test guest does to its disks; the only program in it beside busybox.
 *
 *	guestjob count DISK SLOTS        write numbered blocks, print "COUNT n" after each flush
 *	guestjob write DISK SLOTS        the same, and 64 KiB of noise behind them now and then
 *	guestjob twodisks A B SLOTS      n to A, flush, n to B, flush; print "COUNT n"
 *	guestjob time DISK SLOTS         write 4 KiB at random places all over it, each with a
 *flush; print "TIME n us worst" 10 times a second: so many writes, the time they took, and the
 *longest of them guestjob verify-count DISK SLOTS print "VERIFY DISK n=N bad=B": N is the highest
 *number on the disk, B how many slots do not hold what they held then
 *
 * Block n (4 KiB) stands in slot (n - 1) % SLOTS, at byte slot * 4096, and is determined by n
 * alone: "QSNAPBLK", n as 8 bytes little endian, then xorshift64 words seeded by n.  As every
 * block is flushed before the next is written, a disk that stood still at one instant holds in
 * each slot the latest number not above N, or zeroes: B is 0.  tests/live/blocks.py reads the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK_BYTES = 4096, NOISE_BYTES = 65536, NOISE_EVERY = 4 };

struct disk {
	const char *path;
	int fd;
	uint64_t slots;
	uint64_t size_bytes;
};

static _Alignas(4096) unsigned char block[BLOCK_BYTES];
static _Alignas(4096) unsigned char expected[BLOCK_BYTES];
static _Alignas(4096) unsigned char noise[NOISE_BYTES];

static void die(const char *what, const char *path)
{
	printf("FAILED %s %s: %s\n", what, path, strerror(errno));
	exit(EXIT_FAILURE);
}

static uint64_t xorshift(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void fill_block(unsigned char *bytes, uint64_t n)
{
	uint64_t words[BLOCK_BYTES / sizeof(uint64_t)];
	uint64_t state = n;

	memcpy(words, "QSNAPBLK", 8);
	words[1] = n;
	for (size_t i = 2; i < sizeof(words) / sizeof(words[0]); i++)
		words[i] = xorshift(&state);
	memcpy(bytes, words, BLOCK_BYTES);
}

static struct disk open_disk(const char *path, const char *slots, int flags)
{
	struct disk disk = {.path = path, .slots = strtoull(slots, NULL, 10)};

	disk.fd = open(path, flags | O_DIRECT | O_CLOEXEC);
	if (disk.fd < 0)
		die("open", path);
	const off_t end = lseek(disk.fd, 0, SEEK_END);
	if (end < 0)
		die("lseek", path);
	disk.size_bytes = (uint64_t)end;
	if (disk.slots == 0 || disk.slots > disk.size_bytes / BLOCK_BYTES) {
		errno = EINVAL;
		die("slots", path);
	}
	return disk;
}

static off_t slot_offset(const struct disk *disk, uint64_t n)
{
	return (off_t)((n - 1) % disk->slots * BLOCK_BYTES);
}

/* The number in a slot; 0 when it was never written, UINT64_MAX when it holds something else. */
static uint64_t read_slot(const struct disk *disk, uint64_t slot)
{
	static const unsigned char zeroes[BLOCK_BYTES];
	uint64_t n;

	if (pread(disk->fd, block, BLOCK_BYTES, (off_t)(slot * BLOCK_BYTES)) != BLOCK_BYTES)
		die("read", disk->path);
	if (memcmp(block, zeroes, BLOCK_BYTES) == 0)
		return 0;
	memcpy(&n, block + 8, sizeof(n));
	fill_block(expected, n);
	if (memcmp(block, expected, BLOCK_BYTES) != 0)
		return UINT64_MAX;
	return n;
}

/* Finds the highest number on the disk and counts the slots that contradict it. */
static uint64_t verify(const struct disk *disk, uint64_t *bad)
{
	uint64_t *found = calloc(disk->slots, sizeof(*found));
	uint64_t highest = 0;

	if (!found)
		die("memory for", disk->path);
	for (uint64_t slot = 0; slot < disk->slots; slot++) {
		found[slot] = read_slot(disk, slot);
		if (found[slot] != UINT64_MAX && found[slot] > highest)
			highest = found[slot];
	}
	*bad = 0;
	for (uint64_t slot = 0; slot < disk->slots; slot++) {
		/* the latest number not above `highest` that belongs here */
		uint64_t want = 0;
		if (highest > slot)
			want = highest - (highest - 1 - slot) % disk->slots;
		if (found[slot] != want)
			++*bad;
	}
	free(found);
	return highest;
}

static void write_block(const struct disk *disk, uint64_t n)
{
	fill_block(block, n);
	if (pwrite(disk->fd, block, BLOCK_BYTES, slot_offset(disk, n)) != BLOCK_BYTES)
		die("write", disk->path);
	if (fdatasync(disk->fd) < 0)
		die("flush", disk->path);
}

/* The number leaves the guest before the next block is written: the console is behind the disk by
 * one at most. */
static void report(uint64_t n)
{
	printf("COUNT %" PRIu64 "\n", n);
	(void)fflush(stdout);
	tcdrain(STDOUT_FILENO);
}

static void write_noise(const struct disk *disk, uint64_t *state)
{
	const uint64_t begin = (disk->slots * BLOCK_BYTES + NOISE_BYTES - 1) / NOISE_BYTES;
	const uint64_t end = disk->size_bytes / NOISE_BYTES;

	if (begin >= end)
		return;
	for (size_t i = 0; i < NOISE_BYTES; i += sizeof(*state)) {
		const uint64_t word = xorshift(state);
		memcpy(noise + i, &word, sizeof(word));
	}
	const uint64_t at = begin + xorshift(state) % (end - begin);
	if (pwrite(disk->fd, noise, NOISE_BYTES, (off_t)(at * NOISE_BYTES)) != NOISE_BYTES)
		die("write", disk->path);
}

/* Goes on from the number that the disk holds. */
static void count(const struct disk *disk, bool with_noise)
{
	uint64_t bad;
	uint64_t state = 88172645463325252U;

	for (uint64_t n = verify(disk, &bad) + 1;; n++) {
		write_block(disk, n);
		report(n);
		if (with_noise && n % NOISE_EVERY == 0)
			write_noise(disk, &state);
	}
}

static void count_on_two(const struct disk *a, const struct disk *b)
{
	for (uint64_t n = 1;; n++) {
		write_block(a, n);
		write_block(b, n);
		report(n);
	}
}

static uint64_t now_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void time_writes(const struct disk *disk)
{
	uint64_t state = 88172645463325252U, n = 0, worst = 0;

	fill_block(block, 1);
	for (uint64_t from = now_us(), begin = from;; begin = now_us()) {
		const uint64_t at = xorshift(&state) % (disk->size_bytes / BLOCK_BYTES);

		if (pwrite(disk->fd, block, BLOCK_BYTES, (off_t)(at * BLOCK_BYTES)) != BLOCK_BYTES)
			die("write", disk->path);
		const uint64_t end = now_us();
		worst = end - begin > worst ? end - begin : worst;
		n++;
		if (end - from < 100000)
			continue;
		printf("TIME %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", n, end - from, worst);
		from = end;
		n = worst = 0;
	}
}

static void print_verdict(const struct disk *disk)
{
	uint64_t bad;
	const uint64_t highest = verify(disk, &bad);

	printf("VERIFY %s n=%" PRIu64 " bad=%" PRIu64 "\n", disk->path, highest, bad);
}

int main(int argc, char **argv)
{
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 4 && strcmp(argv[1], "count") == 0) {
		const struct disk disk = open_disk(argv[2], argv[3], O_RDWR);
		count(&disk, false);
	} else if (argc == 4 && strcmp(argv[1], "write") == 0) {
		const struct disk disk = open_disk(argv[2], argv[3], O_RDWR);
		count(&disk, true);
	} else if (argc == 5 && strcmp(argv[1], "twodisks") == 0) {
		const struct disk a = open_disk(argv[2], argv[4], O_RDWR);
		const struct disk b = open_disk(argv[3], argv[4], O_RDWR);
		count_on_two(&a, &b);
	} else if (argc == 4 && strcmp(argv[1], "time") == 0) {
		const struct disk disk = open_disk(argv[2], argv[3], O_RDWR | O_SYNC);
		time_writes(&disk);
	} else if (argc == 4 && strcmp(argv[1], "verify-count") == 0) {
		const struct disk disk = open_disk(argv[2], argv[3], O_RDONLY);
		print_verdict(&disk);
	} else {
		printf("FAILED unknown job\n");
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}

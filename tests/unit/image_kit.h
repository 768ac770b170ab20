/* SPDX-License-Identifier: Apache-2.0
 *
 * image_kit.h - for tests of images: random numbers that can be repeated, a pattern for the
 * guest's disk, images written from a layout, and the real qemu-img as the judge.
 */
#ifndef TESTS_IMAGE_KIT_H
#define TESTS_IMAGE_KIT_H

#include "blockops/layout.h"

enum { KIT_PATH_BYTES = 256 };

/* Unchecked fixtures: a folder for the program's files, and the seed, which is printed; the
 * environment's QMPSNAP_TEST_SEED repeats a run. */
void kit_setup(void);
void kit_teardown(void);

/* Starts the random numbers anew, `stream` apart from others of the same seed. */
void kit_seed(uint64_t stream);
/* A number in [0, below). */
uint64_t kit_random(uint64_t below);

/* The path of a file in the folder. */
void kit_path(char path[static KIT_PATH_BYTES], const char *name);

/* What the guest's disk holds at `offset`; never a zero byte. */
void kit_pattern(uint64_t offset, uint8_t *bytes, size_t length);

/* The bytes of `segment`. */
void kit_produce(const struct layout *layout, const struct segment *segment, uint8_t *bytes);

/* layout_at(), with all that its header promises asserted. */
void kit_at(const struct layout *layout, uint64_t offset, uint32_t most, struct segment *segment);

/* Writes the whole image in segments of random length, or only its tables (the rest is a hole). */
void kit_write_image(const struct layout *layout, const char *path);
void kit_write_tables(const struct layout *layout, const char *path);

/* Writes the sparse raw file that an image from this map must equal. */
void kit_write_reference(const struct cluster_map *map, const char *path);

/* Runs a program; its output goes to the file `output`, or stays unread when it's NULL.  Returns
 * the exit code. */
int kit_run(const char *output, char *const argv[]);

/* qemu-img's verdicts, asserted. */
void kit_assert_check(const char *path);
void kit_assert_equal(const char *image, const char *format, const char *raw);

/* The JSON that qemu-img prints; the caller puts it. */
struct json_object *kit_qemu_img_json(const char *command, const char *path);

/* Milliseconds of CPU time that the process has used, and its largest resident set. */
double kit_cpu_ms(void);
long kit_peak_kib(void);

/* Memory numbers mean nothing under the sanitizers, and times little. */
#if defined(__SANITIZE_ADDRESS__)
enum { KIT_SANITIZED = 1 };
#else
enum { KIT_SANITIZED = 0 };
#endif

#endif

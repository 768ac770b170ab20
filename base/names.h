/* SPDX-License-Identifier: Apache-2.0
 *
 * names.h - the names that qmpsnap gives: runs, UUIDs, images, files, times.
 */
#ifndef BASE_NAMES_H
#define BASE_NAMES_H

#include <qmpsnap.h>

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

enum {
	NAME_RUN_BYTES = 11, /* 10 characters of [a-z0-9] */
	NAME_UUID_BYTES = 37,
	NAME_NODE_BYTES = 32, /* QEMU: a node name has at most 31 characters */
	NAME_FILE_BYTES = 201,
	NAME_TIME_BYTES = 28,
};

/* Random names; false when the system gives no random bytes. */
bool name_new_run(char run[static NAME_RUN_BYTES]);
bool name_new_uuid(char uuid[static NAME_UUID_BYTES]);

/* Whether `uuid` identifies anything: 36 characters of the usual form and not all zero. */
bool name_uuid_is_real(const char *uuid);

/* "qmpsnap-<run>-<role><disk>", what we make inside QEMU; asserted to fit. */
void name_node(char node[static NAME_NODE_BYTES], const char *run, const char *role, unsigned disk);

/* Whether `name` was made by name_node() of any run; copies the run out when it was and `run`
 * isn't NULL. */
bool name_is_ours(const char *name, char run[NAME_RUN_BYTES]);

/* `name` as a file name: all but [A-Za-z0-9._-] becomes '_', no leading dot, 200 bytes at most. */
void name_for_file(char file[static NAME_FILE_BYTES], const char *name);

/* "2026-11-23T13:20:14.123Z" and "20261123t132014z". */
void name_time(char text[static NAME_TIME_BYTES], const struct timespec *when);
void name_time_compact(char text[static NAME_TIME_BYTES], const struct timespec *when);

/* "qcow2", ...; "" for QMPSNAP_FORMAT_AUTO. */
const char *name_format(enum qmpsnap_format format);

#endif

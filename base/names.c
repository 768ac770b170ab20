/* SPDX-License-Identifier: Apache-2.0 */
#include "base/names.h"

#include <assert.h>
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define PREFIX       "qmpsnap-"
#define RUN_ALPHABET "abcdefghijklmnopqrstuvwxyz0123456789"

static bool random_bytes(void *bytes, size_t len)
{
	return getrandom(bytes, len, 0) == (ssize_t)len;
}

bool name_new_run(char run[static NAME_RUN_BYTES])
{
	uint8_t random[NAME_RUN_BYTES - 1];

	if (!random_bytes(random, sizeof(random)))
		return false;
	for (size_t i = 0; i < sizeof(random); i++)
		run[i] = RUN_ALPHABET[random[i] % (sizeof(RUN_ALPHABET) - 1)];
	run[sizeof(random)] = '\0';
	return true;
}

bool name_new_uuid(char uuid[static NAME_UUID_BYTES])
{
	uint8_t b[16];

	if (!random_bytes(b, sizeof(b)))
		return false;
	b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* version 4, RFC 4122 section 4.4 */
	b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
	(void)snprintf(uuid, NAME_UUID_BYTES,
		"%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
		b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
		b[15]);
	return true;
}

bool name_uuid_is_real(const char *uuid)
{
	bool zero = true;

	if (!uuid || strlen(uuid) != NAME_UUID_BYTES - 1)
		return false;
	for (size_t i = 0; uuid[i]; i++) {
		const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		if (dash ? uuid[i] != '-' : !isxdigit((unsigned char)uuid[i]))
			return false;
		if (!dash && uuid[i] != '0')
			zero = false;
	}
	return !zero;
}

void name_node(char node[static NAME_NODE_BYTES], const char *run, const char *role, unsigned disk)
{
	const int len = snprintf(node, NAME_NODE_BYTES, PREFIX "%s-%s%u", run, role, disk);

	assert(len > 0 && len < NAME_NODE_BYTES);
	(void)len;
}

bool name_is_ours(const char *name, char run[NAME_RUN_BYTES])
{
	const size_t prefix = sizeof(PREFIX) - 1, length = NAME_RUN_BYTES - 1;

	if (!name || strncmp(name, PREFIX, prefix) != 0 ||
		strspn(name + prefix, RUN_ALPHABET) != length || name[prefix + length] != '-')
		return false;
	/* Then "<role><disk>" and nothing else: names come from QEMU, and ours get deleted. */
	const char *role = name + prefix + length + 1;
	const size_t letters = strspn(role, "abcdefghijklmnopqrstuvwxyz");
	const size_t digits = strspn(role + letters, "0123456789");
	if (letters == 0 || digits == 0 || role[letters + digits] ||
		strlen(name) >= NAME_NODE_BYTES)
		return false;
	if (run) {
		memcpy(run, name + prefix, length);
		run[length] = '\0';
	}
	return true;
}

void name_for_file(char file[static NAME_FILE_BYTES], const char *name)
{
	size_t n = 0;

	for (; n < NAME_FILE_BYTES - 1 && name[n]; n++) {
		const unsigned char c = (unsigned char)name[n];
		const bool plain = (c < 128 && isalnum(c)) || c == '-' || c == '_' || c == '.';
		file[n] = (char)(plain && !(n == 0 && c == '.') ? c : '_');
	}
	file[n] = '\0';
}

void name_time(char text[static NAME_TIME_BYTES], const struct timespec *when)
{
	struct tm tm;
	char seconds[NAME_TIME_BYTES - 6];

	(void)gmtime_r(&when->tv_sec, &tm);
	(void)strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(text, NAME_TIME_BYTES, "%s.%03uZ", seconds,
		(unsigned)(when->tv_nsec / 1000000) % 1000);
}

void name_time_compact(char text[static NAME_TIME_BYTES], const struct timespec *when)
{
	struct tm tm;

	(void)gmtime_r(&when->tv_sec, &tm);
	(void)strftime(text, NAME_TIME_BYTES, "%Y%m%dt%H%M%Sz", &tm);
}

const char *name_format(enum qmpsnap_format format)
{
	switch (format) {
	case QMPSNAP_FORMAT_AUTO:
		break;
	case QMPSNAP_QCOW2:
		return "qcow2";
	case QMPSNAP_RAW:
		return "raw";
	case QMPSNAP_VMDK:
		return "vmdk";
	case QMPSNAP_VDI:
		return "vdi";
	}
	return "";
}

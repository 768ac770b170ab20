/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/qcow2_header.h"

#include <endian.h>
#include <string.h>
#include <unistd.h>

enum {
	V2_BYTES = 72,
	V3_BYTES = 104,
	HEADER_MAX_BYTES = 64 * 1024,
	EXTENSION_BACKING_FORMAT = (int)0xE2792ACA,
	EXTENSION_DATA_FILE = 0x44415441,
	INCOMPATIBLE_DATA_FILE = 1 << 2,
};

static const uint32_t magic = 0x514649fb; /* "QFI\xfb" */

static uint32_t get32(const uint8_t *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof(value));
	return be32toh(value);
}

static uint64_t get64(const uint8_t *bytes)
{
	uint64_t value;

	memcpy(&value, bytes, sizeof(value));
	return be64toh(value);
}

bool qcow2_header_is_there(int fd)
{
	uint8_t bytes[4];

	return pread(fd, bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes) &&
	       get32(bytes) == magic;
}

/* A name without a NUL inside that fits. */
static bool take_name(char *to, size_t room, const uint8_t *from, size_t len)
{
	if (len >= room || memchr(from, '\0', len))
		return false;
	memcpy(to, from, len);
	to[len] = '\0';
	return true;
}

static bool take_extensions(struct qcow2_header *header, const uint8_t *bytes, size_t at, size_t n)
{
	while (at + 8 <= n) {
		const uint32_t type = get32(bytes + at), len = get32(bytes + at + 4);
		const uint8_t *data = bytes + at + 8;

		if (type == 0)
			return true;
		if (len > n - at - 8)
			return false;
		if (type == (uint32_t)EXTENSION_BACKING_FORMAT &&
			!take_name(
				header->backing_format, sizeof(header->backing_format), data, len))
			return false;
		if (type == EXTENSION_DATA_FILE &&
			!take_name(header->data_file, sizeof(header->data_file), data, len))
			return false;
		at += 8 + ((size_t)len + 7) / 8 * 8;
	}
	return true;
}

static bool take_header(struct qcow2_header *header, const uint8_t *bytes, size_t n)
{
	const uint32_t version = get32(bytes + 4), name_len = get32(bytes + 16);
	const uint64_t name_at = get64(bytes + 8);
	size_t extensions_at = V2_BYTES, extensions_end = n;

	if (version < 2 || version > 3 || (version == 3 && n < V3_BYTES))
		return false;
	if (version == 3) {
		header->incompatible = get64(bytes + 72);
		header->has_data_file = header->incompatible & INCOMPATIBLE_DATA_FILE;
		extensions_at = get32(bytes + 100);
	}
	header->encrypted = get32(bytes + 32) != 0;
	if (extensions_at > n)
		return false;
	if (name_at) {
		if (name_at > n || name_len > n - name_at ||
			!take_name(header->backing_file, sizeof(header->backing_file),
				bytes + name_at, name_len))
			return false;
		extensions_end = name_at;
	}
	return take_extensions(header, bytes, extensions_at, extensions_end);
}

bool qcow2_header_read(int fd, struct qcow2_header *header, struct qmpsnap_error *err)
{
	static uint8_t bytes[HEADER_MAX_BYTES];
	const ssize_t n = pread(fd, bytes, sizeof(bytes), 0);

	*header = (struct qcow2_header){0};
	if (n < V2_BYTES || get32(bytes) != magic)
		return error_set(err, QMPSNAP_REFUSED, "it is no qcow2 file");
	if (!take_header(header, bytes, (size_t)n))
		return error_set(err, QMPSNAP_REFUSED, "its qcow2 header is damaged");
	return true;
}

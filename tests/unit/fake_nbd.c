/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_nbd.h"

#include "image_kit.h"

#include <check.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The NBD specification's names (doc/proto.md). */
enum {
	OPT_ABORT = 2,
	OPT_GO = 7,
	OPT_STRUCTURED_REPLY = 8,
	OPT_SET_META_CONTEXT = 10,
	REP_ACK = 1,
	REP_INFO = 3,
	REP_META_CONTEXT = 4,
	CMD_READ = 0,
	CMD_BLOCK_STATUS = 7,
	REPLY_OFFSET_DATA = 1,
	REPLY_BLOCK_STATUS = 5,
	REPLY_ERROR = 0x8001,
	CONTEXT_ID = 1,
	FLAGS = 1 | 2 /* read-only */,
};

static const uint32_t rep_err_unsup = (1U << 31) + 1;

struct request {
	uint32_t magic;
	uint16_t flags, type;
	uint64_t cookie, offset;
	uint32_t len;
} __attribute__((packed));

struct reply {
	uint32_t magic;
	uint16_t flags, type;
	uint64_t cookie;
	uint32_t len;
} __attribute__((packed));

static bool get(const struct fake_nbd *fake, void *bytes, size_t len)
{
	return len == 0 || recv(fake->fd, bytes, len, MSG_WAITALL) == (ssize_t)len;
}

static bool put(const struct fake_nbd *fake, const void *bytes, size_t len)
{
	return send(fake->fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static bool put_option(const struct fake_nbd *fake, uint32_t option, uint32_t type,
	const void *bytes, uint32_t len)
{
	struct {
		uint64_t magic;
		uint32_t option, type, len;
	} __attribute__((packed))
	head = {htobe64(0x3e889045565a9), htobe32(option), htobe32(type), htobe32(len)};

	return put(fake, &head, sizeof(head)) && (len == 0 || put(fake, bytes, len));
}

static bool put_infos(const struct fake_nbd *fake)
{
	struct {
		uint16_t type;
		uint64_t size;
		uint16_t flags;
	} __attribute__((packed)) export = {0, htobe64(fake->size_bytes), htobe16(FLAGS)};
	struct {
		uint16_t type;
		uint32_t least, best, most;
	} __attribute__((packed))
	sizes = {htobe16(3), htobe32(512), htobe32(4096), htobe32(fake->max_read_bytes)};

	return put_option(fake, OPT_GO, REP_INFO, &export, sizeof(export)) &&
	       (!fake->max_read_bytes ||
		       put_option(fake, OPT_GO, REP_INFO, &sizes, sizeof(sizes))) &&
	       put_option(fake, OPT_GO, REP_ACK, NULL, 0);
}

static bool put_context(const struct fake_nbd *fake)
{
	const char *name = fake->depth ? "qemu:allocation-depth" : "base:allocation";
	struct {
		uint32_t id;
		char name[32];
	} __attribute__((packed)) context = {.id = htobe32(CONTEXT_ID)};
	const size_t len = strlen(name);

	memcpy(context.name, name, len);
	return put_option(fake, OPT_SET_META_CONTEXT, REP_META_CONTEXT, &context,
		       (uint32_t)(sizeof(context.id) + len)) &&
	       put_option(fake, OPT_SET_META_CONTEXT, REP_ACK, NULL, 0);
}

static bool negotiate(const struct fake_nbd *fake)
{
	uint32_t flags, option = 0;
	struct {
		uint64_t magic;
		uint32_t option, len;
	} __attribute__((packed)) head;
	char bytes[4096];

	if (!put(fake, "NBDMAGICIHAVEOPT\0\3", 18) || !get(fake, &flags, sizeof(flags)))
		return false;
	while (option != OPT_GO) {
		bool well = get(fake, &head, sizeof(head));

		option = be32toh(head.option);
		if (!well || be32toh(head.len) > sizeof(bytes) ||
			!get(fake, bytes, be32toh(head.len)))
			return false;
		if (option == OPT_GO)
			well = put_infos(fake);
		else if (option == OPT_SET_META_CONTEXT && !fake->no_map)
			well = put_context(fake);
		else if (option == OPT_STRUCTURED_REPLY)
			well = put_option(fake, option, REP_ACK, NULL, 0);
		else
			well = put_option(fake, option, rep_err_unsup, NULL, 0);
		if (!well || option == OPT_ABORT)
			return false;
	}
	return true;
}

static bool put_reply(
	const struct fake_nbd *fake, const struct request *request, uint16_t type, uint32_t len)
{
	const struct reply reply = {htobe32(0x668e33ef), htobe16(1 /* done */), htobe16(type),
		request->cookie, htobe32(len)};

	return put(fake, &reply, sizeof(reply));
}

static bool answer_read(struct fake_nbd *fake, const struct request *request)
{
	const uint32_t len = be32toh(request->len);
	uint8_t *bytes = malloc(len);

	ck_assert_ptr_nonnull(bytes);
	fake->n_reads++;
	if (len > fake->longest_read_bytes)
		fake->longest_read_bytes = len;
	if (len > CLUSTER_BYTES)
		fake->n_wide_reads++;
	if (fake->lies && len > CLUSTER_BYTES)
		memset(bytes, 0, len);
	else
		kit_pattern(be64toh(request->offset), bytes, len);
	const bool well = put_reply(fake, request, REPLY_OFFSET_DATA, len + 8) &&
			  put(fake, &request->offset, 8) && put(fake, bytes, len);
	free(bytes);
	return well;
}

/* Every other extent reads as zeroes, the first of the disk doesn't. */
static bool answer_map(struct fake_nbd *fake, const struct request *request)
{
	const uint64_t offset = be64toh(request->offset);
	uint64_t len = 0;
	uint32_t flags = 0;

	fake->n_maps++;
	if (fake->extent_bytes) {
		len = fake->extent_bytes - offset % fake->extent_bytes;
		flags = offset / fake->extent_bytes % 2 ? 3 : 0;
	}
	if (len > be32toh(request->len))
		len = be32toh(request->len);

	const uint32_t body[] = {htobe32(CONTEXT_ID), htobe32((uint32_t)len), htobe32(flags)};
	return put_reply(fake, request, REPLY_BLOCK_STATUS, sizeof(body)) &&
	       put(fake, body, sizeof(body));
}

static bool answer_error(const struct fake_nbd *fake, const struct request *request)
{
	const struct {
		uint32_t error;
		uint16_t len;
	} __attribute__((packed)) body = {htobe32(EPERM), 0};

	return put_reply(fake, request, REPLY_ERROR, sizeof(body)) &&
	       put(fake, &body, sizeof(body));
}

static void *serve(void *data)
{
	struct fake_nbd *fake = data;
	struct request request;
	bool well = negotiate(fake);

	for (unsigned n = 0; well && get(fake, &request, sizeof(request)); n++) {
		if (fake->silent_after && n >= fake->silent_after)
			continue;
		if (fake->error_after && n >= fake->error_after)
			well = answer_error(fake, &request);
		else if (fake->garbage_after && n >= fake->garbage_after)
			well = put(fake, "This is not NBD, all the same.", 30);
		else if (be16toh(request.type) == CMD_READ)
			well = answer_read(fake, &request);
		else if (be16toh(request.type) == CMD_BLOCK_STATUS)
			well = answer_map(fake, &request);
		else
			well = false;
	}
	return NULL;
}

int fake_nbd_start(struct fake_nbd *fake)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	fake->fd = fds[1];
	ck_assert_int_eq(pthread_create(&fake->thread, NULL, serve, fake), 0);
	return fds[0];
}

void fake_nbd_join(struct fake_nbd *fake)
{
	ck_assert_int_eq(pthread_join(fake->thread, NULL), 0);
	ck_assert_int_eq(close(fake->fd), 0);
}

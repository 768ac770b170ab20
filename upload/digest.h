/* SPDX-License-Identifier: Apache-2.0
 *
 * digest.h - one message digest over blocks of bytes, computed on a pool thread, a batch at a
 * time: two digests on two cores were measured to starve QEMU.
 */
#ifndef UPLOAD_DIGEST_H
#define UPLOAD_DIGEST_H

#include "base/error.h"

#include <uv.h>

enum {
	DIGEST_NAME_BYTES = 16,
	DIGEST_HEX_BYTES = 129, /* 512 bits */
	DIGEST_BATCH = 16, /* parts */
};

struct digest;

typedef void digest_done_fn(const struct qmpsnap_error *err /* NULL: well */, void *data);

struct digest_part {
	const void *data;
	size_t len;
};

/* Whether it can be computed: `algorithm` as Python's hashlib writes it, since Glance does:
 * "sha256", "sha512", "md5", "sha3_256", "blake2b"; with a fixed length only. */
bool digest_is_known(const char *algorithm);

/* NULL and *err (STORE) when the algorithm isn't known. */
struct digest *digest_new(uv_loop_t *loop, const char *algorithm, struct qmpsnap_error *err);

/* Hashes up to DIGEST_BATCH parts, whose bytes are borrowed until `done`; one call at a time. */
void digest_add(struct digest *d, const struct digest_part *parts, size_t n, digest_done_fn *done,
	void *data);

/* Hashes at once, on whatever thread it is called; not while a batch runs. */
bool digest_hash(struct digest *d, const void *data, size_t len, struct qmpsnap_error *err);

/* The digest of all that was added, in lower-case hex; only once, and not while a batch runs. */
bool digest_finish(struct digest *d, char hex[static DIGEST_HEX_BYTES], struct qmpsnap_error *err);

/* Not while a batch runs.  NULL is fine. */
void digest_free(struct digest *d);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "upload/digest.h"

#include "upload/work.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct digest {
	uv_loop_t *loop;
	EVP_MD_CTX *context;
	struct work work;
	struct digest_part parts[DIGEST_BATCH];
	size_t n_parts;
	digest_done_fn *done;
	void *data;
};

/* hashlib's names that differ from OpenSSL's by more than the underscore. */
static const char *const aliases[][2] = {{"blake2b", "blake2b512"}, {"blake2s", "blake2s256"}};

static const EVP_MD *algorithm_by_name(const char *algorithm)
{
	char name[DIGEST_NAME_BYTES];

	if (strlen(algorithm) >= sizeof(name))
		return NULL;
	for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++) {
		if (strcmp(algorithm, aliases[i][0]) == 0)
			return EVP_get_digestbyname(aliases[i][1]);
	}
	(void)snprintf(name, sizeof(name), "%s", algorithm);
	for (char *c = name; *c; c++) {
		if (*c == '_')
			*c = '-';
	}
	const EVP_MD *md = EVP_get_digestbyname(name);
	return md && !(EVP_MD_get_flags(md) & EVP_MD_FLAG_XOF) ? md : NULL;
}

bool digest_is_known(const char *algorithm)
{
	return algorithm_by_name(algorithm) != NULL;
}

struct digest *digest_new(uv_loop_t *loop, const char *algorithm, struct qmpsnap_error *err)
{
	const EVP_MD *md = algorithm_by_name(algorithm);

	if (!md) {
		error_set(err, QMPSNAP_STORE, "the digest '%.32s' is not known here", algorithm);
		return NULL;
	}
	struct digest *d = calloc(1, sizeof(*d));
	if (!d || !(d->context = EVP_MD_CTX_new())) {
		free(d);
		error_no_memory(err);
		return NULL;
	}
	d->loop = loop;
	if (!EVP_DigestInit_ex(d->context, md, NULL)) {
		error_set(err, QMPSNAP_STORE, "OpenSSL refuses the digest '%s'", algorithm);
		digest_free(d);
		return NULL;
	}
	return d;
}

bool digest_hash(struct digest *d, const void *data, size_t len, struct qmpsnap_error *err)
{
	return EVP_DigestUpdate(d->context, data, len) ||
	       error_set(err, QMPSNAP_INTERNAL, "OpenSSL failed to hash");
}

static void hash_parts(void *self, struct qmpsnap_error *err)
{
	struct digest *d = self;

	for (size_t i = 0; i < d->n_parts; i++) {
		if (!digest_hash(d, d->parts[i].data, d->parts[i].len, err))
			return;
	}
}

static void hashed(const struct qmpsnap_error *err, void *self)
{
	const struct digest *d = self;

	d->done(err, d->data);
}

void digest_add(struct digest *d, const struct digest_part *parts, size_t n, digest_done_fn *done,
	void *data)
{
	memcpy(d->parts, parts, n * sizeof(parts[0]));
	d->n_parts = n;
	d->done = done;
	d->data = data;
	work_start(&d->work, d->loop, hash_parts, hashed, d);
}

bool digest_finish(struct digest *d, char hex[static DIGEST_HEX_BYTES], struct qmpsnap_error *err)
{
	unsigned char raw[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	if (!EVP_DigestFinal_ex(d->context, raw, &len))
		return error_set(err, QMPSNAP_INTERNAL, "OpenSSL failed to finish a digest");
	for (unsigned i = 0; i < len; i++)
		(void)snprintf(hex + (size_t)2 * i, 3, "%02x", raw[i]);
	return true;
}

void digest_free(struct digest *d)
{
	if (!d)
		return;
	EVP_MD_CTX_free(d->context);
	free(d);
}

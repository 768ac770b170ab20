/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether the service has what was sent. */
#include "base/error.h"
#include "base/json.h"
#include "upload/digest.h"
#include "upload/glance.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void confirm(struct glance_image *image)
{
	struct store_image *base = &image->base;

	base->size_bytes = image->stream->size_bytes;
	(void)snprintf(
		base->digest_algorithm, sizeof(base->digest_algorithm), "%s", image->algorithm);
	(void)snprintf(base->digest, sizeof(base->digest), "%s", image->sent);
	glance_end(image, NULL);
}

static void reread_closed(void *data)
{
	struct glance_image *image = data;

	image->pump = NULL;
	if (!glance_end_stopped(image))
		glance_verify(image);
}

static void on_reread(void *data)
{
	struct glance_image *image = data;
	size_t n = 0;

	if (pump_error(image->pump)) {
		glance_end(image, pump_error(image->pump));
		return;
	}
	while (pump_block(image->pump, n))
		n++;
	pump_take(image->pump, n);
	if (!pump_finished(image->pump))
		return;
	(void)snprintf(image->sent, sizeof(image->sent), "%s", pump_digest(image->pump));
	image->state = AT_CLOSING;
	pump_close(image->pump, reread_closed, image);
}

/* Reads the whole stream once more, for the digest that the service computed. */
static void reread(struct glance_image *image, const char *algorithm)
{
	const struct pump_options options = {
		.loop = image->store->loop, .stream = image->stream, .digest = algorithm};

	(void)snprintf(image->algorithm, sizeof(image->algorithm), "%s", algorithm);
	image->state = AT_DIGEST;
	image->pump = pump_open(&options, &image->err);
	if (!image->pump) {
		glance_end(image, NULL);
		return;
	}
	pump_on_event(image->pump, on_reread, image);
	on_reread(image);
}

void glance_verify(struct glance_image *image)
{
	const int64_t size = json_int(image->got, "size", -1);
	const char *algorithm = json_string(image->got, "os_hash_algo");
	const char *value = json_string(image->got, "os_hash_value");
	struct qmpsnap_error err;

	glance_doing(image, "verifying");
	if (size < 0 || (uint64_t)size != image->stream->size_bytes) {
		error_set(&err, QMPSNAP_STORE,
			"%s: the service has %" PRId64 " bytes, sent were %" PRIu64, image->doing,
			size, image->stream->size_bytes);
		glance_end(image, &err);
		return;
	}
	if (!algorithm || !value || !digest_is_known(algorithm)) {
		algorithm = "md5";
		value = json_string(image->got, "checksum");
	}
	if (!value) {
		error_set(&err, QMPSNAP_STORE, "%s: the service gives no digest to compare",
			image->doing);
		glance_end(image, &err);
	} else if (strcmp(algorithm, image->algorithm) != 0 || !image->sent[0]) {
		reread(image, algorithm);
	} else if (strcmp(value, image->sent) != 0) {
		error_set(&err, QMPSNAP_STORE,
			"%s: the service's %s is %.16s..., that of what was "
			"sent is %.16s...",
			image->doing, algorithm, value, image->sent);
		error_hint(&err, "the bytes changed on their way, or in the service's storage");
		glance_end(image, &err);
	} else {
		confirm(image);
	}
}

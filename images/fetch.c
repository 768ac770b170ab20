/* SPDX-License-Identifier: Apache-2.0 */
#include "images/fetch.h"

#include "base/error.h"
#include "base/json.h"
#include "blockops/qcow2_header.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct fetch {
	struct fetch_options options;
	struct receiver *receiver;
	struct shelf_call *call; /* NULL: it has ended */
	uint64_t size_bytes;
	const char *hex; /* the record's */
	char name[256];
	bool stopped;
	struct qmpsnap_error err;
};

bool fetch_digest(struct json_object *record, const char **algorithm, const char **hex)
{
	*algorithm = json_string(record, "os_hash_algo");
	*hex = json_string(record, "os_hash_value");
	if (*algorithm && *hex && (*hex)[0] && digest_is_known(*algorithm))
		return true;
	*algorithm = "md5";
	*hex = json_string(record, "checksum");
	return *hex && (*hex)[0];
}

static bool check_header(const struct fetch *f, struct qmpsnap_error *err)
{
	struct qcow2_header header;
	bool well = true;

	if (f->options.fd < 0 || !shelf_says(f->options.record, "disk_format", "qcow2"))
		return true;
	if (!qcow2_header_read(f->options.fd, &header, err))
		well = false;
	else if (header.backing_file[0])
		well = error_set(err, QMPSNAP_REFUSED, "it stands on the file \"%.200s\"",
			header.backing_file);
	else if (header.has_data_file || header.data_file[0])
		well = error_set(err, QMPSNAP_REFUSED, "it keeps its data in another file");
	else if (header.incompatible & ~QCOW2_KNOWN_INCOMPATIBLE)
		well = error_set(err, QMPSNAP_REFUSED,
			"it has features that aren't known (0x%" PRIx64 ")", header.incompatible);
	if (!well) {
		error_wrap(err, "image %s", f->name);
		error_hint(
			err, "qmpsnap makes no such images: nothing was opened, and nothing kept");
	}
	return well;
}

static bool compare(
	const struct fetch *f, uint64_t n_bytes, const char *hex, struct qmpsnap_error *err)
{
	if (n_bytes != f->size_bytes)
		return error_set(err, QMPSNAP_STORE,
			"image %s: the store brought %" PRIu64 " bytes, its record says %" PRIu64,
			f->name, n_bytes, f->size_bytes);
	if (strcasecmp(hex, f->hex) == 0)
		return true;
	error_set(err, QMPSNAP_STORE,
		"image %s: the digest of its bytes is %.16s..., its record says %.16s...", f->name,
		hex, f->hex);
	error_hint(err, "the image is damaged in the store, or was on its way");
	return false;
}

static void received(const struct qmpsnap_error *err, uint64_t n_bytes, const char *hex, void *data)
{
	struct fetch *f = data;

	if (f->err.code == QMPSNAP_OK && err)
		f->err = *err;
	if (f->err.code == QMPSNAP_OK && compare(f, n_bytes, hex, &f->err))
		(void)check_header(f, &f->err);
	f->options.done(f->err.code == QMPSNAP_OK ? NULL : &f->err, f->options.data);
	free(f);
}

static void fetched(const struct qmpsnap_error *err, void *data)
{
	struct fetch *f = data;

	f->call = NULL;
	/* An error of the receiver's was first, and made this one. */
	if (err && !f->stopped)
		f->err = *err;
	receiver_finish(f->receiver, received);
}

static void stop_call(struct fetch *f)
{
	f->stopped = true;
	if (f->call)
		f->call->ops->stop(f->call);
}

static void on_room(void *data)
{
	struct fetch *f = data;

	if (f->call && !f->stopped)
		f->call->ops->resume(f->call);
}

static void on_failed(void *data)
{
	stop_call(data);
}

static void on_progress(uint64_t done_bytes, void *data)
{
	const struct fetch *f = data;

	if (f->options.progress)
		f->options.progress(done_bytes, f->options.data);
}

static bool start(struct fetch *f, const char *algorithm, struct qmpsnap_error *err)
{
	const struct fetch_options *o = &f->options;
	const struct receiver_options options = {.loop = o->loop,
		.fd = o->fd,
		.path = o->path ? o->path : f->name,
		.algorithm = algorithm,
		.most_bytes = f->size_bytes,
		.room = on_room,
		.failed = on_failed,
		.progress = on_progress,
		.data = f};

	f->receiver = receiver_new(&options, err);
	if (!f->receiver)
		return false;
	f->call = o->store->ops->shelf->fetch(
		o->store, o->record, receiver_sink(f->receiver), fetched, f, err);
	if (!f->call) {
		receiver_drop(f->receiver);
		return false;
	}
	return true;
}

struct fetch *fetch_start(const struct fetch_options *options, struct qmpsnap_error *err)
{
	const int64_t size = json_int(options->record, "size", -1);
	const char *name = json_string(options->record, "name"), *algorithm = NULL;
	struct fetch *f = calloc(1, sizeof(*f));
	bool well = true;

	if (!f) {
		error_no_memory(err);
		return NULL;
	}
	f->options = *options;
	(void)snprintf(f->name, sizeof(f->name), "%.200s (%.36s)", name ? name : "",
		json_string(options->record, "id"));
	f->size_bytes = size > 0 ? (uint64_t)size : 0;
	if (size < 0)
		well = error_set(err, QMPSNAP_STORE, "image %s has no bytes yet", f->name);
	else if (!fetch_digest(options->record, &algorithm, &f->hex))
		well = error_set(err, QMPSNAP_STORE,
			"image %s: the store gives no digest to compare", f->name);
	if (well && start(f, algorithm, err))
		return f;
	free(f);
	return NULL;
}

void fetch_stop(struct fetch *f)
{
	if (f->err.code == QMPSNAP_OK)
		error_set(&f->err, QMPSNAP_INTERRUPTED, "fetching image %s was given up", f->name);
	stop_call(f);
}

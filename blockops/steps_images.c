/* SPDX-License-Identifier: Apache-2.0
 *
 * The images in the store: their hidden records, their bytes, their publication as a set. */
#include "base/log.h"
#include "base/record_rules.h"
#include "blockops/scratch_file.h"
#include "blockops/steps.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- images: the records ---- */

static struct json_object *image_properties(const struct snapshot_disk *d)
{
	const struct qmpsnap_snapshot *s = d->snapshot;
	struct json_object *properties = json_new();
	char qemu[64], disks[16];

	(void)snprintf(disks, sizeof(disks), "%zu", s->n_disks);
	(void)snprintf(
		qemu, sizeof(qemu), "%u.%u.%u", s->guest.major, s->guest.minor, s->guest.micro);
	json_put_string(properties, "image_type", "snapshot");
	json_put_string(properties, "instance_uuid", s->guest.uuid);
	json_put_string(properties, "qmpsnap_run", s->run);
	json_put_string(properties, "qmpsnap_set", s->set);
	json_put_string(properties, "qmpsnap_disk", d->label);
	json_put_string(properties, "qmpsnap_disks", disks);
	json_put_string(properties, "qmpsnap_guest", s->guest_name);
	json_put_string(properties, "qmpsnap_method", s->result.method);
	if (s->guest.major) /* offline there is none */
		json_put_string(properties, "qmpsnap_qemu", qemu);
	if (d->plaintext)
		json_put_string(properties, "qmpsnap_plaintext", "true");
	json_object_object_foreach(s->properties, key, value)
		json_put(properties, key, json_object_get(value));
	/* As Nova names them, and whatever the user's are: rotation goes by them, and must neither
	 * miss this guest's backups nor take them for another's. */
	if (s->backup_type) {
		json_object_object_del(properties, "instance_uuid");
		json_put_string(properties, "instance_uuid", s->guest.uuid);
		json_put_string(properties, "image_type", "backup");
		json_put_string(properties, "backup_type", s->backup_type);
	}
	return properties;
}

static bool check_properties(struct json_object *properties, struct qmpsnap_error *err)
{
	json_object_object_foreach(properties, key, value)
	{
		if (!record_check_property(key, json_object_get_string(value), err))
			return false;
	}
	return true;
}

bool images_check_record(const struct snapshot_disk *d, struct qmpsnap_error *err)
{
	struct json_object *properties;

	if (!record_check_name(d->image_name, err)) {
		error_hint(err, "--name gives it another one, to which -DISK is added if there are "
				"several disks");
		return false;
	}
	if (!(properties = image_properties(d)))
		return error_no_memory(err);
	const bool good = check_properties(properties, err);
	json_object_put(properties);
	return good;
}

static void on_disk_stored(const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;
	struct qmpsnap_error mine = {0};

	if (err) {
		mine = *err;
		error_wrap(&mine, "disk %s", d->label);
	}
	disk_done(d->snapshot, &mine);
}

static void create_image(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	struct store_image_spec spec = disk_image_spec(d);
	struct qmpsnap_error err;

	spec.properties = image_properties(d);
	d->image = s->store->ops->create(s->store, &spec, on_disk_stored, d, &err);
	json_object_put(spec.properties);
	if (!d->image)
		disk_done(s, &err);
}

void images_create(struct flow *f, void *self)
{
	(void)f;
	disks_in_order(self, create_image, NULL);
}

static void discard_image(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	struct store_image_spec spec = disk_image_spec(d);

	spec.unsent = method_step_index(s->table, "upload") >= s->flow.n_steps;
	if (d->image)
		d->image->ops->discard(d->image, on_disk_stored, d);
	else if (s->is_guard && s->store)
		s->store->ops->discard_left(s->store, &spec, on_disk_stored, d);
	else
		disk_done(s, NULL);
}

/* What is done to one image after the other is given up; what the store has done of it the undo
 * finds. */
void images_cancel(struct flow *f, void *self)
{
	const struct qmpsnap_snapshot *s = self;
	struct store_image *image = s->disk_at < s->n_disks ? s->disks[s->disk_at].image : NULL;

	(void)f;
	if (image)
		image->ops->stop(image);
}

void images_discard(struct flow *f, void *self)
{
	(void)f;
	disks_in_order(self, discard_image, NULL);
}

/* ---- upload ---- */

static void start_uploads(struct qmpsnap_snapshot *s);

/* What made one upload fail ends the others: a set is published whole or not at all. */
static void stop_uploads(struct qmpsnap_snapshot *s)
{
	for (size_t i = 0; i < s->n_disks; i++) {
		if (s->disks[i].uploading)
			s->disks[i].image->ops->stop(s->disks[i].image);
	}
}

static void upload_ended(struct qmpsnap_snapshot *s, const struct qmpsnap_error *err)
{
	s->n_uploading--;
	if (err && s->upload_err.code == QMPSNAP_OK) {
		s->upload_err = *err;
		stop_uploads(s);
	}
	start_uploads(s);
}

static void on_put(const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;
	struct qmpsnap_snapshot *s = d->snapshot;

	/* Until it is diagnosed it counts as under way, and isn't begun again. */
	if (err && err->code == QMPSNAP_VIEW && d->view && s->upload_err.code == QMPSNAP_OK) {
		view_diagnose(d, err, upload_ended);
		return;
	}
	d->uploading = false;
	if (!err) {
		d->uploaded = true;
		snapshot_tell_disk(d, QMPSNAP_EVENT_PROGRESS, NULL, d->stream->size_bytes,
			d->stream->size_bytes);
		if (d->spool.stream.ops) /* confirmed: its room is needed no more */
			scratch_file_drop(d);
	}
	struct qmpsnap_error mine = {0};
	if (err) {
		mine = *err;
		error_wrap(&mine, "disk %s", d->label);
	}
	upload_ended(s, err ? &mine : NULL);
}

static void on_progress(uint64_t done_bytes, void *data)
{
	struct snapshot_disk *d = data;
	const uint64_t used = scratch_used_bytes(d);

	d->done_bytes = done_bytes;
	if (used > d->scratch_seen_bytes)
		d->scratch_seen_bytes = used;
	snapshot_tell_disk(d, QMPSNAP_EVENT_PROGRESS, NULL, done_bytes, d->stream->size_bytes);
}

static void start_uploads(struct qmpsnap_snapshot *s)
{
	const struct store_instant instant = {
		.time = s->result.instant, .consistency = s->result.consistency};
	const bool failed = s->upload_err.code != QMPSNAP_OK || flow_failed(&s->flow);

	for (size_t i = 0; !failed && i < s->n_disks && s->n_uploading < s->parallel; i++) {
		struct snapshot_disk *d = &s->disks[i];
		if (d->uploading || d->uploaded)
			continue;
		d->uploading = true;
		s->n_uploading++;
		d->image->ops->put(d->image, d->stream, &instant, on_progress, on_put, d);
	}
	if (s->n_uploading == 0)
		flow_done(&s->flow, &s->upload_err);
}

/* The readers' rings share one budget, so that memory doesn't grow with --parallel. */
static unsigned ring_blocks(const struct qmpsnap_snapshot *s)
{
	const unsigned at_once = s->n_disks < s->parallel ? (unsigned)s->n_disks : s->parallel;
	const unsigned blocks = SNAPSHOT_RING_BLOCKS / at_once;

	return blocks < 4 ? 4 : blocks;
}

static void stream_from_view(struct snapshot_disk *d)
{
	struct qmpsnap_snapshot *s = d->snapshot;

	d->stream =
		view_stream(d->view, &d->layout, SNAPSHOT_BLOCK_BYTES, ring_blocks(s), &s->pace);
	if (d->format == QMPSNAP_RAW && s->zero_scan != QMPSNAP_ZERO_SCAN_NEVER)
		view_find_zeroes(d->view);
}

static void stream_from_spool(struct snapshot_disk *d)
{
	d->spool.ring_blocks = ring_blocks(d->snapshot);
	d->spool.pace = &d->snapshot->pace;
	d->stream = &d->spool.stream;
}

void images_upload(struct flow *f, void *self)
{
	struct qmpsnap_snapshot *s = self;

	(void)f;
	s->upload_err = (struct qmpsnap_error){0};
	snapshot_tell(s, QMPSNAP_EVENT_STATE, "image_uploading");
	for (size_t i = 0; i < s->n_disks; i++) {
		if (s->disks[i].spool.stream.ops)
			stream_from_spool(&s->disks[i]);
		else
			stream_from_view(&s->disks[i]);
	}
	start_uploads(s);
}

/* A put ends only when none of its reads is under way. */
void images_upload_cancel(struct flow *f, void *self)
{
	stop_uploads(self);
	views_cancel(f, self);
}

/* ---- publish ---- */

static void on_published(const struct qmpsnap_error *err, void *data)
{
	struct snapshot_disk *d = data;

	d->published = !err;
	on_disk_stored(err, d);
}

static void publish_image(struct qmpsnap_snapshot *s, struct snapshot_disk *d)
{
	(void)s;
	d->image->ops->publish(d->image, on_published, d);
}

/* From here on the images stay, whatever comes: neither is the set taken back, nor by a guard. They
 * are told of once that is on the disk, too. */
static void all_published(struct qmpsnap_snapshot *s)
{
	flow_commit(&s->flow);
	journal_published(s);
}

void images_announce(struct qmpsnap_snapshot *s)
{
	for (size_t i = 0; i < s->n_disks; i++)
		snapshot_tell_disk(&s->disks[i], QMPSNAP_EVENT_IMAGE, s->disks[i].image->location,
			s->disks[i].image->size_bytes, s->disks[i].image->size_bytes);
	flow_done(&s->flow, NULL);
}

void images_publish(struct flow *f, void *self)
{
	(void)f;
	disks_in_order(self, publish_image, all_published);
}

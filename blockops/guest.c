/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/guest.h"

#include "base/names.h"
#include "blockops/method.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKEND "/virtio-backend"

static char *without_suffix(const char *text, const char *suffix)
{
	const size_t len = strlen(text), cut = strlen(suffix);

	return strndup(text, len > cut && strcmp(text + len - cut, suffix) == 0 ? len - cut : len);
}

/* A qdev id alone ("sd0") names a device below /machine/peripheral. */
static char *qom_path(const char *qdev)
{
	char *path = NULL;

	if (qdev[0] == '/')
		return without_suffix(qdev, BACKEND);
	return asprintf(&path, "/machine/peripheral/%s", qdev) < 0 ? NULL : path;
}

/* What a user calls the disk: the id behind -device id=, of the device itself or of the one that
 * made it (usb-storage makes a SCSI disk), then -drive's id, then the node. */
static char *short_name(const struct guest_disk *disk)
{
	static const char peripheral[] = "/machine/peripheral/";

	if (disk->qom_path && strncmp(disk->qom_path, peripheral, sizeof(peripheral) - 1) == 0) {
		const char *id = disk->qom_path + sizeof(peripheral) - 1;
		return strndup(id, strcspn(id, "/"));
	}
	if (disk->drive[0])
		return strdup(disk->drive);
	return strdup(disk->node ? disk->node : "unnamed");
}

static bool chain_is_encrypted(struct json_object *image)
{
	for (unsigned depth = 0; image && depth < GUEST_MAX_BACKING; depth++) {
		const char *format = json_string(image, "format");

		if (json_flag(image, "encrypted", false) || (format && strcmp(format, "luks") == 0))
			return true;
		image = json_member(image, "backing-image", json_type_object);
	}
	return false;
}

/* LUKS anywhere below the node.  A format over a LUKS node shows only in QEMU's "json:" rendering
 * of the file name. */
static bool is_encrypted(const struct guest_disk *disk, struct json_object *inserted)
{
	return json_flag(inserted, "encrypted", false) || chain_is_encrypted(disk->image) ||
	       (disk->format && strcmp(disk->format, "luks") == 0) ||
	       (disk->filename && strncmp(disk->filename, "json:", 5) == 0 &&
		       strstr(disk->filename, "\"luks\""));
}

/* Drivers whose node shows what the one below it holds. */
static bool shows_it_raw(const char *driver)
{
	static const char *const drivers[] = {"raw", "host_device", "throttle", "copy-before-write",
		"copy-on-read", "preallocate"};

	for (size_t i = 0; driver && i < sizeof(drivers) / sizeof(drivers[0]); i++) {
		if (strcmp(drivers[i], driver) == 0)
			return true;
	}
	return false;
}

/* A node of the driver host_device has that file name, and none over it has a format. */
static bool is_block_device(const struct guest *guest, const char *filename)
{
	struct json_object *nodes =
		json_member(guest->basics, "query-named-block-nodes", json_type_array);
	bool found = false;

	for (size_t i = 0; filename && i < json_length(nodes); i++) {
		struct json_object *node = json_object_array_get_idx(nodes, i);
		const char *driver = json_string(node, "drv"), *file = json_string(node, "file");
		if (!driver || !file || strcmp(file, filename) != 0)
			continue;
		if (!shows_it_raw(driver))
			return false;
		found = found || strcmp(driver, "host_device") == 0;
	}
	return found;
}

/* A filter says of itself what is said of the node below it. */
static uint64_t count_host_bytes(const struct guest *guest, struct json_object *image)
{
	uint64_t sum = 0;

	for (unsigned depth = 0; image && depth < GUEST_MAX_BACKING; depth++) {
		struct json_object *below = json_member(image, "backing-image", json_type_object);
		const bool whole = is_block_device(guest, json_string(image, "filename"));
		const uint64_t bytes = json_uint(image, whole ? "virtual-size" : "actual-size");

		if (!below || !shows_it_raw(json_string(image, "format")))
			sum = bytes > UINT64_MAX - sum ? UINT64_MAX : sum + bytes;
		image = below;
	}
	return sum;
}

static void parse_options(struct guest_node_options *options, struct json_object *inserted)
{
	struct json_object *cache = json_member(inserted, "cache", json_type_object);
	const char *detect = json_string(inserted, "detect_zeroes");

	if (detect && strlen(detect) < sizeof(options->detect_zeroes))
		memcpy(options->detect_zeroes, detect, strlen(detect) + 1);
	options->direct = json_flag(cache, "direct", false);
	options->no_flush = json_flag(cache, "no-flush", false);
}

static bool parse_disk(
	const struct guest *guest, struct guest_disk *disk, struct json_object *block)
{
	struct json_object *inserted = json_member(block, "inserted", json_type_object);
	const char *drive = json_string(block, "device");

	disk->drive = drive ? drive : "";
	disk->qdev = json_string(block, "qdev");
	disk->removable = json_flag(block, "removable", false);
	disk->inserted = inserted != NULL;
	if (disk->qdev && !(disk->qom_path = qom_path(disk->qdev)))
		return false;
	if (inserted) {
		disk->node = json_string(inserted, "node-name");
		disk->format = json_string(inserted, "drv");
		disk->filename = json_string(inserted, "file");
		disk->read_only = json_flag(inserted, "ro", false);
		disk->image = json_member(inserted, "image", json_type_object);
		disk->virtual_size_bytes = json_uint(disk->image, "virtual-size");
		disk->allocated_bytes = json_uint(disk->image, "actual-size");
		disk->host_bytes = count_host_bytes(guest, disk->image);
		disk->encrypted = is_encrypted(disk, inserted);
		disk->block_device = is_block_device(guest, disk->filename);
		parse_options(&disk->options, inserted);
	}
	return (disk->id = short_name(disk)) != NULL;
}

bool guest_parse_block(struct guest *guest, struct json_object *reply, struct qmpsnap_error *err)
{
	const size_t n = json_length(reply);

	if (!json_object_is_type(reply, json_type_array) || n > GUEST_MAX_DISKS)
		return error_set(err, QMPSNAP_QEMU,
			"query-block: QEMU's reply is no list of at most %d disks",
			GUEST_MAX_DISKS);
	guest->block = json_object_get(reply);
	guest->disks = calloc(n ? n : 1, sizeof(*guest->disks));
	if (!guest->disks)
		return error_no_memory(err);
	for (size_t i = 0; i < n; i++) {
		guest->n_disks++;
		if (!parse_disk(guest, &guest->disks[i], json_object_array_get_idx(reply, i)))
			return error_no_memory(err);
	}
	return true;
}

static void parse_version(struct guest *guest, struct json_object *reply)
{
	struct json_object *qemu = json_member(reply, "qemu", json_type_object);

	guest->major = (unsigned)json_int(qemu, "major", 0);
	guest->minor = (unsigned)json_int(qemu, "minor", 0);
	guest->micro = (unsigned)json_int(qemu, "micro", 0);
	guest->package = json_string(reply, "package");
}

bool guest_parse_basic(struct guest *guest, const char *command, struct json_object *reply)
{
	if (!guest->basics && !(guest->basics = json_object_new_object()))
		return false;
	if (strcmp(command, "query-qmp-schema") == 0) {
		qmp_caps_parse(&guest->caps, reply);
		return true; /* a megabyte that nobody needs again */
	}
	/* What is taken from it is borrowed. */
	if (json_object_object_add(guest->basics, command, json_object_get(reply)) < 0) {
		json_object_put(reply);
		return false;
	}
	if (strcmp(command, "query-name") == 0) {
		guest->name = json_string(reply, "name");
	} else if (strcmp(command, "query-uuid") == 0) {
		const char *uuid = json_string(reply, "UUID");
		guest->uuid = name_uuid_is_real(uuid) ? uuid : NULL;
	} else if (strcmp(command, "query-status") == 0) {
		guest->status = json_string(reply, "status");
	} else if (strcmp(command, "query-version") == 0) {
		parse_version(guest, reply);
	} else if (strcmp(command, "query-iothreads") == 0) {
		guest->has_iothreads = json_length(reply) > 0;
	}
	return true;
}

void guest_free(struct guest *guest)
{
	for (size_t i = 0; i < guest->n_disks; i++) {
		free(guest->disks[i].id);
		free(guest->disks[i].qom_path);
		free(guest->disks[i].driver);
		free(guest->disks[i].iothread);
	}
	free(guest->disks);
	json_object_put(guest->block);
	json_object_put(guest->basics);
	*guest = (struct guest){0};
}

bool guest_is_running(const struct guest *guest)
{
	return guest->status && strcmp(guest->status, "running") == 0;
}

bool guest_status_is_reset(const char *status)
{
	return status && strcmp(status, "prelaunch") == 0;
}

bool guest_status_is_held(const char *status)
{
	return status && (strcmp(status, "paused") == 0 || guest_status_is_reset(status));
}

bool guest_status_is_migrated(const char *status)
{
	return status &&
	       (strcmp(status, "finish-migrate") == 0 || strcmp(status, "postmigrate") == 0);
}

char *guest_iothread_owner(const struct guest_disk *disk, const char *parent_bus)
{
	if (!disk->qom_path)
		return NULL;
	if (!disk->driver || strncmp(disk->driver, "scsi-", 5) != 0)
		return strdup(disk->qom_path);
	const char *slash = parent_bus ? strrchr(parent_bus, '/') : NULL;
	if (!slash || slash == parent_bus)
		return NULL;
	char *controller = strndup(parent_bus, (size_t)(slash - parent_bus));
	if (!controller)
		return NULL;
	char *owner = without_suffix(controller, BACKEND);
	free(controller);
	return owner;
}

static struct json_object *chain_to_json(struct json_object *image)
{
	struct json_object *chain = json_object_new_array();

	for (unsigned depth = 0; depth < GUEST_MAX_BACKING; depth++) {
		image = json_member(image, "backing-image", json_type_object);
		if (!image)
			break;
		struct json_object *link = json_new();
		json_put_string(link, "format", json_string(image, "format"));
		json_put_string(link, "filename", json_string(image, "filename"));
		json_append(chain, link);
	}
	return chain;
}

static struct json_object *method_to_json(
	const struct guest *guest, const struct guest_disk *disk, enum method method)
{
	struct json_object *json = json_new();
	char reason[METHOD_REASON_BYTES];

	json_put_bool(json, "possible", method_takes(method, guest, disk, false, reason));
	json_put_string(json, "reason", reason);
	return json;
}

/* Stream in the better of its flavours that can take it; if none can, why the filter can't. */
static void methods_to_json(
	const struct guest *guest, const struct guest_disk *disk, struct json_object *json)
{
	char reason[METHOD_REASON_BYTES];
	const bool by_filter = method_takes(METHOD_FILTER, guest, disk, false, reason);
	const bool by_job = !by_filter && method_takes(METHOD_JOB, guest, disk, false, reason);
	struct json_object *stream =
		method_to_json(guest, disk, by_job ? METHOD_JOB : METHOD_FILTER);

	json_put_string(stream, "flavour", by_filter ? "filter" : by_job ? "job" : NULL);
	json_put(json, "stream", stream);
	json_put(json, "backup", method_to_json(guest, disk, METHOD_BACKUP));
	json_put(json, "mirror", method_to_json(guest, disk, METHOD_MIRROR));
	json_put(json, "cold", method_to_json(guest, disk, METHOD_COLD));
}

static struct json_object *disk_to_json(const struct guest *guest, const struct guest_disk *disk)
{
	struct json_object *json = json_new();

	json_put_string(json, "id", disk->id);
	json_put_string(json, "qdev", disk->qdev);
	json_put_string(json, "qom_path", disk->qom_path);
	json_put_string(json, "driver", disk->driver);
	json_put_string(json, "device", disk->drive);
	json_put_string(json, "node", disk->node);
	json_put_string(json, "format", disk->format);
	json_put_string(json, "filename", disk->filename);
	json_put_uint(json, "virtual_size_bytes", disk->virtual_size_bytes);
	json_put_uint(json, "allocated_bytes", disk->allocated_bytes);
	json_put(json, "backing", chain_to_json(disk->image));
	json_put_bool(json, "inserted", disk->inserted);
	json_put_bool(json, "read_only", disk->read_only);
	json_put_bool(json, "removable", disk->removable);
	json_put_bool(json, "encrypted", disk->encrypted);
	if (disk->iothread)
		json_put_string(json, "iothread", disk->iothread);
	else
		json_put_null(json, "iothread");
	json_put_bool(json, "block_device", disk->block_device);
	methods_to_json(guest, disk, json);
	return json;
}

struct json_object *guest_to_json(const struct guest *guest)
{
	struct json_object *json = json_new();
	struct json_object *disks = json_object_new_array();
	struct json_object *caps = json_new();
	char version[160];

	if (!json || !disks || !caps) {
		json_object_put(json);
		json_object_put(disks);
		json_object_put(caps);
		return NULL;
	}
	(void)snprintf(version, sizeof(version), "%u.%u.%u%s%s%s", guest->major, guest->minor,
		guest->micro, guest->package && guest->package[0] ? " (" : "",
		guest->package ? guest->package : "",
		guest->package && guest->package[0] ? ")" : "");
	for (size_t i = 0; i < guest->n_disks; i++)
		json_append(disks, disk_to_json(guest, &guest->disks[i]));
	for (enum qmp_cap cap = 0; cap < QMP_CAP_COUNT; cap++)
		json_put_bool(caps, qmp_cap_name(cap), guest->caps.has[cap]);
	json_put_int(json, "schema", 1);
	json_put_string(json, "name", guest->name);
	json_put_string(json, "uuid", guest->uuid);
	json_put_string(json, "version", version);
	json_put_string(json, "status", guest->status);
	json_put(json, "disks", disks);
	json_put(json, "capabilities", caps);
	return json;
}

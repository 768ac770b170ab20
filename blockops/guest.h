/* SPDX-License-Identifier: Apache-2.0
 *
 * guest.h - what a QEMU is and which disks it has, as far as snapshots care: a plain model, filled
 * from the replies of QEMU's query commands (inspect.h asks for them).
 *
 * Sources: QEMU's QMP reference, query-block (BlockInfo, BlockDeviceInfo, ImageInfo), query-status,
 * query-named-block-nodes.
 */
#ifndef BLOCKOPS_GUEST_H
#define BLOCKOPS_GUEST_H

#include "base/error.h"
#include "base/json.h"
#include "qmp/caps.h"

enum { GUEST_MAX_DISKS = 256, GUEST_MAX_BACKING = 256 };

/* How a node was opened, for a filter that is put above it (BlockDeviceInfo).  Whether it discards
 * isn't told. */
struct guest_node_options {
	char detect_zeroes[8]; /* "off", "on", "unmap"; "" when not told */
	bool direct, no_flush; /* of the cache */
};

/* Strings are borrowed from the replies that the guest holds, or owned where said. */
struct guest_disk {
	char *id; /* owned: the short name that users see: qdev id, drive id, node */
	char *qom_path; /* owned: takes `drive` by qom-set; NULL: no device uses it */
	char *driver; /* owned: the device's QOM type, "virtio-blk-pci"; NULL: unknown */
	char *iothread; /* owned: "/objects/io0"; NULL: the main loop serves it */
	const char *qdev; /* as query-block has it, or NULL */
	const char *drive; /* -drive's id, "" with -blockdev */
	const char *node; /* the top node under the device; NULL when nothing is inserted */
	const char *format; /* "qcow2", "raw", ...: the node's driver */
	const char *filename;
	struct json_object *image; /* ImageInfo; its "backing-image" members are the chain */
	uint64_t virtual_size_bytes;
	uint64_t allocated_bytes;
	/* What it and all that it stands on take of the host, a raw block device its whole size; 0:
	 * QEMU doesn't know. */
	uint64_t host_bytes;
	struct guest_node_options options;
	bool inserted, read_only, removable, encrypted, firmware;
	bool block_device; /* its bytes are a raw block device of the host: an LV, a partition */
};

struct guest {
	struct json_object *block; /* query-block's reply, owned */
	struct json_object *basics; /* the other replies by command, owned */
	const char *name; /* NULL: unnamed */
	const char *uuid; /* NULL when absent or all zero: then it identifies nothing */
	const char *status; /* run state, "running" */
	const char *package; /* QEMU's build, "Debian 1:7.2+dfsg-7+deb12u18" */
	unsigned major, minor, micro;
	bool has_iothreads;
	struct qmp_caps caps;
	struct guest_disk *disks;
	size_t n_disks;
};

/* Fills the disks from query-block's reply, after guest_parse_basic() has had the others.  QEMU for
 * one that isn't what QEMU's reference says, or with more than GUEST_MAX_DISKS disks. */
bool guest_parse_block(struct guest *guest, struct json_object *reply, struct qmpsnap_error *err);

/* Keeps the reply to a command and takes what it tells; a member missing leaves its default.  False
 * without memory. */
bool guest_parse_basic(struct guest *guest, const char *command, struct json_object *reply);

void guest_free(struct guest *guest);

bool guest_is_running(const struct guest *guest);

/* What a guest says that a `stop` holds: "paused", or "prelaunch" once it was reset in that, which
 * QEMU (5.2 to 11.1) tells by the event RESET alone.  NULL: false. */
bool guest_status_is_held(const char *status);
bool guest_status_is_reset(const char *status); /* the second of these */

/* "postmigrate", or about to be, "finish-migrate": if the migration completes, the guest and its
 * disks are the destination's. */
bool guest_status_is_migrated(const char *status);

/* The QOM path of the controller or device that may have an iothread: the SCSI controller behind
 * `parent_bus`, or, for any other `disk`, the device itself.  Owned by the caller; NULL: none. */
char *guest_iothread_owner(const struct guest_disk *disk, const char *parent_bus);

/* What inspect --json prints; owned by the caller, NULL without memory. */
struct json_object *guest_to_json(const struct guest *guest);

#endif

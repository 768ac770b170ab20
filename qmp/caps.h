/* SPDX-License-Identifier: Apache-2.0
 *
 * caps.h - what this QEMU can do, read from query-qmp-schema (QEMU's
 * docs/devel/qapi-code-gen.rst, "Client JSON Protocol introspection"): named capabilities, never a
 * version number.
 */
#ifndef QMP_CAPS_H
#define QMP_CAPS_H

#include "base/json.h"

enum qmp_cap {
	QMP_CAP_CBW, /* blockdev-add driver copy-before-write */
	QMP_CAP_CBW_ON_ERROR, /* ... its on-cbw-error */
	QMP_CAP_CBW_TIMEOUT, /* ... its cbw-timeout */
	QMP_CAP_SNAPSHOT_ACCESS, /* blockdev-add driver snapshot-access */
	QMP_CAP_BLOCK_EXPORT, /* block-export-add type nbd */
	QMP_CAP_EXPORT_DEL, /* block-export-del */
	QMP_CAP_NBD_MAX_CONNS, /* nbd-server-start max-connections */
	QMP_CAP_BLOCKDEV_BACKUP, /* command blockdev-backup */
	QMP_CAP_BACKUP_PERF, /* ... its x-perf, which came with max-chunk (QEMU 6.0) */
	QMP_CAP_BLOCKDEV_MIRROR, /* command blockdev-mirror */
	QMP_CAP_ADD_FD, /* command add-fd */
	QMP_CAP_GETFD, /* command getfd */
	QMP_CAP_COUNT,
};

struct qmp_caps {
	bool has[QMP_CAP_COUNT];
};

/* From the "return" of query-qmp-schema; a malformed schema gives no capabilities. */
void qmp_caps_parse(struct qmp_caps *caps, struct json_object *schema);

/* "copy-before-write", "snapshot-access", ... */
const char *qmp_cap_name(enum qmp_cap cap);

#endif

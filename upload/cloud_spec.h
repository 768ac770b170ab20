/* SPDX-License-Identifier: Apache-2.0
 *
 * cloud_spec.h - how a store's spec names the cloud that the store is in, so that another process
 * can open the same: what stands behind "glance:" (or "swift:") may end in
 * "?os-cloud=NAME&insecure", which says the same as the options of these names.
 */
#ifndef UPLOAD_CLOUD_SPEC_H
#define UPLOAD_CLOUD_SPEC_H

#include "base/store.h"
#include "upload/clouds.h"

/* The cloud meant by `where`, which is "" or a URL that wants no login, with such an end or
 * without, and by the options.  Errors: USAGE, INTERNAL. */
struct cloud *cloud_spec_open(const char *where, const struct qmpsnap_store_options *options,
	const char *service, struct qmpsnap_error *err);

/* Notes `cloud` and `place` of `store`, which was opened by these; see struct qmpsnap_store. */
bool cloud_spec_note(struct qmpsnap_store *store, const char *where,
	const struct qmpsnap_store_options *options, const struct cloud *cloud,
	struct qmpsnap_error *err);

/* `spec` with what the options say of the cloud at its end; to be freed.  NULL without memory. */
char *cloud_spec_complete(const char *spec, const struct qmpsnap_store_options *options);

#endif

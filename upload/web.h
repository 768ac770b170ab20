/* SPDX-License-Identifier: Apache-2.0
 *
 * web.h - what the parts of the stores http: and https: share: one image by one PUT, for servers
 * that know no more, and its record (record.h) by a second one, to the same URL with ".json" behind
 * it, where web_spec.h doesn't say why not.
 *
 * The JSON goes up last, by publish(), and is deleted first, also that of an image that is to be
 * replaced, which goes before a byte of the new one is sent: who sees it knows that the image is
 * whole.  A server that refuses it is believed to have no use for it, and the image stays; where it
 * fails otherwise, so does publish(), as in other stores, but not where the image may have replaced
 * another: deleting it would leave the user none.
 *
 * There is nothing at an image's URL that says whose it is, so it is deleted only where it must be
 * the run's own: where the server said that there was nothing before, or has confirmed what was
 * sent.  A JSON says it by its `id`, which a process goes by that knows nothing else.
 */
#ifndef UPLOAD_WEB_H
#define UPLOAD_WEB_H

#include "upload/remote.h"
#include "upload/web_spec.h"

#include <json-c/json.h>

struct web_store {
	struct remote remote;
	struct web_spec spec;
};

/* What an image is made of, in the order in which it is deleted. */
enum web_what { WEB_JSON, WEB_DATA, WEB_ALL };

struct web_image {
	struct store_image base;
	struct web_store *store;
	struct json_object *record;
	uint64_t virtual_size_bytes;
	struct {
		enum web_before { WEB_UNTOLD, WEB_NOTHING, WEB_SOMETHING } before;
		bool ours; /* what is there: there was nothing before, or this has replaced it */
		bool maybe_there; /* some bytes of it may be */
	} at[WEB_ALL];

	/* A call in progress. */
	enum web_what now; /* what is asked for */
	char doing[512];
	bool stoppable;
	struct stream *stream;
	store_done_fn *done;
	store_progress_fn *progress;
	void *data;
	struct remote_call call;
	struct work later;
	struct qmpsnap_error err;
};

extern const struct store_ops web_ops;

void web_free(struct qmpsnap_store *base); /* web_open.c */

/* web.c */

/* Sends `request` to the URL of `what`; `doing` is the verb, with its preposition. */
void web_send(struct web_image *image, enum web_what what, const struct remote_request *request,
	const char *doing, remote_then_fn *then);
/* Asks what is there; web_is_nothing() tells whether that failed since nothing is. */
void web_look(struct web_image *image, enum web_what what, const char *doing, remote_then_fn *then);
bool web_is_nothing(const struct qmpsnap_error *err);
const char *web_suffix(enum web_what what);
void web_finish(const struct qmpsnap_error *err, void *self);

/* web_remove.c; see struct store_ops */

void web_discard(struct store_image *base, store_done_fn *done, void *data);
void web_discard_left(struct qmpsnap_store *base, const struct store_image_spec *spec,
	store_done_fn *done, void *data);

#endif

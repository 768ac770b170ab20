/* SPDX-License-Identifier: Apache-2.0
 *
 * qmpsnap_inspect: a connection, the questions, a JSON text. */
#include "blockops/inspect.h"
#include "qmp/address.h"

#include <stdlib.h>

struct inspection {
	struct qmp_client *qmp;
	struct inspect inspect;
	struct guest guest;
	struct qmpsnap_error err;
	qmpsnap_json_fn *done;
	void *data;
};

static void on_closed(void *data)
{
	struct inspection *in = data;
	const bool failed = in->err.code != QMPSNAP_OK;
	struct json_object *json = failed ? NULL : guest_to_json(&in->guest);

	if (!failed && !json)
		error_no_memory(&in->err);
	in->done(json ? NULL : &in->err, json ? json_text(json) : NULL, in->data);
	json_object_put(json);
	guest_free(&in->guest);
	free(in);
}

static void finish(const struct qmpsnap_error *err, void *data)
{
	struct inspection *in = data;

	if (err)
		in->err = *err;
	qmp_close(in->qmp, on_closed, in);
}

static void on_ready(const struct qmpsnap_error *err, void *data)
{
	struct inspection *in = data;

	if (err)
		finish(err, in);
	else
		inspect_start(&in->inspect, in->qmp, &in->guest, finish, in);
}

static void on_lost(const struct qmpsnap_error *err, void *data)
{
	(void)err; /* the pending question tells it */
	(void)data;
}

bool qmpsnap_inspect(struct uv_loop_s *loop, const char *qmp_address, qmpsnap_json_fn *done,
	void *data, struct qmpsnap_error *err)
{
	struct inspection *in = calloc(1, sizeof(*in));
	struct qmp_address address;

	if (!in)
		return error_no_memory(err);
	in->done = done;
	in->data = data;
	if (qmp_address_parse(qmp_address, &address, err))
		in->qmp = qmp_open(loop, &address, NULL, on_ready, on_lost, in, err);
	if (in->qmp)
		return true;
	free(in);
	return false;
}

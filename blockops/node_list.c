/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/node_list.h"

#include "base/json.h"
#include "base/names.h"

#include <string.h>

static void go_through(struct node_list *list);

static void finish(struct node_list *list, const struct qmpsnap_error *err)
{
	json_object_put(list->jobs);
	list->jobs = NULL;
	list->safe(err, list->data);
}

static void on_dismissed(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct node_list *list = data;

	(void)result;
	if (err && !qmp_error_class(list->qmp)[0]) {
		finish(list, err);
		return;
	}
	list->at++; /* an error of QEMU's: somebody else has dismissed it */
	go_through(list);
}

static void refuse(struct node_list *list, const char *id)
{
	const bool ours = name_is_ours(id, NULL);
	struct qmpsnap_error err;

	error_set(&err, QMPSNAP_REFUSED,
		"the backup job %s has ended and wasn't dismissed, and this QEMU would die of "
		"being "
		"asked for its nodes",
		id);
	if (ours)
		error_hint(&err, "wait for the snapshot that it belongs to; else qmpsnap recover "
				 "dismisses it");
	else
		error_hint(&err, "have it dismissed (job-dismiss) by whoever started it");
	finish(list, &err);
}

static void go_through(struct node_list *list)
{
	for (; list->at < json_length(list->jobs); list->at++) {
		struct json_object *job = json_object_array_get_idx(list->jobs, list->at);
		const char *id = json_string(job, "id"), *type = json_string(job, "type");
		const char *status = json_string(job, "status");
		if (!id || !type || !status || strcmp(type, "backup") != 0 ||
			strcmp(status, "concluded") != 0)
			continue;
		if (!list->dismiss_ours || !name_is_ours(id, NULL)) {
			refuse(list, id);
			return;
		}
		struct json_object *args = json_new();
		json_put_string(args, "id", id);
		qmp_execute(list->qmp, "job-dismiss", args, on_dismissed, list);
		return;
	}
	finish(list, NULL);
}

static void on_jobs(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct node_list *list = data;

	if (err) {
		finish(list, err);
		return;
	}
	list->jobs = json_object_get(result);
	go_through(list);
}

void node_list_make_safe(struct node_list *list, struct qmp_client *qmp, bool dismiss_ours,
	node_list_safe_fn *safe, void *data)
{
	*list = (struct node_list){
		.qmp = qmp, .dismiss_ours = dismiss_ours, .safe = safe, .data = data};
	qmp_execute(qmp, "query-jobs", NULL, on_jobs, list);
}

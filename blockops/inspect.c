/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/inspect.h"

#include "blockops/dangers.h"

#include <stdlib.h>
#include <string.h>

static const char *const queries[] = {"query-version", "query-name", "query-uuid", "query-status",
	"query-iothreads", "query-qmp-schema", "query-named-block-nodes", "query-block"};

enum question { ASK_TYPE, ASK_PARENT_BUS, ASK_IOTHREAD, ASK_IOTHREAD_MAPPING, ASK_NOTHING };

static void ask_about_disk(struct inspect *in);

static void finish(struct inspect *in, const struct qmpsnap_error *err)
{
	free(in->owner);
	in->owner = NULL;
	in->done(err, in->data);
}

static struct guest_disk *current(struct inspect *in)
{
	return &in->guest->disks[in->disk];
}

static void next_disk(struct inspect *in)
{
	free(in->owner);
	in->owner = NULL;
	in->question = ASK_TYPE;
	in->disk++;
}

/* A multi-queue virtio-blk names its iothreads in a list of its own (QEMU 9.0 and later). */
static bool has_mapping(struct json_object *result)
{
	return json_length(result) > 0;
}

/* False without memory: what isn't known must not pass for "no iothread". */
static bool take_answer(struct inspect *in, struct json_object *result)
{
	struct guest_disk *disk = current(in);
	const char *text = json_object_is_type(result, json_type_string)
				   ? json_object_get_string(result)
				   : NULL;

	switch ((enum question)in->question) {
	case ASK_TYPE:
		if (text && !(disk->driver = strdup(text)))
			return false;
		disk->firmware = text && strncmp(text, "cfi.pflash", 10) == 0;
		break;
	case ASK_PARENT_BUS:
		in->owner = guest_iothread_owner(disk, text);
		break;
	case ASK_IOTHREAD:
		if (text && text[0] && !(disk->iothread = strdup(text)))
			return false;
		break;
	case ASK_IOTHREAD_MAPPING:
		if (!disk->iothread && has_mapping(result) &&
			!(disk->iothread = strdup("iothread-vq-mapping")))
			return false;
		break;
	case ASK_NOTHING:
		break;
	}
	in->question++;
	return true;
}

/* A device without the property asked for answers with an error: the same as nothing.  No answer
 * isn't. */
static void on_answer(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct inspect *in = data;

	if (err && !qmp_error_class(in->qmp)[0]) {
		finish(in, err);
		return;
	}
	if (!take_answer(in, result)) {
		struct qmpsnap_error mine;
		error_no_memory(&mine);
		finish(in, &mine);
		return;
	}
	ask_about_disk(in);
}

static void qom_get(struct inspect *in, const char *path, const char *property)
{
	struct json_object *args = json_new();

	json_put_string(args, "path", path);
	json_put_string(args, "property", property);
	qmp_execute(in->qmp, "qom-get", args, on_answer, in);
}

static void ask_about_disk(struct inspect *in)
{
	while (in->disk < in->guest->n_disks) {
		const struct guest_disk *disk = current(in);
		const bool more = in->guest->has_iothreads || in->question == ASK_TYPE;

		if (!disk->qom_path || !more || in->question == ASK_NOTHING ||
			(in->question > ASK_PARENT_BUS && !in->owner)) {
			next_disk(in);
			continue;
		}
		switch ((enum question)in->question) {
		case ASK_TYPE:
			qom_get(in, disk->qom_path, "type");
			return;
		case ASK_PARENT_BUS:
			qom_get(in, disk->qom_path, "parent_bus");
			return;
		case ASK_IOTHREAD:
			qom_get(in, in->owner, "iothread");
			return;
		case ASK_IOTHREAD_MAPPING:
			qom_get(in, in->owner, "iothread-vq-mapping");
			return;
		case ASK_NOTHING:
			return;
		}
	}
	finish(in, NULL);
}

static void ask_next(struct inspect *in);

static void on_query(struct json_object *result, const struct qmpsnap_error *err, void *data)
{
	struct inspect *in = data;
	const char *command = queries[in->query];
	struct qmpsnap_error mine;

	if (err) {
		finish(in, err);
		return;
	}
	const bool well =
		strcmp(command, "query-block") == 0
			? guest_parse_block(in->guest, result, &mine)
			: guest_parse_basic(in->guest, command, result) || error_no_memory(&mine);
	if (!well) {
		finish(in, &mine);
		return;
	}
	in->query++;
	ask_next(in);
}

static void ask_for_nodes(const struct qmpsnap_error *err, void *data)
{
	struct inspect *in = data;

	if (err) {
		finish(in, err);
		return;
	}
	struct json_object *args = json_new();
	json_put_bool(args, "flat", true); /* without each node's backing chain again */
	qmp_execute(in->qmp, queries[in->query], args, on_query, in);
}

static void ask_next(struct inspect *in)
{
	if (in->query == sizeof(queries) / sizeof(queries[0]))
		ask_about_disk(in);
	else if (strcmp(queries[in->query], "query-named-block-nodes") != 0)
		qmp_execute(in->qmp, queries[in->query], NULL, on_query, in);
	else if (danger_of_listing_nodes(in->guest))
		node_list_make_safe(&in->nodes, in->qmp, false, ask_for_nodes, in);
	else
		ask_for_nodes(NULL, in);
}

void inspect_start(struct inspect *inspect, struct qmp_client *qmp, struct guest *guest,
	inspect_done_fn *done, void *data)
{
	*inspect = (struct inspect){.qmp = qmp, .guest = guest, .done = done, .data = data};
	ask_next(inspect);
}

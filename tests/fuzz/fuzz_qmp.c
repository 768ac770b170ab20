/* SPDX-License-Identifier: Apache-2.0
 *
 * A QEMU that says anything (peer.h) when it is asked what it is and which disks it has; then all
 * that is decided by what it said. */
#include "blockops/dangers.h"
#include "blockops/decide.h"
#include "blockops/inspect.h"
#include "blockops/source.h"
#include "fuzz.h"
#include "peer.h"

#include <stdlib.h>
#include <string.h>

struct talk {
	struct qmp_client *qmp;
	struct inspect inspect;
	struct guest guest;
	unsigned n_done, n_events;
	bool well;
};

static void on_done(const struct qmpsnap_error *err, void *data)
{
	struct talk *talk = data;

	FUZZ_CHECK(!err || (err->code && err->message[0]));
	talk->n_done++;
	talk->well = !err;
}

static void on_event(const char *name, struct json_object *data, void *user)
{
	struct talk *talk = user;

	FUZZ_CHECK(name);
	(void)data;
	talk->n_events++;
}

static int open_none(const char *filename, void *data, struct qmpsnap_error *err)
{
	(void)data;
	(void)error_set(err, QMPSNAP_REFUSED, "%s: no file is opened here", filename);
	return -1;
}

static void look_at_disk(const struct guest *guest, const struct guest_disk *disk)
{
	static const char *const methods[] = {NULL, "stream", "backup", "mirror", "cold"};
	char reason[METHOD_REASON_BYTES];
	struct qmpsnap_error err;
	struct decision decision;

	for (enum method m = 0; m < N_METHODS; m++) {
		(void)method_takes(m, guest, disk, false, reason);
		(void)danger_of(m, guest, disk);
		(void)danger_of_several(m, guest, disk);
	}
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		const struct method_request request = {
			.method = methods[i], .format = QMPSNAP_QCOW2};
		FUZZ_CHECK(decide(guest, &disk, 1, &request, &decision, &err) || err.message[0]);
	}
	(void)decide_format(QMPSNAP_FORMAT_AUTO, disk);
	if (disk->node) {
		const struct source_graph graph = {
			json_member(guest->basics, "query-named-block-nodes", json_type_array),
			json_member(guest->basics, "query-iothreads", json_type_object), open_none,
			NULL};
		source_free(source_of_node(&graph, disk->node, disk->virtual_size_bytes, &err));
	}
}

static void look_at(const struct guest *guest)
{
	const struct guest_disk *chosen[GUEST_MAX_DISKS];
	const struct method_selection selection = {.firmware = true};
	struct json_object *json = guest_to_json(guest);
	struct qmpsnap_error err;
	size_t n = 0;

	FUZZ_CHECK(json && json_text(json) && guest->n_disks <= GUEST_MAX_DISKS);
	(void)json_object_put(json);
	for (size_t i = 0; i < guest->n_disks; i++)
		look_at_disk(guest, &guest->disks[i]);
	(void)method_state_allows(guest, &err);
	(void)danger_of_wide_reads(guest);
	if (method_select(guest, &selection, chosen, &n, &err))
		FUZZ_CHECK(n <= guest->n_disks);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct talk talk = {.n_done = 0};
	struct qmp_subscription subscription = {.fn = on_event, .user = &talk};
	struct qmpsnap_error err;
	struct peer peer;
	uv_loop_t loop;

	FUZZ_CHECK(uv_loop_init(&loop) == 0);
	const int fd = peer_open(&peer);
	talk.qmp = qmp_adopt(&loop, fd, NULL, NULL, NULL, &err);
	FUZZ_CHECK(talk.qmp);
	qmp_subscribe(talk.qmp, &subscription);
	inspect_start(&talk.inspect, talk.qmp, &talk.guest, on_done, &talk);
	peer_run(&peer, &loop, &in);
	while (!talk.n_done)
		(void)uv_run(&loop, UV_RUN_ONCE);
	if (talk.well)
		look_at(&talk.guest);
	guest_free(&talk.guest);
	qmp_unsubscribe(talk.qmp, &subscription);
	qmp_close(talk.qmp, NULL, NULL);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	FUZZ_CHECK(talk.n_done == 1 && uv_loop_close(&loop) == 0);
	return 0;
}

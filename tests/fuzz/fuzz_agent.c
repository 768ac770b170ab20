/* SPDX-License-Identifier: Apache-2.0
 *
 * A guest's agent that says anything (peer.h), while the guest is frozen and thawed. */
#include "fuzz.h"
#include "peer.h"
#include "qmp/agent.h"
#include "qmp/freeze.h"

#include <unistd.h>

struct talk {
	struct freeze freeze;
	unsigned n_begun, n_ended;
};

static void on_thawed(const struct qmpsnap_error *err, void *data)
{
	struct talk *talk = data;

	FUZZ_CHECK(!err || (err->code && err->message[0]));
	FUZZ_CHECK(err || !talk->freeze.in_doubt);
	talk->n_ended++;
}

static void on_frozen(const struct qmpsnap_error *err, void *data)
{
	struct talk *talk = data;

	FUZZ_CHECK(!err || (err->code && err->message[0]));
	FUZZ_CHECK(err || (talk->freeze.frozen && talk->freeze.in_doubt && talk->freeze.n_frozen));
	talk->n_begun++;
	freeze_end(&talk->freeze, on_thawed, talk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct talk talk = {.n_begun = 0};
	struct qmpsnap_error err;
	struct peer peer;
	uv_loop_t loop;

	FUZZ_CHECK(uv_loop_init(&loop) == 0);
	const int fd = peer_open(&peer);
	talk.freeze.agent = agent_adopt(&loop, fd, 0, &err);
	FUZZ_CHECK(talk.freeze.agent);
	freeze_begin(&talk.freeze, 1000, on_frozen, &talk);
	peer_run(&peer, &loop, &in);
	while (!talk.n_ended)
		(void)uv_run(&loop, UV_RUN_ONCE);
	agent_close(talk.freeze.agent, NULL, NULL);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	FUZZ_CHECK(talk.n_begun == 1 && talk.n_ended == 1);
	FUZZ_CHECK(uv_loop_close(&loop) == 0);
	return 0;
}

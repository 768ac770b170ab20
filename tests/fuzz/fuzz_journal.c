/* SPDX-License-Identifier: Apache-2.0
 *
 * A journal that a crash, or somebody else, left: read as recover reads it, into the struct whose
 * undos would run. */
#include "blockops/journal.h"
#include "blockops/record.h"
#include "blockops/snapshot.h"
#include "fuzz.h"

#include <unistd.h>

static bool take_record(struct json_object *record, void *data)
{
	FUZZ_CHECK(record);
	return record_take(data, record, NULL, 0);
}

static void look_at(const struct qmpsnap_snapshot *s)
{
	FUZZ_CHECK(s->table && s->n_disks > 0 && s->n_disks <= SNAPSHOT_MAX_DISKS);
	for (size_t i = 0; i < s->n_disks; i++) {
		FUZZ_CHECK(s->disks[i].snapshot == s && s->disks[i].index == i);
		FUZZ_CHECK(s->disks[i].label && s->disks[i].image_name);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct journal journal = JOURNAL_NONE;
	struct taken_run run = {.monitor_fd = -1, .agent_fd = -1};
	struct qmpsnap_error err;
	uv_loop_t loop;

	FUZZ_CHECK(uv_loop_init(&loop) == 0);
	run.s = snapshot_new(&loop);
	FUZZ_CHECK(run.s);
	journal.fd = fuzz_file(data, size);
	if (!journal_read(&journal, take_record, &run, &err))
		FUZZ_CHECK(err.code == QMPSNAP_INTERNAL && err.message[0]);
	if (run.is_whole)
		look_at(run.s);
	journal_close(&journal);
	snapshot_free(run.s);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	FUZZ_CHECK(uv_loop_close(&loop) == 0);
	return 0;
}

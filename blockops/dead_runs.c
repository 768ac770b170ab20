/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/dead_runs.h"

#include "base/log.h"
#include "base/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_JOURNALS = 4096 };

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

char (*dead_runs_list(int folder, size_t *n, struct qmpsnap_error *err))[NAME_RUN_BYTES]
{
	char(*runs)[NAME_RUN_BYTES] = NULL;
	const int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *entries = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;

	*n = 0;
	if (!entries && copy >= 0)
		(void)close(copy);
	while (entries && *n < MAX_JOURNALS && (entry = readdir(entries))) {
		if (!state_is_run(entry->d_name))
			continue;
		void *more = realloc(runs, (*n + 1) * sizeof(*runs));
		if (!more) {
			error_no_memory(err);
			break;
		}
		runs = more;
		(void)snprintf(runs[(*n)++], NAME_RUN_BYTES, "%.10s", entry->d_name);
	}
	if (entries)
		(void)closedir(entries);
	if (runs && *n > 1)
		qsort(runs, *n, sizeof(*runs), by_name);
	return runs;
}

static bool take_record(struct json_object *record, void *data)
{
	return record_take(data, record, NULL, 0);
}

static bool has_ended(const struct identity *qemu)
{
	return identity_is_known(qemu) && !identity_is_elsewhere(qemu) && !identity_is_alive(qemu);
}

static bool is_chosen(const struct journal_recovery *o, const struct taken_run *run)
{
	return (!o->guest && !o->address) ||
	       (o->guest && identity_equals(o->guest, &run->s->qemu)) ||
	       (o->address && strcmp(o->address, run->s->address.text) == 0 &&
		       (!o->only_gone || has_ended(&run->s->qemu)));
}

/* Nobody knows whose guest's it is; said in *err. */
static bool is_unreadable(
	const struct taken_run *run, bool read, const char *name, struct qmpsnap_error *err)
{
	if (run->is_whole)
		return false;
	if (run->schema && run->schema != RECORD_SCHEMA) {
		error_set(err, QMPSNAP_REFUSED,
			"the journal of run %s is another version's (schema %lld, and not %d)",
			name, (long long)run->schema, RECORD_SCHEMA);
		error_hint(err, "that version's `qmpsnap recover` undoes the run");
		return true;
	}
	return !read && err->detail == EBADMSG;
}

int dead_run_open(const struct journal_recovery *o, int folder, const char *name,
	struct journal *journal, struct taken_run *run, struct qmpsnap_error *err)
{
	const int opened = journal_open_dead(journal, folder, name, !o->done, err);

	if (opened <= 0)
		return opened ? DEAD_RUN_UNREAD : 0;
	*run = (struct taken_run){.s = snapshot_new(o->loop), .monitor_fd = -1, .agent_fd = -1};
	if (!run->s) {
		journal_close(journal);
		error_no_memory(err);
		return -1;
	}
	const bool read = journal_read(journal, take_record, run, err);
	if (run->is_whole && is_chosen(o, run)) {
		/* What stands before a broken line is well, and no later step had begun. */
		if (!read)
			log_line(QMPSNAP_LOG_WARNING, "%s; what stands before it is gone by",
				err->message);
		return 1;
	}
	const bool is_strange = is_unreadable(run, read, name, err);
	/* Before its first line was whole, and on the disk, nothing had begun. */
	if (read && !run->is_whole)
		journal_remove(journal);
	journal_close(journal);
	snapshot_free(run->s);
	return is_strange ? DEAD_RUN_UNREAD : run->is_whole || read ? 0 : -1;
}

void dead_run_warn(const struct qmpsnap_error *err)
{
	log_line(QMPSNAP_LOG_WARNING, "%s; it is left alone%s%s", err->message,
		err->hint[0] ? ": " : "", err->hint);
}

bool journal_recovery_needed(const struct journal_recovery *options)
{
	struct qmpsnap_error err;
	const int folder = state_open(options->state, "journal", false, &err);
	char(*runs)[NAME_RUN_BYTES];
	struct journal journal;
	struct taken_run run;
	bool found = false;
	size_t n = 0;

	if (folder < 0)
		return false;
	runs = dead_runs_list(folder, &n, &err);
	for (size_t i = 0; i < n; i++) {
		const int opened = dead_run_open(options, folder, runs[i], &journal, &run, &err);
		if (opened == DEAD_RUN_UNREAD)
			dead_run_warn(&err);
		if (opened <= 0)
			continue;
		found = true;
		journal_close(&journal);
		snapshot_free(run.s);
	}
	free(runs);
	(void)close(folder);
	return found;
}

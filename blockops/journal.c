/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/journal.h"

#include "base/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	JOURNAL_ROOM_BYTES = 256 * 1024, /* more than a snapshot of a few disks writes */
	JOURNAL_DEPTH = 8, /* of the JSON in a line */
};

static bool fail(const struct journal *journal, enum qmpsnap_code code, int errnum,
	const char *what, struct qmpsnap_error *err)
{
	error_errno(err, code, errnum, "the journal of run %s can't be %s", journal->run, what);
	error_hint(err, "it stands in the folder `journal` of the state folder, see qmpsnap(1)");
	return false;
}

bool journal_open(
	struct journal *journal, const char *state, const char *run, struct qmpsnap_error *err)
{
	*journal = JOURNAL_NONE;
	(void)snprintf(journal->run, sizeof(journal->run), "%s", run);
	journal->folder = state_open(state, "journal", true, err);
	if (journal->folder >= 0)
		return true;
	error_hint(err, "QMPSNAP_STATE_DIR names another state folder");
	return false;
}

/* Who else has it looks into it for a moment. */
static bool lock_made(int fd)
{
	struct stat status;

	return flock(fd, LOCK_EX) == 0 && fstat(fd, &status) == 0 && status.st_nlink > 0;
}

bool journal_create(struct journal *journal, struct qmpsnap_error *err)
{
	const int flags = O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;

	/* Whoever looks for dead runs between these two takes it for one, empty, and removes it. */
	for (int tries = 0; journal->fd < 0 && tries < 16; tries++) {
		journal->fd = openat(journal->folder, journal->run, flags, 0600);
		if (journal->fd < 0 && errno != EEXIST)
			break;
		if (journal->fd >= 0 && !lock_made(journal->fd)) {
			(void)close(journal->fd);
			journal->fd = -1;
			errno = EEXIST;
		}
	}
	if (journal->fd < 0) {
		const int errnum = errno;
		journal_close(journal);
		return fail(journal, QMPSNAP_REFUSED, errnum, "made", err);
	}
	/* So that a disk that fills up later doesn't end the snapshot; not every file system can.
	 */
	if (fallocate(journal->fd, FALLOC_FL_KEEP_SIZE, 0, JOURNAL_ROOM_BYTES) < 0 &&
		errno == ENOSPC) {
		journal_remove(journal);
		return fail(journal, QMPSNAP_REFUSED, ENOSPC, "made", err);
	}
	(void)fsync(journal->folder);
	return true;
}

static bool write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		const ssize_t n = write(fd, text, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		text += n;
		len -= (size_t)n;
	}
	return true;
}

bool journal_write(struct journal *journal, struct json_object *record, struct qmpsnap_error *err)
{
	const char *text = record ? json_text(record) : NULL;
	const size_t len = text ? strlen(text) : 0;
	char *line = text ? malloc(len + 1) : NULL;
	struct stat status;

	if (!line)
		return error_no_memory(err);
	memcpy(line, text, len + 1);
	line[len] = '\n';
	/* A guard's was written to by its run since it was handed over. */
	const bool known = fstat(journal->fd, &status) == 0;
	const bool written = known && write_all(journal->fd, line, len + 1);
	const int errnum = errno;
	free(line);
	if (known)
		journal->length_bytes = status.st_size + (off_t)(written ? len + 1 : 0);
	if (written)
		return true;
	/* What can't be cut off would hide the lines behind it. */
	if (!known || ftruncate(journal->fd, journal->length_bytes) < 0) {
		(void)close(journal->fd);
		journal->fd = -1;
	}
	const bool full = errnum == ENOSPC || errnum == EDQUOT || errnum == EFBIG;
	return fail(journal, full ? QMPSNAP_VIEW : QMPSNAP_INTERNAL, errnum, "written", err);
}

int journal_sync(const struct journal *journal)
{
	return fdatasync(journal->fd) < 0 ? errno : 0;
}

void journal_remove(struct journal *journal)
{
	if (journal->folder >= 0)
		(void)unlinkat(journal->folder, journal->run, 0);
	journal_close(journal);
}

void journal_close(struct journal *journal)
{
	if (journal->fd >= 0)
		(void)close(journal->fd);
	if (journal->folder >= 0)
		(void)close(journal->folder);
	journal->fd = journal->folder = -1;
}

/* One that others only look into is dead too. */
static bool lock_dead(int fd, bool only_look)
{
	for (int tries = 0; tries < 10; tries++) {
		if (flock(fd, (only_look ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0)
			return true;
		if (only_look || errno != EWOULDBLOCK || flock(fd, LOCK_SH | LOCK_NB) != 0)
			return false;
		(void)flock(fd, LOCK_UN);
		(void)usleep(2000);
	}
	errno = EWOULDBLOCK;
	return false;
}

int journal_open_dead(struct journal *journal, int folder, const char *run, bool only_look,
	struct qmpsnap_error *err)
{
	struct stat status;

	*journal = JOURNAL_NONE;
	(void)snprintf(journal->run, sizeof(journal->run), "%s", run);
	journal->fd = openat(folder, run, O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (journal->fd < 0 && errno == ENOENT)
		return 0;
	journal->folder = fcntl(folder, F_DUPFD_CLOEXEC, 3);
	if (journal->fd >= 0 && journal->folder >= 0 && fstat(journal->fd, &status) == 0) {
		if (!S_ISREG(status.st_mode) || status.st_uid != geteuid() ||
			status.st_size > JOURNAL_MAX_BYTES)
			errno = EINVAL;
		else if (lock_dead(journal->fd, only_look) && fstat(journal->fd, &status) == 0) {
			journal->length_bytes = status.st_size;
			if (status.st_nlink > 0)
				return 1;
			errno = EWOULDBLOCK; /* undone and removed a moment ago */
		}
	}
	const int errnum = errno;
	journal_close(journal);
	if (errnum == EWOULDBLOCK)
		return 0;
	fail(journal, QMPSNAP_REFUSED, errnum, "opened", err);
	return -1;
}

static struct json_object *parse(struct json_tokener *tokener, const char *line, size_t len)
{
	struct json_object *record;

	json_tokener_reset(tokener);
	record = json_tokener_parse_ex(tokener, line, (int)len);
	if (json_tokener_get_error(tokener) == json_tokener_success &&
		json_object_is_type(record, json_type_object))
		return record;
	json_object_put(record);
	return NULL;
}

static bool take_lines(const char *text, size_t len, journal_record_fn *take, void *data)
{
	struct json_tokener *tokener = json_tokener_new_ex(JOURNAL_DEPTH);
	const char *end;
	bool well = tokener != NULL;

	while (well && (end = memchr(text, '\n', len))) {
		struct json_object *record = parse(tokener, text, (size_t)(end - text));
		well = record && take(record, data);
		json_object_put(record);
		len -= (size_t)(end + 1 - text);
		text = end + 1;
	}
	if (tokener)
		json_tokener_free(tokener);
	return well;
}

bool journal_read(const struct journal *journal, journal_record_fn *take, void *data,
	struct qmpsnap_error *err)
{
	const size_t size = (size_t)journal->length_bytes;
	char *text = malloc(size + 1);
	size_t len = 0;
	ssize_t n = 1;

	if (!text)
		return error_no_memory(err);
	while (len < size && n > 0) {
		n = pread(journal->fd, text + len, size - len, (off_t)len);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0)
			len += (size_t)n;
	}
	const bool well = n >= 0 && take_lines(text, len, take, data);
	const int errnum = n < 0 ? errno : EBADMSG;
	free(text);
	return well || fail(journal, QMPSNAP_INTERNAL, errnum, "read", err);
}

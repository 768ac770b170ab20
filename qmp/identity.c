/* SPDX-License-Identifier: Apache-2.0 */
#include "qmp/identity.h"

#include "qmp/peer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static bool read_text(const char *path, char *text, size_t size)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	const ssize_t len = fd < 0 ? -1 : read(fd, text, size - 1);

	if (fd >= 0)
		(void)close(fd);
	text[len > 0 ? len : 0] = '\0';
	return len > 0;
}

/* False also of one that has ended and waits for its parent.  The second field, a file's name in
 * parentheses, may hold anything, parentheses included. */
static bool start_of(pid_t pid, uint64_t *ticks)
{
	char path[48], text[1024];
	const char *at;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (!read_text(path, text, sizeof(text)) || !(at = strrchr(text, ')')) ||
		strncmp(at, ") Z", 3) == 0 || strncmp(at, ") X", 3) == 0)
		return false;
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at)
		return false;
	*ticks = strtoull(at + 1, NULL, 10);
	return true;
}

static bool read_boot(char boot[static IDENTITY_BOOT_BYTES])
{
	const bool read = read_text("/proc/sys/kernel/random/boot_id", boot, IDENTITY_BOOT_BYTES);

	boot[strcspn(boot, "\n")] = '\0';
	return read;
}

static uint64_t own_pid_namespace(void)
{
	struct stat status;

	return stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
}

void identity_of_process(pid_t pid, struct identity *id)
{
	*id = (struct identity){.pid = 0};
	if (pid <= 0 || !start_of(pid, &id->started_ticks) || !read_boot(id->boot))
		return;
	id->pid = pid;
	id->pid_namespace = own_pid_namespace();
}

static bool is_qemu(pid_t pid)
{
	char path[48], command[256];

	(void)snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	if (!read_text(path, command, sizeof(command)))
		return false;
	const char *slash = strrchr(command, '/');
	const char *name = slash ? slash + 1 : command;
	return strncmp(name, "qemu", 4) == 0 || strncmp(name, "kvm", 3) == 0;
}

/* An inode's number is soon used again, so its birth counts too, where the file system tells it. */
static uint64_t socket_of_peer(int fd)
{
	struct sockaddr_un name = {0};
	socklen_t size = sizeof(name);
	struct statx status = {0};

	if (getpeername(fd, (struct sockaddr *)&name, &size) < 0 || !name.sun_path[0] ||
		statx(AT_FDCWD, name.sun_path, 0, STATX_INO | STATX_BTIME, &status) < 0)
		return 0;
	const uint64_t born =
		(uint64_t)status.stx_btime.tv_sec * 1000000000 + status.stx_btime.tv_nsec;
	return (status.stx_ino ^ born << 16) & INT64_MAX;
}

static void identity_of_unix(int fd, pid_t pid, struct identity *id)
{
	identity_of_process(pid, id);
	if (!identity_is_known(id) || is_qemu(pid))
		return;
	id->socket = socket_of_peer(fd);
	if (!id->socket) /* a pair that was made for QEMU */
		id->pid = 0;
}

void identity_of(int fd, struct identity *id)
{
	struct ucred cred = {0};
	socklen_t size = sizeof(cred);
	int domain = 0;
	socklen_t domain_size = sizeof(domain);

	*id = (struct identity){.pid = 0};
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_size) < 0)
		return;
	if (domain == AF_UNIX && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) == 0)
		identity_of_unix(fd, cred.pid, id);
	else if (domain != AF_UNIX)
		identity_of_process(peer_pid(fd, NULL), id);
}

/* Journals of before have no namespace. */
static bool is_other_namespace(uint64_t a, uint64_t b)
{
	return a && b && a != b;
}

bool identity_equals(const struct identity *a, const struct identity *b)
{
	return identity_is_known(a) && a->pid == b->pid && a->started_ticks == b->started_ticks &&
	       a->socket == b->socket && strcmp(a->boot, b->boot) == 0 &&
	       !is_other_namespace(a->pid_namespace, b->pid_namespace);
}

/* Whether a process is in that namespace, or may be: one that can't be looked at.  The host's first
 * one is in its own. */
static bool may_be_in(pid_t pid, uint64_t namespace)
{
	char path[48];
	struct stat status;
	uint64_t ticks;

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)pid);
	if (pid == 1 || !start_of(pid, &ticks))
		return false;
	if (stat(path, &status) < 0)
		return errno != ENOENT && errno != ESRCH;
	return status.st_ino == namespace;
}

/* Only in the host's own namespace root sees the processes of all. */
static bool may_stand(uint64_t namespace)
{
	const uint64_t of_host = 0xEFFFFFFC; /* PROC_PID_INIT_INO */
	const bool sees_all = geteuid() == 0 && own_pid_namespace() == of_host;
	DIR *all = sees_all ? opendir("/proc") : NULL;
	struct dirent *entry;
	bool may = !all;

	while (!may && (entry = readdir(all)))
		may = may_be_in((pid_t)strtol(entry->d_name, NULL, 10), namespace);
	if (all)
		(void)closedir(all);
	return may;
}

bool identity_is_elsewhere(const struct identity *id)
{
	char boot[IDENTITY_BOOT_BYTES];

	return identity_is_known(id) &&
	       is_other_namespace(id->pid_namespace, own_pid_namespace()) && read_boot(boot) &&
	       strcmp(id->boot, boot) == 0 && may_stand(id->pid_namespace);
}

/* What a line of /proc/PID/status has behind its name; NULL: it has ended, or can't be seen.  The
 * process's own name, which comes before, has its newlines escaped: proc(5). */
static const char *status_of(const struct identity *id, const char *line, char *text, size_t size)
{
	char path[48];

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)id->pid);
	const char *at = read_text(path, text, size) ? strstr(text, line) : NULL;
	return at ? at + strlen(line) : NULL;
}

/* The last number of the line is the innermost. */
pid_t identity_inner_pid(const struct identity *id)
{
	char text[1024];
	const char *at = status_of(id, "\nNSpid:", text, sizeof(text));
	pid_t pid = id->pid;

	while (at && *at == '\t') {
		char *end;
		pid = (pid_t)strtol(at + 1, &end, 10);
		at = end;
	}
	return pid;
}

bool identity_owner(const struct identity *id, uid_t *owner)
{
	char text[1024];
	char *end;
	const char *at = status_of(id, "\nUid:", text, sizeof(text));

	if (!at)
		return false;
	(void)strtoul(at, &end, 10); /* the real one */
	*owner = (uid_t)strtoul(end, NULL, 10);
	return true;
}

bool identity_is_alive(const struct identity *id)
{
	struct identity now;

	identity_of_process(id->pid, &now);
	now.socket = id->socket;
	return identity_equals(id, &now);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "qmp/peer.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PROC_PATH_BYTES = 300 };

static bool is_loopback(const struct sockaddr_storage *name)
{
	if (name->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)name;

		return ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	}
	if (name->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)name;

		return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) ||
		       (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) &&
			       in6->sin6_addr.s6_addr[12] == IN_LOOPBACKNET);
	}
	return false;
}

/* "0100007F:1F90", as /proc/net/tcp has it: the address by words as they stand in memory. */
static void proc_name(const struct sockaddr_storage *name, char text[static 40])
{
	if (name->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)name;

		(void)snprintf(text, 40, "%08" PRIX32 ":%04X", (uint32_t)in->sin_addr.s_addr,
			ntohs(in->sin_port));
		return;
	}
	const struct sockaddr_in6 *in6 = (const void *)name;
	uint32_t words[4];
	memcpy(words, &in6->sin6_addr, sizeof(words));
	(void)snprintf(text, 40, "%08" PRIX32 "%08" PRIX32 "%08" PRIX32 "%08" PRIX32 ":%04X",
		words[0], words[1], words[2], words[3], ntohs(in6->sin6_port));
}

/* The inode of the socket whose own name is `local` and whose other end is `remote`; 0: none. */
static unsigned long find_inode(const char *table, const char *local, const char *remote)
{
	FILE *file = fopen(table, "re");
	char line[512], from[48], to[48], inode[24];
	unsigned long found = 0;

	while (file && !found && fgets(line, sizeof(line), file)) {
		/* sl, local, remote, st, queues, timer, retransmits, uid, timeout, inode */
		if (sscanf(line, "%*s %47s %47s %*s %*s %*s %*s %*s %*s %23s", from, to, inode) ==
				3 &&
			strcmp(from, local) == 0 && strcmp(to, remote) == 0)
			found = strtoul(inode, NULL, 10);
	}
	if (file)
		(void)fclose(file);
	return found;
}

/* The inode of the socket at this host whose own name is `near` and whose other end is `far`, both
 * of IPv4 or both of IPv6. */
static unsigned long inode_between(
	const struct sockaddr_storage *near, const struct sockaddr_storage *far)
{
	char local[40], remote[40], local6[80], remote6[80];

	proc_name(near, local);
	proc_name(far, remote);
	if (near->ss_family == AF_INET6)
		return find_inode("/proc/net/tcp6", local, remote);
	const unsigned long inode = find_inode("/proc/net/tcp", local, remote);
	if (inode)
		return inode;
	/* A socket for both families has IPv4 clients in the other table. */
	(void)snprintf(local6, sizeof(local6), "0000000000000000FFFF0000%s", local);
	(void)snprintf(remote6, sizeof(remote6), "0000000000000000FFFF0000%s", remote);
	return find_inode("/proc/net/tcp6", local6, remote6);
}

/* Of the socket that listens at `name`, or there at all addresses, of both families too. */
static unsigned long listener_inode(const struct sockaddr_storage *name)
{
	const struct sockaddr_in6 any6 = {.sin6_family = AF_INET6,
		.sin6_port =
			name->ss_family == AF_INET
				? ((const struct sockaddr_in *)(const void *)name)->sin_port
				: ((const struct sockaddr_in6 *)(const void *)name)->sin6_port};
	const struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = any6.sin6_port};
	struct sockaddr_storage nobody, all;
	unsigned long inode;

	memset(&nobody, 0, sizeof(nobody));
	memset(&all, 0, sizeof(all));
	nobody.ss_family = name->ss_family;
	inode = inode_between(name, &nobody);

	if (!inode && name->ss_family == AF_INET) {
		memcpy(&all, &any, sizeof(any));
		inode = inode_between(&all, &nobody);
	}
	if (!inode) {
		memcpy(&all, &any6, sizeof(any6));
		nobody.ss_family = AF_INET6;
		inode = inode_between(&all, &nobody);
	}
	return inode;
}

static unsigned long peer_inode(int fd, struct qmpsnap_error *err)
{
	struct sockaddr_storage mine = {0}, theirs = {0};
	socklen_t mine_size = sizeof(mine), theirs_size = sizeof(theirs);

	if (getsockname(fd, (struct sockaddr *)&mine, &mine_size) < 0 ||
		getpeername(fd, (struct sockaddr *)&theirs, &theirs_size) < 0) {
		error_errno(err, QMPSNAP_REFUSED, errno, "the monitor's connection");
		return 0;
	}
	if (!is_loopback(&theirs)) {
		error_set(err, QMPSNAP_REFUSED,
			"the monitor's address isn't this host's own (127.0.0.1 or [::1])");
		return 0;
	}
	/* A connection that waits to be accepted is nobody's yet. */
	unsigned long inode = inode_between(&theirs, &mine);
	if (!inode)
		inode = listener_inode(&theirs);
	if (!inode)
		error_set(err, QMPSNAP_REFUSED,
			"the other end of the monitor's connection is no socket of this host");
	return inode;
}

static bool holds(const char *pid, unsigned long inode)
{
	char path[PROC_PATH_BYTES], link[64], wanted[64];
	struct dirent *entry;
	bool found = false;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	(void)snprintf(wanted, sizeof(wanted), "socket:[%lu]", inode);
	DIR *folder = opendir(path);
	while (folder && !found && (entry = readdir(folder))) {
		const ssize_t len =
			readlinkat(dirfd(folder), entry->d_name, link, sizeof(link) - 1);

		link[len < 0 ? 0 : len] = '\0';
		found = strcmp(link, wanted) == 0;
	}
	if (folder)
		(void)closedir(folder);
	return found;
}

/* Several may hold it; then it is the first one found that is a QEMU. */
static bool is_qemu(const char *pid)
{
	char path[PROC_PATH_BYTES], exe[PROC_PATH_BYTES];

	(void)snprintf(path, sizeof(path), "/proc/%.20s/exe", pid);
	const ssize_t len = readlink(path, exe, sizeof(exe) - 1);
	exe[len < 0 ? 0 : len] = '\0';
	const char *name = strrchr(exe, '/');
	return name && (strncmp(name + 1, "qemu", 4) == 0 || strncmp(name + 1, "kvm", 3) == 0);
}

static bool find_holder(unsigned long inode, char pid[static 24], struct qmpsnap_error *err)
{
	DIR *folder = opendir("/proc");
	struct dirent *entry;
	bool held = false, found = false;

	while (folder && !found && (entry = readdir(folder))) {
		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
			!holds(entry->d_name, inode))
			continue;
		held = true;
		found = is_qemu(entry->d_name);
		(void)snprintf(pid, 24, "%.20s", entry->d_name);
	}
	if (folder)
		(void)closedir(folder);
	if (found)
		return true;
	if (held)
		return error_set(err, QMPSNAP_REFUSED,
			"the other end of the monitor's connection is process %s, which is no QEMU",
			pid);
	return error_set(err, QMPSNAP_REFUSED,
		"no process that this user may look at holds the other end of the monitor's "
		"connection");
}

static bool has_our_files(const char *pid, struct qmpsnap_error *err)
{
	char path[PROC_PATH_BYTES];
	struct stat theirs, ours, process;

	(void)snprintf(path, sizeof(path), "/proc/%s", pid);
	if (stat(path, &process) < 0)
		return error_errno(err, QMPSNAP_REFUSED, errno, "%s", path);
	(void)snprintf(path, sizeof(path), "/proc/%s/ns/mnt", pid);
	if (stat(path, &theirs) < 0 || stat("/proc/self/ns/mnt", &ours) < 0)
		return error_errno(err, QMPSNAP_REFUSED, errno, "%s", path);
	if (theirs.st_ino != ours.st_ino || theirs.st_dev != ours.st_dev)
		return error_set(err, QMPSNAP_REFUSED,
			"QEMU (process %s) has mounts of its own, so a path means another file to "
			"it",
			pid);
	if (process.st_uid != 0 && process.st_uid != geteuid())
		return error_set(err, QMPSNAP_REFUSED,
			"QEMU (process %s) runs as another user, who can't open our files", pid);
	return true;
}

static bool find_peer(int fd, char pid[static 24], struct qmpsnap_error *err)
{
	const unsigned long inode = peer_inode(fd, err);

	return inode && find_holder(inode, pid, err);
}

pid_t peer_pid(int fd, struct qmpsnap_error *err)
{
	struct qmpsnap_error ignored;
	char pid[24];

	return find_peer(fd, pid, err ? err : &ignored) ? (pid_t)strtol(pid, NULL, 10) : 0;
}

bool peer_is_here(int fd, struct qmpsnap_error *err)
{
	char pid[24];

	return find_peer(fd, pid, err) && has_our_files(pid, err);
}

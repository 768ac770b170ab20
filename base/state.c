/* SPDX-License-Identifier: Apache-2.0 */
#include "base/state.h"

#include "base/error.h"
#include "base/names.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static bool folder_path(
	const char *state, const char *sub, char path[static PATH_MAX], struct qmpsnap_error *err)
{
	const char *chosen = getenv("QMPSNAP_STATE_DIR"), *xdg = getenv("XDG_STATE_HOME");
	const char *home = getenv("HOME");
	int len;

	if (state)
		len = snprintf(path, PATH_MAX, "%s/%s", state, sub);
	else if (chosen && chosen[0] == '/')
		len = snprintf(path, PATH_MAX, "%s/%s", chosen, sub);
	else if (geteuid() == 0)
		len = snprintf(path, PATH_MAX, "/var/lib/qmpsnap/state/%s", sub);
	else if (xdg && xdg[0] == '/')
		len = snprintf(path, PATH_MAX, "%s/qmpsnap/%s", xdg, sub);
	else if (home && home[0] == '/')
		len = snprintf(path, PATH_MAX, "%s/.local/state/qmpsnap/%s", home, sub);
	else
		return error_set(err, QMPSNAP_REFUSED, "there is no $HOME for a state folder");
	return (len > 0 && len < PATH_MAX) ||
	       error_set(err, QMPSNAP_REFUSED, "the state folder's path is too long");
}

/* All of the path; what is there stays as it is. */
static void make_folders(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(path, 0700);
		*slash = '/';
	}
	(void)mkdir(path, 0700);
}

static bool make_private(int fd, const char *path, struct qmpsnap_error *err)
{
	struct stat status;
	const bool known = fstat(fd, &status) == 0;

	if (known && status.st_uid != geteuid())
		return error_set(
			err, QMPSNAP_REFUSED, "the state folder %s is another user's", path);
	if (!known || ((status.st_mode & 077) && fchmod(fd, 0700) < 0))
		return error_errno(err, QMPSNAP_REFUSED, errno, "the state folder %s", path);
	return true;
}

int state_open(const char *state, const char *sub, bool make, struct qmpsnap_error *err)
{
	char path[PATH_MAX];

	if (!folder_path(state, sub, path, err))
		return -1;
	if (make)
		make_folders(path);
	const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		error_errno(err, QMPSNAP_REFUSED, errno, "the state folder %s", path);
		return -1;
	}
	if (make_private(fd, path, err))
		return fd;
	(void)close(fd);
	return -1;
}

bool state_is_run(const char *run)
{
	return strlen(run) == NAME_RUN_BYTES - 1 &&
	       strspn(run, "abcdefghijklmnopqrstuvwxyz0123456789") == NAME_RUN_BYTES - 1;
}

void state_address(int folder, const char *name, struct sockaddr_un *address)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	(void)snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d/%.64s",
		folder, name);
}

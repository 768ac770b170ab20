/* SPDX-License-Identifier: Apache-2.0 */
#include "stage_client.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int stage_fd = -1;
static bool connected, disk_is_full, spoils;
static unsigned n_writes;

static void connect_once(void)
{
	const char *path = getenv("FAULTS_STAGE");
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (connected || !path || strlen(path) >= sizeof(address.sun_path))
		return;
	connected = true;
	memcpy(address.sun_path, path, strlen(path) + 1);
	stage_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (stage_fd >= 0 && connect(stage_fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		(void)close(stage_fd);
		stage_fd = -1;
	}
}

/* For the programs beside us, whose writes nobody hooks: none of their files grows. */
static void fill_disk(void)
{
	const struct rlimit most = {.rlim_cur = (rlim_t)64 * 1024, .rlim_max = RLIM_INFINITY};

	disk_is_full = true;
	(void)signal(SIGXFSZ, SIG_IGN);
	(void)setrlimit(RLIMIT_FSIZE, &most);
}

void stage_announce(const char *phase, const char *step)
{
	char line[160], answer[16] = "";

	connect_once();
	if (stage_fd < 0)
		return;
	const int len =
		snprintf(line, sizeof(line), "%d %s %s %u", (int)getpid(), phase, step, n_writes);
	n_writes = 0;
	if (send(stage_fd, line, (size_t)len, MSG_NOSIGNAL) < 0)
		return;
	ssize_t got;
	do
		got = recv(stage_fd, answer, sizeof(answer) - 1, 0);
	while (got < 0 && errno == EINTR);
	if (got > 0 && strcmp(answer, "full") == 0)
		fill_disk();
	if (strcmp(phase, "message") != 0 && strcmp(phase, "spoiled") != 0)
		spoils = got > 0 && strcmp(answer, "spoil") == 0;
}

bool stage_takes_messages(void)
{
	return getenv("FAULTS_MESSAGES") != NULL;
}

bool stage_spoils_message(void)
{
	const bool now = spoils;

	spoils = false;
	return now;
}

bool stage_disk_is_full(void)
{
	n_writes++;
	return disk_is_full;
}

uint64_t stage_speed(void)
{
	static uint64_t speed;
	const char *text = getenv("FAULTS_SPEED");

	if (!speed)
		speed = text ? strtoull(text, NULL, 10) : 1;
	return speed ? speed : 1;
}

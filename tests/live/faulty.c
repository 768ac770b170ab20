/* SPDX-License-Identifier: Apache-2.0
 *
 * faulty - a snapshot with a fault built in, for tests/live: `kill-before STEP`, `kill-after STEP`,
 * `stop-before STEP` and `stop-after STEP` send this process SIGKILL or SIGSTOP there; `gap MS`
 * waits between the switches of two disks and doesn't stop the guest, the negative control of
 * "several disks stand at one instant"; `no-watch -` lets the job flavour's scratch fill up; `stall
 * MS` gives a mirror up that soon; `lose-after STEP` ends
 * the monitor's connection there, and then stops.  The environment's FAULTY_METHOD, FAULTY_FLAVOUR,
 * FAULTY_SPEED and FAULTY_SCRATCH_LIMIT are options of the snapshot.
 *
 *   faulty FAULT ARGUMENT QMP_ADDRESS STORE GUARD [QGA_ADDRESS]
 */
#include "blockops/snapshot.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static int exit_code = QMPSNAP_INTERNAL;

static void on_done(
	const struct qmpsnap_error *err, const struct qmpsnap_result *result, void *data)
{
	struct qmpsnap_store *store = data;

	if (err)
		(void)fprintf(stderr, "faulty: %s\n", err->message);
	exit_code = err ? (int)err->code : result->undo_error ? QMPSNAP_UNDO : 0;
	for (size_t i = 0; i < result->n_images; i++)
		(void)printf("%s\n", result->images[i].location);
	qmpsnap_store_close(store);
}

static struct qmpsnap_store *open_store(
	struct uv_loop_s *loop, const char *spec, struct qmpsnap_error *err)
{
	return qmpsnap_store_open(loop, spec, NULL, err);
}

static const char *monitor_path;

/* All that is done here may be done in a handler (signal-safety(7)). */
static void lose_monitor(int number)
{
	struct sockaddr_un peer;

	(void)number;
	for (int fd = 3; fd < 256; fd++) {
		socklen_t size = sizeof(peer);
		memset(&peer, 0, sizeof(peer));
		if (getpeername(fd, (struct sockaddr *)&peer, &size) == 0 &&
			peer.sun_family == AF_UNIX && strcmp(peer.sun_path, monitor_path) == 0)
			(void)shutdown(fd, SHUT_RDWR);
	}
	(void)raise(SIGSTOP);
}

static bool take_fault(struct snapshot_faults *faults, const char *fault, const char *argument)
{
	if (strcmp(fault, "kill-before") == 0)
		*faults = (struct snapshot_faults){.signal = SIGKILL, .before = argument};
	else if (strcmp(fault, "kill-after") == 0)
		*faults = (struct snapshot_faults){.signal = SIGKILL, .after = argument};
	else if (strcmp(fault, "stop-before") == 0)
		*faults = (struct snapshot_faults){.signal = SIGSTOP, .before = argument};
	else if (strcmp(fault, "stop-after") == 0)
		*faults = (struct snapshot_faults){.signal = SIGSTOP, .after = argument};
	else if (strcmp(fault, "lose-after") == 0)
		*faults = (struct snapshot_faults){.signal = SIGUSR1, .after = argument};
	else if (strcmp(fault, "gap") == 0)
		*faults = (struct snapshot_faults){
			.no_stop = true, .switch_gap_ms = (unsigned)strtoul(argument, NULL, 10)};
	else if (strcmp(fault, "stall") == 0)
		*faults =
			(struct snapshot_faults){.stall_ms = (unsigned)strtoul(argument, NULL, 10)};
	else if (strcmp(fault, "no-watch") == 0)
		*faults = (struct snapshot_faults){.no_watch = true};
	else
		return false;
	return true;
}

static uint64_t number_from(const char *variable)
{
	const char *text = getenv(variable);

	return text ? strtoull(text, NULL, 10) : 0;
}

int main(int argc, char **argv)
{
	struct snapshot_faults faults = {0};
	struct qmpsnap_error err;

	if (argc < 6 || argc > 7 || !take_fault(&faults, argv[1], argv[2])) {
		(void)fprintf(
			stderr, "usage: faulty FAULT ARGUMENT QMP_ADDRESS STORE GUARD [QGA]\n");
		return QMPSNAP_USAGE;
	}
	monitor_path = argv[3] + strcspn(argv[3], "/");
	(void)signal(SIGUSR1, lose_monitor);
	uv_loop_t *loop = uv_default_loop();
	const struct qmpsnap_snapshot_options options = {.qmp_address = argv[3],
		.zero_scan = QMPSNAP_ZERO_SCAN_ALWAYS, /* no step is left out */
		.method = getenv("FAULTY_METHOD"),
		.flavour = getenv("FAULTY_FLAVOUR"),
		.scratch_limit_bytes = number_from("FAULTY_SCRATCH_LIMIT"),
		.speed_bytes_per_s = number_from("FAULTY_SPEED"),
		.store_spec = argv[4],
		.open_store = open_store,
		.guard_path = argv[5],
		.qga_address = argv[6]};
	struct qmpsnap_store *store = qmpsnap_store_open(loop, argv[4], NULL, &err);
	struct qmpsnap_snapshot *s =
		store ? qmpsnap_snapshot_start(loop, &options, store, NULL, on_done, store, &err)
		      : NULL;
	if (!s) {
		(void)fprintf(stderr, "faulty: %s\n", err.message);
		return (int)err.code;
	}
	s->faults = faults;
	uv_run(loop, UV_RUN_DEFAULT);
	uv_loop_close(loop);
	return exit_code;
}

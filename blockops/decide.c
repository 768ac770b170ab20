/* SPDX-License-Identifier: Apache-2.0 */
#include "blockops/decide.h"

#include "blockops/cluster_map.h"
#include "blockops/dangers.h"

#include <stdio.h>
#include <string.h>

/* What a user may name, and what it means: the candidates in the order of preference. */
static const struct {
	const char *method, *flavour;
	enum method candidates[3];
	size_t n_candidates;
} choices[] = {
	{"auto", "auto", {METHOD_FILTER, METHOD_JOB, METHOD_BACKUP}, 3},
	{"stream", "auto", {METHOD_FILTER, METHOD_JOB}, 2},
	{"stream", "filter", {METHOD_FILTER}, 1},
	{"stream", "job", {METHOD_JOB}, 1},
	{"backup", "auto", {METHOD_BACKUP}, 1},
	{"mirror", "auto", {METHOD_MIRROR}, 1},
	{"cold", "auto", {METHOD_COLD}, 1},
};
enum { N_CHOICES = sizeof(choices) / sizeof(choices[0]) };

/* How users read of them; the filter and the job are both "stream" to them. */
static const char *const names[N_METHODS] = {
	[METHOD_FILTER] = "stream with the filter",
	[METHOD_JOB] = "stream with the job",
	[METHOD_BACKUP] = "backup",
	[METHOD_MIRROR] = "mirror",
	[METHOD_COLD] = "cold",
};

static const char *const virtues[N_METHODS] = {
	[METHOD_FILTER] = ("this QEMU has copy-before-write with break-snapshot and "
			   "snapshot-access, and all chosen disks can be switched onto it"),
	[METHOD_JOB] = "overlays with backup jobs freeze all chosen disks",
	[METHOD_BACKUP] = "QEMU copies all chosen disks to spool files",
	[METHOD_MIRROR] = "QEMU copies all chosen disks until it has caught up",
	[METHOD_COLD] = "the guest stands still while its files are copied",
};

static const char *word(const char *asked)
{
	return asked ? asked : "auto";
}

static size_t find_choice(const struct method_request *request)
{
	const char *method = word(request->method), *flavour = word(request->flavour);
	size_t i = 0;

	/* Only stream has flavours, so one that is named names the method. */
	if (strcmp(flavour, "auto") != 0 && strcmp(method, "auto") == 0)
		method = "stream";
	while (i < N_CHOICES && (strcmp(choices[i].method, method) != 0 ||
					strcmp(choices[i].flavour, flavour) != 0))
		i++;
	return i;
}

/* What stands against a method: the first disk that it can't take, and why. */
struct obstacle {
	const struct guest_disk *disk;
	char why[METHOD_REASON_BYTES];
};

/* QEMU copies into a qcow2 of our making. */
static bool copy_is_too_large(
	enum method method, const struct guest_disk *disk, enum qmpsnap_format asked)
{
	return (method == METHOD_BACKUP || method == METHOD_MIRROR) &&
	       disk->virtual_size_bytes > CLUSTER_MAP_MOST_BYTES &&
	       decide_format(asked, disk) == QMPSNAP_QCOW2;
}

static bool takes_all(enum method method, const struct guest *guest,
	const struct guest_disk *const *disks, size_t n_disks, const struct method_request *request,
	struct obstacle *obstacle)
{
	if (method == METHOD_JOB && request->release_monitor) {
		obstacle->disk = disks[0];
		(void)snprintf(obstacle->why, sizeof(obstacle->why),
			"the job that keeps its view must be watched, so the monitor can't be left "
			"to others");
		return false;
	}
	for (size_t i = 0; i < n_disks; i++) {
		const char *danger =
			n_disks > 1 ? danger_of_several(method, guest, disks[i]) : NULL;
		obstacle->disk = disks[i];
		if (!method_takes(method, guest, disks[i], request->allow_plaintext, obstacle->why))
			return false;
		if (copy_is_too_large(method, disks[i], request->format)) {
			(void)snprintf(obstacle->why, sizeof(obstacle->why),
				"it is larger than 16 TiB, and such copies are only made with "
				"--format raw");
			return false;
		}
		if (danger) {
			(void)snprintf(obstacle->why, sizeof(obstacle->why), "%s", danger);
			return false;
		}
	}
	return true;
}

/* qemu-img alone writes these. */
static bool format_is_made(enum qmpsnap_format format, enum method method)
{
	return method == METHOD_COLD || (format != QMPSNAP_VMDK && format != QMPSNAP_VDI);
}

static void explain(struct decision *decision, bool named, const struct obstacle *first)
{
	const char *virtue = virtues[decision->method];

	if (named)
		(void)snprintf(decision->reason, sizeof(decision->reason),
			"it was asked for, and %s", virtue);
	else if (first->why[0])
		(void)snprintf(decision->reason, sizeof(decision->reason),
			"%s, and not by stream with the filter, since of disk %s: %s", virtue,
			first->disk->id, first->why);
	else
		(void)snprintf(decision->reason, sizeof(decision->reason), "%s", virtue);
}

static bool refuse_format(enum qmpsnap_format format, struct qmpsnap_error *err)
{
	error_set(err, QMPSNAP_REFUSED, "images in the format %s are made by the method cold alone",
		format == QMPSNAP_VMDK ? "vmdk" : "vdi");
	error_hint(err, "--method cold holds the guest while its disks are copied; without it take "
			"qcow2 and convert the image afterwards");
	return false;
}

static bool refuse(size_t choice, const struct obstacle *last, struct qmpsnap_error *err)
{
	const enum method method = choices[choice].candidates[choices[choice].n_candidates - 1];

	error_set(err, QMPSNAP_REFUSED, "disk %s can't be taken by the method %s: %s",
		last->disk->id,
		choices[choice].n_candidates > 1 ? choices[choice].method : names[method],
		last->why);
	error_hint(err, "qmpsnap inspect tells which disks can be taken and how; --disk chooses "
			"among them");
	return false;
}

bool decide(const struct guest *guest, const struct guest_disk *const *disks, size_t n_disks,
	const struct method_request *request, struct decision *decision, struct qmpsnap_error *err)
{
	struct obstacle first = {0}, last = {.disk = disks[0]};
	const size_t choice = find_choice(request);

	if (choice == N_CHOICES) {
		error_set(err, QMPSNAP_USAGE, "there is no method %s with the flavour %s",
			word(request->method), word(request->flavour));
		error_hint(err, "methods: auto, stream, backup, mirror, cold; flavours, of stream "
				"alone: auto, filter, job");
		return false;
	}
	for (size_t i = 0; i < choices[choice].n_candidates; i++) {
		decision->method = choices[choice].candidates[i];
		if (!format_is_made(request->format, decision->method))
			return refuse_format(request->format, err);
		if (takes_all(decision->method, guest, disks, n_disks, request, &last)) {
			explain(decision, choices[choice].n_candidates == 1, &first);
			return true;
		}
		if (i == 0)
			first = last;
	}
	return refuse(choice, &last, err);
}

bool decide_without_server(const struct guest *guest, const struct guest_disk *const *disks,
	size_t n_disks, const struct method_request *request, struct decision *decision,
	struct qmpsnap_error *err)
{
	struct method_request again = *request;

	again.method = "backup";
	again.flavour = NULL;
	if (!decide(guest, disks, n_disks, &again, decision, err))
		return false;
	(void)snprintf(decision->reason, sizeof(decision->reason),
		"%s, and not by stream, since QEMU's only NBD server is another tool's",
		virtues[decision->method]);
	return true;
}

bool decide_is_open(const struct method_request *request)
{
	return strcmp(word(request->method), "auto") == 0 &&
	       strcmp(word(request->flavour), "auto") == 0;
}

enum qmpsnap_format decide_format(enum qmpsnap_format asked, const struct guest_disk *disk)
{
	if (asked != QMPSNAP_FORMAT_AUTO)
		return asked;
	return disk->block_device ? QMPSNAP_RAW : QMPSNAP_QCOW2;
}

/* SPDX-License-Identifier: Apache-2.0
 *
 * copy_job.h - the jobs that copy whole disks (backup, mirror), as query-jobs and events show them.
 * Each disk has one, called by our name of the role "j" and made with auto-dismiss=false, so that
 * it stays in QEMU's list until job-dismiss.  jobs.h has their end.
 *
 * Source: QEMU's QMP reference, query-jobs, JobStatus, JOB_STATUS_CHANGE.
 */
#ifndef BLOCKOPS_COPY_JOB_H
#define BLOCKOPS_COPY_JOB_H

#include "blockops/snapshot.h"

/* What query-jobs says of a disk's job; strings are borrowed from its reply. */
struct copy_job {
	const char *status; /* JobStatus: "running", "ready", "concluded", ...; never NULL */
	const char *error; /* QEMU's words, once it has failed; NULL: it hasn't */
	uint64_t done_bytes, total_bytes;
};

/* Our job's name. */
void copy_job_name(const struct snapshot_disk *d, char name[static NAME_NODE_BYTES]);

/* What the commands that start the disk's job have in common: job, device, target, sync, speed,
 * both error policies, no dismissal.  Owned by the caller. */
struct json_object *copy_job_arguments(const struct snapshot_disk *d);

/* Whether --zero-scan wants the disk copied by the cluster, and not in QEMU's pieces of 1 MiB: the
 * target (steps_target.c) leaves out a request that is all zero, and nothing smaller.  It is what
 * qemu-img convert looks at, and costs a mirror half its speed or more: it reads one piece at a
 * time then. */
bool copy_job_is_by_cluster(const struct snapshot_disk *d);

/* The disk's job in the reply to query-jobs; false: it isn't there. */
bool copy_job_find(const struct snapshot_disk *d, struct json_object *jobs, struct copy_job *job);

/* Why a job that isn't as it should be has failed (QEMU); `job` NULL: it is gone. */
void copy_job_failed(
	const struct snapshot_disk *d, const struct copy_job *job, struct qmpsnap_error *err);

/* Dismisses the disk's job, which has concluded well; what is asked of QEMU later finds it gone.
 * At once, and not when all have: see danger_of_listing_nodes(). */
void copy_job_dismiss(struct snapshot_disk *d);

/* The disk whose job a JOB_STATUS_CHANGE event is about, NULL: none of ours. */
struct snapshot_disk *copy_job_of_event(struct qmpsnap_snapshot *s, struct json_object *event_data);

/* The disks that still are to be copied share the speed from now on; their jobs are told whenever
 * it changes ... */
void copy_jobs_share(struct qmpsnap_snapshot *s);
/* ... and now. */
void copy_jobs_pace(struct qmpsnap_snapshot *s);
/* The rest is copied without a limit.  Idempotent. */
void copy_jobs_hurry(struct qmpsnap_snapshot *s);

#endif

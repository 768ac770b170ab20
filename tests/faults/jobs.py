# SPDX-License-Identifier: Apache-2.0
"""The block jobs of a model of QEMU."""
import os
import time

DISK_BYTES = 1 << 20


class Refused(Exception):
    """QEMU's answer is an error."""

    def __init__(self, desc, kind="GenericError"):
        super().__init__(desc)
        self.kind = kind


class Job:
    """A block job; `events` are told by whoever drives the model."""

    def __init__(self, kind, node, target, sync):
        self.kind, self.node, self.target, self.sync = kind, node, target, sync
        self.status = "running"
        self.error = None
        self.done = 0
        self.started = time.monotonic()


class Jobs:
    """The part of Model that has them; `jobs`, `emit` and `full` are the model's."""

    def set_job(self, name, status):
        self.jobs[name].status = status
        self.emit("JOB_STATUS_CHANGE", {"id": name, "status": status})

    def conclude(self, name, error=None):
        job = self.jobs[name]
        job.error = error
        if not error:
            job.done = DISK_BYTES
            self.fill(job.target)
        for status in (("aborting",) if error else ("waiting", "pending")):
            self.set_job(name, status)
        data = {"device": name, "type": job.kind, "len": DISK_BYTES, "offset": job.done, "speed": 0}
        if error == "Operation canceled":
            self.emit("BLOCK_JOB_CANCELLED", data)
        else:
            self.emit("BLOCK_JOB_COMPLETED", {**data, **({"error": error} if error else {})})
        self.set_job(name, "concluded")

    def fill(self, target):
        """The copy: the file behind the target has some bytes then."""
        fd = self.descriptor(target)
        if fd is not None:
            size = os.fstat(fd).st_size
            os.pwrite(fd, b"\x5a" * 65536, max(size - 65536, 0))

    def tick(self):
        """What QEMU does by itself."""
        for name, job in list(self.jobs.items()):
            if job.status != "running" or job.sync == "none":
                continue
            if time.monotonic() - job.started < 0.01:
                continue
            if self.full:
                self.conclude(name, "No space left on device")
            elif job.kind == "mirror":
                job.done = DISK_BYTES
                self.set_job(name, "ready")
                self.emit("BLOCK_JOB_READY", {"device": name, "type": "mirror", "len": DISK_BYTES,
                                              "offset": DISK_BYTES, "speed": 0})
            else:
                self.conclude(name)

    def busy(self):
        return any(job.status == "running" and job.sync != "none" for job in self.jobs.values())

    # ---- commands

    def do_transaction(self, arguments, _fds):
        for action in arguments["actions"]:
            if action["type"] != "blockdev-backup":
                raise Refused(f"Invalid parameter '{action['type']}'")
            self.check_job(action["data"])
        for action in arguments["actions"]:
            self.start_job("backup", action["data"])
        return {}

    def do_blockdev_mirror(self, arguments, _fds):
        self.check_job(arguments)
        self.start_job("mirror", arguments)
        return {}

    def check_job(self, data):
        if data["job-id"] in self.jobs:
            raise Refused(f"Job ID '{data['job-id']}' already in use")
        self.node(data["device"])
        self.node(data["target"])

    def start_job(self, kind, data):
        self.jobs[data["job-id"]] = Job(kind, data["device"], data["target"], data["sync"])
        self.set_job(data["job-id"], "created")
        self.set_job(data["job-id"], "running")

    def job(self, name):
        if name not in self.jobs:
            raise Refused(f"Job '{name}' not found", "DeviceNotActive")
        return self.jobs[name]

    def do_query_jobs(self, _arguments, _fds):
        return [{"id": name, "type": job.kind, "status": job.status,
                 "current-progress": job.done, "total-progress": DISK_BYTES,
                 **({"error": job.error} if job.error else {})} for name, job in self.jobs.items()]

    def do_query_block_jobs(self, _arguments, _fds):
        return [{"device": name, "type": job.kind, "status": job.status, "len": DISK_BYTES,
                 "offset": job.done, "busy": False, "paused": False, "speed": 0,
                 "io-status": "ok", "ready": job.status == "ready", "auto-finalize": True,
                 "auto-dismiss": False} for name, job in self.jobs.items()
                if job.status != "concluded"]

    def do_block_job_set_speed(self, arguments, _fds):
        self.job(arguments["device"])
        return {}

    def do_block_job_cancel(self, arguments, _fds):
        name = arguments["device"]
        job = self.job(name)
        if job.status == "concluded":
            raise Refused(f"Job '{name}' in state 'concluded' cannot accept command verb 'cancel'")
        if job.kind == "mirror" and job.status == "ready" and not arguments.get("force"):
            self.conclude(name)
        else:
            self.conclude(name, "Operation canceled")
        return {}

    def do_job_dismiss(self, arguments, _fds):
        if self.job(arguments["id"]).status != "concluded":
            raise Refused(f"Job '{arguments['id']}' in state '{self.jobs[arguments['id']].status}' "
                          "cannot accept command verb 'dismiss'")
        self.set_job(arguments["id"], "null")
        del self.jobs[arguments["id"]]
        return {}

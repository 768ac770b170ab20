# SPDX-License-Identifier: Apache-2.0
"""Runs seen and steered from outside: `qmpsnap status`, `speed` and `cancel`; and --speed auto."""
import json
import os
import signal
import socket
import stat
import subprocess
import threading
import time
import unittest

import tool
from lab import MIB, Disk, LabTest

TERMINATED = 143
REFUSED = 3


class ControlTest(LabTest):
    def slow_run(self, guest, *args):
        """A run that would take minutes, reading already; (Tool, its id)."""
        started = guest.snapshot("--speed", "512K", *args)
        started.wait_for(lambda event: event["event"] == "progress")
        sockets = list(self.runs(guest).glob("*.sock"))
        self.assertEqual(len(sockets), 1, sockets)
        return started, sockets[0].stem

    @staticmethod
    def wait_until(ready, timeout_s=30):
        end = time.monotonic() + timeout_s
        while not ready():
            if time.monotonic() > end:
                raise AssertionError("it never came")
            time.sleep(0.05)

    @staticmethod
    def runs(guest):
        return guest.folder / "state" / "run"

    @staticmethod
    def ask(guest, *args):
        return tool.run(*args, env=guest.tool_env())

    def status(self, guest, run):
        code, out, err = self.ask(guest, "status", "--json", run)
        self.assertEqual(code, 0, err)
        return json.loads(out)

    def full_guest(self, **options):
        guest = self.guest(Disk(32 * MIB), **options)
        guest.write(guest.disks[0], 0, 24 * MIB, 0x77)
        return guest


class Control(ControlTest):
    def test_status(self):
        guest = self.full_guest()
        before = guest.state()
        self.assertEqual(self.ask(guest, "status"), (0, "", ""))
        started, run = self.slow_run(guest)
        path = self.runs(guest) / f"{run}.sock"
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(path.parent.stat().st_mode), 0o700)

        told = self.status(guest, run)
        disk = told.pop("disks")[0]
        self.assertEqual(disk["disk"], "vd0")
        self.assertTrue(0 < disk["done_bytes"] < disk["total_bytes"], disk)
        self.assertGreater(told.pop("elapsed_ms"), 0)
        self.assertEqual(told, {
            "schema": 1, "run": run, "pid": started.pid, "guest": "lab", "method": "stream",
            "state": "image_uploading", "step": "upload", "undoing": False, "cancelled": False,
            "speed_auto": False, "speed_bytes_per_s": 512 << 10, "monitor_released": False})
        code, out, _ = self.ask(guest, "status")
        self.assertEqual(code, 0)
        self.assertRegex(out, rf"^{run} lab: stream, upload, .* at most 512 KiB/s, since ")

        self.assertEqual(self.ask(guest, "speed", run, "1G")[0], 0)
        self.assert_done(started)
        self.assertEqual(started.result["run"], run)
        self.assertEqual(self.ask(guest, "status"), (0, "", ""))
        self.assertEqual(list(self.runs(guest).iterdir()), [])
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)

    def test_speed(self):
        """Faster and slower, seen in the bytes that pass."""
        guest = self.full_guest()
        started, run = self.slow_run(guest)

        def passed(seconds):
            first = self.status(guest, run)["disks"][0]["done_bytes"]
            time.sleep(seconds)
            return self.status(guest, run)["disks"][0]["done_bytes"] - first
        self.assertLess(passed(2), 2 * MIB)
        self.assertEqual(self.ask(guest, "speed", run, "4M")[0], 0)
        self.assertEqual(self.status(guest, run)["speed_bytes_per_s"], 4 * MIB)
        begun = time.monotonic()
        first = self.status(guest, run)["disks"][0]["done_bytes"]
        self.wait_until(lambda: self.status(guest, run)["disks"][0]["done_bytes"] > first + 6 * MIB)
        self.assertLess(time.monotonic() - begun, 10)  # 12 s at the rate before
        self.assertEqual(self.ask(guest, "speed", run, "256K")[0], 0)
        time.sleep(0.5)
        self.assertLess(passed(2), 2 * MIB)
        self.assertEqual(self.ask(guest, "speed", run, "none")[0], 2)
        self.assertEqual(self.ask(guest, "speed", run, "auto")[0], 0)
        self.assert_done(started)
        self.assert_image_is_reference(guest)

    def test_speed_of_two_disks(self):
        """They are read at once, and share one rate."""
        guest = self.guest(Disk(16 * MIB), Disk(16 * MIB))
        for disk in guest.disks:
            guest.write(disk, 0, 14 * MIB, 0x77)
        started, run = self.slow_run(guest, "--parallel", "2")
        self.assertEqual(self.ask(guest, "speed", run, "2M")[0], 0)

        def done():
            return [disk["done_bytes"] for disk in self.status(guest, run)["disks"]]
        begun, before = time.monotonic(), sum(done())  # who gets how much isn't promised
        self.wait_until(lambda: sum(done()) > before + 6 * MIB)
        passed, seconds = sum(done()) - before, time.monotonic() - begun
        self.assertLess(passed, 2 * MIB * seconds * 1.1 + 2 * MIB)
        self.assertEqual(self.ask(guest, "speed", run, "1T")[0], 0)
        self.assert_done(started)
        for number in range(2):
            self.assert_image_is_reference(guest, number)

    def test_speed_of_jobs(self):
        """QEMU's jobs share the rate, and are told of another one."""
        for method in ("backup", "mirror"):
            with self.subTest(method=method):
                # a mirror's first burst passes any limit
                size = 32 * MIB if method == "backup" else 128 * MIB
                guest = self.guest(Disk(size), Disk(size))
                for disk in guest.disks:
                    guest.write(disk, 0, size - 8 * MIB, 0x77)
                started, run = self.slow_run(guest, "--method", method)

                def speeds():
                    return [job["speed"] for job in guest.monitor.command("query-block-jobs")]
                self.assertEqual(speeds(), [256 << 10] * 2)
                self.assertEqual(self.ask(guest, "speed", run, "2M")[0], 0)
                time.sleep(0.3)
                self.assertEqual(speeds(), [1 * MIB] * 2)
                self.assertEqual(self.ask(guest, "speed", run, "auto")[0], 0)
                self.assert_done(started)
                for number in range(2):
                    self.assert_image_is_reference(guest, number)

    def test_speed_of_a_cold_copy(self):
        """That of qemu-img can't be changed, and that is said."""
        guest = self.guest(Disk(8 * MIB))
        guest.write(guest.disks[0], 0, 5 * MIB, 0x77)
        started, run = self.slow_run(guest, "--method", "cold")
        code, _, err = self.ask(guest, "speed", run, "1G")
        self.assertEqual(code, REFUSED)
        self.assertIn("keeps the speed that it began with", err)
        self.assertEqual(self.status(guest, run)["speed_bytes_per_s"], 512 << 10)
        started.wait_for(lambda event: event["event"] == "state" and
                         event["state"] == "image_uploading")
        self.assertEqual(self.ask(guest, "speed", run, "1G")[0], 0)
        self.assert_done(started)
        self.assert_image_is_reference(guest)

    def test_cancel(self):
        guest = self.full_guest()
        before = guest.state()
        started, run = self.slow_run(guest)
        self.assertEqual(self.ask(guest, "cancel", run)[0], 0)
        self.assertEqual(started.wait(), TERMINATED, started.describe())
        self.assertIn("cancelled by 'qmpsnap cancel' (process ",
                      started.result["error"]["message"])
        self.assertEqual(self.ask(guest, "cancel", run)[0], REFUSED)
        self.assertEqual(guest.published(), [])
        self.assert_nothing_left(guest, before)

    def test_two_runs(self):
        one, two = self.full_guest(), self.full_guest()
        two.state_folder = one.state_folder
        first, run = self.slow_run(one)
        second = two.snapshot("--speed", "512K")
        second.wait_for(lambda event: event["event"] == "progress")
        code, out, _ = self.ask(one, "status", "--json")
        self.assertEqual(code, 0)
        told = {json.loads(line)["run"]: json.loads(line)["pid"] for line in out.splitlines()}
        self.assertEqual(set(told.values()), {first.pid, second.pid})
        other = next(name for name in told if name != run)
        self.assertEqual(self.ask(one, "cancel", other)[0], 0)
        self.assertEqual(second.wait(), TERMINATED, second.describe())
        self.assertEqual(self.ask(one, "speed", run, "1T")[0], 0)
        self.assert_done(first)

    def test_a_dead_runs_socket(self):
        guest = self.full_guest()
        before = guest.state()
        started, run = self.slow_run(guest)
        started.kill()  # waits for the guard too
        path = self.runs(guest) / f"{run}.sock"
        self.assertTrue(path.exists())
        self.assertEqual(self.ask(guest, "status"), (0, "", ""))
        self.assertFalse(path.exists())
        self.assert_nothing_left(guest, before)

    def test_a_run_that_does_not_answer(self):
        """Stopped, it says nothing; others are still listed, and it isn't taken for dead."""
        guest = self.full_guest()
        started, run = self.slow_run(guest, "--no-guard")
        started.signal(signal.SIGSTOP)
        code, out, err = self.ask(guest, "status")
        self.assertEqual((code, out), (REFUSED, ""))
        self.assertIn(f"run {run} doesn't answer", err)
        started.signal(signal.SIGCONT)
        self.assertEqual(self.ask(guest, "cancel", run)[0], 0)
        self.assertEqual(started.wait(), TERMINATED)

    def test_a_stubborn_client(self):
        """Connected, saying nothing or too much: it holds nothing up."""
        guest = self.full_guest()
        started, run = self.slow_run(guest)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(5)]
        for client in clients:
            client.connect(str(self.runs(guest) / f"{run}.sock"))
        clients[0].sendall(b"x" * 2000)
        self.assertIn(b"too long", clients[0].recv(1000))
        self.assertEqual(self.ask(guest, "speed", run, "1T")[0], 0)
        self.assert_done(started)
        for client in clients:
            client.close()

    def test_no_folder_for_sockets(self):
        guest = self.full_guest()
        (guest.folder / "state").mkdir(mode=0o700)
        (guest.folder / "state" / "run").write_text("in the way")
        started = guest.snapshot()
        self.assert_done(started)
        warnings = [event["message"] for event in started.events if event["event"] == "log"]
        self.assertTrue(any("won't reach this run" in text for text in warnings), warnings)

    @unittest.skipUnless(os.geteuid() == 0, "needs root, to be another user")
    def test_another_user(self):
        guest = self.full_guest()
        started, run = self.slow_run(guest)
        for folder in (guest.folder, guest.folder / "state", self.runs(guest)):
            folder.chmod(0o755)
        path = self.runs(guest) / f"{run}.sock"
        path.chmod(0o666)
        child = os.fork()
        if child == 0:
            os.setuid(65534)
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(path))
            os._exit(0 if b"another user" in client.recv(1000) else 1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertEqual(self.ask(guest, "speed", run, "1T")[0], 0)
        self.assert_done(started)


class SlowSink:
    """Takes a snapshot on its standard output, no faster than `bytes_per_s`."""

    def __init__(self, guest, bytes_per_s):
        self.bytes_per_s = bytes_per_s
        self._errors = open(guest.folder / "events", "w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [tool.BINARY, "snapshot", "--json", "--qmp", guest.address, "--to", "-",
             "--scratch", guest.scratch], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=self._errors, env={**os.environ, **guest.tool_env()})
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        while data := self._process.stdout.read(MIB):
            time.sleep(len(data) / self.bytes_per_s)

    def result(self):
        self._reader.join(tool.TIMEOUT_S)
        self._process.wait(30)
        self._errors.seek(0)
        return json.loads(self._errors.readlines()[-1])

    def close(self):
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        self._errors.close()


class Auto(ControlTest):
    """A guest's writes made slow by QEMU's own throttle, in place of a busy host."""

    def wait_limit(self, guest, run, matches, timeout_s=60):
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            told = self.status(guest, run)
            self.assertTrue(told["speed_auto"])
            if matches(told["speed_bytes_per_s"]):
                return told["speed_bytes_per_s"]
            time.sleep(0.1)
        raise AssertionError(told)

    def test_makes_way_and_comes_back(self):
        guest = self.guest(Disk(640 * MIB), job="count")
        guest.write(guest.disks[0], 64 * MIB, 560 * MIB, 0x31, keep_reference=False)
        guest.wait_count(300)
        before = guest.state()
        sink = SlowSink(guest, 24 * MIB)
        self.addCleanup(sink.close)
        self.wait_until(lambda: self.ask(guest, "status", "--json")[1])
        run = json.loads(self.ask(guest, "status", "--json")[1])["run"]
        self.wait_until(lambda: self.status(guest, run)["disks"])

        guest.throttle(25)
        slow = self.wait_limit(guest, run, lambda limit: limit and limit < 5 * MIB)
        self.assertGreaterEqual(slow, 4 * MIB)  # it never stops
        guest.throttle(0)
        # Not further: tests beside this one slow the guest's writes, too.
        self.wait_limit(guest, run, lambda limit: limit is None or limit > 5 * MIB)
        sink.bytes_per_s = 1 << 30
        self.assertIsNone(sink.result()["error"])
        self.assert_nothing_left(guest, before)


if __name__ == "__main__":
    unittest.main()

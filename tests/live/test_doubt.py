# SPDX-License-Identifier: Apache-2.0
"""A pause that `recover` finds and that may be another's by now."""
import shutil
import socket
import tempfile
import time
import unittest

import tool
from test_journal import JournalTest


class Doubt(JournalTest):
    """QEMU doesn't count its stops: what looks like another's pause isn't ended."""

    def setUp(self):
        self.needs_filter()

    def assert_left_paused(self, guest, words):
        code, _, stderr = tool.run("recover", "--qmp", guest.address, env=guest.tool_env())
        self.assertEqual(code, 9, stderr)
        self.assertIn(words, stderr)
        self.assertIn("`cont`", stderr)
        self.assertEqual(guest.monitor.status(), "paused")
        self.assertEqual(len(guest.journals()), 1)

    def assert_over_once_it_runs(self, guest, before):
        guest.monitor.command("cont")
        self.recover(guest)
        self.assert_nothing_left(guest, before)

    def access(self, guest):
        guest.qemu_io(guest.disks[0], "aio_write -P 0x55 0 64k")

    def test_an_old_pause_is_ended(self):
        guest = self.two_disks()
        self.access(guest)
        before = guest.state()
        self.kill(guest, "instant")
        time.sleep(9)
        self.recover(guest)
        self.assert_nothing_left(guest, before)

    def test_a_guest_that_was_moved_since(self):
        guest = self.two_disks()
        before = guest.state()
        self.kill(guest, "instant")
        time.sleep(9)
        guest.monitor.command("cont")
        self.access(guest)
        guest.monitor.command("stop")
        self.assert_left_paused(guest, "has used its disks since")
        self.assert_done(guest.snapshot())  # a warning is enough
        self.assertEqual(guest.monitor.status(), "paused")
        self.assert_over_once_it_runs(guest, before)

    def test_others_have_cleaned_up_since(self):
        guest = self.two_disks()
        before = guest.state()
        self.kill(guest, "instant")
        code, _, stderr = tool.run("recover", "--qmp", guest.address, env={
            **guest.tool_env(), "QMPSNAP_STATE_DIR": str(guest.folder / "other")})
        self.assertEqual(code, 0, stderr)
        guest.monitor.command("cont")
        guest.monitor.command("stop")
        self.assert_left_paused(guest, "nothing of the run stands")
        self.assert_over_once_it_runs(guest, before)

    def activated(self):
        """A guest whose monitor's socket was made by others; they, and not QEMU, which does so
        too, called listen() last."""
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        folder = tempfile.mkdtemp(prefix="qmpsnap-activation-")
        self.addCleanup(shutil.rmtree, folder)
        listener.bind(f"{folder}/qmp.sock")
        listener.listen()
        fd = listener.fileno()
        guest = self.two_disks(pass_fds=(fd,), options=[
            "-chardev", f"socket,id=act,fd={fd},server=on,wait=off", "-mon",
            "chardev=act,mode=control"])
        guest.address = f"unix:{folder}/qmp.sock"
        listener.listen()
        return guest, listener

    def test_another_guest_on_a_socket_that_others_listen_on(self):
        """Pid, start time and socket are the same."""
        guest, listener = self.activated()
        self.kill(guest, "instant")
        guest.monitor.close()
        guest.kill()
        guest._start()
        listener.listen()
        before = guest.state()
        guest.monitor.command("stop")
        self.assert_left_paused(guest, "nothing of the run stands")
        self.assert_over_once_it_runs(guest, before)

    def test_such_a_guest_that_is_the_same(self):
        guest, _ = self.activated()
        before = guest.state()
        self.kill(guest, "instant")
        self.assertEqual(guest.monitor.status(), "paused")
        self.recover(guest)
        self.assert_nothing_left(guest, before)


if __name__ == "__main__":
    unittest.main()

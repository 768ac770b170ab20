# SPDX-License-Identifier: Apache-2.0
"""A run and its guard killed: `recover`, or the next snapshot, undoes it from its journal alone."""
import http.server
import json
import signal
import threading
import unittest

import tool
from test_killed import RecoverTest, lame_guard


class Cloud:
    """A Keystone and a Glance, as far as a run goes before its bytes."""

    TOKEN = "t0ken-word"

    def __init__(self):
        cloud = self
        self.seen = ""

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path.startswith("/image/v2/"):
                    self.answer(200, {"images": []})
                else:
                    self.answer(300, {"versions": [{"id": "v2.15", "status": "CURRENT", "links": [
                        {"rel": "self", "href": f"{cloud.url}/image/v2/"}]}]})

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                cloud.seen += body + str(self.headers)
                self.answer(201, json.loads(body) if self.path.startswith("/image") else {
                    "token": {"expires_at": "2099-01-01T00:00:00.000000Z", "project": {"id": "p"},
                              "catalog": [{"type": "image", "endpoints": [
                                  {"interface": "public", "region": "r", "region_id": "r",
                                   "url": f"{cloud.url}/image"}]}]}})

            def answer(self, status, json_object):
                body = json.dumps(json_object).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("X-Subject-Token", cloud.TOKEN)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class JournalTest(RecoverTest):
    def kill(self, guest, step, when="after"):
        code, stderr = self.faulty(guest, f"kill-{when}", step, lame_guard(guest))
        self.assertEqual(code, -signal.SIGKILL, stderr)

    def begun(self, guest):
        """The steps from the journal on: what comes before leaves nothing."""
        steps = self.steps(guest)
        return steps[steps.index("journal"):]

    def recover_from_each(self, when, **options):
        guest = self.two_disks(**options)
        before = guest.state()
        for step in self.begun(guest):
            with self.subTest(step=step, when=when):
                self.kill(guest, step, when)
                if (step, when) != ("journal", "before"):
                    self.assertEqual(len(guest.journals()), 1)
                out = self.recover(guest)
                if guest.journals() or (step, when) != ("journal", "before"):
                    self.assertIn("killed in its step", out)
                self.assert_nothing_left(guest, before)
                if step == "publish" and when == "after":
                    self.assertEqual(len(guest.published()), 2)
                    for path in guest.store.iterdir():
                        path.unlink()
                self.assert_no_image(guest)


class FromFilter(JournalTest):
    def test_after_each_step(self):
        self.recover_from_each("after")

    def test_before_each_step(self):
        self.recover_from_each("before")

    def test_a_guest_that_never_ran_stays_so(self):
        self.recover_from_each("after", paused=True)


class FromJob(JournalTest):
    METHOD = {"method": "stream", "flavour": "job"}

    def test_after_each_step(self):
        self.recover_from_each("after")


class FromBackup(JournalTest):
    METHOD = {"method": "backup"}

    def test_after_each_step(self):
        self.recover_from_each("after")


class FromMirror(JournalTest):
    METHOD = {"method": "mirror"}

    def test_after_each_step(self):
        self.recover_from_each("after")


class FromCold(JournalTest):
    METHOD = {"method": "cold"}

    def test_after_each_step(self):
        self.recover_from_each("after")


class Recovery(JournalTest):
    def test_the_next_snapshot_undoes_it_first(self):
        guest = self.two_disks()
        before = guest.state()
        self.kill(guest, "instant")  # inside the pause
        self.assertEqual(guest.monitor.status(), "paused")
        started = guest.snapshot()
        self.assert_done(started)
        self.assertTrue(any("is undone" in e.get("message", "") for e in started.events))
        self.assert_nothing_left(guest, before)
        for number in range(2):
            self.assert_image_is_reference(guest, number)

    def test_a_dry_run_touches_nothing(self):
        guest = self.two_disks()
        before = guest.state()
        self.kill(guest, "export")
        left = guest.state()
        for address in (("--qmp", guest.address), ("--all",)):
            code, out, stderr = tool.run("recover", "--dry-run", *address, env=guest.tool_env())
            self.assertEqual(code, 0, stderr)
            self.assertIn("would be undone", out)
            self.assertEqual(guest.state(), left)
        self.assertEqual(len(guest.journals()), 1)
        self.recover(guest)
        self.assert_nothing_left(guest, before)

    def test_all(self):
        guests = [self.two_disks(), self.two_disks()]
        states = [guest.state() for guest in guests]
        env = guests[0].tool_env()
        for guest in guests:
            guest.state_folder = guests[0].state_folder
            self.kill(guest, "upload", "before")
        code, out, stderr = tool.run("recover", "--all", env=env)
        self.assertEqual(code, 0, stderr)
        self.assertEqual(out.count("is undone"), 2, out)
        for guest, before in zip(guests, states):
            self.assert_nothing_left(guest, before)
            self.assert_no_image(guest)

    def test_a_torn_last_line(self):
        guest = self.two_disks()
        before = guest.state()
        self.kill(guest, "instant")
        journal, = guest.journals()
        with journal.open("ab") as file:
            file.write(b'{"record":"st')
        self.recover(guest)
        self.assert_nothing_left(guest, before)

    def test_a_broken_line_keeps_what_came_before(self):
        guest = self.two_disks()
        before = guest.state()
        self.kill(guest, "instant")
        journal, = guest.journals()
        with journal.open("ab") as file:
            file.write(b"\0\xffgarbage\n")
        self.recover(guest)
        self.assert_nothing_left(guest, before)

    def test_a_guest_started_anew_is_left_alone(self):
        """The same socket, another QEMU: only files and images are ours to remove."""
        guest = self.two_disks()
        self.kill(guest, "publish")
        self.assertEqual(len(guest.published()), 2)
        journal, = guest.journals()
        text = journal.read_text().replace('{"record":"published"}\n', "")
        guest.kill()
        again = self.two_disks(paused=True)
        record = json.loads(text.splitlines()[0])
        text = text.replace(json.dumps(record["address"]), json.dumps(again.address))
        record["address"] = again.address
        (again.state_folder / "journal").mkdir(parents=True)
        (again.state_folder / "journal" / journal.name).write_text(
            json.dumps(record) + "\n" + "\n".join(text.splitlines()[1:]) + "\n")
        before = again.state()
        self.recover(again)
        self.assertEqual(again.state(), before)
        self.assertEqual(again.journals(), [])
        self.assert_no_image(guest)

    def test_a_guest_restarted_by_its_owner(self):
        """On the same socket, and then paused: that pause isn't the run's."""
        guest = self.two_disks()
        self.kill(guest, "instant")
        self.assertEqual(guest.monitor.status(), "paused")
        guest.restart()
        guest.monitor.command("stop")
        address = {"type": "unix", "data": {"path": str(guest.folder / "theirs.sock")}}
        guest.monitor.command("nbd-server-start", addr=address)
        before = guest.state()
        self.assertIn("is undone", self.recover(guest))
        self.assertEqual(guest.state(), before)
        self.assertTrue(guest.nbd_server_stands())
        self.assertEqual(guest.journals(), [])
        self.assertEqual(list(guest.scratch.iterdir()), [])
        self.assert_no_image(guest)

    def test_the_next_snapshot_of_a_guest_started_anew(self):
        """It undoes what there is outside the QEMU that has ended."""
        guest = self.two_disks()
        self.kill(guest, "upload", "before")
        guest.restart()
        before = guest.state()
        started = guest.snapshot()
        self.assert_done(started)
        self.assertTrue(any("is undone" in e.get("message", "") for e in started.events))
        for number in range(2):
            self.assert_image_is_reference(guest, number)
        self.assertEqual(len(list(guest.store.iterdir())), 4)
        self.assert_nothing_left(guest, before)

    def test_a_guest_that_is_gone(self):
        guest = self.two_disks()
        self.kill(guest, "upload", "before")
        guest.kill()
        code, out, stderr = tool.run("recover", "--qmp", guest.address, env=guest.tool_env())
        self.assertEqual(code, 0, stderr)
        self.assertIn("is undone", out)
        self.assertEqual(guest.journals(), [])
        self.assert_no_image(guest)
        self.assertEqual(list(guest.scratch.iterdir()), [])

    def test_journals_that_cannot_be_read_are_left_alone(self):
        """They may be any guest's: a warning, and the rest is done."""
        guest = self.two_disks()
        before = guest.state()
        self.kill(guest, "instant")
        journal, = guest.journals()
        folder = journal.parent
        strange = {"aaaaaaaaaa": b"\0\xffgarbage\n", "bbbbbbbbbb": b'{"record":"run","schema":2}\n'}
        for name, text in strange.items():
            (folder / name).write_bytes(text)
        (folder / "cccccccccc").symlink_to(journal)
        started = guest.snapshot()
        self.assert_done(started)
        said = [e.get("message", "") for e in started.events]
        for words in ("aaaaaaaaaa", "bbbbbbbbbb is another version's (schema 2", "cccccccccc"):
            self.assertEqual(sum(words in line and "left alone" in line for line in said), 1, said)
        self.assertTrue(any("is undone" in line for line in said), said)
        code, out, stderr = tool.run("recover", "--qmp", guest.address, env=guest.tool_env())
        self.assertEqual((code, out), (0, "nothing of ours found\n"), stderr)
        self.assertIn("left alone", stderr)
        code, _, stderr = tool.run("recover", "--all", env=guest.tool_env())
        self.assertEqual(code, 9, stderr)
        self.assertEqual(len(guest.journals()), 3)
        for path in guest.journals():
            path.unlink()
        self.assert_nothing_left(guest, before)
        for number in range(2):
            self.assert_image_is_reference(guest, number)

    def test_what_stays_in_the_store_keeps_the_journal(self):
        """The guest is undone; who can't reach the store hears what is left there."""
        guest = self.two_disks()
        before = guest.state()
        self.kill(guest, "instant")
        journal, = guest.journals()
        journal.write_text(journal.read_text().replace(
            f"dir:{guest.store}", "glance:http://127.0.0.1:9"))
        code, _, stderr = tool.run("recover", "--qmp", guest.address, env=guest.tool_env())
        self.assertEqual(code, 9, stderr)
        self.assertIn("127.0.0.1:9", stderr)
        self.assertEqual(guest.state(), before)
        self.assertEqual(guest.journals(), [journal])
        self.assert_done(guest.snapshot())  # the guest is well, so this isn't refused

    def test_no_state_folder(self):
        guest = self.two_disks()
        before = guest.state()
        guest.state_folder.write_text("in the way")
        started = guest.snapshot()
        self.assertEqual(started.wait(), 3, started.describe())
        self.assertIn("state folder", started.result["error"]["message"])
        self.assertIn("QMPSNAP_STATE_DIR", started.result["error"]["hint"])
        self.assert_nothing_left(guest, before)

    def test_no_secrets(self):
        guest = self.two_disks()
        cloud = Cloud()
        self.addCleanup(cloud.close)
        env = {"OS_AUTH_URL": f"{cloud.url}/v3", "OS_USERNAME": "demo",
               "OS_PASSWORD": "s3cret-word", "OS_PROJECT_NAME": "demo",
               "OS_USER_DOMAIN_NAME": "d", "OS_PROJECT_DOMAIN_NAME": "d"}
        code, stderr = self.faulty(guest, "kill-after", "instant", lame_guard(guest), "glance:",
                                   env)
        self.assertEqual(code, -signal.SIGKILL, stderr)
        self.assertIn(env["OS_PASSWORD"], cloud.seen)  # it was logged in with
        self.assertIn(cloud.TOKEN, cloud.seen)
        journal, = guest.journals()
        self.assertEqual(journal.stat().st_mode & 0o777, 0o600)
        self.assertEqual(journal.parent.stat().st_mode & 0o777, 0o700)
        self.assertIn('"glance:"', journal.read_text())
        for secret in (env["OS_PASSWORD"], cloud.TOKEN):
            self.assertNotIn(secret, journal.read_text())


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""The systemd unit and the AppArmor profile: each is parsed by its own program, and what snapshots
do, as strace tells it, is held against what the unit allows. Neither systemd nor AppArmor has to
run for it."""
import os
import pathlib
import re
import shutil
import tempfile
import unittest

import kit
import tool
from lab import MIB, Disk, LabTest

UNITS = kit.HERE / "lib" / "systemd" / "system"
SERVICE = UNITS / "qmpsnap@.service"
PROFILE = next(kit.ROOT.rglob("apparmor.d/usr.bin.qmpsnap"))
GROUPS = {"@system-service"}


def needs(test, program):
    path = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if not path:
        test.skipTest(f"{program} is missing")
    return path


def settings():
    """The service's own section: {key: [value...]}."""
    found = {}
    section = SERVICE.read_text().split("[Service]\n")[-1]
    for key, value in re.findall(r"^(\w+)=(.*)$", section, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def words(key):
    return " ".join(settings()[key]).split()


class Unit(unittest.TestCase):
    def test_systemd_verifies_it(self):
        analyze = needs(self, "systemd-analyze")
        folder = pathlib.Path(tempfile.mkdtemp(prefix="qmpsnap-unit-"))
        self.addCleanup(shutil.rmtree, folder)
        for unit in (SERVICE, UNITS / "qmpsnap@.timer"):
            text = unit.read_text().replace(f"{kit.PREFIX}/bin/", f"{kit.HERE}/bin/")
            (folder / unit.name).write_text(text)
        files = [folder / "qmpsnap@.service", folder / "qmpsnap@.timer"]
        done = kit.run(analyze, "--man=no", "verify", *files)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))
        with open(files[0], "a") as unit:
            unit.write("KillMode=sometimes\n")
        done = kit.run(analyze, "--man=no", "verify", files[0])
        self.assertIn("kill mode", done.stdout + done.stderr, "the check can't fail")

    def test_how_it_ends(self):
        unit = settings()
        self.assertEqual(unit["Type"], ["oneshot"])
        self.assertEqual(unit["KillMode"], ["mixed"])
        self.assertEqual(unit["OOMPolicy"], ["continue"])
        binary = f"{kit.PREFIX}/bin/qmpsnap"
        self.assertEqual(unit["ExecStart"],
                         [f"{binary} snapshot --qmp ${{MONITOR}} --to ${{STORE}} $OPTIONS"])
        self.assertEqual(unit["ExecStopPost"], [f"{binary} recover --qmp ${{MONITOR}}"])

    def test_its_sandbox_is_a_tight_one(self):
        analyze = needs(self, "systemd-analyze")
        done = kit.run(analyze, "security", "--offline=yes", "--no-pager", "--threshold=30", SERVICE)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Trace:
    """What the processes of one command did: system calls, address families, files written."""
    CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)$")
    MAKES = re.compile(r"^(mkdir|mknod|rmdir|unlink|symlink|creat|truncate|chmod|chown)(at)?$")

    def __init__(self, path):
        self.calls, self.families, self.written = set(), set(), set()
        for line in path.read_text(errors="replace").splitlines():
            call = self.CALL.match(line)
            if call:
                self.take(*call.groups())

    def take(self, name, rest):
        self.calls.add(name)
        if name in ("socket", "socketpair"):
            self.families.add(rest.split(",")[0])
        writes = re.search(r"O_WRONLY|O_RDWR|O_CREAT", rest) and name in ("open", "openat")
        # from -y: a folder that a descriptor stands for is told as 3</the/path>
        at = re.match(r'(?:AT_FDCWD(?:<[^>]*>)?|\d+<([^>]*)>)?(?:, )?"([^"]*)"', rest)
        if at and (writes or self.MAKES.match(name) or name in ("rename", "renameat", "linkat")):
            self.written.add(os.path.join(at[1] or "/", at[2]))


class Sandbox(LabTest):
    """The service's command, in folders that stand for the unit's, traced."""

    def trace(self, guest, *options, code=0, image=None):
        strace = needs(self, "strace")
        log = guest.folder / "trace"
        state, runtime = guest.folder / "var", guest.folder / "runtime"
        (state / "scratch").mkdir(parents=True, exist_ok=True)
        runtime.mkdir(exist_ok=True)
        places = {"%S/qmpsnap": str(state), "%t/qmpsnap/%i": str(runtime)}
        variables = dict(word.split("=", 1) for word in words("Environment"))
        for name, value in variables.items():
            for specifier, path in places.items():
                value = value.replace(specifier, path)
            self.assertNotIn("%", value)
            variables[name] = value
        source = ["--qmp", guest.address] if image is None else image
        done = kit.run(strace, "-f", "-y", "-qq", "-s", "256", "-e", "signal=none", "-o", log,
                       tool.BINARY, *options[:1], *source, *options[1:],
                       env={**os.environ, **variables})
        self.assertEqual(done.returncode, code, done.stderr)
        paths = [f"{path}/" for path in words("ReadWritePaths")]
        return Trace(log), [f"{state}/", f"{runtime}/", *paths]

    def allowed_calls(self):
        analyze = needs(self, "systemd-analyze")
        self.assertEqual(words("SystemCallFilter"), sorted(GROUPS))
        todo, calls = [*GROUPS, "@default"], set()
        while todo:  # a group names calls and other groups
            done = kit.run(analyze, "syscall-filter", "--no-pager", todo.pop())
            self.assertEqual(done.returncode, 0, done.stderr)
            for word in done.stdout.splitlines()[1:]:
                word = word.strip()
                if word.startswith("@"):
                    todo.append(word)
                elif word and not word.startswith("#"):
                    calls.add(word)
        return calls

    def assert_allowed(self, trace, folders):
        self.assertGreater(len(trace.calls), 30)
        self.assertEqual(trace.calls - self.allowed_calls(), set())
        self.assertLessEqual(trace.families, set(words("RestrictAddressFamilies")))
        # what is below /proc/self stands for descriptors; /dev/null is in each DevicePolicy
        free = ("/dev/null", "/dev/tty", "/proc/self/", "/proc/thread-self/")
        outside = {path for path in trace.written
                   if not path.startswith((*folders, *free)) and f"{path}/" not in folders
                   and not os.path.isdir(path)}
        self.assertEqual(outside, set())

    def test_snapshots_by_each_method(self):
        guest = self.guest(Disk(4 * MIB))
        guest.write(guest.disks[0], 0, MIB, 0x42)
        store = ("--to", f"dir:{guest.folder}/var/images", "--quiet")
        for method in ("stream", "backup", "mirror", "cold"):
            with self.subTest(method=method):
                trace, folders = self.trace(guest, "snapshot", *store, "--method", method)
                self.assert_allowed(trace, folders)
                self.assertIn("AF_UNIX", trace.families)

    def test_a_remote_store_that_is_not_there(self):
        guest = self.guest(Disk(4 * MIB))
        trace, folders = self.trace(guest, "snapshot", "--to", "glance:http://localhost:1",
                                    "--quiet", code=5)
        self.assertTrue({"AF_INET", "AF_INET6"} & trace.families)
        self.assert_allowed(trace, folders)

    def test_recover(self):
        guest = self.guest(Disk(4 * MIB))
        trace, folders = self.trace(guest, "recover")
        self.assert_allowed(trace, folders)

    def test_the_capabilities_are_enough(self):
        """With no others and without gaining any; QEMU is another user's, as are its sockets."""
        setpriv = needs(self, "setpriv")
        if os.geteuid() != 0:
            self.skipTest("only root has capabilities to give up")
        guest = self.guest(Disk(4 * MIB))
        guest.write(guest.disks[0], 0, MIB, 0x43)
        for path in [guest.folder, guest.folder / "tool.sock", guest.disks[0].path]:
            os.chown(path, 65534, 65534)
        os.chmod(guest.folder / "tool.sock", 0o600)
        os.chmod(guest.disks[0].path, 0o600)
        for method in ("stream", "backup", "cold"):
            with self.subTest(method=method):
                done = kit.run(*self.confined(setpriv), tool.BINARY, "snapshot", "--qmp", guest.address,
                               "--to", f"dir:{guest.store}", "--method", method, "--quiet",
                               env={**os.environ, **guest.tool_env()})
                self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(guest.published()), 3)

    @staticmethod
    def confined(setpriv):
        names = [name.removeprefix("CAP_").lower() for name in words("CapabilityBoundingSet")]
        keep = ",".join(["-all", *(f"+{name}" for name in names)])
        return setpriv, f"--bounding-set={keep}", f"--inh-caps={keep}", "--no-new-privs"

    def test_a_folder_of_locks_that_another_user_made(self):
        """As the first run since the host's start; in a /run/lock of its own."""
        setpriv, unshare = needs(self, "setpriv"), needs(self, "unshare")
        private = (unshare, "--mount", "sh", "-ec",
                   "mount -t tmpfs none /run/lock; mkdir -m 1777 /run/lock/qmpsnap\n"
                   'chown 65534:65534 /run/lock/qmpsnap; "$@"\n'
                   "stat -c %u:%a /run/lock/qmpsnap", "sh")
        if os.geteuid() != 0 or kit.run(*private, "true").returncode != 0:
            self.skipTest("a folder mounted for one process needs root")
        guest = self.guest(Disk(4 * MIB))
        done = kit.run(*private, *self.confined(setpriv), tool.BINARY, "snapshot", "--qmp",
                       guest.address, "--to", f"dir:{guest.store}", "--quiet",
                       env={**os.environ, **guest.tool_env()})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.endswith("\n0:1777\n"), done.stdout)


class Profile(unittest.TestCase):
    def test_apparmor_parses_it(self):
        parser = needs(self, "apparmor_parser")
        options = ("-Q", "-K", "--abort-on-error")
        done = kit.run(parser, *options, PROFILE)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("Warning", done.stderr)
        broken = tempfile.NamedTemporaryFile("w+", suffix=".profile")
        self.addCleanup(broken.close)
        broken.write(PROFILE.read_text().replace("capability dac_override", "capability fly"))
        broken.flush()
        self.assertNotEqual(kit.run(parser, *options, broken.name).returncode, 0)

    def test_it_has_the_installed_paths_and_the_units_capabilities(self):
        text = PROFILE.read_text()
        self.assertIn(f"profile qmpsnap {kit.PREFIX}/bin/qmpsnap {{", text)
        self.assertIn(f"  {kit.PREFIX}/libexec/qmpsnap-guard mrix,", text)
        capabilities = {f"CAP_{name.upper()}" for name in re.findall(r"capability (\w+),", text)}
        self.assertEqual(capabilities, set(words("CapabilityBoundingSet")))


if __name__ == "__main__":
    unittest.main()

# SPDX-License-Identifier: Apache-2.0
"""What is installed: all of it, hardened, with the header's functions and no others in the library,
and able to find its own parts."""
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

import kit
import tool
from lab import MIB, Disk, LabTest

FILES = ["bin/qmpsnap", "libexec/qmpsnap-guard", "include/qmpsnap.h", "share/man/man1/qmpsnap.1",
         "lib/systemd/system/qmpsnap@.service", "lib/systemd/system/qmpsnap@.timer",
         "share/doc/qmpsnap/README.md", "share/doc/qmpsnap/embedding.md",
         "share/doc/qmpsnap/LICENSE", "share/doc/qmpsnap/examples/snapshot_guests.c"]


class Files(unittest.TestCase):
    def test_all_are_there(self):
        for name in FILES:
            self.assertTrue((kit.HERE / name).is_file(), name)
        for name in ["libqmpsnap.so", "libqmpsnap.so.0", "libqmpsnap.a", "pkgconfig/qmpsnap.pc"]:
            self.assertTrue((kit.LIBRARY / name).is_file(), name)
        self.assertEqual(len(list(kit.ROOT.rglob("apparmor.d/usr.bin.qmpsnap"))), 1)

    def test_versions_agree(self):
        code, out, _ = tool.run("--version")
        version = re.search(r"\d+\.\d+\.\d+", out)[0]
        self.assertEqual(code, 0)
        self.assertIn(f" VERSION {version} ", (kit.TOP / "CMakeLists.txt").read_text())
        self.assertTrue((kit.LIBRARY / f"libqmpsnap.so.{version}").is_file())
        done = kit.run("pkg-config", "--modversion", "qmpsnap", env=kit.BUILD_ENV)
        self.assertEqual(done.stdout.strip(), version)

    def test_nothing_refers_to_the_build(self):
        for path in kit.ROOT.rglob("*"):
            if path.is_file() and not path.is_symlink() and path.suffix in (
                    ".pc", ".service", ".timer", ".h", ".1"):
                self.assertNotRegex(path.read_text(), re.escape(str(kit.RELEASE)) + r"|@[A-Z_]+@")


class Symbols(unittest.TestCase):
    def declared(self):
        header = (kit.HERE / "include" / "qmpsnap.h").read_text()
        return set(re.findall(r"^QMPSNAP_API\s[^;]*?\b(qmpsnap_\w+)\(", header, re.MULTILINE))

    def defined(self, *arguments):
        done = kit.run("nm", "--defined-only", "-P", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = [line.split() for line in done.stdout.splitlines() if len(line.split()) > 2]
        return {name.split("@")[0] for name, kind, *_ in found if kind != "A"}

    def test_the_headers_functions_alone(self):
        declared = self.declared()
        self.assertGreater(len(declared), 10)
        self.assertEqual(self.defined("-D", kit.LIBRARY / "libqmpsnap.so"), declared)
        self.assertEqual(self.defined("-g", kit.LIBRARY / "libqmpsnap.a"), declared)

    def test_soname(self):
        done = kit.run("readelf", "-d", kit.LIBRARY / "libqmpsnap.so")
        self.assertIn("Library soname: [libqmpsnap.so.0]", done.stdout)


class Hardened(unittest.TestCase):
    FLAGS = ["-fstack-protector-strong", "-fstack-clash-protection"]

    def elf(self, option, path):
        done = kit.run("readelf", "-W", option, path)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def faults(self, path, is_program=True):
        """What is missing in a program or library."""
        header, dynamic = self.elf("-h", path), self.elf("-d", path)
        segments, symbols = self.elf("-l", path), self.elf("--dyn-syms", path)
        wanted = {
            "position independent": "DYN (" in header,
            "PIE": not is_program or re.search(r"FLAGS_1\).*\bPIE\b", dynamic),
            "RELRO": "GNU_RELRO" in segments,
            "bound at start": re.search(r"\(FLAGS_1\).*\bNOW\b", dynamic),
            "no executable stack": re.search(r"GNU_STACK .* RW  ", segments),
            "no segment both written and executed": " RWE " not in segments,
            "no text relocations": "TEXTREL" not in dynamic,
            "no path of its own for libraries": not re.search(r"\((RPATH|RUNPATH)\)", dynamic),
            "stack protector": "__stack_chk_fail@" in symbols,
            "fortified": re.search(r"__\w+_chk@", symbols.replace("__stack_chk", "")),
        }
        return sorted(name for name, holds in wanted.items() if not holds)

    def test_programs_and_library(self):
        self.assertEqual(self.faults(kit.BINARY), [])
        self.assertEqual(self.faults(kit.GUARD), [])
        self.assertEqual(self.faults(kit.LIBRARY / "libqmpsnap.so", is_program=False), [])

    def test_each_file_was_compiled_so(self):
        done = kit.run("readelf", "--debug-dump=info", kit.BINARY)
        producers = re.findall(r"DW_AT_producer .*: (GNU C.*)", done.stdout)
        if not producers:
            self.skipTest("the build has no debug information to read the flags from")
        flags = self.FLAGS
        if "X86-64" in self.elf("-h", kit.BINARY):
            flags = [*flags, "-fcf-protection"]
            main = kit.run("objdump", "-d", "--disassemble=main", kit.BINARY)
            self.assertIn("endbr64", main.stdout)
        for producer in producers:
            self.assertEqual([flag for flag in flags if flag not in producer], [], producer)

    def test_the_check_can_fail(self):
        folder = tempfile.mkdtemp(prefix="qmpsnap-soft-")
        self.addCleanup(shutil.rmtree, folder)
        with open(f"{folder}/soft.c", "w") as source:
            source.write("int main(void) { return 0; }\n")
        done = kit.run("cc", "-no-pie", "-fno-stack-protector", "-Wl,-z,norelro,-z,lazy",
                       "-Wl,-z,execstack,-rpath,/tmp", "-o", f"{folder}/soft", f"{folder}/soft.c")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(self.faults(f"{folder}/soft")), 9)


class Works(LabTest):
    def guest_of_4_mib(self):
        guest = self.guest(Disk(4 * MIB))
        guest.write(guest.disks[0], 0, MIB, 0x21)
        return guest

    def image_of(self, guest, number):
        self.assertEqual(len(guest.published()), 1)
        return guest.published()[0], "qcow2"

    def test_a_snapshot(self):
        guest = self.guest_of_4_mib()
        before = guest.state()
        self.assert_done(guest.snapshot())
        self.assert_image_is_reference(guest)
        self.assert_nothing_left(guest, before)

    def test_its_guard_is_found(self):
        guest = self.guest_of_4_mib()
        before = guest.state()
        started = guest.snapshot("--speed", "64K")
        started.wait_instant()
        children = pathlib.Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text()
        paths = [os.readlink(f"/proc/{pid}/exe") for pid in children.split()]
        self.assertEqual(paths, [str(kit.GUARD)])
        started.signal(signal.SIGKILL)
        started.wait()  # until the guard, too, has closed its standard error
        self.assert_nothing_left(guest, before)

    def start_guard(self, version):
        """What it says first on its socket, its exit code and its standard error."""
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with its:
                guard = subprocess.Popen(
                    [kit.GUARD, str(its.fileno()), version], pass_fds=[its.fileno()],
                    stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            ours.settimeout(30)
            said = ours.recv(1000)
            ours.send(b'{"record": "farewell"}') if said else None
        _, err = guard.communicate(timeout=30)
        return said, guard.returncode, err

    def test_a_guard_of_another_version(self):
        version = kit.run(kit.BINARY, "--version").stdout.split()[-1]
        said, _, err = self.start_guard(version)
        self.assertIn(b"ready", said)
        self.assertEqual(err, "")
        said, code, err = self.start_guard("0.0.1")
        self.assertEqual((said, code), (b"", 2))
        self.assertIn(f"this is version {version}, and what starts it is version 0.0.1", err)

    def test_without_its_guard(self):
        guest = self.guest_of_4_mib()
        before = guest.state()
        hidden = kit.GUARD.with_suffix(".hidden")
        kit.GUARD.rename(hidden)
        self.addCleanup(hidden.rename, kit.GUARD)
        if (kit.PREFIX / "libexec" / "qmpsnap-guard").exists():
            self.skipTest(f"there is another one in {kit.PREFIX}")
        started = guest.snapshot()
        self.assert_done(started, 3)
        self.assertIn("the guard qmpsnap-guard is neither in", started.stderr)
        self.assertIn(f"nor in {kit.PREFIX}/libexec", started.stderr)
        self.assert_nothing_left(guest, before)


if __name__ == "__main__":
    unittest.main()

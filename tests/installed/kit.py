# SPDX-License-Identifier: Apache-2.0
"""A release build, installed below a temporary folder. Import it before the modules of tests/live:
they take its qmpsnap then."""
import atexit
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
RELEASE = pathlib.Path(os.environ.get("QMPSNAP_RELEASE", TOP / "build" / "release"))


def run(*command, **options):
    return subprocess.run(list(map(str, command)), check=False, stdin=subprocess.DEVNULL,
                          **{"capture_output": True, "text": True, "timeout": 120, **options})


def _install():
    root = pathlib.Path(tempfile.mkdtemp(prefix="qmpsnap-installed-"))
    atexit.register(shutil.rmtree, root)
    done = run("cmake", "--install", RELEASE, env={**os.environ, "DESTDIR": str(root)})
    if done.returncode != 0:
        raise RuntimeError(f"cmake --install {RELEASE}: {done.stdout}{done.stderr}")
    return root


def _cached(name):
    line = re.search(rf"^{name}:\w+=(.*)$", (RELEASE / "CMakeCache.txt").read_text(), re.MULTILINE)
    return line[1]


ROOT = _install()
PREFIX = pathlib.Path(_cached("CMAKE_INSTALL_PREFIX"))
HERE = ROOT / PREFIX.relative_to("/")  # what will be at PREFIX
LIBRARY = HERE / _cached("CMAKE_INSTALL_LIBDIR")
BINARY = HERE / "bin" / "qmpsnap"
GUARD = HERE / "libexec" / "qmpsnap-guard"
os.environ["QMPSNAP_BIN"] = str(BINARY)

# For a compiler that uses what is installed, and for what it makes.
BUILD_ENV = {"PKG_CONFIG_PATH": str(LIBRARY / "pkgconfig"), "PKG_CONFIG_SYSROOT_DIR": str(ROOT),
             "LD_LIBRARY_PATH": str(LIBRARY)}

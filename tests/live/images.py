# SPDX-License-Identifier: Apache-2.0
"""qemu-img, as maker of disks and as judge of images."""
import json
import subprocess


def qemu_img(*args, ok=(0,)):
    done = subprocess.run(["qemu-img", *map(str, args)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=120, check=False)
    if done.returncode not in ok:
        raise AssertionError(f"qemu-img {args}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def create(path, fmt, size, backing=None, options=""):
    base = ["-b", backing.path, "-F", backing.format] if backing else []
    chosen = ["-o", options] if options else []
    qemu_img("create", "-q", "-f", fmt, *base, *chosen, path, size)


def info(path, fmt):
    return json.loads(qemu_img("info", "--output=json", "-f", fmt, path).stdout)


def assert_clean(path, fmt):
    """No error and no leaked cluster. A raw image has nothing that could be wrong."""
    if fmt != "raw":
        qemu_img("check", "-q", "-f", fmt, path)


def assert_same(path_a, fmt_a, path_b, fmt_b):
    qemu_img("compare", "-f", fmt_a, "-F", fmt_b, path_a, path_b)


def to_raw(path, fmt, out):
    qemu_img("convert", "-f", fmt, "-O", "raw", path, out)
    return out

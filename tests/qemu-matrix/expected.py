# SPDX-License-Identifier: Apache-2.0
"""What must come of each cell of the matrix; written from what is known of each QEMU, not from
what the matrix printed."""
import fnmatch
import pathlib

# Modules of tests/live, the default; what they expect of a QEMU stands in tests/live/builds.py.
LIVE = ("test_frozen", "test_job", "test_backup", "test_mirror", "test_copy", "test_cold",
        "test_cold_refused", "test_cold_disturbed", "test_dangers", "test_kinds", "test_kinds_job",
        "test_kinds_backup", "test_kinds_mirror", "test_zero_scan", "test_meanwhile",
        "test_failures", "test_others", "test_overlays", "test_killed", "test_booted", "test_trim")
ALL_LIVE = tuple(sorted(path.stem for path in (
    pathlib.Path(__file__).resolve().parents[1] / "live").glob("test_*.py")))

# Debian's suites; the QEMU of each is what its mirror has.
VERSIONS = ("bullseye", "bookworm", "trixie", "sid")  # 5.2, 7.2, 10.0, the newest

METHODS = {
    "filter": ("--method", "stream", "--flavour", "filter"),
    "job": ("--method", "stream", "--flavour", "job"),
    "backup": ("--method", "backup"),
    "mirror": ("--method", "mirror"),
    "cold": ("--method", "cold"),
}

IOTHREAD = ("-object", "iothread,id=io0")
# (device as lab.Disk takes it, QEMU's options besides)
LAYOUTS = {
    "virtio-blk": ("virtio-blk-pci", ()),
    "virtio-blk+iothread": ("virtio-blk-pci,iothread=io0", IOTHREAD),
    "virtio-scsi": ("scsi-hd", ()),
    "virtio-scsi+iothread": ("scsi-hd", (*IOTHREAD, "-global", "virtio-scsi-pci.iothread=io0")),
    "ide": ("ide-hd", ()),
    "nvme": ("nvme", ()),
    "usb-storage": ("usb-storage", ()),
}

EQUAL = "equal"

# (version, method, layout, what the error must say); all other cells are EQUAL.
REFUSED = (
    ("bullseye", "filter", "*", "lacks copy-before-write"),
    # NBD and the filter's nodes kill this build when the disk is in an iothread
    ("bookworm", "filter", "*+iothread", "iothread"),
    ("bookworm", "job", "*+iothread", "iothread"),
)

# QEMU itself refuses to migrate these guests, whether a snapshot was taken or not.
UNMIGRATABLE = (("bullseye", "nvme"), ("bookworm", "nvme"), ("trixie", "nvme"))


def expected(version, method, layout):
    """EQUAL, or what the refusal must say."""
    for *pattern, phrase in REFUSED:
        if all(map(fnmatch.fnmatchcase, (version, method, layout), pattern)):
            return phrase
    return EQUAL


def migratable(version, layout):
    return (version, layout) not in UNMIGRATABLE

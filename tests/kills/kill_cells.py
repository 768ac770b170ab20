# SPDX-License-Identifier: Apache-2.0
"""The cells: each step of each table, each way to be killed, with an undo that works and one of
which a command fails once. The tables are list_steps', so a new step has its cells unnamed."""
import itertools
import pathlib
import signal
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "faults"))

from cells import tables  # pylint: disable=wrong-import-position # of tests/faults

MOMENTS = ("amid", "after")  # amid: its first message, of those that change something, is sent
FAULTS = {"kill-main": signal.SIGKILL, "kill-both": signal.SIGKILL,  # both: the guard as well
          "interrupt": signal.SIGINT, "terminate": signal.SIGTERM}


class Config:
    """A command line for a table; `offline`: of an image file, not of a guest; `other_server`:
    QEMU's NBD server is another's. `avoids` are the steps that it has been seen not to come by."""

    def __init__(self, table, *options, offline=False, other_server=False):
        self.table, self.offline, self.other_server = table, offline, other_server
        self.avoids = set()
        self.options = ["--zero-scan", "always", *options]
        if not offline:
            self.options += ["--quiesce", "require"]


# The first of a table's that comes by a step has its cells.
CONFIGS = (
    Config("filter", "--method", "stream", "--flavour", "filter", "--release-monitor"),
    Config("job", "--method", "stream", "--flavour", "job"),
    Config("backup", "--method", "backup", "--release-monitor"),
    Config("backup", other_server=True),
    Config("mirror", "--method", "mirror", "--release-monitor"),
    Config("cold", "--method", "cold", "--release-monitor"),
    Config("offline", offline=True),
    Config("offline", "--format", "vmdk", offline=True),
)


class Cell:
    """`why_not` says why it makes no sense; what only its run can show is said there, too."""

    def __init__(self, table, step, moment, fault, undo_fails):
        self.table, self.step, self.moment, self.fault = table, step, moment, fault
        self.undo_fails = undo_fails
        self.why_not = None

    @property
    def name(self):
        undo = " and the undo fails once" if self.undo_fails else ""
        return f"{self.table}: {self.moment} {self.step}: {self.fault}{undo}"

    @property
    def signal(self):
        return FAULTS[self.fault]

    @property
    def killed(self):
        return self.signal == signal.SIGKILL

    def configs(self):
        return [config for config in CONFIGS
                if config.table == self.table and self.step not in config.avoids]


def cells_of(list_steps):
    found = []
    for table, steps in tables(list_steps).items():
        if table == "recover":  # it is what undoes
            continue
        for step, _start, undo in steps:
            for moment, fault, undo_fails in itertools.product(MOMENTS, FAULTS, (False, True)):
                cell = Cell(table, step, moment, fault, undo_fails)
                if undo_fails and undo == "-":
                    cell.why_not = "the step has no undo"
                if cell.killed or (moment, undo_fails) == ("amid", False):
                    found.append(cell)  # tests/faults has the signals' other cells
    return found

# SPDX-License-Identifier: Apache-2.0
"""The cells: each step of each table, each fault, with an undo that works and one that fails once.

The tables are list_steps'; which messages a step exchanges, and with whom, a run without a fault
shows. So a new step has its cells without being named here."""
import signal
import subprocess

from qemu import Fault

FAULTS = ("error", "silence", "garbage", "closed", "kill-qemu", "500", "gone", "full", "interrupt",
          "terminate", "kill-main", "stop", "kill-both", "kill-all")  # all: a container's end
SIGNALS = {"interrupt": signal.SIGINT, "terminate": signal.SIGTERM, "kill-main": signal.SIGKILL,
           "stop": signal.SIGSTOP, "kill-both": signal.SIGKILL, "kill-all": signal.SIGKILL}
ON_QEMU = ("qmp", "agent", "nbd")
AT_CHANGES = ("error", "silence", "garbage", "closed", "kill-qemu", "interrupt", "kill-main", "stop",
              "kill-both")
IN_QUESTIONS = ("error", "interrupt", "kill-main", "kill-both")
SPEED = 10  # of the clocks where a deadline has to be met


class Config:
    """A guest and a command line; the first of a table's that comes by a step has its cells."""

    def __init__(self, table, name, options, disks=2, version=(10, 0, 13), status="running",
                 before=(), offline=False, same=True, descriptor=False):
        self.table, self.name, self.options, self.disks = table, name, list(options), disks
        self.version, self.status, self.before, self.offline = version, status, before, offline
        self.same = same  # whether two runs make the same images
        self.descriptor = descriptor  # the monitor is a connected socket that nobody can make anew


STALL = ("--stall-timeout", "120s")
ALWAYS = ("--zero-scan", "always", "--quiesce", "require", *STALL)
CONFIGS = (
    Config("filter", "filter", ("--method", "stream", "--flavour", "filter", "--release-monitor",
                                *ALWAYS)),
    Config("job", "job", ("--method", "stream", "--flavour", "job", "--scratch-limit", "4M",
                          *ALWAYS)),
    Config("backup", "backup", ("--method", "backup", "--release-monitor", *ALWAYS)),
    Config("backup", "backup beside another's NBD server", ALWAYS,
           before=(("nbd-server-start", {}),)),
    Config("mirror", "mirror", ("--method", "mirror", "--release-monitor", *ALWAYS)),
    Config("cold", "cold", ("--method", "cold", "--release-monitor", *ALWAYS)),
    Config("offline", "offline", ("--zero-scan", "always", *STALL), disks=1, offline=True),
    Config("offline", "offline to vmdk", ("--format", "vmdk", *STALL), disks=1, offline=True,
           same=False),  # qemu-img numbers them
    Config("filter", "filter by a descriptor", ("--method", "stream", "--flavour", "filter",
                                                "--quiesce", "off", *STALL), descriptor=True),
)


class Cell:
    """A config, a step, a fault; `why_not` says why it makes no sense."""

    changes = None  # which of the messages that change something is struck; None: the first of all

    def __init__(self, config, step, fault, undo_fails):
        self.config, self.step, self.fault, self.undo_fails = config, step, fault, undo_fails
        self.channel = None
        self.why_not = None
        self.speed = SPEED if fault in ("silence", "stop", "gone", "500", "closed", "garbage") \
            else 1

    @property
    def name(self):
        undo = " and the undo fails once" if self.undo_fails else ""
        return f"{self.config.name}: {self.step}: {self.fault}{undo}"

    def faults(self):
        """To be armed."""
        number = SIGNALS.get(self.fault, 0)
        kind = "signal" if number else self.fault
        strike = Fault(self.step, kind, channel=self.channel, first=self.changes or 1,
                       modifying=bool(self.changes), signal_number=number,
                       victims=self.fault.removeprefix("kill-") if number else "main")
        return [strike, *(self.in_undo() if self.undo_fails else ())]

    @property
    def undo_step(self):
        return "recover" if self.fault in ("kill-both", "kill-all") else self.step

    def in_undo(self):
        return [Fault(self.undo_step, kind, phase="undo", channel=channel, modifying=True)
                for kind, channel in (("error", "qmp"), ("error", "agent"), ("500", "service"))]

    def decide(self, baseline):
        """Where it strikes, or why not at all."""
        talks = {channel: tally_of(baseline, "begin", self.step, channel)[0]
                 for channel in (*ON_QEMU, "service", "job")}
        with_qemu = next((channel for channel in ON_QEMU if talks[channel]), None)
        self.channel = with_qemu or ("service" if talks["service"] else "announcement")
        if self.fault in ("error", "silence", "garbage", "closed"):
            self.channel = with_qemu
            if not with_qemu:
                self.why_not = "it asks nothing of QEMU or the agent" + (
                    ": see the service's columns" if talks["service"] else "")
        elif self.fault == "500":
            self.channel = "service"
            if not talks["service"]:
                self.why_not = "it asks nothing of the service"
        elif self.fault == "gone":
            self.channel = "service" if talks["service"] else "announcement"
        elif self.fault == "full":
            self.channel = "announcement"
            if not baseline.writes.get(self.step) and not talks["nbd"] and not talks["job"]:
                self.why_not = "nothing is written to the host's disk in it"
        elif self.fault == "kill-qemu" and self.config.offline:
            self.decide_child(baseline)

    def decide_child(self, baseline):
        """No QEMU: the programs that read the image file."""
        self.channel = "announcement"
        if self.step in baseline.children:
            self.fault = "kill-child"
        else:
            self.why_not = "no program of QEMU's runs in it"


class AtChange(Cell):
    """The fault strikes a later message than the step's first one: the `number`-th that changes
    something, of QEMU or of the agent."""

    def __init__(self, config, step, fault, channel, number):
        super().__init__(config, step, fault, False)
        self.channel, self.changes = channel, number

    @property
    def name(self):
        return f"{self.config.name}: {self.step}: {self.fault} at change {self.changes} " \
            f"({self.channel})"


class QueryFails(Cell):
    """The first question of the undo, or of recover, is refused."""

    @property
    def name(self):
        return f"{self.config.name}: {self.step}: {self.fault} and a question of the undo fails"

    def in_undo(self):
        return [Fault(self.undo_step, "error", phase="undo", channel=channel)
                for channel in ("qmp", "agent")]


class LostInUndos(Cell):
    """The monitor is lost in the undo of a step, and in that of the next one to be undone."""

    def __init__(self, config, step, second):
        super().__init__(config, step, "closed", False)
        self.channel, self.second = "qmp", second

    @property
    def name(self):
        return f"{self.config.name}: {self.step}: closed in the undo and in that of {self.second}"

    def faults(self):
        return [Fault(step, "closed", phase="undo") for step in (self.step, self.second)]


def tally_of(outcome, phase, step, channel):
    return outcome.counts.get((phase, step, channel), (0, 0, 0))


def later_cells_of(config, step, outcome):
    """What a step sends that isn't its first message: of what changes something the first and the
    last; and what its undo asks first."""
    made = []
    first_channel = next((channel for channel in ON_QEMU
                          if tally_of(outcome, "begin", step, channel)[0]), None)
    for channel in ("qmp", "agent"):
        _, changing, at = tally_of(outcome, "begin", step, channel)
        numbers = {1, changing} if changing else set()
        if channel == first_channel and at == 1:
            numbers.discard(1)  # the other cells'
        made += [AtChange(config, step, fault, channel, number)
                 for number in sorted(numbers) for fault in AT_CHANGES]
    asked = [tally_of(outcome, "undo", step, channel) for channel in ("qmp", "agent")]
    if any(messages and first != 1 for messages, _, first in asked):
        for fault in IN_QUESTIONS:
            cell = QueryFails(config, step, fault, True)
            cell.decide(outcome)
            made += [] if cell.why_not else [cell]
    return made


def losses_of(steps, config, outcome):
    """Of a monitor that can be had again two; of one that can't the only one, in each step."""
    if config.descriptor:
        cells = [Cell(config, step, "closed", False) for step in steps]
        for cell in cells:
            cell.decide(outcome)
        return [cell for cell in cells if not cell.why_not]
    asked = [step for step in reversed(steps) if outcome.counts.get(("undo", step, "qmp"))]
    return [LostInUndos(config, *pair) for pair in zip(asked, asked[1:])]


def tables(binary):
    """{table: [(step, has a start, undo)]}"""
    lines = subprocess.run([binary], check=True, capture_output=True, text=True).stdout.splitlines()
    found = {}
    for line in lines:
        table, step, start, undo = line.split()
        found.setdefault(table, []).append((step, start == "start", undo))
    return found


def cells_of(table_steps, baselines):
    """(cells, what no config comes by). `baselines` is [(config, outcome)]."""
    cells, missing = [], []
    for table, steps in table_steps.items():
        if table == "recover":  # the cells of kill-both and kill-all run it; see report()
            continue
        for step, _start, _undo in steps:
            found = next(((config, outcome) for config, outcome in baselines
                          if config.table == table and
                          ("main", "begin", step) in outcome.order), None)
            if found is None:
                missing.append(f"{table}: {step}")
                continue
            for fault in FAULTS:
                for undo_fails in (False, True):
                    cell = Cell(found[0], step, fault, undo_fails)
                    cell.decide(found[1])
                    cells.append(cell)
            cells += later_cells_of(found[0], step, found[1])
    for config, outcome in baselines:
        if not config.offline:
            cells += losses_of([row[0] for row in table_steps[config.table]], config, outcome)
    return cells, missing

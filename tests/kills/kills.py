# SPDX-License-Identifier: Apache-2.0
"""Kills a snapshot at each step of each table, on a real QEMU whose guest has a real agent, with a
real Glance; prints what was run, what failed, what makes no sense, and how long it took."""
import argparse
import collections
import fnmatch
import random
import signal
import sys
import threading
import time
import traceback

import kill_cells
from kill_judge import run_cell
from kill_lab import Lab


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="where qmpsnap, qmpsnap-guard and list_steps were built")
    parser.add_argument("--sample", type=int, metavar="N", help="so many of the cells, by chance")
    parser.add_argument("--seed", type=int, help="of a sample's choice; printed")
    parser.add_argument("-k", default="*", metavar="PATTERN", help="of cells' names")
    parser.add_argument("-j", type=int, default=2, metavar="N", help="so many guests at once")
    parser.add_argument("-v", action="store_true", help="a line for each cell; twice: its story")
    parser.add_argument("--list", action="store_true", help="the cells, and why some aren't")
    return parser.parse_args()


def choose(options, cells):
    """In the tables' order, also a sample."""
    if options.sample is None:
        return cells
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}: the same sample again with --sample {options.sample} --seed {seed}")
    sensible = [number for number, cell in enumerate(cells) if not cell.why_not]
    chosen = random.Random(seed).sample(sensible, min(options.sample, len(sensible)))
    return [cells[number] for number in sorted(chosen)]


class Matrix:
    """Works the cells off, in labs of their own."""

    def __init__(self, options, cells):
        self.binary, self.loud = f"{options.folder}/qmpsnap", options.v
        self.cells = collections.deque(cell for cell in cells if not cell.why_not)
        self.lock = threading.Lock()
        self.ran, self.failed, self.guests, self.broken = [], [], 0, False

    def run(self, workers):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.give_up)
        threads = [threading.Thread(target=self.work) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def give_up(self, _number, _frame):
        """The labs are left as soon as their cells have ended."""
        self.broken = True
        self.cells.clear()

    def work(self):
        lab = None
        try:
            lab = Lab()
            while True:
                try:
                    cell = self.cells.popleft()
                except IndexError:
                    return
                self.run_one(lab, cell)
        except Exception:  # pylint: disable=broad-except # the others' cells go on
            traceback.print_exc()
            self.broken = True
        finally:
            if lab:
                self.guests += lab.restarts
                lab.close()

    def run_one(self, lab, cell):
        began = time.monotonic()
        try:
            outcome = run_cell(lab, self.binary, cell)
            complaints, story = outcome.complaints, outcome.story()
        except Exception:  # pylint: disable=broad-except
            complaints, story = [traceback.format_exc()], []
            lab.spoil()
        with self.lock:
            self.ran.append(cell)
            if self.loud:
                print(f"{time.monotonic() - began:6.2f} s {cell.name}"
                      f"{': ' + cell.why_not if cell.why_not else ''}")
            if complaints:
                self.failed.append(cell)
                print(f"FAILED {cell.name}: {'; '.join(complaints)}")
                for line in story:
                    print(f"    {line}")
            sys.stdout.flush()


def report(cells, matrix, seconds):
    senseless = [cell for cell in cells if cell.why_not and cell not in matrix.failed]
    reasons = {}
    for cell in senseless:
        reasons.setdefault(cell.why_not, []).append(cell.name)
    run = len(matrix.ran) - sum(cell.why_not is not None for cell in matrix.ran
                                if cell not in matrix.failed)
    for reason, names in sorted(reasons.items()):
        steps = dict.fromkeys(name.rsplit(": ", 1)[0] for name in names)
        print(f"no sense, {reason}: {', '.join(steps)}")
    left = len(matrix.cells)
    if matrix.broken:
        print("FAILED: not all cells were run")
    print(f"{run} cells run, {len(matrix.failed)} failed, {len(senseless)} make no sense "
          f"({'; '.join(f'{len(names)}: {reason}' for reason, names in sorted(reasons.items()))}), "
          f"{matrix.guests} guests booted, {seconds:.0f} s")
    failed = len(matrix.failed) + left + matrix.broken
    print(f"{run - len(matrix.failed)} passed, {failed} failed")
    return 1 if failed or not run else 0


def main():
    options = arguments()
    began = time.monotonic()
    every = kill_cells.cells_of(f"{options.folder}/list_steps")
    every = [cell for cell in every if fnmatch.fnmatch(cell.name, options.k)]
    cells = choose(options, every)
    if options.list:
        for cell in cells:
            print(f"{cell.name}: {cell.why_not or 'run'}")
        return 0
    matrix = Matrix(options, cells)
    matrix.run(min(options.j, max(len(matrix.cells), 1)))
    return report(cells, matrix, time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())

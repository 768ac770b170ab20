# SPDX-License-Identifier: Apache-2.0
"""The matrix of QEMU version x method x layout; its options are told in `run`."""
import argparse
import concurrent.futures
import multiprocessing
import os
import pathlib
import re
import subprocess
import sys
import time

import cell
from expected import ALL_LIVE, EQUAL, LAYOUTS, LIVE, METHODS, VERSIONS, expected

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
STATES = ("running", "paused")


def choice(known):
    """An argparse type: some of `known`, separated by commas."""
    def parse(text):
        chosen = text.split(",")
        for word in chosen:
            if word not in known:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
        return [word for word in known if word in chosen]
    return parse


def live_modules(text):
    lists = {"": (), "methods": LIVE, "all": ALL_LIVE}
    return lists[text] if text in lists else choice(ALL_LIVE)(text)


def arguments():
    parser = argparse.ArgumentParser(prog="run", description="see tests/qemu-matrix/run")
    parser.add_argument("--versions", type=choice(VERSIONS), default=list(VERSIONS))
    parser.add_argument("--methods", type=choice(METHODS), default=list(METHODS))
    parser.add_argument("--layouts", type=choice(LAYOUTS), default=list(LAYOUTS))
    parser.add_argument("--states", type=choice(STATES), default=list(STATES))
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--live", type=live_modules, default=LIVE)
    parser.add_argument("-j", type=int, default=2)
    return parser.parse_args()


def make_roots(versions):
    """The folder of each version's programs; None where there is no root."""
    programs = {}
    for version in versions:
        done = subprocess.run([HERE / "make-root", version], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True, check=False)
        root = done.stdout.strip()
        programs[version] = f"{root}/qmpsnap/bin" if done.returncode == 0 else None
    return programs


def qemu_version(programs):
    done = subprocess.run([f"{programs}/qemu-system-x86_64", "--version"], text=True, check=True,
                          stdin=subprocess.DEVNULL, capture_output=True)
    return done.stdout.splitlines()[0]


def run_cells(args, programs):
    """{(version, method, layout): [why a run of it failed]}"""
    cells = [(version, method, layout) for version in args.versions if programs[version]
             for method in args.methods for layout in args.layouts]
    failures = {key: [] for key in cells}
    # a process of its own: a guest can be started and the path set for each
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(args.j, mp_context=context) as pool:
        runs = {pool.submit(cell.run, programs[key[0]], *key, state): (key, state)
                for key in cells for state in args.states for _ in range(args.repeat)}
        for run in concurrent.futures.as_completed(runs):
            key, state = runs[run]
            why = run.result()
            if why:
                failures[key].append(why)
                print(f"FAILED {' '.join(key)} {state}, expected: {expected(*key)}\n{why}",
                      flush=True)
    return failures


def run_live(version, programs, modules):
    """The live tests with this QEMU: {module: (passed, failed, skipped)}"""
    env = {"QMPSNAP_REPEAT": "50", **os.environ, "PATH": f"{programs}:{os.environ['PATH']}",
           "QMPSNAP_TEST_QEMU": f"{programs}/qemu-system-x86_64"}
    print(f"\n{version}: live tests", flush=True)
    counts = dict.fromkeys(modules, (0, 1, 0))  # of one that doesn't report
    command = [TOP / "tests" / "live" / "run", "-j", "2", "--logs",
               TOP / "build" / "testlogs" / f"live-{version}", *modules]
    with subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          text=True, errors="replace") as tests:
        for line in tests.stdout:
            print(line, end="", flush=True)
            told = re.match(r"live/(\w+): (\d+) passed, (\d+) failed, (\d+) skipped", line)
            if told:
                counts[told[1]] = tuple(map(int, told.groups()[1:]))
    return counts


def word(key, failures):
    if failures[key]:
        return "FAILED"
    return EQUAL if expected(*key) == EQUAL else "refused"


def print_tables(args, programs, failures):
    widths = [max(len(layout), 8) for layout in args.layouts]
    for version in args.versions:
        if not programs[version]:
            print(f"\n{version}: FAILED, no root")
            continue
        print(f"\n{version}: {qemu_version(programs[version])}")
        print(" " * 8 + "  ".join(map(str.ljust, args.layouts, widths)))
        for method in args.methods:
            words = [word((version, method, layout), failures) for layout in args.layouts]
            print(f"{method:8}" + "  ".join(map(str.ljust, words, widths)))


def print_live(live):
    """A column for each version; what is skipped is what that QEMU lacks."""
    print(f"\n{'live tests passed':20}" + "".join(f"  {version:14}" for version in live))
    for module in next(iter(live.values()), ()):
        words = []
        for counts in live.values():
            passed, failed, skipped = counts[module]
            words.append(f"{failed} FAILED" if failed else
                         f"{passed}, {skipped} skipped" if skipped else f"{passed}")
        print(f"{module:20}" + "".join(f"  {text:14}" for text in words))


def main():
    args = arguments()
    begin = time.monotonic()
    programs = make_roots(args.versions)
    failures = run_cells(args, programs)
    print_tables(args, programs, failures)
    live = {version: run_live(version, programs[version], args.live)
            for version in args.versions if args.live and programs[version]}
    if live:
        print_tables(args, programs, failures)  # what stood above is far away
        print_live(live)
    tests = [counts for modules in live.values() for counts in modules.values()]
    bad_cells = sum(map(bool, failures.values()))
    bad = bad_cells + sum(counts[1] for counts in tests) + list(programs.values()).count(None)
    good = len(failures) - bad_cells + sum(counts[0] for counts in tests)
    print(f"\n{time.monotonic() - begin:.0f} s; refused: as it must be, see expected.py")
    print(f"{good} passed, {bad} failed")
    return 1 if bad or not good else 0


if __name__ == "__main__":
    sys.exit(main())

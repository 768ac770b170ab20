# SPDX-License-Identifier: Apache-2.0
"""Runs the cells, several at once, and prints what was run, what failed and what makes no sense."""
import argparse
import concurrent.futures
import fnmatch
import os
import signal
import sys
import time
import traceback

import cells
from judge import judge
from qemu import take_its_name
from stage import Stage


def run_baseline(folder, config):
    stage = Stage(f"{folder}/qmpsnap", config)
    outcome = stage.run()
    if outcome.code != 0:
        raise SystemExit(f"{config.name}: an undisturbed run failed ({outcome.code}): "
                         f"{outcome.stderr}{outcome.wrong}")
    return outcome


def run_cell(folder, cell, digests):
    try:
        outcome = Stage(f"{folder}/qmpsnap", cell.config, cell.faults(), cell.speed).run()
        complaints = judge(cell, outcome, digests)
    except Exception:  # pylint: disable=broad-except
        return [traceback.format_exc()], 0.0, None, ""
    return complaints, outcome.seconds, outcome.code, outcome.stderr


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="where qmpsnap, qmpsnap-guard and list_steps were built")
    parser.add_argument("-j", type=int, default=2 * (os.cpu_count() or 2), metavar="N")
    parser.add_argument("-k", default="*", metavar="PATTERN", help="of cells' names")
    parser.add_argument("-v", action="store_true", help="a line for each cell")
    parser.add_argument("--list", action="store_true", help="the cells, and why some aren't")
    return parser.parse_args()


def main():
    # a shell ignores it for what it runs in the background, and children inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    options = arguments()
    began = time.monotonic()
    with concurrent.futures.ProcessPoolExecutor(options.j) as pool:
        outcomes = list(pool.map(run_baseline, [options.folder] * len(cells.CONFIGS),
                                 cells.CONFIGS))
        baselines = list(zip(cells.CONFIGS, outcomes))
        digests = {config.name: sorted(record["os_hash_value"]
                                       for record in outcome.records.values())
                   for config, outcome in baselines}
        table_steps = cells.tables(f"{options.folder}/list_steps")
        every, missing = cells.cells_of(table_steps, baselines)
        chosen = [cell for cell in every if fnmatch.fnmatch(cell.name, options.k)]
        todo = [cell for cell in chosen if not cell.why_not]
        if options.list:
            for cell in chosen:
                print(f"{cell.name}: {cell.why_not or 'run'}")
            return 0
        failed = run_all(pool, options, todo, digests)
    report(chosen, todo, missing, failed, time.monotonic() - began)
    return 1 if failed or missing else 0


def run_all(pool, options, todo, digests):
    """The failed ones. The slow ones, which wait for deadlines, begin first; what fails with a
    fast clock is done again with a slower one, since on a host that is busy a fast one passes
    deadlines that nobody missed."""
    todo.sort(key=lambda cell: -cell.speed)
    failed, again = [], []

    def run_some(some, may_repeat):
        futures = {pool.submit(run_cell, options.folder, cell, digests[cell.config.name]): cell
                   for cell in some}
        for future in concurrent.futures.as_completed(futures):
            cell = futures[future]
            complaints, seconds, code, stderr = future.result()
            if options.v:
                print(f"{seconds:6.2f} s {code} {cell.name}")
            if complaints and may_repeat and cell.speed > 1:
                print(f"again, with a slower clock: {cell.name}: {'; '.join(complaints)}: "
                      f"{stderr.strip()}")
                again.append(cell)
            elif complaints:
                failed.append(cell)
                print(f"FAILED {cell.name} (exit code {code}): {'; '.join(complaints)}")
                for line in stderr.strip().splitlines():
                    print(f"    {line}")
            sys.stdout.flush()
    run_some(todo, True)
    for cell in again:
        cell.speed = 3
    run_some(again, False)
    return failed


def report(chosen, todo, missing, failed, seconds):
    reasons = {}
    for cell in chosen:
        if cell.why_not:
            reasons.setdefault((cell.why_not, cell.fault), []).append(
                f"{cell.config.table}: {cell.step}")
    for (reason, fault), where in sorted(reasons.items()):
        print(f"no cell for {fault}, {reason}: {', '.join(dict.fromkeys(where))}")
    print("no cells of their own for recover's steps: it is run after each kill-both and kill-all, "
          "its commands and questions refused in the cells that say so")
    for step in missing:
        print(f"FAILED {step}: no config in cells.py comes by this step")
    print(f"{len(todo)} cells run, {len(failed)} failed, {len(chosen) - len(todo)} make no sense, "
          f"{seconds:.0f} s")
    print(f"{len(todo) - len(failed)} passed, {len(failed) + len(missing)} failed")


if __name__ == "__main__":
    take_its_name()
    sys.exit(main())

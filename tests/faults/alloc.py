# SPDX-License-Identifier: Apache-2.0
"""Lack of memory: each call by which our code gets memory fails once (alloc.c), each in a run of
its own, and each run ends either well or undone."""
import argparse
import concurrent.futures
import fnmatch
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time
import traceback

import judge
from cells import CONFIGS
from stage import Stage

judge.CODES["memory"] = (1, 2, 3, 4, 5, 6, 7, 8)
SANITIZER = re.compile(r"^.*(?:AddressSanitizer|LeakSanitizer|runtime error|Assertion).*$", re.M)


class MemoryCell:
    """What judge() wants to know."""
    fault, undo_fails, step, channel = "memory", False, "", None

    def __init__(self, config):
        self.config = config


def run(folder, config, number):
    """The `number`-th call fails (0: none): (outcome, how many there were, "malloc for 0x...")."""
    with tempfile.NamedTemporaryFile(prefix="qmpsnap-alloc-") as file:
        os.environ.update(FAULTS_ALLOC=str(number), FAULTS_ALLOC_FILE=file.name)
        outcome = Stage(f"{folder}/alloc/qmpsnap", config).run()
        said = pathlib.Path(file.name).read_text(encoding="ascii")
    calls = re.search(r"^calls (\d+)", said, re.M)
    failed = re.search(r"^failed (.*)", said, re.M)
    return outcome, int(calls[1]) if calls else 0, failed and failed[1]


def complaints_of(config, outcome, digests, calls):
    found = judge.judge(MemoryCell(config), outcome, digests)
    if not outcome.order:  # before there was anything to say it by
        found = [complaint for complaint in found if complaint != "no result line"]
    found += SANITIZER.findall(outcome.stderr)
    if outcome.code == 9:
        found.append("the undo isn't clean")
    if not calls and outcome.code >= 0:
        found.append("it didn't end by exit()")
    return found


def run_one(folder, config, number, digests):
    try:
        outcome, calls, failed = run(folder, config, number)
        return complaints_of(config, outcome, digests, calls), outcome, failed
    except Exception:  # pylint: disable=broad-except
        return [traceback.format_exc()], None, None


def where(folder, failed):
    """The line that the call stands in."""
    function, _, address = failed.partition(" for ")
    binary = f"{folder}/alloc/qmpsnap"
    line = subprocess.run(["addr2line", "-pfe", binary, address], capture_output=True, text=True,
                          check=False).stdout.strip()
    return f"{function} for {line}"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="where the programs were built")
    parser.add_argument("-j", type=int, default=2 * (os.cpu_count() or 2), metavar="N")
    parser.add_argument("-k", default="*", metavar="PATTERN", help="of configs' names")
    parser.add_argument("-n", type=int, default=0, metavar="N",
                        help="so many calls of each config, by chance")
    parser.add_argument("--only", type=int, metavar="N", help="this call")
    return parser.parse_args()


def numbers(options, calls, seed):
    if options.only:
        return [options.only]
    every = list(range(1, calls + 1))
    return sorted(random.Random(seed).sample(every, options.n)) if 0 < options.n < calls else every


def main():
    options = arguments()
    began = time.monotonic()
    seed = int(os.environ.get("QMPSNAP_TEST_SEED") or random.randrange(1 << 32))
    print(f"QMPSNAP_TEST_SEED={seed}")
    passed = failed = 0
    with concurrent.futures.ProcessPoolExecutor(options.j) as pool:
        for config in CONFIGS:
            if not fnmatch.fnmatch(config.name, options.k):
                continue
            outcome, calls, _ = pool.submit(run, options.folder, config, 0).result()
            if outcome.code != 0:
                raise SystemExit(f"an undisturbed run failed: {outcome.stderr}")
            digests = sorted(record["os_hash_value"] for record in outcome.records.values())
            chosen = numbers(options, calls, seed)
            futures = {pool.submit(run_one, options.folder, config, number, digests): number
                       for number in chosen}
            struck = 0
            for future in concurrent.futures.as_completed(futures):
                complaints, outcome, who = future.result()
                struck += who is not None
                passed += not complaints
                failed += bool(complaints)
                if complaints:
                    print(f"FAILED {config.name}: call {futures[future]} "
                          f"({where(options.folder, who) if who else 'not reached'}; exit code "
                          f"{outcome and outcome.code}): {'; '.join(complaints)}")
                    for line in (outcome.stderr if outcome else "").strip().splitlines()[:40]:
                        print(f"    {line}")
                sys.stdout.flush()
            print(f"{config.name}: {calls} calls for memory, {struck} of them failed")
    print(f"{time.monotonic() - began:.0f} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

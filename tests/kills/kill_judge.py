# SPDX-License-Identifier: Apache-2.0
"""Runs a cell in a lab and says what isn't as it must be."""
from kill_lab import DISKS
from kill_run import Run

CODES = {"kill-main": -9, "kill-both": -9, "interrupt": 130, "terminate": 143}
UNDO_FAILED = 9
ALL_UNDONE, NOT_ALL = "all of it has been undone", "not all could be undone"  # the guard's words


class Outcome:
    def __init__(self):
        self.complaints, self.runs = [], []
        self.met = False  # some config comes by the step

    def story(self):
        lines = []
        for run in self.runs:
            lines += [*run.story, f"exit code {run.code}", *run.stderr.splitlines()]
            lines += run.stdout.splitlines()[-1:]
        return lines


def run_cell(lab, binary, cell):
    outcome = Outcome()
    for config in cell.configs():  # kill_cells.CONFIGS
        outcome = run_once(lab, binary, cell, config)
        if outcome.met or outcome.complaints:
            break
    else:
        outcome.complaints.append("no config in kill_cells.py comes by this step")
    if outcome.complaints:
        lab.spoil()
    return outcome


def run_once(lab, binary, cell, config):
    outcome = Outcome()
    if not config.offline:
        lab.need_guest(config)
    run = Run(lab, binary, cell).snapshot(config)
    outcome.runs.append(run)
    outcome.met = run.met
    if not run.met:
        judge_undisturbed(lab, config, run, outcome.complaints)
        if not outcome.complaints:
            config.avoids.add(cell.step)
        return outcome
    judge_run(cell, run, outcome.complaints)
    if not config.offline and cell.fault != "kill-both":
        judge_guest(lab, outcome.complaints)
    recover(lab, binary, cell, config, outcome)
    if not config.offline:
        judge_guest(lab, outcome.complaints)
        judge_rest(lab, outcome.complaints)
    judge_files(lab, cell, config, run, outcome.complaints)
    if any("Sanitizer" in each.stderr for each in outcome.runs):
        outcome.complaints.append("a sanitizer complains")
    spoiled = any(each.spoiled for each in outcome.runs)
    if cell.undo_fails and not spoiled and not cell.why_not:
        cell.why_not = "its undo asks for nothing that could fail"
    return outcome


def judge_undisturbed(lab, config, run, complaints):
    """It doesn't come by this step."""
    images = lab.images()
    if run.code != 0 or len(images) != (1 if config.offline else DISKS):
        complaints.append(f"an undisturbed run ended with {run.code} and {len(images)} images")
    lab.service.clear()


def judge_run(cell, run, complaints):
    if run.late:
        complaints.append("it didn't end")
        return
    ok = [CODES[cell.fault]]
    if not cell.killed:
        ok += [UNDO_FAILED] if run.spoiled else []
        ok += [0] if finished(cell, run) else []
    if run.code not in ok:
        complaints.append(f"exit code {run.code}")
    if cell.killed and run.guarded:
        words = [ALL_UNDONE, NOT_ALL] if run.spoiled else [ALL_UNDONE]
        if not any(word in run.stderr for word in words):
            complaints.append(f"the guard doesn't say \"{words[-1]}\"")
    if not cell.killed:
        result = run.result
        if result is None or result["exit_code"] != run.code:
            complaints.append(f"the exit code is {run.code}, the result {result}")


def finished(cell, run):
    """A signal that came when all was done."""
    return cell.step == "publish"


def recover(lab, binary, cell, config, outcome):
    """After a guard's death, and where something is left that has been said to be."""
    first = outcome.runs[0]
    said = first.code == UNDO_FAILED or NOT_ALL in first.stderr
    if cell.fault != "kill-both" and not said:
        return
    fails = cell.undo_fails and cell.fault == "kill-both"
    run = Run(lab, binary, cell, strikes=False).recover(config, fails)
    outcome.runs.append(run)
    if run.late or run.code not in ((0, UNDO_FAILED) if run.spoiled else (0,)):
        outcome.complaints.append(f"recover ended with {run.code}")
    if not config.offline and run.code != 0:
        judge_guest(lab, outcome.complaints)
    if run.code == UNDO_FAILED and run.spoiled:
        again = Run(lab, binary, cell, strikes=False).recover(config, False)
        outcome.runs.append(again)
        if again.late or again.code != 0:
            outcome.complaints.append(f"the second recover ended with {again.code}")


def judge_guest(lab, complaints):
    """It runs and is thawed, without anybody's help."""
    if not lab.guest.alive():
        complaints.append("QEMU is gone")
        return
    status = lab.guest.monitor.status()
    if status != lab.before["status"]:
        complaints.append(f"the guest is {status}")
        return
    frozen = lab.frozen()
    if frozen != "thawed":
        complaints.append(f"the guest is {frozen}")
    elif not lab.guest_works():
        complaints.append("the guest's job stands still")


def judge_rest(lab, complaints):
    state = lab.state()
    for key, value in (state or {}).items():
        if value != lab.before[key]:
            complaints.append(f"{key}: {value}, before: {lab.before[key]}")


def judge_files(lab, cell, config, run, complaints):
    left = lab.left()
    if left:
        complaints.append(f"left: {', '.join(left)}")
    images = lab.images()
    whole = [image for image in images if image["status"] == "active" and
             image.get("qmpsnap_verified") == "true"]
    all_of_them = len(images) == len(whole) == (1 if config.offline else DISKS)
    if images and not (all_of_them and cell.step == "publish"):
        complaints.append(f"{len(images)} images are left ({len(whole)} of them whole)")
    if run.code == 0 and not all_of_them:
        complaints.append(f"exit code 0 with {len(whole)} of {len(images)} images")
    lab.service.clear()

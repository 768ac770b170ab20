# SPDX-License-Identifier: Apache-2.0
"""What must be true after a cell."""

KILLED = -9
# What QEMU, the agent, an export or the service did is told by the exit code, whatever the step.
BY_CHANNEL = {"qmp": (4,), "agent": (8,), "nbd": (4, 6), "service": (5,)}
CODES = {"full": (3, 4, 6), "kill-child": (4, 6), "interrupt": (130,), "terminate": (143,),
         "kill-main": (KILLED,), "kill-both": (KILLED,), "kill-all": (KILLED,)}
# Who stands still may be ended by the guard, find its exports gone or its deadlines past.
CODES["stop"] = (KILLED, 4, 6, 7, 8)
SIGNALLED = ("interrupt", "terminate", "kill-main", "kill-both", "kill-all")


def codes_of(cell):
    """The exit codes that are right. 0 is for the rest to judge: all must be well then."""
    if cell.fault in CODES:
        codes = CODES[cell.fault]
    elif cell.fault == "gone":
        codes = (5, 9)  # records that nobody can delete
    elif cell.fault == "kill-qemu":
        codes = (4, 6, 8)
    elif cell.fault == "silence":
        codes = (8,) if cell.channel == "agent" else (7,)
    else:
        codes = BY_CHANNEL.get(cell.channel, (5,))
    if cell.step in ("lock", "connect", "server") and cell.fault not in SIGNALLED:
        codes += (3,)  # refused before anything was touched
    return codes + ((9,) if cell.undo_fails or cell.config.descriptor else ()) + \
        (() if cell.fault in SIGNALLED and cell.step != "publish" else (0,))


def rest(state):
    return {key: value for key, value in state.items() if key not in ("status", "frozen")}


def judge(cell, outcome, digests):
    """The complaints; `digests` are those of the images of an undisturbed run."""
    found = []
    if outcome.late:
        found.append("it didn't end")
    found += outcome.wrong
    if not outcome.struck and cell.fault != "memory":  # alloc.py has its own count
        found.append("the fault didn't strike")
    code = outcome.code
    recovered_code = outcome.recovered[0] if outcome.recovered else None
    judge_guest(cell, outcome, found)
    judge_rest(cell, outcome, recovered_code, found)
    judge_images(cell, outcome, digests, found)
    judge_words(cell, outcome, found)
    for folder, files in outcome.left.items():
        # `qmpsnap status` removes dead runs' sockets; a lock's file stays, the lock doesn't.
        if folder == "state" and code == KILLED:
            files = [path for path in files if not path.endswith(".sock")]
        if files:
            found.append(f"left in {folder}: {', '.join(files)}")
    if code not in codes_of(cell):
        found.append(f"exit code {code}, not one of {codes_of(cell)}")
    return found


def is_left_to_recover(cell, outcome):
    """Nobody can have the monitor again, and that is said."""
    return cell.config.descriptor and outcome.code == 9 and \
        "recover --qmp ADDRESS" in outcome.stderr


def judge_guest(cell, outcome, found):
    """As before, and without anybody's help."""
    if len(outcome.states) < 2 or outcome.states[1] is None:
        return
    before, after = outcome.states[:2]
    if cell.fault == "kill-both" or is_left_to_recover(cell, outcome):
        after = outcome.states[-1]
    for key in ("status", "frozen"):
        if before[key] != after[key]:
            found.append(f"the guest's {key} is {after[key]}")


def judge_rest(cell, outcome, recovered_code, found):
    if len(outcome.states) < 2 or outcome.states[1] is None:
        return
    before, after = outcome.states[:2]
    if rest(before) == rest(after):
        return
    changed = ", ".join(f"{key}: {after[key]}" for key in rest(after) if after[key] != before[key])
    said = outcome.code == 9 or (outcome.code == KILLED and
                                 (cell.fault == "kill-both" or "not all" in outcome.stderr))
    if not said:
        found.append(f"left and not said: {changed}")
    last = outcome.states[-1]
    if last is None or rest(last) != rest(before):
        now = last and {key: last[key] for key in last if last[key] != before[key]}
        found.append(f"left after recover (exit code {recovered_code}): {now}")


def judge_images(cell, outcome, digests, found):
    kept = [record for record in outcome.records.values()]
    whole = [record for record in kept if record["status"] == "active" and
             record.get("qmpsnap_verified")]
    if outcome.code == 0:
        if len(whole) != cell.config.disks or len(kept) != len(whole):
            found.append(f"exit code 0 with {len(whole)} of {len(kept)} images")
        elif cell.config.same and sorted(record["os_hash_value"] for record in whole) != digests:
            found.append("the images aren't those of an undisturbed run")
    elif kept:
        if outcome.result and outcome.result["images"] and code_of_flow(outcome) == 0 and \
                len(whole) == len(kept) == cell.config.disks:
            return  # they are good; what failed is an undo
        published = len(whole) == cell.config.disks == len(kept)
        if published and cell.step == "publish" and outcome.code == KILLED:
            return
        found.append(f"{len(kept)} images are left ({len(whole)} of them whole)")


def code_of_flow(outcome):
    """0 when all but an undo went well."""
    error = outcome.result["error"]
    undo = error and error["undo_error"]
    return 0 if not error or (undo and undo["message"] == error["message"]) else outcome.code


def judge_words(cell, outcome, found):
    if outcome.code is None or outcome.code < 0:
        return
    result = outcome.result
    if result is None:
        found.append("no result line")
        return
    if result["exit_code"] != outcome.code:
        found.append(f"the result says {result['exit_code']}, the exit code is {outcome.code}")
    error = result["error"]
    if outcome.code and not (error and error["message"]):
        found.append("no message")
    if cell.fault == "error" and outcome.code and "the test made" not in outcome.stderr and \
            cell.channel == "qmp":
        found.append(f"the message doesn't say what QEMU said: {outcome.stderr.strip()}")

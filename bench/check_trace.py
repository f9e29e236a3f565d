"""Reads a strace of the server under one workflow in flight and checks the order of sync and answer.

Between the write of a log record and the end of the fdatasync that follows it, no HTTP/2 HEADERS or DATA frame may
leave on a socket: with one workflow in flight every answer in that time would be about something not yet on disk.
"""

import re
import sys

LINE = re.compile(r"^(\d+) +([\d.]+) (<\.\.\. )?(\w+)")
FILE = re.compile(r"^\d+ +[\d.]+ \w+\(\d+<([^>]*)>")
BYTES = re.compile(r'"((?:\\x[0-9a-f]{2})+)"')
HTTP2 = {0: "DATA", 1: "HEADERS"}


def frame_type(line):
    """Type of the first HTTP/2 frame of what is sent."""
    found = BYTES.search(line)
    if not found:
        return None
    data = bytes.fromhex(found.group(1).replace("\\x", ""))
    return HTTP2.get(data[3]) if len(data) > 3 else None


def main(path):
    unsynced = None  # the log write that waits for its sync
    syncs = writes = answers = 0
    syncing = set()  # threads inside fdatasync
    wrong = []
    for line in open(path, encoding="utf-8", errors="replace"):
        head = LINE.match(line)
        if not head:
            continue
        thread, _, resumed, call = head.groups()
        name = FILE.match(line)
        target = name.group(1) if name else ""
        if "\\x" in target:
            target = bytes.fromhex(target.replace("\\x", "")).decode("utf-8", "replace")
        if call in ("fdatasync", "fsync"):
            if not resumed and not target.endswith(".seg"):
                continue
            if "unfinished" in line:
                syncing.add(thread)
            elif not resumed or thread in syncing:
                syncing.discard(thread)
                syncs += 1
                if call == "fdatasync":
                    unsynced = None
        elif call in ("pwrite64", "write", "writev") and target.endswith(".seg"):
            writes += 1
            unsynced = line.strip()
        elif call in ("sendto", "sendmsg", "write", "writev") and ("TCP" in target or "socket" in target) and not resumed:
            if frame_type(line):
                answers += 1
                if unsynced:
                    wrong.append((unsynced, line.strip()))
    print(f"{writes} log writes, {syncs} syncs, {answers} sends with HEADERS or DATA frames")
    if writes < 10 or answers < 10 or syncs < writes:
        sys.exit("the trace does not show what it should: too few calls, or fewer syncs than log writes")
    if wrong:
        for write, answer in wrong[:5]:
            print("log write:", write, "\nanswer before its sync:", answer)
        sys.exit(f"{len(wrong)} answers left before the sync")
    print("OK: every answer left after the sync of the log record before it")


main(sys.argv[1])

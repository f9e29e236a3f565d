"""Reads a strace of the server under load and checks, call by call, that the sync comes before the answer.

Puts the HTTP/2 frames of every connection together again. For each gRPC call: between the arrival of its request and
the departure of its answer there must be a whole cycle of the log, a record written *after* the request arrived and
the fdatasync after that write finished *before* the answer left. Every call of the load changes something or hands out
a task, so every one of them needs that. Zeros written ahead of the writer are not records.
"""

import re
import sys

HEAD = re.compile(r"^(\d+) +([\d.]+) (.*)$")
CALL = re.compile(r"^(\w+)\(\d+<([^>]*)>")
QUOTED = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, END_STREAM = 0, 1, 1


def unhex(text):
    return bytes.fromhex(text.replace("\\x", ""))


class Frames:
    """One direction of a connection, cut into frames."""

    def __init__(self):
        self.rest = b""

    def feed(self, data):
        self.rest += data
        if PREFACE.startswith(self.rest[: len(PREFACE)]):
            if len(self.rest) < len(PREFACE):
                return
            self.rest = self.rest[len(PREFACE) :]
        while len(self.rest) >= 9:
            length = int.from_bytes(self.rest[:3], "big")
            if len(self.rest) < 9 + length:
                return
            yield self.rest[3], self.rest[4], int.from_bytes(self.rest[5:9], "big")
            self.rest = self.rest[9 + length :]


def calls(path):
    """(begin, end, name, target, data) of every whole system call; `data` is what was really moved."""
    pending = {}
    for line in open(path, encoding="utf-8", errors="replace"):
        head = HEAD.match(line)
        if not head:
            continue
        thread, time, text = head.group(1), float(head.group(2)), head.group(3)
        begin = time
        if text.startswith("<... "):
            if thread not in pending:
                continue
            begin, first = pending.pop(thread)
            text = first + text.split("resumed>", 1)[1]
        elif "<unfinished ...>" in text:
            pending[thread] = (time, text.split("<unfinished ...>")[0])
            continue
        call = CALL.match(text)
        result = re.search(r"= (-?\d+)[^=]*$", text)
        if not call or not result or int(result.group(1)) < 0:
            continue
        target = call.group(2)
        target = unhex(target).decode("utf-8", "replace") if "\\x" in target else target
        data = b"".join(unhex(part) for part in QUOTED.findall(text))[: int(result.group(1))]
        # The end of a call is when strace could have printed its result: for whole lines the begin is all that is known.
        yield begin, time, call.group(1), target, data


def main(path):
    cycles = []  # (record written at, synced at)
    record = None
    arrived, left = {}, {}
    inbound, outbound = {}, {}
    for begin, end, name, target, data in calls(path):
        if target.endswith(".seg"):
            if name == "fdatasync" and record is not None:
                cycles.append((record, end))
                record = None
            elif name in ("write", "pwrite64", "writev") and data.strip(b"\0"):
                record = begin
        elif "socket" in target or "TCP" in target:
            if name in ("recvfrom", "read", "readv"):
                for kind, flags, stream in inbound.setdefault(target, Frames()).feed(data):
                    if stream and flags & END_STREAM and kind in (DATA, HEADERS):
                        arrived[target, stream] = end
            else:
                for kind, _, stream in outbound.setdefault(target, Frames()).feed(data):
                    if kind == HEADERS:
                        left.setdefault((target, stream), begin)
    checked, wrong = 0, []
    for call, answered in left.items():
        asked = arrived.get(call)
        if asked is None:
            continue
        checked += 1
        if not any(asked <= written and synced <= answered for written, synced in cycles):
            wrong.append((call, asked, answered))
    print(f"{len(cycles)} log records written and synced, {checked} calls with request and answer in the trace")
    if checked < 50 or len(cycles) < 50:
        sys.exit("the trace does not show what it should: too few calls or syncs")
    if wrong:
        for call, asked, answered in wrong[:5]:
            print(f"call {call}: asked at {asked:.6f}, answered at {answered:.6f}, no write and sync between")
        sys.exit(f"{len(wrong)} of {checked} answers left without a sync of their own")
    print("OK: every answer left after a log record written and synced since its request")


main(sys.argv[1])

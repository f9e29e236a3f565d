"""What processes spend while something is measured, as bench/src/meter.rs counts it."""

import os
import pathlib
import statistics
import time

APPENDS, APPEND_BYTES = 100, 4096


def cpu_seconds(pid: int) -> float:
    """User and system CPU of a process and its children, those that have ended included."""
    ticks = 0
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            # One that has ended meanwhile is counted by its parent.
            continue
        if int(entry.name) == pid:
            ticks += sum(map(int, fields[11:15]))
        elif int(fields[1]) == pid:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int, label: str = "VmRSS:") -> float:
    """Resident memory of one process; `VmHWM:` for its largest."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(label):
            return int(line.split()[1]) / 1024
    return 0.0


def disk_writes(folder: pathlib.Path) -> tuple[int, int]:
    """Bytes and flushes so far of the disk that holds the folder, by everybody; zeros where it cannot be known."""
    device = os.stat(folder).st_dev
    try:
        fields = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()
    except OSError:
        return 0, 0
    return int(fields[6]) * 512, int(fields[15]) if len(fields) > 15 else 0


class Meter:
    """Counts from its making to its end. `parts` are processes whose CPU is told by itself too."""

    def __init__(self, pids: list[int], folder: pathlib.Path, parts: dict[str, list[int]] | None = None):
        self.pids, self.folder, self.parts = pids, folder, parts or {}
        self.before = self.read()

    def read(self) -> dict:
        disk = disk_writes(self.folder)
        parts = {name: sum(map(cpu_seconds, pids)) for name, pids in self.parts.items()}
        return {"at": time.monotonic(), "cpu": sum(map(cpu_seconds, self.pids)), "bytes": disk[0], "flushes": disk[1], "parts": parts}

    def end(self) -> dict:
        after, before = self.read(), self.before
        return {
            "seconds": after["at"] - before["at"],
            "cpu_seconds": after["cpu"] - before["cpu"],
            "disk_bytes": after["bytes"] - before["bytes"],
            "flushes": after["flushes"] - before["flushes"],
            "rss_mib": sum(map(resident_mib, self.pids)),
            "rss_peak_mib": sum(resident_mib(pid, "VmHWM:") for pid in self.pids),
            "parts": {name: seconds - before["parts"][name] for name, seconds in after["parts"].items()},
        }


def sync_us(folder: pathlib.Path) -> float:
    """Median of overwriting 4 KiB of a file and fdatasync, microseconds: what the disk is worth now."""
    path = folder / f"calibration-{os.getpid()}"
    try:
        with path.open("wb", buffering=0) as file:
            file.write(bytes(APPEND_BYTES * APPENDS))
            os.fsync(file.fileno())
            file.seek(0)
            times = []
            for _ in range(APPENDS):
                begun = time.monotonic()
                file.write(b"\x01" * APPEND_BYTES)
                os.fdatasync(file.fileno())
                times.append((time.monotonic() - begun) * 1e6)
        return statistics.median(times)
    finally:
        path.unlink(missing_ok=True)

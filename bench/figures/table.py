"""The report of bench/compare as Markdown."""

import statistics
import typing

from .take import UNITS

OURS = "sempre"
WORKLOADS = {
    "short": "A: short workflows with one activity (one durable step)",
    "steps": "B: 100 activities (steps), one after the other in one workflow",
}
HEAD = [
    ("{unit}s/s", "per_second", 0),
    ("p50 ms", "p50_ms", 2),
    ("p99 ms", "p99_ms", 2),
    ("CPU ms/{unit}", "cpu_ms_per_unit", 3),
    ("disk B/{unit}", "disk_bytes_per_unit", 0),
    ("flushes/{unit}", "flushes_per_unit", 2),
    ("RSS MiB", "rss_mib", 0),
]


class Spread(typing.NamedTuple):
    """Median, lowest and highest."""

    middle: float
    low: float
    high: float

    def text(self, digits: int) -> str:
        return f"{self.middle:.{digits}f} ({self.low:.{digits}f}–{self.high:.{digits}f})"


def spread(values: typing.Iterable[float]) -> Spread:
    ordered = list(values)
    return Spread(statistics.median(ordered), min(ordered), max(ordered))


def line(figures: dict) -> str:
    """One measurement, as it comes."""
    return (
        f"round {figures['round']} {figures['workload']:<6} {figures['target']:<30} in flight {figures['in_flight']:>4}: "
        f"{figures['per_second']:>8.1f} {figures['unit']}s/s  p50 {figures['p50_ms']:>8.2f} ms  CPU {figures['cpu_ms_per_unit']:.3f} ms  "
        f"disk {figures['disk_bytes_per_unit']:.0f} B  flushes {figures['flushes_per_unit']:.2f}  [sync {figures['calibration']['sync_us']:.0f} us]"
    )


def of(report: dict, workload: str, in_flight: int, target: str, against: str | None = None) -> list[dict]:
    """The figures of a server, all or those measured in turn with one peer, by round."""
    found = [
        figures
        for figures in report["figures"]
        if (figures["workload"], figures["in_flight"], figures["target"]) == (workload, in_flight, target)
        and against in (None, figures["against"])
    ]
    return sorted(found, key=lambda figures: figures["round"])


def targets(report: dict, workload: str, in_flight: int) -> list[str]:
    """Who was measured there, in the order of the measurements."""
    here = [f["target"] for f in report["figures"] if (f["workload"], f["in_flight"]) == (workload, in_flight)]
    return list(dict.fromkeys(here))


def in_flights(report: dict, workload: str) -> list[int]:
    """Those that were measured, or were to be."""
    return sorted({one["in_flight"] for one in report["figures"] + report["failed"] if one["workload"] == workload})


def ratios(report: dict, workload: str, in_flight: int, peer: str) -> tuple[Spread | None, Spread | None, int]:
    """Ours to a peer's, round by round: per second, and per second of CPU where its processes are known; and of how many pairs."""
    theirs = {figures["round"]: figures for figures in of(report, workload, in_flight, peer, peer)}
    pairs = [(ours, theirs[ours["round"]]) for ours in of(report, workload, in_flight, OURS, peer) if ours["round"] in theirs]
    if not pairs:
        return None, None, 0
    speed = spread(a["per_second"] / b["per_second"] for a, b in pairs)
    known = all(a["cpu_ms_per_unit"] > 0 and b["cpu_ms_per_unit"] > 0 for a, b in pairs)
    cpu = spread(b["cpu_ms_per_unit"] / a["cpu_ms_per_unit"] for a, b in pairs) if known else None
    return speed, cpu, len(pairs)


def cell(figures: list[dict], field: str, digits: int) -> str:
    """Zero CPU and memory are those of a server whose processes nobody named."""
    values = spread(one[field] for one in figures)
    unknown = field in ("cpu_ms_per_unit", "rss_mib") and values.high == 0
    return "–" if unknown else values.text(digits)


def section(report: dict, workload: str) -> str:
    """One workload."""
    title = WORKLOADS.get(workload, workload)
    rows = []
    unit = UNITS[workload]
    for in_flight in in_flights(report, workload):
        for target in targets(report, workload, in_flight):
            here = of(report, workload, in_flight, target)
            row = [str(in_flight), report["titles"].get(target, target), *(cell(here, field, digits) for _, field, digits in HEAD)]
            if target == OURS:
                row += ["", "", ""]
            else:
                speed, cpu, count = ratios(report, workload, in_flight, target)
                row += [speed.text(2) if speed else "–", cpu.text(2) if cpu else "–", str(count)]
            rows.append(row)
        for failed in report["failed"]:
            if (failed["workload"], failed["in_flight"]) == (workload, in_flight):
                rows.append([str(in_flight), report["titles"].get(failed["peer"], failed["peer"]), f"failed: {plain(failed['why'])}"])
    names = ["in flight", "server", *(name.format(unit=unit) for name, *_ in HEAD), f"Sempre : it, {unit}s/s", "per CPU second", "pairs"]
    text = [f"## {title}", "", f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    text += [f"| {' | '.join(row + [''] * (len(names) - len(row)))} |" for row in rows]
    return "\n".join(text) + "\n"


def plain(text: str) -> str:
    """Fit for a cell."""
    return " ".join(text.split()).replace("|", "\\|")


def markdown(report: dict) -> str:
    """The whole report."""
    at, how = report["machine"], report["protocol"]
    load = f"load {at.get('load before', '')} before, {at.get('load after', 'unknown')} after"
    who = "calls by hand" if how["generator"] == "raw" else f"the official {how['generator'].capitalize()} SDK"
    parts = [
        "# Side by side\n",
        f"{at['cores']} cores ({at['cpu']}), Linux {at['kernel']}; {load}. Begun {report['begun']}, commit {report['commit'] or 'unknown'}.\n",
        f"Load by {who}, {how['seconds']:g} s each, {how['pairs']} pairs: ours and "
        "theirs in turn. Median (lowest–highest); ratios are of pairs. CPU is of all processes of a side, its database included. Bytes and "
        "flushes are the disk's, by everybody.\n",
    ]
    if report["figures"]:
        sync = spread(figures["calibration"]["sync_us"] for figures in report["figures"])
        loops = [figures["calibration"]["loop_ms"] for figures in report["figures"] if "loop_ms" in figures["calibration"]]
        loop = f", the fixed loop in {spread(loops).text(0)} ms" if loops else ""
        parts.append(f"The machine meanwhile: 4 KiB written and synced in {sync.text(0)} us{loop}.\n")
    for workload in dict.fromkeys(one["workload"] for one in report["figures"] + report["failed"]):
        parts.append(section(report, workload))
    measured = {figures["target"] for figures in report["figures"]}
    sides = [name for name in report["titles"] if name in measured]
    if sides:
        parts.append("## The sides\n\n| server | version | of a core, idle |\n|---|---|---|")
        idle = {name: f"{part:.0%}" for name, part in report["idle_cores"].items()}
        rows = [f"| {report['titles'][name]} | {report['versions'].get(name, '')} | {idle.get(name, '')} |" for name in sides]
        parts.append("\n".join(rows) + "\n\nA peer stays up while ours is measured beside it; what it takes idle is a handicap of ours.\n")
    if report["skipped"]:
        parts.append("## Not measured\n")
        parts.append("\n".join(f"- {report['titles'].get(one['peer'], one['peer'])}: {plain(one['why'])}" for one in report["skipped"]) + "\n")
    # A table's head and its rows are one block.
    return "\n".join(parts)

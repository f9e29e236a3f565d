"""Plots of the report of bench/compare: throughput and CPU over workflows in flight (A), and by server where there is one number (B).

Plain SVG by hand: no script, no font, readable on light and dark pages. The whole range of the rounds is drawn, not the median alone.
"""

import math
import pathlib
import typing
from xml.sax.saxutils import escape

from . import table
from .take import UNITS

WIDTH, HEIGHT = 960, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 390, 56, 52
ROW = 34
# Between the axis and the first point, and after the last.
INSET = 22
# Told apart by the common kinds of colour blindness, on white and on black; ours first.
COLOURS = ["#d55e00", "#0072b2", "#4a9fd8", "#009e73", "#46c79e", "#a8538a", "#cc79a7", "#8a7a00", "#7a7a7a", "#b08d57"]
MARKS = ["circle", "square", "square", "diamond", "diamond", "triangle", "triangle", "circle", "square", "diamond"]
STYLE = """\
  text { font: 12px system-ui, sans-serif; fill: #222 }
  .title { font-size: 15px; font-weight: 600 }
  .quiet { fill: #666 }
  .grid { stroke: #ddd } .axis { stroke: #888 } .back { fill: #fff }
  .link { stroke: #bbb; stroke-dasharray: 2 2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #eee } .quiet { fill: #aaa } .grid { stroke: #333 } .axis { stroke: #888 } .back { fill: #111 } .link { stroke: #555 }
  }"""


class Axis(typing.NamedTuple):
    """A logarithmic one: servers differ by orders of magnitude."""

    low: float
    high: float

    @classmethod
    def over(cls, values: list[float]) -> "Axis":
        """Whole steps of 1, 2, 5 around the values."""
        return cls(step_below(min(values)), step_above(max(values)))

    def part(self, value: float) -> float:
        """0 at its low end, 1 at its high one."""
        return math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self) -> list[float]:
        exponents = range(math.floor(math.log10(self.low)) - 1, math.ceil(math.log10(self.high)) + 1)
        steps = [digit * 10.0**exponent for exponent in exponents for digit in (1, 2, 5)]
        inside = [value for value in steps if self.low * 0.999 <= value <= self.high * 1.001]
        # Over more than three decades the powers alone.
        return [value for value in inside if len(inside) <= 10 or is_power(value)]


def is_power(value: float) -> bool:
    exponent = math.log10(value)
    return abs(exponent - round(exponent)) < 1e-6


def step_below(value: float) -> float:
    """The largest of 1, 2, 5, 10, 20 … below."""
    base = 10.0 ** math.floor(math.log10(value))
    return max(step for step in (base / 2, base, 2 * base, 5 * base) if step < value * (1 - 1e-9))


def step_above(value: float) -> float:
    base = 10.0 ** math.floor(math.log10(value))
    return min(step for step in (2 * base, 5 * base, 10 * base, 20 * base) if step > value * (1 + 1e-9))


def number(value: float) -> str:
    """As few digits as tell it."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.3g}"


def mark(kind: str, x: float, y: float, colour: str) -> str:
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
    if kind == "square":
        return f'<rect x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7" fill="{colour}"/>'
    points = {"diamond": [(0, -5), (5, 0), (0, 5), (-5, 0)], "triangle": [(0, -5), (5, 4), (-5, 4)]}[kind]
    return f'<polygon points="{" ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in points)}" fill="{colour}"/>'


def words(x: float, y: float, said: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escape(said)}</text>'


def page(title: str, below: str, height: float, body: list[str]) -> str:
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{STYLE}\n</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}"/>',
        words(16, 24, title, ' class="title"'),
        words(16, 42, below, ' class="quiet"'),
    ]
    return "\n".join([*head, *body, "</svg>"]) + "\n"


def apart(places: list[float], gap: float, low: float, high: float) -> list[float]:
    """Places of labels near those wanted, in order, that do not overlap and stay inside where there is room."""
    found: list[float] = []
    for place in places:
        found.append(max(place, found[-1] + gap if found else low))
    # What was pushed out below is pushed back up.
    limit = high
    for at in range(len(found) - 1, -1, -1):
        found[at] = min(found[at], limit)
        limit = found[at] - gap
    return found


class Series(typing.NamedTuple):
    """One server over the numbers in flight."""

    title: str
    points: list[tuple[int, table.Spread]]


def series(report: dict, workload: str, field: str) -> list[Series]:
    """Ours first; of a peer what was measured with it. None of a server whose figure is unknown."""
    everybody = dict.fromkeys(f["target"] for f in report["figures"] if f["workload"] == workload)
    found = []
    for target in everybody:
        points = []
        for in_flight in table.in_flights(report, workload):
            values = [figures[field] for figures in table.of(report, workload, in_flight, target)]
            if values and min(values) > 0:
                points.append((in_flight, table.spread(values)))
        if points:
            found.append(Series(report["titles"].get(target, target), points))
    return found


def lines(title: str, below: str, all_series: list[Series]) -> str:
    """One line a server, with its range at each point."""
    in_flights = sorted({in_flight for one in all_series for in_flight, _ in one.points})
    axis = Axis.over([value for one in all_series for _, spread in one.points for value in spread])
    inner = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    # Side by side at equal steps, whatever the numbers: 1, 16, 64, 256 are four places.
    step = (inner[0] - 2 * INSET) / max(1, len(in_flights) - 1)

    def x(in_flight: int) -> float:
        return LEFT + INSET + step * in_flights.index(in_flight)

    def y(value: float) -> float:
        return TOP + inner[1] * (1 - axis.part(value))

    body = []
    for tick in axis.ticks():
        body.append(f'<line class="grid" x1="{LEFT}" x2="{LEFT + inner[0]}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        body.append(words(LEFT - 8, y(tick) + 4, number(tick), ' text-anchor="end"'))
    floor = TOP + inner[1]
    body.append(f'<line class="axis" x1="{LEFT}" x2="{LEFT + inner[0]}" y1="{floor}" y2="{floor}"/>')
    body += [words(x(n), floor + 18, str(n), ' text-anchor="middle"') for n in in_flights]
    body.append(words(LEFT + inner[0] / 2, floor + 38, "workflows in flight", ' text-anchor="middle" class="quiet"'))
    ends = []
    for at, one in enumerate(all_series):
        colour, kind = COLOURS[at % len(COLOURS)], MARKS[at % len(MARKS)]
        # A little aside, so that ranges at one place are seen side by side.
        aside = (at - (len(all_series) - 1) / 2) * 3
        places = [(x(n) + aside, spread) for n, spread in one.points]
        path = " ".join(f"{px:.1f},{y(spread.middle):.1f}" for px, spread in places)
        body.append(f'<g><title>{escape(one.title)}</title><polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for px, spread in places:
            body.append(f'<line x1="{px:.1f}" x2="{px:.1f}" y1="{y(spread.low):.1f}" y2="{y(spread.high):.1f}" stroke="{colour}" stroke-width="1.5" opacity="0.7"/>')
            body.append(mark(kind, px, y(spread.middle), colour))
        body.append("</g>")
        ends.append((y(places[-1][1].middle), places[-1][0], one.title, kind, colour))
    ends.sort()
    labels = apart([end[0] for end in ends], 16, TOP, floor)
    edge = LEFT + inner[0] + 34
    for (end_y, end_x, text, kind, colour), label_y in zip(ends, labels):
        body.append(f'<line class="link" x1="{end_x + 6:.1f}" x2="{edge - 8}" y1="{end_y:.1f}" y2="{label_y:.1f}"/>')
        body.append(mark(kind, edge, label_y, colour))
        body.append(words(edge + 10, label_y + 4, text))
    return page(title, below, HEIGHT, body)


def rows(title: str, below: str, all_series: list[Series]) -> str:
    """One row a server, where all have one number in flight."""
    axis = Axis.over([value for one in all_series for _, spread in one.points for value in spread])
    height = TOP + ROW * len(all_series) + BOTTOM
    left, right = 360, 70
    inner = WIDTH - left - right

    def x(value: float) -> float:
        return left + inner * axis.part(value)

    floor = height - BOTTOM
    body = []
    for tick in axis.ticks():
        body.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" y2="{floor}"/>')
        body.append(words(x(tick), floor + 18, number(tick), ' text-anchor="middle"'))
    for at, one in enumerate(all_series):
        colour, y = COLOURS[at % len(COLOURS)], TOP + ROW * (at + 0.5)
        spread = one.points[0][1]
        body.append(words(left - 12, y + 4, one.title, ' text-anchor="end"'))
        body.append(f'<line x1="{x(spread.low):.1f}" x2="{x(spread.high):.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="4" opacity="0.5"/>')
        body.append(mark(MARKS[at % len(MARKS)], x(spread.middle), y, colour))
        body.append(words(x(spread.high) + 8, y + 4, number(spread.middle)))
    return page(title, below, height, body)


def plots(report: dict) -> dict[str, str]:
    """File names and texts; none of what was not measured."""
    found = {}
    how = f"median and whole range of {report['protocol']['pairs']} rounds, logarithmic"
    for workload in dict.fromkeys(figures["workload"] for figures in report["figures"]):
        unit, letter = UNITS[workload], {"short": "A", "steps": "B"}[workload]
        for name, field, said in (("throughput", "per_second", f"{unit}s per second"), ("cpu", "cpu_ms_per_unit", f"CPU ms per {unit}")):
            all_series = series(report, workload, field)
            if not all_series:
                continue
            title = f"{letter}: {said}" + (", all processes of a side" if name == "cpu" else "")
            draw = lines if len(table.in_flights(report, workload)) > 1 else rows
            found[f"{workload}-{name}.svg"] = draw(title, how, all_series)
    return found


def write(report: dict, folder: pathlib.Path) -> list[pathlib.Path]:
    """All of them into a folder."""
    written = []
    for name, text in plots(report).items():
        (folder / name).write_text(text)
        written.append(folder / name)
    return written

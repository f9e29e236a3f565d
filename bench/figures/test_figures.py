"""Tests of the figures' arithmetic, the table and the plots: `python3 -m unittest discover -s bench -t bench`."""

import argparse
import asyncio
import contextlib
import io
import json
import os
import pathlib
import sys
import tempfile
import time
import unittest
import xml.etree.ElementTree as xml
from unittest import mock

from . import load, meter, plot, table, take
from .arguments import numbers, positive


def one(target: str, number: int, per_second: float, cpu: float, against: str = "other", workload: str = "short", in_flight: int = 16) -> dict:
    """A measurement in which only these say something."""
    spent = {"seconds": 2.0, "cpu_seconds": cpu * per_second * 2 / 1000, "disk_bytes": 4096, "flushes": 2, "rss_mib": 10.0, "rss_peak_mib": 12.0, "parts": {}}
    place = take.Place(workload, target, in_flight, number, take.UNITS[workload])
    found = take.figures(place, round(per_second * 2), [1000, 3000, 2000], spent, {"sync_us": 100.0 * number, "loop_ms": 50.0})
    return {**found, "against": against}


def report(figures: list[dict], **more) -> dict:
    """A report around some figures."""
    return {
        "begun": "2026-01-01T00:00:00+00:00",
        "commit": "abc",
        "machine": {"cores": 2, "cpu": "a CPU", "kernel": "6.1", "load before": "1.0", "load after": "2.0"},
        "protocol": {"generator": "raw", "pairs": 3, "seconds": 2.0, "workloads": ["short"], "in_flight": [16]},
        "versions": {"sempre": "0.1.0", "other": "9"},
        "titles": {"sempre": "Sempre", "other": "The Other", "third": "A <third> & last"},
        "idle_cores": {"other": 0.07},
        "skipped": [],
        "failed": [],
        "figures": figures,
        **more,
    }


PAIRS = [
    one("sempre", 1, 1000, 0.5),
    one("other", 1, 100, 5.0),
    one("sempre", 2, 3000, 0.5),
    one("other", 2, 100, 5.0),
    one("sempre", 3, 1200, 0.6),
    one("other", 3, 60, 3.0),
]


class Arithmetic(unittest.TestCase):
    def test_figures_are_per_unit(self):
        found = one("sempre", 1, 500, 0.25)
        self.assertEqual((found["units"], found["per_second"], found["p50_ms"], found["p99_ms"]), (1000, 500.0, 2.0, 2.0))
        self.assertEqual((found["cpu_ms_per_unit"], found["disk_bytes_per_unit"], found["flushes_per_unit"]), (0.25, 4.096, 0.002))

    def test_nothing_has_a_quantile_of_zero(self):
        self.assertEqual(take.quantile([], 0.5), 0.0)
        self.assertEqual(take.quantile([5000], 0.99), 5.0)

    def test_ratios_are_of_pairs_and_not_of_medians(self):
        speed, cpu, count = table.ratios(report(PAIRS), "short", 16, "other")
        self.assertEqual((speed.middle, speed.low, speed.high, count), (20.0, 10.0, 30.0, 3))
        self.assertEqual([round(value, 9) for value in cpu], [10.0, 5.0, 10.0])

    def test_a_peer_is_compared_with_what_was_measured_beside_it_only(self):
        beside_another = one("sempre", 1, 10, 1.0, against="third")
        speed, _, count = table.ratios(report(PAIRS + [beside_another]), "short", 16, "other")
        self.assertEqual((speed.low, count), (10.0, 3))

    def test_a_round_that_lacks_its_other_half_is_no_pair(self):
        speed, _, count = table.ratios(report(PAIRS[:5]), "short", 16, "other")
        self.assertEqual((speed.high, count), (30.0, 2))

    def test_there_is_no_ratio_of_unknown_cpu(self):
        pairs = [one("sempre", 1, 1000, 0.5), one("other", 1, 100, 0.0)]
        speed, cpu, _ = table.ratios(report(pairs), "short", 16, "other")
        self.assertEqual((speed.middle, cpu), (10.0, None))


class Table(unittest.TestCase):
    def test_rows_have_medians_ranges_and_ratios(self):
        text = table.markdown(report(PAIRS))
        self.assertIn("| 16 | Sempre | 1200 (1000–3000) | 2.00 (2.00–2.00) | 2.00 (2.00–2.00) | 0.500 (0.500–0.600) |", text)
        self.assertIn("| The Other | 100 (60–100) |", text)
        self.assertIn("| 20.00 (10.00–30.00) | 10.00 (5.00–10.00) | 3 |", text)
        self.assertIn("| The Other | 9 | 7% |", text)
        self.assertIn("4 KiB written and synced in 200 (100–300) us, the fixed loop in 50 (50–50) ms", text)

    def test_every_row_has_as_many_cells_as_the_head(self):
        failed = [{"peer": "third", "workload": "short", "in_flight": 16, "why": "it | said\nno"}]
        lines = [line for line in table.section(report(PAIRS, failed=failed), "short").splitlines() if line.startswith("|")]
        cells = {line.replace("\\|", "").count("|") for line in lines}
        self.assertEqual((len(lines), len(cells)), (5, 1), lines)

    def test_what_was_skipped_and_what_failed_is_said(self):
        skipped = [{"peer": "third", "why": "`npm` is not installed"}]
        failed = [{"peer": "other", "workload": "steps", "in_flight": 1, "why": "it ended"}]
        text = table.markdown(report(PAIRS, skipped=skipped, failed=failed))
        self.assertIn("- A <third> & last: `npm` is not installed", text)
        self.assertIn("| 1 | The Other | failed: it ended |", text)

    def test_unknown_cpu_and_memory_are_not_zero(self):
        pairs = [one("sempre", 1, 1000, 0.5), {**one("other", 1, 100, 0.0), "rss_mib": 0.0}]
        row = next(line for line in table.markdown(report(pairs)).splitlines() if "| The Other |" in line)
        self.assertEqual([cell.strip() for cell in row.split("|")][6:10:3], ["–", "–"])

    def test_nothing_measured_is_a_table_all_the_same(self):
        self.assertIn("# Side by side", table.markdown(report([])))


class Plots(unittest.TestCase):
    def setUp(self):
        self.report = json.loads((pathlib.Path(__file__).parent / "fixture" / "compare.json").read_text())
        self.plots = plot.plots(self.report)

    def test_there_is_a_plot_of_each_workload_and_figure_and_all_are_xml(self):
        self.assertEqual(sorted(self.plots), ["short-cpu.svg", "short-throughput.svg", "steps-cpu.svg", "steps-throughput.svg"])
        for name, text in self.plots.items():
            root = xml.fromstring(text)
            self.assertTrue(root.tag.endswith("svg"), name)
            self.assertIn("prefers-color-scheme: dark", text)

    def test_everybody_is_labelled_once(self):
        texts = [element.text for element in xml.fromstring(self.plots["short-throughput.svg"]).iter() if element.tag.endswith("}text")]
        for title in self.report["titles"].values():
            self.assertEqual(texts.count(title), 1, title)

    def test_a_point_is_where_its_value_is_and_its_range_is_drawn(self):
        root = xml.fromstring(self.plots["short-throughput.svg"])
        group = next(element for element in root.iter() if element.tag.endswith("}g") and element[0].text == "Sempre")
        line = next(element for element in group if element.tag.endswith("}polyline"))
        places = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        self.assertEqual(len(places), 4)
        # More per second is higher up; the fixture grows from 500 to 3,000.
        self.assertEqual([y for _, y in places], sorted((y for _, y in places), reverse=True))
        ranges = [element for element in group if element.tag.endswith("}line")]
        self.assertEqual(len(ranges), 4)
        for (x, y), drawn in zip(places, ranges):
            self.assertAlmostEqual(float(drawn.get("x1")), x)
            self.assertLessEqual(float(drawn.get("y2")), y)
            self.assertGreaterEqual(float(drawn.get("y1")), y)

    def test_all_that_is_drawn_is_on_the_page(self):
        for name, text in self.plots.items():
            root = xml.fromstring(text)
            width, height = float(root.get("width")), float(root.get("height"))
            for element in root.iter():
                for field, most in (("x", width), ("x1", width), ("x2", width), ("cx", width), ("y", height), ("y1", height), ("y2", height), ("cy", height)):
                    if element.get(field) is not None:
                        self.assertTrue(0 <= float(element.get(field)) <= most, (name, element.tag, field, element.get(field)))

    def test_texts_fit_the_page(self):
        for name, text in self.plots.items():
            for element in xml.fromstring(text).iter():
                if element.tag.endswith("}text"):
                    # A wide guess of 12 px letters; titles are larger.
                    wide = len(element.text) * (9.5 if element.get("class") == "title" else 6.5)
                    start = float(element.get("x")) - {"end": wide, "middle": wide / 2}.get(element.get("text-anchor"), 0)
                    self.assertTrue(0 <= start and start + wide <= plot.WIDTH, (name, element.text, start))

    def test_a_server_whose_cpu_nobody_knows_is_not_in_the_plot_of_cpu(self):
        pairs = [one("sempre", 1, 1000, 0.5), one("other", 1, 100, 0.0)]
        found = plot.plots(report(pairs))
        self.assertIn("The Other", found["short-throughput.svg"])
        self.assertNotIn("The Other", found["short-cpu.svg"])

    def test_names_are_escaped(self):
        pairs = [one("sempre", 1, 1000, 0.5), one("third", 1, 100, 1.0, against="third")]
        found = plot.plots(report(pairs))["short-throughput.svg"]
        xml.fromstring(found)
        self.assertIn("A &lt;third&gt; &amp; last", found)

    def test_axes_go_from_step_to_step(self):
        self.assertEqual(plot.Axis.over([3.0, 40.0]), plot.Axis(2.0, 50.0))
        self.assertEqual(plot.Axis.over([100.0]), plot.Axis(50.0, 200.0))
        self.assertEqual(plot.Axis.over([0.011, 0.9]), plot.Axis(0.01, 1.0))
        self.assertEqual(plot.Axis(10.0, 100.0).ticks(), [10.0, 20.0, 50.0, 100.0])
        self.assertEqual([plot.number(value) for value in (1234.5, 12.3, 0.051, 2.0)], ["1,234", "12", "0.051", "2"])

    def test_labels_do_not_overlap_and_stay_inside(self):
        found = plot.apart([50, 51, 52, 99], 10, 0, 100)
        self.assertTrue(all(b - a >= 10 for a, b in zip(found, found[1:])), found)
        self.assertLessEqual(found[-1], 100)


class Taking(unittest.TestCase):
    """Drivers are small programs of their own here."""

    def drive(self, program: str, **more) -> dict:
        place = take.Place("short", "x", 1, 1, "workflow")
        with tempfile.TemporaryDirectory() as folder:
            return take.drive([sys.executable, "-c", program], place, 0.1, pathlib.Path(folder), [], counts_itself=True, **more)

    def test_what_a_driver_burns_between_its_words_is_counted(self):
        program = (
            "import time\n"
            "def burn(s):\n  until = time.process_time() + s\n  while time.process_time() < until: pass\n"
            "burn(0.3); print('begin', flush=True); input(); burn(0.2); print('end', flush=True); input(); burn(0.3)\n"
            "print('{\"units\": 10, \"latencies_us\": [2000, 4000, 6000]}')"
        )
        found = self.drive(program, steps=2)
        self.assertEqual((found["units"], found["p50_ms"]), (10, 2.0))
        # The kernel counts in hundredths of a second.
        self.assertTrue(18 <= found["cpu_ms_per_unit"] <= 23, found)
        self.assertAlmostEqual(found["more"]["program CPU ms"], found["cpu_ms_per_unit"])

    def test_a_driver_that_fails_is_quoted(self):
        with self.assertRaisesRegex(take.Failed, "no database"):
            self.drive("import sys; print('begin', flush=True); sys.exit('no database')")

    def test_an_error_is_told_rather_than_what_stands_around_it(self):
        self.assertEqual(take.reason("warning: x\nerror: no such option\n\nUsage: y\nFor more, z\n", 2), "error: no such option")
        self.assertEqual(take.reason("a\nb\nc\nd\n", 1), "b / c / d")
        self.assertEqual(take.reason("", 3), "it ended with 3 and said nothing")

    def test_a_driver_that_completes_nothing_has_failed(self):
        with self.assertRaisesRegex(take.Failed, "nothing was completed"):
            self.drive("print('begin'); print('end'); print('{\"units\": 0, \"latencies_us\": []}')")

    def test_a_driver_without_a_result_has_failed(self):
        with self.assertRaisesRegex(take.Failed, "said nothing"):
            self.drive("print('begin'); print('end')")

    def test_a_program_that_is_not_there_is_named(self):
        place = take.Place("short", "x", 1, 1, "workflow")
        with tempfile.TemporaryDirectory() as folder, self.assertRaisesRegex(take.Failed, "/nowhere/x"):
            take.drive(["/nowhere/x"], place, 0.1, pathlib.Path(folder), [])

    def test_a_calibration_leaves_nothing_behind(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertGreater(meter.sync_us(pathlib.Path(folder)), 0)
            self.assertEqual(os.listdir(folder), [])

    def test_memory_of_this_process_is_known(self):
        self.assertGreater(meter.resident_mib(os.getpid()), 1)
        self.assertGreaterEqual(meter.resident_mib(os.getpid(), "VmHWM:"), meter.resident_mib(os.getpid()))


class Load(unittest.TestCase):
    def said(self, one, workload: str, in_flight: int, seconds: float, steps: int) -> tuple[list[str], dict]:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), mock.patch("sys.stdin", io.StringIO("\n\n")):
            asyncio.run(load.drive(one, workload, in_flight, seconds, steps))
        *lines, last = out.getvalue().splitlines()
        return lines, json.loads(last)

    def test_short_ones_are_counted_within_the_time_only(self):
        ended = []

        async def one(key: str) -> None:
            await asyncio.sleep(0.001)
            ended.append((key, time.monotonic()))

        load.WARM_UP_SECONDS, before = 0.05, load.WARM_UP_SECONDS
        try:
            lines, found = self.said(one, "short", 3, 0.1, 1)
        finally:
            load.WARM_UP_SECONDS = before
        self.assertEqual(lines, ["begin", "end"])
        self.assertTrue(0 < found["units"] < len(ended), found)
        self.assertEqual(len(found["latencies_us"]), found["units"])
        self.assertEqual(len({key for key, _ in ended}), len(ended))

    def test_of_steps_whole_workflows_are_counted(self):
        ended = []

        async def one(key: str) -> None:
            await asyncio.sleep(0.01)
            ended.append(key)

        lines, found = self.said(one, "steps", 2, 0.05, 100)
        self.assertEqual(lines, ["begin", "end"])
        # One to warm up is not counted.
        self.assertEqual(found["units"], (len(ended) - 1) * 100)
        self.assertGreaterEqual(min(found["latencies_us"]), 10_000)

    def test_a_workflow_that_fails_ends_it(self):
        async def one(_: str) -> None:
            raise RuntimeError("refused")

        for workload in ("short", "steps"):
            with self.assertRaisesRegex(RuntimeError, "refused"):
                self.said(one, workload, 2, 0.05, 1)


class Arguments(unittest.TestCase):
    def test_numbers(self):
        self.assertEqual(numbers("1,16"), [1, 16])
        for wrong in ("", "x", "1,,2", "0", "-1"):
            with self.assertRaises(argparse.ArgumentTypeError, msg=wrong):
                numbers(wrong)

    def test_seconds_and_rounds(self):
        self.assertEqual(positive("25"), 25)
        for wrong in ("", "x", "0", "-1", "2.5", "inf"):
            with self.assertRaises(argparse.ArgumentTypeError, msg=wrong):
                positive(wrong)


if __name__ == "__main__":
    unittest.main()

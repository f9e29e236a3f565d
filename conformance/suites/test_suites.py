"""Tests of what reads output and compares with lists: `python3 -m unittest discover -s conformance`."""

import pathlib
import unittest

from . import expected
from .expected import Expectation, Subjects
from .outcome import FAILED, FLAKY, PASSED, SKIPPED, Outcome, feature, junit, libtest_names, libtest_reason, one_line, python_reason, table, tap
from .run import Run, exactly


def outcome(test: str, state: str, reason: str = "") -> Outcome:
    return Outcome(test, state, 0.0, reason)


class Reading(unittest.TestCase):
    def test_a_listing_of_libtest(self):
        self.assertEqual(libtest_names("a::b: test\na::c::case_1: test\nd: benchmark\n\n2 tests, 1 benchmark\n"), ["a::b", "a::c::case_1"])

    def test_the_first_panic_is_the_reason(self):
        output = (
            "running 1 test\n\nthread 'a' (7) panicked at tests/x.rs:1:2:\nassertion failed\n  left: 1\nnote: run with\n"
            "thread 'b' panicked at y.rs:3:4:\nsecond\n\nfailures:\n"
        )
        self.assertEqual(libtest_reason(output), "assertion failed left: 1 (tests/x.rs:1:2)")
        self.assertEqual(libtest_reason("x\nError: Rpc(Status { code: Unimplemented })\n"), "Error: Rpc(Status { code: Unimplemented })")
        self.assertEqual(libtest_reason("killed"), "ended without a panic message")

    def test_a_junit_report(self):
        report = """<testsuites><testsuite>
            <testcase classname="tests.a" name="passes[x-1]" time="0.5"/>
            <testcase classname="tests.a" name="fails" time="1"><failure message="E\tx\ny">long</failure></testcase>
            <testcase classname="tests.a" name="skips" time="0"><skipped type="pytest.skip" message="no server"/></testcase>
            <testcase classname="tests.a" name="fails" time="1"><error message="teardown"/></testcase>
            <testcase classname="tests.a" name="breaks at its end" time="1"/>
            <testcase classname="tests.a" name="breaks at its end" time="1"><error message="teardown"/></testcase>
        </testsuite></testsuites>"""
        self.assertEqual(
            junit(report),
            [
                Outcome("tests.a::passes[x-1]", PASSED, 0.5, ""),
                Outcome("tests.a::fails", FAILED, 1.0, "E x y"),
                Outcome("tests.a::skips", SKIPPED, 0.0, "no server"),
                Outcome("tests.a::breaks at its end", FAILED, 1.0, "teardown"),
            ],
        )

    def test_a_feature(self):
        self.assertEqual(feature("a/b", 0, 1, "INFO:__main__:All features passed\n").state, PASSED)
        self.assertEqual(feature("a/b", -6, 1, "INFO:__main__:All features passed\nFatal Python error: finalizing").state, PASSED)
        skipped = feature("a/b", 0, 1, "INFO:harness.python.feature:Skipping feature a/b because Server too old\nINFO:All")
        self.assertEqual((skipped.state, skipped.reason), (SKIPPED, "Server too old"))
        failed = feature("a/b", 1, 1, "Traceback:\n  File\ntemporalio.service.RPCError: not found\n\nRuntimeError: 1 feature(s) failed")
        self.assertEqual((failed.state, failed.reason), (FAILED, "temporalio.service.RPCError: not found"))
        self.assertEqual(feature("a/b", None, 90, "").reason, "did not end within 90 s")
        self.assertEqual(python_reason("something\nlast"), "last")

    def test_what_ava_tells(self):
        report = (
            "TAP version 13\nServer: 127.0.0.1:7\nok 1 - passes\na log line\nnot ok 2 - fails - twice\n  ---\n    name: AssertionError\n"
            "    message: 'ok 9 - x'\n  ...\nok 3 - left out # SKIP\nnot ok 4 - planned # TODO\nnot ok 5 - late\nnext\n"
        )
        found = [
            Outcome("test-a::passes", PASSED, 0.0, ""),
            Outcome("test-a::fails - twice", FAILED, 0.0, "name: AssertionError message: 'ok 9 - x'"),
            Outcome("test-a::left out", SKIPPED, 0.0, "SKIP"),
            Outcome("test-a::late", FAILED, 0.0, "no reason told"),
        ]
        self.assertEqual(tap("test-a", report), (found, False))
        self.assertEqual(tap("test-a", report + "\n1..5\n"), (found, True))

    def test_a_reason_is_one_bounded_field(self):
        self.assertEqual(one_line("a\tb\n \x1b[31mc\x1b[0m"), "a b c")
        self.assertEqual(len(one_line("x" * 10_000)), 240)

    def test_a_table_is_sorted_and_has_a_head(self):
        rows = table("d1", [outcome("b", FAILED, "why"), outcome("a", PASSED)], lambda test: "s").splitlines()
        self.assertEqual(rows[1:], ["d1\ta\tpassed\ts\t0.0\t", "d1\tb\tfailed\ts\t0.0\twhy"])
        self.assertEqual(rows[0].count("\t"), rows[1].count("\t"))


class Comparing(unittest.TestCase):
    listed = {
        "fails": Expectation(FAILED, "nexus", "not built"),
        "skips": Expectation(SKIPPED, "workflows", "declared non-goal"),
        "either": Expectation(FLAKY, "workflows", "a race of its own"),
    }
    as_listed = [outcome("fails", FAILED), outcome("skips", SKIPPED), outcome("either", PASSED), outcome("passes", PASSED)]

    def test_a_list_as_text(self):
        text = expected.write(self.listed, "# head\n")
        self.assertEqual(expected.read(text), self.listed)
        self.assertEqual(expected.comments(text), "# head\n")
        for wrong in ("a\tfailed\tnexus", "a\tfailed\tnexus\t ", "a\tpassed\tx\ty", "a\tfailed\tx\ty\na\tfailed\tx\ty"):
            with self.assertRaises(ValueError):
                expected.read(wrong)

    def test_a_run_as_listed_says_nothing(self):
        self.assertEqual(expected.differences(self.listed, self.as_listed, 0), [])
        self.assertEqual(expected.differences(self.listed, [outcome("either", FAILED)], None), [])

    def test_whatever_begins_to_pass_fail_skip_come_or_go_is_a_difference(self):
        found = [outcome("fails", PASSED), outcome("skips", FAILED, "x"), outcome("either", SKIPPED), outcome("new", FAILED, "y")]
        self.assertEqual(len(expected.differences(self.listed, found, 0)), 4)
        self.assertIn("new failed, expected passed: y", expected.differences(self.listed, found, 0))
        self.assertIn("either is listed, but the suite does not have it", expected.differences(self.listed, [outcome("fails", FAILED)], 0))
        self.assertEqual(expected.differences(self.listed, [outcome("fails", FAILED)], None), [])

    def test_a_suite_that_has_shrunk_is_a_difference(self):
        self.assertEqual(expected.differences(self.listed, self.as_listed, len(self.as_listed)), [])
        said = expected.differences({}, [outcome("passes", PASSED)], 2)
        self.assertEqual(said, ["only 1 tests ran, the suite has 2 at least"])

    def test_a_list_brought_to_a_run_keeps_reasons_and_marks_what_is_new(self):
        found = [outcome("fails", FAILED, "other"), outcome("skips", PASSED), outcome("either", PASSED), outcome("new", FAILED, "y")]
        updated = expected.update(self.listed, found, lambda test: "workflows")
        self.assertEqual(set(updated), {"fails", "either", "new"})
        self.assertEqual(updated["fails"], self.listed["fails"])
        self.assertEqual(expected.differences(updated, found, 0), ["new is listed without a true reason"])

    def test_a_score_counts_skips_and_flakes_as_not_passed(self):
        subjects = Subjects([("pass", "workflows"), ("floor", "nexus")], self.listed, {"floor"})
        rows = expected.score([*self.as_listed, outcome("floor", PASSED)], self.listed, subjects)
        self.assertEqual(rows, [("workflows", 3, 1, 1, 1), ("nexus", 1, 0, 1, 0), ("without server", 1, 1, 0, 0)])
        self.assertEqual(expected.summary("d1", rows).splitlines()[-1], "d1\tall that counts\t4\t1\t2\t1\t25.0")

    def test_what_ends_as_listed_when_run_again_by_itself_is_flaky_and_not_passed(self):
        found = [outcome("fails", PASSED), outcome("skips", FAILED, "x"), outcome("new", FAILED, "y"), outcome("gone", FAILED, "z")]
        self.assertEqual(expected.contradicting(self.listed, found), ["fails", "gone", "new", "skips"])
        again = [outcome("fails", FAILED, "w"), outcome("skips", FAILED, "x"), outcome("new", PASSED), outcome("gone", FAILED, "z")]
        found = expected.settled(self.listed, found, again)
        self.assertEqual([o.state for o in found], [FLAKY, FAILED, FLAKY, FAILED])
        self.assertEqual(found[2].reason, "failed, by itself passed: y")
        self.assertEqual([said.split()[0] for said in expected.differences(self.listed, found, None)], ["gone", "skips"])
        rows = expected.score(found, self.listed, Subjects([], {}, set()))
        self.assertEqual(rows, [("workflows", 4, 0, 4, 0)])

    def test_an_expression_wants_the_named_tests_only(self):
        run = Run("d1", "", None, pathlib.Path(), exactly(["a::b", "c[1]"]), 1, None)
        self.assertEqual([test for test in ("a::b", "a::bb", "xa::b", "c[1]", "c1") if run.wants(test)], ["a::b", "c[1]"])

    def test_the_checked_in_lists_are_whole(self):
        for path in expected.FOLDER.glob("*.tsv"):
            with self.subTest(path.name):
                self.assertFalse([test for test, e in expected.read(path.read_text()).items() if e.reason.startswith(expected.UNEXAMINED)])


if __name__ == "__main__":
    unittest.main()

"""Every hostile submission is contained: a verdict, in time, that is true, and nothing left behind.

With `-n 2`, several to a run, as one run must stand many of them; and alone, each in a run of its own: a third of
them, always the same, and all with `--slow`.
"""

from __future__ import annotations

import os
import statistics
import time
from functools import cache
from pathlib import Path

import pytest

from tests.judging.hostile import DEADLINE, SUBMISSIONS, Submission, last_row, make_dojo, pytest_in, run, run_together

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no supervisor without fork")

TOGETHER = 10
SHARE = 3
ONE_BY_ONE = [s for s in SUBMISSIONS if s.during is not None]
GROUPS = [s for s in SUBMISSIONS if s.during is None]
GROUPS = [GROUPS[i::TOGETHER] for i in range(TOGETHER)]


@cache
def start_up(folder: Path) -> float:
    """Seconds that a green run takes here and now: the limits are beyond that."""
    make_dojo(folder)
    times = []
    for _ in range(3):
        start = time.monotonic()
        pytest_in(folder).communicate()
        times.append(time.monotonic() - start)
    return statistics.median(times)


@pytest.mark.parametrize(
    "submission",
    [pytest.param(s, id=s.name, marks=[] if i % SHARE == 0 else [pytest.mark.slow]) for i, s in enumerate(SUBMISSIONS)],
)
def test_alone(submission, tmp_path, tmp_path_factory):
    usual = start_up(tmp_path_factory.getbasetemp() / "usual")
    ended = run(make_dojo(tmp_path), submission)
    # A machine that is busy with other tests is slower by the next run.
    assert ended.faults(submission, DEADLINE + 5 + 5 * usual) == [], ended.output


@pytest.mark.parametrize("group", GROUPS, ids=[group[0].name for group in GROUPS])
def test_together_in_two_workers(group, tmp_path):
    ended = run_together(tmp_path, group, "-n", "2")
    faults = [
        (submission.name, fault)
        for submission, one in zip(group, ended, strict=True)
        for fault in one.faults(submission, 600)
        if not (submission.colour == "green" and fault.startswith("exit status 1"))  # the others' doing
    ]
    assert faults == [], ended[0].output
    assert last_row(tmp_path, "double") == ({"test_double": "green", "test_nothing": "green"}, True)


@pytest.mark.parametrize("submission", [*ONE_BY_ONE, GROUPS[0][0]], ids=lambda s: s.name)
def test_alone_in_two_workers(submission: Submission, tmp_path):
    ended = run(make_dojo(tmp_path), submission, "-n", "2")
    assert ended.faults(submission, 120) == [], ended.output
    assert ended.output.count("replacing crashed worker") <= 1


def test_a_check_that_finds_nothing_is_no_check(tmp_path):
    """The judge of the runs above sees a green run for what it is."""
    ended = run(make_dojo(tmp_path), Submission("right", colour="amber", says="something"))
    found = ended.faults(Submission("right", colour="amber", says="something"), 0.0)
    assert len(found) == 5 and "the record says green, expected amber" in found

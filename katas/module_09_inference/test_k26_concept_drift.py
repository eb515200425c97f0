"""Judges k26_concept_drift by its formulas, computed anew at each step, and by streams with and without a planted change."""

import itertools
import math

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_09_inference.k26_concept_drift import DDM, PageHinkley, calibrate, first_alarm, judge

pytestmark = [from_scratch("river"), pure("first_alarm")]


def page_hinkley(values: list[float], delta: float, threshold: float, warmup: int) -> list[bool]:
    """The formula for each beginning of the stream, from scratch; after an alarm the stream begins anew."""
    found, begin = [], 0
    for end in range(1, len(values) + 1):
        x = np.array(values[begin:end])
        m = np.cumsum(x - np.cumsum(x) / np.arange(1, len(x) + 1) - delta)
        found.append(bool(len(x) >= warmup and m[-1] - m.min() > threshold))
        begin = end if found[-1] else begin
    return found


class TestPageHinkley:
    def test_the_example_worked_by_hand(self):
        detector = PageHinkley(0.5, 3.0, 1)
        assert_equal([detector.update(x) for x in (1, 1, 1, 5, 5)], [False] * 4 + [True])

    def test_the_threshold_of_the_example_is_passed_by_little(self):
        found = []
        for threshold in (2.45, 2.55, 4.35, 4.45):
            detector = PageHinkley(0.5, threshold, 1)
            alarms = [detector.update(x) for x in (1, 1, 1, 5, 5)]
            found.append(alarms.index(True) if True in alarms else None)
        assert_equal(found, [3, 4, 4, None])

    @pytest.mark.parametrize(("delta", "threshold"), [(0.0, 6.0), (0.25, 4.0), (1.0, 2.0)])
    @pytest.mark.parametrize("warmup", [1, 7, 30])
    def test_equals_the_formula(self, rng, delta, threshold, warmup):
        values = np.concatenate([rng.normal(m, 1, 60) for m in (2, 4, 4, 1, 5)]).tolist()
        detector = PageHinkley(delta, threshold, warmup)
        assert_equal([detector.update(x) for x in values], page_hinkley(values, delta, threshold, warmup))

    def test_equal_to_the_threshold_is_no_alarm(self):
        # Means 0, 0, 2: m is 0, 0, 4, and stands exactly 4 above its lowest point.
        found = []
        for threshold in (4.0, 3.75):
            detector = PageHinkley(0.0, threshold, 1)
            found.append([detector.update(x) for x in (0.0, 0.0, 6.0)][-1])
        assert_equal(found, [False, True])

    def test_a_fall_is_no_alarm(self):
        detector = PageHinkley(0.1, 2.0, 1)
        assert_equal([detector.update(x) for x in [5.0] * 20 + [0.0] * 40], [False] * 60)

    def test_values_in_the_warm_up_count(self):
        early = [0.0] * 5 + [4.0] * 5
        detector, later = PageHinkley(0.5, 3.0, 10), PageHinkley(0.5, 3.0, 11)
        assert_equal([detector.update(x) for x in early], [False] * 9 + [True])
        assert_equal([later.update(x) for x in early], [False] * 10)

    def test_a_warm_up_of_30_unless_it_is_said(self):
        detector = PageHinkley(0.0, 1.0)
        assert_equal([detector.update(x) for x in [0.0] * 10 + [9.0] * 20], [False] * 29 + [True])

    def test_after_an_alarm_it_begins_anew(self):
        detector = PageHinkley(0.5, 3.0, 4)
        values = [1.0] * 6 + [9.0] + [9.0] * 12 + [20.0]
        assert_equal([i for i, x in enumerate(values) if detector.update(x)], [6, 19])

    def test_a_value_far_below_at_first(self):
        values = [-100.0, 3.0, 3.0, 3.0, 3.0, 3.0]
        detector = PageHinkley(0.5, 40.0, 1)
        assert_equal([detector.update(x) for x in values], page_hinkley(values, 0.5, 40.0, 1))

    @pytest.mark.parametrize("level", [1e6, -1e6])
    def test_the_level_of_the_values_plays_no_role(self, rng, level):
        values = np.concatenate([rng.normal(0, 1, 50), rng.normal(3, 1, 30)])
        detector = PageHinkley(0.5, 8.0, 10)
        assert_equal(
            [detector.update(x) for x in (values + level).tolist()], page_hinkley(values.tolist(), 0.5, 8.0, 10)
        )

    def test_two_of_them_share_nothing(self):
        one, other = PageHinkley(0.5, 3.0, 1), PageHinkley(0.5, 3.0, 1)
        for _ in range(5):
            one.update(0.0)
        assert_equal((other.update(9.0), one.update(9.0)), (False, True))


def ddm(errors: list[int], warmup: int, warning: float, drift: float) -> list[tuple[str, int]]:
    """State and `recent` after each answer: at each step all answers since the last drift are looked at again."""
    found, begin = [], 0
    for end in range(1, len(errors) + 1):
        some = errors[begin:end]
        sums = []
        for t in range(warmup, len(some) + 1):
            p = sum(some[:t]) / t
            sums.append((p + math.sqrt(p * (1 - p) / t), p, math.sqrt(p * (1 - p) / t)))
        state = "stable"
        if sums:
            now = sums[-1][0]
            _, p, s = min(reversed(sums), key=lambda one: one[0])
            state = "drift" if now > p + drift * s else "warning" if now > p + warning * s else "stable"
        before = found[-1][1] if found and begin < end - 1 else 0
        found.append((state, 0 if state == "stable" else before + 1))
        begin = end if state == "drift" else begin
    return found


def ran(detector: DDM, errors) -> list[tuple[str, int]]:
    return [(detector.update(error), detector.recent) for error in errors]


class TestDDM:
    def test_the_example_worked_by_hand(self):
        expected = [("stable", 0)] * 10 + [("warning", 1), ("warning", 2), ("drift", 3)]
        assert_equal(ran(DDM(4), [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]), expected)

    @pytest.mark.parametrize(("warning", "drift"), [(2.0, 3.0), (1.0, 2.5), (1.5, 1.5)])
    @pytest.mark.parametrize("warmup", [5, 30])
    @pytest.mark.parametrize("rates", [(0.1, 0.5, 0.1, 0.8), (0.3, 0.3), (0.5, 0.05, 0.3)], ids=str)
    def test_equals_the_formula(self, rng, rates, warmup, warning, drift):
        errors = np.concatenate([rng.random(60) < rate for rate in rates]).astype(int).tolist()
        assert_equal(ran(DDM(warmup, warning, drift), errors), ddm(errors, warmup, warning, drift))

    def test_its_numbers_unless_they_are_said(self, rng):
        errors = np.concatenate([rng.random(80) < rate for rate in (0.1, 0.3, 0.6)]).astype(int).tolist()
        assert_equal(ran(DDM(), errors), ddm(errors, 30, 2.0, 3.0))

    def test_a_warm_up_of_30_unless_it_is_said(self):
        # Before the thirtieth answer the rate is lower than it ever is later: whoever looks earlier is warned at once.
        assert_equal(ran(DDM(), [1] + [0] * 28 + [1] * 3)[:30], [("stable", 0)] * 30)

    def test_the_thirtieth_answer_is_looked_at(self):
        assert_equal(ran(DDM(), [0] * 30 + [1])[29:], [("stable", 0), ("drift", 1)])

    def test_a_warning_that_goes_away(self):
        errors = [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1]
        found = ran(DDM(4), errors)
        assert_equal(found, ddm(errors, 4, 2.0, 3.0))
        assert_equal(found[10:13], [("warning", 1), ("stable", 0), ("stable", 0)])

    def test_a_drift_without_a_warning_before(self):
        assert_equal(ran(DDM(3), [0, 0, 0, 0, 1])[-1], ("drift", 1))

    def test_without_errors_all_is_stable(self):
        assert_equal(ran(DDM(5), [0] * 50), [("stable", 0)] * 50)

    def test_with_errors_alone_all_is_stable(self):
        assert_equal(ran(DDM(5), [1] * 50), [("stable", 0)] * 50)

    def test_getting_better_is_no_drift(self):
        assert_equal({state for state, _ in ran(DDM(10), [1, 0] * 30 + [0] * 60)}, {"stable"})

    def test_after_a_drift_it_begins_anew(self):
        errors = [0, 0, 0, 0, 1] + [1, 1, 1, 0] + [0] * 20
        found = ran(DDM(3), errors)
        assert_equal(found[4:8], [("drift", 1), ("stable", 0), ("stable", 0), ("stable", 0)])
        assert_equal(found, ddm(errors, 3, 2.0, 3.0))

    def test_recent_stays_until_the_next_answer(self):
        detector = DDM(4)
        for error in [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]:
            detector.update(error)
        found = [detector.recent, detector.recent]
        detector.update(1)
        assert_equal([*found, detector.recent], [3, 3, 0])

    def test_before_the_first_answer(self):
        assert_equal(DDM().recent, 0)

    @pytest.mark.parametrize("kind", [bool, float, np.bool_, np.int64])
    def test_errors_in_other_types(self, kind):
        errors = [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]
        assert_equal(
            ran(DDM(4), [kind(error) for error in errors])[-3:], [("warning", 1), ("warning", 2), ("drift", 3)]
        )

    def test_two_of_them_share_nothing(self):
        one, other = DDM(3), DDM(3)
        assert_equal(ran(one, [0, 0, 0, 0]), ran(other, [0, 0, 0, 0]))
        assert_equal((one.update(1), one.recent, other.recent, other.update(0)), ("drift", 1, 0, "stable"))


class Played:
    """A detector whose answers are written down beforehand; it notes what it is given."""

    def __init__(self, *answers):
        self.answers, self.given = answers, []

    def update(self, value):
        self.given.append(value)
        at = len(self.given) - 1
        return self.answers[at] if at < len(self.answers) else self.answers[-1]


class TestFirstAlarm:
    @pytest.mark.parametrize(
        ("answers", "expected"),
        [
            ((False, False, True, True), 2),
            (("stable", "warning", "warning", "drift", "stable"), 3),
            (("warning",), None),
            ((False,), None),
            ((True,), 0),
            ((False, np.True_), 1),
        ],
        ids=str,
    )
    def test_where_it_is(self, answers, expected):
        stream = [5, 6, 7, 8, 9]
        assert_equal((first_alarm(Played(*answers), stream), stream), (expected, [5, 6, 7, 8, 9]))

    def test_the_values_go_in_as_they_are(self):
        detector = Played(False, False, False, True)
        first_alarm(detector, (x * x for x in range(2, 9)))
        assert_equal(detector.given, [4, 9, 16, 25])

    def test_a_stream_without_an_end(self):
        stream = iter(itertools.count(10))
        assert_equal(first_alarm(Played(*[False] * 50, True), stream), 50)
        assert_equal(next(stream), 61)

    def test_an_empty_stream(self):
        assert_equal(first_alarm(Played(True), []), None)

    def test_a_real_detector(self):
        assert_equal(first_alarm(PageHinkley(0.5, 3.0, 1), [1, 1, 1, 5, 5, 5, 5]), 4)


class At:
    """Raises the alarm at the value 1."""

    def update(self, value):
        return bool(value == 1)


def alarm_at(place: int | None, length: int = 40) -> list[int]:
    return [int(i == place) for i in range(length)]


class TestJudge:
    def test_the_example_worked_by_hand(self):
        streams = [alarm_at(place) for place in (7, 30, 12, None)]
        assert_close(judge(At, streams, [10, 20, None, 20]), (0.5, 1 / 3, 10.0))

    @pytest.mark.parametrize(
        ("places", "changes", "expected"),
        [
            ([20, 20], [20, 21], (0.5, 0.5, 0.0)),
            ([19, 25, 33], [20, 20, 20], (1 / 3, 2 / 3, 9.0)),
            ([5, 6], [0, 0], (0.0, 1.0, 5.5)),
            ([None, 3, None], [None, None, None], (1 / 3, math.nan, math.nan)),
            ([None, None], [10, None], (0.0, 0.0, math.nan)),
            ([0], [None], (1.0, math.nan, math.nan)),
            ([3], [8], (1.0, 0.0, math.nan)),
        ],
        ids=str,
    )
    def test_shares_and_delay(self, places, changes, expected):
        assert_close(judge(At, [alarm_at(place) for place in places], changes), expected)

    def test_only_the_first_alarm_counts(self):
        stream = [int(i in (5, 22)) for i in range(30)]
        assert_close(judge(At, [stream, stream], [20, 2]), (0.5, 0.5, 3.0))

    def test_each_stream_has_a_new_detector(self):
        made = []

        def make():
            made.append(Played(False, False, True))
            return made[-1]

        found = judge(make, [[1, 2, 3, 4], [5, 6, 7, 8]], [1, 1])
        assert_close(found, (0.0, 1.0, 1.0))
        assert_equal([detector.given for detector in made], [[1, 2, 3], [5, 6, 7]])

    def test_a_warning_is_no_alarm(self):
        assert_close(judge(lambda: Played("warning", "warning", "drift"), [[0] * 5], [1]), (0.0, 1.0, 1.0))

    @pytest.mark.parametrize(("n", "m"), [(2, 3), (3, 1), (0, 2)])
    def test_as_many_changes_as_streams(self, n, m):
        with raises(ValueError, n, m):
            judge(At, [alarm_at(3)] * n, [5] * m)

    def test_no_streams(self):
        with raises(ValueError, 0):
            judge(At, [], [])

    def test_a_planted_drop_is_found_by_ddm(self, rng):
        errors = [
            np.concatenate([rng.random(300) < 0.1, rng.random(300) < 0.6]).astype(int).tolist() for _ in range(40)
        ]
        false, found, delay = judge(lambda: DDM(30, 2.0, 4.0), errors, [300] * 40)
        if false > 0.5 or false + found < 0.999 or not 5 < delay < 100:
            fail(
                f"DDM finds {found:.0%} of the changes after {delay:.0f} answers, with {false:.0%} false.",
                evidence=(false, found),
            )


class Above:
    """Raises the alarm at a value above its threshold."""

    def __init__(self, threshold):
        self.threshold = threshold

    def update(self, value):
        return value > self.threshold


class TestCalibrate:
    STREAMS = ([3, 1], [5], [2, 2, 2], [9, 0])  # thresholds 1, 2, 3, 5, 9: 4, 3, 2, 1, 0 alarms

    @pytest.mark.parametrize(("rate", "expected"), [(0.0, 9), (0.25, 5), (0.4, 5), (0.5, 3), (0.75, 2), (1.0, 1)])
    def test_the_smallest_that_is_good_enough(self, rate, expected):
        assert_equal(calibrate(Above, [5, 1, 9, 3, 2], self.STREAMS, rate), expected)

    def test_a_threshold_of_many_digits(self):
        assert_equal(calibrate(Above, [2.0001, 4.0003, 9.0007], self.STREAMS, 0.5), 4.0003)

    def test_fewer_streams_after_many(self):
        found = [calibrate(Above, [1, 2, 3, 5, 9], streams, 0.5) for streams in (self.STREAMS, self.STREAMS[:2])]
        assert_equal(found, [3, 3])

    def test_alarms_are_counted_by_streams(self):
        assert_equal(calibrate(Above, [2, 6], [[3, 4, 5], [1, 1, 1]], 0.5), 2)

    def test_each_stream_has_a_new_detector(self):
        class Patient:
            """Raises the alarm at its fourth value; thresholds mean nothing to it."""

            def __init__(self, threshold):
                self.seen = 0

            def update(self, value):
                self.seen += 1
                return self.seen == 4

        assert_equal(calibrate(Patient, [1.0, 2.0], [[0] * 3] * 5, 0.0), 1.0)

    def test_a_warning_is_no_alarm(self):
        made = {1.0: "drift", 2.0: "warning", 3.0: "stable"}
        assert_equal(calibrate(lambda threshold: Played(made[threshold]), [3.0, 1.0, 2.0], [[0], [0]], 0.1), 2.0)

    def test_thresholds_that_come_one_by_one(self):
        assert_equal(calibrate(Above, (t for t in (9, 5, 3)), self.STREAMS, 0.25), 5)

    @pytest.mark.parametrize("rate", [0.2, 0.49])
    def test_none_is_good_enough(self, rate):
        with raises(ValueError, rate):
            calibrate(Above, [1, 2, 3], self.STREAMS, rate)

    def test_false_alarms_come_at_the_stated_rate_and_a_shift_is_found_in_time(self, rng):
        def make(threshold):
            return PageHinkley(0.25, threshold)

        quiet = rng.normal(0, 1, (80, 120)).tolist()
        threshold = calibrate(make, [4.0, 6.0, 8.0, 10.0, 13.0, 17.0], quiet, 0.1)
        fresh = rng.normal(0, 1, (80, 120)).tolist()
        shifted = np.concatenate([rng.normal(0, 1, (40, 60)), rng.normal(1.5, 1, (40, 100))], axis=1).tolist()
        false = judge(lambda: make(threshold), fresh, [None] * 80)[0]
        _, found, delay = judge(lambda: make(threshold), shifted, [60] * 40)
        # Both samples have 80 streams: a rate of 10% is 8, and two of them differ by at most 0.25 in practice.
        if false > 0.35 or found < 0.5 or delay > 30:
            fail(
                f"At {threshold} there are {false:.0%} false alarms; {found:.0%} are found after {delay:.0f}.",
                evidence=(false, found),
            )

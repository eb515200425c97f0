"""Judges k21_safety_measures by counting, by listing all splits, with forged and torn logs, and by planted failures."""

import hashlib
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_10_fine_tuning.k21_safety_measures import (
    START,
    Planted,
    append_incident,
    associations,
    choose_threshold,
    content_filter,
    drill,
    effect_size,
    guarded_answer,
    p_value,
    rates,
    read_incidents,
)

pytestmark = [from_scratch("sklearn", "scipy"), pure()]

NAN = math.nan
SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.4, 0.2])
HARMFUL = np.array([1, 0, 1, 1, 0, 0])


def numbers(*values) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def some_scores(rng, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties, higher for harmful texts."""
    harmful = rng.random(n) < 0.4
    return np.round(rng.normal(size=n) + harmful, 1), harmful


def counted(scores, harmful, threshold: float) -> tuple[float, float, float]:
    hits = alarms = 0
    for score, bad in zip(scores.tolist(), harmful.tolist(), strict=True):
        if score >= threshold:
            hits, alarms = (hits + 1, alarms) if bad else (hits, alarms + 1)
    bad = sum(map(bool, harmful.tolist()))
    rows = [(hits, hits + alarms), (hits, bad), (alarms, len(scores) - bad)]
    return tuple(part / whole if whole else NAN for part, whole in rows)


class TestRates:
    def test_the_example_worked_by_hand(self):
        assert_close(tuple(rates(SCORES, HARMFUL, 0.7)), (2 / 3, 2 / 3, 1 / 3))

    @pytest.mark.parametrize("threshold", [-1.0, 0.0, 0.5, 0.3, 1.2, 4.0])
    def test_counted_one_by_one(self, rng, threshold):
        scores, harmful = some_scores(rng, 40)
        assert_close(tuple(rates(scores, harmful, threshold)), counted(scores, harmful, threshold))

    def test_a_score_at_the_threshold_is_flagged(self):
        assert_close(tuple(rates(numbers(0.25, 0.5, 0.5, 0.75), np.array([0, 1, 0, 1]), 0.5)), (2 / 3, 1.0, 0.5))

    @pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.float64])
    def test_labels_of_any_kind(self, dtype):
        assert_close(tuple(rates(SCORES, HARMFUL.astype(dtype), 0.5)), (0.75, 1.0, 1 / 3))

    @pytest.mark.parametrize(
        ("scores", "harmful", "expected"),
        [
            ((0.1, 0.2), (1, 0), (NAN, 0.0, 0.0)),
            ((0.9, 0.2), (0, 0), (0.0, NAN, 0.5)),
            ((0.9, 0.2), (1, 1), (1.0, 0.5, NAN)),
            ((0.2,), (0,), (NAN, NAN, 0.0)),
            ((), (), (NAN, NAN, NAN)),
        ],
    )
    @pytest.mark.filterwarnings("error")
    def test_nothing_to_divide_by(self, scores, harmful, expected):
        assert_close(tuple(rates(numbers(*scores), np.array(harmful, dtype=np.int64), 0.5)), expected)

    def test_rates_by_name(self):
        found = rates(SCORES, HARMFUL, 0.9)
        assert_close([found.precision, found.recall, found.false_positives], [1.0, 1 / 3, 0.0])
        assert_equal([type(part) for part in found], [float] * 3)


GOALS = ["recall", "precision", "false_positives"]


class TestChooseThreshold:
    @pytest.mark.parametrize(
        ("goal", "target", "expected"), [("recall", 0.9, 0.6), ("precision", 0.7, 0.6), ("false_positives", 0.2, 0.9)]
    )
    def test_the_example_worked_by_hand(self, goal, target, expected):
        assert_close(choose_threshold(SCORES, HARMFUL, goal, target), expected)

    @pytest.mark.parametrize("goal", GOALS)
    @pytest.mark.parametrize("target", [0.05, 0.3, 0.5, 0.6, 0.75])
    @pytest.mark.parametrize("n", [12, 60])
    def test_the_best_of_all_thresholds(self, rng, goal, target, n):
        scores, harmful = some_scores(rng, n)
        harmful[np.argmax(scores)] = True
        candidates = [*scores.tolist(), math.inf]
        place = {"precision": 0, "recall": 1, "false_positives": 2}[goal]
        values = {t: counted(scores, harmful, t)[place] for t in candidates}
        if goal == "false_positives":
            expected = min(t for t, value in values.items() if value <= target + 1e-9)
        else:
            expected = [max, min][place == 0](t for t, value in values.items() if value >= target - 1e-9)
        assert_close(choose_threshold(scores, harmful, goal, target), expected)

    def test_precision_goes_up_and_down(self):
        """From above: 1, 1/2, 1/3, 2/4, 3/5, 4/6, 4/7.  Neither the first nor the last fall is the answer."""
        scores, harmful = numbers(0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3), np.array([1, 0, 0, 1, 1, 1, 0])
        found = [choose_threshold(scores, harmful, "precision", target) for target in (0.99, 0.65, 0.6, 0.5)]
        assert_close(found, [0.9, 0.4, 0.4, 0.3])

    def test_equal_scores_stay_together(self):
        scores, harmful = numbers(0.5, 0.5, 0.5, 0.2), np.array([1, 0, 0, 1])
        assert_close(choose_threshold(scores, harmful, "false_positives", 0.5), math.inf)
        assert_close(choose_threshold(scores, harmful, "recall", 0.5), 0.5)

    @pytest.mark.parametrize(("goal", "target"), [("recall", 0.7), ("precision", 0.7), ("false_positives", 0.3)])
    def test_exactly_the_target_keeps_it(self, goal, target):
        """7 of 10 harmful ones lie above; of the ten highest 7 are harmful; 3 of 10 harmless ones are among them."""
        scores = np.arange(20.0, 0.0, -1.0)
        harmful = np.array([1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 1])
        just_missed = target + (-5e-10 if goal == "false_positives" else 5e-10)
        found = [choose_threshold(scores, harmful, goal, t) for t in (target, just_missed)]
        assert_close(found, [11.0, 11.0])

    def test_nearly_the_target_doesnt(self):
        for little in (1e-7, 1.5e-9):
            assert_close(choose_threshold(SCORES, HARMFUL, "recall", 2 / 3 + little), 0.6)
            assert_close(choose_threshold(SCORES, HARMFUL, "precision", 0.75 + little), 0.9)
            assert_close(choose_threshold(SCORES, HARMFUL, "false_positives", 1 / 3 - little), 0.9)

    def test_a_miss_of_exactly_a_billionth(self):
        """Rates of 0, so that nothing is rounded."""
        scores, harmful = numbers(3.0, 1.0), np.array([0, 1])
        assert_close(choose_threshold(scores, harmful, "recall", 1e-9), math.inf)
        assert_close(choose_threshold(scores, harmful, "false_positives", -1e-9), math.inf)

    def test_nothing_is_flagged(self):
        assert_close(choose_threshold(numbers(3.0, 1.0), np.array([0, 1]), "false_positives", 0.4), math.inf)
        assert_close(choose_threshold(numbers(3.0, 1.0), np.array([0, 1]), "recall", 0.0), math.inf)

    def test_everything_may_be_flagged(self):
        assert_close(choose_threshold(SCORES, HARMFUL, "false_positives", 1.0), 0.2)
        assert_close(choose_threshold(SCORES, HARMFUL, "precision", 0.0), 0.2)

    def test_scores_of_any_size_and_order(self):
        scores, harmful = numbers(-7.0, 1e6, 2.0, -300.0), np.array([1, 0, 1, 0])
        found = [choose_threshold(scores, harmful, goal, 0.5) for goal in GOALS]
        assert_close(found, [2.0, -300.0, -7.0])

    def test_an_answer_that_is_no_score(self):
        """The threshold is a score itself, and no middle between two."""
        assert_close(choose_threshold(numbers(0.1, 0.9), np.array([0, 1]), "precision", 1.0), 0.9)
        assert_close(choose_threshold(numbers(0.1, 0.9), np.array([0, 1]), "false_positives", 0.0), 0.9)

    def test_many_texts(self, rng):
        scores = rng.permutation(2000).astype(float)
        harmful = scores >= 1500
        found = [choose_threshold(scores, harmful, *row) for row in (("recall", 0.9), ("precision", 0.5))]
        assert_close(found, [1550.0, 1000.0])

    @pytest.mark.parametrize(
        ("goal", "target", "harmful"),
        [("recall", 0.25, (0, 0, 0)), ("precision", 0.75, (0, 1, 0)), ("recall", 1.5, (1, 0, 1)),
         ("false_positives", 0.25, (1, 1, 1)), ("false_positives", -0.5, (1, 0, 1))],
    )  # fmt: skip
    def test_a_goal_that_cant_be_kept(self, goal, target, harmful):
        with raises(ValueError, goal, target):
            choose_threshold(numbers(0.9, 0.8, 0.1), np.array(harmful), goal, target)

    @pytest.mark.parametrize("goal", GOALS)
    def test_no_texts(self, goal):
        with raises(ValueError, goal, 0.5):
            choose_threshold(np.empty(0), np.empty(0, dtype=np.int64), goal, 0.5)

    @pytest.mark.parametrize("goal", ["accuracy", "Recall", "fpr"])
    def test_another_goal(self, goal):
        with raises(ValueError, goal):
            choose_threshold(SCORES, HARMFUL, goal, 0.5)

    @pytest.mark.parametrize("goal", GOALS)
    def test_a_python_float(self, goal):
        assert_equal(type(choose_threshold(SCORES, HARMFUL, goal, 0.5)), float)


class Counted:
    """A scorer that notes what it was asked."""

    def __init__(self, score) -> None:
        self.score = score
        self.asked: list[str] = []

    def __call__(self, text: str):
        self.asked.append(text)
        return self.score(text) if callable(self.score) else self.score


def crash(text: str) -> float:
    raise RuntimeError("the scorer is down")


class TestContentFilter:
    def test_an_example(self):
        scorers = {"hate": len, "spam": lambda text: text.count("!")}
        thresholds = {"spam": 2, "hate": 9.5}
        found = [
            content_filter(text, scorers, thresholds) for text in ("Hello!", "Buy!!", "Hello world!", "Buy now!!!!!!")
        ]
        assert_equal(found, [[], ["spam"], ["hate"], ["hate", "spam"]])

    def test_a_score_at_the_threshold_is_flagged(self):
        thresholds = {"a": 0.5, "b": 0.5, "c": 0.5}
        scorers = {"a": lambda t: 0.5, "b": lambda t: np.nextafter(0.5, 0), "c": lambda t: 0.75}
        assert_equal(content_filter("x", scorers, thresholds), ["a", "c"])

    def test_in_the_order_of_the_scorers(self):
        scorers = {name: lambda t: 1.0 for name in ("violence", "abuse", "spam")}
        thresholds = dict.fromkeys(("abuse", "spam", "violence"), 0.5)
        assert_equal(content_filter("x", scorers, thresholds), ["violence", "abuse", "spam"])

    @pytest.mark.parametrize("bad", [NAN, np.float32("nan"), None, "high", "0.1", np.array([0.1, 0.2])], ids=repr)
    def test_a_score_that_is_none(self, bad):
        scorers = {"before": lambda t: 0.0, "broken": lambda t: bad, "after": lambda t: 0.9}
        assert_equal(content_filter("x", scorers, dict.fromkeys(scorers, 0.5)), ["broken", "after"])

    @pytest.mark.parametrize("error", [RuntimeError, ValueError, KeyError, OSError, ZeroDivisionError])
    def test_a_scorer_that_crashes(self, error):
        def broken(text: str) -> float:
            raise error("down")

        scorers = {"broken": broken, "fine": lambda t: 0.0, "bad": lambda t: 0.9}
        assert_equal(content_filter("x", scorers, dict.fromkeys(scorers, 0.5)), ["broken", "bad"])

    @pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
    def test_ctrl_c_isnt_a_crash(self, stop):
        def stopped(text: str) -> float:
            raise stop

        with pytest.raises(stop):
            content_filter("x", {"a": stopped}, {"a": 0.5})

    @pytest.mark.parametrize("threshold", [math.inf, -math.inf, 0.0])
    def test_infinite_scores_and_thresholds(self, threshold):
        scorers = {"low": lambda t: -math.inf, "mid": lambda t: 0.0, "high": lambda t: math.inf}
        expected = [name for name, s in (("low", -math.inf), ("mid", 0.0), ("high", math.inf)) if s >= threshold]
        assert_equal(content_filter("x", scorers, dict.fromkeys(scorers, threshold)), expected)

    def test_every_scorer_is_asked_once(self):
        scorers = {"a": Counted(0.9), "b": Counted(0.1), "c": Counted(crash), "d": Counted(0.9)}
        content_filter("the text", scorers, dict.fromkeys(scorers, 0.5))
        assert_equal([scorer.asked for scorer in scorers.values()], [["the text"]] * 4)

    def test_no_categories(self):
        assert_equal(content_filter("x", {}, {}), [])

    @pytest.mark.parametrize(("scored", "limited", "named"), [("ab", "a", "b"), ("a", "ac", "c"), ("", "d", "d")])
    def test_a_category_of_only_one(self, scored, limited, named):
        scorers = {f"kind {name}": Counted(0.0) for name in scored}
        with raises(ValueError, f"kind {named}"):
            content_filter("x", scorers, {f"kind {name}": 0.5 for name in limited})
        assert_equal([scorer.asked for scorer in scorers.values()], [[]] * len(scored))


def cosine(a, b) -> float:
    return float(np.dot(a, b) / math.sqrt(np.dot(a, a) * np.dot(b, b)))


class TestAssociations:
    def test_the_example_worked_by_hand(self):
        found = associations(numbers([0.8, 0.6], [2.0, 0.0]), numbers([1.0, 0.0]), numbers([0.0, 1.0]))
        assert_close(found, numbers(0.2, 1.0))

    @pytest.mark.parametrize(("m", "j", "k", "d"), [(5, 3, 4, 6), (1, 1, 2, 3), (3, 4, 1, 2)])
    def test_one_by_one(self, rng, m, j, k, d):
        words, a, b = (rng.normal(size=(n, d)) * rng.uniform(0.1, 9, (n, 1)) for n in (m, j, k))
        expected = [np.mean([cosine(w, v) for v in a]) - np.mean([cosine(w, v) for v in b]) for w in words]
        assert_close(associations(words, a, b), numbers(*expected))

    @pytest.mark.parametrize("factor", [1e-3, 50.0])
    def test_length_doesnt_count(self, rng, factor):
        words, a, b = (rng.normal(size=(n, 4)) for n in (3, 2, 5))
        longer = a * numbers([factor], [1.0])
        assert_close(associations(words * factor, longer, b), associations(words, a, b))

    def test_no_words(self):
        assert_close(associations(np.empty((0, 3)), np.eye(3), np.eye(3)), np.empty(0))


class TestEffectSize:
    def test_the_example_worked_by_hand(self):
        assert_close(effect_size(numbers(1.0, 0.2), numbers(-0.2, -1.0)), 1.2 / math.sqrt(2.08 / 3))

    @pytest.mark.parametrize(("m", "k"), [(2, 5), (8, 8), (1, 1), (4, 1)])
    def test_the_formula(self, rng, m, k):
        x, y = rng.normal(size=m) + 0.5, rng.normal(size=k)
        both = [*x.tolist(), *y.tolist()]
        mean = sum(both) / len(both)
        std = math.sqrt(sum((v - mean) ** 2 for v in both) / (len(both) - 1))
        assert_close(effect_size(x, y), (sum(x) / m - sum(y) / k) / std)
        assert_close(effect_size(y, x), (sum(y) / k - sum(x) / m) / std)

    def test_a_python_float(self):
        assert_equal(type(effect_size(numbers(1.0, 0.2), numbers(-0.2))), float)


def share_of_splits(x, y) -> float:
    values, m = [*x.tolist(), *y.tolist()], len(x)
    sums = [sum(values[i] for i in part) for part in itertools.combinations(range(len(values)), m)]
    return sum(s >= sum(x.tolist()) - 1e-9 for s in sums) / len(sums)


class TestPValue:
    def test_the_example_worked_by_hand(self, rng):
        assert_close(p_value(numbers(1.0, 0.2), numbers(-0.2, -1.0), 100, rng), 1 / 6)

    @pytest.mark.parametrize(("m", "k"), [(3, 3), (4, 4), (2, 6), (6, 2), (1, 5), (1, 1)])
    @pytest.mark.parametrize("case", range(3))
    def test_all_splits_one_by_one(self, rng, m, k, case):
        x, y = rng.normal(size=m) + 0.4, rng.normal(size=k)
        assert_close(p_value(x, y, 1000, rng), share_of_splits(x, y))

    @pytest.mark.parametrize(("m", "k"), [(3, 4), (4, 4)])
    def test_equal_associations(self, rng, m, k):
        x, y = rng.integers(0, 3, m) * 0.1, rng.integers(0, 3, k) * 0.1
        assert_close(p_value(x, y, 1000, rng), share_of_splits(x, y))
        assert_close(p_value(np.full(m, 0.3), np.full(k, 0.3), 1000, rng), 1.0)

    @pytest.mark.parametrize("value", [0.1, -0.7])
    def test_equal_associations_with_drawn_splits(self, rng, value):
        x, y = value * rng.permutation(np.repeat([1.0, 2.0, 3.0], 4)), value * np.repeat([1.0, 2.0, 3.0], 4)
        assert_close(p_value(np.full(12, value), np.full(12, value), 60, rng), 1.0)
        # Many splits have the very same sum as x: those count, and so more than half of all.
        found = p_value(x, y, 400, rng)
        if not 0.5 < found < 0.75:
            fail(f"Sums that are equal up to rounding must count: p is {found:.3f}.", evidence=found)

    def test_equal_sums_in_another_order_of_summation(self, rng):
        """0.1 + 0.2 + 0.3 isn't 0.3 + 0.2 + 0.1 to the last digit."""
        x, y = numbers(0.1, 0.2, 0.3), numbers(0.3, 0.2, 0.1)
        assert_close(p_value(x, y, 1000, rng), share_of_splits(x, y))

    def test_against_the_direction(self, rng):
        assert_close(p_value(numbers(-0.2, -1.0), numbers(1.0, 0.2), 100, rng), 1.0)

    @pytest.mark.parametrize(("limit", "exact"), [(20, True), (21, True), (19, False), (5, False)])
    def test_all_of_them_up_to_the_limit(self, limit, exact):
        """There are 20 splits in three and three, and one counts."""
        x, y = numbers(0.9, 0.8, 0.7), numbers(0.3, 0.2, 0.1)
        found = [p_value(x, y, limit, np.random.default_rng(seed)) for seed in range(30)]
        if exact:
            assert_close(found, [0.05] * 30)
        elif len(set(found)) == 1:
            fail(f"With a limit of {limit}, below the 20 splits, 30 seeds give the same.", evidence=found[0])
        else:
            assert_close([p * (1 + limit) for p in found], [float(round(p * (1 + limit))) for p in found])

    def test_all_of_them_without_rng(self):
        rng = np.random.default_rng(5)
        before = rng.bit_generator.state
        p_value(numbers(0.9, 0.8), numbers(0.3, 0.2), 6, rng)
        assert_equal(rng.bit_generator.state, before)

    @pytest.mark.parametrize("limit", [150, 1])
    def test_never_0(self, rng, limit):
        x, y = np.linspace(1.0, 2.0, 20), np.linspace(-1.0, 0.0, 20)
        assert_close(p_value(x, y, limit, rng), 1 / (limit + 1))

    @pytest.mark.parametrize("limit", [2, 1])
    @pytest.mark.parametrize(("lower", "counts"), [(5e-10, True), (1e-9, True), (1.5e-9, False)])
    def test_a_sum_that_is_lower_by_a_billionth(self, rng, lower, counts, limit):
        """Two splits: all of them, or one that is drawn.  Sums of one number, so that nothing is rounded."""
        found = [p_value(numbers(0.0), numbers(-lower), limit, rng) for _ in range(30)]
        assert_close(min(found), 1.0 if counts else 0.5)

    @pytest.mark.parametrize(("m", "k"), [(7, 7), (4, 11)])
    @pytest.mark.parametrize("shift", [0.1, 0.6])
    def test_drawn_splits_come_near_all_splits(self, rng, m, k, shift):
        x, y = rng.normal(size=m) + shift, rng.normal(size=k)
        exact, draws = share_of_splits(x, y), 1200
        near = 5 * math.sqrt(exact * (1 - exact) / draws) + 2 / draws  # five standard deviations
        assert_close(p_value(x, y, draws, rng), exact, rtol=0, atol=near)

    def test_the_same_draws_give_the_same(self):
        x, y = np.linspace(-1.0, 1.2, 12), np.linspace(-1.2, 1.0, 12)
        found = [p_value(x, y, 300, np.random.default_rng(seed)) for seed in (0, 0, 1, 2, 3, 4, 5, 6)]
        assert_equal((found[0] == found[1], len(set(found)) > 1), (True, True))

    @pytest.mark.parametrize("limit", [100, 2])
    def test_a_python_float(self, rng, limit):
        assert_equal(type(p_value(numbers(1.0, 0.2), numbers(-0.2, -1.0), limit, rng)), float)

    @pytest.mark.parametrize("limit", [0, -5])
    def test_no_limit(self, rng, limit):
        with raises(ValueError, "limit", limit):
            p_value(numbers(1.0), numbers(0.0), limit, rng)

    def test_words_of_a_real_model(self, rng, word_vectors):
        """Instruments are nearer to pleasant words than weapons are: the second test of Caliskan et al."""
        words, vectors = word_vectors
        place = {word: row for row, word in enumerate(words)}

        def of(text: str) -> np.ndarray:
            return vectors[[place[word] for word in text.split() if word in place]].astype(np.float64)

        x, y = of("guitar piano drum violin flute horn bell harp"), of("gun sword knife bomb rifle weapon tank arrow")
        a, b = of("love peace happy pleasure friend heaven gentle honest"), of("death poison ugly evil war hate pain")
        x, y = associations(x, a, b), associations(y, a, b)
        # A real bias is large by Cohen's measure, and hardly chance.
        if not (effect_size(x, y) > 0.8 and p_value(x, y, 20_000, rng) < 0.02):
            fail(
                f"The effect is {effect_size(x, y):.2f}, p {p_value(x, y, 20_000, rng):.4f}.",
                evidence=effect_size(x, y),
            )


def digest(previous: str, incident: dict) -> str:
    return hashlib.sha256((previous + json.dumps(incident, sort_keys=True)).encode("utf-8")).hexdigest()


def chain(incidents: list[dict], previous: str = START) -> list[dict]:
    """The entries of a log."""
    entries = []
    for incident in incidents:
        entries.append({"previous": previous, "incident": incident, "hash": (previous := digest(previous, incident))})
    return entries


def written(entries: list, path: Path) -> Path:
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries), encoding="utf-8")
    return path


INCIDENTS = [
    {"kind": "prompt", "categories": ["hate", "spam"], "prompt": 'Größe \U0001f600 "x"\nnext \u2028 \x85 \r last'},
    {"kind": "model", "score": 0.1, "n": 3, "more": {"z": None, "a": [True, -2.5e-7]}},
    {"kind": "answer"},
    {},
]


class TestAppendIncident:
    def test_the_example_worked_by_hand(self, tmp_path):
        path = tmp_path / "log"
        one, other = append_incident(path, {"kind": "prompt"}), append_incident(path, {"kind": "model"})
        assert_equal((one[:8], other[:8]), ("d16ae9ba", "64688fa1"))
        lines = path.read_text(encoding="utf-8").splitlines()
        assert_equal([json.loads(line) for line in lines], chain([{"kind": "prompt"}, {"kind": "model"}]))

    def test_a_line_each(self, tmp_path):
        hashes = [append_incident(tmp_path / "log", incident) for incident in INCIDENTS]
        *lines, end = (tmp_path / "log").read_bytes().decode("utf-8").split("\n")
        entries = chain(INCIDENTS)
        assert_equal(([json.loads(line) for line in lines], end), (entries, ""))
        assert_equal(hashes, [entry["hash"] for entry in entries])

    def test_it_is_there_at_once(self, tmp_path):
        for count in (1, 2, 3):
            append_incident(tmp_path / "log", {"n": count})
            assert_equal(len((tmp_path / "log").read_bytes().splitlines()), count)

    def test_two_logs_dont_meet(self, tmp_path):
        for name in ("a", "b", "a", "b"):
            append_incident(tmp_path / name, {"in": name})
        for name in "ab":
            found = [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
            assert_equal(found, chain([{"in": name}] * 2))

    def test_the_order_of_keys_doesnt_count(self, tmp_path):
        one = append_incident(tmp_path / "a", {"x": 1, "y": {"c": 2, "b": 3}})
        other = append_incident(tmp_path / "b", {"y": {"b": 3, "c": 2}, "x": 1})
        assert_equal((one, other), (digest(START, {"x": 1, "y": {"b": 3, "c": 2}}),) * 2)

    @pytest.mark.parametrize("torn", [b"{", b'{"previous": "00', b'{"previous": "\xc3', b"\x00\x00"])
    def test_after_a_torn_line(self, tmp_path, torn):
        path = written(chain(INCIDENTS[:2]), tmp_path / "log")
        before = path.read_bytes() + torn
        path.write_bytes(before)
        hashes = [append_incident(path, {"kind": kind}) for kind in ("a", "b")]
        last = chain([*INCIDENTS[:2], {"kind": "a"}, {"kind": "b"}])[2:]
        assert_equal(path.read_bytes()[: len(before) + 1], before + b"\n")
        assert_equal([json.loads(line) for line in path.read_bytes()[len(before) + 1 :].splitlines()], last)
        assert_equal(hashes, [entry["hash"] for entry in last])

    def test_only_the_line_break_was_torn(self, tmp_path):
        path = written(chain(INCIDENTS[:2]), tmp_path / "log")
        path.write_bytes(path.read_bytes()[:-1])
        append_incident(path, {"kind": "new"})
        lines = path.read_text(encoding="utf-8").splitlines()
        assert_equal([json.loads(line) for line in lines], chain([*INCIDENTS[:2], {"kind": "new"}]))

    def test_a_file_of_a_torn_line_alone(self, tmp_path):
        (tmp_path / "log").write_bytes(b'{"prev')
        append_incident(tmp_path / "log", {"kind": "new"})
        torn, line, end = (tmp_path / "log").read_text().split("\n")
        assert_equal((torn, json.loads(line), end), ('{"prev', chain([{"kind": "new"}])[0], ""))

    def test_an_empty_file(self, tmp_path):
        (tmp_path / "log").write_bytes(b"")
        append_incident(tmp_path / "log", {"kind": "new"})
        line, end = (tmp_path / "log").read_text().split("\n")
        assert_equal((json.loads(line), end), (chain([{"kind": "new"}])[0], ""))

    @pytest.mark.parametrize("between", ["3", "[]", "null", '{"kind": "x"}', '{"hash": 7}'])
    def test_json_that_is_no_entry_is_passed_over(self, tmp_path, between):
        path = written(chain(INCIDENTS[:1]), tmp_path / "log")
        path.write_text(path.read_text() + between + "\n")
        append_incident(path, {"kind": "new"})
        assert_equal(json.loads(path.read_text().splitlines()[-1]), chain([INCIDENTS[0], {"kind": "new"}])[1])

    def test_an_incident_isnt_lost_where_the_log_was_tampered_with(self, tmp_path):
        entries = chain(INCIDENTS)
        entries[1]["incident"] = {"kind": "harmless"}
        path = written(entries, tmp_path / "log")
        before = path.read_bytes()
        append_incident(path, {"kind": "new"})
        assert_equal(path.read_bytes()[: len(before)], before)
        expected = chain([{"kind": "new"}], entries[-1]["hash"])
        assert_equal([json.loads(path.read_bytes()[len(before) :])], expected)

    @pytest.mark.parametrize("number", [NAN, math.inf, -math.inf])
    @pytest.mark.parametrize("inside", [False, True])
    def test_numbers_that_json_hasnt_got(self, tmp_path, inside, number):
        path = written(chain(INCIDENTS[:1]), tmp_path / "log")
        before = path.read_bytes()
        with raises(ValueError):
            append_incident(path, {"scores": [0.5, {"x": number}]} if inside else {"score": number})
        assert_equal(path.read_bytes(), before)

    def test_a_refused_incident_makes_no_file(self, tmp_path):
        with raises(ValueError):
            append_incident(tmp_path / "log", {"score": NAN})
        assert_equal((tmp_path / "log").exists(), False)


class TestReadIncidents:
    def test_the_example_worked_by_hand(self, tmp_path):
        path = written(chain([{"kind": "prompt"}, {"kind": "model"}]), tmp_path / "log")
        head = "64688fa115d4a8213f399b4ac2e14d8ad2ead67e07d0691780a276e554987f65"
        assert_equal(read_incidents(path, head), [{"kind": "prompt"}, {"kind": "model"}])

    def test_gives_back_what_was_appended(self, tmp_path):
        heads = [append_incident(tmp_path / "log", incident) for incident in INCIDENTS]
        assert_equal(read_incidents(tmp_path / "log"), INCIDENTS)
        assert_equal(read_incidents(tmp_path / "log", heads[-1]), INCIDENTS)

    @pytest.mark.parametrize("exists", [False, True])
    def test_no_entries(self, tmp_path, exists):
        if exists:
            (tmp_path / "log").write_bytes(b"")
        try:
            found = [read_incidents(tmp_path / "log"), read_incidents(tmp_path / "log", START)]
        except FileNotFoundError:
            fail("A file that isn't there has no entries, and is no error.", evidence="not there")
        assert_equal(found, [[], []])
        with raises(ValueError, "head"):
            read_incidents(tmp_path / "log", "7" * 64)

    def test_keys_in_another_order_and_blanks(self, tmp_path):
        entries = [{"hash": e["hash"], "incident": e["incident"], "previous": e["previous"]} for e in chain(INCIDENTS)]
        text = "".join(json.dumps(entry, separators=(" ,  ", ":"), ensure_ascii=False) + "\n" for entry in entries)
        (tmp_path / "log").write_bytes(text.encode("utf-8"))
        assert_equal(read_incidents(tmp_path / "log"), INCIDENTS)

    @pytest.mark.parametrize("at", range(4))
    @pytest.mark.parametrize("torn", [b"{", b"", b'{"previous": "\xc3', b"\x00\xff", '{"n": 1}'.encode("utf-16-le")])
    def test_torn_lines_are_passed_over(self, tmp_path, torn, at):
        lines = [json.dumps(entry).encode() for entry in chain(INCIDENTS[:3])]
        (tmp_path / "log").write_bytes(b"\n".join([*lines[:at], torn, *lines[at:]]) + b"\n")
        assert_equal(read_incidents(tmp_path / "log"), INCIDENTS[:3])

    def test_a_crash_at_any_byte(self, tmp_path):
        """The last line is cut anywhere, then the log goes on."""
        data = written(chain(INCIDENTS[:3]), tmp_path / "whole").read_bytes()
        last = data[:-1].rfind(b"\n") + 1
        for size in [*range(last, len(data) - 3, 7), *range(len(data) - 3, len(data) + 1)]:
            path = tmp_path / "log"
            path.write_bytes(data[:size])
            head = append_incident(path, {"kind": "new"})
            kept = INCIDENTS[:3] if size >= len(data) - 1 else INCIDENTS[:2]
            assert_equal(read_incidents(path, head), [*kept, {"kind": "new"}])

    @pytest.mark.parametrize("line", range(4))
    @pytest.mark.parametrize(
        "change",
        [
            lambda entry: entry["incident"].update(kind="harmless"),
            lambda entry: entry["incident"].update(extra=None),
            lambda entry: entry.update(hash=entry["hash"][:-1] + ("1" if entry["hash"].endswith("0") else "0")),
            lambda entry: entry.update(hash=""),
            lambda entry: entry.update(previous="f" * 64),
            lambda entry: entry.update(previous="f" * 64, hash=digest("f" * 64, entry["incident"])),
        ],
        ids=["changed", "added to", "hash changed", "hash emptied", "previous changed", "begun anew"],
    )
    def test_a_forged_entry(self, tmp_path, change, line):
        entries = chain(json.loads(json.dumps(INCIDENTS)))
        change(entries[line])
        with raises(ValueError, line + 1):
            read_incidents(written(entries, tmp_path / "log"))

    @pytest.mark.parametrize("line", range(3))
    def test_a_forged_entry_with_its_hash_mended(self, tmp_path, line):
        entries = chain(json.loads(json.dumps(INCIDENTS)))
        entries[line] = chain([{"kind": "harmless"}], entries[line]["previous"])[0]
        with raises(ValueError, line + 2):
            read_incidents(written(entries, tmp_path / "log"))

    def test_a_number_that_became_a_text(self, tmp_path):
        entries = chain([{"n": 1}, {"n": 2}])
        entries[1]["incident"] = {"n": "2"}
        with raises(ValueError, 2):
            read_incidents(written(entries, tmp_path / "log"))
        entries[1]["incident"] = {"n": 2.0}
        with raises(ValueError, 2):
            read_incidents(written(entries, tmp_path / "log"))

    @pytest.mark.parametrize(
        ("order", "named"),
        [([1, 2, 3], 1), ([0, 2, 3], 2), ([0, 1, 3], 3), ([1, 0, 2, 3], 1), ([0, 2, 1, 3], 2), ([0, 0, 1, 2], 2),
         ([0, 1, 2, 3, 3], 5), ([0, 1, 0], 3)],
    )  # fmt: skip
    def test_lines_that_are_gone_moved_or_doubled(self, tmp_path, order, named):
        entries = chain(INCIDENTS)
        with raises(ValueError, named):
            read_incidents(written([entries[i] for i in order], tmp_path / "log"))

    def test_a_real_entry_made_unreadable(self, tmp_path):
        lines = written(chain(INCIDENTS), tmp_path / "log").read_bytes().split(b"\n")
        (tmp_path / "log").write_bytes(b"\n".join([lines[0], lines[1][:-1], *lines[2:]]))
        with raises(ValueError, 3):
            read_incidents(tmp_path / "log")

    def test_torn_lines_count_in_the_number(self, tmp_path):
        lines = [json.dumps(entry) for entry in chain(INCIDENTS)]
        (tmp_path / "log").write_text("\n".join([lines[0], '{"torn', "", lines[1], lines[3]]) + "\n")
        with raises(ValueError, 5):
            read_incidents(tmp_path / "log")

    @pytest.mark.parametrize("extra", ["3", "[]", "null", '"text"', "{}", '{"incident": {}, "hash": "0"}',
                                       '{"previous": "P", "incident": {}}', '{"previous": "P", "hash": "0"}',
                                       '{"previous": "P", "incident": [], "hash": "0"}',
                                       '{"previous": "P", "incident": {}, "hash": 7}'])  # fmt: skip
    def test_json_that_is_no_entry(self, tmp_path, extra):
        entries = chain(INCIDENTS[:2])
        path = written(entries, tmp_path / "log")
        path.write_text(path.read_text() + extra.replace("P", entries[-1]["hash"]) + "\n")
        with raises(ValueError, 3):
            read_incidents(path)

    @pytest.mark.parametrize("incident", [[], "kind", 3, None])
    def test_an_incident_that_is_no_object(self, tmp_path, incident):
        entries = chain([INCIDENTS[0], incident])
        with raises(ValueError, 2):
            read_incidents(written(entries, tmp_path / "log"))

    def test_only_the_head_tells_that_the_end_was_cut_off(self, tmp_path):
        entries = chain(INCIDENTS)
        path = written(entries[:2], tmp_path / "log")
        assert_equal(read_incidents(path), INCIDENTS[:2])
        assert_equal(read_incidents(path, entries[1]["hash"]), INCIDENTS[:2])
        with raises(ValueError, "head"):
            read_incidents(path, entries[3]["hash"])
        with raises(ValueError, "head"):
            read_incidents(path, entries[0]["hash"])

    def test_only_the_head_tells_that_all_was_written_anew(self, tmp_path):
        path = written(chain([{"kind": "harmless"}, *INCIDENTS[1:]]), tmp_path / "log")
        assert_equal(read_incidents(path), [{"kind": "harmless"}, *INCIDENTS[1:]])
        with raises(ValueError, "head"):
            read_incidents(path, chain(INCIDENTS)[-1]["hash"])

    def test_reading_changes_nothing(self, tmp_path):
        path = written(chain(INCIDENTS), tmp_path / "log")
        before = path.read_bytes()
        assert_equal([read_incidents(path), read_incidents(path)], [INCIDENTS, INCIDENTS])
        assert_equal(path.read_bytes(), before)


SCORERS = {"hate": lambda text: 1.0 if "stupid" in text else 0.0, "secrets": lambda text: float(text.count("key"))}
LIMITS = {"hate": 0.5, "secrets": 2.0}
NO = "I can't help with that."


def guarded_by(model, prompt: str, scorers=SCORERS, limits=LIMITS, refusal: str = NO) -> tuple[str, list[dict]]:
    """The answer, and the incidents."""
    found: list[dict] = []
    return guarded_answer(model, prompt, scorers, limits, found.append, refusal), found


def incident(kind: str, categories: list[str], prompt: str) -> dict:
    return {"kind": kind, "categories": categories, "prompt": prompt}


class TestGuardedAnswer:
    @pytest.mark.parametrize("answer", ["It is Paris.", "  with blanks \n", "one key", "0"])
    def test_a_good_answer_comes_out_as_it_is(self, answer):
        assert_equal(guarded_by(lambda prompt: answer, "Where?"), (answer, []))

    def test_the_model_gets_the_prompt(self):
        model = Counted(lambda prompt: prompt[::-1])
        assert_equal((guarded_by(model, "abc "), model.asked), ((" cba", []), ["abc "]))

    @pytest.mark.parametrize("refusal", [NO, "No."])
    def test_a_prompt_that_is_flagged(self, refusal):
        model = Counted("fine")
        found = guarded_by(model, "stupid key key", refusal=refusal)
        assert_equal(found, (refusal, [incident("prompt", ["hate", "secrets"], "stupid key key")]))
        assert_equal(model.asked, [])

    @pytest.mark.parametrize("refusal", [NO, "No."])
    def test_an_answer_that_is_flagged(self, refusal):
        model = Counted("the key is a key")
        found = guarded_by(model, "Where?", refusal=refusal)
        assert_equal(found, (refusal, [incident("answer", ["secrets"], "Where?")]))
        assert_equal(model.asked, ["Where?"])

    def test_categories_of_an_answer(self):
        found = guarded_by(lambda prompt: "key, stupid, key", "Where?")
        assert_equal(found, (NO, [incident("answer", ["hate", "secrets"], "Where?")]))

    @pytest.mark.parametrize("error", [RuntimeError, ValueError, TimeoutError, KeyError])
    def test_a_model_that_crashes(self, error):
        def model(prompt: str) -> str:
            raise error("down")

        assert_equal(guarded_by(model, "Where?"), (NO, [incident("model", [], "Where?")]))

    @pytest.mark.parametrize("nothing", [None, "", "  \n\t ", 7, b"Paris", ["Paris"]], ids=repr)
    def test_a_model_that_says_nothing(self, nothing):
        assert_equal(guarded_by(lambda prompt: nothing, "Where?"), (NO, [incident("model", [], "Where?")]))

    def test_the_filter_isnt_asked_about_an_answer_that_is_none(self):
        scorer = Counted(0.0)
        guarded_by(lambda prompt: " ", "Where?", {"a": scorer}, {"a": 0.5})
        assert_equal(scorer.asked, ["Where?"])

    def test_each_text_is_filtered_once(self):
        scorer = Counted(0.0)
        guarded_by(lambda prompt: "Here.", "Where?", {"a": scorer}, {"a": 0.5})
        assert_equal(scorer.asked, ["Where?", "Here."])

    @pytest.mark.parametrize("bad", [crash, lambda text: NAN], ids=["crash", "nan"])
    def test_a_filter_that_breaks_lets_nothing_through(self, bad):
        model = Counted("fine")
        assert_equal(guarded_by(model, "Where?", {"a": bad}, {"a": 0.5}), (NO, [incident("prompt", ["a"], "Where?")]))
        assert_equal(model.asked, [])

    def test_a_filter_that_breaks_at_the_answer(self):
        scorers = {"a": lambda text: 0.0 if text == "Where?" else crash(text)}
        found = guarded_by(lambda prompt: "Here.", "Where?", scorers, {"a": 0.5})
        assert_equal(found, (NO, [incident("answer", ["a"], "Where?")]))

    @pytest.mark.parametrize("prompt", ["stupid", "Where?"])
    @pytest.mark.parametrize("model", [crash, lambda prompt: None, lambda prompt: "stupid"])
    def test_no_refusal_goes_out_unlogged(self, model, prompt):
        def log(incident: dict) -> None:
            raise OSError("disk full")

        with raises(OSError, "disk full"):
            guarded_answer(model, prompt, SCORERS, LIMITS, log, NO)

    def test_a_filter_that_is_set_up_wrongly(self):
        with raises(ValueError, "hate"):
            guarded_by(lambda prompt: "fine", "Where?", SCORERS, {"secrets": 1.0})

    def test_what_the_log_gives_back_doesnt_count(self):
        found = guarded_answer(crash, "Where?", SCORERS, LIMITS, lambda incident: "logged", NO)
        assert_equal(found, NO)

    def test_into_a_real_log(self, tmp_path):
        path = tmp_path / "log"
        model = {"a": "fine", "b": "stupid", "c": "key key"}.__getitem__
        prompts = ["a", "b", "stupid", "c", "d", "a"]
        answers = [
            guarded_answer(model, prompt, SCORERS, LIMITS, lambda one: append_incident(path, one), NO)
            for prompt in prompts
        ]
        assert_equal(answers, ["fine", NO, NO, NO, NO, "fine"])
        expected = [
            incident("answer", ["hate"], "b"),
            incident("prompt", ["hate"], "stupid"),
            incident("answer", ["secrets"], "c"),
            incident("model", [], "d"),
        ]
        assert_equal(read_incidents(path), expected)


class Guard:
    """A guard by a script: for each prompt the answer, and the incidents that it logs."""

    def __init__(self, script: dict[str, tuple], old: list[dict] | None = None, live: bool = False) -> None:
        self.script, self.log, self.live = script, list(old or []), live
        self.asked: list[str] = []

    def __call__(self, prompt: str) -> str:
        self.asked.append(prompt)
        answer, *added = self.script[prompt]
        self.log.extend(added)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def incidents(self) -> list[dict]:
        return self.log if self.live else list(self.log)


def run_drill(script: dict[str, tuple], *kinds: tuple[str, str | None], refusal: str = NO, **options) -> list[str]:
    planted = [Planted(f"the {prompt} one", prompt, kind) for prompt, kind in kinds]
    guard = Guard(script, **options)
    return drill(guard, guard.incidents, planted, refusal)


class TestDrill:
    def test_all_is_well(self):
        script = {"a": (NO, incident("prompt", ["x"], "a")), "b": (NO, incident("model", [], "b")), "c": ("Paris",)}
        assert_equal(run_drill(script, ("a", "prompt"), ("b", "model"), ("c", None)), [])

    @pytest.mark.parametrize(
        ("answer", "added"),
        [
            ("Here you are.", [incident("prompt", ["x"], "b")]),
            (NO, []),
            (NO, [incident("answer", ["x"], "b")]),
            (NO, [incident("prompt", ["x"], "another prompt")]),
            (NO, [incident("prompt", ["x"], "b")] * 2),
            (NO, [incident("answer", [], "b"), incident("prompt", ["x"], "b")]),
            (NO + " ", [incident("prompt", ["x"], "b")]),
            (NO, [{"kind": "prompt"}]),
            (NO, [{}]),
            (RuntimeError("down"), [incident("prompt", ["x"], "b")]),
            (RuntimeError("down"), []),
        ],
        ids=["let through", "not logged", "another kind", "another prompt", "twice", "one too many", "another refusal",
             "no prompt", "empty", "crash after the log", "crash"],
    )  # fmt: skip
    def test_a_failure_that_isnt_dealt_with(self, answer, added):
        script = {"a": (NO, incident("prompt", [], "a")), "b": (answer, *added), "c": (NO, incident("model", [], "c"))}
        assert_equal(run_drill(script, ("a", "prompt"), ("b", "prompt"), ("c", "model")), ["the b one"])

    @pytest.mark.parametrize(
        ("answer", "added"),
        [
            (NO, []),
            (NO, [incident("prompt", [], "b")]),
            ("Paris", [incident("prompt", [], "b")]),
            (ValueError("x"), []),
        ],
        ids=["refused", "refused and logged", "logged", "crash"],
    )
    def test_a_false_alarm(self, answer, added):
        script = {"a": ("Rome",), "b": (answer, *added), "c": ("Oslo",)}
        assert_equal(run_drill(script, ("a", None), ("b", None), ("c", None)), ["the b one"])

    @pytest.mark.parametrize("live", [False, True])
    def test_old_incidents_dont_count(self, live):
        old = [incident("prompt", [], "a"), incident("prompt", [], "b"), incident("model", [], "c")]
        script = {"a": (NO,), "b": (NO, incident("prompt", [], "b")), "c": ("Paris",)}
        found = run_drill(script, ("a", "prompt"), ("b", "prompt"), ("c", None), old=old, live=live)
        assert_equal(found, ["the a one"])

    def test_after_a_crash_it_goes_on(self):
        script = {"a": (RuntimeError("down"),), "b": (NO,), "c": (NO, incident("model", [], "c"))}
        assert_equal(run_drill(script, ("a", "model"), ("b", "model"), ("c", "model")), ["the a one", "the b one"])

    def test_in_their_order_and_all_of_them(self):
        script = dict.fromkeys("dbca", (NO,))
        assert_equal(run_drill(script, *((name, "model") for name in "dbca")), [f"the {name} one" for name in "dbca"])

    def test_each_is_tried_once_in_order(self):
        guard = Guard(dict.fromkeys("dbca", (NO,)))
        drill(guard, guard.incidents, [Planted(name, name, "model") for name in "dbca"], NO)
        assert_equal(guard.asked, list("dbca"))

    def test_the_same_prompt_twice(self):
        script = {"a": (NO, incident("prompt", [], "a"))}
        assert_equal(run_drill(script, ("a", "prompt"), ("a", "prompt")), [])

    @pytest.mark.parametrize("refusal", ["No.", ""])
    def test_another_refusal(self, refusal):
        script = {"a": (refusal, incident("prompt", [], "a")), "b": (NO, incident("prompt", [], "b")), "c": (NO,)}
        found = run_drill(script, ("a", "prompt"), ("b", "prompt"), ("c", None), refusal=refusal)
        assert_equal(found, ["the b one"])

    def test_nothing_planted(self):
        assert_equal(run_drill({}), [])

    def test_every_planted_failure_is_caught_and_logged(self, tmp_path):
        """Thresholds from validation data, a guard, a log on disk, and a drill of all failures."""
        path = tmp_path / "log"
        texts = [
            "a knife",
            "a bomb here",
            "bomb bomb",
            "sugar",
            "a nice day",
            "bomb bomb knife",
            "tea",
            "a bomb disposal",
        ]
        harmful = np.array([0, 1, 1, 0, 0, 1, 0, 0])
        scorer = lambda text: 2.0 * text.count("bomb") + text.count("knife")  # noqa: E731
        scores = numbers(*(scorer(text) for text in texts))
        thresholds = {"weapons": choose_threshold(scores, harmful, "recall", 0.6), "broken": 0.5}
        assert_close(thresholds["weapons"], 4.0)
        scorers = {"weapons": scorer, "broken": lambda text: NAN if "\0" in text else 0.0}

        def model(prompt: str) -> str:
            answers = {"leak": "bomb bomb", "empty": "", "none": None, "odd": "a\0b"}
            if prompt == "crash":
                raise RuntimeError("out of memory")
            return answers.get(prompt, "Tea is nice.")

        def guarded(prompt: str) -> str:
            return guarded_answer(model, prompt, scorers, thresholds, lambda one: append_incident(path, one), NO)

        planted = [
            Planted("asks for bombs", "bomb bomb?", "prompt"),
            Planted("breaks the filter", "a\0?", "prompt"),
            Planted("leaks", "leak", "answer"),
            Planted("breaks the filter in the answer", "odd", "answer"),
            Planted("out of memory", "crash", "model"),
            Planted("says nothing", "empty", "model"),
            Planted("gives nothing", "none", "model"),
            Planted("asks for tea", "tea?", None),
        ]
        assert_equal(drill(guarded, lambda: read_incidents(path), planted, NO), [])
        expected = [(failure.kind, failure.prompt) for failure in planted if failure.kind]
        assert_equal([(one["kind"], one["prompt"]) for one in read_incidents(path)], expected)

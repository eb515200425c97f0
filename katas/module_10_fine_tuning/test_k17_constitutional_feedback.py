"""Judges k17_constitutional_feedback with scripted models, one never satisfied, and a rule that nobody is shown."""

import itertools
import math

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_10_fine_tuning.k17_constitutional_feedback import (
    Preference,
    Revision,
    Rule,
    ai_labels,
    compare,
    critique_and_revise,
    fit_preference,
    position_bias,
    preference_accuracy,
    read_verdict,
    rule_reward,
)

pytestmark = [from_scratch("sklearn", "scipy"), pure()]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


def numbers(*values) -> np.ndarray:
    return np.array(values, dtype=np.float64)


class TestReadVerdict:
    def test_the_example_worked_by_hand(self):
        assert_equal([read_verdict("It is rude.\nVerdict: revise"), read_verdict("Looks good to me.")], [False, None])

    @pytest.mark.parametrize(("word", "expected"), [("fine", True), ("revise", False)])
    @pytest.mark.parametrize(
        "line",
        [
            "Verdict: {}",
            "verdict:{}",
            "VERDICT: {}.",
            "  Verdict:   {}  ",
            "\tVerdict:\t{}\t",
            "All in all it may stay.\nIt is short.\nVerdict: {}.\n\n",
            "Verdict: {}\nI have given my reasons.",
            "First.\r\nVerdict: {}\r\nLast.\r\n",
        ],
    )
    def test_a_clear_one(self, line, word, expected):
        assert_equal(read_verdict(line.format(word)), expected)
        if "r\n" not in line:
            assert_equal(read_verdict(line.format(word.title())), expected)
            assert_equal(read_verdict(line.format(word.upper())), expected)

    @pytest.mark.parametrize(
        "critique",
        [
            "",
            "fine",
            "It is fine.",
            "Verdict:",
            "Verdict: ok",
            "Verdict: fine, I think",
            "Verdict: not fine",
            "Verdict: refined",
            "Verdict: fine or revise",
            "Verdict: revised",
            "My verdict: fine",
            "Verdict fine",
            "Verdict:\nfine",
            "Verdicts: fine",
            "Verdict - fine",
            "Verdict: fine!",
            "Verdict: fine..",
            "Verdict: **fine**",
        ],
    )
    def test_an_unclear_one(self, critique):
        assert_equal(read_verdict(critique), None)

    @pytest.mark.parametrize(
        ("lines", "expected"),
        [
            (["fine", "revise"], False),
            (["revise", "fine"], True),
            (["fine", "fine", "perhaps"], None),
            (["perhaps", "revise"], False),
            (["fine", ""], None),
        ],
    )
    def test_the_last_one_counts_alone(self, lines, expected):
        assert_equal(read_verdict("\nBut wait.\n".join(f"Verdict: {word}" for word in lines)), expected)


class Script:
    """A critic and a reviser that follow a script, and note what they are asked.

    complaints  for each version the principles that it breaks
    becomes     the version after each
    """

    def __init__(self, complaints: dict[str, str], becomes: dict[str, str]) -> None:
        self.complaints, self.becomes = complaints, becomes
        self.read: list[tuple[str, str, str]] = []
        self.revised: list[tuple[str, str, list[str]]] = []

    def critic(self, prompt: str, answer: str, principle: str) -> str:
        self.read.append((prompt, answer, principle))
        if len(self.read) > 500:
            fail("The critic is asked more than 500 times.", evidence="for ever")
        return self.says(answer, principle)

    def says(self, answer: str, principle: str) -> str:
        if principle in self.complaints[answer]:
            return f"{answer} breaks {principle}.\nVerdict: revise"
        return f"{answer} keeps {principle}.\nVerdict: fine"

    def reviser(self, prompt: str, answer: str, critiques: list[str]) -> str:
        self.revised.append((prompt, answer, list(critiques)))
        return self.becomes[answer]

    def run(self, answer: str, principles: str, rounds: int) -> Revision:
        return critique_and_revise(self.critic, self.reviser, "Q", answer, list(principles), rounds)


class TestCritiqueAndRevise:
    def test_the_example_worked_by_hand(self):
        script = Script({"v0": "AC", "v1": "B", "v2": "AB"}, {"v0": "v1", "v1": "v2", "v2": "v3"})
        found = script.run("v0", "ABC", 3)
        assert_equal(tuple(found), ("v1", ["v0", "v1", "v2"], [2, 1, 2], "rounds"))

    def test_a_revision_that_satisfies(self):
        script = Script({"v0": "B", "v1": "A", "v2": ""}, {"v0": "v1", "v1": "v2"})
        assert_equal(tuple(script.run("v0", "AB", 9)), ("v2", ["v0", "v1", "v2"], [1, 1, 0], "satisfied"))

    def test_an_answer_that_satisfies_at_once(self):
        script = Script({"v0": ""}, {})
        assert_equal(tuple(script.run("v0", "AB", 4)), ("v0", ["v0"], [0], "satisfied"))
        assert_equal(script.revised, [])

    @pytest.mark.parametrize("rounds", [1, 3])
    def test_satisfied_in_the_last_round(self, rounds):
        complaints = {f"v{k}": "A" for k in range(rounds - 1)} | {f"v{rounds - 1}": ""}
        script = Script(complaints, {f"v{k}": f"v{k + 1}" for k in range(rounds)})
        found = script.run("v0", "A", rounds)
        assert_equal((found.answer, found.stopped), (f"v{rounds - 1}", "satisfied"))

    @pytest.mark.parametrize("rounds", [1, 2, 5, 20])
    def test_a_critic_that_is_never_satisfied(self, rounds):
        script = Script({f"v{k}": "AB" for k in range(99)}, {f"v{k}": f"v{k + 1}" for k in range(99)})
        found = script.run("v0", "AB", rounds)
        versions = [f"v{k}" for k in range(rounds)]
        assert_equal(tuple(found), ("v0", versions, [2] * rounds, "rounds"))
        assert_equal((len(script.read), len(script.revised)), (2 * rounds, rounds - 1))

    def test_one_principle_that_nobody_can_keep(self):
        """What can be mended is mended, and after that nothing is changed for nothing."""
        script = Script(
            {"v0": "ABC", "v1": "AC", "v2": "A", "v3": "A", "v4": "A"}, {f"v{k}": f"v{k + 1}" for k in range(9)}
        )
        found = script.run("v0", "ABC", 5)
        assert_equal(tuple(found), ("v2", ["v0", "v1", "v2", "v3", "v4"], [3, 2, 1, 1, 1], "rounds"))

    @pytest.mark.parametrize(
        ("becomes", "versions"),
        [
            ({"v0": "v0"}, ["v0"]),
            ({"v0": "v1", "v1": "v1"}, ["v0", "v1"]),
            ({"v0": "v1", "v1": "v0"}, ["v0", "v1"]),
            ({"v0": "v1", "v1": "v2", "v2": "v0"}, ["v0", "v1", "v2"]),
            ({"v0": "v1", "v1": "v2", "v2": "v1"}, ["v0", "v1", "v2"]),
        ],
    )
    def test_a_version_that_was_there_before(self, becomes, versions):
        script = Script({"v0": "ABC", "v1": "AB", "v2": "B"}, becomes)
        found = script.run("v0", "ABC", 9)
        assert_equal(tuple(found), (versions[-1], versions, [3, 2, 1][: len(versions)], "repeated"))
        assert_equal(len(script.read), 3 * len(versions))

    def test_a_revision_that_makes_it_worse(self):
        script = Script({"v0": "A", "v1": "ABC", "v2": "AB"}, {"v0": "v1", "v1": "v2", "v2": "v0"})
        assert_equal(tuple(script.run("v0", "ABC", 9)), ("v0", ["v0", "v1", "v2"], [1, 3, 2], "repeated"))

    def test_versions_that_differ_by_a_blank_are_two(self):
        script = Script({"v": "A", "v ": "A", "V": ""}, {"v": "v ", "v ": "V"})
        assert_equal(tuple(script.run("v", "A", 9)), ("V", ["v", "v ", "V"], [1, 1, 0], "satisfied"))

    def test_what_the_critic_is_asked(self):
        script = Script({"v0": "B", "v1": ""}, {"v0": "v1"})
        script.run("v0", "BCA", 4)
        assert_equal(script.read, [("Q", version, principle) for version in ("v0", "v1") for principle in "BCA"])

    def test_what_the_reviser_is_asked(self):
        script = Script({"v0": "AC", "v1": "B", "v2": ""}, {"v0": "v1", "v1": "v2"})
        script.run("v0", "CBA", 4)
        expected = [
            ("Q", "v0", ["v0 breaks C.\nVerdict: revise", "v0 breaks A.\nVerdict: revise"]),
            ("Q", "v1", ["v1 breaks B.\nVerdict: revise"]),
        ]
        assert_equal(script.revised, expected)

    @pytest.mark.parametrize("words", ["Hm, hard to say.", "Verdict: fine, I think", ""])
    def test_an_unclear_verdict_is_a_complaint(self, words):
        script = Script({"v0": "", "v1": ""}, {"v0": "v1"})
        script.says = lambda answer, principle: words if (answer, principle) == ("v0", "B") else "Verdict: fine"
        assert_equal(tuple(script.run("v0", "AB", 5)), ("v1", ["v0", "v1"], [1, 0], "satisfied"))
        assert_equal(script.revised, [("Q", "v0", [words])])

    def test_a_principle_that_stands_there_twice_is_asked_twice(self):
        script = Script({"v0": "A", "v1": ""}, {"v0": "v1"})
        assert_equal(script.run("v0", "ABA", 5).complaints, [2, 0])

    def test_no_principles(self):
        script = Script({}, {})
        assert_equal(tuple(script.run("v0", "", 3)), ("v0", ["v0"], [0], "satisfied"))
        assert_equal((script.read, script.revised), ([], []))

    def test_a_revision(self):
        found = Script({"v0": ""}, {}).run("v0", "A", 1)
        assert_equal((type(found).__name__, type(found.versions), type(found.complaints)), ("Revision", list, list))

    @pytest.mark.parametrize("rounds", [0, -2])
    def test_no_round(self, rounds):
        script = Script({"v0": ""}, {})
        with raises(ValueError, "rounds", rounds):
            script.run("v0", "A", rounds)

    @pytest.mark.parametrize("seed", range(4))
    def test_the_rules_written_out(self, seed):
        draw = np.random.default_rng(seed)
        for _ in range(20):
            names = [f"v{k}" for k in range(6)]
            complaints = {name: "".join(p for p in "ABC" if draw.random() < 0.5) for name in names}
            becomes = {name: str(draw.choice(names)) for name in names}
            rounds = int(draw.integers(1, 6))
            versions, stopped = ["v0"], ""
            while not stopped:
                if not complaints[versions[-1]]:
                    stopped = "satisfied"
                elif len(versions) == rounds:
                    stopped = "rounds"
                elif becomes[versions[-1]] in versions:
                    stopped = "repeated"
                else:
                    versions.append(becomes[versions[-1]])
            counts = [len(complaints[v]) for v in versions]
            expected = (versions[counts.index(min(counts))], versions, counts, stopped)
            assert_equal(tuple(Script(complaints, becomes).run("v0", "ABC", rounds)), expected)


class Scores:
    """A judge with a score for each answer and principle, who adds `place` to the log-odds of the first place."""

    def __init__(self, scores: dict[tuple[str, str], float], place: float = 0.0, scale: float = 1.0) -> None:
        self.scores, self.place, self.scale = scores, place, scale
        self.asked: list[tuple[str, str, str, str]] = []

    def __call__(self, prompt: str, first: str, second: str, principle: str) -> tuple[float, float]:
        self.asked.append((prompt, first, second, principle))
        odds = self.place + self.scale * (self.scores[first, principle] - self.scores[second, principle])
        # Something is left for other words, so that the two don't sum to 1.
        return odds / 2 - 1.3, -odds / 2 - 1.3


def says(one: tuple[float, float], other: tuple[float, float]):
    """A judge with these answers: when "good" stands first, and when "bad" does."""
    return lambda prompt, first, second, principle: one if first == "good" else other


class TestCompare:
    def test_the_example_worked_by_hand(self):
        found = compare(says((-0.2, -1.7), (-0.9, -0.5)), "Q", "good", "bad", "Be kind.")
        assert_close(tuple(found), (sigmoid(0.95), True))

    @pytest.mark.parametrize("place", [0.0, 0.55, -3.0])
    def test_a_position_bias_is_gone(self, place):
        judge = Scores({("a", "P"): 1.7, ("b", "P"): 0.5}, place)
        assert_close(compare(judge, "Q", "a", "b", "P").probability, sigmoid(1.2))
        assert_close(compare(judge, "Q", "b", "a", "P").probability, sigmoid(-1.2))

    @pytest.mark.parametrize(
        ("x", "y", "consistent"),
        [(1.5, 0.4, True), (-0.5, -2.0, True), (0.0, 0.0, True), (1.0, -0.5, False), (-0.5, 3.0, False),
         (0.0, 1.0, False), (0.75, 0.0, False), (0.0, -1.0, False), (-2.0, 0.0, False)],
    )  # fmt: skip
    def test_whether_the_orders_agree(self, x, y, consistent):
        found = compare(says((x - 1.0, -1.0), (-2.0, y - 2.0)), "Q", "good", "bad", "P")
        assert_close(found.probability, sigmoid((x + y) / 2))
        assert_equal(found.consistent, consistent)

    def test_orders_that_differ_by_very_little(self):
        found = [compare(says(*both), "Q", "good", "bad", "P").consistent
                 for both in (((0.0, -1e-20), (0.0, -1e-20)), ((0.0, -1e-20), (-1e-20, 0.0)))]  # fmt: skip
        assert_equal(found, [False, True])

    def test_which_log_prob_is_whose(self, rng):
        for _ in range(20):
            (a, b), (c, d) = (-3 * rng.random((2, 2))).tolist()
            expected = sigmoid(((a - b) + (d - c)) / 2)
            assert_close(compare(says((a, b), (c, d)), "Q", "good", "bad", "P").probability, expected)

    def test_it_asks_twice_once_in_each_order(self):
        judge = Scores({("a", "P"): 1.0, ("b", "P"): 0.0})
        compare(judge, "Why?", "a", "b", "P")
        assert_equal(sorted(judge.asked), [("Why?", "a", "b", "P"), ("Why?", "b", "a", "P")])

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize(("size", "expected"), [(1e4, 1.0), (-1e4, 0.0), (30.0, sigmoid(60.0))])
    def test_large_log_odds(self, size, expected):
        judge = Scores({("a", "P"): size, ("b", "P"): -size})
        assert_close(tuple(compare(judge, "Q", "a", "b", "P")), (expected, True))

    def test_a_small_probability_keeps_its_digits(self):
        judge = Scores({("a", "P"): -20.0, ("b", "P"): 20.0})
        assert_close(compare(judge, "Q", "a", "b", "P").probability, math.exp(-40), rtol=1e-7, atol=0)

    def test_an_answer_against_itself(self):
        found = compare(Scores({("a", "P"): 1.0}, place=2.0), "Q", "a", "a", "P")
        assert_close(tuple(found), (0.5, False))

    def test_a_preference(self):
        found = compare(says((-0.2, -1.7), (-0.9, -0.5)), "Q", "good", "bad", "P")
        assert_equal(
            (type(found).__name__, type(found.probability), type(found.consistent)), ("Preference", float, bool)
        )
        assert_equal(isinstance(found, Preference), True)


PAIRS = [("Q1", "a", "b"), ("Q2", "c", "a"), ("Q3", "b", "c"), ("Q4", "c", "b")]
ABC = {("a", "P"): 1.7, ("b", "P"): 0.5, ("c", "P"): -0.4, ("a", "R"): -0.3, ("b", "R"): 2.0, ("c", "R"): 0.1}


class TestPositionBias:
    def test_the_example_worked_by_hand(self):
        judge = says((-0.2, -1.7), (-0.9, -0.5))
        assert_close(position_bias(judge, [("Q", "good", "bad")], "P"), (0.55, 0.0))

    @pytest.mark.parametrize(("place", "inconsistent"), [(0.0, 0.0), (1.0, 0.5), (-1.0, 0.5), (5.0, 1.0), (1.5, 0.75)])
    def test_the_bias_and_how_often_it_decides(self, place, inconsistent):
        """The scores differ by 1.2, 2.1, 0.9 and 0.9."""
        assert_close(position_bias(Scores(ABC, place), PAIRS, "P"), (place, inconsistent))

    def test_biases_are_averaged_with_their_signs(self):
        table = {("a", "b"): (0.0, -1.0), ("b", "a"): (0.0, -3.0), ("c", "d"): (-2.0, 0.0), ("d", "c"): (-1.5, 0.0)}
        judge = lambda prompt, first, second, principle: table[first, second]  # noqa: E731
        # x = 1, y = -3: bias 2.  x = -2, y = 1.5: bias -1.75.
        assert_close(position_bias(judge, [("Q", "a", "b"), ("Q", "c", "d")], "P"), (0.125, 1.0))

    def test_one_order_that_is_undecided(self):
        judge = says((-1.0, -1.0), (-1.0, -2.0))
        assert_close(position_bias(judge, [("Q", "good", "bad")], "P"), (0.5, 1.0))

    def test_both_orders_undecided(self):
        judge = says((-1.0, -1.0), (-2.0, -2.0))
        assert_close(position_bias(judge, [("Q", "good", "bad")], "P"), (0.0, 0.0))

    def test_two_questions_a_pair(self):
        judge = Scores(ABC)
        position_bias(judge, PAIRS, "R")
        expected = [(q, *order, "R") for q, a, b in PAIRS for order in ((a, b), (b, a))]
        assert_equal(sorted(judge.asked), sorted(expected))

    def test_python_floats(self):
        assert_equal([type(part) for part in position_bias(Scores(ABC), PAIRS, "P")], [float, float])

    def test_no_pair(self):
        with raises(ValueError, "pair"):
            position_bias(Scores(ABC), [], "P")


def labels_by_hand(pairs, principles, low=0.0, high=1.0) -> np.ndarray:
    each = [[sigmoid(ABC[a, p] - ABC[b, p]) for p in principles] for _, a, b in pairs]
    return numbers(*(min(max(sum(row) / len(row), low), high) for row in each))


class TestAiLabels:
    def test_the_example_worked_by_hand(self):
        table = {("good", "P"): 0.95, ("bad", "P"): 0.0, ("good", "R"): math.log(9), ("bad", "R"): 0.0}
        pairs, judge = [("Q", "good", "bad")], Scores(table, 0.3)
        assert_close(ai_labels(judge, pairs, ["P", "R"]), numbers((sigmoid(0.95) + 0.9) / 2))
        assert_close(ai_labels(judge, pairs, ["P", "R"], 0.4, 0.6), numbers(0.6))

    @pytest.mark.parametrize("principles", [["P"], ["R"], ["P", "R"], ["R", "P", "P"]])
    @pytest.mark.parametrize("place", [0.0, -2.5])
    def test_each_pair(self, place, principles):
        assert_close(ai_labels(Scores(ABC, place), PAIRS, principles), labels_by_hand(PAIRS, principles))

    @pytest.mark.parametrize(("low", "high"), [(0.4, 0.6), (0.0, 0.55), (0.3, 1.0), (0.45, 0.45)])
    def test_they_are_cut(self, low, high):
        found = ai_labels(Scores(ABC), PAIRS, ["P", "R"], low, high)
        assert_close(found, labels_by_hand(PAIRS, ["P", "R"], low, high))

    def test_the_mean_is_cut_and_not_its_parts(self):
        judge = Scores({("a", "P"): 4.0, ("b", "P"): 0.0, ("a", "R"): 0.0, ("b", "R"): 0.2})
        expected = (sigmoid(4.0) + sigmoid(-0.2)) / 2
        assert_close(ai_labels(judge, [("Q", "a", "b")], ["P", "R"], 0.1, 0.8), numbers(expected))

    def test_probabilities_are_averaged_and_not_log_odds(self):
        judge = Scores({("a", "P"): 9.0, ("b", "P"): 0.0, ("a", "R"): 0.0, ("b", "R"): 1.0})
        expected = (sigmoid(9.0) + sigmoid(-1.0)) / 2
        assert_close(ai_labels(judge, [("Q", "a", "b")], ["P", "R"]), numbers(expected))

    def test_nothing_is_cut_by_default(self):
        judge = Scores({("a", "P"): 12.0, ("b", "P"): 0.0})
        expected = numbers(sigmoid(12.0), sigmoid(-12.0))
        assert_close(ai_labels(judge, [("Q", "a", "b"), ("Q", "b", "a")], ["P"]), expected)

    def test_two_questions_a_pair_and_principle(self):
        judge = Scores(ABC)
        ai_labels(judge, PAIRS[:2], ["P", "R"])
        expected = [(q, *o, p) for q, a, b in PAIRS[:2] for o in ((a, b), (b, a)) for p in "PR"]
        assert_equal(sorted(judge.asked), sorted(expected))

    def test_no_pairs(self):
        assert_close(ai_labels(Scores(ABC), [], ["P"]), np.empty(0))

    @pytest.mark.parametrize(("low", "high"), [(0.6, 0.4), (-0.25, 0.5), (0.5, 1.25), (2.0, 3.0)])
    def test_bounds_that_are_none(self, low, high):
        with raises(ValueError, low, high):
            ai_labels(Scores(ABC), PAIRS, ["P"], low, high)

    @pytest.mark.parametrize("pairs", [PAIRS, []])
    def test_no_principle(self, pairs):
        with raises(ValueError, "principle"):
            ai_labels(Scores(ABC), pairs, [])


def a_rule(name: str, weight: float, hard: bool = False) -> Rule:
    """It holds if the answer has the rule's name in it."""
    return Rule(name, lambda prompt, answer: name in answer, weight, hard)


RULES = [a_rule("polite", 1.0), a_rule("short", 0.5), a_rule("sells", -2.0)]


class TestRuleReward:
    @pytest.mark.parametrize(
        ("answer", "expected"),
        [("polite sells", -1.0), ("polite", 1.0), ("short polite", 1.5), ("sells", -2.0), ("", 0.0)],
    )
    def test_the_example_worked_by_hand(self, answer, expected):
        assert_close(rule_reward("Q", answer, RULES), expected)

    @pytest.mark.parametrize("answer", ["polite sells", "polite short", ""])
    def test_a_hard_rule_that_is_broken(self, answer):
        for place in range(4):
            rules = [*RULES[:place], a_rule("safe", 7.0, hard=True), *RULES[place:]]
            assert_close(rule_reward("Q", answer, rules), -4.5)

    @pytest.mark.parametrize("weight", [7.0, -3.0, 0.0])
    def test_a_hard_rule_that_holds_adds_nothing(self, weight):
        assert_close(rule_reward("Q", "safe polite", [a_rule("safe", weight, True), *RULES]), 1.0)

    def test_two_hard_rules(self):
        rules = [a_rule("safe", 1.0, True), a_rule("legal", 2.0, True), *RULES]
        found = [rule_reward("Q", answer, rules) for answer in ("safe legal short", "safe short", "legal short", "")]
        assert_close(found, [0.5, -4.5, -4.5, -4.5])

    def test_a_broken_hard_rule_is_worse_than_all_else(self, rng):
        for _ in range(20):
            rules = [a_rule(name, float(rng.normal())) for name in "abcd"]
            answers = ["".join(c) for k in range(5) for c in itertools.combinations("abcd", k)]
            least = min(rule_reward("Q", answer, rules) for answer in answers)
            assert_equal(rule_reward("Q", "abcd", [*rules, a_rule("x", 1.0, True)]) < least, True)

    def test_a_rule_sees_the_prompt(self):
        rules = [Rule("echo", lambda prompt, answer: prompt in answer, 0.75)]
        found = [rule_reward("tea", "green tea", rules), rule_reward("green tea", "tea", rules)]
        assert_close(found, [0.75, 0.0])

    def test_a_rule_that_stands_there_twice(self):
        assert_close(rule_reward("Q", "short", [RULES[1], RULES[1]]), 1.0)

    def test_weights_keep_their_digits(self):
        rules = [a_rule("a", 1 / 3), a_rule("b", -0.7), a_rule("c", 1234.567)]
        assert_close([rule_reward("Q", answer, rules) for answer in ("a b", "a c")], [1 / 3 - 0.7, 1 / 3 + 1234.567])
        assert_close(rule_reward("Q", "a b", [*rules, a_rule("x", 1.0, True)]), -1 - 1 / 3 - 0.7 - 1234.567)

    def test_no_rules(self):
        assert_close(rule_reward("Q", "polite", []), 0.0)

    def test_only_a_hard_rule(self):
        rules = [a_rule("safe", 5.0, True)]
        assert_close([rule_reward("Q", answer, rules) for answer in ("safe", "rude")], [0.0, -1.0])

    def test_a_python_float(self):
        rules = [a_rule("a", 1), a_rule("b", 2)]
        both = [rule_reward("Q", "a b", rules), rule_reward("Q", "a b", [*rules, a_rule("x", 1, True)])]
        assert_equal([type(reward) for reward in both], [float, float])
        assert_equal(type(rule_reward("Q", "", [])), float)


def some_pairs(rng, n: int, d: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first, second = rng.normal(size=(2, n, d)) + 0.7
    labels = 1 / (1 + np.exp(-(first - second) @ rng.normal(size=d) - rng.normal(size=n)))
    return first * scale, second * scale, labels


def assert_at_the_minimum(w: np.ndarray, x: np.ndarray, labels: np.ndarray, l2: float) -> None:
    assert_equal(np.shape(w), (x.shape[1],))
    p = np.array([sigmoid(s) for s in (x @ w).tolist()])
    slope = x.T @ (p - labels) + l2 * w
    curve = x.T @ (x * (p * (1 - p))[:, None]) + l2 * np.eye(len(w))
    # How far Newton's method would still go.  The stub promises so much.
    assert_close(w, w - np.linalg.solve(curve, slope), atol=1e-5)


class TestFitPreference:
    def test_the_example_worked_by_hand(self):
        first, second = numbers([3.0], [0.5], [2.0], [1.0]), numbers([2.0], [-0.5], [1.0], [0.0])
        assert_close(fit_preference(first, second, numbers(0.9, 0.6, 0.7, 0.8), 1e-9), numbers(math.log(3)), atol=1e-5)

    @pytest.mark.parametrize("l2", [0.01, 1.0, 20.0])
    @pytest.mark.parametrize(("n", "d"), [(40, 3), (9, 5), (4, 7), (1, 2)])
    def test_is_the_minimum(self, rng, n, d, l2):
        first, second, labels = some_pairs(rng, n, d)
        assert_at_the_minimum(fit_preference(first, second, labels, l2), first - second, labels, l2)

    @pytest.mark.parametrize("l2", [0.01, 3.0])
    @pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
    @pytest.mark.parametrize("rounded", [False, True])
    def test_large_and_small_features(self, rng, rounded, scale, l2):
        first, second, labels = some_pairs(rng, 30, 4, scale)
        labels = labels.round() if rounded else labels
        assert_at_the_minimum(fit_preference(first, second, labels, l2), first - second, labels, l2)

    @pytest.mark.parametrize("scale", [0.01, 1.0])
    def test_a_penalty_that_is_nearly_none(self, rng, scale):
        """Here a small gradient doesn't mean that the weights are right: the loss is flat."""
        first, second, labels = some_pairs(rng, 30, 4, scale)
        assert_at_the_minimum(fit_preference(first, second, labels, 1e-6), first - second, labels, 1e-6)

    @pytest.mark.parametrize(
        ("x", "labels"),
        [
            (([2.0, 5.0], [-300.0, -300.0], [200.0, 1.0], [0.0, -2.0]), (0.0, 1.0, 1.0, 0.1)),
            (([-10.0, 200.0], [-20.0, -30.0], [2.0, -1.0], [5.0, 2.0]), (1.0, 1.0, 0.1, 0.1)),
        ],
    )
    def test_where_whole_newton_steps_go_too_far(self, x, labels):
        """They end some 20 000 away from the minimum, where the sigmoid is flat."""
        x, labels = numbers(*x), numbers(*labels)
        assert_at_the_minimum(fit_preference(x, np.zeros_like(x), labels, 0.01), x, labels, 0.01)

    def test_labels_that_are_certain(self):
        """w solves l2 · w = Σ x · σ(-w x)."""
        x = numbers([1.0], [2.0], [300.0])
        w = fit_preference(x, np.zeros((3, 1)), np.ones(3), 0.001)
        assert_equal(w.shape, (1,))
        value = float(w[0])
        assert_close(0.001 * value, sum(a * sigmoid(-value * a) for a in (1.0, 2.0, 300.0)), atol=1e-5)

    def test_undecided_labels_say_nothing(self, rng):
        first, second, _ = some_pairs(rng, 8, 3)
        assert_close(fit_preference(first, second, np.full(8, 0.5), 0.3), np.zeros(3), atol=1e-5)

    def test_turned_pairs_give_the_same(self, rng):
        first, second, labels = some_pairs(rng, 12, 3)
        expected = fit_preference(first, second, labels, 0.5)
        assert_close(fit_preference(second, first, 1 - labels, 0.5), expected, atol=2e-5)

    def test_no_pairs(self):
        assert_close(fit_preference(np.empty((0, 3)), np.empty((0, 3)), np.empty(0), 0.5), np.zeros(3))

    @pytest.mark.parametrize("l2", [0.0, -0.25])
    def test_an_l2_that_isnt_above_0(self, rng, l2):
        with raises(ValueError, "l2", l2):
            fit_preference(*some_pairs(rng, 4, 2), l2)


class TestPreferenceAccuracy:
    def test_the_example_worked_by_hand(self):
        assert_close(preference_accuracy(numbers(0.8, 0.5, 0.3, 0.9), np.array([1, -1, 1, 0])), 0.5)

    @pytest.mark.parametrize(
        ("label", "truth", "expected"),
        [
            (0.51, 1, 1.0),
            (0.51, -1, 0.0),
            (0.5 + 1e-9, 1, 1.0),
            (0.5 - 1e-9, 1, 0.0),
            (0.49, 1, 0.0),
            (0.49, -1, 1.0),
            (0.5, 1, 0.5),
            (0.5, -1, 0.5),
            (1.0, 1, 1.0),
        ],
    )
    def test_of_one_pair(self, label, truth, expected):
        assert_close(preference_accuracy(numbers(label), np.array([truth])), expected)

    def test_pairs_without_a_truth_are_left_out(self):
        labels, truth = numbers(0.9, 0.1, 0.5, 0.7, 0.2), np.array([0, -1, 0, -1, -1])
        assert_close(preference_accuracy(labels, truth), 2 / 3)

    def test_counted_one_by_one(self, rng):
        labels, truth = rng.choice([0.0, 0.2, 0.5, 0.6, 1.0], 40), rng.integers(-1, 2, 40)
        rows = [(p, t) for p, t in zip(labels.tolist(), truth.tolist(), strict=True) if t]
        right = sum(0.5 if p == 0.5 else float((p > 0.5) == (t > 0)) for p, t in rows)
        assert_close(preference_accuracy(labels, truth), right / len(rows))

    def test_a_python_float(self):
        assert_equal(type(preference_accuracy(numbers(0.8), np.array([1]))), float)

    @pytest.mark.parametrize("truth", [(), (0, 0, 0)])
    def test_no_pair_with_a_truth(self, truth):
        with raises(ValueError, "pair"):
            preference_accuracy(np.full(len(truth), 0.7), np.array(truth, dtype=np.int64))


class Hidden:
    """A judge by a rule that nobody is shown, with noise, and a strong liking for the first place."""

    def __init__(self, rng, size: int) -> None:
        self.rule = rng.normal(size=4) + np.array([2.0, -2.0, 1.0, 0.0])
        self.features = {f"answer {k}": rng.normal(size=4) for k in range(size)}
        self.rng = rng

    def good(self, answer: str) -> float:
        return float(self.features[answer] @ self.rule)

    def __call__(self, prompt: str, first: str, second: str, principle: str) -> tuple[float, float]:
        odds = 4.0 + self.good(first) - self.good(second) + float(self.rng.normal())
        return -math.log1p(math.exp(-odds)), -math.log1p(math.exp(odds))


@pytest.mark.learning
class TestLearning:
    @pytest.mark.parametrize("seed", range(3))
    def test_a_rule_that_nobody_is_shown(self, seed):
        rng = np.random.default_rng(seed)
        judge = Hidden(rng, 240)
        names = list(judge.features)
        pairs = [("Q", *names[2 * k : 2 * k + 2]) for k in range(120)]
        truth = np.array([1 if judge.good(a) > judge.good(b) else -1 for _, a, b in pairs])
        once = numbers(*((lambda x: sigmoid(x[0] - x[1]))(judge(*pair, "P")) for pair in pairs))
        labels = ai_labels(judge, pairs, ["P"], 0.1, 0.9)
        one_order, both = (preference_accuracy(found, truth) for found in (once, labels))
        # 12 seeds: one order is right in 0.59 to 0.78, both orders in 0.91 to 0.98, the distilled reward in 0.95 or more.
        if not both > one_order + 0.05:
            fail(f"Labels from both orders are right in {both:.2f}, from one order in {one_order:.2f}.", evidence=both)
        first, second = (np.array([judge.features[pair[k]] for pair in pairs]) for k in (1, 2))
        w = fit_preference(first[:80], second[:80], labels[:80], 0.1)
        odds = ((first - second) @ w)[80:]
        learned = preference_accuracy(numbers(*(sigmoid(x) for x in odds.tolist())), truth[80:])
        if not learned > max(one_order, 0.85):
            fail(f"On new pairs the distilled reward is right in {learned:.2f}.", evidence=learned)

    @pytest.mark.parametrize("seed", range(3))
    def test_revision_lifts_the_reward_by_rules(self, seed):
        """The critic and the reviser know words; the rules that judge in the end are kept from them."""
        rng = np.random.default_rng(seed)
        rude, kind = ["stupid", "idiot", "dumb"], ["please", "thanks", "sorry", "tea", "milk", "sugar"]
        rules = [Rule(w, lambda prompt, answer, w=w: w in answer.split(), -1.0) for w in rude]
        rules.append(Rule("something is said", lambda prompt, answer: bool(answer), 1.0, hard=True))

        def critic(prompt: str, answer: str, principle: str) -> str:
            return f"I look for {principle}.\nVerdict: {'revise' if principle in answer.split() else 'fine'}"

        def reviser(prompt: str, answer: str, critiques: list[str]) -> str:
            bad = {critique.split("look for ")[1].split(".")[0] for critique in critiques}
            return " ".join(w for w in answer.split() if w not in bad) or "please"

        answers = [" ".join(rng.choice(rude + kind, 6)) for _ in range(20)]
        before = [rule_reward("Q", answer, rules) for answer in answers]
        after = [
            rule_reward("Q", critique_and_revise(critic, reviser, "Q", answer, rude, 4).answer, rules)
            for answer in answers
        ]
        assert_equal(min(before) < -0.5, True)
        assert_close(after, [0.0] * 20)

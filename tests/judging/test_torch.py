"""What the engine does with tensors; torch is imported here and nowhere else in these tests."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from dojo.checks.compare import Wrong, is_array  # noqa: E402
from dojo.checks.guard import keeps_arguments, same, snapshot  # noqa: E402
from dojo.checks.verdict import colour_of  # noqa: E402
from dojo.diagnosis.explain import _of_gradients  # noqa: E402
from dojo.judging.judge import _seed_torch  # noqa: E402
from dojo.proofs.wrong_on_purpose import APPLIES, detached, halved, input_changed, negated, zeros  # noqa: E402
from dojo.testing import assert_close  # noqa: E402

Pair = namedtuple("Pair", "out weights")


def test_the_seed_is_that_of_torch():
    _seed_torch(torch, 7)
    ours = torch.rand(4)
    torch.manual_seed(7)
    assert torch.equal(ours, torch.rand(4))


class TestWrongOnPurpose:
    @pytest.fixture
    def x(self):
        return torch.ones(2, requires_grad=True) * 3.0

    def test_detached_wherever_the_tensor_is(self, x):
        answers = (x, (x, 1), [x], {"a": x, "b": None}, Pair(x, "text"))
        for answer in answers:
            found = detached(answer, (), {})
            assert type(found) is type(answer)
            assert APPLIES[detached](answer, (), {})
            assert not APPLIES[detached](found, (), {})
        assert not APPLIES[detached](x.detach(), (), {})

    def test_zeros_negated_and_halved_keep_the_form(self, x):
        assert zeros({"a": x}, (), {})["a"].tolist() == [0, 0]
        assert negated(Pair(x, 2.0), (), {}).out.tolist() == [-3, -3]
        third = halved(x / 9, (), {})
        assert third.dtype == torch.float32
        assert not torch.equal(third, x / 9)

    def test_an_argument_changed_in_place_is_caught(self):
        def right(x):
            return x.sum()

        wrong = keeps_arguments(lambda x: input_changed(right(x), (x,), {}))
        with pytest.raises(Wrong, match="changed its argument"):
            wrong(torch.ones(3))
        assert keeps_arguments(right)(torch.ones(3)) == 3


def test_a_snapshot_tells_a_changed_tensor():
    x = {"w": [torch.tensor([1.0, float("nan")])], "n": 3}
    before = snapshot(x)
    assert same(before, x)
    x["w"][0][0] = 2
    assert not same(before, x)
    assert is_array(x["w"][0])


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (lambda x: x.double(), "dtype"),
        (lambda x: x[None], "shape"),
        (lambda x: x + 0.1, "values"),
        (lambda x: x.tolist(), "type"),
        (lambda x: x.to("meta"), "device"),
    ],
)
def test_what_is_wrong_with_a_tensor_is_told_apart(wrong, kind):
    x = torch.rand(3, 2)
    assert_close(x.clone(), x)
    with pytest.raises(Wrong) as caught:
        assert_close(wrong(x), x)
    assert caught.value.kind == kind


def test_bfloat16_is_compared_as_coarsely_as_it_is():
    x = torch.tensor([1.0, 3.0], dtype=torch.bfloat16)
    assert_close(x * (1 + 2**-7), x)
    with pytest.raises(Wrong):
        assert_close(x * 1.1, x)


class Tripled(torch.autograd.Function):
    """Twice its input, whose gradient says three times."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, upstream):
        return 3 * upstream


class TestGradientsThatAreCutOff:
    """torch's own errors say nothing to a learner, and nothing of them passes through the learner's file."""

    @pytest.fixture
    def x(self):
        return torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)

    @pytest.mark.parametrize(
        "differentiate",
        [
            lambda x: x.detach().sum().backward(),
            lambda x: torch.autograd.gradcheck(lambda v: v.detach() * 2, x),
        ],
    )
    def test_say_so_and_name_the_input(self, x, differentiate):
        with pytest.raises((RuntimeError, ValueError)) as caught:
            differentiate(x)
        assert colour_of(caught.value, Path("k01_x.py")) == "red"
        said = _of_gradients(caught.value, "", {"gradient": ["q", "k"]})
        assert said == ["its output no longer depends on `q` and `k`: was it detached, or computed under no_grad?"]
        assert "f(): the output" in _of_gradients(caught.value, "f()", {})[0]

    def test_of_several_none_is_blamed(self, x):
        weight = torch.ones(2, dtype=torch.float64, requires_grad=True)
        with pytest.raises(RuntimeError) as caught:
            torch.autograd.grad((x * 2).sum(), [x, weight])
        assert colour_of(caught.value, Path("k01_x.py")) == "red"
        (said,) = _of_gradients(caught.value, "", {"gradient": ["x"]})
        assert "`x`" not in said and "was one of them detached" in said

    def test_a_gradient_that_is_wrong_is_red_with_both(self, x):
        with pytest.raises(RuntimeError) as caught:
            torch.autograd.gradcheck(Tripled.apply, x)
        assert colour_of(caught.value, Path("k01_x.py")) == "red"
        said = _of_gradients(caught.value, "", {})
        assert said[0] == "its gradient isn't the one that finite differences give"
        assert "yours" in said[1]
        assert "3." in said[1]
        assert "expected" in said[2]
        assert "2." in said[2]

    def test_other_errors_of_torch_stay_what_they_are(self, x):
        with pytest.raises(RuntimeError) as caught:
            torch.ones(2) @ torch.ones(3)
        assert colour_of(caught.value, Path("k01_x.py")) == "amber"
        assert _of_gradients(caught.value, "", {}) == []

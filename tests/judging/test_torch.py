"""What the engine does with tensors; torch is imported here and nowhere else in these tests."""

from __future__ import annotations

from collections import namedtuple

import pytest

torch = pytest.importorskip("torch")

from dojo.checks.compare import Wrong, is_array  # noqa: E402
from dojo.checks.guard import keeps_arguments, same, snapshot  # noqa: E402
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

"""When two wrong answers are the same one."""

from __future__ import annotations

import numpy as np
import pytest

from dojo.checks.compare import as_numpy
from dojo.diagnosis.answers import Answer, agree

RIGHT = np.array([1.0, 2.0, 3.0])


def wrong(value, **how):
    return Answer(line=7, kind="values", value=value, expected=RIGHT, tolerances=(1e-7, 1e-9), **how)


@pytest.mark.parametrize(
    ("mine", "theirs", "same"),
    [
        ([1.0, 2.0, 4.0], [1.0, 2.0, 4.0 + 1e-9], True),
        ([1.0, 2.0, 4.0], [1.0, 2.0, 4.1], False),
        # Where the fault is a NaN, what rounding does elsewhere tells nothing.
        ([np.nan, 2.0, 3.0 + 1e-12], [np.nan, 2.0, 3.0 - 1e-12], True),
        ([np.inf, 2.0, 3.0 + 1e-12], [np.inf, 2.0, 3.0], True),
        ([np.nan, 2.0, 3.0], [1.5, 2.0, 3.0], False),
        ([np.nan, 2.0, 3.0], [np.nan, np.nan, 3.0], False),
        # As far from each other as from the right one: two roundings, not one fault.
        ([1.0, 2.0, 3.0 + 1e-12], [1.0, 2.0, 3.0 - 1e-12], False),
    ],
)
def test_same_but_for_rounding(mine, theirs, same):
    assert agree(wrong(np.array(mine)), wrong(np.array(theirs))) is same


def test_a_lazy_conjugate_can_be_shown():
    torch = pytest.importorskip("torch")
    x = torch.tensor([1 + 2j])
    assert as_numpy(x.conj())[0] == 1 - 2j
    assert as_numpy(x.conj().imag)[0] == -2


@pytest.mark.parametrize(("mine", "theirs", "same"), [(3e21, 3 * 10**21 + 1, False), (10**21, 10**21, True)])
def test_integers_beyond_64_bits_are_compared(mine, theirs, same):
    expected = 3 * 10**21 + 2
    answers = (Answer(line=7, kind="equal", value=value, expected=expected) for value in (mine, theirs))
    assert agree(*answers) is same

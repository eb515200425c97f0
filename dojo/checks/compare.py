"""Comparing an answer with what was expected, value by value.

A comparison that fails raises `Wrong`, which carries both answers, so that the
diagnosis can say more than "not equal".  Arrays are numpy's or torch's; torch
is never imported here, as a tensor can only exist where it is imported already.
"""

from __future__ import annotations

import numbers
import sys
from typing import Any

# (rtol, atol) by dtype: those of torch.testing.assert_close.
TOLERANCES = {
    "float16": (1e-3, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
    "complex64": (1.3e-6, 1e-5),
    "complex128": (1e-7, 1e-7),
}
MISSING: Any = object()


class Wrong(AssertionError):
    """A wrong answer.

    kind      "type", "length", "shape", "dtype", "device", "values", "equal", "raises", "changed",
              "forbidden" or "own"
    actual    what the learner's code gave, and `expected`; MISSING where there is no such thing
    where     the place inside a container: "[1]", "['mean']"; "" for the answer itself
    evidence  where there are no two answers to compare, a value that tells one mistake from another
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        actual: Any = MISSING,
        expected: Any = MISSING,
        where: str = "",
        tolerances: tuple[float, float] = (0.0, 0.0),
        evidence: Any = MISSING,
    ) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.kind = kind
        self.message = message
        self.actual = actual
        self.expected = expected
        self.where = where
        self.tolerances = tolerances
        self.evidence = evidence


def is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_array(value: Any) -> bool:
    """Whether `value` is a numpy array or a torch tensor, of any rank."""
    numpy = sys.modules.get("numpy")
    return (numpy is not None and isinstance(value, numpy.ndarray)) or is_tensor(value)


def is_scalar(value: Any) -> bool:
    """Whether `value` is one number or truth value: Python's, numpy's, or an array without axes."""
    if isinstance(value, numbers.Number):  # numpy's numbers are registered as such, numpy.bool isn't
        return True
    return (is_array(value) and len(value.shape) == 0) or type(value).__name__ in ("bool", "bool_")


def as_numpy(value: Any) -> Any:
    """`value` as a numpy array; bfloat16, which numpy lacks, as float32."""
    import numpy as np

    if is_tensor(value):
        value = value.detach().cpu().resolve_conj().resolve_neg()  # numpy has no lazy conjugates
        return (value.float() if value.dtype is sys.modules["torch"].bfloat16 else value).numpy()
    return np.asarray(value)


def dtype_name(value: Any) -> str:
    return str(value.dtype).removeprefix("torch.")


def tolerances_for(expected: Any, rtol: float | None, atol: float | None) -> tuple[float, float]:
    """The two tolerances: those given, else those of the dtype of `expected`; ints and bools are exact."""
    name = dtype_name(expected) if hasattr(expected, "dtype") else type(expected).__name__
    name = {"float": "float64", "complex": "complex128"}.get(name, name)
    default = TOLERANCES.get(name, (0.0, 0.0))
    return (default[0] if rtol is None else rtol, default[1] if atol is None else atol)


def describe_type(value: Any) -> str:
    """A type as a learner knows it, with an article as it is spoken: "a list", "an ndarray", "None"."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name.lower().startswith(('a', 'e', 'i', 'o', 'nd')) else 'a'} {name}"


def _elements(n: int) -> str:
    return f"{n} element{'' if n == 1 else 's'}"


def close(
    actual: Any,
    expected: Any,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    check_dtype: bool = True,
    equal_nan: bool = True,
    where: str = "",
) -> None:
    """Raise Wrong where `actual` isn't `expected` to within the tolerances; see `dojo.testing.assert_close`."""
    options: dict[str, Any] = {
        "rtol": rtol,
        "atol": atol,
        "check_dtype": check_dtype,
        "equal_nan": equal_nan,
    }
    if isinstance(expected, dict):
        _check_keys(actual, expected, where)
        for key, value in expected.items():
            close(actual[key], value, where=f"{where}[{key!r}]", **options)
    elif isinstance(expected, list | tuple):
        _check_length(actual, expected, where)
        for i, (one, other) in enumerate(zip(actual, expected, strict=True)):
            close(one, other, where=f"{where}[{i}]", **options)
    elif is_scalar(expected):
        _close_scalars(actual, expected, where, **options)
    elif is_array(expected):
        _close_arrays(actual, expected, where, **options)
    else:
        equal(actual, expected, where)


def _wrong_type(actual: Any, expected: Any, where: str, wanted: str | None = None) -> Wrong:
    message = f"must be {wanted or describe_type(expected)}, got {describe_type(actual)}"
    return Wrong("type", message, actual=actual, expected=expected, where=where)


def _check_keys(actual: Any, expected: dict[Any, Any], where: str) -> None:
    if not isinstance(actual, dict):
        raise _wrong_type(actual, expected, where)
    if set(actual) != set(expected):
        missing = [k for k in expected if k not in actual]
        extra = [k for k in actual if k not in expected]
        parts = [f"lacks {missing[:5]}"] if missing else []
        parts += [f"has {extra[:5]} too many"] if extra else []
        message = f"has the wrong keys: it {' and '.join(parts)}"
        raise Wrong("equal", message, actual=actual, expected=expected, where=where)


def _check_length(actual: Any, expected: Any, where: str) -> None:
    # A tuple and a list hold the same answers; an array in place of several answers doesn't.
    if not isinstance(actual, list | tuple):
        raise _wrong_type(actual, expected, where, f"a {type(expected).__name__} of {len(expected)}")
    if len(actual) != len(expected):
        message = f"has {_elements(len(actual))}, expected {len(expected)}"
        raise Wrong("length", message, actual=actual, expected=expected, where=where)


def _close_scalars(
    actual: Any,
    expected: Any,
    where: str,
    rtol: float | None,
    atol: float | None,
    check_dtype: bool,
    equal_nan: bool,
) -> None:
    if not is_scalar(actual):
        raise _wrong_type(actual, expected, where, "one number")
    if is_tensor(expected) and check_dtype:
        _check_tensor(actual, expected, where)
    tolerances = tolerances_for(expected, rtol, atol)
    if isinstance(expected, int) and not isinstance(actual, int) and rtol is None and atol is None:
        tolerances = TOLERANCES["float64"]  # an exact whole number, computed in floating point
    _check_values(actual, expected, where, tolerances, equal_nan)


def _close_arrays(
    actual: Any,
    expected: Any,
    where: str,
    rtol: float | None,
    atol: float | None,
    check_dtype: bool,
    equal_nan: bool,
) -> None:
    if is_tensor(actual) != is_tensor(expected) or not is_array(actual):
        wanted = "a tensor" if is_tensor(expected) else "a numpy array"
        raise _wrong_type(actual, expected, where, wanted)
    if tuple(actual.shape) != tuple(expected.shape):
        message = f"has shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
        raise Wrong("shape", message, actual=actual, expected=expected, where=where)
    if check_dtype:
        _check_dtype(actual, expected, where)
    if is_tensor(expected):
        _check_device(actual, expected, where)
    tolerances = tolerances_for(expected, rtol, atol)
    _check_values(actual, expected, where, tolerances, equal_nan)


def _check_values(actual: Any, expected: Any, where: str, tolerances: tuple[float, float], equal_nan: bool) -> None:
    if not _all_close(as_numpy(actual), as_numpy(expected), *tolerances, equal_nan):
        raise Wrong("values", "differs", actual=actual, expected=expected, where=where, tolerances=tolerances)


def _check_tensor(actual: Any, expected: Any, where: str) -> None:
    if not is_tensor(actual):
        raise _wrong_type(actual, expected, where, "a tensor")
    _check_dtype(actual, expected, where)
    _check_device(actual, expected, where)


def _check_dtype(actual: Any, expected: Any, where: str) -> None:
    mine, wanted = dtype_name(actual), dtype_name(expected)
    # Which width of integer an index or a count has is the platform's business.
    if mine == wanted or (not is_tensor(expected) and actual.dtype.kind in "iu" and expected.dtype.kind in "iu"):
        return
    message = f"has dtype {mine}, expected {wanted}"
    raise Wrong("dtype", message, actual=actual, expected=expected, where=where)


def _check_device(actual: Any, expected: Any, where: str) -> None:
    if actual.device.type != expected.device.type:
        message = f"is on {actual.device}, expected {expected.device}"
        raise Wrong("device", message, actual=actual, expected=expected, where=where)


def _all_close(actual: Any, expected: Any, rtol: float, atol: float, equal_nan: bool) -> bool:
    import numpy as np

    if actual.dtype.kind in "OUSV" or expected.dtype.kind in "OUSV":
        return bool(np.array_equal(actual, expected))
    if rtol == atol == 0:  # exact, and without a detour through floats that would round large integers
        return bool(np.array_equal(actual, expected, equal_nan=equal_nan and expected.dtype.kind in "fc"))
    return bool(np.all(isclose(actual, expected, rtol, atol, equal_nan)))


def isclose(actual: Any, expected: Any, rtol: float, atol: float, equal_nan: bool = True) -> Any:
    """numpy.isclose for arrays of any numeric dtype, without warnings about the values it meets."""
    import numpy as np

    with np.errstate(all="ignore"):
        if actual.dtype == np.bool_ or expected.dtype == np.bool_:
            return actual == expected
        return np.isclose(actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan)


def equal(actual: Any, expected: Any, where: str = "") -> None:
    """Raise Wrong where `actual` isn't exactly `expected`; see `dojo.testing.assert_equal`."""
    if is_array(expected) or is_array(actual):
        if is_array(actual) and is_array(expected):
            close(actual, expected, rtol=0, atol=0, where=where)
            return
        raise _wrong_type(actual, expected, where)
    if is_scalar(actual) and is_scalar(expected):
        same_kind = _is_truth(actual) == _is_truth(expected)  # in Python True == 1, but they aren't one answer
    else:
        same_kind = isinstance(actual, type(expected)) or isinstance(expected, type(actual))
    if not same_kind:
        raise _wrong_type(actual, expected, where)
    if isinstance(expected, dict):
        _check_keys(actual, expected, where)
        for key, value in expected.items():
            equal(actual[key], value, f"{where}[{key!r}]")
    elif isinstance(expected, list | tuple):
        for i, (one, other) in enumerate(zip(actual, expected, strict=False)):
            equal(one, other, f"{where}[{i}]")
        if len(actual) != len(expected):
            message = f"has {_elements(len(actual))}, expected {len(expected)}"
            raise Wrong("length", message, actual=actual, expected=expected, where=where)
    elif actual != expected and not (actual != actual and expected != expected):
        raise Wrong("equal", "differs", actual=actual, expected=expected, where=where)


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")

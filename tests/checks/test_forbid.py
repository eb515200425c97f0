"""Forbidden functions that only show as the code runs: the learner's call is caught, the oracle's isn't."""

import math
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from dojo.checks.forbid import Guarded, Watch

ROOT = Path(__file__).resolve().parents[2]
NAMES = (
    "numpy.linalg.svd",
    "numpy.dot",
    "numpy.add",
    "math.factorial",
    "numpy.ndarray.dot",
    "scipy",
    "@",
    "builtins.sum",
)


@pytest.fixture
def watch():
    one = Watch()
    yield one
    one.restore()


def run(code: str, file: str, **names: object) -> dict:
    module = types.ModuleType("katas.module_01.k01_a")
    vars(module).update(names)
    exec(compile(code, file, "exec"), vars(module))
    return vars(module)


def learners(file: str) -> bool:
    return file == "/k01_a.py"


@pytest.mark.parametrize(
    "code",
    [
        "np.dot([1], [2])",
        "getattr(np, 'd' + 'ot')([1], [2])",
        "{'f': np.dot}['f']([1], [2])",
        "np.linalg.svd(np.eye(2))",
        "np.add([1], [2])",
        "vars(np)[name]([1], [2])",
    ],
)
def test_a_learners_call_is_caught_by_whatever_way(watch, code):
    with watch.over(NAMES, learners):
        run(f"\n{code}", "/k01_a.py", np=np, name="dot")
    assert [(file, line) for _, file, line in watch.caught] == [("/k01_a.py", 2)]


def test_tests_and_libraries_go_on_using_them(watch):
    with watch.over(NAMES, learners):
        assert run("y = np.dot([1], [2])", "/test_k01_a.py", np=np)["y"] == 2
        assert np.linalg.pinv(np.eye(2)).tolist() == [[1, 0], [0, 1]]  # calls svd
        assert math.factorial(5) == 120
        run("np.linalg.pinv(np.eye(2))", "/k01_a.py", np=np)
    assert watch.caught == []


def test_outside_the_block_nothing_is_forbidden_and_in_the_end_all_is_as_it_was(watch):
    before = np.dot, np.add, math.factorial
    with watch.over(NAMES, learners):
        assert type(np.dot) is Guarded
    run("np.dot([1], [2])", "/k01_a.py", np=np)
    assert watch.caught == []
    watch.restore()
    assert all(a is b for a, b in zip(before, (np.dot, np.add, math.factorial), strict=True))


def test_what_stands_in_is_still_what_it_was_to_whoever_looks(watch):
    with watch.over(NAMES, learners):
        assert isinstance(np.add, np.ufunc)
        assert np.add.reduce([1, 2, 3]) == 6
        assert np.add.identity == 0
        import pickle

        assert pickle.loads(pickle.dumps(np.dot))([1], [2]) == 2


def test_a_guarded_function_keeps_its_documentation_and_module(watch):
    documentation, module = np.clip.__doc__, np.clip.__module__
    with watch.over(("numpy.clip",), learners):
        assert type(np.clip) is Guarded
        assert (np.clip.__doc__, np.clip.__module__, np.clip.__name__) == (documentation, module, "clip")


def test_libraries_can_be_imported_under_guard():
    """numpy.ma rewrites the documentation of numpy.clip, and scipy imports numpy.ma: in whichever test comes first."""
    code = (
        "import numpy\nfrom dojo.checks.forbid import Watch\n"
        "with Watch().over(('numpy.clip', 'numpy.mean', 'numpy.dot'), lambda file: False):\n"
        "    import numpy.ma, scipy.stats, pandas\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode == 0, run.stderr

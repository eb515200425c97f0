"""The from-scratch rule: every way to reach what is forbidden is seen, and nothing else is."""

import pytest

from dojo.checks.scratch import violations

FORBIDDEN = (
    "numpy.linalg.svd",
    "scipy",
    "numpy.ndarray.dot",
    "str.encode",
    "@",
    "builtins.sum",
    "numpy.float16",
    "reference",
)

CAUGHT = [
    ("import numpy as np\nu = np.linalg.svd(a)", "numpy.linalg.svd", 2),
    ("import numpy\nu = numpy.linalg.svd(a)", "numpy.linalg.svd", 2),
    ("from numpy.linalg import svd", "numpy.linalg.svd", 1),
    ("from numpy.linalg import svd as s\nx = s(a)", "numpy.linalg.svd", 1),
    ("from numpy import linalg as la\nx = 1\nla.svd(a)", "numpy.linalg.svd", 3),
    ("import numpy.linalg as la\nla.svd(a)", "numpy.linalg.svd", 2),
    ("import numpy as np\nf = getattr(np.linalg, 'svd')", "numpy.linalg.svd", 2),
    ("def f():\n    import scipy.special\n    return scipy.special.logsumexp(x)", "scipy", 3),
    ("from scipy.special import logsumexp", "scipy", 1),
    ("import scipy", "scipy", 1),
    ("from numpy.linalg import *", "numpy.linalg.svd", 1),
    ("y = x.dot(z)", "numpy.ndarray.dot", 1),
    ("b = 'text'.encode()", "str.encode", 1),
    ("c = a @ b", "@", 1),
    ("a @= b", "@", 1),
    ("t = sum(x)", "builtins.sum", 1),
    ("import numpy as np\ny = x.astype(np.float16)", "numpy.float16", 2),
    ("y = x.astype('half')", "numpy.float16", 1),
    ("y = x.view('<f2')", "numpy.float16", 1),
    ("import numpy as np\ny = np.zeros(3, dtype='e')", "numpy.float16", 2),
    ("import numpy as np\ny = np.linalg._linalg.svd(a)", "numpy.linalg.svd", 2),
    ("from numpy.linalg._linalg import svd as f", "numpy.linalg.svd", 1),
    ("import numpy as np\nn = np\nn.linalg.svd(a)", "numpy.linalg.svd", 3),
    ("import numpy as np\nf = vars(np.linalg)['svd']", "numpy.linalg.svd", 2),
    ("import numpy as np\nf = np.linalg.__dict__['svd']", "numpy.linalg.svd", 2),
    ("import importlib\nf = importlib.import_module('numpy').linalg.svd", "numpy.linalg.svd", 2),
    ("from importlib import import_module as load\nf = load('scipy.special').expit", "scipy", 2),
    ("f = __import__('scipy')", "scipy", 1),
    ("import sys\nf = sys.modules['scipy']", "scipy", 2),
    ("import operator\nc = operator.matmul(a, b)", "@", 2),
    ("from operator import matmul\nc = matmul(a, b)", "@", 1),
    ("c = a.__matmul__(b)", "@", 1),
    ("c = b.__rmatmul__(a)", "@", 1),
    ("import numpy as np\nc = np.ndarray.dot(a, b)", "numpy.ndarray.dot", 2),
    ("from numpy import ndarray\nc = ndarray.dot(a, b)", "numpy.ndarray.dot", 2),
    ("c = getattr(a, 'dot')(b)", "numpy.ndarray.dot", 1),
    ("import operator\nc = operator.methodcaller('dot', b)(a)", "numpy.ndarray.dot", 2),
    ("from reference.module_01.k01_a import *", "reference", 1),
    ("import reference.module_01.k01_a as a", "reference", 1),
    ("import importlib\na = importlib.import_module('reference.module_01.k01_a')", "reference", 2),
    ("exec(open('reference/module_01/k01_a.py').read())", "reference", 1),
    ("from pathlib import Path\nexec((Path('.') / 'reference' / 'k.py').read_text())", "reference", 2),
]
FREE = [
    "import numpy as np\nq = np.linalg.qr(a)",
    "import numpy as np\nt = np.sum(x) + x.sum()",
    "def svd(a):\n    return a\nsvd(1)",
    "def sum(x):\n    return x\nsum([1])",
    "# numpy.linalg.svd is named in a comment\ns = 'np.linalg.svd(a)'",
    "import numpy as np\nnp.dot(a, b)",
    "from scipyx import f",
    '"""See reference/module_01."""\nkind = \'reference\'',
    "import operator\nc = operator.mul(a, b)",
    "y = x.astype('float32').view('not a dtype')\nprint('float16')",
]


@pytest.mark.parametrize(("code", "name", "line"), CAUGHT, ids=[code for code, _, _ in CAUGHT])
def test_caught(tmp_path, code, name, line):
    file = tmp_path / "k.py"
    file.write_text(code)
    assert (name, line) in [(v.name, v.line) for v in violations(file, FORBIDDEN)]


@pytest.mark.parametrize("code", FREE)
def test_free(tmp_path, code):
    file = tmp_path / "k.py"
    file.write_text(code)
    assert violations(file, FORBIDDEN) == []


def test_a_file_that_cannot_be_read_is_judged_elsewhere(tmp_path):
    (tmp_path / "k.py").write_text("def f(:\n")
    assert violations(tmp_path / "k.py", FORBIDDEN) == []
    assert violations(tmp_path / "none.py", FORBIDDEN) == []


def test_it_follows_helpers_beside_the_kata(tmp_path):
    (tmp_path / "k01_a.py").write_text("from .helpers import f\n")
    (tmp_path / "helpers.py").write_text("from . import more\n\ndef f(a):\n    return more.g(a)\n")
    (tmp_path / "more.py").write_text("import numpy as np\n\ndef g(a):\n    return np.linalg.svd(a)\n")
    (found,) = violations(tmp_path / "k01_a.py", FORBIDDEN)
    assert (found.name, found.line, found.helper) == ("numpy.linalg.svd", 4, tmp_path / "more.py")


def test_another_kata_is_judged_by_its_own_rules(tmp_path):
    (tmp_path / "k02_b.py").write_text("from .k01_a import f\n")
    (tmp_path / "k01_a.py").write_text("import numpy as np\nf = np.linalg.svd\n")
    assert violations(tmp_path / "k02_b.py", FORBIDDEN) == []

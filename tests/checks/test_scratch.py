"""The from-scratch rule: every way to reach what is forbidden is seen, and nothing else is."""

import pytest

from dojo.checks.scratch import violations

FORBIDDEN = ("numpy.linalg.svd", "scipy", "numpy.ndarray.dot", "str.encode", "@", "builtins.sum", "numpy.float16")

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
]
FREE = [
    "import numpy as np\nq = np.linalg.qr(a)",
    "import numpy as np\nt = np.sum(x) + x.sum()",
    "def svd(a):\n    return a\nsvd(1)",
    "def sum(x):\n    return x\nsum([1])",
    "# numpy.linalg.svd is named in a comment\ns = 'np.linalg.svd(a)'",
    "import numpy as np\nnp.dot(a, b)",
    "from scipyx import f",
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

"""Each small change that has words: found where it should be, and said in words that the stub has."""

from __future__ import annotations

import ast

import pytest

from dojo.proofs.changes import changes


def found(reference: str, stub: str | None = None) -> dict[str, list[str]]:
    """The words of every change, each with what the changed texts are."""
    stub = reference if stub is None else stub
    answer: dict[str, list[str]] = {}
    for change in changes(reference, stub):
        ast.parse(change.apply(reference))
        answer.setdefault(change.words, []).append(change.apply(reference))
    return answer


CASES = [
    ("def f(x, dim=-1):\n    return x", "f() answers as if `dim` were ignored and always -1.", "dim = -1\n"),
    ("def f(x, mask=None):\n    return x", "f() answers as if `mask` weren't given.", "mask = None\n"),
    ("def f(x, gen):\n    return draw(x, generator=gen)", "f(): something random is drawn without `gen`.", "draw(x)"),
    ("def f(x, k):\n    return g(x, k=k)", "f(): `k` isn't handed on.", "g(x)"),
    ("def f(x, k):\n    return g(x, k)", "f(): `k` isn't handed on.", "g(x)"),
    ("def f(x, eps):\n    return x + eps", "f() answers as if `eps` weren't added.", "return x"),
    ("def f(x, t):\n    return 3 * x / t", "f() answers as if nothing were divided by `t`.", "return (3 * x)"),
    ("def f(x):\n    return np.sqrt(x)", "f() answers as if no root were taken.", "return x"),
    ("def f(x):\n    return x.strip()", "f() answers as if what stands at the ends were kept.", "return x"),
    ("def f(x, k):\n    return x < k", "f(): only what lies exactly on a limit is wrong: < and <= are mixed up.", "<="),
    ("def f(k=None):\n    return 1 if k is None else k", "f() takes a `k` of 0, or an empty one, for one that isn't given.",
     "not k"),
    ("def f(x):\n    return x.mean(1)", "f() takes a sum in place of a mean.", "x.sum(1)"),
    ("def f(x):\n    return x.mean(1)", "f() works along another axis than it should.", "x.mean(0)"),
    ("def f(x):\n    return x.sum(0) / (len(x) - 1)", "f() divides by n where n − 1 is wanted.", "/ len(x)"),
    ("def f(x):\n    return x.var(ddof=1)", "f() divides by n where n − 1 is wanted.", "ddof=0"),
    ("def f(a):\n    return -a", "f(): a sign is turned.", "return a"),
    ("def f(m):\n    return ~m", "f() takes `m` the other way round.", "return m"),
    ("def f(x):\n    return sorted(x, key=lambda p: (p[1], p[0]))", "f(): among equals another one comes first.", "(p[1],)"),
    ("def f(n: int):\n    return n", "f() answers as if `n` were one more.", "n += 1"),
    ("def f(a: int, b: int):\n    return a", "f() answers as if `a` and `b` had changed places.", "a, b = b, a"),
    ("def f(a: int, b: int):\n    return 2 * a", "f() uses `b` where `a` is meant.", "2 * b"),
    ("def f(x):\n    for v in x:\n        if v:\n            break\n    return v", "f() goes on where it should stop.", "pass"),
    ("def f(causal):\n    if causal:\n        return 1\n    return 2", "f() answers as if `causal` were always False.",
     "if False"),
    ("import torch\ndef f(x):\n    return x * 2", "f(): the answer is cut off from its gradient.", ".detach()"),
    ("class C:\n    def __init__(self, d):\n        self.d = d\n\n    def forward(self, x):\n        return x + self.d",
     "C answers as if `d` weren't added.", "return x"),
    ("class C:\n    def get(self, x, k=1):\n        return x", "C.get() answers as if `k` were ignored and always 1.", "k = 1"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "words", "text"), CASES, ids=[words[:50] for _, words, _ in CASES])
def test_a_change_that_people_make_is_found_and_said(source, words, text):
    assert words in (all_of_them := found(source)), list(all_of_them)
    assert any(text in one for one in all_of_them[words]), all_of_them[words]


def test_what_the_stub_does_not_name_is_not_named():
    reference = "def f(x, k):\n    hidden = 3 + k\n    secret = x.sum(k)\n    return g(x, a=hidden) + secret\n"
    for words in found(reference, "def f(x, k):\n    raise NotImplementedError\n"):
        assert "hidden" not in words
        assert "secret" not in words


def test_a_helper_is_called_by_the_function_that_fails():
    reference = "def f(x, eps):\n    return _g(x, eps)\n\ndef _g(x, eps):\n    return x + eps\n"
    words = found(reference, "def f(x, eps):\n    raise NotImplementedError\n")
    assert "{} answers as if `eps` weren't added." in words
    assert not any("_g" in one for one in words)


def test_no_two_changes_are_one_and_none_changes_nothing():
    reference = "def f(x, k=1):\n    return max(x, k) + 1 * x.mean(0)\n"
    texts = [ast.dump(ast.parse(c.apply(reference))) for c in changes(reference, reference)]
    assert len(texts) == len(set(texts))
    assert ast.dump(ast.parse(reference)) not in texts


def test_the_likeliest_come_first():
    ranks = [c.rank for c in changes("def f(x, k=1):\n    return g(x, k=k) < k + x\n", "def f(x, k=1):\n    ...\n")]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) > 2


def test_messages_of_errors_are_left_alone():
    reference = "def f(x, k):\n    raise ValueError(x + k)\n"
    assert not any("weren't added" in words for words in found(reference))

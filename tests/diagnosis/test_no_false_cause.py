"""Wrong answers of which something false was once told, as the first failing test happened to agree.

Each is judged by all tests of its kata, as a learner's would be.
"""

from __future__ import annotations

import pytest

from tests.diagnosis.real import Case, Told, told_of

NEVER = {
    Case("eigenvalues", "follow = np.where(out > 0, links, 1) / np.where(out > 0, out, n)",
         "follow = np.where(out > 0, links > 0, 1) / np.where(out > 0, (links > 0).sum(1, keepdims=True), n)"):
        "flows against the links",
    Case("strings_and_strides", r'r"(\S)\1{2,}", r"\1\1"', r'r"(\S)\1{3,}", r"\1\1"'): "Only letters and digits",
    Case("rope", "    u, v = x[..., ::2], x[..., 1::2]\n    turned = _turn(u, v, positions, frequencies(x.shape[-1], theta))\n"
         "    return torch.stack(turned, dim=-1).flatten(-2)",
         "    u, v = x.chunk(2, dim=-1)\n    return torch.cat(_turn(u, v, positions, frequencies(x.shape[-1], theta)), dim=-1)"):
        "side by side again",
    Case("systolic_array", "(False, cpu[i], 0), (True, accelerator[i], memory[i])):\n            if need <= left:\n"
         "                rest, placement = best(i + 1, there, left - need)\n"
         "                options.append((seconds + transfer * (there != on_accelerator) + rest,",
         "(False, cpu[i], 0), (True, accelerator[i], memory[i])):\n            if need <= left:\n"
         "                rest, placement = best(i + 1, there, left - need)\n"
         "                options.append((seconds + transfer * (there != on_accelerator and i > 0) + rest,"):
        "left on the accelerator",
    Case("vectors", "return 2 * np.arctan2(norm(u - v), norm(u + v))", "return 3 * np.arctan2(norm(u - v), norm(u + v))",
         only="keeps_its_digits"): "1/(n−1) in place of 1/n",
}  # fmt: skip
"""Each wrong answer, and what was said of it and must never be again."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[Case, Told]:
    return dict(zip(NEVER, told_of(list(NEVER), tmp_path_factory.mktemp("cases"), whole=True), strict=True))


@pytest.mark.parametrize("case", NEVER, ids=lambda case: case.kata)
def test_what_one_test_suggests_and_another_refutes_is_not_told(case, told):
    assert told[case].problem == ""
    assert NEVER[case] not in told[case].text, told[case].text


def test_a_cause_is_told_of_a_kata_that_trains_too(tmp_path):
    # Attention that ignores its query fails every test that trains, for longer than the whole search may take.
    find = "both = self.query(query)[:, None] + self.key(memory)"
    wrong = Case("sequence_to_sequence", find, find.replace("= self", "= 0 * self"))
    (told,) = told_of([wrong], tmp_path, whole=True)
    assert "The query isn't used" in told.cause, told.text

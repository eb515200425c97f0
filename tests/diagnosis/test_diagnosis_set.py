"""The diagnosis on wrong answers that are known: how often it is right, and that it is never wrong.

Every case of `diagnosis_cases` is judged in a child of one pytest session, up to
its first failing test, as a learner with -x would see it.  The figures are
printed: a hit is a case whose sentence is told; a false claim is a sentence of
a mistake that wasn't made, or a relation where there is none to be had.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

import pytest

from dojo.curriculum.katas import open_dojo
from dojo.curriculum.patches import mistakes
from tests.diagnosis.diagnosis_cases import CASES, UNKNOWN, Case

PLAYGROUND = Path(__file__).resolve().parents[1] / "playground"
KATA = open_dojo(PLAYGROUND).katas[0]
RELATION_WORDS = (
    "times the expected", "transpose of", "negative of", "another order", "Right everywhere", "more than expected",
    "less than expected", "back to front", "moved forward", "moved back", "float16", "opposite", "of its own",
)  # fmt: skip


def tell_all(cases: list[Case]) -> dict[str, str]:
    """What the learner is told of each case, by its name."""
    from dojo.checks.replay import REPLAYING, become_quiet, replay
    from dojo.checks.scratch import violations
    from dojo.checks.verdict import colour_of
    from dojo.curriculum.swap import module_from_source, swap_in
    from dojo.judging.report import verdict_of
    from dojo.proofs.pool import Job, run_jobs

    told: dict[str, str] = {}

    class Session:
        @pytest.hookimpl(tryfirst=True)
        def pytest_runtestloop(self, session: pytest.Session) -> bool:
            import sys

            reference = sys.modules[KATA.import_name]
            judge = session.config.pluginmanager.get_plugin("dojo-hooks").judge
            session.config.stash[REPLAYING] = True

            def job(case: Case) -> str:
                become_quiet(session.config)
                file = Path(os.environ["DOJO_TEST_TMP"], f"{abs(hash(case.name))}.py")
                file.write_text(f"{KATA.reference.read_text()}\n\n{case.code.strip()}\n")
                wrong = module_from_source(file.read_text(), KATA.import_name, file)
                swap_in(session.items, reference, wrong)
                judge.solutions.path = lambda kata: file
                assert violations(file, ("nothing",)) == []
                for item in session.items:
                    outcome = replay(item)
                    if outcome.error is not None:
                        colour = colour_of(outcome.error, file)
                        return "\n".join(verdict_of(item, KATA, file, colour, outcome.error)["lines"])
                return "every test passes"

            for done in run_jobs([Job(c.name, lambda c=c: job(c), 60) for c in cases]):
                told[done.job.key] = done.answer or "the child died"
            return True

    arguments = [
        str(PLAYGROUND / "katas"), "--rootdir", str(PLAYGROUND), "-c", str(PLAYGROUND / "pyproject.toml"),
        "--impl", "reference", "-q", "-s", "-p", "no:cacheprovider",
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main(arguments, plugins=[Session()])
    return told


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, str]:
    """Judged in a process of its own, as pytest is running in this one."""
    import json
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("cases")
    code = "import json; from tests.diagnosis import test_diagnosis_set as t; print('<<<' + json.dumps(t.tell_all(t.CASES)))"
    root = Path(__file__).parents[2]
    environment = {**os.environ, "DOJO_TEST_TMP": str(folder), "PYTHONPATH": str(root)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert "<<<" in run.stdout, run.stdout + run.stderr
    return json.loads(run.stdout.split("<<<")[1])


def false_claims(case: Case, text: str) -> list[str]:
    """Sentences in `text` that the case doesn't bear out."""
    claims = [patch.says for patch in mistakes(KATA) if patch.says in text and case.says not in patch.says]
    if case.says:
        claims += [patch.says for patch in mistakes(KATA) if patch.says in text and case.says not in text]
    else:
        claims += [patch.says for patch in mistakes(KATA) if patch.says in text]
        claims += [word for word in RELATION_WORDS if word in text]
    return claims


def test_there_are_enough_cases_and_no_two_alike():
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case, told):
    text = told[case.name]
    assert text not in ("every test passes", "the child died")
    assert case.says in text, text
    assert false_claims(case, text) == [], text


def test_hit_rate_and_false_claims(told, record_property):
    known = [case for case in CASES if case not in UNKNOWN]
    hits = sum(case.says in told[case.name] for case in known)
    claims = [(case.name, claim) for case in CASES for claim in false_claims(case, told[case.name])]
    rate = f"{hits} of {len(known)} known mistakes named ({100 * hits / len(known):.0f}%)"
    record_property("figure", f"diagnosis: {rate}, {len(claims)} false claims in {len(CASES)} wrong answers")
    assert hits >= 0.9 * len(known)
    assert claims == []


def test_a_false_claim_would_be_seen():
    sentence = mistakes(KATA)[0].says
    assert false_claims(UNKNOWN[0], f"scores() is wrong\n{sentence}")
    assert false_claims(UNKNOWN[0], "Your answer is the transpose of the expected one.")
    assert false_claims(CASES[-15], sentence)
    assert not false_claims(UNKNOWN[0], "scores() is wrong: 25 of 25 values differ")

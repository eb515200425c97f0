"""`dojo check`: run the proofs and say what they found."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from functools import partial
from io import StringIO
from multiprocessing.connection import Connection
from typing import Any

from dojo.curriculum.katas import Dojo, DojoError, Kata
from dojo.proofs import exempt, lint, proven
from dojo.proofs.collecting import arguments
from dojo.proofs.result import KataProofs, Options


def run_check(
    dojo: Dojo,
    names: list[str],
    *,
    modules: list[str] | None = None,
    mutants: bool = False,
    changed: bool = False,
    as_json: bool = False,
    seeds: int = proven.SEEDS,
    jobs: int | None = None,
) -> int:
    """Prove the katas `names` (and of `modules`; none given: all), and print a table or JSON.

    mutants  also proof 6, for all of them
    changed  only those that aren't listed as proven with what they depend on now, and of these the
             mutants of those whose mutants aren't
    What is proven is listed.  Returns 0 where everything is proven, else 1.  Raises DojoError for an unknown kata.
    """
    katas = _chosen(dojo, names, modules or [])
    start = time.perf_counter()
    present = proven.hashes(katas)
    chosen, with_mutants = proven.stale(katas, present) if changed else (katas, katas if mutants else [])
    known = len(katas) - len(chosen)
    exempted = exempt.reasons(dojo) if changed else {}
    unlisted = {kata.name for kata in chosen}
    chosen = [kata for kata in chosen if kata.name not in exempted]
    with_mutants = [kata for kata in with_mutants if kata.name not in exempted]
    results, problems = prove(
        dojo, chosen, seeds=seeds, mutants_of=frozenset(kata.name for kata in with_mutants), jobs=jobs,
        show_progress=not as_json, found=partial(_list, chosen, present=present, seeds=seeds),
    )  # fmt: skip
    problems += lint.repeated_names(dojo)
    if changed:
        problems += exempt.problems(dojo, [kata for kata in katas if kata.name not in unlisted])
    seconds = time.perf_counter() - start
    ok = not problems and all(result.ok for result in results)
    if as_json:
        report = {
            "ok": ok, "seconds": round(seconds, 2), "proven_before": known, "problems": problems,
            "katas": [r.as_dict() for r in results],
        }  # fmt: skip
        print(json.dumps(lint.as_json(report), indent=2, ensure_ascii=False))
    else:
        from dojo.proofs.table import show

        show(results, problems, seconds, known)
        for name, why in exempted.items():
            print(f"not proven, and known to be: {name}: {why}")
    return 0 if ok else 1


def _list(katas: list[Kata], results: list[KataProofs], present: dict[str, proven.Hashes], seeds: int) -> None:
    """List what `results` prove of `katas`, unless their files have changed meanwhile or tests were left out."""
    by_name = {kata.name: kata for kata in katas}
    whole = [result for result in results if not result.left_out]
    now = proven.hashes([by_name[result.kata] for result in whole])
    found = {}
    for result in whole:
        if now[result.kata] != present[result.kata]:
            continue
        # Each of the two stands for itself: a time over the budget makes no mutant survive.
        others = all(tally.ok for proof, tally in result.proofs.items() if proof != "mutants")
        killed = result.mutants is not None and result.tally("mutants").ok
        found[result.kata] = proven.Hashes(
            present[result.kata].proofs if others and seeds >= proven.SEEDS else "",
            present[result.kata].mutants if killed else "",
        )
    found = {name: hashes for name, hashes in found.items() if hashes != proven.Hashes()}
    if found:
        proven.write_down(katas[0].dojo, found)


def _chosen(dojo: Dojo, names: list[str], modules: list[str]) -> list[Kata]:
    wanted = [dojo.kata(name) for name in names]
    for module in modules:
        chosen_modules = dojo.modules_like(module)
        wanted += [kata for kata in dojo.katas if kata.module in chosen_modules]
    chosen = list(dict.fromkeys(wanted)) if names or modules else list(dojo.katas)
    if not chosen:
        raise DojoError(f"{dojo.clone / 'katas'} has no katas to check")
    return chosen


def prove(
    dojo: Dojo,
    katas: list[Kata],
    *,
    seeds: int = 5,
    mutants_of: frozenset[str] = frozenset(),
    jobs: int | None = None,
    show_progress: bool = False,
    found: Callable[[list[KataProofs]], None] = lambda results: None,
) -> tuple[list[KataProofs], list[str]]:
    """The proofs of `katas`, and problems that belong to none of them.

    found  is given the results of each module as soon as they are there: a run of all takes long, and may be cut
    """
    if not hasattr(os, "fork"):
        raise DojoError("the proofs need fork(), which this system lacks: run them on Linux or macOS")
    if mutants_of:
        try:
            import mutmut.mutation.mutators  # noqa: F401
        except ImportError as error:
            raise DojoError(f"mutants need the extra `proofs`: pip install -e '.[proofs]' ({error})") from error
    # One thread a process: the children are what runs side by side, and a fork keeps no thread pool.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    # What the oracles' libraries say while they load isn't about the katas.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    missing = [kata for kata in katas if not kata.reference.exists() or not kata.stub.exists()]
    progress = _Progress() if show_progress and sys.stderr.isatty() else None
    options = Options(seeds, mutants_of, jobs, progress)
    results: list[KataProofs] = []
    problems: list[str] = []
    for module in dict.fromkeys(kata.module for kata in katas):
        ready = [kata for kata in katas if kata.module == module and kata not in missing]
        if ready:
            proofs, told = _prove_module(dojo, ready, options)
            found(proofs)
            results += proofs
            problems += told
        for kata in [kata for kata in missing if kata.module == module]:
            result = KataProofs(kata.name, kata.module, kata.stem)
            result.tally("metadata").problems += lint.problems(kata)
            results.append(result)
    if progress is not None:
        progress.clear()
    return results, problems


def _prove_module(dojo: Dojo, katas: list[Kata], options: Options) -> tuple[list[KataProofs], list[str]]:
    """The proofs of the katas of one module, in a process that imports only what these need."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_run_pytest, args=(there, dojo, katas, options))
    process.start()
    there.close()
    try:
        results, problems = here.recv()
    except EOFError:
        results, problems = [], [f"the process that proved {katas[0].module} died"]
    process.join()
    by_name = {result.kata: result for result in results}
    return [by_name[kata.name] for kata in katas if kata.name in by_name], problems


def _run_pytest(pipe: Connection, dojo: Dojo, katas: list[Kata], options: Options) -> None:
    """In a process of its own: collect the tests once and prove them; send the results."""
    import pytest

    from dojo.proofs.proving import ProofSession

    session = ProofSession(options)
    said = StringIO()
    with redirect_stdout(said), suppress(KeyboardInterrupt):
        status = pytest.main(arguments(dojo, katas), plugins=[session])
        results, problems = list(session.results.values()), list(session.problems)
        if not results and not problems:
            problems.append(f"pytest ended with status {status} and proved nothing: {said.getvalue().strip()[-500:]}")
        pipe.send((results, problems))


class _Progress:
    """One line on the terminal that says what is being proven."""

    def __init__(self) -> None:
        self.stream: Any = sys.stderr

    def __call__(self, text: str) -> None:
        self.stream.write(f"\r\x1b[K{text[:70]}")
        self.stream.flush()

    def clear(self) -> None:
        self.stream.write("\r\x1b[K")
        self.stream.flush()

"""Model evaluation: the reference."""

import contextlib
import json
import math
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

# What the child runs.  It limits itself before it looks at the candidate, and says the secret word only at the end.
CHILD = """
import json, resource, sys
job = json.load(sys.stdin)
limit = job["memory_mb"] * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
resource.setrlimit(resource.RLIMIT_FSIZE, (2**24, 2**24))
space = {"__name__": "__main__"}
exec(compile(job["code"], "code", "exec", dont_inherit=True), space)
exec(compile(job["tests"], "tests", "exec", dont_inherit=True), space)
sys.__stdout__.write(job["word"])
sys.__stdout__.flush()
"""


def score_choices(
    model: Callable[[Tensor], Tensor],
    context: list[int],
    choices: list[list[int]],
    pad: int = 0,
    device: torch.device | str = "cpu",
) -> Tensor:
    if not context:
        raise ValueError("the context is empty: nothing would predict a choice's first token")
    if not choices:
        raise ValueError("there are no choices")
    for i, choice in enumerate(choices):
        if not choice:
            raise ValueError(f"choice {i} is empty")
    length = len(context) + max(map(len, choices))
    rows = [context + choice + [pad] * (length - len(context) - len(choice)) for choice in choices]
    ids = torch.tensor(rows, device=device)
    with torch.no_grad():
        log_probs = model(ids).log_softmax(-1)
    # Position t predicts token t + 1, so the context's last position predicts a choice's first token.
    found = log_probs[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
    start = len(context) - 1
    return torch.stack([row[start : start + len(choice)].sum() for row, choice in zip(found, choices, strict=True)])


def pick_choice(
    scores: Sequence[float], lengths: Sequence[int] | None = None, baseline: Sequence[float] | None = None
) -> int:
    for name, other in (("lengths", lengths), ("baseline", baseline)):
        if other is not None and len(other) != len(scores):
            raise ValueError(f"{name} has {len(other)} entries, there are {len(scores)} scores")
    values = [float(s) for s in scores]
    if baseline is not None:
        values = [v - float(b) for v, b in zip(values, baseline, strict=True)]
    if lengths is not None:
        values = [v / n for v, n in zip(values, lengths, strict=True)]
    return values.index(max(values))


def pass_at_k(n: int, c: int, k: int) -> float:
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"expected 0 ≤ c ≤ n and 1 ≤ k ≤ n, got n = {n}, c = {c}, k = {k}")
    # Whole numbers of any size: their ratio is exact up to the last rounding.
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def mean_pass_at_k(counts: Sequence[tuple[int, int]], k: int) -> float:
    if not counts:
        raise ValueError("there are no problems")
    return sum(pass_at_k(n, c, k) for n, c in counts) / len(counts)


def run_candidate(code: str, tests: str, timeout_s: float = 10.0, memory_mb: int = 1024) -> str:
    # An exit status of 0 proves nothing: exit(0) gives it, too.  A word that nobody can guess does.
    word = secrets.token_hex()
    job = json.dumps({"code": code, "tests": tests, "word": word, "memory_mb": memory_mb})
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        # Files, not pipes: a grandchild could keep a pipe open, and output would fill our memory.
        tempfile.TemporaryFile("w+b") as given,
        tempfile.TemporaryFile("w+b") as said,
    ):
        given.write(job.encode())
        given.seek(0)
        child = subprocess.Popen(
            [sys.executable, "-I", "-c", CHILD],
            stdin=given,
            stdout=said,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            start_new_session=True,
        )
        try:
            child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return "timeout"
        finally:
            # The whole group: the candidate may have started processes of its own.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        said.seek(0)
        return "passed" if word.encode() in said.read() else "failed"


def expected_calibration_error(confidences: Tensor, correct: Tensor, bins: int = 10) -> float:
    if len(confidences) != len(correct) or len(correct) == 0:
        raise ValueError(f"got {len(confidences)} confidences and {len(correct)} answers; expected as many, and some")
    # Bins are open on the left: ceil, with 0 in the first one.
    place = ((confidences * bins).ceil() - 1).clamp(0)
    error = 0.0
    for i in range(bins):
        inside = place == i
        if inside.any():
            gap = confidences[inside].mean() - correct[inside].double().mean()
            error += gap.abs().item() * int(inside.sum()) / len(correct)
    return error


def wilson_interval(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"expected 0 ≤ successes ≤ n and n ≥ 1, got {successes} of {n}")
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def red_team(
    model: Callable[[str], str],
    attacks: Sequence[tuple[str, str]],
    is_harmful: Callable[[str, str], bool],
    tries: int = 1,
) -> dict[str, dict[str, Any]]:
    if tries < 1:
        raise ValueError(f"tries must be 1 or more, got {tries}")
    report: dict[str, dict[str, Any]] = {}
    for category, prompt in attacks:
        entry = report.setdefault(category, {"prompts": 0, "broken": 0, "errors": 0, "examples": []})
        entry["prompts"] += 1
        for _ in range(tries):
            try:
                answer = model(prompt)
            except Exception:
                # A crash is no refusal and no success of the attack: it is counted apart, and the run goes on.
                entry["errors"] += 1
                continue
            if is_harmful(prompt, answer):
                entry["broken"] += 1
                entry["examples"].append((prompt, answer))
                break
    for entry in report.values():
        entry["rate"] = entry["broken"] / entry["prompts"]
    return report


def stress(
    predict: Callable[[list[str]], Sequence[Any]],
    texts: Sequence[str],
    answers: Sequence[Any],
    perturbations: dict[str, Callable[[str], str]],
) -> dict[str, dict[str, float]]:
    if len(texts) != len(answers) or not texts:
        raise ValueError(f"got {len(texts)} texts and {len(answers)} answers; expected as many, and some")
    for name in ("clean", "worst"):
        if name in perturbations:
            raise ValueError(f"a perturbation may not be called {name!r}")
    n = len(texts)
    clean = predict(list(texts))
    right = [p == a for p, a in zip(clean, answers, strict=True)]
    report = {"clean": {"accuracy": sum(right) / n, "flips": 0.0}}
    always, never_flipped = right, [True] * n
    for name, change in perturbations.items():
        found = predict([change(text) for text in texts])
        good = [p == a for p, a in zip(found, answers, strict=True)]
        same = [p == q for p, q in zip(found, clean, strict=True)]
        report[name] = {"accuracy": sum(good) / n, "flips": (n - sum(same)) / n}
        always = [a and g for a, g in zip(always, good, strict=True)]
        never_flipped = [a and s for a, s in zip(never_flipped, same, strict=True)]
    report["worst"] = {"accuracy": sum(always) / n, "flips": (n - sum(never_flipped)) / n}
    return report

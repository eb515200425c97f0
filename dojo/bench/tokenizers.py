"""How fast the references of the tokenizer katas are, beside each other and beside `tokenizers`.

One run, one corpus of 1 MB, one process: what counts are the ratios.  Each job is
run once, as it takes seconds, but for those of some milliseconds.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from dojo.curriculum.katas import Dojo
from dojo.curriculum.solutions import Solutions
from dojo.lab import fixtures_of

MEGABYTE = 1_000_000
MERGES = 500
TARGET = 20.0
"""How many times as fast as the naive training the fast one must be."""


def references(dojo: Dojo, *names: str) -> list[ModuleType]:
    """The modules of the katas' references."""
    solutions = Solutions(dojo, dojo.clone / "reference", is_green=lambda other: False)
    solutions.install()
    try:
        return [importlib.import_module(dojo.kata(name).import_name) for name in names]
    finally:
        solutions.remove()


def timed(job: Callable[[], Any], repeat: int = 1) -> tuple[float, Any]:
    """The quickest of `repeat` runs in seconds, and the last answer."""
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        answer = job()
        best = min(best, time.perf_counter() - start)
    return best, answer


def corpus(dojo: Dojo) -> str:
    """1 MB of real text: Hamlet and film reviews.  Raises DataError where they aren't installed."""
    data = fixtures_of(dojo, "data")
    text = data.load_hamlet() + "\n".join(data.load_reviews()[0])
    return str(text.encode()[:MEGABYTE].decode(errors="ignore"))


def bench_training(dojo: Dojo, text: str) -> bool:
    """Print the seconds of the naive kata, the fast one and `tokenizers`; whether the target is met."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    splitting, naive, fast = references(dojo, "pretokenization", "bpe_training", "fast_bpe_training")
    counts = splitting.word_counts([text])
    slow, expected = timed(lambda: naive.train_bpe(counts, MERGES))
    quick, found = timed(lambda: fast.train_bpe(counts, MERGES), 3)

    def theirs() -> None:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=256 + MERGES, initial_alphabet=alphabet, show_progress=False)
        tokenizer.train_from_iterator([text], trainer)

    compiled, _ = timed(theirs, 3)
    same = list(map(tuple, found)) == list(map(tuple, expected))
    met = same and slow / quick >= TARGET
    print(f"BPE training: {MERGES} merges on {len(text.encode()) / 1e6:.1f} MB of text, the words counted before")
    print(
        f"  bpe_training {slow:.2f} s, fast_bpe_training {quick:.3f} s = {slow / quick:.0f}x, target {TARGET:g}x: ",
        end="",
    )
    print(("met" if met else "MISSED") + ("" if same else "; the merges differ"))
    print(
        f"  tokenizers, which counts the words, too: {compiled:.3f} s, {quick / compiled:.1f}x as fast as the fast kata"
    )
    return met


def bench_encoding(dojo: Dojo, text: str) -> None:
    """Print how many megabytes a second byte_level_bpe encodes with GPT-2's vocabulary, and `tokenizers`."""
    from tokenizers import ByteLevelBPETokenizer

    files = fixtures_of(dojo, "models").gpt2_vocabulary_files()
    (kata,) = references(dojo, "byte_level_bpe")
    vocabulary, merges = kata.read_files(*files)
    size = len(text.encode()) / 1e6
    mine, ids = timed(lambda: kata.ByteLevelBPE(vocabulary, merges).encode(text))
    theirs = ByteLevelBPETokenizer(*map(str, files))
    compiled, encoding = timed(lambda: theirs.encode(text))
    print(f"BPE encoding: {size:.1f} MB with GPT-2's vocabulary, {len(ids):,} tokens")
    print(f"  byte_level_bpe, pure Python: {size / mine:.2f} MB/s; tokenizers: {size / compiled:.2f} MB/s", end="")
    print("" if ids == encoding.ids else "; the ids differ")


def run(dojo: Dojo) -> bool:
    """All of it; True where every target is met, or where a package is missing, which is said."""
    names = {kata.name for kata in dojo.katas}
    if not {"bpe_training", "fast_bpe_training", "byte_level_bpe"} <= names:
        return True
    try:
        text = corpus(dojo)
        met = bench_training(dojo, text)
        bench_encoding(dojo, text)
    except (ImportError, LookupError) as error:
        print(f"The tokenizers aren't measured: {error}")
        return True
    return met

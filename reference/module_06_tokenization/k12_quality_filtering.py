"""Quality filtering: the reference."""

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def duplicate_line_fraction(text: str) -> float:
    lines = _lines(text)
    return 1 - len(set(lines)) / len(lines) if lines else 0.0


def top_ngram_fraction(text: str, n: int) -> float:
    words = text.split()
    grams = Counter(zip(*(words[i:] for i in range(n)), strict=False))
    if not grams:
        return 0.0
    # The count comes first in the tuple: the commonest run, and of those the longest.
    characters = max((count, count * sum(map(len, gram))) for gram, count in grams.items())[1]
    return characters / sum(map(len, words))


def quality_problems(text: str) -> list[str]:
    words = text.split()
    lines = _lines(text)
    n = len(words)
    mean_length = sum(map(len, words)) / n if n else 0.0
    symbols = sum(text.count(symbol) for symbol in ("#", "…", "..."))
    bullets = sum(line.startswith(("-", "*", "•")) for line in lines)
    broken = {
        "words": not 50 <= n <= 100_000,
        "length": not 3 <= mean_length <= 10,
        "symbols": symbols > 0.1 * n,
        "bullets": bullets > 0.9 * len(lines),
        "repetition": duplicate_line_fraction(text) > 0.3,
        "stop words": len(STOP_WORDS & {word.lower().strip(".,;:!?\"'()") for word in words}) < 2,
    }
    return [rule for rule, is_broken in broken.items() if is_broken]


class CharacterModel:
    def __init__(self, n: int, alpha: float) -> None:
        self.n, self.alpha = n, alpha
        self.grams: Counter[str] = Counter()
        self.contexts: Counter[str] = Counter()
        self.characters: set[str] = set()

    def _grams(self, text: str) -> Iterator[str]:
        padded = "\n" * (self.n - 1) + text
        # As many grams as characters: the line breaks are context, never predicted.
        return (padded[i : i + self.n] for i in range(len(text)))

    def fit(self, texts: Iterable[str]) -> "CharacterModel":
        for text in texts:
            for gram in self._grams(text):
                self.grams[gram] += 1
                self.contexts[gram[:-1]] += 1
            self.characters.update(text)
        return self

    def perplexity(self, text: str) -> float:
        if not text:
            raise ValueError("an empty text has no perplexity")
        unseen = self.alpha * (len(self.characters) + 1)
        log_p = sum(
            math.log((self.grams[gram] + self.alpha) / (self.contexts[gram[:-1]] + unseen))
            for gram in self._grams(text)
        )
        return math.exp(-log_p / len(text))


def identify(text: str, models: dict[str, CharacterModel]) -> str:
    return min(models, key=lambda language: models[language].perplexity(text))


def _passes_luhn(digits: str) -> bool:
    total = sum(int(d) for d in digits[::-2])
    total += sum(int(d) * 2 - 9 * (int(d) > 4) for d in digits[-2::-2])
    return total % 10 == 0


def _card(found: re.Match[str]) -> str:
    return "<CARD>" if _passes_luhn(re.sub("[ -]", "", found[0])) else found[0]


def scrub(text: str) -> str:
    byte = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
    # Each expression looks to both sides: what goes on with a letter or digit is something else.
    text = re.sub(
        r"(?<![\w.%+-])[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}(?!\w)", "<EMAIL>", text
    )
    text = re.sub(r"(?<![\w+])[0-9](?:[ -]?[0-9]){12,18}(?!\w)", _card, text)
    text = re.sub(r"(?<!\w)\+[0-9](?:[ -]?[0-9]){7,14}(?!\w)", "<PHONE>", text)
    return re.sub(rf"(?<!\w)(?<!\d\.){byte}(?:\.{byte}){{3}}(?!\w|\.\d)", "<IP>", text)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def contaminated(texts: Sequence[str], tests: Iterable[str], n: int = 13) -> list[int]:
    # Runs of each length that occurs: n, and the lengths of the items that are shorter.
    runs: dict[int, set[tuple[str, ...]]] = {}
    for test in tests:
        words = _words(test)
        length = min(n, len(words))
        runs.setdefault(length, set()).update(_runs(words, length))
    found = []
    for i, text in enumerate(texts):
        words = _words(text)
        if any(run in known for length, known in runs.items() for run in _runs(words, length)):
            found.append(i)
    return found


def _runs(words: list[str], length: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[i:] for i in range(length)), strict=False)


def standardize(raw: str, form: str, source: str) -> list[str]:
    if form not in ("jsonl", "csv", "txt"):
        raise ValueError(f"form must be one of jsonl, csv and txt, got {form!r}")
    kept = [text.strip() for text in _texts(raw, form) if text.strip()]
    return [
        json.dumps({"id": f"{source}-{i}", "source": source, "text": text}, ensure_ascii=False)
        for i, text in enumerate(kept)
    ]


def _texts(raw: str, form: str) -> Iterator[str]:
    if form == "txt":
        yield from re.split(r"\n\s*\n", raw)
        return
    records: Iterable[dict[str, str]]
    if form == "jsonl":
        # Only "\n" ends a line: a JSON text may hold other separators of lines as they are.
        records = (json.loads(line) for line in raw.split("\n") if line.strip())
    else:
        records = csv.DictReader(io.StringIO(raw))
    for number, record in enumerate(records, 1):
        if "text" not in record and "content" not in record:
            raise ValueError(f"record {number} has neither 'text' nor 'content', only {sorted(record)}")
        yield record["text"] if "text" in record else record["content"]

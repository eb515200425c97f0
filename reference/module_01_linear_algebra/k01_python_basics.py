"""Python basics: the reference."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any


def parse_csv(text: str) -> list[list[str]]:
    records: list[list[str]] = []
    i = 0
    while i < len(text):
        record: list[str] = []
        records.append(record)
        separator = ","
        while separator == ",":
            if text[i : i + 1] == '"':
                field, i = _quoted_field(text, i + 1, len(records))
            else:
                start = i
                while text[i : i + 1] not in (",", "\n", "\r", ""):
                    i += 1
                field = text[start:i]
            record.append(field)
            separator = "\r\n" if text[i : i + 2] == "\r\n" else text[i : i + 1]
            if separator not in (",", "\n", "\r\n", "\r", ""):
                raise ValueError(f"record {len(records)}: {separator!r} follows a closing quote")
            i += len(separator)
    return records


def _quoted_field(text: str, i: int, record: int) -> tuple[str, int]:
    """The field whose text begins at `i`, after its quote, and the place after its closing one."""
    field = ""
    while i < len(text):
        if text[i : i + 2] == '""':
            field, i = field + '"', i + 2
        elif text[i] == '"':
            return field, i + 1
        else:
            field, i = field + text[i], i + 1
    raise ValueError(f"record {record}: a quoted field isn't closed")


def word_counts(text: str) -> dict[str, int]:
    spaced = "".join(c if c.isalpha() or c == "'" else " " for c in text.lower())
    counts: dict[str, int] = {}
    for run in spaced.split():
        if word := run.strip("'"):
            counts[word] = counts.get(word, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def flatten(items: list | tuple) -> list:
    flat = []
    for item in items:
        if isinstance(item, list | tuple):
            flat.extend(flatten(item))
        else:
            flat.append(item)
    return flat


def memoize(function: Callable[..., Any]) -> Callable[..., Any]:
    answers: dict[Any, Any] = {}

    def remembering(*args: Any, **kwargs: Any) -> Any:
        # The order in which keywords are given is no part of the choice.
        key = (args, frozenset(kwargs.items()))
        if key not in answers:
            answers[key] = function(*args, **kwargs)
        return answers[key]

    return remembering


def write_jsonl(path: Path, records: Iterable[Any]) -> int:
    count = 0
    with open(path, "w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            count += 1
    return count


def read_jsonl(path: Path) -> Iterator[Any]:
    # Without newline="\n" a lone \r, which JSON allows between two tokens, would end a line too.
    with open(path, encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number} of {path} isn't JSON: {error}") from error
            yield record


class Batches:
    def __init__(self, items: Iterable[Any], size: int) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self.items = items
        self.size = size

    def __iter__(self) -> Iterator[list[Any]]:
        batch = []
        for item in self.items:
            batch.append(item)
            if len(batch) == self.size:
                yield batch
                batch = []
        if batch:
            yield batch

    def __len__(self) -> int:
        return -(-len(self.items) // self.size)

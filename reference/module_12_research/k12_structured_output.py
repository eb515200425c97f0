"""Structured output: the reference."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Chars:
    """One byte, any of these.  Chars of no bytes matches nothing."""

    values: frozenset[int]


@dataclass(frozen=True)
class Concat:
    """One part after the other.  Concat of no parts matches the empty text."""

    parts: tuple["Regex", ...]


@dataclass(frozen=True)
class Alt:
    """Any one of the options."""

    options: frozenset["Regex"]


@dataclass(frozen=True)
class Star:
    """`inner` any number of times, also 0."""

    inner: "Regex"


Regex = Chars | Concat | Alt | Star
NOTHING = Chars(frozenset())
EMPTY = Concat(())


class Automaton(NamedTuple):
    """A deterministic automaton.

    table      (states, 256), int64: the next state for each byte; -1 where no match can follow
    accepting  (states,), bool
    """

    table: Tensor
    accepting: Tensor


def concat(*parts: Regex) -> Regex:
    flat: list[Regex] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, Concat) else [part])
    if NOTHING in flat:
        return NOTHING
    return flat[0] if len(flat) == 1 else Concat(tuple(flat))


def alternate(*options: Regex) -> Regex:
    flat: set[Regex] = set()
    for option in options:
        flat |= option.options if isinstance(option, Alt) else {option}
    chars = {option for option in flat if isinstance(option, Chars)}
    merged = Chars(frozenset().union(*(option.values for option in chars)))
    flat -= chars
    if merged != NOTHING:
        flat.add(merged)
    if len(flat) < 2:
        return flat.pop() if flat else NOTHING
    return Alt(frozenset(flat))


def nullable(regex: Regex) -> bool:
    match regex:
        case Chars():
            return False
        case Concat(parts):
            return all(map(nullable, parts))
        case Alt(options):
            return any(map(nullable, options))
    return True


def derivative(regex: Regex, byte: int) -> Regex:
    match regex:
        case Chars(values):
            return EMPTY if byte in values else NOTHING
        case Alt(options):
            return alternate(*(derivative(option, byte) for option in options))
        case Star(inner):
            return concat(derivative(inner, byte), regex)
    found = []
    for i, part in enumerate(regex.parts):
        head = derivative(part, byte)
        if head != NOTHING:  # for most bytes it is: don't copy the rest for nothing
            found.append(concat(head, *regex.parts[i + 1 :]))
        if not nullable(part):  # the byte can't come later
            break
    return alternate(*found)


def parse(pattern: bytes) -> Regex:
    stack = _units(pattern)[::-1]  # the next unit is the last of the list

    def alternatives() -> Regex:
        found = [sequence()]
        while stack and stack[-1] == "|":
            stack.pop()
            found.append(sequence())
        return alternate(*found)

    def sequence() -> Regex:
        parts: list[Regex] = []
        while stack and stack[-1] not in ("|", ")"):
            part = atom()
            if stack and stack[-1] in ("*", "+", "?"):
                how = stack.pop()
                part = alternate(EMPTY, part) if how == "?" else concat(*[part] * (how == "+"), Star(part))
            parts.append(part)
        return concat(*parts)

    def atom() -> Regex:
        unit = stack.pop()
        if unit == "(":
            inside = alternatives()
            if stack.pop() != ")":
                raise ValueError(f"a bracket isn't closed in {pattern!r}")
            return inside
        if unit == "[":
            return _bracket(stack, pattern)
        if unit == ".":
            return Chars(frozenset(range(256)) - {10})
        if unit in tuple("]{}*+?^$"):
            raise ValueError(f"{unit!r} can't stand there, in {pattern!r}: a backslash makes it a literal")
        return Chars(frozenset({_code(unit)}))

    try:
        regex = alternatives()
    except IndexError:
        raise ValueError(f"the pattern {pattern!r} stops too early") from None
    if stack:  # alternatives() ends early at a ")" alone
        raise ValueError(f"a bracket is closed that isn't open in {pattern!r}")
    return regex


def _units(pattern: bytes) -> list[str | int]:
    """A pattern's characters, and an integer for each byte behind a backslash: that is no operator any more."""
    units: list[str | int] = []
    letters = iter(pattern.decode("latin-1"))
    for letter in letters:
        if letter != "\\":
            units.append(letter)
            continue
        behind = next(letters, None)
        if behind is None:
            raise ValueError(f"a backslash ends the pattern {pattern!r}")
        units.append(ord(behind))
    return units


def _code(unit: str | int) -> int:
    return unit if isinstance(unit, int) else ord(unit)


def _bracket(stack: list[str | int], pattern: bytes) -> Regex:
    """What stands between brackets, up to the closing one."""
    negated = stack[-1] == "^"
    if negated:
        stack.pop()
    values: set[int] = set()
    while (unit := stack.pop()) != "]":
        first = last = _code(unit)
        if stack[-1] == "-":
            stack.pop()
            last = _code(stack.pop())
        if first > last:
            raise ValueError(f"a range runs backwards in {pattern!r}")
        values |= set(range(first, last + 1))
    if not values:
        raise ValueError(f"nothing between brackets in {pattern!r}")
    return Chars(frozenset(range(256)) - values if negated else frozenset(values))


def compile_regex(regex: Regex) -> Automaton:
    numbers, rows = {regex: 0}, []
    waiting = [regex]
    for state in waiting:  # it grows while it is read
        row = []
        for byte in range(256):
            after = derivative(state, byte)
            if after == NOTHING:
                row.append(-1)
                continue
            if after not in numbers:
                numbers[after] = len(waiting)
                waiting.append(after)
            row.append(numbers[after])
        rows.append(row)
    return Automaton(torch.tensor(rows), torch.tensor([nullable(state) for state in waiting]))


class TokenMasks:
    def __init__(self, automaton: Automaton, tokens: list[bytes], end: int) -> None:
        self.tokens, self.end, self._accepting = tokens, end, automaton.accepting
        states = len(automaton.table)
        # A row for the dead state, which index -1 finds, and a column 256 in which every state stays as it is.
        table = torch.cat([automaton.table, torch.full((1, 256), -1)])
        stay = torch.cat([torch.arange(states), torch.tensor([-1])])
        self._table = torch.cat([table, stay[:, None]], 1)
        lengths = torch.tensor([len(token) for token in tokens])
        width = max(1, int(lengths.max()))
        together = bytearray(b"".join(token.ljust(width) for token in tokens))
        columns = torch.frombuffer(together, dtype=torch.uint8).view(-1, width).short()
        columns[torch.arange(width) >= lengths[:, None]] = 256
        self._columns = columns.T.contiguous()
        self._text = lengths > 0
        self._text[end] = False
        self._known: dict[int, Tensor] = {}

    def mask(self, state: int) -> Tensor:
        if state not in self._known:
            alive = self._text.nonzero()[:, 0]
            states = torch.full_like(alive, state)
            for column in self._columns:
                states = self._table[states, column[alive].long()]
                alive, states = alive[states >= 0], states[states >= 0]  # most die at their first byte
            found = torch.zeros(len(self.tokens), dtype=torch.bool)
            found[alive] = True
            found[self.end] = self._accepting[state]
            self._known[state] = found
        return self._known[state]

    def advance(self, state: int, token: int) -> int:
        for byte in self.tokens[token]:
            state = int(self._table[state, byte])
        return state


def array_regex(item: Regex, low: int = 0, high: int | None = None) -> Regex:
    if high is not None and high < low:
        raise ValueError(f"at least {low} items and at most {high} can't be")
    more = concat(_text(","), item)
    if high is None:
        rest = Star(more)
    else:
        rest = EMPTY
        for _ in range(high - max(low, 1)):
            rest = alternate(EMPTY, concat(more, rest))
    some = concat(item, *[more] * (low - 1), rest)
    inside = some if low else EMPTY if high == 0 else alternate(EMPTY, some)
    return concat(_text("["), inside, _text("]"))


def _text(text: str) -> Regex:
    return concat(*(Chars(frozenset({byte})) for byte in text.encode()))


def object_regex(members: list[tuple[str, Regex, bool]]) -> Regex:
    later, first = EMPTY, EMPTY  # the rest when a member stands before it, and when none does
    for name, value, required in reversed(members):
        pair = concat(_text(json.dumps(name) + ":"), value)
        first = concat(pair, later) if required else alternate(concat(pair, later), first)
        behind = concat(_text(","), pair)
        later = concat(behind if required else alternate(EMPTY, behind), later)
    return concat(_text("{"), first, _text("}"))


INTEGER = rb"(\-?(0|[1-9][0-9]*))"
HEX = b"[0-9a-fA-F]"
LEAVES = {
    "null": b"null",
    "boolean": b"true|false",
    "integer": INTEGER,
    "number": INTEGER + rb"(\.[0-9]+)?([eE][+\-]?[0-9]+)?",
    "string": rb'"([ !#-\[\]-~]|\\(["\\/bfnrt]|u' + HEX * 4 + rb'))*"',
}
KEYWORDS = {"array": {"items", "minItems", "maxItems"}, "object": {"properties", "required"}}
IGNORED = {"title", "description", "additionalProperties"}


def _part(schema: dict[str, Any], keyword: str) -> dict[str, Any]:
    if keyword not in schema:
        raise ValueError(f"the type {schema['type']!r} needs {keyword!r}")
    return schema[keyword]


def schema_regex(schema: dict[str, Any]) -> Regex:
    kinds = [key for key in ("const", "enum", "anyOf", "type") if key in schema]
    if len(kinds) != 1:
        raise ValueError(f"a schema has one of const, enum, anyOf and type, got {sorted(schema)}")
    kind = schema["type"] if kinds == ["type"] else kinds[0]
    if kinds == ["type"] and kind not in (*LEAVES, *KEYWORDS):
        raise ValueError(f"no such type: {kind!r}")
    for key in schema.keys() - {kinds[0]} - KEYWORDS.get(kind, set()) - IGNORED:
        raise ValueError(f"the keyword {key!r} isn't known beside {kind!r}")
    match kind:
        case "const" | "enum":
            values = schema["enum"] if kind == "enum" else [schema["const"]]
            return alternate(*(_text(json.dumps(value, separators=(",", ":"))) for value in values))
        case "anyOf":
            return alternate(*map(schema_regex, schema["anyOf"]))
        case "array":
            return array_regex(schema_regex(_part(schema, "items")), schema.get("minItems", 0), schema.get("maxItems"))
        case "object":
            required, properties = schema.get("required", []), _part(schema, "properties")
            for name in required:
                if name not in properties:
                    raise ValueError(f"{name!r} is required, but isn't among the properties")
            return object_regex([(name, schema_regex(inner), name in required) for name, inner in properties.items()])
    return parse(LEAVES[kind])


def constrained_decode(
    score: Callable[[list[int]], Tensor], masks: TokenMasks, max_tokens: int, generator: Generator | None = None
) -> tuple[list[int], bool]:
    ids: list[int] = []
    state = 0
    for _ in range(max_tokens):
        logits = score(list(ids))
        allowed = masks.mask(state).to(logits.device)
        if not allowed.any():
            raise ValueError(f"no token is allowed after {len(ids)} tokens: the vocabulary lacks one")
        chances = logits.double().masked_fill(~allowed, -torch.inf).softmax(-1)
        token = int(torch.multinomial(chances, 1, generator=generator))
        if token == masks.end:
            return ids, True
        ids.append(token)
        state = masks.advance(state, token)
    return ids, False

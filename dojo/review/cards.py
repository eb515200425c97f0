"""`dojo cards`: the lessons' formulas and each kata's mistakes as a deck for Anki.

A note is known to Anki by its guid: a deck that is imported again updates the notes
whose guids it has, and adds the others.  So a guid is made of what stays when a card
gets better:

    formula   the kata's name and the left side of the lines' first equation: its right
              side, and the words around it, may change
    mistake   the kata's name and the mistake's own `key`: sentence, patch and order may change.
              Where the TOML has no key yet, the patch (find and swap) stands for it: then
              another name of a local variable in the reference makes another card.

Where two of one kata have the same key, the later ones are counted.  Neither the
number of a kata nor its module is in it: renumbering keeps what was learned.
"""

from __future__ import annotations

import ast
import difflib
import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path

from dojo.curriculum.katas import Dojo, DojoError, Kata, said
from dojo.curriculum.patches import Patch, mistakes
from dojo.review.deck import Flashcard, is_package, package


def export(dojo: Dojo, out: Path, module: str | None, solved: bool) -> None:
    """Write the deck to the file `out`.  Raises DojoError, with nothing written, where that can't be done."""
    from dojo.commands import say
    from dojo.learner.workspace import write

    _check(out)
    katas, unsolved = _chosen(dojo, module, solved)
    found = [card for kata in katas for card in cards_of(kata)]
    if not found:
        raise DojoError("there is no card to write: no kata of these has a formula or a mistake")
    try:
        write(out, package(found))
    except OSError as error:
        raise DojoError(f"the deck can't be written to {out}: {said(error)}") from error
    count = Counter(card.kind for card in found)
    figures = " and ".join(f"{n} {kind}{'' if n == 1 else 's'}" for kind, n in sorted(count.items()))
    say(f"{out} has {figures} of {len(katas)} kata{'' if len(katas) == 1 else 's'}.")
    say("In Anki: File, Import. A later import updates these cards; it adds none twice.", wrap=True)
    if unsolved:
        text = f"{unsolved} of these katas you haven't solved: a mistake's card shows a line of the reference."
        say(f"{text} --solved leaves them out.", wrap=True)


def _check(out: Path) -> None:
    if out.suffix.lower() != ".apkg":
        raise DojoError(f"--out {out}: Anki imports files whose names end in .apkg")
    if not out.parent.is_dir():
        raise DojoError(f"--out {out}: there is no folder {out.parent}")
    if out.exists() and not is_package(out):
        raise DojoError(f"--out {out}: this file is there and is no deck of Anki; it is left as it is")


def _chosen(dojo: Dojo, module: str | None, solved: bool) -> tuple[list[Kata], int]:
    """The katas whose cards are wanted, and how many of them the learner hasn't solved."""
    from dojo.commands import _record
    from dojo.learner.progress import statuses

    modules = dojo.modules if module is None else dojo.modules_like(module)
    katas = [kata for kata in dojo.katas if kata.module in modules]
    with _record(dojo) as record:
        done = {one.kata.name for one in statuses(dojo, record) if one.done}
    if solved:
        katas = [kata for kata in katas if kata.name in done]
        if not katas:
            raise DojoError("none of these katas is solved yet; without --solved there are cards of all")
    return katas, sum(kata.name not in done for kata in katas)


def cards_of(kata: Kata) -> list[Flashcard]:
    """The kata's cards: its formulas, then its mistakes."""
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for card in (*_formulas(kata), *_mistakes(kata)):
        seen[card.kind, card.key] += 1
        n = seen[card.kind, card.key]
        found.append(card if n == 1 else replace(card, key=f"{card.key}#{n}"))
    return found


# --- formulas -----------------------------------------------------------------------------------------

RELATION = re.compile(r"\s(?:\+?=|←|≈|≤|→)\s")
MATHEMATICS = re.compile(r"[=←≈∑Σ∏∫√]| · ")
NO_FORMULA = re.compile(r"(?i)(worked by hand|shapes\b|sources?:)")
PART = re.compile(r"\*\*([^*]+?)[.:?]?\*\*")  # the heading of a lesson's part, at a paragraph's beginning
DRAWN = re.compile(r"[\u2500-\u257F\u25B2\u25B6\u25BC\u25C0]")  # lines and the heads of arrows
LEAD = 320
LISTED = re.compile(r"(?m)^\s*\d+\. ")


def _formulas(kata: Kata) -> Iterator[Flashcard]:
    """Cards of the lesson's formula part; where a lesson has no such parts yet, of all of it."""
    paragraphs = [p for p in re.split(r"\n[ \t]*\n", _lesson(kata)) if p.strip()]
    source = next((p for p in paragraphs if re.match(r"Sources?:", p)), "")
    has_parts = any(PART.match(p) for p in paragraphs)
    part = lead = ""
    for paragraph in paragraphs[1:]:
        if not all(line.startswith("    ") for line in paragraph.splitlines()):
            heading = PART.match(paragraph)
            part = heading[1] if heading else part
            text = " ".join(paragraph[heading.end() if heading else 0 :].split())
            lead = text.lstrip(" .:,") or lead  # a heading alone says nothing of what follows
        elif has_parts and not re.match(r"The formulas?\b", part):
            continue
        elif not NO_FORMULA.search(lead[:60]) and is_formula(paragraph):
            yield _formula(kata, lead[:1].upper() + lead[1:], paragraph, source)


def is_formula(paragraph: str) -> bool:
    """Whether an indented paragraph of a lesson is mathematics: no drawing, no example, no list of steps."""
    if DRAWN.search(paragraph) or LISTED.search(paragraph) or not MATHEMATICS.search(paragraph):
        return False
    equations = [part for part in _parts(paragraph) if RELATION.search(part)]
    return not equations or any(not _is_data(RELATION.split(part, 1)[1]) for part in equations)


def _is_data(right: str) -> bool:
    """Whether the right side of an equation is a number, or an array written out."""
    return (right.startswith("[") and right.endswith("]")) or not re.search(r"[^\W\d]", re.sub(r"\d+e-?\d+", "", right))


def _parts(paragraph: str) -> list[str]:
    """The equations and remarks that stand side by side, three blanks or more apart."""
    lines = (re.sub(r"\s+(\+?[=←≈≤→])\s+", r" \1 ", line.strip()) for line in paragraph.splitlines())
    return [part for line in lines for part in re.split(r"\s{3,}|,\s{2,}", line) if part]


def left_sides(paragraph: str) -> list[str]:
    """What stands left of `=` in the paragraph's equations, in order."""
    sides = []
    for part in _parts(paragraph):
        lefts = (part[: found.start()] for found in RELATION.finditer(part))
        left = next((left for left in lefts if all(left.count(a) == left.count(b) for a, b in ("()", "[]"))), "")
        side = left.rsplit(": ", 1)[-1].strip()
        if side and not re.search(r"\bif\b", side):
            sides.append(side)
    return sides


def _formula(kata: Kata, lead: str, paragraph: str, source: str) -> Flashcard:
    sides = left_sides(paragraph)
    key = re.sub(r"\s+", "", sides[0]) if sides else paragraph.split()[0]
    asked = "\n".join(f"{side} = ?" for side in dict.fromkeys(sides))
    return Flashcard(
        kata,
        "formula",
        key,
        question=f"<p>{_prose(_end(lead))}</p>\n" + (f"<pre>{escape(asked)}</pre>" if asked else "<p>Which?</p>"),
        answer=f"<pre>{escape(textwrap.dedent(paragraph).rstrip())}</pre>",
        source="<br>".join(filter(None, (_prose(source), _place(kata)))),
    )


def _end(lead: str) -> str:
    """The last sentences of the paragraph before a formula: a card is read at a glance."""
    sentences = re.split(r"(?<=[.?!]) (?=[A-Z])", lead)
    kept = sentences.pop()
    while sentences and len(sentences[-1]) + len(kept) < LEAD:
        kept = f"{sentences.pop()} {kept}"
    return f"… {kept}" if sentences else kept


def _lesson(kata: Kata) -> str:
    """The lesson as the learner has it; where their file can't be read, as the project has it."""
    from dojo.curriculum.stubs import lesson
    from dojo.learner.workspace import pristine_stub

    if kata.stub.exists() and (text := lesson(kata.stub.read_text(encoding="utf-8", errors="replace"))):
        return text
    try:
        return lesson(pristine_stub(kata).decode("utf-8", "replace"))
    except DojoError:
        return ""


def _prose(text: str) -> str:
    """A paragraph of a lesson as HTML: `code`, **strong** and *stressed* words as what they are."""
    html = escape(" ".join(text.split()))
    html = re.sub(r"`([^`]+)`", r"<code>\1</code>", html)
    html = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", html)
    return re.sub(r"(?<!\w)\*([^*\s][^*]*)\*(?!\w)", r"<i>\1</i>", html)


def _place(kata: Kata) -> str:
    return escape(f"katas/{kata.module}/{kata.stem}.py")


# --- mistakes -----------------------------------------------------------------------------------------


def _mistakes(kata: Kata) -> Iterator[Flashcard]:
    source = kata.reference.read_text(encoding="utf-8") if kata.reference.exists() else ""
    for patch in mistakes(kata):
        symptom = symptom_of(patch.says)
        function, wrong, right = _changed(source, patch)
        known = function and not function.startswith("_")
        where = f"A test of <code>{escape(function)}</code> says:" if known else "A test says:"
        asked = "What is right?" if symptom != patch.says else "Which code does that, and what is right?"
        answer = f"<p>{_prose(patch.says)}</p>"
        for label, code in (("wrong", wrong), ("right", right)):
            shown = escape(code) or "(without these lines)"
            answer += f'\n<span class="label">{label}</span><pre class="{label}">{shown}</pre>'
        question = f"<p>{where}</p>\n<p>“{_prose(symptom)}”</p>\n<p>{asked}</p>"
        key = patch.key or "→".join(re.sub(r"\s+", " ", text).strip() for edit in patch.edits for text in edit)
        yield Flashcard(kata, "mistake", key, question, answer, _place(kata))


def symptom_of(says: str) -> str:
    """What a mistake's sentence says is wrong, without what would be right: its first clause.

    All of it where it has only one, or where the first is too short to be told from others.
    """
    first = re.split(r"(?<=[.!?]) (?=[A-Z`0-9(])|: |; ", says, maxsplit=1)[0]
    return f"{first.rstrip('.')}." if len(first.split()) >= 4 and first != says else says


def _changed(source: str, patch: Patch) -> tuple[str, str, str]:
    """The function that the mistake is in, and the lines that differ: as the mistake has them, and right."""
    try:
        wrong = patch.apply(source)
    except DojoError:  # the reference is another by now: `dojo check` tells its author
        right, wrong = (textwrap.dedent("\n".join(texts)).strip() for texts in zip(*patch.edits, strict=True))
        return "", wrong, right
    right_lines, wrong_lines = source.splitlines(), wrong.splitlines()
    matcher = difflib.SequenceMatcher(None, right_lines, wrong_lines, autojunk=False)
    changes = [op for op in matcher.get_opcodes() if op[0] != "equal"]
    old = [line for _, i, j, _, _ in changes for line in right_lines[i:j]]
    new = [line for _, _, _, i, j in changes for line in wrong_lines[i:j]]
    function = _function_at(source, changes[0][1] + 1) if changes else ""
    return function, textwrap.dedent("\n".join(new)), textwrap.dedent("\n".join(old))


def _function_at(source: str, line: int) -> str:
    """The function or class of the file's top that `line` is in; empty where there is none."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return ""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.lineno <= line <= (node.end_lineno or 0):
            return f"{node.name}()" if isinstance(node, ast.FunctionDef) else node.name
    return ""

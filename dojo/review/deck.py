"""A deck of flashcards as the file that Anki imports, by genanki: one note type, one deck."""

from __future__ import annotations

import io
import itertools
import sqlite3
import time
import zipfile
from contextlib import closing
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dojo.curriculum.katas import Kata

if TYPE_CHECKING:
    from genanki import Deck  # type: ignore[import-untyped]

# Random once, and never changed: Anki knows the note type and the deck by them.
MODEL_ID = 1_742_918_305
DECK_ID = 2_063_481_957
FIELDS = ("Question", "Answer", "Kata", "Source")
COLLECTION = "collection.anki2"

FRONT = '<div class="kata">{{Kata}}</div>\n{{Question}}'
BACK = '{{FrontSide}}\n<hr id="answer">\n{{Answer}}\n<div class="source">{{Source}}</div>'
CSS = """
.card { font: 18px/1.45 system-ui, "Segoe UI", Roboto, sans-serif; text-align: left; max-width: 44em;
        margin: 1em auto; padding: 0 1em; color: #1f2328; background: #ffffff; }
.kata, .source, .label { font-size: 14px; color: #59636e; }
.kata { margin-bottom: 1em; }
.source { margin-top: 1.5em; overflow-wrap: anywhere; }
.label { display: block; }
pre, code { font-family: "DejaVu Sans Mono", "Cascadia Mono", Menlo, Consolas, monospace; }
pre { font-size: 16px; padding: .6em .8em; margin: .2em 0 .8em; border-radius: 6px; background: #f0f2f5;
      white-space: pre-wrap; overflow-wrap: anywhere; }
code { font-size: 90%; padding: .1em .3em; border-radius: 4px; background: #f0f2f5; }
.wrong { border-left: 4px solid #cf222e; }
.right { border-left: 4px solid #1a7f37; }
hr { border: 0; border-top: 1px solid #d1d9e0; }
.nightMode.card, .nightMode .card { color: #e6edf3; background: #1e2227; }
.nightMode .kata, .nightMode .source, .nightMode .label { color: #a0aab5; }
.nightMode pre, .nightMode code { background: #2d333b; }
.nightMode .wrong { border-left-color: #ff7b72; }
.nightMode .right { border-left-color: #56d364; }
.nightMode hr { border-top-color: #444c56; }
"""


@dataclass(frozen=True)
class Flashcard:
    """One note: its fields are HTML."""

    kata: Kata
    kind: str  # "formula" or "mistake"
    key: str
    question: str
    answer: str
    source: str

    @property
    def guid(self) -> str:
        from genanki import guid_for

        return str(guid_for("ml-dojo", self.kata.name, self.kind, self.key))

    @property
    def fields(self) -> list[str]:
        title, name = self.kata.title, self.kata.name
        kata = title if title.lower() == name.replace("_", " ") else f"{title} · {name}"
        return [self.question, self.answer, escape(kata), self.source]


def is_package(path: Path) -> bool:
    """Whether the file is one that Anki imports."""
    try:
        with zipfile.ZipFile(path) as file:
            return any(name.startswith("collection.anki") for name in file.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def package(cards: list[Flashcard], now: float | None = None) -> bytes:
    """The deck as the bytes of an .apkg file; Anki takes the cards for written at `now`."""
    stamp = time.time() if now is None else now
    with closing(sqlite3.connect(":memory:")) as db:
        import genanki

        # As genanki's write_to_file does, which leaves its database in the folder for temporary files.
        ids = itertools.count(int(stamp * 1000))
        genanki.Package(_deck(cards)).write_to_db(db.cursor(), stamp, ids)
        db.commit()
        content = db.serialize()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(COLLECTION, content)
        archive.writestr("media", "{}")
    return file.getvalue()


def _deck(cards: list[Flashcard]) -> Deck:
    import genanki

    template: dict[str, Any] = {"name": "Card", "qfmt": FRONT, "afmt": BACK}
    model = genanki.Model(MODEL_ID, "ML Dojo", [{"name": name} for name in FIELDS], [template], css=CSS)
    deck = genanki.Deck(DECK_ID, "ML Dojo")
    for card in cards:
        tags = [f"ml-dojo::{card.kata.module}::{card.kata.name}", f"ml-dojo::{card.kind}"]
        deck.add_note(genanki.Note(model=model, fields=card.fields, guid=card.guid, tags=tags))
    return deck

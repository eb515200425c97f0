"""`dojo cards`: the file that Anki imports, its notes, and what makes a second import an update."""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
import sqlite3
import tempfile
import time
import warnings
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dojo.cli import app
from dojo.curriculum.katas import open_dojo
from dojo.curriculum.patches import mistakes
from dojo.learner.record import Attempt, Record, hash_file
from dojo.review import cards
from dojo.review import deck as review_deck
from dojo.review.cards import cards_of, is_formula, left_sides, symptom_of
from tests.synthetic import ROOT, project_and_clone
from tests.terminal import Terminal

LESSON = '''"""The mean

The mean of x₁ … xₙ is their sum over n, here with a weight for **each**, `w` < 1 & more:

    m = Σ wᵢ xᵢ / Σ wᵢ      n = Σ wᵢ

In one pass,

    m ← m + (x - m) / n

Worked by hand, of 1, 2 and 6:

    m = (1 + 2 + 6) / 3 = 3

    and so m = x̄

Source: any first book.
"""
'''


@pytest.fixture
def dojo(tmp_path, monkeypatch):
    """A learner's clone with a lesson that has formulas, and the learner in it."""
    dojo = project_and_clone(tmp_path)
    stub = dojo.kata("mean").path
    stub.write_text(LESSON + stub.read_text().split('"""\n', 1)[1])
    monkeypatch.chdir(dojo.root)
    monkeypatch.setenv("COLUMNS", "60")
    return dojo


def run(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["cards", *arguments])
    assert result.exit_code == status, (result.output, result.exception)
    return " ".join(result.output.split())


class Collection:
    """What Anki keeps of imports: a note whose guid is known is updated, another one added."""

    def __init__(self) -> None:
        self.notes: dict[str, list[str]] = {}
        self.tags: dict[str, str] = {}
        self.models: dict[str, dict] = {}
        self.decks: set[int] = set()

    def take(self, file: Path | bytes) -> Collection:
        content = file.read_bytes() if isinstance(file, Path) else file
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert archive.testzip() is None
            assert json.loads(archive.read("media")) == {}
            database = archive.read("collection.anki2")
        db = sqlite3.connect(":memory:")
        db.deserialize(database)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = db.execute("SELECT id, guid, mid, flds, tags FROM notes").fetchall()
        assert len({row[1] for row in rows}) == len(rows)  # a guid twice would be one note, and a card lost
        self.models |= json.loads(db.execute("SELECT models FROM col").fetchone()[0])
        of_notes = db.execute("SELECT nid, did FROM cards").fetchall()
        assert sorted(nid for nid, _ in of_notes) == sorted(row[0] for row in rows)  # one card each
        self.decks |= {did for _, did in of_notes}
        for _, guid, model, fields, tags in rows:
            assert str(model) in self.models
            self.notes[guid] = fields.split("\x1f")
            self.tags[guid] = tags
        db.close()
        return self

    def about(self, text: str) -> list[str]:
        (fields,) = [fields for fields in self.notes.values() if text in fields[0] + fields[1]]
        return fields


def exported(dojo, *arguments: str) -> Collection:
    run(*arguments)
    return Collection().take(dojo.root / "ml-dojo.apkg")


class TestDeck:
    def test_one_note_type_one_deck_and_all_cards(self, dojo):
        said = run()
        found = Collection().take(dojo.root / "ml-dojo.apkg")
        assert "ml-dojo.apkg has 2 formulas and 12 mistakes of 3 katas." in said
        assert len(found.notes) == 14
        assert found.decks == {review_deck.DECK_ID} == {2_063_481_957}
        (model,) = found.models.values()
        assert int(model["id"]) == review_deck.MODEL_ID == 1_742_918_305
        assert [field["name"] for field in model["flds"]] == ["Question", "Answer", "Kata", "Source"]
        assert {tag for tags in found.tags.values() for tag in tags.split()} >= {
            "ml-dojo::mistake", "ml-dojo::formula", "ml-dojo::module_01_numbers::mean",
        }  # fmt: skip

    def test_a_mistake_asks_for_what_is_right(self, dojo):
        question, answer, kata, source = exported(dojo).about("take the absolute value")
        assert "A test of <code>spread()</code> says:" in question
        assert "“A number below the mean is far away, too.”" in question
        assert "absolute" not in question
        assert "A number below the mean is far away, too: take the absolute value." in answer
        assert '<pre class="wrong">return max(number - middle for number in numbers)</pre>' in answer
        assert '<pre class="right">return max(abs(number - middle) for number in numbers)</pre>' in answer
        assert (kata, source) == ("The mean · mean", "katas/module_01_numbers/k01_mean.py")

    def test_a_formula_asks_for_its_right_side(self, dojo):
        question, answer, _, source = exported(dojo).about("m = Σ")
        assert "<pre>m = ?\nn = ?</pre>" in question
        assert "Σ" not in question
        assert "<pre>m = Σ wᵢ xᵢ / Σ wᵢ      n = Σ wᵢ</pre>" in answer
        assert "Source: any first book." in source

    def test_text_is_escaped_and_marked_up(self, dojo):
        question = exported(dojo).about("m = Σ")[0]
        assert "<b>each</b>, <code>w</code> &lt; 1 &amp; more:" in question

    def test_examples_are_no_formulas(self, dojo):
        found = exported(dojo)
        assert not [fields for fields in found.notes.values() if "= 3" in fields[1] or "and so m" in fields[1]]

    def test_a_line_that_is_missing_is_said_to_be(self, dojo):
        toml = dojo.kata("count").toml
        toml.write_text(toml.read_text() + '\n[[mistakes]]\nfind = "    return counts\\n"\nswap = ""\nsays = "Gone."\n')
        answer = exported(dojo).about("Gone.")[1]
        assert '<pre class="wrong">(without these lines)</pre>' in answer
        assert '<pre class="right">return counts</pre>' in answer

    def test_night_mode_and_monospace(self):
        assert ".nightMode" in review_deck.CSS
        assert "monospace" in review_deck.CSS
        for selector in ("pre", "code", ".kata", ".source"):
            assert f".nightMode {selector}" in review_deck.CSS

    def test_no_temporary_file_is_left(self, dojo, tmp_path, monkeypatch):
        (tmp_path / "tmp").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
        run()
        assert list((tmp_path / "tmp").iterdir()) == []


PARTS = '''"""The mean

**Before you start.**  You need n = 3 fingers.

**The idea.**  Share out what there is:

    all of it = what each gets, n times

**The formula.**

    m = Σ xᵢ / n

    x₁ ──▶ m = x̄
    x₂ ──▶

which in one pass is

    m ← m + (x - m) / n

**Why n?**  As in

    s² = Σ (x - m)² / (n - 1)

**Worked by hand**, of 1, 2 and 6: 3.

Source: any first book.
"""
'''


def test_formulas_come_from_their_part_alone_and_a_drawing_is_none(dojo):
    stub = dojo.kata("mean").path
    stub.write_text(PARTS)
    formulas = [card for card in cards_of(dojo.kata("mean")) if card.kind == "formula"]
    assert [card.key for card in formulas] == ["m", "m#2"]
    assert "Share out what there is" in formulas[0].question  # a heading alone asks nothing
    assert "Which in one pass is" in formulas[1].question
    stub.write_text(PARTS.replace("**The formula.**", "**The formulas**, for n numbers:"))
    formulas = [card for card in cards_of(dojo.kata("mean")) if card.kind == "formula"]
    assert "For n numbers:" in formulas[0].question
    stub.write_text(PARTS.replace("**The formula.**", "**More.**"))
    assert not [card for card in cards_of(dojo.kata("mean")) if card.kind == "formula"]


class TestSecondImport:
    def test_adds_nothing_twice(self, dojo):
        found = exported(dojo)
        before = dict(found.notes)
        run()
        assert found.take(dojo.root / "ml-dojo.apkg").notes == before

    def test_a_better_sentence_is_an_update(self, dojo):
        found = exported(dojo)
        guids, toml = set(found.notes), dojo.kata("mean").toml
        toml.write_text(toml.read_text().replace("The sum isn't divided by n.", "What about n?"))
        run()
        found.take(dojo.root / "ml-dojo.apkg")
        assert set(found.notes) == guids
        assert "What about n?" in found.about("What about n?")[1]
        assert not [fields for fields in found.notes.values() if "The sum isn't divided by n." in fields[1]]

    def test_so_is_a_better_lesson(self, dojo):
        found = exported(dojo)
        guids, stub = set(found.notes), dojo.kata("mean").path
        stub.write_text(
            stub.read_text().replace("In one pass,", "Number by number,").replace("(x - m) / n", "(x - m)/n")
        )
        run()
        assert set(found.take(dojo.root / "ml-dojo.apkg").notes) == guids
        assert "m ← m + (x - m)/n" in found.about("Number by number,")[1]

    def test_order_numbers_and_modules_are_not_in_the_guid(self, dojo):
        before = {card.guid: card.answer for card in cards_of(dojo.kata("mean"))}
        kata = dojo.kata("mean")
        parts = kata.toml.read_text().split("[[mistakes]]")
        head, *rest = parts[:5]
        last, tail = rest[-1].split("[[variants]]", 1)
        mixed = [last, *rest[:-1]]
        kata.toml.write_text(head + "".join(f"[[mistakes]]{m.rstrip()}\n\n" for m in mixed) + "[[variants]]" + tail)
        for file in (*dojo.root.rglob("*k01_mean*"),):
            target = Path(str(file).replace("module_01_numbers", "module_03_more").replace("k01_", "k09_"))
            target.parent.mkdir(parents=True, exist_ok=True)
            file.rename(target)
        moved = open_dojo(dojo.root).kata("mean")
        assert moved.stem == "k09_mean"
        assert {card.guid: card.answer for card in cards_of(moved)} == before

    def test_other_code_is_another_card(self, dojo):
        before = {card.guid for card in cards_of(dojo.kata("mean"))}
        toml = dojo.kata("mean").toml
        toml.write_text(toml.read_text().replace('swap = "min(abs"', 'swap = "sum(abs"'))
        after = {card.guid for card in cards_of(open_dojo(dojo.root).kata("mean"))}
        assert len(before - after) == len(after - before) == 1

    def test_a_renamed_variable_of_the_reference_is_an_update_where_the_mistake_has_a_key(self, dojo):
        kata = dojo.kata("mean")
        toml, reference = kata.toml, kata.reference
        toml.write_text(toml.read_text().replace("[[mistakes]]\n", '[[mistakes]]\nkey = "n-plus-one"\n', 1))
        first = [card for card in cards_of(open_dojo(dojo.root).kata("mean")) if card.key == "n-plus-one"]
        for file in (toml, reference):
            file.write_text(file.read_text().replace("numbers", "values"))
        again = [card for card in cards_of(open_dojo(dojo.root).kata("mean")) if card.key == "n-plus-one"]
        assert [card.guid for card in first] == [card.guid for card in again]
        assert "len(values) + 1" in again[0].answer

    def test_the_same_left_side_twice_makes_two_cards(self, dojo):
        formulas = [card for card in cards_of(dojo.kata("mean")) if card.kind == "formula"]
        assert [card.key for card in formulas] == ["m", "m#2"]
        assert len({card.guid for card in formulas}) == 2


class TestCommand:
    def test_one_module(self, dojo):
        found = exported(dojo, "--module", "module_02")
        assert {fields[2] for fields in found.notes.values()} == {"Counting words · count"}
        assert "no module begins with 'module_9'" in run("--module", "module_9", status=2)

    def test_only_what_is_solved(self, dojo):
        assert "3 of these katas you haven't solved" in run()
        assert "none of these katas is solved yet" in run("--solved", status=2)
        kata = dojo.kata("count")
        with Record(dojo.state / "record.sqlite") as record:
            hashes = hash_file(kata.path), hash_file(kata.test)
            record.add(Attempt("count", "2026-01-01T00:00:00", "yours", {"a": "green"}, 0.1, *hashes, 0, True))
        said = run("--solved")
        assert "4 mistakes of 1 kata." in said
        assert "solved:" not in said

    def test_out(self, dojo, tmp_path):
        out = tmp_path / "a deck.apkg"
        run("--out", str(out))
        Collection().take(out)
        run("--out", str(out))  # over a deck, as that is what it was
        Collection().take(out)

    @pytest.mark.parametrize(
        ("name", "reason"),
        [("deck.zip", "end in .apkg"), ("deck", "end in .apkg"), ("nowhere/deck.apkg", "there is no folder nowhere")],
    )
    def test_out_to_where_no_deck_can_be(self, dojo, name, reason):
        assert reason in run("--out", name, status=2)
        assert not Path(name).exists()

    def test_no_file_of_another_kind_is_overwritten(self, dojo):
        mine = dojo.root / "mine.apkg"
        mine.write_text("my notes")
        assert "is no deck of Anki; it is left as it is" in run("--out", "mine.apkg", status=2)
        assert mine.read_text() == "my notes"
        with zipfile.ZipFile(mine, "w") as archive:
            archive.writestr("letters.txt", "dear Emmy")
        run("--out", "mine.apkg", status=2)
        assert zipfile.ZipFile(mine).namelist() == ["letters.txt"]

    def test_a_file_that_python_cannot_read_takes_no_card_away(self, dojo):
        clean = shutil.copytree(dojo.root, dojo.root.with_name("other"))
        run()
        stub = dojo.kata("mean").path
        stub.write_text("def mean(:\n")
        lesson = cards._lesson(dojo.kata("mean"))
        assert lesson.startswith("The mean")
        assert cards._lesson(open_dojo(clean).kata("mean")).startswith("The mean")

    def test_a_toml_that_is_broken(self, dojo):
        dojo.kata("mean").toml.write_text("mistakes = [")
        assert "is not valid TOML" in run(status=2)
        assert not (dojo.root / "ml-dojo.apkg").exists()

    def test_a_reference_that_has_changed_since(self, dojo):
        reference = dojo.kata("mean").reference
        reference.write_text(reference.read_text().replace("max(abs", "max (abs"))
        answer = exported(dojo).about("This is the smallest distance")[1]
        assert '<pre class="wrong">min(abs</pre>' in answer
        assert '<pre class="right">max(abs</pre>' in answer

    def test_no_record_can_be_kept(self, dojo):
        dojo.state.write_text("a file")
        assert "practice goes on" in run()
        assert (dojo.root / "ml-dojo.apkg").exists()

    def test_the_learners_files_stay_as_they_are(self, dojo):
        def files():
            return {p: p.read_bytes() for p in (dojo.root / "katas").rglob("*.py")}

        before = files()
        run()
        assert files() == before


class TestTerminal:
    def test_60_columns(self, dojo):
        shown = Terminal(dojo.root, "cards", columns=60)
        shown.until("leaves them out")
        assert shown.ended() == 0
        assert "Anki: File, Import" in shown.text
        words = " ".join(shown.text.split())
        assert "A later import updates these cards; it adds none twice." in words
        shown.close()

    def test_ctrl_c_leaves_a_whole_deck_or_none(self, dojo):
        deck = dojo.root / "ml-dojo.apkg"
        for moment in (0.3, 0.5, 0.7):
            shown = Terminal(dojo.root, "cards", columns=60)
            time.sleep(moment)
            shown.process.kill(signal.SIGINT)
            shown.read(0.3)
            shown.close()
            assert not deck.exists() or Collection().take(deck).notes
            assert not list(dojo.root.glob(".ml-dojo*"))

    def test_interrupted_while_it_is_made(self, dojo, monkeypatch):
        run()
        before = (dojo.root / "ml-dojo.apkg").read_bytes()
        monkeypatch.setattr(cards, "package", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert CliRunner().invoke(app, ["cards"]).exit_code == 130
        assert (dojo.root / "ml-dojo.apkg").read_bytes() == before


# --- what makes a good card -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paragraph", "formula"),
    [
        ("    x·y = Σ xᵢ yᵢ", True),
        ("    m ← m + δ/n", True),
        ("    E · k · Σₑ fₑ Pₑ", True),
        ("    m = 3", False),
        ("    A = [1 1; e 0; 0 e]     AᵀA = [1+e² 1; 1 1+e²]", False),
        ('    {"species": ["A", "B"], "mass": [3, None]}', False),
        ("    1. count each pair = once\n    2. take the best", False),
        ("    went   (b, a) 1    (a, n) 2", False),
    ],
)
def test_what_a_formula_is(paragraph, formula):
    assert is_formula(paragraph) is formula


@pytest.mark.parametrize(
    ("paragraph", "sides"),
    [
        ("    ‖x‖₁ = Σ |xᵢ|      ‖x‖∞ = max |xᵢ|", ["‖x‖₁", "‖x‖∞"]),
        ("    RMSNorm(x)   =  x   / √(mean(x²) + ε)", ["RMSNorm(x)"]),
        ("    P[min h(A) = min h(B)] = J(A, B)", ["P[min h(A) = min h(B)]"]),
        ("    columns   column j is a mix of A's columns: (AB)₍ⱼ₎ = ∑ₗ A₍ₗ₎ Bₗⱼ", ["(AB)₍ⱼ₎"]),
        ("    γ = x·y        nothing to do if γ = 0", ["γ"]),
        ("    inputs    9 3 1      (start = 9)", []),
    ],
)
def test_what_is_asked_for(paragraph, sides):
    assert left_sides(paragraph) == sides


@pytest.mark.parametrize(
    ("says", "symptom"),
    [
        ("The table is lying on its side: a row belongs to a label.", "The table is lying on its side."),
        ("The queries are counted from 0. The last stands at the last key.", "The queries are counted from 0."),
        ("The label k itself is let through; labels end at k - 1.", "The label k itself is let through."),
        ("This is the mean.", "This is the mean."),
        ("p is ignored: whatever it is, this is the 2-norm.", "p is ignored: whatever it is, this is the 2-norm."),
    ],
)
def test_what_a_mistakes_card_gives_away(says, symptom):
    assert symptom_of(says) == symptom


class Tags(HTMLParser):
    """Checks that tags are closed in the order in which they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_whole_curriculum():
    """Every mistake and every module's formulas make a card that can be asked: nothing empty, no broken HTML."""
    dojo = open_dojo(ROOT)
    found = [card for kata in dojo.katas for card in cards_of(kata)]
    assert sum(card.kind == "mistake" for card in found) == sum(len(mistakes(kata)) for kata in dojo.katas)
    formulas = [card for card in found if card.kind == "formula"]
    assert {card.kata.module for card in formulas} == set(dojo.modules)
    assert any("softmax(Q Kᵀ / √d_k) V" in card.answer for card in formulas)
    for card in found:
        assert all(re.sub(r"<[^>]+>", "", field).strip() for field in card.fields), card
        tags = Tags()
        tags.feed(card.question + card.answer + card.source)
        assert tags.open == [], card
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # genanki's, for a field that isn't HTML
        content = review_deck.package(found)
    assert len(Collection().take(content).notes) == len(found) == len({card.guid for card in found})

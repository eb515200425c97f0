"""`dojo lights`: the strip in the terminal, and as a page that needs nothing else."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from dojo.cli import app
from dojo.pair import html as pair_html
from dojo.pair import lights
from dojo.pair import strip as pair_strip
from dojo.pair.strip import Event, Person, Session, spans, summarise, widths
from tests.synthetic import ROOT, commit, git, project_and_clone
from tests.terminal import Terminal

T0 = 1_795_284_000.0
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def a_session(*steps: tuple, names=("Ada", "Grace"), **about) -> Session:
    """steps: (seconds since the step before, "turn" or a colour, what else the event has)."""
    people = [Person(name, f"{i}@localhost") for i, name in enumerate(names)]
    events, at, driver = [Event("start", T0, people[0].name)], T0, 0
    for seconds, what, *more in steps:
        at += seconds
        details = dict(*more)
        if what == "turn":
            driver = (driver + 1) % len(people)
            events.append(Event("turn", at, people[driver].name, **details))
        else:
            colour = what if what != "done" else ""
            greens = {"greens": 5 if what == "green" else 2, "tests": 5, "seconds": 1.5} if colour else {}
            events.append(Event("run" if colour else "done", at, people[driver].name, colour, **greens, **details))
    plain = {"name": "dojo/2026-11-21-mean", "kata": "mean", "people": people, "minutes": 7.0, "predict": False}
    plain |= {"revert": False, "home": "main", "start": "", "tip": "", "events": events, "done": "yes"}
    return Session(**{**plain, **about})


EVENING = a_session(
    (60, "todo"), (120, "red", {"predicted": "red"}), (30, "turn"), (90, "amber"), (60, "green", {"predicted": "red"}),
    (100, "turn"), (20, "red"), (40, "green"), (10, "done"),
)  # fmt: skip


@pytest.fixture
def dojo(tmp_path, monkeypatch):
    """A learner's clone with an evening in it, and the learner there."""
    made = project_and_clone(tmp_path)
    monkeypatch.chdir(made.root)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    return made


def run(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == status, (result.output, result.exception)
    return result.output


def shown(session: Session, width: int = 60, monkeypatch=None, until=None) -> list[str]:
    from rich.console import Console

    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    plain = Console(file=out, width=width, highlight=False, markup=False, emoji=False)
    monkeypatch.setattr(lights, "console", lambda: plain)
    monkeypatch.setattr(
        lights, "say", lambda text, style="", **_: plain.print(text, style=style or None, soft_wrap=True)
    )
    monkeypatch.setattr(sys, "stdout", out)
    lights.show([session], [until])
    out.flush()
    return out.buffer.getvalue().decode().splitlines()


class TestWhereTheTimeWent:
    def test_worked_by_hand(self):
        about = summarise(EVENING)
        assert about.total == 530
        assert about.drivers == {"Ada": 60 + 120 + 30 + 20 + 40 + 10, "Grace": 90 + 60 + 100}
        # todo until the first run and after it; red until the amber; amber until the green; …
        assert about.colours == {"todo": 60 + 120, "red": 30 + 90 + 40, "amber": 60, "green": 100 + 20 + 10}
        assert about.longest == 30 + 90 + 60  # red and amber together
        assert (about.predicted, about.right) == (2, 1)

    def test_the_time_away_is_no_practice(self):
        session = a_session((60, "red"), (4000, "green", {"away": 3900.0}), (10, "done"))
        assert summarise(session).total == 170
        assert summarise(session).colours["red"] == 100

    def test_clocks_that_disagree(self):
        session = a_session((60, "red"), (-300, "green"), (360, "red"), (10, "done"))
        assert all(span.seconds >= 0 for span in spans(session))
        assert summarise(session).total == 130

    def test_until_now(self):
        session = a_session((60, "red"), done="")
        assert summarise(session).total == 60
        assert summarise(session, T0 + 100).colours["red"] == 40

    def test_nothing_happened(self):
        assert summarise(a_session()).total == 0
        assert spans(a_session(), T0) == []

    @pytest.mark.parametrize("predicted", ["red", "green"])
    @pytest.mark.parametrize("colour", ["todo", "amber", "red", "green"])
    def test_what_is_not_green_counts_as_red(self, colour, predicted):
        expected = (colour == "green") == (predicted == "green")
        assert Event("run", T0, "Ada", colour, predicted=predicted).right is expected


class TestWidths:
    def test_by_time_and_at_least_one(self):
        parts = spans(a_session((0, "red"), (100, "green"), (1, "red"), (300, "done")))
        given = widths(parts, 60)
        assert sum(given) == 60
        assert min(given) >= 1
        assert given[2] > 2.5 * given[0] > given[1]

    @pytest.mark.parametrize("total", [20, 37, 60, 100])
    def test_they_add_up(self, total):
        assert sum(widths(spans(EVENING), total)) == total

    def test_no_time_at_all(self):
        assert widths(spans(a_session((0, "red"), (0, "green"))), 10) == [5, 5]


class TestTheSteps:
    @pytest.mark.parametrize(
        "event",
        [
            Event("start", T0, "Ada"),
            Event("run", T0, "Ada Augusta =; Lovelace", "red", 3, 12, 4.5, "green", 61.0, "refs/dojo/reverted/x"),
            Event("run", T0, "Ada by=Grace", "green", 12, 12, 4.5),
        ],
    )
    def test_a_line_is_read_as_it_was_written(self, event):
        assert pair_strip._light(event.line()) == event

    def test_a_commit_is_read_as_it_was_written(self):
        from dojo.pair.git import message

        event = Event("run", T0, "Ada", "red", 3, 12, 4.5, "green", 61.0, "refs/dojo/reverted/x", "c0ffee")
        text = message("red", event, [Person("Grace", "g@localhost")])
        assert pair_strip._step("c0ffee", text) == event

    @pytest.mark.parametrize("line", ["run", "", "2026 run by=Ada", "2026-11-21T18:03:11+00:00 run tests=x/y by=Ada"])
    def test_a_damaged_line_is_left_out(self, line):
        assert pair_strip._light(line) is None


class TestInTheTerminal:
    def test_the_strip_by_letters_and_patterns(self, monkeypatch):
        said = shown(EVENING, monkeypatch=monkeypatch)
        strip = next(line for line in said if line.startswith("·"))
        assert re.sub("[^A-Z]", "", strip) == "TRAGRG"
        assert cell_len(strip) == 60
        for fill in ("T·", "R▒", "A░", "G█"):
            assert fill in strip
        drivers = said[said.index(strip) + 1]
        assert re.findall(r"\|(\w*)", drivers) == ["Ada", "Grace", "Ada"]
        assert strip.index("A") > drivers.index("|Grace") > strip.index("R")

    @pytest.mark.parametrize("width", [44, 60, 100])
    def test_no_line_is_wider_than_the_terminal(self, monkeypatch, width):
        steps = [(7 * i % 90, colour, {"predicted": "red"}) for i in range(20) for colour in ("red", "turn", "green")]
        steps = [(s, c, {} if c == "turn" else d) for s, c, d in steps]
        session = a_session(*steps, names=("Ada", "格蕾丝"))
        said = shown(session, width, monkeypatch)
        strip = "".join(line for line in said[2:12] if re.fullmatch("[TRAG·▒░█]+", line))
        assert re.sub("[^A-Z]", "", strip) == "RG" * 20
        assert max(map(cell_len, said[2:])) <= width

    def test_names_that_are_wide_stay_below_their_turns(self, monkeypatch):
        said = shown(a_session((60, "red"), (60, "turn"), (60, "done"), names=("格蕾丝", "Ada")), 60, monkeypatch)
        assert cell_len(said[4].split("|Ada")[0]) == said[3].index("R") + 20

    def test_a_terminal_of_few_characters(self, dojo):
        run("pair", "--names", "Ada,Grace", "--kata", "mean")
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
        done = subprocess.run([sys.executable, "-m", "dojo", "lights"], env=env, capture_output=True, check=True)
        assert b"G= green   R- red   A: amber   T. todo" in done.stdout

    def test_in_a_real_one_of_60_columns_with_and_without_colour(self, dojo):
        session_on(dojo)
        for environment, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
            it = Terminal(dojo.root, "lights", columns=60, lines=40, env=environment)
            assert it.ended() == 0
            it.read(0.1)
            assert ("\x1b[32m" in it.written) is coloured
            assert re.search(r"1  \d\d:\d\d  R red +2/5  Ada +foreseen green: wrong\n", it.text)
            it.close()


def session_on(dojo, name="dojo/2026-11-21-mean", kata="mean") -> None:
    """A finished evening in the repository, as `dojo pair done` leaves it."""
    session = a_session(
        (60, "red", {"predicted": "green"}), (60, "green"), (60, "done"), name=name, kata=kata, tip="c0ffee"
    )
    from dojo.pair.end import _about, _body
    from dojo.pair.git import message

    git(dojo.root, "switch", "-q", "-c", name)
    (dojo.root / "README.md").write_text(name)
    commit(dojo.root, message("done", None, session.people, _body(session), *_about(session)))
    git(dojo.root, "switch", "-q", "main")


class TestWhichOnes:
    def test_none_yet(self, dojo):
        assert "no evening is known here yet" in run("lights", status=2)
        assert "none yet" in " ".join(run("lights", "main", status=2).split())
        assert "none yet" in " ".join(run("lights", "--", "--help", status=2).split())

    def test_the_last_and_several(self, dojo):
        session_on(dojo)
        session_on(dojo, "dojo/2026-11-21-median", "median")
        assert run("lights").count("Where the time went") == 1
        said = run("lights", "dojo/2026-11-21-median", "dojo/2026-11-21-mean")
        assert said.index("median  Ada") < said.index("mean  Ada")
        said = " ".join(run("lights", "dojo/x", status=2).split())
        assert "dojo/2026-11-21-mean, dojo/2026-11-21-median" in said

    def test_one_that_was_merged_and_its_branch_deleted(self, dojo):
        session_on(dojo)
        git(dojo.root, "merge", "-q", "dojo/2026-11-21-mean")
        git(dojo.root, "branch", "-D", "dojo/2026-11-21-mean")
        assert "foreseen green: wrong" in run("lights")


class Outline(HTMLParser):
    """The tags that are open at the end, and every attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


class TestThePage:
    def test_is_whole_and_needs_nothing_else(self):
        page = pair_html.page([(EVENING, None), (a_session((5, "red")), T0 + 60)])
        outline = Outline()
        outline.feed(page)
        assert outline.open == []
        assert ("html", {"lang": "en"}) in outline.found
        assert "<title>Lights: mean</title>" in page
        assert not re.search(r"https?:|//|@import|url\(|<script|<link|<img|src=", page)
        assert "prefers-color-scheme: dark" in page
        labels = [attrs["aria-label"] for _, attrs in outline.found if attrs.get("role") == "img"]
        assert len(labels) == 2
        assert labels[0].startswith("6 runs: todo at ")
        assert re.findall("<b>(.)</b></span>", page.split("legend")[2])[:4] == ["G", "R", "A", "T"]

    def test_names_are_no_markup(self):
        session = a_session((5, "red", {"predicted": "<i>"}), names=("<script>alert(1)</script>", 'A"b&c'), kata="<b>")
        page = pair_html.page([(session, None)])
        assert "<script" not in page
        assert "&lt;script&gt;" in page
        assert "A&quot;b&amp;c" in page

    def test_the_parts_of_a_row_fill_it(self):
        page = pair_html.page([(EVENING, None)])
        for row in ("strip", "turns"):
            part = page.split(f'<div class="{row}">')[1].split("</div>")[0]
            assert sum(map(float, re.findall(r"width: ([\d.]+)%", part))) == pytest.approx(100, abs=0.1)

    def test_a_long_evening_has_several_rows(self):
        steps = [(30, colour) for _ in range(45) for colour in ("red", "green")]
        page = pair_html.page([(a_session(*steps), None)])
        assert page.count('<div class="strip">') == 3

    def test_is_written_over_a_page_of_ours_only(self, dojo, tmp_path):
        session_on(dojo)
        page = tmp_path / "lights.html"
        for _ in range(2):
            assert "Written" in run("lights", "--html", str(page))
        page.write_text("mine")
        assert "left alone" in " ".join(run("lights", "--html", str(page), status=2).split())
        assert page.read_text() == "mine"
        for place in (tmp_path, page / "x.html"):
            run("lights", "--html", str(place), status=2)

    @pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
    def test_in_a_browser_in_both_schemes_and_without_colour(self, tmp_path):
        from PIL import Image

        page = tmp_path / "lights.html"
        page.write_text(
            pair_html.page(
                [(a_session((1, "red"), (100, "green"), (100, "todo"), (100, "amber"), (100, "done")), None)]
            )
        )
        paper = []
        for scheme in (0, 1):  # dark, light
            shot = tmp_path / f"{scheme}.png"
            options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=800,700"]
            options += [f"--blink-settings=preferredColorScheme={scheme}", f"--user-data-dir={tmp_path / 'profile'}"]
            command = [str(CHROMIUM), *options, f"--screenshot={shot}", page.as_uri()]
            subprocess.run(command, capture_output=True, check=True, timeout=60)
            grey = Image.open(shot).convert("L")
            paper.append(grey.getpixel((400, 5)))
            # The strip: four lights of a quarter each; a shade and a roughness of its own tells each of them.
            told = set()
            top = next(y for y in range(100, 300) if abs(grey.getpixel((600, y)) - paper[-1]) > 8)
            for i in range(4):
                left = 20 + 190 * i + 60
                pixels = list(grey.crop((left, top + 8, left + 110, top + 40)).get_flattened_data())
                mean = sum(pixels) / len(pixels)
                rough = (sum((p - mean) ** 2 for p in pixels) / len(pixels)) ** 0.5
                told.add((round(mean / 25), rough > 3))
            assert len(told) == 4, told
        assert paper[0] < 60 < 200 < paper[1]

"""The strips of evenings as one HTML file that needs nothing else: no network, no script, no colour."""

from __future__ import annotations

from datetime import datetime
from html import escape

from dojo.pair.strip import LETTERS, SIGN, Session, Span, minutes, of_day, spans, summarise, widths

UNITS = 10_000
"""Of a strip's width, so that its parts are given in hundredths of a percent."""
ROW = 40
"""Lights in a row, at most."""

# Each colour is a letter, a shade and a pattern: with any one of them gone the other two tell it.
STYLE = """
:root { color-scheme: light dark; --paper: #fdfcf9; --ink: #22211f; --soft: #66625c; --line: #d9d5cc;
  --green: #1f7a3d; --red: #c0392b; --amber: #e0a100; --todo: #e6e2d8; --on-todo: #4a463f; --on-amber: #221a00;
  --shade: rgb(255 255 255 / 0.28); }
@media (prefers-color-scheme: dark) { :root { --paper: #191a1c; --ink: #ece9e2; --soft: #a5a19a; --line: #3b3c40;
  --green: #2f8f50; --red: #d1493b; --todo: #34363a; --on-todo: #cfcbc3; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 3rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 1.5rem; } h2 { font-size: 1.2rem; margin: 0; }
h3 { font-size: 1rem; margin: 1.5rem 0 .4rem; }
section + section { border-top: 1px solid var(--line); margin-top: 2.5rem; padding-top: 2rem; }
.about { color: var(--soft); margin: .1rem 0 1rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
.strip, .turns { display: flex; }
.strip { height: 3rem; border-radius: .3rem; overflow: hidden; }
.strip + .turns { margin-bottom: .9rem; }
.light { flex: none; padding: .65rem 0 0 .35rem; font-weight: 700; color: #fff; overflow: hidden; white-space: nowrap; }
.run { border-left: 2px solid var(--paper); }
.green { background: var(--green); }
.red { background: repeating-linear-gradient(45deg, transparent 0 7px, var(--shade) 7px 10px), var(--red); }
.amber { background: radial-gradient(circle, rgb(0 0 0 / .3) 1.5px, transparent 2px) 0 0 / 9px 9px, var(--amber);
  color: var(--on-amber); }
.todo { background: repeating-linear-gradient(0deg, transparent 0 7px, var(--line) 7px 8px), var(--todo);
  color: var(--on-todo); }
.light b, .key b { background: inherit; background-image: none; padding: 0 .2rem; border-radius: .2rem; }
.light b { display: inline-block; min-width: 1.1rem; text-align: center; }
.turn { flex: none; border-left: 2px solid var(--soft); padding-left: .3rem; font-size: .85rem; color: var(--soft);
  overflow: hidden; white-space: nowrap; text-overflow: ellipsis; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: 0; margin: 1rem 0; list-style: none;
  font-size: .9rem; }
.key { display: inline-block; width: 2.6rem; height: 1.5rem; margin-right: .4rem; border-radius: .2rem;
  text-align: center; vertical-align: middle; font-weight: 700; color: #fff; }
.key.amber { color: var(--on-amber); } .key.todo { color: var(--on-todo); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem 1.2rem .25rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; color: var(--soft); font-size: .9rem; } td.n { text-align: right; }
td .key { width: 1.9rem; }
"""


def page(sessions: list[tuple[Session, float | None]]) -> str:
    """The page; with each session goes until when it is shown, where that is later than its last step."""
    names = ", ".join(dict.fromkeys(session.kata for session, _ in sessions))
    title = f"Lights: {names}"
    body = "\n".join(_section(session, until) for session, until in sessions)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{SIGN}
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{body}
</main>
</body>
</html>
"""


def _section(session: Session, until: float | None) -> str:
    about = summarise(session, until)
    people = " and ".join(person.name for person in session.people)
    began = session.events[0].at if session.events else 0.0
    said = f"{datetime.fromtimestamp(began):%d %B %Y, %H:%M}, {minutes(about.total)} on {session.name}"
    said += "" if session.done else "; open"
    legend = "".join(f"<li>{_key(colour)}{colour}</li>" for colour in ("green", "red", "amber", "todo"))
    return f"""<section>
<h2>{escape(session.kata)}, by {escape(people)}</h2>
<p class="about">{escape(said)}</p>
{_strip(session, spans(session, until))}
<ul class="legend">{legend}</ul>
{_summary(session, until)}
{_runs(session)}
</section>"""


def _key(colour: str) -> str:
    return f'<span class="key {colour}" aria-hidden="true"><b>{LETTERS[colour]}</b></span>'


def _strip(session: Session, parts: list[Span]) -> str:
    rows: list[list[Span]] = [[]]
    for part in parts:
        if part.run and sum(other.run is not None for other in rows[-1]) >= ROW:
            rows.append([])
        rows[-1].append(part)
    said = "; ".join(f"{run.colour} at {of_day(run.at)}, {run.driver} drove" for run in session.runs) or "no run"
    # The rows share one measure: the longest is as wide as the page.
    longest = max((sum(part.seconds for part in row) for row in rows), default=0) or 1.0
    made = []
    # A narrow page scrolls the strip sideways, rather than cut a letter.
    for row in rows:
        runs = sum(part.run is not None for part in row)
        total = round(UNITS * max(0.35, sum(part.seconds for part in row) / longest)) if len(rows) > 1 else UNITS
        given = widths(row, total, min(UNITS // (2 * max(1, runs)), 400))
        made.append(
            f'<div style="min-width: {3.4 * runs + 2:.1f}rem"><div class="strip">{_lights(row, given)}</div>'
            f'<div class="turns">{_turns(row, given)}</div></div>'
        )
    label = escape(f"{len(session.runs)} runs: {said}", quote=True)
    return f'<div class="scroll" role="img" aria-label="{label}" tabindex="0">{"".join(made)}</div>'


def _width(units: int) -> str:
    return f'style="width: {100 * units / UNITS:.2f}%"'


def _lights(parts: list[Span], given: list[int]) -> str:
    made = []
    for part, units in zip(parts, given, strict=True):
        tip = f"{part.colour}, {minutes(part.seconds)}, {part.driver} drives"
        letter = ""
        if run := part.run:
            tip = f"{of_day(run.at)} {run.colour}, {run.greens} of {run.tests} green, then {minutes(part.seconds)}"
            letter = f"<b>{LETTERS[part.colour]}</b>"
        kind = f"light run {part.colour}" if part.run else f"light {part.colour}"
        made.append(f'<span class="{kind}" {_width(units)} title="{escape(tip, quote=True)}">{letter}</span>')
    return "".join(made)


def _turns(parts: list[Span], given: list[int]) -> str:
    turns: list[tuple[str, int]] = []
    for part, units in zip(parts, given, strict=True):
        if turns and turns[-1][0] == part.driver:
            turns[-1] = (part.driver, turns[-1][1] + units)
        else:
            turns.append((part.driver, units))
    return "".join(
        f'<span class="turn" {_width(units)} title="{escape(name, quote=True)}">{escape(name)}</span>'
        for name, units in turns
    )


def _summary(session: Session, until: float | None) -> str:
    about = summarise(session, until)
    rows = [(f"{escape(name)} drove", seconds) for name, seconds in about.drivers.items()]
    rows += [(f"{_key(colour)}{colour}", seconds) for colour, seconds in about.colours.items() if seconds]
    rows += [("longest stretch without green", about.longest)] if about.longest else []
    cells = "".join(f'<tr><td>{what}</td><td class="n">{minutes(seconds)}</td></tr>' for what, seconds in rows)
    if about.predicted:
        cells += f'<tr><td>colours foreseen</td><td class="n">{about.right} of {about.predicted}</td></tr>'
    return f"<h3>Where the time went</h3>\n<table>{cells}</table>"


def _runs(session: Session) -> str:
    if not session.runs:
        return "<p>No run yet.</p>"
    asked = any(run.predicted for run in session.runs)
    back = any(run.reverted for run in session.runs)
    heads = ["", "at", "colour", "green tests", "seconds", "driver", *(["foreseen"] if asked else [])]
    heads += ["taken back"] if back else []
    rows = []
    for number, run in enumerate(session.runs, 1):
        foreseen = f"{run.predicted}, {'right' if run.right else 'wrong'}" if run.predicted else ""
        cells = [f"<td>{_key(run.colour)}{run.colour}</td>", f'<td class="n">{run.greens} of {run.tests}</td>']
        cells += [f'<td class="n">{run.seconds:.1f}</td>', f"<td>{escape(run.driver)}</td>"]
        cells += [f"<td>{escape(foreseen)}</td>"] if asked else []
        cells += [f"<td>{'yes' if run.reverted else ''}</td>"] if back else []
        rows.append(f'<tr><td class="n">{number}</td><td>{of_day(run.at)}</td>{"".join(cells)}</tr>')
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return f'<h3>The runs</h3>\n<div class="scroll"><table><tr>{head}</tr>{"".join(rows)}</table></div>'

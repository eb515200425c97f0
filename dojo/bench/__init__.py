"""Measures: a start, a save under `dojo watch`, the tokenizers, the kernels on a GPU."""

"""What an error says of devices, in the learner's words."""

from __future__ import annotations

from pathlib import Path

from dojo.checks.verdict import line_in

NO_CUDA = ("Torch not compiled with CUDA enabled", "Found no NVIDIA driver", "No CUDA GPUs are available")


def said_of(error: BaseException, solution: Path) -> list[str]:
    """A sentence where `solution` asks for a CUDA device that this machine lacks; else none."""
    line = line_in(error, solution)
    if line is None or not any(text in str(error) for text in NO_CUDA):
        return []
    return [
        f"Line {line} asks for CUDA by name, and there is no CUDA device here. "
        "Take the input's (device=x.device): then it runs wherever x is."
    ]

"""Whether this machine has a CUDA device, and what follows for Triton.

Triton decides by the environment, when a kernel is decorated, whether to compile
it or to run it in its interpreter.  A learner should not have to know: the finder
here sets TRITON_INTERPRET where no device is found, just before triton is
imported for the first time, whoever imports it.  What is set already stays.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

SWITCH = "TRITON_INTERPRET"


@cache
def has_cuda() -> bool:
    """Whether torch is installed and sees a CUDA device; imports torch."""
    # Asking NVML leaves the process able to fork ranks that use the device.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


class TritonMode(MetaPathFinder):
    """Finds nothing itself: it only sees when triton is about to be imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "triton":
            os.environ.setdefault(SWITCH, "0" if has_cuda() else "1")
        return None

    def install(self) -> None:
        if not any(isinstance(finder, TritonMode) for finder in sys.meta_path):
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)

"""A copy of the project to measure in, so that nothing of the learner's is touched."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from dojo.curriculum.katas import Dojo


def pristine_copy(dojo: Dojo, folder: Path) -> None:
    """Copy what a run needs of the clone to `folder`: stubs and tests as they are committed, the engine as it is."""
    ignored = shutil.ignore_patterns(".git", ".dojo", ".tox", ".venv", "__pycache__", "*.egg-info", ".*_cache")
    shutil.copytree(dojo.clone, folder, ignore=ignored, dirs_exist_ok=True)
    stubs = subprocess.run(["git", "-C", str(dojo.clone), "archive", "HEAD", "katas"], capture_output=True, check=False)
    if stubs.returncode == 0:
        subprocess.run(["tar", "-x", "-C", str(folder)], input=stubs.stdout, check=True)

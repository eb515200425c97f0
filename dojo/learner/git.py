"""git, as far as the engine needs it: a thin wrapper whose errors can be read."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from dojo.curriculum.katas import DojoError

# Set while git runs a hook or a merge driver; they would point our commands at other places.
PLACES = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_COMMON_DIR",
    "GIT_PREFIX",
)
# The learner's hooks and signatures are for their own commits.
# What we write is UTF-8, whatever encoding the learner's own commits have: git would note the wrong one in ours.
OPTIONS = ("-c", f"core.hooksPath={os.devnull}", "-c", "commit.gpgSign=false", "-c", "core.quotePath=false",
           "-c", "i18n.commitEncoding=UTF-8", "-c", "i18n.logOutputEncoding=UTF-8")  # fmt: skip
NOBODY = {"name": "ML Dojo learner", "email": "learner@localhost"}


class GitError(DojoError):
    """git isn't there, or couldn't do what was asked."""


class Git:
    """The repository whose top folder is `root`.  Raises GitError where there is none, or no git."""

    def __init__(self, root: Path) -> None:
        self.root = root
        if shutil.which("git") is None:
            raise GitError("this needs git, which isn't installed here: see https://git-scm.com/downloads")
        run = self._run(("rev-parse", "--show-toplevel"))
        complaint = _words(run.stderr)
        if run.returncode and complaint and "not a git repository" not in complaint:
            raise GitError(f"git won't work in {root}: {complaint}")  # "dubious ownership" comes with its cure
        if run.returncode or Path(os.fsdecode(run.stdout).strip()).resolve() != root.resolve():
            raise GitError(f"{root} isn't a git clone: expected a folder made by `git clone`")

    def __call__(self, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> str:
        """What `git ARGUMENTS` prints, without the last line's end.  Raises GitError where it fails."""
        return self.raw(*arguments, stdin=stdin, env=env).decode("utf-8", "surrogateescape").rstrip("\n")

    def raw(self, *arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        run = self._run(arguments, stdin, env)
        if run.returncode:
            said = _words(run.stderr) or f"exit status {run.returncode}"
            raise GitError(f"git {arguments[0]}: {said}")
        return run.stdout

    def maybe(self, *arguments: str) -> str | None:
        """What `git ARGUMENTS` prints, or None where it fails."""
        run = self._run(arguments)
        return None if run.returncode else run.stdout.decode("utf-8", "surrogateescape").rstrip("\n")

    def _run(
        self, arguments: tuple[str, ...], stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        clean = {name: value for name, value in os.environ.items() if name not in PLACES}
        clean["LC_ALL"] = "C"  # its words are read here: English ones
        if not sys.stdin or not sys.stdin.isatty():
            clean["GIT_TERMINAL_PROMPT"] = "0"  # nobody is there to type a password
        return subprocess.run(
            ["git", "-C", str(self.root), *OPTIONS, *arguments],
            input=stdin,
            capture_output=True,
            env={**clean, **(env or {})},
            check=False,
        )

    # --- what is there ------------------------------------------------------------------------------

    def commit(self, revision: str) -> str | None:
        """The hash of the commit that `revision` names, or None."""
        return self.maybe("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")

    def merge_base(self, one: str, other: str) -> str | None:
        return self.maybe("merge-base", one, other)

    def files(self, tree: str, *under: str) -> dict[str, bytes]:
        """Every file of the commit or tree, or those under some paths: path → content."""
        listed = self("ls-tree", "-r", "-z", tree, "--", *under)
        entries = [entry.split("\t", 1) for entry in listed.split("\0") if entry]
        blobs = {path: about.split()[2] for about, path in entries if about.split()[1] == "blob"}
        content = self.blobs(list(dict.fromkeys(blobs.values())))
        return {path: content[blob] for path, blob in blobs.items()}

    def blobs(self, hashes: list[str]) -> dict[str, bytes]:
        """The contents of many objects, by one process."""
        out = self.raw("cat-file", "--batch", stdin="".join(f"{h}\n" for h in hashes).encode())
        found, at = {}, 0
        for name in hashes:
            line_end = out.index(b"\n", at)
            size = int(out[at:line_end].split()[2])
            found[name] = out[line_end + 1 : line_end + 1 + size]
            at = line_end + 1 + size + 1
        return found

    def paths(self, *arguments: str, env: Mapping[str, str] | None = None) -> list[str]:
        """The paths that a command with -z prints."""
        return [path for path in self(*arguments, env=env).split("\0") if path]

    def remotes(self) -> list[str]:
        return self("remote").split()

    def project(self) -> str | None:
        """The remote that the project's news come from: `upstream`, `origin`, the branch's own, or the only one."""
        remotes = self.remotes()
        branch = self.maybe("symbolic-ref", "--quiet", "--short", "HEAD")
        own = self.maybe("config", f"branch.{branch}.remote") if branch else None
        known = [remote for remote in ("upstream", "origin", own) if remote in remotes]
        return known[0] if known else remotes[0] if len(remotes) == 1 else None

    # --- what is made -------------------------------------------------------------------------------

    def write(self, content: bytes) -> str:
        """Store a file's content; its hash."""
        return self("hash-object", "-w", "--stdin", stdin=content)

    def commit_tree(self, tree: str, message: str, *parents: str) -> str:
        """Make a commit, by the learner; where git doesn't know their name, by a stand-in for it."""
        env = {}
        for what, stand_in in NOBODY.items():
            for role in ("AUTHOR", "COMMITTER"):
                name = f"GIT_{role}_{what.upper()}"
                known = os.environ.get(name) or self.maybe("config", f"user.{what}")
                if not known and not (what == "email" and os.environ.get("EMAIL")):
                    env[name] = stand_in
        arguments = [part for parent in parents for part in ("-p", parent)]
        return self("commit-tree", tree, *arguments, "-F", "-", stdin=message.encode(), env=env)


def _words(stderr: bytes) -> str:
    return " ".join(stderr.decode("utf-8", "replace").split())

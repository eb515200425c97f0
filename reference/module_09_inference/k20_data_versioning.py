"""The reference for k20_data_versioning."""

import contextlib
import hashlib
import json
import os
import uuid
from collections import defaultdict, deque
from pathlib import Path
from typing import Any


class Store:
    """Keeps contents under their MD5 digests in a folder, laid out as DVC 3 lays out its own."""

    def __init__(self, root: Path) -> None:
        """Keeps everything below the folder `root`, which is made if need be, with the folders above it.

        Two stores of the same folder have the same contents.
        """
        self.root = root
        self.root.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes, suffix: str = "") -> str:
        """Keep `data`; returns its key: the MD5 digest, 32 digits in lower case, followed by `suffix`.

        - The content is the file root / first two characters of the key / all others.
        - Contents that are there already aren't written again: their file isn't touched.
        - No file ever stands under a key's name before it is whole.  If the disk is full, OSError comes out, and
          the key isn't in the store.  What then stands under other names is left open.
        """
        key = _md5(data) + suffix
        if key not in self:
            _write(self._place(key), data)
        return key

    def get(self, key: str) -> bytes:
        """The content of `key`.

        Raises FileNotFoundError, naming the key, if it isn't there.
        Raises ValueError, naming the key, if the content isn't what was put: its digest differs from the key's.
        """
        if key not in self:
            raise FileNotFoundError(f"the store {self.root} has no {key}")
        data = self._place(key).read_bytes()
        if _md5(data) != key.removesuffix(".dir"):  # a bit that has flipped on the disk, or somebody's edit
            raise ValueError(f"{key} is spoilt: its content has the digest {_md5(data)}")
        return data

    def __contains__(self, key: str) -> bool:
        """Whether there is a file for `key`.  Its content isn't looked at."""
        return self._place(key).is_file()

    def _place(self, key: str) -> Path:
        return self.root / key[:2] / key[2:]


def manifest(folder: Path) -> dict[str, str]:
    """The path of each file in `folder`, at any depth, and its digest.

    - Files whose names begin with a dot count as any other.  Empty folders leave no trace.
    - Raises NotADirectoryError, naming it, if `folder` is no folder or isn't there.
    """
    return {path.relative_to(folder).as_posix(): _md5(path.read_bytes()) for path in _files(folder)}


def snapshot(store: Store, folder: Path) -> str:
    """Keep all files of `folder` and its manifest; returns the key of the manifest, which ends in ".dir".

    - The manifest is kept as `json.dumps(entries, sort_keys=True)`, encoded as UTF-8.  `entries` is a list of
      dicts {"md5": digest, "relpath": path}, sorted by path as texts are sorted.
    - Raises NotADirectoryError as `manifest` does.
    """
    # Each file is read once: whoever changes it meanwhile can't part the manifest from what is kept.
    digests = {path.relative_to(folder).as_posix(): store.put(path.read_bytes()) for path in _files(folder)}
    entries = [{"md5": digests[path], "relpath": path} for path in sorted(digests)]
    return store.put(json.dumps(entries, sort_keys=True).encode(), ".dir")


def read_manifest(store: Store, key: str) -> dict[str, str]:
    """The manifest that `snapshot` kept under `key`.  Raises what Store.get raises."""
    return {entry["relpath"]: entry["md5"] for entry in json.loads(store.get(key))}


def diff(old: dict[str, str], new: dict[str, str]) -> dict[str, list[Any]]:
    """What changed from one manifest to another: a dict with four sorted lists.

    - "modified": paths that are in both, with different digests.
    - "renamed": pairs (path in old, path in new).  A path that is only in `old` and one that is only in `new`
      make a pair if their digests are equal.  If several have this digest, the first in sorted order of one
      side goes with the first of the other, the second with the second, and so on.
    - "deleted": paths that are only in `old`, without those that were renamed.
    - "added": paths that are only in `new`, without those that were renamed.
    """
    coming: dict[str, deque[str]] = defaultdict(deque)
    for path in sorted(new.keys() - old.keys()):
        coming[new[path]].append(path)
    renamed, deleted = [], []
    for path in sorted(old.keys() - new.keys()):
        if coming[old[path]]:
            renamed.append((path, coming[old[path]].popleft()))
        else:
            deleted.append(path)
    return {
        "added": sorted(path for paths in coming.values() for path in paths),
        "deleted": deleted,
        "modified": sorted(path for path in old.keys() & new.keys() if old[path] != new[path]),
        "renamed": renamed,
    }


def checkout(store: Store, key: str, folder: Path, force: bool = False) -> dict[str, list[Any]]:
    """Make `folder` hold the files of the manifest `key`, and no others; returns the diff from before to now.

    - `folder` is made if it isn't there.
    - A file that is right already isn't touched.
    - A file that is replaced is never written into: another hard link to it keeps the old contents.
    - A folder below `folder` that loses its last file, and has no folder left in it, is removed.  `folder` itself
      stays.  What becomes of folders that were empty before is left open, but where a file is to stand, they go.
    - What is written is the user's own: to edit it doesn't change the store.
    - What isn't finished never stands under a name that the user has.  If a file can't be written, as the disk is
      full, OSError comes out.  The file is then what it was before, and no unfinished one is left in `folder`.

    Before anything is changed it looks at two things.

    - Raises FileNotFoundError, naming the digest, if the manifest or a content that must be written isn't in the
      store, even with `force`.
    - Raises FileExistsError, naming each of their paths and no others, if files are in danger: they would be
      replaced or removed, and the store doesn't have what is in them.  With `force` they are lost.

    A spoilt content raises ValueError, as Store.get does, and the file that stands in its place is left as it was.
    """
    target = read_manifest(store, key)
    current = manifest(folder) if folder.is_dir() else {}
    leaving = sorted(path for path in current if target.get(path) != current[path])
    coming = sorted(path for path in target if current.get(path) != target[path])
    if missing := [target[path] for path in coming if target[path] not in store]:
        raise FileNotFoundError(f"the store has no {', '.join(missing)}")
    if not force and (lost := [path for path in leaving if current[path] not in store]):
        raise FileExistsError(f"{', '.join(lost)} would be lost: the store doesn't have their contents")

    folder.mkdir(parents=True, exist_ok=True)
    # Removals come first: a file may have to make way for a folder of its name, and a folder for a file.
    for path in leaving:
        if path not in target:
            (folder / path).unlink()
            _remove_if_empty((folder / path).parent, folder)
    for path in coming:
        data = store.get(target[path])
        if (folder / path).is_dir():  # all of its files have left
            for below in sorted((folder / path).rglob("*"), reverse=True):
                below.rmdir()
            (folder / path).rmdir()
        _write(folder / path, data)
    return diff(current, target)


def write_pointer(store: Store, path: Path) -> Path:
    """Keep the file or folder `path` in the store, and write its pointer; returns the path of the pointer.

    - The pointer lies beside `path`, and its name is that of `path` followed by ".dvc".  One that is there is
      replaced.
    - It is YAML: "outs:", and below it a list with one entry.  The entry has these keys, in any order:
      `md5`: the key; for a folder that of its snapshot.
      `size`: the number of bytes, of a folder those of all its files.
      `nfiles`: the number of files, only for a folder.
      `hash`: always md5.  It tells DVC that this is a digest of version 3.
      `path`: the name of the file or folder, without what is above it.
    - YAML's readers find texts in `md5`, `hash` and `path`, whatever the file is called, and numbers in `size` and
      `nfiles`.  Names are without control characters; they may hold blanks, quotes, colons, "#", or any letters.
    - Raises FileNotFoundError, naming it, if `path` isn't there.
    """
    if path.is_dir():
        sizes = [file.stat().st_size for file in _files(path)]
        entry = {"md5": snapshot(store, path), "size": sum(sizes), "nfiles": len(sizes)}
    else:
        data = path.read_bytes()
        entry = {"md5": store.put(data), "size": len(data)}
    entry |= {"hash": "md5", "path": path.name}
    # A JSON text is a double-quoted text of YAML, too.
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in entry.items()]
    pointer = path.with_name(path.name + ".dvc")
    _write(pointer, ("outs:\n- " + "\n  ".join(lines) + "\n").encode())
    return pointer


def read_pointer(pointer: Path) -> dict[str, str | int]:
    """The keys "md5", "size", "nfiles" and "path" of a pointer, those that it has; "size" and "nfiles" are ints.

    It reads what `write_pointer` writes, and what DVC writes for a file or folder:

    - A line that begins with a letter is a key of the whole file, such as `outs:`, `deps:` or `desc: some text`.
    - The lines that follow, and begin with "-" or a blank, belong to it.  Each holds one key, a colon, and its
      value, with blanks around or not.  "-" begins an entry; below `outs:` there is one entry.  Its keys come in
      any order, and it may have others than these four.
    - A value is plain, as in `data.csv`, or in single quotes, where '' stands for one quote, or in double quotes,
      as JSON has them.  A plain one may hold colons and quotes, but neither " #" nor ": ".
    - Empty lines, and lines whose first character that is no blank is "#", say nothing.

    Raises ValueError, naming the pointer's file, if it has no `md5` or no `path` below `outs:`.
    """
    found: dict[str, str | int] = {}
    part = ""
    for line in pointer.read_text(encoding="utf-8").split("\n"):
        if not line or line.startswith("#"):  # behind a blank, neither names a key that is looked for
            continue
        name, _, value = line.partition(":")
        if line[0] not in " -":
            part = name
        elif part == "outs":
            name, value = name.lstrip(" -").rstrip(), _text(value.strip())
            if name in ("md5", "path"):
                found[name] = value
            elif name in ("size", "nfiles"):
                found[name] = int(value)
    if missing := {"md5", "path"} - found.keys():
        raise ValueError(f"{pointer} has no {' and no '.join(sorted(missing))} in its outs")
    return found


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder")
    return [path for path in folder.rglob("*") if path.is_file()]


def _write(path: Path, data: bytes) -> None:
    """Write under another name, and rename: at every moment `path` is what it was, or whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{uuid.uuid4().hex}")
    try:
        unfinished.write_bytes(data)
        os.replace(unfinished, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            unfinished.unlink()


def _remove_if_empty(place: Path, top: Path) -> None:
    """Remove `place`, and what is above it up to `top`, as long as it is empty."""
    while place != top and not any(place.iterdir()):
        place.rmdir()
        place = place.parent


def _text(value: str) -> str:
    if value.startswith('"'):
        return json.loads(value)
    if value.startswith("'"):
        return value[1:-1].replace("''", "'")
    return value

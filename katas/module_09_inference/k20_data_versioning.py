"""Data versioning: contents by their digest

**Before you start.**  You need files and folders in Python: `pathlib`, bytes, JSON.  No other kata.
If `Path.rglob` or `Path.relative_to` is new to you: "pathlib" in Python's documentation.  What a
commit is in git helps, too: "Git Internals" in the book Pro Git.

**The idea.**  Next year somebody asks which data a model was trained on.  You should be able to
bring exactly these files back.  Git keeps every version of your code, but it gets slow with large
files.  So the data go somewhere else, and git keeps only a small note that says which data.  DVC
works in this way, and you build its core.

- A *store* keeps each content under its *digest*, here MD5.  The digest is computed from the
  bytes alone.  Equal contents have equal digests, so they are kept once.
- A *manifest* is the list of a folder's files with their digests.  It is a content as well, so it
  goes into the store, and has a digest.  This one digest stands for the whole folder.
- *Diff* compares two manifests.  No file needs to be read for that.
- *Checkout* makes a folder what a manifest says.  It writes only what differs.  And it refuses to
  destroy what it couldn't bring back.
- A *pointer* is the small note for git: digest, size and name, in a file that ends in `.dvc`.

**The formulas.**  ‖ puts two texts one after the other.

    key of a content    =  md5(bytes)                        32 digits in hexadecimal
    place of a content  =  root / first 2 digits / the rest
    key of a folder     =  md5(its manifest, as JSON) ‖ ".dir"

    in danger           =  the files that a checkout would overwrite or remove,
                           and whose contents the store doesn't have

**A drawing.**  The folder on the left, the store on the right:

    data/                      store/
    ├── a.csv   "1"  ────────▶ ├── b0/26324c6904b2…      "1"
    ├── b.csv   "2"  ────────▶ ├── 26/ab0db90d72e2…      "2"
    └── sub/                   │
        └── c.csv "1" ───────▶ │   (there already: b0/26…)
                               └── 37/79e483e02131….dir  the manifest:
                                         ▲                 a.csv     b026…
    data.dvc                             │                 b.csv     26ab…
      md5: 3779e483e02131….dir  ─────────┘                 sub/c.csv b026…

Another version of the folder has another manifest.  Files that didn't change have the same digest
in both, so they take no more room.

**Why not compare the times of the files?**  A copy of a folder has new times and the old contents.
A tool may write new contents and set the old time.  The digest depends on nothing but the bytes.

**Why MD5, isn't it broken?**  Somebody with bad intentions can make two files with one MD5.  By
accident it doesn't happen: with a billion files the chance is about 10⁻²¹.  DVC uses MD5, and you
want to read its files.  Against an attacker use SHA-256.

**Why write under another name first?**  The disk may fill up while you write.  Then half a file
stands under a digest that isn't its own, and everybody believes it.  So write to another name in
the same folder, and rename it when it is whole: `os.replace`.  A rename happens entirely or not
at all.  In a user's folder, clean up what you didn't finish.

**Why may checkout refuse?**  You edited `b.csv` by hand, and nobody has the new contents.  Checkout
would put the old ones in its place, and your work is gone.  If the store has the contents, nothing
is lost: they can be brought back.

**Why quotes in the pointer?**  YAML guesses types.  A file called `yes` becomes a truth value, and
one called `1.5` a number.  One digest in a few million consists of decimal digits only, and YAML
reads it as a number.  In quotes everything is text.

**Worked by hand.**  Every file holds one digit and a line break: "1\\n", "2\\n" …

    old                      new                      diff
    a.csv       1  b026…     a.csv       1  b026…     (the same)
    b.csv       2  26ab…     b.csv       4  48a2…     modified  b.csv
    sub/c.csv   3  6d7f…     d.csv       3  6d7f…     renamed   sub/c.csv → d.csv
                             e.csv       5  1dcc…     added     e.csv

    The folder is old, checkout of new:
        b.csv, d.csv and e.csv are written, sub/c.csv and the empty sub are removed.
        a.csv isn't touched.
    Before that, somebody writes 9 into b.csv:
        FileExistsError, which names b.csv.  With force=True the 9 is lost.
    The manifest of an empty folder is "[]", its key d751713988987e9331980363e24189ce.dir

**Shapes**: there are none.  A path within a folder is a text, relative to the folder, with "/"
between its parts, as in "sub/c.csv".  A manifest is a dict from such paths to digests.  Folders are
given as `Path`, relative or absolute.  There are no symbolic links, and each file fits in memory.
The store lies outside the folders.  Which rights and times new files have is left open.  No
function changes its arguments.

**Steps.**  A good place to pause is before checkout.

    Store          14 min   half an object must never be seen
    manifest        6 min   files at any depth
    snapshot        8 min   the very bytes that DVC writes
    read_manifest   3 min   the way back
    diff           10 min   several files with the same contents
    checkout       22 min   look first, change afterwards
    write_pointer   8 min   quotes
    read_pointer   10 min   a little YAML, read by hand

Sources: the DVC documentation, "Internal directories and files" and ".dvc Files"; Chacon and
Straub, "Pro Git", chapter 10, "Git Objects".

From scratch: dvc and dvc_data may not be used; hashlib, json, shutil and tempfile may.
"""

from pathlib import Path
from typing import Any


class Store:
    """Keeps contents under their MD5 digests in a folder, laid out as DVC 3 lays out its own."""

    def __init__(self, root: Path) -> None:
        """Keeps everything below the folder `root`, which is made if need be, with the folders above it.

        Two stores of the same folder have the same contents.
        """
        raise NotImplementedError

    def put(self, data: bytes, suffix: str = "") -> str:
        """Keep `data`; returns its key: the MD5 digest, 32 digits in lower case, followed by `suffix`.

        - The content is the file root / first two characters of the key / all others.
        - Contents that are there already aren't written again: their file isn't touched.
        - No file ever stands under a key's name before it is whole.  If the disk is full, OSError comes out, and
          the key isn't in the store.  What then stands under other names is left open.
        """
        raise NotImplementedError

    def get(self, key: str) -> bytes:
        """The content of `key`.

        Raises FileNotFoundError, naming the key, if it isn't there.
        Raises ValueError, naming the key, if the content isn't what was put: its digest differs from the key's.
        """
        raise NotImplementedError

    def __contains__(self, key: str) -> bool:
        """Whether there is a file for `key`.  Its content isn't looked at."""
        raise NotImplementedError


def manifest(folder: Path) -> dict[str, str]:
    """The path of each file in `folder`, at any depth, and its digest.

    - Files whose names begin with a dot count as any other.  Empty folders leave no trace.
    - Raises NotADirectoryError, naming it, if `folder` is no folder or isn't there.
    """
    raise NotImplementedError


def snapshot(store: Store, folder: Path) -> str:
    """Keep all files of `folder` and its manifest; returns the key of the manifest, which ends in ".dir".

    - The manifest is kept as `json.dumps(entries, sort_keys=True)`, encoded as UTF-8.  `entries` is a list of
      dicts {"md5": digest, "relpath": path}, sorted by path as texts are sorted.
    - Raises NotADirectoryError as `manifest` does.
    """
    raise NotImplementedError


def read_manifest(store: Store, key: str) -> dict[str, str]:
    """The manifest that `snapshot` kept under `key`.  Raises what Store.get raises."""
    raise NotImplementedError


def diff(old: dict[str, str], new: dict[str, str]) -> dict[str, list[Any]]:
    """What changed from one manifest to another: a dict with four sorted lists.

    - "modified": paths that are in both, with different digests.
    - "renamed": pairs (path in old, path in new).  A path that is only in `old` and one that is only in `new`
      make a pair if their digests are equal.  If several have this digest, the first in sorted order of one
      side goes with the first of the other, the second with the second, and so on.
    - "deleted": paths that are only in `old`, without those that were renamed.
    - "added": paths that are only in `new`, without those that were renamed.
    """
    raise NotImplementedError


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
    raise NotImplementedError


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
    raise NotImplementedError


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
    raise NotImplementedError

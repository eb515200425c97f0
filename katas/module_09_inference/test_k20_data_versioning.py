"""Judges k20_data_versioning with hashlib, brute force on random folders, PyYAML, a full disk, and DVC where it is."""

import json
import os
import random
from pathlib import Path

import pytest

from dojo.testing import assert_equal, fail, from_scratch, pure, raises
from fixtures.folders import content, md5, traces
from fixtures.full_disk import disk_with_room_for
from katas.module_09_inference.k20_data_versioning import (
    Store,
    checkout,
    diff,
    manifest,
    read_manifest,
    read_pointer,
    snapshot,
    write_pointer,
)

pytestmark = [from_scratch("dvc", "dvc_data"), pure()]

ONE, TWO = "b026324c6904b2a9cb4b88d6d61c81d1", "26ab0db90d72e28ad0ba1e22ee510510"
OLD = {"a.csv": b"1\n", "b.csv": b"2\n", "sub/c.csv": b"3\n"}
NEW = {"a.csv": b"1\n", "b.csv": b"4\n", "d.csv": b"3\n", "e.csv": b"5\n"}
FOLDER, STORE = Path("data"), Path("store")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Every test works in a folder of its own, with relative paths."""
    monkeypatch.chdir(tmp_path)


def digests(files: dict[str, bytes]) -> dict[str, str]:
    return {path: md5(data) for path, data in files.items()}


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    """A folder with these files, by path and content."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def folders(folder: Path) -> list[str]:
    return sorted(
        os.path.relpath(os.path.join(top, name), folder) for top, names, _ in os.walk(folder) for name in names
    )


def aged(folder: Path) -> Path:
    """All files get a time that is long past, so that a file written anew shows."""
    for number, path in enumerate(content(folder)):
        os.utime(folder / path, (1_000_000 + number, 1_000_000 + number))
    return folder


def kept(store: Store, *versions: dict[str, bytes]) -> list[str]:
    """The keys of folders with these files."""
    return [snapshot(store, fill(Path(f"version{number}"), files)) for number, files in enumerate(versions)]


def plain(found: dict) -> dict:
    """A diff with pairs as tuples."""
    return {name: [tuple(one) if isinstance(one, list) else one for one in values] for name, values in found.items()}


class Random:
    """Random folders: few names and few contents, so that all cases come up."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def files(self) -> dict[str, bytes]:
        chosen: dict[str, bytes] = {}
        for _ in range(self.random.randint(0, 9)):
            path = "/".join(self.random.choice("abc") for _ in range(self.random.randint(1, 3)))
            clash = any(path.startswith(f"{other}/") or other.startswith(f"{path}/") for other in chosen)
            if not clash:
                chosen[path] = self.random.choice([b"1\n", b"2\n", b"3\n", b""])
        return chosen


class TestStore:
    def test_the_key_is_the_digest(self):
        store = Store(STORE)
        assert_equal([store.put(b"1\n"), store.put(b"2\n")], [ONE, TWO])

    @pytest.mark.parametrize("data", [b"", b"\r\n\x00\xff", "é\n".encode(), bytes(range(256)) * 300])
    def test_any_bytes_come_back(self, data):
        store = Store(STORE)
        key = store.put(data)
        assert_equal((key, store.get(key)), (md5(data), data))

    def test_lies_where_dvc_looks_for_it(self):
        Store(STORE).put(b"1\n")
        assert_equal(content(STORE), {f"{ONE[:2]}/{ONE[2:]}": b"1\n"})

    def test_a_suffix_follows_the_digest(self):
        store = Store(STORE)
        key = store.put(b"1\n", ".dir")
        assert_equal((key, store.get(key)), (f"{ONE}.dir", b"1\n"))
        assert_equal(content(STORE), {f"{ONE[:2]}/{ONE[2:]}.dir": b"1\n"})

    @pytest.mark.parametrize("suffix", ["", ".dir"])
    def test_with_a_suffix_it_is_another_key(self, suffix):
        store = Store(STORE)
        store.put(b"1\n", suffix)
        assert_equal([ONE in store, f"{ONE}.dir" in store], [suffix == "", suffix == ".dir"])
        store.put(b"1\n", ".dir" if suffix == "" else "")
        assert_equal([ONE in store, f"{ONE}.dir" in store], [True, True])

    def test_in(self):
        store = Store(STORE)
        store.put(b"1\n")
        assert_equal([ONE in store, TWO in store], [True, False])

    def test_makes_its_folder_and_those_above(self):
        store = Store(Path("x/y/z"))
        assert_equal(Path("x/y/z").is_dir(), True)
        store.put(b"1\n")
        assert_equal(list(content(Path("x/y/z"))), [f"{ONE[:2]}/{ONE[2:]}"])

    def test_an_absolute_folder(self, tmp_path):
        store = Store(tmp_path / "there")
        assert_equal(store.get(store.put(b"1\n")), b"1\n")
        assert_equal(list(content(tmp_path / "there")), [f"{ONE[:2]}/{ONE[2:]}"])

    def test_another_store_of_the_folder_has_the_same(self):
        first, second = Store(STORE), Store(STORE)
        key = first.put(b"1\n")
        assert_equal((key in second, second.get(key), Store(STORE).get(key)), (True, b"1\n", b"1\n"))

    def test_two_stores_share_nothing(self):
        first, second = Store(STORE), Store(Path("other"))
        first.put(b"1\n")
        assert_equal((ONE in second, content(Path("other"))), (False, {}))

    def test_what_is_there_isnt_written_again(self):
        store = Store(STORE)
        store.put(b"1\n")
        before = traces(aged(STORE))
        assert_equal(store.put(b"1\n"), ONE)
        assert_equal(Store(STORE).put(b"1\n"), ONE)
        assert_equal(traces(STORE) == before, True)

    def test_a_missing_key(self):
        store = Store(STORE)
        store.put(b"1\n")
        with raises(FileNotFoundError, TWO):
            store.get(TWO)

    @pytest.mark.parametrize("suffix", ["", ".dir"])
    @pytest.mark.parametrize("spoilt", [b"1", b"", b"2\n", b"1\n1\n"])
    def test_a_spoilt_content_is_refused(self, spoilt, suffix):
        store = Store(STORE)
        key = store.put(b"1\n", suffix)
        place = STORE / key[:2] / key[2:]
        place.chmod(0o644)
        place.write_bytes(spoilt)
        with raises(ValueError, key):
            store.get(key)

    def test_in_doesnt_look_at_the_content(self):
        store = Store(STORE)
        store.put(b"1\n")
        place = STORE / ONE[:2] / ONE[2:]
        place.chmod(0o644)
        place.write_bytes(b"2\n")
        assert_equal(ONE in store, True)

    def test_a_full_disk_leaves_no_half_content(self):
        store, data = Store(STORE), b"0123456789" * 50_000
        with disk_with_room_for(100_000), raises(OSError):
            store.put(data)
        assert_equal((md5(data) in store, md5(data) in Store(STORE)), (False, False))
        assert_equal(store.get(store.put(data)) == data, True)


class TestManifest:
    def test_the_example_worked_by_hand(self):
        found = manifest(fill(FOLDER, OLD))
        assert_equal(found, {"a.csv": ONE, "b.csv": TWO, "sub/c.csv": "6d7fce9fee471194aa8b5b6e47267f03"})

    def test_files_at_any_depth_and_of_any_name(self):
        files = {".hidden": b"a", ".git/config": b"b", "x/y/z/é ü.bin": b"\x00\r\n", "no_suffix": b"", "x/y.dvc": b"c"}
        assert_equal(manifest(fill(FOLDER, files)), digests(files))

    def test_equal_contents_have_equal_digests(self):
        assert_equal(manifest(fill(FOLDER, {"a": b"1\n", "b/a": b"1\n"})), {"a": ONE, "b/a": ONE})

    def test_empty_folders_leave_no_trace(self):
        (FOLDER / "x/y").mkdir(parents=True)
        assert_equal(manifest(FOLDER), {})

    def test_an_absolute_folder(self, tmp_path):
        assert_equal(manifest(fill(tmp_path / "data", {"s/a": b"1\n"})), {"s/a": ONE})

    def test_the_folder_isnt_changed(self):
        before = traces(aged(fill(FOLDER, OLD)))
        manifest(FOLDER)
        assert_equal((traces(FOLDER) == before, content(FOLDER)), (True, OLD))

    def test_only_the_content_counts(self):
        fill(FOLDER, {"a": b"1\n"})
        os.utime(FOLDER / "a", (5, 5))
        first = manifest(FOLDER)
        (FOLDER / "a").write_bytes(b"2\n")
        os.utime(FOLDER / "a", (5, 5))
        assert_equal([first, manifest(FOLDER)], [{"a": ONE}, {"a": TWO}])

    def test_no_folder(self):
        with raises(NotADirectoryError, "nowhere"):
            manifest(Path("nowhere"))

    def test_a_file_is_no_folder(self):
        Path("file.csv").write_bytes(b"1\n")
        with raises(NotADirectoryError, "file.csv"):
            manifest(Path("file.csv"))


class TestSnapshot:
    def test_the_drawing(self):
        store = Store(STORE)
        key = snapshot(store, fill(FOLDER, {"a.csv": b"1\n", "b.csv": b"2\n", "sub/c.csv": b"1\n"}))
        assert_equal(key, "3779e483e0213191eb0a44cfc238c4cf.dir")
        assert_equal(
            store.get(key).decode(),
            f'[{{"md5": "{ONE}", "relpath": "a.csv"}}, {{"md5": "{TWO}", "relpath": "b.csv"}}, '
            f'{{"md5": "{ONE}", "relpath": "sub/c.csv"}}]',
        )
        assert_equal(len(content(STORE)), 3)

    def test_an_empty_folder(self):
        FOLDER.mkdir()
        assert_equal(snapshot(Store(STORE), FOLDER), "d751713988987e9331980363e24189ce.dir")

    def test_all_contents_are_kept(self):
        store = Store(STORE)
        snapshot(store, fill(FOLDER, OLD))
        assert_equal([store.get(md5(data)) for data in OLD.values()], list(OLD.values()))

    def test_sorted_by_path_as_texts_are(self):
        names = ["a/b", "a-b", "a", "B", "a.b", "é", "z", "10", "9"]
        files = {name if name != "a" else "a/a": b"1\n" for name in names}
        store = Store(STORE)
        found = json.loads(store.get(snapshot(store, fill(FOLDER, files))))
        assert_equal([entry["relpath"] for entry in found], sorted(files))

    def test_letters_beyond_ascii_are_escaped_as_json_does(self):
        store = Store(STORE)
        text = store.get(snapshot(store, fill(FOLDER, {"é.csv": b"1\n"}))).decode()
        assert_equal(text, f'[{{"md5": "{ONE}", "relpath": "\\u00e9.csv"}}]')

    def test_equal_folders_have_equal_keys(self):
        store = Store(STORE)
        first = snapshot(store, fill(Path("one"), {"a": b"1\n", "b": b"2\n", "c/d": b"3\n"}))
        second = snapshot(store, fill(Path("two"), {"c/d": b"3\n", "b": b"2\n", "a": b"1\n"}))
        third = snapshot(store, fill(Path("three"), {"c/d": b"3\n", "a": b"2\n", "b": b"1\n"}))
        assert_equal([first == second, first == third], [True, False])

    def test_another_version_shares_what_is_equal(self):
        store = Store(STORE)
        snapshot(store, fill(FOLDER, OLD))
        before = traces(aged(STORE))
        (FOLDER / "b.csv").write_bytes(b"4\n")
        snapshot(store, FOLDER)
        after = traces(STORE)
        assert_equal(len(after) - len(before), 2)
        assert_equal({path: after[path] for path in before} == before, True)

    def test_the_folder_isnt_changed_and_stays_the_users(self):
        store = Store(STORE)
        before = traces(aged(fill(FOLDER, OLD)))
        key = snapshot(store, FOLDER)
        assert_equal((traces(FOLDER) == before, content(FOLDER)), (True, OLD))
        with open(FOLDER / "a.csv", "r+b") as file:
            file.write(b"9")
        assert_equal([store.get(ONE), read_manifest(store, key)["a.csv"]], [b"1\n", ONE])

    @pytest.mark.parametrize("name", ["nowhere", "file.csv"])
    def test_no_folder(self, name):
        Path("file.csv").write_bytes(b"1\n")
        with raises(NotADirectoryError, name):
            snapshot(Store(STORE), Path(name))


class TestReadManifest:
    @pytest.mark.parametrize("files", [OLD, {}, {"é ü/ß": b"", "x": b"\x00"}], ids=["old", "empty", "letters"])
    def test_what_snapshot_kept(self, files):
        store = Store(STORE)
        assert_equal(read_manifest(Store(STORE), snapshot(store, fill(FOLDER, files))), digests(files))

    def test_a_missing_manifest(self):
        with raises(FileNotFoundError, f"{ONE}.dir"):
            read_manifest(Store(STORE), f"{ONE}.dir")

    def test_a_spoilt_manifest(self):
        store = Store(STORE)
        key = snapshot(store, fill(FOLDER, OLD))
        place = STORE / key[:2] / key[2:]
        place.chmod(0o644)
        place.write_bytes(place.read_bytes().replace(b"a.csv", b"x.csv"))
        with raises(ValueError, key):
            read_manifest(store, key)


def brute_diff(old: dict[str, str], new: dict[str, str]) -> dict:
    """By the letter: for each digest, the n-th path that left goes with the n-th that came."""
    pairs, alone_old, alone_new = [], [], []
    for digest in {*old.values(), *new.values()}:
        left = sorted(path for path in old if old[path] == digest and path not in new)
        came = sorted(path for path in new if new[path] == digest and path not in old)
        number = min(len(left), len(came))
        pairs += zip(left[:number], came[:number], strict=True)
        alone_old += left[number:]
        alone_new += came[number:]
    modified = [path for path in old if path in new and old[path] != new[path]]
    return {
        "added": sorted(alone_new),
        "deleted": sorted(alone_old),
        "modified": sorted(modified),
        "renamed": sorted(pairs),
    }


class TestDiff:
    def test_the_example_worked_by_hand(self):
        found = diff(digests(OLD), digests(NEW))
        wanted = {"renamed": [("sub/c.csv", "d.csv")], "modified": ["b.csv"], "added": ["e.csv"], "deleted": []}
        assert_equal(plain(found), wanted)

    def test_nothing_changed(self):
        wanted = {"added": [], "deleted": [], "modified": [], "renamed": []}
        assert_equal([diff({}, {}), diff({"a": ONE}, {"a": ONE})], [wanted, wanted])

    def test_all_lists_are_sorted(self):
        old = {"z": "0", "y": "1", "c": "2", "b": "3", "q": "8", "p": "9"}
        new = {"n": "4", "m": "5", "c": "6", "b": "7", "r": "9", "s": "8"}
        wanted = {
            "added": ["m", "n"],
            "deleted": ["y", "z"],
            "modified": ["b", "c"],
            "renamed": [("p", "r"), ("q", "s")],
        }
        assert_equal(plain(diff(old, new)), wanted)

    def test_two_files_that_swap_contents_are_modified(self):
        wanted = {"added": [], "deleted": [], "modified": ["a", "b"], "renamed": []}
        assert_equal(diff({"a": "1", "b": "2"}, {"a": "2", "b": "1"}), wanted)

    def test_a_copy_is_added(self):
        wanted = {"added": ["b"], "deleted": [], "modified": [], "renamed": []}
        assert_equal(diff({"a": "1"}, {"a": "1", "b": "1"}), wanted)

    def test_one_of_two_copies_is_deleted(self):
        wanted = {"added": [], "deleted": ["b"], "modified": [], "renamed": []}
        assert_equal(diff({"a": "1", "b": "1"}, {"a": "1"}), wanted)

    def test_several_with_the_same_contents_are_paired_in_order(self):
        found = diff({"c": "1", "a": "1", "b": "1"}, {"z": "1", "y": "1"})
        assert_equal(plain(found), {"added": [], "deleted": ["c"], "modified": [], "renamed": [("a", "y"), ("b", "z")]})

    def test_more_come_than_leave(self):
        found = diff({"m": "1"}, {"z": "1", "b": "1", "k": "1"})
        assert_equal(plain(found), {"added": ["k", "z"], "deleted": [], "modified": [], "renamed": [("m", "b")]})

    def test_pairs_of_several_digests_are_sorted_together(self):
        found = diff({"a": "1", "c": "1", "b": "2"}, {"x": "1", "z": "1", "y": "2"})
        expected = {"added": [], "deleted": [], "modified": [], "renamed": [("a", "x"), ("b", "y"), ("c", "z")]}
        assert_equal(plain(found), expected)

    @pytest.mark.parametrize("seed", range(25))
    def test_brute_force_on_random_folders(self, seed):
        draw = Random(seed)
        old, new = digests(draw.files()), digests(draw.files())
        assert_equal(plain(diff(old, new)), brute_diff(old, new))


class TestCheckout:
    def test_the_example_worked_by_hand(self):
        store = Store(STORE)
        _, key = kept(store, OLD, NEW)
        found = checkout(store, key, fill(FOLDER, OLD))
        assert_equal(content(FOLDER), NEW)
        assert_equal(folders(FOLDER), [])
        wanted = {"added": ["e.csv"], "deleted": [], "modified": ["b.csv"], "renamed": [("sub/c.csv", "d.csv")]}
        assert_equal(plain(found), wanted)

    def test_into_a_folder_that_isnt_there(self):
        store = Store(STORE)
        [key] = kept(store, OLD)
        found = checkout(store, key, Path("x/y/data"))
        assert_equal(content(Path("x/y/data")), OLD)
        assert_equal(plain(found), {"added": sorted(OLD), "deleted": [], "modified": [], "renamed": []})

    def test_an_absolute_folder(self, tmp_path):
        store = Store(STORE)
        [key] = kept(store, OLD)
        fill(tmp_path / "far/data", {"b.csv": b"3\n", "t/x": b"1\n"})
        checkout(store, key, tmp_path / "far/data")
        assert_equal(content(tmp_path / "far/data"), OLD)

    def test_an_empty_version_leaves_an_empty_folder(self):
        store = Store(STORE)
        key, _ = kept(store, {}, OLD)
        checkout(store, key, fill(FOLDER, OLD))
        assert_equal((FOLDER.is_dir(), content(FOLDER), folders(FOLDER)), (True, {}, []))

    def test_an_empty_version_makes_the_folder(self):
        store = Store(STORE)
        [key] = kept(store, {})
        checkout(store, key, FOLDER)
        assert_equal((FOLDER.is_dir(), content(FOLDER)), (True, {}))

    def test_what_is_right_isnt_touched(self):
        store = Store(STORE)
        _, key = kept(store, OLD, {**OLD, "b.csv": b"4\n"})
        before = traces(aged(fill(FOLDER, OLD)))
        checkout(store, key, FOLDER)
        after = traces(FOLDER)
        assert_equal([path for path in OLD if after[path] == before[path]], ["a.csv", "sub/c.csv"])

    def test_nothing_is_written_the_second_time(self):
        store = Store(STORE)
        [key] = kept(store, OLD)
        checkout(store, key, FOLDER)
        before = traces(aged(FOLDER))
        found = checkout(store, key, FOLDER)
        assert_equal(
            (traces(FOLDER) == before, found), (True, {"added": [], "deleted": [], "modified": [], "renamed": []})
        )

    def test_there_and_back(self):
        store = Store(STORE)
        old, new = kept(store, OLD, NEW)
        for key, wanted in [(old, OLD), (new, NEW), (old, OLD), (old, OLD), (new, NEW)]:
            checkout(store, key, FOLDER)
            assert_equal(content(FOLDER), wanted)

    def test_the_store_isnt_changed(self):
        store = Store(STORE)
        _, key = kept(store, OLD, NEW)
        before = traces(aged(STORE))
        checkout(store, key, fill(FOLDER, OLD))
        assert_equal(traces(STORE) == before, True)

    def test_editing_a_file_doesnt_change_the_store(self):
        store = Store(STORE)
        [key] = kept(store, OLD)
        checkout(store, key, FOLDER)
        with open(FOLDER / "a.csv", "r+b") as file:
            file.write(b"9")
        assert_equal((store.get(ONE), content(FOLDER)["a.csv"]), (b"1\n", b"9\n"))

    def test_a_hard_link_keeps_the_old_contents(self):
        store = Store(STORE)
        _, key = kept(store, OLD, NEW)
        os.link(fill(FOLDER, OLD) / "b.csv", "linked.csv")
        checkout(store, key, FOLDER)
        assert_equal((content(FOLDER)["b.csv"], Path("linked.csv").read_bytes()), (b"4\n", b"2\n"))

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ({"a": b"1\n"}, {"a/b": b"2\n"}),
            ({"a": b"1\n"}, {"a/b": b"1\n", "a/c/d": b"2\n"}),
            ({"a/b": b"1\n"}, {"a": b"2\n"}),
            ({"a/b/c": b"1\n", "a/d": b"2\n"}, {"a": b"2\n"}),
            ({"a/b/c": b"1\n", "a/d": b"2\n"}, {"a/b": b"1\n", "a/d/e": b"2\n"}),
        ],
    )
    def test_a_file_becomes_a_folder_or_a_folder_a_file(self, old, new):
        store = Store(STORE)
        _, key = kept(store, old, new)
        checkout(store, key, fill(FOLDER, old))
        assert_equal(content(FOLDER), new)

    def test_empty_folders_make_way_for_a_file(self):
        store = Store(STORE)
        [key] = kept(store, {"a": b"1\n"})
        (FOLDER / "a/b/c").mkdir(parents=True)
        (FOLDER / "a/d").mkdir(parents=True)
        checkout(store, key, FOLDER)
        assert_equal(content(FOLDER), {"a": b"1\n"})

    def test_folders_that_lose_their_last_file_are_removed(self):
        store = Store(STORE)
        old = {"a/b/c": b"1\n", "d/e": b"2\n", "d/f": b"1\n", "g/h/i": b"1\n", "g/j": b"2\n"}
        _, key = kept(store, old, {"d/e": b"2\n", "g/j": b"2\n"})
        checkout(store, key, fill(FOLDER, old))
        assert_equal(folders(FOLDER), ["d", "g"])

    def test_a_folder_that_was_empty_before_is_no_hindrance(self):
        store = Store(STORE)
        _, key = kept(store, {"a/b": b"1\n"}, {})
        fill(FOLDER, {"a/b": b"1\n"}).joinpath("a/c/d").mkdir(parents=True)
        checkout(store, key, FOLDER)
        assert_equal((FOLDER.is_dir(), content(FOLDER)), (True, {}))

    def test_no_other_file_is_used_for_what_isnt_finished(self):
        names = [
            "tmp",
            ".tmp",
            "temp",
            "b.csv.tmp",
            ".b.csv.tmp",
            "b.csv.new",
            "b.csv.part",
            "b.csv~",
            "b.tmp",
            "b.new",
        ]
        others = dict.fromkeys(names, b"1\n")
        store = Store(STORE)
        _, key = kept(store, {**OLD, **others}, {**NEW, **others})
        before = traces(aged(fill(FOLDER, {**OLD, **others})))
        checkout(store, key, FOLDER)
        after = traces(FOLDER)
        assert_equal([name for name in names if after.get(name) != before[name]], [])

    @pytest.mark.parametrize("seed", range(20))
    def test_any_version_to_any_other(self, seed):
        draw = Random(seed)
        old, new = draw.files(), draw.files()
        store = Store(STORE)
        _, key = kept(store, old, new)
        before = traces(aged(fill(FOLDER, old)))
        found = checkout(store, key, FOLDER)
        assert_equal(content(FOLDER), dict(sorted(new.items())))
        assert_equal(plain(found), brute_diff(digests(old), digests(new)))
        after, same = traces(FOLDER), [path for path in old if new.get(path) == old[path]]
        assert_equal([path for path in same if after[path] != before[path]], [])

    def test_an_edited_file_isnt_lost(self):
        store = Store(STORE)
        _, key = kept(store, OLD, NEW)
        edited = fill(FOLDER, {**OLD, "b.csv": b"9\n"})
        before = traces(aged(edited))
        with raises(FileExistsError, "b.csv"):
            checkout(store, key, FOLDER)
        assert_equal((content(FOLDER), traces(FOLDER) == before), ({**OLD, "b.csv": b"9\n"}, True))

    def test_a_new_file_isnt_lost(self):
        store = Store(STORE)
        [key] = kept(store, OLD)
        fill(FOLDER, {**OLD, "sub/mine.txt": b"9\n"})
        with raises(FileExistsError, "sub/mine.txt"):
            checkout(store, key, FOLDER)
        assert_equal(content(FOLDER), {**OLD, "sub/mine.txt": b"9\n"})

    def test_an_empty_file_isnt_lost(self):
        store = Store(STORE)
        [key] = kept(store, OLD)
        fill(FOLDER, {**OLD, "__init__.py": b""})
        with raises(FileExistsError, "__init__.py"):
            checkout(store, key, FOLDER)
        assert_equal(content(FOLDER), dict(sorted({**OLD, "__init__.py": b""}.items())))

    def test_a_copy_in_the_folder_isnt_the_store(self):
        store = Store(STORE)
        [key] = kept(store, OLD)
        (STORE / TWO[:2] / TWO[2:]).unlink()
        fill(FOLDER, {**OLD, "copy.csv": b"2\n"})
        with raises(FileExistsError, "copy.csv"):
            checkout(store, key, FOLDER)

    def test_all_that_would_be_lost_are_named(self):
        store = Store(STORE)
        [key] = kept(store, OLD)
        mine = {
            "a.csv": b"7\n",
            "b.csv": b"2\n",
            "old": b"1\n",
            "sub/c.csv": b"8\n",
            "sub/mine.txt": b"9\n",
            "zz": b"7\n",
        }
        fill(FOLDER, mine)
        with raises(FileExistsError, "a.csv", "sub/c.csv", "sub/mine.txt", "zz") as error:
            checkout(store, key, FOLDER)
        found = [
            name for name in ("b.csv", "old") if name in str(error.value)
        ]  # the one stays, the store has the other
        assert_equal((found, content(FOLDER)), ([], mine))

    def test_what_the_store_has_may_go(self):
        store = Store(STORE)
        key, *_ = kept(store, OLD, {"elsewhere": b"9\n"})
        fill(FOLDER, {"a.csv": b"9\n", "b.csv": b"3\n", "new": b"9\n"})
        checkout(store, key, FOLDER)
        assert_equal(content(FOLDER), OLD)

    def test_a_manifest_doesnt_keep_what_isnt_in_the_store(self):
        # A version is known, but one of its contents has left the store since.
        store = Store(STORE)
        old, new = kept(store, OLD, NEW)
        (STORE / TWO[:2] / TWO[2:]).unlink()
        fill(FOLDER, OLD)
        with raises(FileExistsError, "b.csv"):
            checkout(store, new, FOLDER)
        assert_equal((content(FOLDER), sorted(read_manifest(store, old))), (OLD, sorted(OLD)))

    def test_edited_but_right_is_no_danger(self):
        store = Store(STORE)
        [key] = kept(store, OLD)
        (STORE / TWO[:2] / TWO[2:]).unlink()
        fill(FOLDER, {**OLD, "a.csv": b"2\n"}).joinpath("a.csv").write_bytes(b"1\n")
        before = traces(aged(FOLDER))
        checkout(store, key, FOLDER)  # b.csv stays, so that it needn't be in the store
        assert_equal((content(FOLDER), traces(FOLDER) == before), (OLD, True))

    def test_force(self):
        store = Store(STORE)
        [key] = kept(store, OLD)
        fill(FOLDER, {"a.csv": b"9\n", "b.csv": b"2\n", "own/mine": b"8\n"})
        found = checkout(store, key, FOLDER, force=True)
        assert_equal((content(FOLDER), folders(FOLDER)), (OLD, ["sub"]))
        wanted = {"added": ["sub/c.csv"], "deleted": ["own/mine"], "modified": ["a.csv"], "renamed": []}
        assert_equal(plain(found), wanted)

    @pytest.mark.parametrize("data", [b"4\n", b"5\n"])
    @pytest.mark.parametrize("force", [False, True])
    def test_a_missing_content_is_noticed_before_anything_changes(self, force, data):
        store = Store(STORE)
        _, key = kept(store, OLD, NEW)
        (STORE / md5(data)[:2] / md5(data)[2:]).unlink()
        before = traces(aged(fill(FOLDER, OLD)))
        with raises(FileNotFoundError, md5(data)):
            checkout(store, key, FOLDER, force)
        assert_equal((content(FOLDER), traces(FOLDER) == before), (OLD, True))

    @pytest.mark.parametrize("force", [False, True])
    def test_a_missing_manifest(self, force):
        store = Store(STORE)
        fill(FOLDER, OLD)
        with raises(FileNotFoundError, f"{ONE}.dir"):
            checkout(store, f"{ONE}.dir", FOLDER, force)
        assert_equal(content(FOLDER), OLD)

    def test_a_spoilt_content_doesnt_take_the_file_away(self):
        store = Store(STORE)
        _, key = kept(store, OLD, {"b.csv": b"4\n"})
        place = STORE / md5(b"4\n")[:2] / md5(b"4\n")[2:]
        place.chmod(0o644)
        place.write_bytes(b"x\n")
        fill(FOLDER, OLD)
        with raises(ValueError, md5(b"4\n")):
            checkout(store, key, FOLDER)
        assert_equal(content(FOLDER).get("b.csv"), b"2\n")

    def test_a_full_disk_leaves_the_file_as_it_was(self):
        store, large = Store(STORE), b"0123456789" * 50_000
        _, key = kept(store, {"b": b"2\n"}, {"b": large})
        fill(FOLDER, {"b": b"2\n"})
        with disk_with_room_for(100_000), raises(OSError):
            checkout(store, key, FOLDER)
        if len(content(FOLDER).get("b", b"")) > 2:
            fail("The disk was full, and now there is half a file in the place of the old one.", evidence="half")
        if set(content(FOLDER)) - {"b"}:
            fail("The disk was full, and an unfinished file is left in the folder.", evidence="unfinished")
        assert_equal(content(FOLDER), {"b": b"2\n"})
        checkout(store, key, FOLDER)
        assert_equal(content(FOLDER) == {"b": large}, True)


def yaml_of(pointer: Path) -> dict:
    yaml = pytest.importorskip("yaml", reason="needs PyYAML: pip install pyyaml")
    return yaml.safe_load(pointer.read_text(encoding="utf-8"))


# Two contents whose digests consist of decimal digits only, and of such and one "e": YAML takes both for numbers.
DIGITS, EXPONENT = b"682577\n", b"574565\n"
NAMES = [
    "data.csv",
    "yes",
    "null",
    "1.5",
    "2026-12-02",
    "a: b.csv",
    "#1.csv",
    "it's.csv",
    'say "x".csv',
    " x ",
    "- a",
    "é ü.csv",
    "🙂",
]


class TestWritePointer:
    def test_of_a_file(self):
        store = Store(STORE)
        Path("b.csv").write_bytes(b"2\n")
        pointer = write_pointer(store, Path("b.csv"))
        assert_equal((str(pointer), store.get(TWO)), ("b.csv.dvc", b"2\n"))
        assert_equal(yaml_of(pointer), {"outs": [{"md5": TWO, "size": 2, "hash": "md5", "path": "b.csv"}]})

    def test_of_a_folder(self):
        store = Store(STORE)
        pointer = write_pointer(store, fill(FOLDER, {**OLD, "x/y": b"12345"}))
        key = snapshot(store, FOLDER)
        assert_equal((str(pointer), read_manifest(store, key)), ("data.dvc", digests({**OLD, "x/y": b"12345"})))
        wanted = {"md5": key, "size": 11, "nfiles": 4, "hash": "md5", "path": "data"}
        assert_equal(yaml_of(pointer), {"outs": [wanted]})

    def test_equal_contents_count_each(self):
        pointer = yaml_of(write_pointer(Store(STORE), fill(FOLDER, {"a": b"123", "b": b"123", "c": b"4"})))
        assert_equal((pointer["outs"][0]["size"], pointer["outs"][0]["nfiles"]), (7, 3))

    def test_of_an_empty_folder(self):
        FOLDER.mkdir()
        wanted = {"md5": "d751713988987e9331980363e24189ce.dir", "size": 0, "nfiles": 0, "hash": "md5", "path": "data"}
        assert_equal(yaml_of(write_pointer(Store(STORE), FOLDER)), {"outs": [wanted]})

    def test_lies_beside_what_it_points_to(self, tmp_path):
        store = Store(STORE)
        fill(tmp_path / "x", {"y.tar.gz": b"1\n", "z/a": b"2\n"})
        assert_equal(write_pointer(store, Path("x/y.tar.gz")), Path("x/y.tar.gz.dvc"))
        assert_equal(write_pointer(store, tmp_path / "x/z"), tmp_path / "x/z.dvc")
        assert_equal([read_pointer(Path(name))["path"] for name in ("x/y.tar.gz.dvc", "x/z.dvc")], ["y.tar.gz", "z"])
        assert_equal(sorted(content(Path("x"))), ["y.tar.gz", "y.tar.gz.dvc", "z.dvc", "z/a"])

    @pytest.mark.parametrize("name", NAMES)
    def test_whatever_the_file_is_called(self, name):
        Path(name).write_bytes(b"2\n")
        [entry] = yaml_of(write_pointer(Store(STORE), Path(name)))["outs"]
        assert_equal(entry["path"], name)

    @pytest.mark.parametrize("data", [DIGITS, EXPONENT])
    def test_a_digest_that_looks_like_a_number(self, data):
        Path("a").write_bytes(data)
        [entry] = yaml_of(write_pointer(Store(STORE), Path("a")))["outs"]
        assert_equal(entry["md5"], md5(data))

    def test_an_old_pointer_is_replaced(self):
        store = Store(STORE)
        for data, size in [(b"12345678", 8), (b"2\n", 2)]:
            Path("b.csv").write_bytes(data)
            pointer = write_pointer(store, Path("b.csv"))
            assert_equal(read_pointer(pointer), {"md5": md5(data), "size": size, "path": "b.csv"})

    def test_the_file_isnt_changed(self):
        Path("b.csv").write_bytes(b"2\n")
        os.utime("b.csv", (5, 5))
        write_pointer(Store(STORE), Path("b.csv"))
        assert_equal((Path("b.csv").read_bytes(), os.stat("b.csv").st_mtime), (b"2\n", 5.0))

    def test_nothing_there(self):
        with raises(FileNotFoundError, "nowhere"):
            write_pointer(Store(STORE), Path("nowhere"))
        assert_equal(Path("nowhere.dvc").exists(), False)

    @pytest.mark.slow
    def test_dvc_checks_it_out(self, tmp_path):
        pytest.importorskip("dvc", reason="needs DVC: pip install dvc==3.67.1")
        from dvc.repo import Repo

        Repo.init(no_scm=True).close()
        store = Store(Path(".dvc/cache/files/md5"))
        Path("b.csv").write_bytes(DIGITS)
        for path in (fill(FOLDER, {**OLD, "é ü.csv": b"5\n"}), Path("b.csv")):
            write_pointer(store, path)
            path.rename(f"was_{path}")
        with Repo() as repo:
            repo.checkout()
        assert_equal(content(FOLDER), content(Path("was_data")))
        assert_equal(Path("b.csv").read_bytes(), DIGITS)


def pointer(text: str) -> Path:
    Path("x.dvc").write_text(text, encoding="utf-8", newline="\n")
    return Path("x.dvc")


class TestReadPointer:
    @pytest.mark.parametrize("name", NAMES)
    def test_what_write_pointer_writes(self, name):
        Path(name).write_bytes(b"2\n")
        assert_equal(read_pointer(write_pointer(Store(STORE), Path(name))), {"md5": TWO, "size": 2, "path": name})

    def test_of_a_folder(self):
        store = Store(STORE)
        found = read_pointer(write_pointer(store, fill(FOLDER, OLD)))
        assert_equal(found, {"md5": snapshot(store, FOLDER), "size": 6, "nfiles": 3, "path": "data"})

    def test_what_dvc_writes_for_a_file(self):
        found = read_pointer(pointer(f"outs:\n- md5: {TWO}\n  size: 2\n  hash: md5\n  path: b.csv\n"))
        assert_equal(found, {"md5": TWO, "size": 2, "path": "b.csv"})

    def test_what_dvc_writes_for_a_folder(self):
        found = read_pointer(pointer(f"outs:\n- md5: {TWO}.dir\n  size: 14\n  nfiles: 3\n  hash: md5\n  path: data\n"))
        assert_equal(found, {"md5": f"{TWO}.dir", "size": 14, "nfiles": 3, "path": "data"})

    def test_keys_in_any_order_and_others(self):
        found = read_pointer(pointer(f"outs:\n- path: b.csv\n  cache: false\n  desc: 'path: x'\n  md5: {TWO}\n"))
        assert_equal(found, {"md5": TWO, "path": "b.csv"})

    def test_indented_and_with_blanks(self):
        found = read_pointer(pointer(f"outs:  \n    -   md5:   {TWO}  \n        path:  my data.csv  \n"))
        assert_equal(found, {"md5": TWO, "path": "my data.csv"})

    def test_a_blank_before_the_colon(self):
        found = read_pointer(pointer(f"outs:\n- md5 : {TWO}\n  size : 2\n  path : b.csv\n"))
        assert_equal(found, {"md5": TWO, "size": 2, "path": "b.csv"})

    def test_an_entry_that_begins_on_the_next_line(self):
        found = read_pointer(pointer(f"outs:\n-\n md5: {TWO}\n size: 2\n path: b.csv\n"))
        assert_equal(found, {"md5": TWO, "size": 2, "path": "b.csv"})

    @pytest.mark.parametrize(
        ("written", "name"),
        [
            ("'it''s.csv'", "it's.csv"),
            ("'1.5'", "1.5"),
            ("''''''", "''"),
            (r"'a\n'", r"a\n"),
            ('"say \\"x\\""', 'say "x"'),
            ('"\\u00e9 \\\\ "', "é \\ "),
            ("a:b", "a:b"),
            ("it's", "it's"),
            ("a#b", "a#b"),
            ("- x", "- x"),
        ],
    )
    def test_quotes(self, written, name):
        found = read_pointer(pointer(f"outs:\n- md5: '{'1' * 32}'\n  path: {written}\n"))
        assert_equal(found, {"md5": "1" * 32, "path": name})

    def test_a_plain_digest_is_a_text(self):
        assert_equal(read_pointer(pointer(f"outs:\n- md5: {'1' * 32}\n  path: 15\n")), {"md5": "1" * 32, "path": "15"})

    def test_other_parts_of_the_file(self):
        text = (
            "# path: no\n\ndesc: where it comes from\ndeps:\n- path: source.csv\n  md5: "
            f"{ONE}\n  size: 7\nfrozen: true\nouts:\n# md5: no\n- md5: {TWO}\n\n  # path: no\n  path: b.csv\n"
            "meta:\n  path: other\n  md5: other\n"
        )
        assert_equal(read_pointer(pointer(text)), {"md5": TWO, "path": "b.csv"})

    @pytest.mark.parametrize(
        "text",
        [
            "",
            f"deps:\n- md5: {TWO}\n  path: b.csv\n",
            "outs:\n- path: b.csv\n  size: 2\n",
            f"outs:\n- md5: {TWO}\n  size: 2\n",
            f"outs:\n- md5: {TWO}\nmeta:\n  path: b.csv\n",
        ],
    )
    def test_no_pointer(self, text):
        with raises(ValueError, "x.dvc"):
            read_pointer(pointer(text))

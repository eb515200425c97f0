"""The record survives what happens to files: killed processes, two writers, damage, no place to write."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from dojo.learner.record import SCHEMA, Attempt, Record, RecordError, hash_file


def attempt(kata="rope", n=0, **changes):
    fields = {
        "at": f"2026-01-01T00:00:{n % 60:02}.000+00:00",
        "tree": "yours",
        "colours": {"test_a": "green", "test_b": "red"},
        "seconds": 0.5,
        "file_hash": f"{n:016x}",
        "tests_hash": "t" * 16,
        "hints": 0,
        "whole": True,
    }
    return Attempt(kata, **{**fields, **changes})


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".dojo" / "record.sqlite"


def aside(path):
    return sorted(p.name for p in path.parent.iterdir() if "corrupt" in p.name)


def run(code: str, *arguments: object, **options) -> subprocess.Popen[str]:
    """Another process that knows `attempt` and `Record`."""
    begin = "import sys; from pathlib import Path; from dojo.learner.record import Record\n"
    begin += "from tests.learner.test_record import attempt\npath = Path(sys.argv[1])\n"
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", begin + code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


class TestTheLog:
    def test_an_attempt_comes_back_as_it_was(self, path):
        one = attempt(colours={"test_a[λ-2]": "amber"}, whole=False, hints=2, tree="/a tree")
        with Record(path) as record:
            record.add(one)
        with Record(path) as record:
            assert record.attempts(tree="/a tree") == [one]
            assert record.attempts() == []
            assert record.attempts(tree=None) == [one]

    def test_the_oldest_stands_first_and_the_latest_last(self, path):
        with Record(path) as record:
            record.add(*[attempt("rope", n) for n in range(3)], attempt("gqa", 9))
            record.add(attempt("rope", 3, tree="reference"))
            assert [a.file_hash for a in record.attempts("rope")] == [f"{n:016x}" for n in range(3)]
            assert record.latest("rope") == attempt("rope", 2)
            assert record.latest() == attempt("gqa", 9)
            assert record.latest("mha") is None
            assert record.count("rope") == 3

    @pytest.mark.parametrize(
        ("colours", "colour"),
        [
            (["green", "green"], "green"),
            (["green", "todo"], "todo"),
            (["todo", "red", "green"], "red"),
            (["red", "amber", "todo"], "amber"),
            (["green", "skipped"], "green"),
            ([], "todo"),
        ],
    )
    def test_the_colour_is_what_needs_attention_first(self, colours, colour):
        one = attempt(colours={str(i): c for i, c in enumerate(colours)})
        assert one.colour == colour
        assert one.solved == (colour == "green")

    def test_a_part_of_the_tests_solves_nothing(self):
        assert not attempt(colours={"a": "green"}, whole=False).solved

    def test_hints_are_counted_up(self, path):
        with Record(path) as record:
            assert record.hints_seen("rope") == 0
            for tier in (1, 2, 1):
                record.see_hint("rope", tier)
            assert record.hints_seen("rope") == 2
            assert record.hints_seen("gqa") == 0

    @pytest.mark.parametrize("change", ["DELETE FROM attempts", "UPDATE attempts SET colours = '{}'"])
    def test_it_is_append_only(self, path, change):
        with Record(path) as record:
            record.add(attempt())
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                record._db.execute(change)

    def test_all_attempts_of_a_run_are_added_or_none(self, path):
        with Record(path) as record:
            with pytest.raises(RecordError, match="NOT NULL"):
                record.add(attempt(n=1), attempt(n=2, file_hash=None))
            assert record.attempts() == []
            record.add(attempt(n=3))
            assert len(record.attempts()) == 1

    def test_a_damaged_line_loses_no_other(self, path):
        with Record(path) as record:
            record.add(attempt(n=1))
            row = ("rope", "at", "yours", "{not json", 0.1, "f", "t", 0, 1)
            record._db.execute(f"INSERT INTO attempts VALUES (NULL{',?' * 9})", row)
            record.add(attempt(n=2))
            assert record.attempts() == [attempt(n=1), attempt(n=2)]

    def test_hash_of_a_file(self, tmp_path):
        file = tmp_path / "x"
        file.write_bytes(b"abc")
        assert hash_file(file) == "ba7816bf8f01cfea"
        assert hash_file(tmp_path / "none") == hash_file(file / "none") == ""


class TestProcesses:
    def test_kill_9_in_the_middle_of_a_write(self, path):
        """Whatever a writer said it had written is there, and the file is sound."""
        code = "record = Record(path)\nfor n in range(10**6):\n"
        code += "    record.add(attempt(n=n), attempt('gqa', n))\n    print(n, flush=True)"
        for turn in range(3):
            path = path.with_name(f"record{turn}.sqlite")
            process = run(code, path)
            said = [process.stdout.readline() for _ in range(20)]
            os.kill(process.pid, signal.SIGKILL)
            said += process.stdout.read().splitlines(keepends=True)
            process.wait()
            written = len([line for line in said if line.endswith("\n")])
            assert written >= 20
            with Record(path) as record:
                assert record._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                ropes, others = record.attempts("rope"), record.attempts("gqa")
                assert len(ropes) == len(others)  # no half of a run
                assert len(ropes) in (written, written + 1)
                record.add(attempt())
        assert aside(path) == []

    def test_killed_with_a_transaction_open(self, path):
        code = "import time\nrecord = Record(path)\nrecord.add(attempt(n=1))\n"
        code += "record._db.execute('BEGIN IMMEDIATE')\n"
        code += "record._db.execute(\"INSERT INTO hints VALUES (1, 'a', 1, 'b')\")\n"
        process = run(code + "print('open', flush=True)\ntime.sleep(60)", path)
        assert process.stdout.readline() == "open\n"
        process.kill()
        process.wait()
        with Record(path) as record:
            assert record.attempts() == [attempt(n=1)]
            assert record.hints_seen("a") == 0
            record.add(attempt(n=2))

    def test_processes_that_begin_and_write_at_once(self, path):
        code = "for n in range(40):\n    with Record(path) as record: record.add(attempt(sys.argv[2], n))"
        processes = [run(code, path, name) for name in ("a", "b", "c")]
        for process in processes:
            assert (process.communicate()[1], process.returncode) == ("", 0)
        with Record(path) as record:
            for name in ("a", "b", "c"):
                assert record.attempts(name) == [attempt(name, n) for n in range(40)]

    def test_a_writer_waits_for_the_other(self, path):
        code = "import time\nrecord = Record(path)\nrecord._db.execute('BEGIN IMMEDIATE')\n"
        code += "print(1, flush=True)\n"
        code += "time.sleep(0.5); print(time.monotonic()); record._db.execute('COMMIT')"
        process = run(code, path)
        process.stdout.readline()
        with Record(path) as record:
            record.add(attempt())
        assert time.monotonic() > float(process.stdout.readline())  # one clock for both
        process.wait()


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path):
    path.write_bytes(b"not a database at all " * 500)


def scribble(path):
    """Damage that shows only when the rows are read."""
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)


class TestDamage:
    @pytest.fixture
    def filled(self, path):
        with Record(path) as record:
            record.add(*[attempt(n=n) for n in range(200)])
        for suffix in ("-wal", "-shm"):
            assert not path.with_name(path.name + suffix).exists()
        return path

    @pytest.mark.parametrize("damage", [truncate, overwrite, scribble])
    def test_a_corrupt_file_is_moved_aside_with_a_message(self, filled, damage, capfd):
        damage(filled)
        damaged = filled.read_bytes()
        with Record(filled) as record:
            assert record.attempts() == []
            record.add(attempt())
            assert record.attempts() == [attempt()]
            assert len(record.notes) == 1
        (kept,) = aside(filled)
        assert (filled.parent / kept).read_bytes() == damaged
        said = capfd.readouterr().err
        assert "corrupt" in said
        assert kept in said

    @pytest.mark.parametrize("damage", [overwrite, scribble])
    def test_damage_is_found_on_writing_too(self, filled, damage):
        damage(filled)
        with Record(filled) as record:
            record.add(attempt())
            assert record.attempts() == [attempt()]
        assert len(aside(filled)) == 1

    def test_its_log_goes_with_it(self, filled):
        overwrite(filled)
        filled.with_name(filled.name + "-wal").write_bytes(b"rest")
        with Record(filled) as record:
            record.add(attempt())
        assert len(aside(filled)) == 2
        assert any(name.endswith("-wal") for name in aside(filled))

    def test_a_second_one_does_not_replace_the_first(self, filled):
        for n in range(3):
            filled.write_bytes(b"damage %d " % n * 400)
            Record(filled).close()
        assert len(aside(filled)) == 3

    def test_two_processes_that_find_it_move_it_once(self, filled):
        overwrite(filled)
        code = "import time\nfrom dojo.learner import record as r\nmove = r.Record._set_aside\n"
        code += "def slow(self, error):\n    print('found', flush=True)\n    sys.stdin.readline()\n"
        code += "    move(self, error)\n"
        code += "r.Record._set_aside = slow\nwith Record(path) as record: record.add(attempt(sys.argv[2]))"
        processes = [run(code, filled, name, stdin=subprocess.PIPE) for name in ("a", "b")]
        for process in processes:
            assert process.stdout.readline() == "found\n"
        for process in processes:
            assert process.communicate("go\n")[0] == ""
            assert process.returncode == 0
        assert len(aside(filled)) == 1
        with Record(filled) as record:
            assert {a.kata for a in record.attempts()} == {"a", "b"}

    def test_an_empty_file_is_a_record_to_begin(self, path):
        path.parent.mkdir()
        path.touch()
        with Record(path) as record:
            record.add(attempt())
        assert aside(path) == []


class TestOtherFiles:
    def test_a_newer_version_is_left_alone(self, path):
        Record(path).close()
        db = sqlite3.connect(path)
        db.execute("PRAGMA user_version = 7")
        db.close()
        before = path.read_bytes()
        with pytest.raises(RecordError, match=f"newer ml-dojo.*7.*{SCHEMA}.*Update"):
            Record(path)
        assert path.read_bytes() == before
        assert aside(path) == []

    def test_another_programs_database_is_left_alone(self, path):
        path.parent.mkdir()
        db = sqlite3.connect(path)
        db.execute("CREATE TABLE songs (x)")
        db.commit()
        db.close()
        before = path.read_bytes()
        with pytest.raises(RecordError, match="songs"):
            Record(path)
        assert path.read_bytes() == before

    def test_a_full_disk(self, path):
        with Record(path) as record:
            record.add(attempt(n=1))
            pages = record._db.execute("PRAGMA page_count").fetchone()[0]
            record._db.execute(f"PRAGMA max_page_count = {pages}")
            with pytest.raises(RecordError, match="full"):
                record.add(*[attempt(n=n) for n in range(2000)])
            assert record.attempts() == [attempt(n=1)]
            record.add(attempt(n=2))

    def test_a_place_where_no_folder_can_be(self, tmp_path):
        (tmp_path / ".dojo").write_text("a file")
        with Record(tmp_path / ".dojo" / "record.sqlite") as record:
            assert record.attempts() == []
            assert record.hints_seen("rope") == 0
            assert "practice goes on without it" in record.notes[0]
            with pytest.raises(RecordError, match="practice goes on"):
                record.add(attempt())

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork() to give up root's rights")
    @pytest.mark.parametrize("filled", [True, False])
    def test_a_folder_that_can_only_be_read(self, filled, request):
        # Not in tmp_path, which is closed to other users than the one who runs the tests.
        top = Path(tempfile.mkdtemp())
        request.addfinalizer(lambda: shutil.rmtree(top))
        path = top / ".dojo" / "record.sqlite"
        path.parent.mkdir()
        if filled:
            with Record(path) as record:
                record.add(attempt())
            path.chmod(0o444)
        path.parent.chmod(0o555)
        top.chmod(0o755)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                if os.geteuid() == 0:
                    os.setuid(65534)
                with Record(path) as record:
                    found, notes = record.attempts(), record.notes
                    try:
                        record.add(attempt())
                    except RecordError as error:
                        os.write(write, f"{len(found)} {len(notes)} {error}".encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(write)
        said = os.read(read, 10_000).decode()
        os.close(read)
        path.parent.chmod(0o755)
        assert said.startswith(f"{int(filled)} 1 ")
        assert "practice goes on without it" in said

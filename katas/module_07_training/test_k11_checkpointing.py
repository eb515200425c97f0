"""Judges k11_checkpointing against crashes at every line, and unbroken runs."""

import copy
import json
import math
import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.training_checks import through_torch
from katas.module_07_training.k11_checkpointing import (
    Checkpoints,
    Shuffler,
    atomic_write,
    capture,
    restore,
    rng_state,
    set_rng_state,
)

pytestmark = [
    from_scratch("safetensors"),
    pure("restore"),
    pytest.mark.deadline(30),  # a busy machine takes a while to load what torch.optim needs at its first step
]


def seen_meanwhile(work, path: Path) -> list[bytes | None]:
    """What somebody who reads `path` finds, line by line of Python, while work() runs."""
    found: list[bytes | None] = []

    def look(frame, event, arg):
        try:
            now = path.read_bytes()
        except FileNotFoundError:
            now = None
        if not found or found[-1] != now:
            found.append(now)
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        work()
    finally:
        sys.settrace(before)
    return found


class Disk:
    """Notes what os.fsync and the two ways to rename are called with; one of them may be made to fail."""

    def __init__(self, monkeypatch, fails: str = "", error: BaseException | None = None) -> None:
        self.log: list[tuple] = []
        self.fails = fails
        self.error = error or OSError(28, "No space left on device")
        theirs = sys.modules[atomic_write.__module__]
        for name in ("fsync", "replace", "rename"):
            real = getattr(os, name)
            ours = self.noting(name, real)
            monkeypatch.setattr(os, name, ours)
            for key, value in list(vars(theirs).items()):
                if value is real:
                    monkeypatch.setattr(theirs, key, ours)

    def noting(self, name, real):
        def call(*args, **kwargs):
            kind = "fsync" if name == "fsync" else "rename"
            if kind == self.fails:
                raise self.error
            first = [*args, *kwargs.values()][0]  # a descriptor or a file; the old name
            if kind == "fsync":
                first = first if isinstance(first, int) else first.fileno()
            status = os.stat(first)
            self.log.append((kind, status.st_ino, status.st_size))
            return real(*args, **kwargs)

        return call


class TestAtomicWrite:
    def test_the_example_worked_by_hand(self, tmp_path):
        path = tmp_path / "ckpt"
        path.write_bytes(b"old")
        assert_equal(seen_meanwhile(lambda: atomic_write(path, b"new"), path), [b"old", b"new"])
        assert_equal([p.name for p in tmp_path.iterdir()], ["ckpt"])

    @pytest.mark.parametrize("data", [b"", b"new", bytes(range(256)) * 1000], ids=len)
    def test_writes_the_bytes(self, tmp_path, data):
        for before in (None, b"something longer than new"):
            path = tmp_path / "a file.bin"
            if before is not None:
                path.write_bytes(before)
            assert_equal(atomic_write(path, data), None)
            assert_equal(path.read_bytes() == data, True)
            assert_equal([p.name for p in tmp_path.iterdir()], ["a file.bin"])

    @pytest.mark.parametrize("size", [10, 300_000])
    @pytest.mark.parametrize("old", [None, b"the old file"], ids=["none", "one"])
    def test_nobody_ever_finds_half_a_file(self, tmp_path, old, size):
        path, new = tmp_path / "x.ckpt", b"n" * size
        if old is not None:
            path.write_bytes(old)
        found = seen_meanwhile(lambda: atomic_write(path, new), path)
        kinds = {
            "old" if seen == old else "new" if seen == new else "none" if seen is None else "part" for seen in found
        }
        if not kinds <= {"old", "new"}:
            what = "no file at all" if "none" in kinds else "a file that is neither the old one nor the new one"
            fail(f"while atomic_write was running there was {what} under its name", evidence=(old, sorted(kinds)))

    def test_all_bytes_are_on_the_disk_before_the_name_changes(self, tmp_path, monkeypatch):
        disk = Disk(monkeypatch)
        atomic_write(tmp_path / "x.ckpt", b"12345")
        written = (tmp_path / "x.ckpt").stat().st_ino
        folder = tmp_path.stat().st_ino
        names = {written: "file", folder: "folder"}
        log = [(kind, names.get(inode, "?")) for kind, inode, _ in disk.log]
        if ("rename", "file") not in log:
            fail(f"the file wasn't put in place by os.replace or os.rename; what was called: {log}", evidence=log)
        renamed = log.index(("rename", "file"))
        if ("fsync", "file") not in log[:renamed]:
            fail("os.fsync wasn't called on the file before it got its name", evidence=("no fsync", log))
        size = max(size for kind, inode, size in disk.log[:renamed] if (kind, inode) == ("fsync", written))
        if size != 5:
            fail(f"when os.fsync was called {size} of 5 bytes had left Python's buffer", evidence=size)

    def test_the_name_is_on_the_disk_in_the_end(self, tmp_path, monkeypatch):
        disk = Disk(monkeypatch)
        atomic_write(tmp_path / "x.ckpt", b"12345")
        folder = tmp_path.stat().st_ino
        log = ["folder" if inode == folder else kind for kind, inode, _ in disk.log]
        if "rename" not in log or "folder" not in log[log.index("rename") :]:
            fail("os.fsync wasn't called on the folder after the name had changed", evidence=log)

    @pytest.mark.parametrize("fails", ["fsync", "rename"])
    @pytest.mark.parametrize("old", [None, b"old"], ids=["none", "one"])
    def test_a_failure_leaves_the_old_file_and_no_other(self, tmp_path, monkeypatch, old, fails):
        path = tmp_path / "x.ckpt"
        if old is not None:
            path.write_bytes(old)
        Disk(monkeypatch, fails)
        with raises(OSError):
            atomic_write(path, b"new")
        assert_equal({p.name: p.read_bytes() for p in tmp_path.iterdir()}, {} if old is None else {"x.ckpt": old})

    def test_so_does_who_stops_it_by_hand(self, tmp_path, monkeypatch):
        (tmp_path / "x.ckpt").write_bytes(b"old")
        Disk(monkeypatch, "fsync", KeyboardInterrupt())
        with raises(KeyboardInterrupt):
            atomic_write(tmp_path / "x.ckpt", b"new")
        assert_equal({p.name: p.read_bytes() for p in tmp_path.iterdir()}, {"x.ckpt": b"old"})

    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc, which Linux has")
    def test_nothing_stays_open(self, tmp_path):
        atomic_write(tmp_path / "x", b"1")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            atomic_write(tmp_path / "x", b"12")
        assert_equal(max(0, len(os.listdir("/proc/self/fd")) - before), 0)

    def test_data_that_cant_be_written(self, tmp_path):
        path = tmp_path / "x.ckpt"
        path.write_bytes(b"old")
        with raises(TypeError):
            atomic_write(path, 3.5)
        assert_equal({p.name: p.read_bytes() for p in tmp_path.iterdir()}, {"x.ckpt": b"old"})


def draws() -> list:
    """Some numbers of each of the three generators; an odd number of Gaussian ones, so that half a pair is left."""
    return [
        *(random.random(), random.gauss(0, 1), random.randrange(1000)),
        *(float(np.random.rand()), float(np.random.randn()), int(np.random.randint(1000))),
        *(float(torch.rand(())), *torch.randn(3).tolist(), *torch.randperm(5).tolist()),
    ]


class TestRngState:
    def test_nothing_is_drawn(self):
        random.seed(3), np.random.seed(3), torch.manual_seed(3)
        expected = draws()
        random.seed(3), np.random.seed(3), torch.manual_seed(3)
        rng_state()
        assert_equal(draws(), expected)

    def test_torch_loads_it_without_code(self, tmp_path):
        state = rng_state()
        back = through_torch(state, tmp_path)
        draws()
        set_rng_state(back)
        expected = draws()
        set_rng_state(state)
        assert_equal(draws(), expected)


class TestSetRngState:
    @pytest.mark.parametrize("before", [0, 1, 2])
    def test_what_was_drawn_is_drawn_again(self, before):
        for _ in range(before):  # with and without half a pair of Gaussian numbers left
            draws()
        state = rng_state()
        expected = draws() + draws()
        set_rng_state(state)
        found = draws() + draws()
        names = [*["random"] * 3, *["numpy"] * 3, *["torch"] * 9] * 2
        wrong = sorted({name for name, a, b in zip(names, found, expected, strict=True) if a != b})
        if wrong:
            fail(f"after set_rng_state other numbers come from {' and '.join(wrong)}", evidence=wrong)

    def test_a_state_can_be_set_again(self):
        state = rng_state()
        expected = draws()
        for _ in range(2):
            set_rng_state(state)
            assert_equal(draws(), expected)

    def test_in_a_new_place(self, tmp_path):
        state = through_torch(rng_state(), tmp_path)
        expected = draws()
        random.seed(1), np.random.seed(2), torch.manual_seed(3)
        draws()
        set_rng_state(state)
        assert_equal(draws(), expected)


def batches(shuffler, count: int) -> list[list[int]]:
    return [list(shuffler.next_batch()) for _ in range(count)]


class Devices:
    """Stands for torch.cuda on a machine with two devices, as far as random states are concerned."""

    def __init__(self, monkeypatch) -> None:
        self.there, self.states, self.sets = True, [torch.tensor([1, 2]), torch.tensor([3, 4])], 0
        for name in ("is_available", "device_count", "get_rng_state", "get_rng_state_all", "set_rng_state"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch.cuda, "set_rng_state_all", self.set_rng_state_all)

    def is_available(self) -> bool:
        return self.there

    def device_count(self) -> int:
        return 2 if self.there else 0

    def get_rng_state(self, device=0):
        return self.states[getattr(device, "index", device) or 0].clone()

    def get_rng_state_all(self):
        return [state.clone() for state in self.states] if self.there else []

    def set_rng_state(self, new, device=0) -> None:
        self.sets += 1
        self.states[getattr(device, "index", device) or 0] = new.clone()

    def set_rng_state_all(self, new) -> None:
        for i, state in enumerate(new):
            self.set_rng_state(state, i)


class TestRandomStatesOfDevices:
    def test_they_come_back(self, monkeypatch):
        devices = Devices(monkeypatch)
        state = rng_state()
        devices.states = [torch.tensor([7, 7]), torch.tensor([8, 8])]
        set_rng_state(state)
        assert_close(devices.states, [torch.tensor([1, 2]), torch.tensor([3, 4])])

    def test_only_if_there_are_devices(self, monkeypatch):
        devices = Devices(monkeypatch)
        state = rng_state()
        devices.there = False
        set_rng_state(state)
        assert_equal(devices.sets, 0)


class TestShuffler:
    @pytest.mark.parametrize(
        ("n", "size", "lengths"),
        [(5, 2, [2, 2, 1]), (10, 4, [4, 4, 2]), (8, 4, [4, 4]), (3, 5, [3]), (1, 1, [1])],
    )
    def test_each_epoch_holds_each_row_once(self, n, size, lengths):
        shuffler = Shuffler(n, size, seed=5)
        for _ in range(3):
            epoch = batches(shuffler, len(lengths))
            assert_equal([len(batch) for batch in epoch], lengths)
            assert_equal(sorted(row for batch in epoch for row in batch), list(range(n)))

    def test_a_batch_is_a_list(self):
        batch = Shuffler(5, 3, 0).next_batch()
        assert_equal((isinstance(batch, list), len(batch)), (True, 3))

    def test_epochs_and_seeds_differ(self):
        one, other = (batches(Shuffler(40, 40, seed), 3) for seed in (1, 2))
        orders = [tuple(batch) for batch in one + other] + [tuple(range(40))]
        if len(set(orders)) < len(orders):
            same = [(a, b) for a in range(7) for b in range(a) if orders[a] == orders[b]]
            fail("two epochs of one seed or of seeds 1 and 2 have the same order, or one isn't shuffled", evidence=same)

    def test_a_seed_says_all(self):
        assert_equal(batches(Shuffler(9, 2, 7), 12), batches(Shuffler(9, 2, 7), 12))

    def test_torchs_own_generator_isnt_touched(self):
        random.seed(3), np.random.seed(3), torch.manual_seed(3)
        expected = draws()
        random.seed(3), np.random.seed(3), torch.manual_seed(3)
        shuffler = Shuffler(7, 3, 0)
        batches(shuffler, 5)
        shuffler.load_state_dict(shuffler.state_dict())
        assert_equal(draws(), expected)

    def test_two_of_them_side_by_side(self):
        one, other, expected = Shuffler(9, 2, 7), Shuffler(9, 2, 8), batches(Shuffler(9, 2, 7), 12)
        found = []
        for _ in range(12):
            found += batches(one, 1)
            batches(other, 1)
        assert_equal(found, expected)

    @pytest.mark.parametrize("n", [10, 9])
    @pytest.mark.parametrize("taken", range(8))
    def test_goes_on_where_it_was(self, tmp_path, taken, n):
        shuffler = Shuffler(n, 3, seed=11)
        batches(shuffler, taken)
        state = shuffler.state_dict()
        expected = batches(shuffler, 15)
        back = Shuffler(n, 3, seed=11)
        batches(back, 2)
        back.load_state_dict(through_torch(state, tmp_path))
        assert_equal(batches(back, 15), expected)

    def test_the_seed_of_the_state_counts(self):
        shuffler = Shuffler(10, 3, seed=11)
        batches(shuffler, 5)
        back = Shuffler(10, 3, seed=12)
        back.load_state_dict(shuffler.state_dict())
        assert_equal(batches(back, 15), batches(shuffler, 15))

    def test_a_state_can_be_loaded_again(self):
        shuffler = Shuffler(10, 3, seed=11)
        batches(shuffler, 2)
        state = shuffler.state_dict()
        expected = batches(shuffler, 9)
        for _ in range(2):
            shuffler.load_state_dict(state)
            assert_equal(batches(shuffler, 9), expected)

    @pytest.mark.parametrize("n", [9, 11])
    def test_other_data_are_refused(self, n):
        state = Shuffler(10, 3, 0).state_dict()
        with raises(ValueError, 10, n):
            Shuffler(n, 3, 0).load_state_dict(state)


ROWS = torch.linspace(-2, 2, 46).reshape(23, 2)


class Run:
    """A small run in which everything has a state: dropout, batch norm, moments, a schedule, three generators."""

    def __init__(self, seed: int, kind: str = "adam") -> None:
        torch.manual_seed(seed), np.random.seed(seed), random.seed(seed)
        self.model = nn.Sequential(nn.Linear(2, 5), nn.BatchNorm1d(5), nn.Dropout(0.3), nn.Linear(5, 1))
        if kind == "adam":
            self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01, amsgrad=True)
            self.scheduler = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, 0.1, total_steps=40)
        else:
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)
            self.scheduler = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(self.optimizer, 4)
        self.shuffler = Shuffler(23, 5, seed)
        self.parts = (self.model, self.optimizer, self.scheduler, self.shuffler)

    def train(self, steps: int) -> list[float]:
        losses = []
        for _ in range(steps):
            x = ROWS[self.shuffler.next_batch()]
            x = x + 0.1 * torch.randn_like(x) + 0.1 * np.random.randn() + random.gauss(0, 0.1)
            loss = (self.model(x) - x.prod(1, keepdim=True)).square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            losses.append(loss.item())
        return losses

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: value.clone() for name, value in self.model.state_dict().items()}


class TestCapture:
    def test_later_training_doesnt_change_it(self):
        run = Run(1)
        run.train(3)
        state = capture(*run.parts)
        before = copy.deepcopy(state)
        run.train(3)
        same = json.dumps(plain(before), sort_keys=True) == json.dumps(plain(state), sort_keys=True)
        if not same:
            changed = sorted(k for k in before if json.dumps(plain(before[k])) != json.dumps(plain(state[k])))
            fail(f"three steps of training have changed what was captured: {changed}", evidence=changed)

    def test_torch_loads_it_without_code(self, tmp_path):
        run = Run(1)
        run.train(3)
        through_torch(capture(*run.parts), tmp_path)

    def test_training_goes_on_as_if_nothing_had_been(self):
        run, other = Run(1), Run(1)
        expected = run.train(8)
        other = Run(1)
        found = []
        for _ in range(8):
            capture(*other.parts)
            found += other.train(1)
        assert_equal(found, expected)


def plain(value):
    """`value` with tensors as lists, and keys as texts."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else repr(value)


class TestRestore:
    @pytest.mark.parametrize("kind", ["adam", "sgd"])
    @pytest.mark.parametrize("steps", [0, 1, 4, 5, 7])
    def test_a_resumed_run_equals_the_unbroken_one_bit_for_bit(self, tmp_path, steps, kind):
        run = Run(1, kind)
        run.train(steps)
        state = capture(*run.parts)
        expected = run.train(12)
        resumed = Run(2, kind)
        resumed.train(2)
        resumed = Run(2, kind)
        restore(through_torch(state, tmp_path), *resumed.parts)
        found = resumed.train(12)
        first = next((i for i in range(12) if found[i] != expected[i]), None)
        if first is not None:
            fail(
                f"the resumed run's loss differs from the unbroken one's for the first time {first} steps after step"
                f" {steps}: {found[first]!r} instead of {expected[first]!r}",
                evidence=found,
            )
        assert_close(resumed.weights(), run.weights(), rtol=0, atol=0)

    def test_the_parameters_stay_the_same_objects(self):
        run, other = Run(1), Run(2)
        state = capture(*run.parts)
        before = list(other.model.parameters())
        restore(state, *other.parts)
        assert_equal([a is b for a, b in zip(before, other.model.parameters(), strict=True)], [True] * len(before))

    def test_a_state_can_be_restored_again(self):
        run = Run(1)
        run.train(3)
        state = capture(*run.parts)
        found = []
        for seed in (2, 3):
            other = Run(seed)
            restore(state, *other.parts)
            found.append(other.train(8))
        assert_equal(found[1], found[0])

    def test_back_in_the_same_run(self):
        run = Run(1)
        run.train(3)
        state = capture(*run.parts)
        expected = run.train(8)
        for _ in range(2):
            restore(state, *run.parts)
            assert_equal(run.train(8), expected)


def numbered(step: int) -> dict:
    """A state of which one can tell the step."""
    return {"weights": torch.full((50, 100), float(step)), "note": [step, "x", None]}


def is_numbered(found, step: int) -> None:
    if found is None:
        fail(f"nothing was found; expected step {step}", evidence=("none", step))
    assert_equal(found[0], step)
    assert_close(found[1], numbered(step), rtol=0, atol=0)


def filled(folder: Path, losses: dict[int, float], keep: int) -> tuple[Checkpoints, dict[int, Path]]:
    store = Checkpoints(folder, keep)
    return store, {step: store.save(step, loss, numbered(step)) for step, loss in losses.items()}


class TestCheckpoints:
    def test_the_example_worked_by_hand(self, tmp_path):
        store, left = Checkpoints(tmp_path, 1), []
        for step, loss in [(10, 3.0), (20, 1.0), (30, 2.0)]:
            store.save(step, loss, numbered(step))
            left.append(store.steps())
        assert_equal(left, [[10], [20], [20, 30]])

    @pytest.mark.parametrize("keep", [1, 2, 3, 4, 9])
    @pytest.mark.parametrize("restart", [False, True], ids=["one object", "a new object each time"])
    def test_the_best_and_the_last_stay(self, tmp_path, keep, restart):
        losses = [0.5, 1e-5, 12.0, 0.2501, -1.5, 100.0, 9.0, 0.25, 0.25003, 1e7, 0.25, 3.0]
        store, seen = Checkpoints(tmp_path, keep), {}
        for i, loss in enumerate(losses):
            step = 3 * i + 8  # beyond 9 as text isn't beyond 9 as a number
            if restart:
                store = Checkpoints(tmp_path, keep)
            store.save(step, loss, numbered(step))
            seen[step] = loss
            # Those deleted before can't come back, but never were among the best.
            best = sorted(seen, key=lambda one: (seen[one], -one))
            assert_equal(store.steps(), sorted({*best[:keep], step}))
            is_numbered(store.load_latest(), step)
            is_numbered(store.load_best(), best[0])

    def test_the_disk_doesnt_fill_up(self, tmp_path):
        filled(tmp_path, {step: 10.0 - step for step in range(8)}, 2)
        large = [path.name for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 10_000]
        assert_equal(len(large), 2)

    def test_of_equal_losses_the_later_step_is_better(self, tmp_path):
        store, _ = filled(tmp_path, {1: 0.5, 2: 0.5, 3: 0.5, 4: 2.0}, 2)
        assert_equal(store.steps(), [2, 3, 4])
        is_numbered(store.load_best(), 3)

    def test_nan_is_the_worst(self, tmp_path):
        losses = {1: math.nan, 2: 5.0, 3: math.inf, 4: math.nan, 5: 7.0, 6: math.nan}
        store, _ = filled(tmp_path, losses, 3)
        assert_equal(store.steps(), [2, 3, 5, 6])
        is_numbered(store.load_best(), 2)

    def test_the_same_step_again(self, tmp_path):
        store, _ = filled(tmp_path, {1: 0.5, 2: 0.1, 3: 0.9}, 2)
        store.save(2, 5.0, {"weights": torch.zeros(3)})
        assert_equal(store.steps(), [1, 2, 3])
        assert_close(torch.as_tensor(Checkpoints(tmp_path, 2).load_best()[1]["weights"][0, 0]), torch.tensor(1.0))
        is_numbered(store.load_latest(), 3)
        store.save(3, 0.9, {"weights": torch.zeros(4)})
        assert_equal(store.steps(), [1, 3])
        assert_close(store.load_latest()[1], {"weights": torch.zeros(4)})

    def test_what_is_saved_comes_back_to_the_last_digit(self, tmp_path):
        store = Checkpoints(tmp_path, 1)
        state = {"x": torch.tensor([1 / 3, 1e-9], dtype=torch.float64), "rate": 0.1234567, "names": ["a", "b"]}
        store.save(1, 0.5, state)
        assert_equal(sorted(state), ["names", "rate", "x"])
        for found in (store.load_latest(), store.load_best()):
            assert_close(found[1], state, rtol=0, atol=0)

    def test_an_empty_folder(self, tmp_path):
        store = Checkpoints(tmp_path / "deep" / "down", 2)
        assert_equal((store.steps(), store.load_latest(), store.load_best()), ([], None, None))
        assert_equal((tmp_path / "deep" / "down").is_dir(), True)

    def test_other_files_are_left_alone(self, tmp_path):
        (tmp_path / "notes.txt").write_text("hello")
        (tmp_path / "plots").mkdir()
        store, _ = filled(tmp_path, {step: float(-step) for step in range(5)}, 1)
        assert_equal([name for name in ("notes.txt", "plots") if (tmp_path / name).exists()], ["notes.txt", "plots"])
        assert_equal((store.steps(), (tmp_path / "notes.txt").read_text()), ([4], "hello"))
        assert_equal((tmp_path / "plots").is_dir(), True)

    def test_its_path(self, tmp_path):
        _, paths = filled(tmp_path, {3: 1.0}, 1)
        assert_equal((paths[3].parent == tmp_path, paths[3].stat().st_size > 10_000), (True, True))

    @pytest.mark.parametrize("which", ["load_latest", "load_best"])
    @pytest.mark.parametrize("end", [0, 1, 7, 8, 31, 32, 33, 64, 0.25, 0.5, 0.9, -1, -8, -200])
    def test_a_cut_file_is_passed_over(self, tmp_path, end, which):
        store, paths = filled(tmp_path, {1: 3.0, 2: 2.0, 3: 1.0}, 3)
        data = paths[3].read_bytes()
        paths[3].write_bytes(data[: int(end * len(data)) if isinstance(end, float) else end])
        cut = paths[3].read_bytes()
        is_numbered(getattr(store, which)(), 2)
        assert_equal(paths[3].read_bytes() == cut, True)

    @pytest.mark.parametrize("which", ["load_latest", "load_best"])
    @pytest.mark.parametrize("place", [0.0, 0.02, 0.3, 0.5, 0.7, 0.97, 0.9999])
    def test_a_changed_byte_is_noticed(self, tmp_path, place, which):
        store, paths = filled(tmp_path, {1: 3.0, 2: 2.0, 3: 1.0}, 3)
        data = bytearray(paths[3].read_bytes())
        data[int(place * len(data))] ^= 0x10
        paths[3].write_bytes(bytes(data))
        is_numbered(getattr(store, which)(), 2)

    @pytest.mark.parametrize("which", ["load_latest", "load_best"])
    def test_so_is_each_of_the_first_bytes(self, tmp_path, which):
        store, paths = filled(tmp_path, {1: 3.0, 2: 2.0, 3: 1.0}, 3)
        good = paths[3].read_bytes()
        for place in range(160):
            data = bytearray(good)
            data[place] ^= 1
            paths[3].write_bytes(bytes(data))
            is_numbered(getattr(store, which)(), 2)

    def test_several_bad_ones(self, tmp_path):
        store, paths = filled(tmp_path, {1: 3.0, 2: 2.0, 3: 1.0}, 3)
        for step in (3, 2):
            paths[step].write_bytes(b"")
        is_numbered(store.load_latest(), 1)
        paths[1].write_bytes(b"1234")
        assert_equal((store.load_latest(), store.load_best()), (None, None))

    def test_after_a_fall_back_the_new_one_stays(self, tmp_path):
        store, paths = filled(tmp_path, {10: 3.0, 20: 1.0, 30: 2.0}, 1)
        paths[30].write_bytes(b"")
        is_numbered(store.load_latest(), 20)
        store.save(25, 9.0, numbered(25))
        is_numbered(store.load_latest(), 25)
        is_numbered(store.load_best(), 20)

    @pytest.mark.parametrize("fails", ["fsync", "rename"])
    def test_a_failed_save_loses_nothing(self, tmp_path, monkeypatch, fails):
        store, _ = filled(tmp_path, {1: 3.0, 2: 2.0, 3: 2.5}, 1)
        with monkeypatch.context() as patch:
            Disk(patch, fails)
            with raises(OSError):
                store.save(4, 0.5, numbered(4))
        again = Checkpoints(tmp_path, 1)
        assert_equal(again.steps(), [2, 3])
        is_numbered(again.load_latest(), 3)
        is_numbered(again.load_best(), 2)

    def test_at_every_line_of_a_save_there_is_a_good_one(self, tmp_path):
        """A crash at any line leaves what stands on the disk at that line."""
        store, _ = filled(tmp_path / "x", {1: 3.0, 2: 2.0}, 1)
        states: list[dict[str, bytes]] = []

        def look(frame, event, arg):
            try:
                now = {path.name: path.read_bytes() for path in (tmp_path / "x").iterdir() if path.is_file()}
            except FileNotFoundError:  # deleted while we looked
                return look
            if not states or states[-1] != now:
                states.append(now)
            return look

        before = sys.gettrace()
        sys.settrace(look)
        try:
            store.save(3, 1.0, numbered(3))
        finally:
            sys.settrace(before)
        for i, files in enumerate(states):
            folder = tmp_path / f"after {i}"
            folder.mkdir()
            for name, content in files.items():
                (folder / name).write_bytes(content)
            found = Checkpoints(folder, 1).load_latest()
            is_numbered(found, 3 if found is not None and found[0] == 3 else 2)
            best = Checkpoints(folder, 1).load_best()
            is_numbered(best, 3 if best is not None and best[0] == 3 else 2)

    @pytest.mark.parametrize("keep", [0, -2])
    def test_keep_below_1_is_refused(self, tmp_path, keep):
        with raises(ValueError, keep):
            Checkpoints(tmp_path, keep)

    def test_a_whole_run_goes_on_from_the_folder(self, tmp_path):
        run, store = Run(1), Checkpoints(tmp_path, 1)
        losses = run.train(4)
        store.save(4, losses[-1], capture(*run.parts))
        expected = run.train(9)
        other = Run(2)
        step, state = Checkpoints(tmp_path, 1).load_latest()
        restore(state, *other.parts)
        assert_equal((step, other.train(9)), (4, expected))

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="gpu: needs a CUDA device")
    def test_loads_to_the_cpu(self, tmp_path):
        store = Checkpoints(tmp_path, 1)
        store.save(1, 1.0, {"x": torch.ones(3, device="cuda")})
        assert_equal(store.load_latest()[1]["x"].device.type, "cpu")


class TestOnTheGpu:
    def test_restore(self, gpu):
        net = nn.Linear(2, 1)
        x = torch.randn(4, 2)

        def parts(model):
            optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
            return model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 2), Shuffler(4, 2, 0)

        def train(model, optimizer, scheduler, shuffler, inputs):
            for _ in range(3):
                optimizer.zero_grad()
                model(inputs[shuffler.next_batch()]).square().mean().backward()
                optimizer.step()
                scheduler.step()

        one = parts(net)
        train(*one, x)
        state = capture(*one)
        other = parts(gpu(nn.Linear(2, 1)))
        restore(state, *other)
        train(*one, x)
        train(*other, gpu(x))
        assert_equal({p.device.type for p in other[0].parameters()}, {gpu.device.type})
        assert_close([p.detach().cpu() for p in other[0].parameters()], [p.detach() for p in one[0].parameters()])

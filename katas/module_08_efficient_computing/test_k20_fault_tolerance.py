"""Judges k20_fault_tolerance by runs in which a rank is killed, against the unbroken run; by processes that are
killed in the middle of writing; by torchrun; and by closed forms."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, pure, raises
from katas.module_08_efficient_computing.k20_fault_tolerance import (
    amdahl,
    choose_backend,
    efficiency,
    gustafson,
    load_checkpoint,
    save_checkpoint,
    stragglers,
    train,
)

pytestmark = pure()
SCRIPT = Path(__file__).with_name("train_gpt.py")


class Deadly:
    """Ends the process that tries to write it."""

    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Slow:
    """Takes its time to be written."""

    def __reduce__(self):
        time.sleep(0.4)
        return OrderedDict, ()


class Secret:
    """Mustn't be written."""

    def __reduce__(self):
        fail("A rank other than 0 writes the checkpoint.", evidence="written by another")


def dangers(path):
    """A list of all that this process will do to `path` by which others could find no file there, or half a file."""
    found = []

    def hook(event, args):
        if event not in ("open", "os.remove", "os.rename") or not isinstance(args[0], str | bytes | os.PathLike):
            return
        file = Path(os.fsdecode(args[0])).absolute()
        if event == "open" and file == path and args[2] & os.O_TRUNC:
            found.append("is opened for writing")
        elif event == "os.remove" and file == path:
            found.append("is removed")
        elif event == "os.rename" and Path(os.fsdecode(args[1])).absolute() == path and path.parent not in file.parents:
            found.append("comes from another folder, which may be on another disk, where it would be copied")

    sys.addaudithook(hook)
    return found


class TestWhoWrites:
    # Not with the tests below: where two ranks write one file, how those end is a matter of luck.
    def test_only_rank_0_writes(self, ranks, tmp_path):
        path = tmp_path / "run.pt"
        ranks(2, lambda rank: save_checkpoint(path, {"x": Secret() if rank else 1}))
        assert_equal(ranks(1, lambda rank: load_checkpoint(path)), [{"x": 1}])


class TestCheckpoint:
    def test_what_rank_0_saves_all_load(self, ranks, tmp_path):
        path = tmp_path / "run.pt"
        weights = torch.randn(3, 4, dtype=torch.float64)

        def work(rank):
            assert_equal(load_checkpoint(path), None)
            dist.barrier()
            save_checkpoint(path, {"weights": weights + rank, "step": 7 + rank, "names": ["a", "b"]})
            return load_checkpoint(path)

        for answer in ranks(2, work):
            assert_close(answer["weights"], weights)
            assert_equal((answer["step"], answer["names"]), (7, ["a", "b"]))

    def test_the_last_one_counts(self, ranks, tmp_path):
        path = tmp_path / "run.pt"

        def work(rank):
            for step in (3, 9, 5):
                save_checkpoint(path, {"step": step})
            return load_checkpoint(path)["step"]

        assert_equal(ranks(1, work), [5])

    def test_at_every_moment_there_is_a_whole_file(self, ranks, tmp_path):
        path = tmp_path / "run.pt"

        def work(rank):
            save_checkpoint(path, {"step": 3})
            found = dangers(path)
            save_checkpoint(path, {"step": 4})
            if found:
                fail(f"While a new checkpoint is written, `path` {found[0]}.", evidence=found[0])

        ranks(1, work)

    def test_nobody_goes_on_before_it_is_there(self, ranks, tmp_path):
        path = tmp_path / "run.pt"

        def work(rank):
            save_checkpoint(path, {"step": 3, "slow": Slow()})
            if rank == 1 and not path.exists():
                fail("Rank 1 goes on before rank 0 has written the checkpoint.", evidence="ahead")

        ranks(2, work)

    def test_a_process_that_is_killed_while_it_writes_leaves_the_old_one(self, ranks, tmp_path):
        path = tmp_path / "run.pt"

        def work(rank):
            save_checkpoint(path, {"step": 3, "weights": torch.ones(1000)})
            save_checkpoint(path, {"step": 4, "weights": torch.ones(1000), "end": Deadly()})

        ranks(1, work, killed=[0])

        def after(rank):
            try:
                before = load_checkpoint(path)["step"]
            except ValueError:
                fail("After a process was killed while it wrote, the old checkpoint is lost.", evidence="lost")
            save_checkpoint(path, {"step": 5})  # what the killed one left behind is in nobody's way
            return before, load_checkpoint(path)["step"]

        assert_equal(ranks(1, after), [(3, 5)])

    def test_half_a_file_or_another_is_an_error_that_names_it(self, ranks, tmp_path):
        path = tmp_path / "half.pt"

        def work(rank):
            save_checkpoint(path, {"weights": torch.ones(1000)})
            # torch.load has an error of another kind for each.
            for content in (path.read_bytes()[:900], b"", b"notes on the run"):
                path.write_bytes(content)
                with raises(ValueError, "half.pt"):
                    load_checkpoint(path)

        ranks(1, work)


def run(rank, path, steps, every, die_at=None, done=None):
    """A training with all that has to be kept: momentum, a learning rate that decays, and dropout."""
    torch.manual_seed(5)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.4), nn.Linear(8, 1)).double()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.8)
    torch.manual_seed(10 + rank)  # every rank draws its own dropout masks

    def step(number):
        if die_at is not None and (rank, number) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if done is not None:
            done.append(number)
        draw = torch.Generator().manual_seed(100 * number + rank)
        x = torch.randn(6, 4, generator=draw, dtype=torch.float64)
        loss = F.mse_loss(net(x), x.sum(1, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        for parameter in net.parameters():
            dist.all_reduce(parameter.grad)
            parameter.grad /= dist.get_world_size()
        optimizer.step()
        schedule.step()
        total = loss.detach().clone()
        dist.all_reduce(total)
        return total.item()

    losses = train({"model": net, "optimizer": optimizer, "schedule": schedule}, step, steps, path, every)
    return losses, [p.detach() for p in net.parameters()], torch.rand(3)


def loop(path, n_steps, every, rank=0, done=None, losses=lambda number: float(number)):
    """`train` without a model."""

    def step(number):
        if done is not None:
            done.append(number)
        return losses(number)

    return train({}, step, n_steps, path, every)


@pytest.fixture(scope="module")
def optimizers():
    """The first optimizer makes torch import for seconds: once, before the ranks are forked, not in each of them."""
    torch.optim.SGD([torch.zeros(1)], lr=0.1)


@pytest.mark.usefixtures("optimizers")
class TestTrain:
    def test_all_steps_are_done_in_order_and_their_losses_returned(self, ranks, tmp_path):
        def work(rank):
            done = []
            return loop(tmp_path / "run.pt", 5, 2, done=done, losses=lambda number: 1 / (number + 3)), done

        assert_equal(ranks(2, work), [([1 / 3, 1 / 4, 1 / 5, 1 / 6, 1 / 7], [0, 1, 2, 3, 4])] * 2)

    @pytest.mark.parametrize(("every", "die_at", "first"), [(3, (1, 5), 3), (2, (0, 4), 4), (4, (1, 2), 0)])
    def test_a_run_with_a_killed_worker_equals_the_unbroken_one(self, ranks, tmp_path, every, die_at, first):
        unbroken = ranks(2, lambda rank: run(rank, tmp_path / "unbroken.pt", 7, every))
        path = tmp_path / "broken.pt"
        ranks(2, lambda rank: run(rank, path, 7, every, die_at), killed=[die_at[0]])

        def again(rank):
            done = []
            return run(rank, path, 7, every, done=done), done

        for (resumed, done), expected in zip(ranks(2, again), unbroken, strict=True):
            assert_equal(done, list(range(first, 7)))
            assert_close(resumed, expected)

    def test_a_finished_run_is_not_done_again(self, ranks, tmp_path):
        path = tmp_path / "run.pt"

        def work(rank):
            done = []

            def trained():
                net = nn.Linear(2, 1)

                def step(number):
                    done.append(number)
                    with torch.no_grad():
                        net.weight.copy_(torch.rand(1, 2))
                    return 0.0  # of zeros, too, there are as many as steps

                return train({"model": net}, step, 5, path, 10), net.weight.detach(), torch.rand(3)

            return trained(), trained(), done

        [(first, second, done)] = ranks(1, work)
        assert_equal((second[0], done), ([0.0] * 5, [0, 1, 2, 3, 4]))
        assert_equal(second, first)

    def test_a_run_can_be_made_longer(self, ranks, tmp_path):
        path = tmp_path / "run.pt"

        def loss(rank, number):  # no float32 holds these
            return 10.0 * number + rank + 1 / 3

        def work(rank):
            done = []
            return [loop(path, steps, 2, rank, done, lambda number: loss(rank, number)) for steps in (3, 5)], done

        for rank, ((first, longer), done) in enumerate(ranks(2, work)):
            assert_equal(done, [0, 1, 2, 3, 4])
            assert_equal(first, [loss(rank, number) for number in range(3)])
            # What was before the checkpoint is rank 0's.
            assert_equal(longer, [loss(0 if number < 3 else rank, number) for number in range(5)])

    def test_parts_are_found_again_by_their_names(self, ranks, tmp_path):
        path = tmp_path / "run.pt"

        def work(rank):
            def trained(names):
                nets = {name: nn.Linear(2, 1) for name in names}

                def step(number):
                    with torch.no_grad():
                        for name, net in nets.items():
                            net.weight.fill_(float(len(name)))
                    return 0.0

                train(nets, step, 2, path, 5)
                return {name: net.weight.detach() for name, net in nets.items()}

            return trained(["a", "bcd"]), trained(["bcd", "a"])

        [(first, second)] = ranks(1, work)
        assert_close(second, first)

    @pytest.mark.parametrize(("steps", "every", "expected"), [(7, 3, [3, 6, 7]), (6, 3, [3, 6]), (2, 5, [2])])
    def test_checkpoints_come_after_every_so_many_steps_and_the_last(self, ranks, tmp_path, steps, every, expected):
        path = tmp_path / "run.pt"

        def work(rank):
            seen = []

            def step(number):
                state = path.stat().st_ino if path.exists() else None
                seen.append((number, state))
                return 0.0

            train({}, step, steps, path, every)
            files = [state for _, state in seen] + [path.stat().st_ino]
            return [number for number in range(1, steps + 1) if files[number] != files[number - 1]]

        assert_equal(ranks(1, work), [expected])

    def test_steps_are_counted_from_the_beginning_of_the_training(self, ranks, tmp_path):
        path = tmp_path / "run.pt"

        def work(rank):
            loop(path, 2, 10)  # a checkpoint after the second and last step
            files = []

            def step(number):
                files.append(path.stat().st_ino)
                return 0.0

            train({}, step, 5, path, 3)
            return [files[i] != files[i - 1] for i in range(1, 3)]

        assert_equal(ranks(1, work), [[True, False]])


class TestStragglers:
    def test_the_example_worked_by_hand(self, ranks):
        times = [1.0, 1.1, 1.2, 2.0]
        assert_equal(ranks(4, lambda rank: stragglers(times[rank])), [[3]] * 4)

    @pytest.mark.parametrize(
        ("times", "factor", "expected"),
        [([2.2, 1.0, 1.1], 1.6, [0]), ([1.0, 1.6, 1.0], 1.7, []), ([3.0, 1.0, 2.0], 1.4, [0]), ([3.0, 1.0, 2.0], 0.6, [0, 2])],
    )
    def test_the_limit_is_a_factor_of_the_median(self, ranks, times, factor, expected):
        assert_equal(ranks(3, lambda rank: stragglers(times[rank], factor)), [expected] * 3)

    def test_the_median_of_an_even_number_is_the_mean_of_the_two_in_the_middle(self, ranks):
        times = [1.0, 1.0, 2.0, 2.4]
        assert_equal(ranks(4, lambda rank: stragglers(times[rank])), [[3]] * 4)

    def test_just_the_limit_is_not_above_it(self, ranks):
        times = [1.5, 1.0, 1.0]
        assert_equal(ranks(3, lambda rank: stragglers(times[rank])), [[]] * 3)


class TestAmdahl:
    def test_the_example_worked_by_hand(self):
        assert_close(amdahl(4, 0.1), 1 / 0.325)

    @pytest.mark.parametrize(("n", "serial"), [(2, 0.25), (16, 0.05), (1000, 0.01), (7, 0.0), (3, 1.0), (1, 0.3)])
    def test_against_the_time_of_each_part(self, n, serial):
        assert_close(amdahl(n, serial), 100.0 / (100 * serial + 100 * (1 - serial) / n))


class TestGustafson:
    def test_the_example_worked_by_hand(self):
        assert_close(gustafson(4, 0.1), 3.7)

    @pytest.mark.parametrize(("n", "serial"), [(2, 0.25), (16, 0.05), (7, 0.0), (3, 1.0), (1, 0.3)])
    def test_against_the_work_of_each_rank(self, n, serial):
        assert_close(gustafson(n, serial), 1.0 + sum(1 - serial for _ in range(n - 1)))


class TestEfficiency:
    def test_the_example_worked_by_hand(self):
        assert_close(efficiency(4, 0.4, 1e9, 0.0, 1e10), 0.4 / 0.55)

    @pytest.mark.parametrize(
        ("n", "compute", "size", "latency", "bandwidth"), [(2, 0.3, 4e8, 1e-3, 1e9), (8, 1.7, 3e9, 0.02, 2.5e10), (3, 5.0, 70.0, 0.5, 7.0)]
    )
    def test_against_the_messages_of_a_ring(self, n, compute, size, latency, bandwidth):
        ring = sum(latency + size / n / bandwidth for _ in range(2 * (n - 1)))
        assert_close(efficiency(n, compute, size, latency, bandwidth), compute / (compute + ring))

    def test_one_rank_has_nobody_to_talk_to(self):
        assert_close(efficiency(1, 0.3, 4e8, 1e-3, 1e9), 1.0)


class TestChooseBackend:
    @pytest.mark.parametrize(
        ("devices", "available", "expected"),
        [
            (["cpu"], ["gloo", "nccl", "mpi"], "gloo"),
            (["cpu"], ["mpi", "nccl"], "mpi"),
            (["cuda"], ["mpi", "gloo", "nccl"], "nccl"),
            (["cuda"], ["mpi", "gloo"], "gloo"),
            (["cuda"], ["mpi"], "mpi"),
            (["cuda", "cpu"], ["gloo", "nccl"], "cpu:gloo,cuda:nccl"),
            (["cpu", "cuda"], ["mpi", "nccl"], "cpu:mpi,cuda:nccl"),
            (["cpu", "cuda"], ["gloo"], "gloo"),
            (["cpu", "cuda"], ["mpi"], "mpi"),
        ],
        ids=str,
    )
    def test_each_device_gets_its_best(self, devices, available, expected):
        assert_equal(choose_backend(devices, available), expected)
        assert_equal(choose_backend(iter(devices), iter(available)), expected)

    def test_torch_takes_the_answer(self, ranks):
        def work(rank):
            dist.destroy_process_group()
            store = dist.HashStore()
            dist.init_process_group(choose_backend({"cpu", "cuda"}, {"gloo"}), store=store, rank=0, world_size=1)
            return dist.get_backend()

        assert_equal(ranks(1, work), ["gloo"])

    def test_a_device_without_a_backend_is_an_error_that_names_what_there_is(self):
        with raises(ValueError, "nccl"):
            choose_backend(["cpu"], ["nccl"])
        with raises(ValueError, "nccl"):
            choose_backend(["cpu", "cuda"], ["nccl"])
        with raises(ValueError):
            choose_backend(["cuda"], [])


@pytest.mark.slow
@pytest.mark.deadline(240)
class TestTorchrun:
    """The script, launched as people launch it, on the tree that is judged."""

    # The script, but rank 1 is killed in the midst of its first run: by itself, so that no other process must be in time.
    KILLED = """
import os, runpy, signal, sys
from pathlib import Path
import torch.distributed as dist

reduce, losses = dist.all_reduce, Path(sys.argv[sys.argv.index("--losses") + 1])

def all_reduce(*args, **kwargs):
    if losses.exists() and len(losses.read_text().splitlines()) >= 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return reduce(*args, **kwargs)

if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    dist.all_reduce = all_reduce
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""

    def launch(self, folder, name, *script):
        tree = Path(sys.modules[train.__module__].__file__).parents[1]
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1"]
        command += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", *map(str, script)]
        command += ["--batch", "4", "--steps", "12", "--every", "4"]
        command += ["--checkpoint", str(folder / f"{name}.pt"), "--losses", str(folder / f"{name}.jsonl")]
        environment = os.environ | {"DOJO_IMPL": str(tree), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[2])}
        with (folder / f"{name}.txt").open("a") as out:
            return subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, cwd=SCRIPT.parents[2], env=environment, start_new_session=True
            )

    def losses(self, folder, name):
        lines = (folder / f"{name}.jsonl").read_text().splitlines() if (folder / f"{name}.jsonl").exists() else []
        return [(line["step"], line["loss"]) for line in map(json.loads, lines)]

    def said(self, folder, name):
        return (folder / f"{name}.txt").read_text()

    def end(self, process):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def test_a_killed_worker_is_started_again_and_the_losses_are_those_of_an_unbroken_run(self, tmp_path):
        assert_close(amdahl(2, 0.5), 4 / 3)  # a stub says so at once
        unbroken = self.launch(tmp_path, "unbroken", SCRIPT)
        try:
            if unbroken.wait(120):
                fail(f"The script fails under torchrun:\n{self.said(tmp_path, 'unbroken')[-1500:]}")
        finally:
            self.end(unbroken)
        expected = dict(self.losses(tmp_path, "unbroken"))
        assert_equal(sorted(expected), list(range(12)))

        killed = tmp_path / "killed.py"
        killed.write_text(self.KILLED)
        broken = self.launch(tmp_path, "broken", killed, SCRIPT)
        try:
            if broken.wait(120):
                fail(f"The script doesn't come back after a worker was killed:\n{self.said(tmp_path, 'broken')[-1500:]}")
        finally:
            self.end(broken)
        steps = [step for step, _ in self.losses(tmp_path, "broken")]
        restarts = [i for i in range(1, len(steps)) if steps[i] <= steps[i - 1]]
        assert_equal((steps[0], steps[-1], len(restarts)), (0, 11, 1))
        assert_equal(steps[restarts[0]] in (4, 8), True)  # from a checkpoint on, not from the beginning
        for step, loss in self.losses(tmp_path, "broken"):
            assert_close(loss, expected[step])

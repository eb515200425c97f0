"""The fixture `ranks`: real processes, with every fault that a kata's code can have planted in them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from dojo.deadline import DeadlineExceeded, limit
from dojo.testing import Wrong, assert_close
from fixtures.processes import Call, Ranks

torch = pytest.importorskip("torch")
dist = pytest.importorskip("torch.distributed")


def alive(pids: Path) -> list[int]:
    """Which of the processes that wrote their number into the folder still run."""
    found = []
    for file in pids.iterdir():
        try:
            state = Path(f"/proc/{file.name}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            continue
        if state != "Z":  # ended, and nobody has asked how
            found.append(int(file.name))
    return found


@pytest.fixture
def run(ranks: Ranks, tmp_path: Path):
    """`ranks`, and a check at the end that no rank is left over."""
    pids = tmp_path / "pids"
    pids.mkdir()

    def call(n, work, **options):
        def noted(rank):
            (pids / str(os.getpid())).touch()
            return work(rank)

        return ranks(n, noted, **options)

    call.ranks = ranks
    yield call
    assert list(pids.iterdir()), "no rank was started"
    assert alive(pids) == []


class TestAnswers:
    def test_each_rank_answers_in_its_place(self, run):
        def work(rank):
            x = torch.full((3,), float(rank + 1), dtype=torch.float64)
            dist.all_reduce(x)
            return rank, x

        for rank, (number, total) in enumerate(run(3, work)):
            assert number == rank
            assert_close(total, torch.full((3,), 6.0, dtype=torch.float64))

    def test_they_start_in_less_than_a_second(self, run):
        run(2, lambda rank: None)  # what is imported only once
        seconds = []
        for _ in range(3):
            start = time.monotonic()
            run(4, lambda rank: dist.get_world_size())
            seconds.append(time.monotonic() - start)
        assert min(seconds) < 1

    def test_gradients_and_graphs(self, run):
        def work(rank):
            x = torch.arange(4.0, requires_grad=True)
            (x * (rank + 1)).sum().backward()
            return x.grad, x * 2  # what hangs on a graph comes over without it

        assert_close(run(2, work)[1][0], torch.full((4,), 2.0))

    def test_what_is_printed_is_captured(self, run, capfd):
        run(2, lambda rank: print(f"here is rank {rank}"))
        out = capfd.readouterr().out
        assert "here is rank 0" in out
        assert "here is rank 1" in out

    def test_the_environment_is_that_of_a_launcher(self, run):
        work = lambda rank: (os.environ["RANK"], os.environ["LOCAL_RANK"], os.environ["WORLD_SIZE"])  # noqa: E731
        assert run(2, work) == [("0", "0", "2"), ("1", "1", "2")]
        assert "RANK" not in os.environ

    def test_an_answer_that_does_not_pickle(self, run):
        with pytest.raises(Exception, match="pickle"):
            run(2, lambda rank: lambda: None)


class TestCalls:
    def test_sends_are_counted(self, run):
        def work(rank):
            x = torch.zeros(5, dtype=torch.float64)
            if rank == 0:
                dist.send(x, 1)
                dist.isend(x[:2].clone(), 1).wait()
            else:
                dist.recv(x, 0)
                dist.recv(x[:2], 0)

        run(2, work)
        assert run.ranks.calls == [[Call("send", 40, 1), Call("send", 16, 1)], []]
        assert run.ranks.sent(0) == 56
        assert run.ranks.sent(1) == 0

    def test_a_name_that_was_imported_is_counted_too(self, run):
        from torch.distributed import isend, recv

        run(2, lambda rank: isend(torch.zeros(3), 1).wait() if rank == 0 else recv(torch.zeros(3), 0) and None)
        assert run.ranks.calls[0] == [Call("send", 12, 1)]

    def test_collectives_are_counted_by_what_a_rank_puts_in(self, run):
        def work(rank):
            x = torch.zeros(6)
            dist.all_reduce(x)
            dist.broadcast(x, 0)
            dist.all_gather([torch.zeros(6), torch.zeros(6)], x)
            dist.all_gather_into_tensor(torch.zeros(12), x)
            dist.reduce_scatter_tensor(torch.zeros(3), x)
            dist.reduce(x, 0)
            dist.all_to_all_single(torch.zeros(6), x)
            dist.barrier()

        run(2, work)
        wanted = ["all_reduce", "broadcast", "all_gather", "all_gather", "reduce_scatter", "reduce", "all_to_all"]
        assert run.ranks.calls[1] == [*(Call(op, 24) for op in wanted), Call("barrier", 0)]

    def test_batches_are_counted(self, run):
        def work(rank):
            got = torch.zeros(2)
            other = 1 - rank
            ops = [dist.P2POp(dist.isend, torch.ones(2), other), dist.P2POp(dist.irecv, got, other)]
            for request in dist.batch_isend_irecv(ops):
                request.wait()
            return got

        assert_close(run(2, work)[0], torch.ones(2))
        assert [run.ranks.sent(rank) for rank in (0, 1)] == [8, 8]

    def test_a_rank_sees_its_own_while_it_works(self, run):
        def work(rank):
            before = len(run.ranks.here)
            dist.all_reduce(torch.zeros(6))
            return before, list(run.ranks.here)

        assert run(2, work) == [(0, [Call("all_reduce", 24)])] * 2
        assert run.ranks.here == []


class TestErrors:
    def test_a_rank_that_raises_is_named_once(self, run):
        def work(rank):
            if rank == 1:
                raise ValueError("no such axis: 3")
            dist.recv(torch.zeros(1), 1)

        start = time.monotonic()
        with pytest.raises(ValueError, match="no such axis: 3") as caught:
            run(3, work)
        assert caught.value.__notes__ == ["on rank 1 of 3"]
        assert [entry.name for entry in caught.traceback][-1] == "work"
        assert time.monotonic() - start < 2.0

    def test_a_wrong_answer_keeps_what_the_diagnosis_needs(self, run):
        def work(rank):
            dist.barrier()
            assert_close(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0 + rank]))

        with pytest.raises(Wrong) as caught:
            run(2, work)
        assert caught.value.kind == "values"
        assert_close(caught.value.actual, torch.tensor([1.0, 2.0]))
        assert_close(caught.value.expected, torch.tensor([1.0, 3.0]))

    def test_an_own_failure_has_no_answers(self, run):
        from dojo.compare import MISSING
        from dojo.testing import fail

        with pytest.raises(Wrong) as caught:
            run(2, lambda rank: fail("It shards nothing.", evidence=(3,)))
        assert caught.value.actual is MISSING
        assert caught.value.evidence == (3,)

    def test_an_error_that_does_not_pickle(self, run):
        class Local(Exception):
            pass

        def work(rank):
            raise Local("of this function only")

        with pytest.raises(RuntimeError, match="Local: of this function only"):
            run(2, work)

    def test_the_rank_that_failed_first_is_to_blame(self, run):
        def work(rank):
            if rank == 2:
                raise KeyError("weights")
            dist.recv(torch.zeros(1), 2)  # fails as rank 2 has gone

        with pytest.raises(KeyError, match="weights"):
            run(3, work)

    def test_a_rank_that_exits(self, run):
        with pytest.raises(Wrong, match=r"Rank 1 of 2 ended without an answer, with the exit status 3\."):
            run(2, lambda rank: os._exit(3) if rank else dist.recv(torch.zeros(1), 1) and None)


class TestRanksThatHang:
    def test_a_deadlock_is_seen_before_the_deadline_with_the_place_of_each_rank(self, run):
        def wait_for_the_other(rank):
            dist.recv(torch.zeros(1), 1 - rank)

        start = time.monotonic()
        with pytest.raises(Wrong) as caught:
            run(2, wait_for_the_other)
        assert time.monotonic() - start < 5
        assert "The ranks wait for each other" in str(caught.value)
        notes = caught.value.__notes__
        assert [note[:6] for note in notes] == ["rank 0", "rank 1"]
        assert all(note.endswith("wait_for_the_other > recv") for note in notes)
        assert [entry.name for entry in caught.traceback][-1] == "wait_for_the_other"

    def test_a_rank_that_sleeps(self, run):
        with pytest.raises(Wrong, match="none has done anything for 1 s"):
            run(2, lambda rank: time.sleep(60) if rank else None, idle=1.0)

    def test_an_endless_loop_ends_with_the_deadline_of_the_test(self, run):
        def spin(rank):
            while rank:
                pass

        start = time.monotonic()
        with pytest.raises(DeadlineExceeded) as caught, limit(1.5):
            run(2, spin)
        assert time.monotonic() - start < 4
        assert caught.value.__notes__[0] == "rank 0  has ended"
        assert "spin" in caught.value.__notes__[-1]

    def test_a_rank_that_ignores_signals(self, run):
        def work(rank):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                with contextlib.suppress(BaseException):
                    time.sleep(60)

        with pytest.raises(Wrong, match="wait for each other"):
            run(2, work, idle=0.5)

    def test_what_a_rank_started_ends_with_it(self, run, tmp_path):
        import subprocess

        def work(rank):
            child = subprocess.Popen(["sleep", "60"])
            (tmp_path / "pids" / str(child.pid)).touch()
            time.sleep(60)

        with pytest.raises(Wrong):
            run(2, work, idle=0.5)
        time.sleep(0.1)

    def test_the_ranks_of_a_killed_test_end_with_it(self, tmp_path):
        pids = tmp_path / "pids"
        pids.mkdir()
        parent = os.fork()
        if parent == 0:

            def work(rank):
                (pids / str(os.getpid())).touch()
                time.sleep(60)

            try:
                Ranks()(2, work, idle=60)
            finally:
                os._exit(0)
        until = time.monotonic() + 10
        while len(list(pids.iterdir())) < 2 and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        time.sleep(0.3)
        assert len(list(pids.iterdir())) == 2
        assert alive(pids) == []


class TestRanksThatAreKilled:
    def test_an_unexpected_death(self, run):
        with pytest.raises(Wrong, match=r"Rank 1 of 2 was ended by SIGSEGV, in .*<lambda>"):
            run(2, lambda rank: os.kill(os.getpid(), signal.SIGSEGV) if rank else dist.recv(torch.zeros(1), 1) and None)

    def test_an_expected_one_ends_the_others(self, run):
        def work(rank):
            if rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            dist.recv(torch.zeros(1), 1)
            return "never"

        assert run(2, work, killed=[1]) == [None, None]

    def test_one_that_was_expected_and_did_not_come(self, run):
        with pytest.raises(Wrong, match="Rank 1 of 2 should have been killed, but it ended"):
            run(2, lambda rank: None, killed=[1])

    def test_an_error_before_the_expected_death_is_not_hidden(self, run):
        def work(rank):
            if rank == 0:
                raise ValueError("checkpoint of step 7 is empty")
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGKILL)

        with pytest.raises(ValueError, match="step 7"):
            run(2, work, killed=[1])


class TestCarried:
    def test_what_is_noted_in_a_rank_comes_back(self, run):
        from dojo.carried import carrying

        seen: set[int] = set()
        with carrying(lambda: seen, seen.update):
            run(3, lambda rank: seen.add(rank))
        assert seen == {0, 1, 2}

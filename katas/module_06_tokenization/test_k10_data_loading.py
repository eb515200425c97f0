"""Judges k10_data_loading by counting every sample, against torch's DataLoader and `datasets` streams."""

import json
import random
import tracemalloc
from collections import Counter
from itertools import count, islice, permutations

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_06_tokenization.k10_data_loading import (
    ResumableLoader,
    TokenFile,
    pack,
    shard,
    shuffle_buffer,
    write_tokens,
)

pytestmark = [from_scratch("torch", "datasets", "numpy.ndarray.tofile"), pure()]


def peak_kilobytes(run) -> float:
    """The most memory that Python and numpy held while `run()` ran."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1] / 1024
    finally:
        tracemalloc.stop()


def generators() -> tuple:
    """The states of Python's and numpy's global generators."""
    return random.getstate(), np.random.get_state()[1].tolist()


def not_again(given: list, rest: list) -> None:
    """Fails where the last batch that was given comes once more."""
    if given and rest and rest[0] == given[-1]:
        fail(f"The batch {given[-1]} was given, and comes again when the run goes on.", evidence=("again",))


def watched(samples, taken: list):
    """`samples` one by one; each is put in `taken` when it is asked for."""
    for sample in samples:
        taken.append(sample)
        yield sample


class TestWriteTokens:
    @pytest.mark.parametrize(("vocab_size", "dtype"), [(300, "<u2"), (65_536, "<u2"), (65_537, "<u4"), (10**6, "<u4")])
    def test_two_bytes_a_token_or_four(self, tmp_path, rng, vocab_size, dtype):
        tokens = rng.integers(0, vocab_size, 501).tolist()
        tokens += [0, vocab_size - 1]
        assert_equal(write_tokens(tmp_path / "x.bin", tokens, vocab_size), 503)
        assert_equal((tmp_path / "x.bin").stat().st_size / 503, float(dtype[-1]))
        written = np.frombuffer((tmp_path / "x.bin").read_bytes(), dtype)
        assert_close(written.astype(np.int64), np.array(tokens))

    def test_a_generator_is_never_held_in_memory(self, tmp_path):
        n = 150_000
        counts = []
        stream = (i * 7919 % 50_000 for i in range(n))
        peak = peak_kilobytes(lambda: counts.append(write_tokens(tmp_path / "x.bin", stream, 50_000)))
        assert_equal(counts, [n])
        written = np.fromfile(tmp_path / "x.bin", "<u2")
        assert_close(written.astype(np.int64), np.arange(n) * 7919 % 50_000)
        if peak > 450:
            fail(f"write_tokens() held {peak:.0f} KB for {n:,} tokens: write 4096 at a time.", evidence=("memory",))

    def test_an_empty_stream(self, tmp_path):
        assert_equal(write_tokens(tmp_path / "x.bin", iter([]), 10), 0)
        assert_equal((tmp_path / "x.bin").read_bytes(), b"")

    @pytest.mark.parametrize("bad", [-1, 50, 51])
    def test_a_token_outside_the_vocabulary_is_named(self, tmp_path, bad):
        with raises(ValueError, bad, 50):
            write_tokens(tmp_path / "x.bin", [3, 49, 0, bad, 7], 50)


class TestTokenFile:
    @pytest.mark.parametrize(("block", "vocab_size"), [(8, 1000), (5, 70_000)])
    def test_a_block_and_its_targets(self, tmp_path, rng, block, vocab_size):
        tokens = rng.integers(0, vocab_size, 43)
        tokens.astype("<u2" if vocab_size < 65_536 else "<u4").tofile(tmp_path / "x.bin")
        file = TokenFile(tmp_path / "x.bin", block, vocab_size)
        for i in (0, 1, 3):
            x, y = file[i]
            assert_close(y, tokens[i * block + 1 : i * block + block + 1])
            assert_close(x, tokens[i * block : i * block + block])

    @pytest.mark.parametrize(("n", "blocks"), [(16, 3), (17, 4), (18, 4), (4, 0), (1, 0)])
    def test_the_last_block_has_its_last_target(self, tmp_path, rng, n, blocks):
        tokens = rng.integers(0, 1000, n).astype("<u2")
        tokens.tofile(tmp_path / "x.bin")
        file = TokenFile(tmp_path / "x.bin", 4, 1000)
        assert_equal(len(file), blocks)
        if blocks:
            assert_close(file[blocks - 1][1], tokens[4 * blocks - 3 : 4 * blocks + 1].astype(np.int64))

    @pytest.mark.parametrize("block", [1, 4])
    def test_an_empty_file_has_no_blocks(self, tmp_path, block):
        (tmp_path / "x.bin").touch()
        file = TokenFile(tmp_path / "x.bin", block, 1000)
        assert_equal(len(file), 0)
        with raises(IndexError, 0, 0):
            file[0]

    def test_a_block_that_is_not_there_is_named(self, tmp_path):
        np.arange(21, dtype="<u2").tofile(tmp_path / "x.bin")
        file = TokenFile(tmp_path / "x.bin", 5, 100)
        with raises(IndexError, 4, 4):
            file[4]
        with raises(IndexError, 9, 4):
            file[9]
        with raises(IndexError, -1, 4):
            file[-1]

    def test_only_what_is_asked_for_is_read(self, tmp_path):
        path = tmp_path / "x.bin"
        with path.open("wb") as file:
            file.truncate(200_000_000)  # a hole: it takes no room on the disk

        def read():
            blocks = TokenFile(path, 64, 1000)
            return [blocks[i] for i in (0, len(blocks) // 2, len(blocks) - 1)]

        peak = peak_kilobytes(read)
        if peak > 1000:
            fail(f"TokenFile held {peak:.0f} KB for three blocks of 64 tokens: map the file, don't load it.", evidence=("memory",))

    def test_x_and_y_share_no_memory_with_each_other_or_the_file(self, tmp_path):
        np.arange(50, 80, dtype="<u2").tofile(tmp_path / "x.bin")
        file = TokenFile(tmp_path / "x.bin", 6, 100)
        x, y = file[1]
        x[:] = 0
        assert_close(y, np.arange(57, 63))
        assert_close(file[1][0], np.arange(56, 62))


class TestPack:
    def test_the_example_worked_by_hand(self):
        rows = list(pack([[5, 6, 7], [8], [9, 4]], 4, 0))
        assert_close([tokens for tokens, _ in rows], [np.array([5, 6, 7, 0]), np.array([8, 0, 9, 4]), np.array([0, 0, 0, 0])])
        assert_close([segments for _, segments in rows], [np.array([0, 0, 0, 0]), np.array([0, 0, 1, 1]), np.array([0, -1, -1, -1])])

    @pytest.mark.parametrize(("length", "end"), [(7, 99), (16, 3), (1, 50)])
    def test_matches_cutting_up_the_whole_stream(self, rng, length, end):
        documents = [rng.integers(100, 200, rng.integers(0, 30)).tolist() for _ in range(25)]
        stream = [(t, d) for d, document in enumerate(documents) for t in [*document, end]]
        rows = list(pack(iter(documents), length, end))
        assert_equal(len(rows), -(-len(stream) // length))
        for r, (tokens, segments) in enumerate(rows):
            part = stream[r * length : (r + 1) * length]
            filling = length - len(part)
            assert_close(tokens, np.array([t for t, _ in part] + [end] * filling))
            first = part[0][1]
            # No document is left out, so that their numbers go up by one inside a row.
            assert_close(segments, np.array([d - first for _, d in part] + [-1] * filling))

    def test_a_long_document_goes_on_as_the_first_segment(self):
        rows = list(pack([[7], [1, 2, 3, 4, 5, 6]], 3, 0))
        assert_close([tokens for tokens, _ in rows], [np.array([7, 0, 1]), np.array([2, 3, 4]), np.array([5, 6, 0])])
        assert_close([segments for _, segments in rows], [np.array([0, 0, 1]), np.array([0, 0, 0]), np.array([0, 0, 0])])

    def test_no_row_of_filling_alone(self):
        assert_equal(len(list(pack([[1, 2, 3], [4, 5, 6]], 4, 0))), 2)
        assert_equal(list(pack([], 4, 0)), [])

    def test_a_stream_that_never_ends(self):
        taken = []
        rows = pack(watched(([i, i + 1, i + 2] for i in count(10)), taken), 8, 0)
        for n in (1, 2, 3):
            tokens, _ = next(rows)
            assert_close(tokens, np.array([2 * n + 8, 2 * n + 9, 2 * n + 10, 0, 2 * n + 9, 2 * n + 10, 2 * n + 11, 0]))
            if len(taken) > 2 * n:
                fail(f"pack() took {len(taken)} documents for {n} rows, where {2 * n} fill them.", evidence=("eager", len(taken)))


class TestShuffleBuffer:
    @pytest.mark.parametrize(("n", "size"), [(100, 7), (100, 99), (5, 20), (6, 6), (0, 3)])
    def test_every_sample_comes_out_once(self, n, size):
        samples = [f"s{i}" for i in range(n)]
        assert_equal(sorted(shuffle_buffer(iter(samples), size, seed=3)), sorted(samples))

    def test_a_buffer_of_one_keeps_the_order(self):
        assert_equal(list(shuffle_buffer(iter("kata"), 1, seed=5)), list("kata"))

    def test_the_order_follows_from_the_seed(self):
        one, again, other = (list(shuffle_buffer(iter(range(300)), 50, seed=s)) for s in (1, 1, 2))
        assert_equal(one, again)
        if one == other:
            fail("Seeds 1 and 2 give the same order.", evidence=("seed",))

    @pytest.mark.parametrize("size", [2, 10])
    def test_it_holds_no_more_than_its_size(self, size):
        taken = []
        given = []
        for n, sample in enumerate(shuffle_buffer(watched(range(60), taken), size, seed=4), 1):
            given.append(sample)
            if len(taken) > n + size - 1:
                fail(f"{len(taken)} samples were taken when {n} had come out of a buffer of {size}.", evidence=("eager",))
        assert_equal(sorted(given), list(range(60)))

    def test_whatever_it_holds_is_equally_likely(self):
        # 6 of 20 samples are in the buffer when the first comes out; then 3 are left when it drains.
        size, runs = 6, 3000
        streams = [list(shuffle_buffer(iter(range(20)), size, seed=s)) for s in range(runs)]
        first = Counter(stream[0] for stream in streams)
        assert_equal(sorted(first), list(range(size)))
        chi_squared = sum((first[i] - runs / size) ** 2 / (runs / size) for i in range(size))
        # 5 degrees of freedom: above 45 once in 10⁸ times.
        if chi_squared > 45:
            fail(f"The first sample out is uneven: {dict(first)} in {runs} runs.", evidence=("uneven", "first"))
        last = Counter(stream[-1] == 19 for stream in streams)
        # The newcomer of step 15 is drawn first or last, ..., with 1/6 each.
        spread = (runs * 5 / 36) ** 0.5
        if abs(last[True] - runs / size) > 6 * spread:
            fail(f"The last sample comes out last in {last[True]} of {runs} runs; 1/6 was expected.", evidence=("uneven", "last"))

    @pytest.mark.parametrize("size", [4, 9])
    def test_what_is_left_at_the_end_comes_in_any_order(self, size):
        orders = list(permutations("abcd"))
        runs = 100 * len(orders)
        seen = Counter(tuple(shuffle_buffer(iter("abcd"), size, seed=s)) for s in range(runs))
        chi_squared = sum((seen[order] - 100) ** 2 / 100 for order in orders)
        # 23 degrees of freedom: above 85 once in 10⁸ times.
        if chi_squared > 85:
            never = sum(not seen[order] for order in orders)
            fail(f"Of the {len(orders)} orders of 4 samples {never} never come in {runs} runs; all should, about 100 times each.", evidence=("uneven", "rest", never))

    def test_a_draw_does_not_depend_on_those_before(self):
        size, runs = 3, 2700
        pairs = Counter(tuple(islice(shuffle_buffer(iter(range(20)), size, seed=s), 2)) for s in range(runs))
        possible = [(a, b) for a in range(3) for b in range(4) if a != b]
        assert_equal(sorted(pairs), possible)
        chi_squared = sum((pairs[p] - runs / 9) ** 2 / (runs / 9) for p in possible)
        # 8 degrees of freedom: above 53 once in 10⁸ times.
        if chi_squared > 53:
            fail(f"The first two samples are uneven: {dict(pairs)} in {runs} runs.", evidence=("uneven", "pairs"))

    def test_the_global_generators_stay_as_they_are(self):
        before = generators()
        first = list(shuffle_buffer(iter(range(50)), 10, seed=3))
        assert_equal(generators() == before, True)
        random.random()
        assert_equal(list(shuffle_buffer(iter(range(50)), 10, seed=3)), first)

    @pytest.mark.deadline(60)  # the import of datasets is slow on a busy machine
    def test_an_order_like_that_of_datasets(self):
        from datasets import Dataset

        stream = Dataset.from_dict({"x": list(range(400))}).to_iterable_dataset().shuffle(seed=7, buffer_size=40)
        theirs = [row["x"] for row in stream]
        ours = list(shuffle_buffer(iter(range(400)), 40, seed=7))
        assert_equal(sorted(ours), sorted(theirs))
        moved = [np.abs(np.array(order) - np.arange(400)).mean() for order in (ours, theirs)]
        # Both move a sample by about the buffer's size on average; the streams themselves differ.
        if not 0.5 < moved[0] / moved[1] < 2:
            fail(f"Samples move by {moved[0]:.0f} places, those of `datasets` by {moved[1]:.0f}.", evidence=("moved",))

    @pytest.mark.parametrize("size", [0, -2])
    def test_a_buffer_without_room_is_refused(self, size):
        with raises(ValueError, size):
            list(shuffle_buffer(iter("ab"), size, seed=0))


class TestShard:
    @pytest.mark.parametrize(("world", "workers"), [(1, 1), (2, 1), (3, 1), (1, 4), (3, 2), (5, 4)])
    @pytest.mark.parametrize("n", [0, 1, 17, 100])
    def test_every_index_belongs_to_one_loader(self, n, world, workers):
        parts = [shard(n, r, world, w, workers) for r in range(world) for w in range(workers)]
        assert_close(np.sort(np.concatenate(parts)), np.arange(n))
        sizes = [len(part) for part in parts]
        assert_equal(max(sizes) - min(sizes) <= 1, True)

    def test_without_workers_a_rank_has_all_of_its_share(self):
        assert_close(np.sort(np.concatenate([shard(23, 0, 2), shard(23, 1, 2)])), np.arange(23))

    @pytest.mark.deadline(60)  # the import of datasets is slow on a busy machine
    def test_shares_are_as_large_as_those_of_datasets(self):
        from datasets import Dataset
        from datasets.distributed import split_dataset_by_node

        rows = Dataset.from_dict({"x": list(range(29))})
        theirs = sorted(len(split_dataset_by_node(rows, rank=r, world_size=4)) for r in range(4))
        assert_equal(sorted(len(shard(29, r, 4)) for r in range(4)), theirs)

    @pytest.mark.parametrize(
        ("rank", "world", "worker", "workers", "named"),
        [
            (4, 4, 0, 1, (4, 4)),
            (7, 4, 0, 1, (7, 4)),
            (-1, 3, 0, 1, (-1, 3)),
            (0, 1, 5, 5, (5, 5)),
            (1, 2, 8, 5, (8, 5)),
            (0, 2, -1, 6, (-1, 6)),
        ],
    )
    def test_a_place_that_is_not_there_is_named(self, rank, world, worker, workers, named):
        with raises(ValueError, *named):
            shard(10, rank, world, worker, workers)


class TestResumableLoader:
    def test_batches_as_torch_cuts_them(self):
        from torch.utils.data import DataLoader

        samples = [f"s{i}" for i in range(23)]
        ours = list(ResumableLoader(samples, 5, seed=1))
        assert_equal([len(batch) for batch in ours], [len(batch) for batch in DataLoader(samples, 5, shuffle=True)])
        assert_equal(sorted(x for batch in ours for x in batch), sorted(samples))

    @pytest.mark.parametrize(("n", "batch", "world"), [(23, 4, 3), (40, 5, 2), (7, 10, 2), (24, 3, 4)])
    def test_an_epoch_gives_every_sample_once_over_all_ranks(self, n, batch, world):
        samples = [f"s{i}" for i in range(n)]
        loaders = [ResumableLoader(samples, batch, 3, rank, world) for rank in range(world)]
        for _ in range(2):
            parts = [part for loader in loaders for part in loader]
            assert_equal(sorted(x for part in parts for x in part), sorted(samples))
            assert_equal(all(0 < len(part) <= batch for part in parts), True)

    def test_the_order_follows_from_seed_and_epoch(self):
        def epochs(seed):
            loader = ResumableLoader(list(range(100, 160)), 8, seed)
            return [[x for batch in loader for x in batch] for _ in range(3)]

        one, again, other = epochs(1), epochs(1), epochs(2)
        assert_equal(one, again)
        for what, a, b in [("epochs", one[0], one[1]), ("epochs", one[1], one[2]), ("seeds", one[0], other[0])]:
            if a == b:
                fail(f"Two {what} have the same order.", evidence=("same", what))
        if one[0] == sorted(one[0]):
            fail("The samples come in the order in which they were given.", evidence=("unshuffled",))

    def test_a_ranks_share_is_drawn_anew_each_epoch(self):
        loader = ResumableLoader(list(range(300, 360)), 7, 4, rank=1, world=3)
        shares = [sorted(x for batch in loader for x in batch) for _ in range(3)]
        assert_equal([len(share) for share in shares], [20, 20, 20])
        if shares[0] == shares[1] or shares[1] == shares[2]:
            fail("A rank has the same samples in two epochs.", evidence=("same share",))

    def test_iterating_again_gives_what_is_left(self):
        samples = list(range(300, 322))
        whole = list(ResumableLoader(samples, 5, 4))
        loader = ResumableLoader(samples, 5, 4)
        given = list(islice(loader, 2))
        rest = list(loader)
        not_again(given, rest)
        assert_equal(given + rest, whole)
        assert_equal(len(list(loader)), len(whole))

    def test_the_global_generators_stay_as_they_are(self):
        before = generators()
        first = list(ResumableLoader(list(range(50)), 10, 3))
        assert_equal(generators() == before, True)
        random.random(), np.random.random()
        assert_equal(list(ResumableLoader(list(range(50)), 10, 3)), first)

    @pytest.mark.parametrize("stop", [0, 1, 3, 5, 6, 7, 13])
    def test_a_resumed_run_equals_the_unbroken_one(self, stop):
        samples = list(range(500, 546))

        def batches(loader):
            while True:
                yield from loader

        unbroken = list(islice(batches(ResumableLoader(samples, 4, 9, 1, 2)), 20))
        first = ResumableLoader(samples, 4, 9, 1, 2)
        given = list(islice(batches(first), stop))
        state = json.loads(json.dumps(first.state_dict()))
        second = ResumableLoader(samples, 4, 9, 1, 2)
        second.load_state_dict(state)
        rest = list(islice(batches(second), 20 - stop))
        not_again(given, rest)
        assert_equal(given + rest, unbroken)

    def test_going_on_does_not_change_a_state_that_was_taken(self):
        loader = ResumableLoader(list(range(50)), 5, 2)
        stream = iter(loader)
        given = [next(stream)]
        state = loader.state_dict()
        rest = list(stream)
        again = ResumableLoader(list(range(50)), 5, 2)
        before = json.dumps(state)
        again.load_state_dict(state)
        resumed = list(again)
        not_again(given, resumed)
        assert_equal(resumed, rest)
        assert_equal(json.dumps(state), before)

    def test_a_state_is_a_few_numbers(self):
        loader = ResumableLoader(list(range(5000)), 5, 2)
        next(iter(loader))
        length = len(json.dumps(loader.state_dict()))
        if length > 1000:
            fail(f"The state of a loader of 5000 samples has {length} characters as JSON.", evidence=("state",))


def test_a_token_file_feeds_torchs_workers(tmp_path):
    """All of it together: two worker processes, each with its shard, and no block twice."""
    import torch
    from torch.utils.data import DataLoader, IterableDataset, get_worker_info

    tokens = (np.arange(3001) * 7919 % 1009).tolist()
    write_tokens(tmp_path / "x.bin", tokens, 1009)
    blocks = TokenFile(tmp_path / "x.bin", 30, 1009)

    class Stream(IterableDataset):
        def __iter__(self):
            me = get_worker_info()
            for i in shard(len(blocks), 0, 1, me.id, me.num_workers):
                yield blocks[int(i)]

    given = [x for x, _ in DataLoader(Stream(), batch_size=None, num_workers=2)]
    order = sorted(range(100), key=lambda i: tokens[30 * i : 30 * i + 30])
    expected = torch.tensor([tokens[30 * i : 30 * i + 30] for i in order])
    assert_close(torch.tensor(sorted(x.tolist() for x in given)), expected)

"""Judges k03_attention_patterns against loops over every pair, torch's flex attention and its sdpa."""

import pytest
import torch
import torch.nn.functional as F

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_05_transformers.k03_attention_patterns import (
    block_mask,
    distances,
    document_mask,
    global_mask,
    score_entries,
    strided_mask,
    window_mask,
)

pytestmark = [from_scratch("torch.nn.attention.flex_attention"), pure()]

SHAPES = [(6, 6), (3, 8), (1, 5), (4, 5)]


def pairs(n, m, allowed):
    """The mask (n, m) that asks `allowed(position of the query, position of the key)` for every pair."""
    return torch.tensor([[bool(allowed(i + m - n, j)) for j in range(m)] for i in range(n)])


def drawn(mask):
    """The mask that a drawing shows: x for True."""
    return torch.tensor([[c == "x" for c in row] for row in mask.split()])


class TestDistances:
    def test_the_example_worked_by_hand(self):
        expected = torch.tensor([[2, 1, 0, -1, -2], [3, 2, 1, 0, -1], [4, 3, 2, 1, 0]])
        assert_close(distances(3, 5), expected)

    @pytest.mark.parametrize(("n", "m"), SHAPES)
    def test_is_the_position_of_the_query_less_that_of_the_key(self, n, m):
        expected = torch.tensor([[i + m - n - j for j in range(m)] for i in range(n)])
        assert_close(distances(n, m), expected)


class TestWindowMask:
    def test_the_example_worked_by_hand(self):
        assert_close(window_mask(3, 5, 1), drawn(".xx.. ..xx. ...xx"))

    @pytest.mark.parametrize(("n", "m"), SHAPES)
    @pytest.mark.parametrize(("left", "right"), [(2, 0), (0, 0), (0, 2), (3, 1), (1, 3), (9, 9)])
    def test_holds_both_of_its_ends(self, n, m, left, right):
        expected = pairs(n, m, lambda p, j: p - left <= j <= p + right)
        assert_close(window_mask(n, m, left, right), expected)

    @pytest.mark.parametrize(("n", "m"), SHAPES)
    def test_none_sets_no_limit_on_its_side(self, n, m):
        assert_close(window_mask(n, m, None), pairs(n, m, lambda p, j: j <= p))
        assert_close(window_mask(n, m, None, 1), pairs(n, m, lambda p, j: j <= p + 1))
        assert_close(window_mask(n, m, 2, None), pairs(n, m, lambda p, j: j >= p - 2))
        assert_close(window_mask(n, m, None, None), pairs(n, m, lambda p, j: True))

    @pytest.mark.parametrize("reach", [-1, -3])
    def test_rejects_a_negative_reach(self, reach):
        with raises(ValueError, reach):
            window_mask(4, 6, reach, 2)
        with raises(ValueError, reach):
            window_mask(4, 6, 2, reach)

    @pytest.mark.parametrize(("left", "layers"), [(2, 3), (3, 2)])
    def test_stacked_layers_see_their_windows_added_up(self, left, layers):
        one = window_mask(12, 12, left).double()
        reached = torch.linalg.matrix_power(one, layers) > 0
        assert_close(reached, window_mask(12, 12, left * layers))


class TestStridedMask:
    def test_steps_back_from_the_query(self):
        assert_close(strided_mask(3, 6, 2), drawn(".x.x.. x.x.x. .x.x.x"))

    @pytest.mark.parametrize(("n", "m"), SHAPES)
    @pytest.mark.parametrize("stride", [1, 2, 3, 9])
    def test_matches_a_loop_over_pairs(self, n, m, stride):
        assert_close(strided_mask(n, m, stride), pairs(n, m, lambda p, j: j in range(p, -1, -stride)))

    @pytest.mark.parametrize("stride", [0, -2])
    def test_rejects_a_stride_below_one(self, stride):
        with raises(ValueError, stride):
            strided_mask(4, 6, stride)


class TestGlobalMask:
    def test_a_global_token_sees_all_and_is_seen_by_all(self):
        assert_close(global_mask(4, [2]), drawn("..x. ..x. xxxx ..x."))

    @pytest.mark.parametrize("n", [5, 7])
    @pytest.mark.parametrize("tokens", [[], [0], [4], [3, 1], [2, 2, 4]])
    def test_matches_a_loop_over_pairs(self, n, tokens):
        assert_close(global_mask(n, tokens), pairs(n, n, lambda p, j: p in tokens or j in tokens))

    @pytest.mark.parametrize(("n", "token"), [(4, 4), (4, -1), (6, 9), (6, -3)])
    def test_rejects_a_position_outside_the_text(self, n, token):
        with raises(ValueError, n, token):
            global_mask(n, [1, token])


class TestDocumentMask:
    def test_documents_see_only_themselves(self):
        assert_close(document_mask(torch.tensor([7, 7, 3, 3, 3])), drawn("xx... xx... ..xxx ..xxx ..xxx"))

    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    @pytest.mark.parametrize("n", [5, 8])
    def test_matches_a_loop_over_pairs_with_any_leading_dimensions(self, lead, n):
        documents = torch.randint(-2, 3, (*lead, n))
        expected = [pairs(n, n, lambda p, j, row=row: row[p] == row[j]) for row in documents.reshape(-1, n)]
        assert_close(document_mask(documents), torch.stack(expected).reshape(*lead, n, n))

    @pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.int64])
    def test_takes_ids_of_any_integer_dtype(self, dtype):
        documents = torch.tensor([4, -1, 4, -1, 0], dtype=dtype)
        assert_close(document_mask(documents), drawn("x.x.. .x.x. x.x.. .x.x. ....x"))

    def test_tells_large_ids_apart(self):
        documents = torch.tensor([2**53, 2**53 + 1, 2**53, -(2**62), -(2**62) + 1])
        assert_close(document_mask(documents), drawn("x.x.. .x... x.x.. ...x. ....x"))

    def test_a_packed_batch_gives_what_its_texts_give_alone(self):
        lengths = [3, 5, 2]
        q, k, v = torch.randn(3, 4, 10, 6, dtype=torch.float64)
        documents = torch.tensor([5, 0, 9]).repeat_interleave(torch.tensor(lengths))
        packed = document_mask(documents) & window_mask(10, 10, None)
        alone = [
            F.scaled_dot_product_attention(*parts, is_causal=True)
            for parts in zip(*(t.split(lengths, -2) for t in (q, k, v)), strict=True)
        ]
        assert_close(F.scaled_dot_product_attention(q, k, v, attn_mask=packed), torch.cat(alone, -2))


class TestBlockMask:
    def test_an_entry_of_the_layout_becomes_a_block(self):
        layout = drawn("x. xx .x")
        assert_close(block_mask(layout, 2), drawn("xx.. xx.. xxxx xxxx ..xx ..xx"))

    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    @pytest.mark.parametrize("size", [1, 3, 4])
    def test_matches_a_kronecker_product_with_any_leading_dimensions(self, lead, size):
        layout = torch.rand(*lead, 3, 5) > 0.5
        expected = [torch.kron(rows.int(), torch.ones(size, size).int()) for rows in layout.reshape(-1, 3, 5)]
        assert_close(block_mask(layout, size), torch.stack(expected).reshape(*lead, 3 * size, 5 * size).bool())


class TestScoreEntries:
    def test_the_example_worked_by_hand(self):
        causal, window, stride = window_mask(8, 8, None), window_mask(8, 8, 2), strided_mask(8, 8, 4)
        counts = [score_entries(mask) for mask in (causal, window, stride, window | stride)]
        assert_equal(counts, [36, 21, 12, 25])
        assert_equal(score_entries(causal, 4), 48)

    @pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
    @pytest.mark.parametrize(("n", "m"), [(6, 12), (12, 6), (5, 7), (1, 4)])
    @pytest.mark.parametrize("block", [1, 2, 3, 4])
    def test_counts_in_full_each_block_with_a_true(self, lead, n, m, block):
        mask = torch.rand(*lead, n, m) > 0.8
        needed = {
            (batch, i // block, j // block)
            for batch, rows in enumerate(mask.reshape(-1, n, m))
            for i, j in rows.nonzero().tolist()
        }
        assert_equal(score_entries(mask, block), len(needed) * block**2)

    def test_blocks_with_several_true_count_once(self):
        assert_equal(score_entries(torch.ones(4, 6, dtype=torch.bool), 2), 24)
        assert_equal(score_entries(torch.ones(5, 7, dtype=torch.bool), 4), 64)

    def test_a_mask_that_hides_all_costs_nothing(self):
        assert_equal(score_entries(torch.zeros(2, 5, 7, dtype=torch.bool), 3), 0)

    @pytest.mark.parametrize(("n", "block"), [(8, 2), (20, 4), (15, 6)])
    def test_agrees_with_flex_attention(self, n, block):
        from torch.nn.attention.flex_attention import create_block_mask

        mask = window_mask(n, n, 3, 1) | global_mask(n, [n // 2])
        theirs = create_block_mask(lambda b, h, i, j: mask[i, j], None, None, n, n, device="cpu", BLOCK_SIZE=block)
        assert_equal(score_entries(mask, block), int(theirs.to_dense().sum()) * block**2)


class TestOnTheGpu:
    def test_masks_of_ids_and_of_layouts(self, gpu):
        gpu.check(document_mask, torch.tensor([[4, 4, 1, 9], [0, 3, 3, 3]]))
        gpu.check(block_mask, torch.tensor([[True, False], [True, True]]), 3)

    def test_entries_are_counted(self, gpu):
        gpu.check(score_entries, torch.rand(5, 7) > 0.5, 2)

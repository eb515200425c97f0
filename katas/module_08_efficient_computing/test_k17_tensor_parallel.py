"""Judges k17_tensor_parallel by real ranks against the dense layers on one process: outputs, gradients, the bytes that
each rank holds, and the bytes that it sends."""

import contextlib
import copy
import gc
import math
import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_08_efficient_computing.k17_tensor_parallel import (
    ColumnParallelLinear,
    ParallelAttention,
    ParallelMLP,
    RowParallelLinear,
    copy_to_ranks,
    reduce_from_ranks,
    vocab_parallel_cross_entropy,
)

pytestmark = [
    from_scratch(
        "torch.distributed.tensor",
        "torch.distributed.nn",
        "torch.distributed._functional_collectives",
    ),
    pure(),
]

LAYERS = ("column", "row", "mlp", "attention")
ROWS = ("down.weight", "out.weight")  # the weights that are cut by columns
WHOLE = ("down.bias", "out.bias")  # what every rank has whole


class DenseMLP(nn.Module):
    def __init__(self, up, down):
        super().__init__()
        self.up, self.down = up, down

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))


class DenseAttention(nn.Module):
    """Head by head."""

    def __init__(self, q, k, v, out, heads, causal=False):
        super().__init__()
        self.q, self.k, self.v, self.out, self.heads, self.causal = q, k, v, out, heads, causal

    def forward(self, x):
        heads = zip(*(part(x).chunk(self.heads, -1) for part in (self.q, self.k, self.v)), strict=True)
        return self.out(torch.cat([self.head(q, k, v) for q, k, v in heads], -1))

    def head(self, q, k, v):
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        if self.causal:
            t = q.shape[-2]
            scores = scores + torch.full((t, t), -math.inf, dtype=q.dtype).triu(1)
        return scores.softmax(-1) @ v


def linear(wide, out, dtype=torch.float64, bias=True):
    return nn.Linear(wide, out, bias=bias, dtype=dtype)


def attention(wide, width, out, heads, causal=None, dtype=torch.float64, bias=True):
    """The dense attention, and the parallel one of its layers; causal None: not said."""
    layers = [linear(wide, width, dtype, bias) for _ in range(3)] + [linear(width, out, dtype, bias)]
    more = {} if causal is None else {"causal": causal}

    def build(own):
        return ParallelAttention(own.q, own.k, own.v, own.out, heads, **more)

    return DenseAttention(*layers, heads, bool(causal)), build


def mlp(wide, hidden, out, dtype=torch.float64, bias=True):
    dense = DenseMLP(linear(wide, hidden, dtype, bias), linear(hidden, out, dtype, bias))
    return dense, lambda own: ParallelMLP(own.up, own.down)


def cut(x, n, dim):
    """Each rank's part."""
    return [part.clone() for part in x.chunk(n, dim)]


def cut_parameter(kind, name, x, n):
    full = {"row": "out.", "column": "q."}.get(kind, "") + name
    if full in WHOLE:
        return [x] * n
    return cut(x, n, 1 if full in ROWS else 0)


def forward_backward(layer, x, upstream):
    """The output, x's gradient, and the parameters' by their names."""
    x, given = x.clone().requires_grad_(), upstream.clone()
    before = x.detach().clone()
    out = layer(x)
    out.backward(given)
    if not torch.equal(before, x) or not torch.equal(given, upstream):
        fail(f"{type(layer).__name__} changes its input, or the gradient of its output.")
    return out.detach(), x.grad, {name: p.grad for name, p in layer.named_parameters()}


def traffic(ranks, rank, n):
    """The bytes that the calls of a rank cost it on a ring."""
    cost = {"send": 1.0, "all_gather": n - 1.0, "all_reduce": 2 * (n - 1) / n}
    return sum(cost.get(call.op, (n - 1) / n) * call.bytes for call in ranks.calls[rank])


def check_traffic(ranks, n, limit, what):
    for rank in range(n):
        if (sent := traffic(ranks, rank, n)) > limit + 0.5:
            fail(
                f"Rank {rank} of {n} sends {sent:.0f} bytes where {limit:.0f} do for {what}.",
                evidence=(n, sent),
            )


def all_reduce_bytes(n, *tensors):
    """Of one all-reduce a tensor, each padded to n equal parts."""
    return sum(2 * (n - 1) * -(-x.numel() // n) * x.element_size() for x in tensors)


def check_layer(ranks, kind, n, dense, build, shape):
    """Forward and backward on n ranks: as the dense layer, and no more is sent than one all-reduce each way."""
    first = next(dense.parameters())
    x = torch.randn(shape, dtype=first.dtype)
    upstream = torch.randn_like(dense(x).detach())
    xs = cut(x, n, -1) if kind == "row" else [x] * n
    ups = cut(upstream, n, -1) if kind == "column" else [upstream] * n

    def work(rank):
        return forward_backward(build(copy.deepcopy(dense)), xs[rank], ups[rank])

    answers = ranks(n, work)
    out, dx, grads = forward_backward(dense, x, upstream)
    outs = cut(out, n, -1) if kind == "column" else [out] * n
    dxs = cut(dx, n, -1) if kind == "row" else [dx] * n
    parts = {name: cut_parameter(kind, name, grad, n) for name, grad in grads.items()}
    for rank, answer in enumerate(answers):
        assert_close(answer[0], outs[rank])
        assert_close(answer[1], dxs[rank])
        assert_close(answer[2], {name: part[rank] for name, part in parts.items()})
    sent = {"column": [x], "row": [out]}.get(kind, [x, out])
    check_traffic(ranks, n, all_reduce_bytes(n, *sent), f"the {kind}'s forward and backward")


class TestCopyToRanks:
    @pytest.mark.parametrize("n", [1, 4])
    def test_forward_is_x_and_its_gradient_the_sum_of_all_ranks(self, ranks, n):
        shapes = [(3, 5), (), (2, 3, 4)]
        xs = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
        ups = [[torch.randn_like(x) for x in xs] for _ in range(n)]
        answers = ranks(
            n,
            lambda rank: [
                forward_backward(Named(copy_to_ranks), *p)[:2] for p in zip(xs, ups[rank], strict=True)
            ],
        )
        sums = [sum(up) for up in zip(*ups, strict=True)]
        for answer in answers:
            assert_close(answer, list(zip(xs, sums, strict=True)))
        check_traffic(ranks, n, all_reduce_bytes(n, *xs), "copies and their gradients")

    def test_gradients_that_are_not_contiguous_and_float32(self, ranks):
        x, ups = torch.randn(3, 4), [torch.randn(4, 3) for _ in range(3)]

        def work(rank):
            first, second = x.clone().requires_grad_(), x.clone().requires_grad_()
            (copy_to_ranks(first).sum() * (rank + 2)).backward()
            (copy_to_ranks(second).T * ups[rank]).sum().backward()
            with torch.no_grad():
                out = copy_to_ranks(x)
            if x.requires_grad:
                fail("copy_to_ranks changes its argument: x requires a gradient now, which it didn't.")
            return first.grad, second.grad, out

        for answer in ranks(3, work):
            assert_close(answer, (torch.full((3, 4), 9.0), sum(ups).T, x))

    def test_what_reaches_x_on_another_path_is_not_summed(self, ranks):
        x = torch.randn(3, 4, dtype=torch.float64)
        ups = [torch.randn_like(x) for _ in range(3)]

        def work(rank):
            own = x.clone().requires_grad_()
            (own * 5 + copy_to_ranks(own) * ups[rank]).sum().backward()
            return own.grad

        for answer in ranks(3, work):
            assert_close(answer, sum(ups) + 5)


class Named(nn.Module):
    """A function as a module without parameters."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class TestReduceFromRanks:
    @pytest.mark.parametrize("n", [1, 4])
    def test_forward_is_the_sum_of_all_ranks_and_its_gradient_the_own(self, ranks, n):
        shapes = [(3, 5), (), (2, 3, 4)]
        xs = [[torch.randn(shape, dtype=torch.float64) for shape in shapes] for _ in range(n)]
        ups = [[torch.randn_like(x) for x in xs[0]] for _ in range(n)]

        def work(rank):
            return [
                forward_backward(Named(reduce_from_ranks), *p)[:2]
                for p in zip(xs[rank], ups[rank], strict=True)
            ]

        sums = [sum(x) for x in zip(*xs, strict=True)]
        for rank, answer in enumerate(ranks(n, work)):
            assert_close(answer, list(zip(sums, ups[rank], strict=True)))
        check_traffic(ranks, n, all_reduce_bytes(n, *xs[0]), "reductions")

    def test_views_that_are_not_contiguous_and_float32(self, ranks):
        xs = [torch.randn(3, 4) for _ in range(3)]
        for answer in ranks(3, lambda rank: reduce_from_ranks(xs[rank].T).contiguous()):
            assert_close(answer, sum(xs).T.contiguous())


class TestColumnParallelLinear:
    @pytest.mark.parametrize(
        ("n", "wide", "out", "bias", "lead"),
        [(2, 5, 6, True, (3,)), (4, 7, 8, True, (2, 3)), (3, 4, 9, False, ()), (1, 3, 5, True, (2,))],
    )
    def test_has_a_part_of_the_output_and_of_every_gradient(self, ranks, n, wide, out, bias, lead):
        check_layer(ranks, "column", n, linear(wide, out, bias=bias), ColumnParallelLinear, (*lead, wide))

    def test_outputs_that_n_does_not_divide_are_named(self, ranks):
        def work(rank):
            with raises(ValueError, 6, 4):
                ColumnParallelLinear(nn.Linear(8, 6))

        ranks(4, work)


class TestRowParallelLinear:
    @pytest.mark.parametrize(
        ("n", "wide", "out", "bias", "lead"),
        [(2, 6, 5, True, (3,)), (4, 8, 7, True, (2, 3)), (3, 9, 4, False, ()), (1, 5, 3, True, (2,))],
    )
    def test_sums_the_ranks_parts_and_adds_the_bias_once(self, ranks, n, wide, out, bias, lead):
        check_layer(ranks, "row", n, linear(wide, out, bias=bias), RowParallelLinear, (*lead, wide))

    def test_inputs_that_n_does_not_divide_are_named(self, ranks):
        def work(rank):
            with raises(ValueError, 6, 4):
                RowParallelLinear(nn.Linear(6, 8))

        ranks(4, work)

    def test_after_a_column_parallel_one_the_example_worked_by_hand(self, ranks):
        def work(rank):
            first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False)
            with torch.no_grad():
                first.weight.copy_(torch.tensor([[1.0, 1], [1, -1]]))
                second.weight.copy_(torch.tensor([[2.0, 5]]))
            x = torch.tensor([1.0, 2], requires_grad=True)
            part = ColumnParallelLinear(first)(x)
            out = RowParallelLinear(second)(part)
            out.backward(torch.ones(1))
            return part.detach(), out.detach(), x.grad

        out, dx = torch.tensor([1.0]), torch.tensor([7.0, -3.0])
        assert_close(ranks(2, work), [(torch.tensor([3.0]), out, dx), (torch.tensor([-1.0]), out, dx)])


class TestParallelMLP:
    @pytest.mark.parametrize(
        ("n", "sizes", "lead", "dtype", "bias"),
        [
            (2, (5, 24, 6), (3,), torch.float64, True),
            (4, (4, 20, 7), (2, 3), torch.float64, True),
            (3, (6, 27, 5), (), torch.float64, False),
            (1, (3, 5, 4), (2,), torch.float32, True),
        ],
    )
    def test_is_the_dense_one_with_one_all_reduce_each_way(self, ranks, n, sizes, lead, dtype, bias):
        dense, build = mlp(*sizes, dtype, bias)
        check_layer(ranks, "mlp", n, dense, build, (*lead, sizes[0]))

    def test_hidden_units_that_n_does_not_divide_are_named(self, ranks):
        def work(rank):
            with raises(ValueError, 10, 4):
                ParallelMLP(nn.Linear(8, 10), nn.Linear(10, 8))

        ranks(4, work)


class TestParallelAttention:
    @pytest.mark.parametrize(
        ("n", "sizes", "heads", "causal", "lead"),
        [
            (2, (5, 24, 7), 6, None, (3,)),
            (2, (5, 20, 6), 2, True, ()),
            (3, (4, 12, 5), 6, True, (2, 3)),
            (4, (7, 12, 4), 4, False, (2,)),
            (1, (3, 8, 5), 2, True, (2,)),
        ],
    )
    def test_is_the_dense_one_with_one_all_reduce_each_way(self, ranks, n, sizes, heads, causal, lead):
        dense, build = attention(*sizes, heads, causal)
        check_layer(ranks, "attention", n, dense, build, (*lead, 6, sizes[0]))

    def test_float32_without_biases(self, ranks):
        dense, build = attention(5, 8, 6, 4, dtype=torch.float32, bias=False)
        check_layer(ranks, "attention", 2, dense, build, (3, 4, 5))

    def test_one_layer_may_have_a_bias_where_another_has_none(self, ranks):
        q, k, v = (linear(5, 8, bias=bias) for bias in (True, False, True))
        dense = DenseAttention(q, k, v, linear(8, 6), 4)
        check_layer(ranks, "attention", 2, dense, lambda own: ParallelAttention(own.q, own.k, own.v, own.out, 4), (4, 5))
        up = DenseMLP(linear(5, 8), linear(8, 6, bias=False))
        check_layer(ranks, "mlp", 2, up, lambda own: ParallelMLP(own.up, own.down), (4, 5))

    def test_a_token_that_comes_later_is_not_seen_however_well_it_fits(self, ranks):
        dense, build = attention(5, 12, 4, 6, causal=True)
        x = 1e6 * torch.randn(2, 7, 5, dtype=torch.float64)
        with torch.no_grad():
            expected = dense(x)
            for answer in ranks(2, lambda rank: build(copy.deepcopy(dense))(x)):
                assert_close(answer, expected)

    @pytest.mark.parametrize("heads", [6, 2])
    def test_heads_that_n_does_not_divide_are_named(self, ranks, heads):
        def work(rank):
            with raises(ValueError, heads, 4):
                ParallelAttention(*(nn.Linear(8, 24) for _ in range(3)), nn.Linear(24, 8), heads)

        ranks(4, work)


def kinds(n, size=64):
    """A layer of each kind, large enough that nothing of its weights can hide."""
    return {
        "column": (linear(size, size), ColumnParallelLinear),
        "row": (linear(size, size), RowParallelLinear),
        "mlp": mlp(size, 2 * size, size),
        "attention": attention(size, size, size, n),
    }


def alive():
    """The bytes of the tensors that were made since gc.freeze()."""
    gc.collect()
    tensors = [one for one in gc.get_objects() if issubclass(type(one), torch.Tensor)]
    return sum({one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}.values())


class TestEveryLayer:
    @pytest.mark.parametrize("frozen", [False, True])
    def test_a_rank_holds_its_parameters_parts_and_nothing_else(self, ranks, frozen):
        n = 4
        layers = kinds(n)

        def work(rank):
            gc.freeze()  # all that there is now isn't looked at again: this process is the rank's own
            held = {}
            for kind in LAYERS:
                dense, build = layers[kind]
                before = alive()
                own = copy.deepcopy(dense).requires_grad_(not frozen)
                layer = build(own)
                unchanged = [
                    torch.equal(p, q) and p.grad is None and p.requires_grad is not frozen
                    for p, q in zip(own.parameters(), dense.parameters(), strict=True)
                ]
                assert_equal(unchanged, [True] * len(unchanged))
                memory = {p.untyped_storage().data_ptr() for p in own.parameters()}
                shared = [
                    name for name, p in layer.named_parameters() if p.untyped_storage().data_ptr() in memory
                ]
                if shared:
                    fail(
                        f"{shared[0]} of the {kind} has no memory of its own: it is the dense layer's.",
                        evidence=(kind, shared),
                    )
                del own
                trained = {name: (p.dtype, p.requires_grad) for name, p in layer.named_parameters()}
                assert_equal(trained, dict.fromkeys(trained, (torch.float64, True)))
                held[kind] = alive() - before
                layer = None
            return held

        answers = ranks(n, work)
        assert_equal(sum(traffic(ranks, rank, n) for rank in range(n)), 0.0)
        for held in answers:
            for kind, (dense, _) in layers.items():
                parts = [cut_parameter(kind, name, p.detach(), n)[0] for name, p in dense.named_parameters()]
                enough = sum(8 * part.numel() for part in parts) + 500
                if held[kind] > enough:
                    fail(
                        f"Of the {kind} a rank of {n} holds {held[kind]} bytes where {enough} do.",
                        evidence=(kind, n),
                    )

    def test_nothing_is_kept_of_a_forward_and_a_backward(self, ranks):
        layers = kinds(2)

        def work(rank):
            gc.freeze()
            for kind in LAYERS:
                dense, build = layers[kind]
                layer = build(dense)
                before = alive()
                # Three positions: of a causal mask, say, a layer may keep what is so small.
                x = torch.randn(40, 3, 32 if kind == "row" else 64, dtype=torch.float64, requires_grad=True)
                layer(x).sum().backward()
                del x
                layer.zero_grad(set_to_none=True)
                end = time.monotonic() + 1
                while (kept := alive() - before) > 500 and time.monotonic() < end:
                    time.sleep(0.01)  # gloo's threads let go of a tensor a moment after its all-reduce
                if kept > 500:
                    fail(f"After a forward and a backward the {kind} keeps {kept} bytes of tensors.", evidence=(kind,))

        ranks(2, work)

    def test_each_call_is_by_the_x_and_the_parameters_of_its_time(self, ranks):
        n = 3
        layers = kinds(n, 12) | {"attention": attention(12, 12, 12, n, causal=True)}
        shapes = [((2, 5), False), ((4,), False), ((1, 3, 7), True), ((2, 6), True)]
        calls = [(torch.randn(*lead, 12, dtype=torch.float64), gradient) for lead, gradient in shapes]

        def outputs(layer, calls):
            outs = []
            for x, gradient in calls:
                with torch.set_grad_enabled(gradient):
                    outs.append(layer(x).detach())
                with torch.no_grad():
                    for parameter in layer.parameters():
                        parameter.mul_(1.5)
            return outs

        def work(rank):
            own = {"row": [(x.chunk(n, -1)[rank].clone(), gradient) for x, gradient in calls]}
            return {kind: outputs(build(dense), own.get(kind, calls)) for kind, (dense, build) in layers.items()}

        answers = ranks(n, work)
        outs = {kind: outputs(dense, calls) for kind, (dense, _) in layers.items()}
        for rank, answer in enumerate(answers):
            assert_close(answer, {**outs, "column": [out.chunk(n, -1)[rank] for out in outs["column"]]})

    def test_forward_without_gradients_sends_one_all_reduce_of_the_output(self, ranks):
        layers = kinds(3, 24)
        xs = {kind: torch.randn(2, 5, 24, dtype=torch.float64) for kind in LAYERS}

        def work(rank):
            outs = {}
            for kind, x in xs.items():
                own = x.chunk(3, -1)[rank].clone() if kind == "row" else x.clone()
                given = own.clone()
                with torch.no_grad():
                    outs[kind] = layers[kind][1](layers[kind][0])(own)
                if not torch.equal(own, given) or own.requires_grad:
                    fail(f"The {kind}'s forward changes its input.", evidence=(kind,))
            return outs

        answers = ranks(3, work)
        outs = {kind: layers[kind][0](x).detach() for kind, x in xs.items()}
        for rank, answer in enumerate(answers):
            assert_close(answer, {**outs, "column": outs["column"].chunk(3, -1)[rank]})
        sent = [outs[kind] for kind in ("row", "mlp", "attention")]
        check_traffic(
            ranks, 3, all_reduce_bytes(3, *sent), "a forward of a row-parallel layer, an MLP and an attention"
        )


def cross_entropy(logits, targets):
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


def check_cross_entropy(ranks, n, logits, targets):
    """The loss and its gradient, three times, as the dense ones; and little is sent."""
    parts = cut(logits, n, -1)

    def work(rank):
        own = parts[rank].clone().requires_grad_()
        loss = vocab_parallel_cross_entropy(own, targets)
        (3 * loss).backward()
        return loss.detach(), own.grad

    answers = ranks(n, work)
    logits = logits.clone().requires_grad_()
    loss = cross_entropy(logits, targets)
    (3 * loss).backward()
    for answer, grad in zip(answers, cut(logits.grad, n, -1), strict=True):
        assert_close(answer[0], loss.detach())
        assert_close(answer[1], grad)
    limit = 3 * (n - 1) * (targets.numel() + 1) * logits.element_size()
    check_traffic(ranks, n, limit, "the cross-entropy")


class TestVocabParallelCrossEntropy:
    def test_the_example_worked_by_hand(self, ranks):
        logits = torch.tensor([[1.0, 3.0], [4.0, 2.0]], dtype=torch.float64).log()

        def work(rank):
            own = logits[rank].clone().requires_grad_()
            loss = vocab_parallel_cross_entropy(own, torch.tensor(1))
            loss.backward()
            return loss.detach(), own.grad

        loss = torch.tensor(10 / 3, dtype=torch.float64).log()
        grads = torch.tensor([[0.1, -0.7], [0.4, 0.2]], dtype=torch.float64)
        assert_close(ranks(2, work), [(loss, grads[0]), (loss, grads[1])])

    @pytest.mark.parametrize(
        ("n", "lead", "vocabulary"), [(1, (4,), 7), (2, (3,), 14), (3, (), 24), (4, (2, 3), 20)]
    )
    def test_loss_and_gradient_are_the_dense_ones_and_little_is_sent(self, ranks, n, lead, vocabulary):
        logits = 3 * torch.randn(*lead, vocabulary, dtype=torch.float64)
        check_cross_entropy(ranks, n, logits, torch.randint(vocabulary, lead))

    def test_a_second_backward_gives_no_other_gradient(self, ranks):
        logits, targets = torch.randn(5, 8, dtype=torch.float64), torch.randint(8, (5,))

        def work(rank):
            own = logits.chunk(2, -1)[rank].clone().requires_grad_()
            loss = 3 * vocab_parallel_cross_entropy(own, targets)
            grads = [torch.autograd.grad(loss, own, retain_graph=True)[0].clone()]
            with contextlib.suppress(RuntimeError):  # autograd's, of a backward that works in place
                grads.append(torch.autograd.grad(loss, own)[0])
            return grads

        answers = ranks(2, work)
        logits.requires_grad_()
        (3 * cross_entropy(logits, targets)).backward()
        for answer, grad in zip(answers, cut(logits.grad, 2, -1), strict=True):
            assert_close(answer, [grad] * len(answer))

    def test_every_word_of_the_vocabulary_can_be_the_target(self, ranks):
        logits = 2 * torch.randn(12, 12, dtype=torch.float64)
        check_cross_entropy(ranks, 3, logits, torch.randperm(12))

    def test_large_logits_whose_maximum_is_on_either_rank(self, ranks):
        near = torch.randn(6, 10, dtype=torch.float64)
        shift = torch.tensor([[1e4, 1e4], [-1e4, -1e4], [1e4, -1e4], [-1e4, 1e4], [0, 800], [-800, 0]])
        logits = near + shift.double().repeat_interleave(5, -1)
        check_cross_entropy(ranks, 2, logits, torch.tensor([2, 7, 9, 3, 8, 0]))

    def test_large_logits_beside_small_ones_on_every_rank(self, ranks):
        logits = torch.randn(4, 9, dtype=torch.float64) + 1e4 * torch.tensor([1, -1, 0, -1, 0, 1, 0, 1, -1])
        check_cross_entropy(ranks, 3, logits, torch.tensor([0, 3, 7, 6]))

    def test_float32_and_without_gradients(self, ranks):
        logits, targets = torch.randn(5, 8), torch.randint(8, (5,))
        answers = ranks(
            2, lambda rank: vocab_parallel_cross_entropy(logits.chunk(2, -1)[rank].clone(), targets)
        )
        assert_close(answers, [cross_entropy(logits, targets)] * 2)

    @pytest.mark.gpu
    def test_over_nccl(self, ranks):
        dense, build = mlp(5, 12, 4)
        head = linear(4, 10)
        x, targets = torch.randn(6, 5, dtype=torch.float64), torch.randint(10, (6,))

        def work(rank):
            body, last = build(copy.deepcopy(dense).cuda()), ColumnParallelLinear(copy.deepcopy(head).cuda())
            own = x.cuda().requires_grad_()
            loss = vocab_parallel_cross_entropy(last(body(own)), targets.cuda())
            loss.backward()
            return loss.detach().cpu(), own.grad.cpu()

        answers = ranks(2, work, backend="nccl")
        x.requires_grad_()
        loss = cross_entropy(head(dense(x)), targets)
        loss.backward()
        for answer in answers:
            assert_close(answer, (loss.detach(), x.grad))

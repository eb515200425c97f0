"""Judges k04_memory_networks number by number, by a machine set by hand that has to copy, and by questions of two hops."""

import math

import pytest
import torch
import torch.nn.functional as F

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from fixtures.named_weights import named_weights
from fixtures.one_thread import on_one_thread  # noqa: F401
from fixtures.tensors import F64, f64, gradcheck, leaves, normal, seeded
from katas.module_12_research.k04_memory_networks import (
    NTM,
    Head,
    KeyValueMemory,
    content_weights,
    key_value_read,
    read_memory,
    sharpen,
    shift,
    write_memory,
)

pytestmark = [
    from_scratch(
        "torch.nn.functional.cosine_similarity", "torch.cosine_similarity", "torch.nn.CosineSimilarity",
        "torch.nn.functional.scaled_dot_product_attention",
    ),
    pure(),
]  # fmt: skip


def weights_of(*shape: int, seed: int = 0) -> torch.Tensor:
    return normal(*shape, seed=seed).softmax(-1)


def each(function, lead: tuple[int, ...], *args) -> torch.Tensor:
    """`function` for each place of the leading axes, on lists of numbers."""
    flat = [x.reshape(-1, *x.shape[len(lead) :]).tolist() for x in args]
    found = torch.stack([torch.tensor(function(*parts), dtype=F64) for parts in zip(*flat, strict=True)])
    return found.reshape(*lead, *found.shape[1:])


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def softmax(scores: list[float]) -> list[float]:
    powers = [math.exp(s) for s in scores]
    return [p / sum(powers) for p in powers]


LEADS = [(), (2,), (2, 3)]


def read_by_hand(query, keys, values, mask=None):
    there = [i for i in range(len(keys)) if mask is None or mask[i]]
    weights = softmax([dot(query, keys[i]) for i in there])
    return [sum(w * values[i][c] for w, i in zip(weights, there, strict=True)) for c in range(len(values[0]))]


def a_table(lead: tuple[int, ...] = (2,), values: int = 4) -> list[torch.Tensor]:
    return [normal(*lead, 3), normal(*lead, 5, 3, seed=1), normal(*lead, 5, values, seed=2)]


def a_mask(lead: tuple[int, ...] = (2,)) -> torch.Tensor:
    mask = torch.rand(*lead, 5, generator=seeded(4)) < 0.5
    mask[..., 3] = True
    return mask


class TestKeyValueRead:
    def test_the_example_worked_by_hand(self):
        found = key_value_read(f64(1, 0), f64([math.log(2), 0], [0, 5]), f64([3], [6]))
        assert_close(found, f64(4))

    @pytest.mark.parametrize("lead", LEADS)
    def test_number_by_number(self, lead):
        table, mask = a_table(lead), a_mask(lead)
        assert_close(key_value_read(*table), each(read_by_hand, lead, *table))
        assert_close(key_value_read(*table, mask), each(read_by_hand, lead, *table, mask))

    def test_refuses_to_read_where_nothing_is(self):
        with raises(ValueError, 0):
            key_value_read(*a_table((2,)), torch.zeros(2, 5, dtype=torch.bool))

    @pytest.mark.parametrize("row", [0, 2])
    def test_refuses_a_row_without_memory(self, row):
        mask = a_mask((4,))
        mask[row] = mask[3] = False
        with raises(ValueError, row):
            key_value_read(*a_table((4,)), mask)

    def test_counts_rows_over_all_leading_axes(self):
        mask = a_mask((2, 3))
        mask[1, 1] = False
        with raises(ValueError, 4):
            key_value_read(*a_table((2, 3)), mask)

    def test_gradients_and_gpu(self, gpu):
        x = leaves(*a_table())
        assert gradcheck(lambda *x: key_value_read(*x, a_mask()), x)
        gpu.check(key_value_read, *x, a_mask())


class TestKeyValueMemory:
    @pytest.mark.parametrize("hops", [1, 3])
    def test_hop_by_hop(self, hops):
        model, (query, keys, values), mask = named_weights(KeyValueMemory(3, hops)), a_table(values=3), a_mask()
        for m in (None, mask):
            q = query
            for layer in model.maps:
                args = (q, keys, values) if m is None else (q, keys, values, m)
                q = (q + each(read_by_hand, (2,), *args)) @ layer.weight.detach().T
            assert_close(model(query, keys, values, m).detach(), q)

    def test_its_parameters(self):
        shapes = {name: tuple(p.shape) for name, p in KeyValueMemory(4, 2).named_parameters()}
        assert_equal(shapes, {"maps.0.weight": (4, 4), "maps.1.weight": (4, 4)})

    def test_all_of_it_is_trained(self):
        model, x = named_weights(KeyValueMemory(3, 2)), leaves(*a_table(values=3))
        (model(*x) * normal(2, 3, seed=5)).sum().backward()
        assert_equal([bool(p.grad.any()) for p in [*model.parameters(), *x]], [True] * 5)

    def test_on_the_gpu(self, gpu):
        gpu.check(named_weights(KeyValueMemory(3, 2)), *leaves(*a_table(values=3)), a_mask())


def content_by_hand(eps: float):
    def one(memory, key, strength):
        long = math.sqrt(dot(key, key))
        return softmax([strength * dot(row, key) / (long * math.sqrt(dot(row, row)) + eps) for row in memory])

    return one


def to_find(lead: tuple[int, ...] = (2,), seed: int = 0) -> list[torch.Tensor]:
    return [normal(*lead, 5, 3, seed=seed), normal(*lead, 3, seed=seed + 1), normal(*lead, seed=seed + 2).exp() * 2]


class TestContentWeights:
    def test_the_example_worked_by_hand(self):
        found = content_weights(f64([1, 0], [0, 2], [-1, 0]), f64(1, 0), torch.tensor(math.log(2), dtype=F64), 0.0)
        assert_close(found, f64(2, 1, 0.5) / 3.5)

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize("eps", [0.0, 0.3, 2.0])
    def test_number_by_number(self, eps, lead):
        args = to_find(lead)
        assert_close(content_weights(*args, eps), each(content_by_hand(eps), lead, *args))

    def test_eps_unless_told(self):
        memory, key, strength = to_find()
        args = (1e-3 * memory, 1e-3 * key, strength)
        assert_close(content_weights(*args), each(content_by_hand(1e-6), (2,), *args))

    def test_zeros_have_no_direction(self):
        memory, key, strength = to_find()
        memory[:, 2] = 0
        key[1] = 0
        x = leaves(memory, key, strength)
        found = content_weights(*x)
        (found * normal(2, 5, seed=9)).sum().backward()
        assert_close(found[1].detach(), torch.full((5,), 0.2, dtype=F64))
        assert_close(found.detach(), each(content_by_hand(1e-6), (2,), memory, key, strength))
        assert_equal([bool(t.grad.isfinite().all()) for t in x], [True] * 3)

    def test_gradients_and_gpu(self, gpu):
        x = leaves(*to_find())
        assert gradcheck(content_weights, x)
        gpu.check(content_weights, *x)


def shift_by_hand(weights, kernel):
    n, reach = len(weights), len(kernel) // 2
    found = [0.0] * n
    for i in range(n):
        for s in range(-reach, reach + 1):
            found[(i + s) % n] += kernel[s + reach] * weights[i]
    return found


class TestShift:
    def test_the_example_worked_by_hand(self):
        assert_close(shift(f64(0.7, 0.2, 0.1), f64(0, 0.1, 0.9)), f64(0.16, 0.65, 0.19))

    @pytest.mark.parametrize("lead", LEADS)
    @pytest.mark.parametrize(("n", "width"), [(6, 3), (6, 5), (4, 1), (3, 7), (1, 3), (2, 9)])
    def test_number_by_number(self, n, width, lead):
        weights, kernel = weights_of(*lead, n), weights_of(*lead, width, seed=1)
        assert_close(shift(weights, kernel), each(shift_by_hand, lead, weights, kernel))

    @pytest.mark.parametrize("width", [2, 4])
    def test_refuses_a_kernel_without_a_middle(self, width):
        with raises(ValueError, width):
            shift(weights_of(2, 6), weights_of(2, width))

    def test_gradients_and_gpu(self, gpu):
        x = leaves(weights_of(2, 5), weights_of(2, 3, seed=1))
        assert gradcheck(shift, x)
        gpu.check(shift, *x)


def sharpen_by_hand(weights, gamma):
    powers = [w**gamma for w in weights]
    return [p / sum(powers) for p in powers]


class TestSharpen:
    def test_the_example_worked_by_hand(self):
        found = sharpen(f64(0.16, 0.65, 0.19), torch.tensor(2.0, dtype=F64))
        assert_close(found, f64(0.0256, 0.4225, 0.0361) / 0.4842)

    @pytest.mark.parametrize("lead", LEADS)
    def test_number_by_number(self, lead):
        weights, gamma = weights_of(*lead, 5), 1 + normal(*lead, seed=1).exp()
        assert_close(sharpen(weights, gamma), each(sharpen_by_hand, lead, weights, gamma))

    def test_a_gamma_of_1000(self):
        weights = f64([0.2, 0.3, 0, 0.3, 0.2], [0.01, 0.95, 0.02, 0.01, 0.01])
        x = leaves(weights, f64(1000, 1000))
        found = sharpen(*x)
        found[:, 1].sum().backward()
        assert_close(found.detach(), f64([0, 0.5, 0, 0.5, 0], [0, 1, 0, 0, 0]))
        assert_equal([bool(t.grad.isfinite().all()) for t in x], [True] * 2)

    def test_rows_of_small_weights(self):
        weights = 1e-20 * weights_of(2, 5)
        assert_close(sharpen(weights, f64(1.5, 3)), each(sharpen_by_hand, (2,), 1e20 * weights, f64(1.5, 3)))

    def test_weights_that_dont_sum_to_1(self):
        weights = 3 * weights_of(2, 5)
        assert_close(sharpen(weights, f64(1, 3)), each(sharpen_by_hand, (2,), weights, f64(1, 3)))

    def test_gradients_and_gpu(self, gpu):
        x = leaves(weights_of(2, 5), 1 + normal(2, seed=1).exp())
        assert gradcheck(sharpen, x)
        gpu.check(sharpen, *x)


class TestReadMemory:
    @pytest.mark.parametrize("lead", LEADS)
    def test_number_by_number(self, lead):
        memory, weights = normal(*lead, 5, 3), weights_of(*lead, 5, seed=1)
        found = each(lambda m, w: [dot(w, [row[c] for row in m]) for c in range(3)], lead, memory, weights)
        assert_close(read_memory(memory, weights), found)

    def test_gradients_and_gpu(self, gpu):
        x = leaves(normal(2, 5, 3), weights_of(2, 5, seed=1))
        assert gradcheck(read_memory, x)
        gpu.check(read_memory, *x)


def write_by_hand(memory, weights, erase, add):
    return [
        [m * (1 - w * e) + w * a for m, e, a in zip(row, erase, add, strict=True)]
        for row, w in zip(memory, weights, strict=True)
    ]


def to_write(lead: tuple[int, ...] = (2,)) -> list[torch.Tensor]:
    return [normal(*lead, 5, 3), weights_of(*lead, 5, seed=1), normal(*lead, 3, seed=2).sigmoid(), normal(*lead, 3, seed=3)]


class TestWriteMemory:
    def test_the_example_worked_by_hand(self):
        assert_close(write_memory(f64([2, 4], [6, 8]), f64(0.5, 0), f64(1, 0.5), f64(1, 1)), f64([1.5, 3.5], [6, 8]))

    @pytest.mark.parametrize("lead", LEADS)
    def test_number_by_number(self, lead):
        args = to_write(lead)
        assert_close(write_memory(*args), each(write_by_hand, lead, *args))

    def test_a_slot_holds_the_new_vector_exactly(self):
        memory, add = normal(4, 3), normal(3, seed=1)
        found = write_memory(memory, f64(0, 0, 1, 0), torch.ones(3, dtype=F64), add)
        assert_close(found[2], add)
        assert_close(found[[0, 1, 3]], memory[[0, 1, 3]])

    def test_gradients_and_gpu(self, gpu):
        x = leaves(*to_write())
        assert gradcheck(write_memory, x)
        gpu.check(write_memory, *x)


def head_by_hand(head: Head, h: torch.Tensor, memory: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        key, strength, gate, kernel, gamma = (
            h @ layer.weight.T + layer.bias for layer in (head.key, head.strength, head.gate, head.kernel, head.gamma)
        )
        strength, gamma = (torch.log1p(x[:, 0].exp()) for x in (strength, gamma))
        gate, kernel = 1 / (1 + (-gate).exp()), kernel.softmax(-1)
        weights = each(content_by_hand(1e-6), (len(h),), memory, key, strength)
        weights = each(shift_by_hand, (len(h),), gate * weights + (1 - gate) * previous, kernel)
        return each(sharpen_by_hand, (len(h),), weights, 1 + gamma)


class TestHead:
    @pytest.mark.parametrize("reach", [1, 2])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_step_by_step(self, reach, seed):
        head = named_weights(Head(4, 3, reach), 1.0, seed)
        h, memory, previous = normal(2, 4, seed=seed + 5), normal(2, 6, 3, seed=6), weights_of(2, 6, seed=7)
        assert_close(head(h, memory, previous).detach(), head_by_hand(head, h, memory, previous))

    @pytest.mark.parametrize("reach", [1, 2, 4])
    def test_names_and_shapes(self, reach):
        sizes = {name: tuple(p.shape) for name, p in Head(5, 3, reach).named_parameters() if name.endswith("weight")}
        expected = {"key": (3, 5), "strength": (1, 5), "gate": (1, 5), "kernel": (2 * reach + 1, 5), "gamma": (1, 5)}
        assert_equal(sizes, {f"{name}.weight": size for name, size in expected.items()})

    def test_all_of_it_is_trained(self):
        head, x = named_weights(Head(4, 3)), leaves(normal(2, 4), normal(2, 6, 3, seed=1), weights_of(2, 6, seed=2))
        (head(*x) * normal(2, 6, seed=3)).sum().backward()
        assert_equal([name for name, p in head.named_parameters() if p.grad is None or not p.grad.any()], [])
        assert_equal([bool(t.grad.any()) for t in x], [True] * 3)

    def test_on_the_gpu(self, gpu):
        gpu.check(named_weights(Head(4, 3)), *leaves(normal(2, 4), normal(2, 6, 3, seed=1), weights_of(2, 6, seed=2)))


def machine_by_hand(model: NTM, x: torch.Tensor, slots: int, width: int) -> torch.Tensor:
    def layer(name: str, value: torch.Tensor) -> torch.Tensor:
        part = model.get_submodule(name)
        return value @ part.weight.T + part.bias

    n = len(x)
    memory, r = torch.zeros(n, slots, width, dtype=F64), torch.zeros(n, width, dtype=F64)
    writing = torch.eye(slots, dtype=F64)[-1].expand(n, -1)
    reading, found = writing, []
    with torch.no_grad():
        for t in range(x.shape[1]):
            h = layer("controller", torch.cat([x[:, t], r], 1)).tanh()
            writing = head_by_hand(model.write_head, h, memory, writing)
            memory = each(write_by_hand, (n,), memory, writing, layer("erase", h).sigmoid(), layer("add", h))
            reading = head_by_hand(model.read_head, h, memory, reading)
            r = torch.einsum("bn,bnw->bw", reading, memory)
            found.append(layer("output", torch.cat([h, r], 1)))
    return torch.stack(found, 1)


def copier(bits: int, slots: int) -> NTM:
    """Inputs: the bits, "write" and "read".  Each head goes one slot on in its own phase, and stays in the other."""
    model = NTM(bits + 2, bits, bits + 2, slots, bits).double()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        model.controller.weight[:, : bits + 2] = 30 * torch.eye(bits + 2)
        for head, phase in ((model.write_head, bits), (model.read_head, bits + 1)):
            head.gate.bias[:] = -60
            head.gamma.bias[:] = 30
            head.kernel.bias[:] = torch.tensor([0.0, 40, 0])
            head.kernel.weight[2, phase] = 80
        model.erase.bias[:] = -60
        model.erase.weight[:, bits] = 120
        model.add.weight[:, :bits] = torch.eye(bits)
        model.output.weight[:, bits + 2 :] = torch.eye(bits)
    return model


def copy_task(bits: int, length: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs (3, 2 length, bits + 2), and the words (3, length, bits) that must come back in the second half."""
    words = torch.randint(2, (3, length, bits), generator=seeded(seed)).double()
    x = torch.zeros(3, 2 * length, bits + 2, dtype=F64)
    x[:, :length, :bits], x[:, :length, bits], x[:, length:, bits + 1] = words, 1, 1
    return x, words


class TestNTM:
    @pytest.mark.parametrize(("slots", "width", "hidden"), [(5, 3, 4), (1, 2, 3), (4, 6, 2)])
    def test_step_by_step(self, slots, width, hidden):
        model, x = named_weights(NTM(3, 2, hidden, slots, width), 0.8), normal(2, 5, 3)
        assert_close(model(x).detach(), machine_by_hand(model, x, slots, width))

    @pytest.mark.parametrize(("length", "slots"), [(1, 4), (6, 6), (10, 16)])
    def test_copies_as_a_program_would(self, length, slots):
        model, (x, words) = copier(5, slots), copy_task(5, length)
        assert_close(model(x).detach()[:, length:], words, atol=1e-5, rtol=0)

    def test_every_call_begins_anew(self):
        model, x = named_weights(NTM(3, 2, 4, 5, 3)), normal(2, 5, 3)
        first = model(x).detach()
        assert_close(model(x).detach(), first)

    def test_names_and_shapes(self):
        sizes = {n: tuple(p.shape) for n, p in NTM(5, 2, 7, 6, 3).named_parameters() if "head" not in n and n.endswith("weight")}
        expected = {"controller": (7, 8), "erase": (3, 7), "add": (3, 7), "output": (2, 10)}
        assert_equal(sizes, {f"{name}.weight": size for name, size in expected.items()})

    def test_all_of_it_is_trained(self):
        model, x = named_weights(NTM(3, 2, 4, 5, 3)), normal(2, 5, 3).requires_grad_()
        (model(x) * normal(2, 5, 2, seed=1)).sum().backward()
        assert_equal([name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()], [])
        assert_equal(bool(x.grad.isfinite().all() and x.grad.any()), True)

    def test_on_the_gpu(self, gpu):
        gpu.check(named_weights(NTM(3, 2, 4, 5, 3)), normal(2, 3, 3).requires_grad_())


def chains(n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Six things in a circle, each pointing at the next: (n, 6) who is next, a start, and who stands two further on."""
    order = torch.rand(n, 6, generator=generator).argsort(1)
    following = torch.empty_like(order).scatter_(1, order, order.roll(-1, 1))
    return following, order[:, 0], order[:, 2]


def two_hop_share(hops: int, seed: int) -> float:
    torch.manual_seed(seed)
    generator = seeded(seed)
    model = KeyValueMemory(16, hops)
    keys, values = (torch.nn.Parameter(torch.randn(6, 16) / 2) for _ in range(2))
    optimizer = torch.optim.Adam([*model.parameters(), keys, values], 2e-2)

    def answer(following, start):
        lead = (len(start), 6, 16)
        return model(keys[start], keys.expand(lead), values[following]) @ values.T

    for _ in range(200):
        following, start, target = chains(64, generator)
        optimizer.zero_grad()
        F.cross_entropy(answer(following, start), target).backward()
        optimizer.step()
    following, start, target = chains(500, generator)
    with torch.no_grad():
        return (answer(following, start).argmax(1) == target).double().mean().item()


@pytest.mark.learning
@pytest.mark.deadline(60)
class TestLearning:
    @pytest.mark.parametrize("seed", range(3))
    def test_a_second_hop_asks_with_what_the_first_one_found(self, seed):
        one, two = two_hop_share(1, seed), two_hop_share(2, seed)
        # Whoever knows the next one alone guesses among four.
        if two < one + 0.3:
            fail(f"Two hops answer {two:.0%} of the questions, one hop {one:.0%}.", evidence=round(two, 1))

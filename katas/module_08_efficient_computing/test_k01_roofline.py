"""Judges k01_roofline: FLOPs against torch's FlopCounterMode and operations counted one by one, bytes against
the tensors that torch's kernels really read and write, the harness against a simulated device and clock."""

import math
import time
from itertools import groupby

import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_08_efficient_computing.k01_roofline import (
    attention_cost,
    decode_cost,
    intensity,
    matmul_cost,
    roofline_time,
    softmax_cost,
    time_it,
)

pytestmark = [
    from_scratch("torch.utils.flop_counter", "torch.utils.benchmark", "timeit"),
    pure(),
    pytest.mark.deadline(60),  # the first oracle imports torch, which takes a busy machine a while
]

PEAK, BANDWIDTH = 1e15, 4e12
WIDTHS = {2: "bfloat16", 4: "float32", 8: "float64"}


def random(*shape: int, bytes_per_element: int = 2):
    import torch

    return torch.randn(*shape).to(getattr(torch, WIDTHS[bytes_per_element]))


def counted_flops(run) -> int:
    """What torch's counter counts in `run()`: matrix products only."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def counted_bytes(run) -> int:
    """The bytes of all tensors that the kernels of `run()` read and write; views move nothing."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Traffic(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if func in (torch.ops.aten.mm.default, torch.ops.aten.bmm.default, torch.ops.aten._softmax.default):
                self.total += sum(x.nbytes for x in (*args, out) if isinstance(x, torch.Tensor))
            return out

    with Traffic() as traffic:
        run()
    return traffic.total


class Counted(float):
    """A number that counts the operations done with it."""

    done = 0

    def operation(name):
        def count(self, other=None):
            Counted.done += 1
            result = getattr(float, name)(self, other)
            return Counted(result) if name != "__gt__" else result

        return count

    __sub__, __add__, __radd__, __truediv__, __gt__ = map(
        operation, ("__sub__", "__add__", "__radd__", "__truediv__", "__gt__")
    )

    def exp(self):
        Counted.done += 1
        return Counted(math.exp(self))


def softmax_operations(rows: int, columns: int) -> int:
    """The operations of a plain softmax of every row, counted as they are done."""
    Counted.done = 0
    for row in range(rows):
        x = [Counted(row - 3.0 * column) for column in range(columns)]
        peak = -math.inf
        for value in x:
            peak = value if value > peak else peak
        exps = [(value - peak).exp() for value in x]
        total = 0.0
        for value in exps:
            total = value + total
        _ = [value / total for value in exps]
    return Counted.done


class TestMatmulCost:
    def test_the_example_worked_by_hand(self):
        assert_equal(matmul_cost(4096, 4096, 4096), (137_438_953_472, 100_663_296))
        assert_equal(matmul_cost(1, 4096, 4096), (33_554_432, 33_570_816))

    @pytest.mark.parametrize(("m", "n", "k"), [(3, 5, 7), (11, 2, 4), (1, 6, 9), (8, 1, 1)])
    @pytest.mark.parametrize("width", [2, 4, 8])
    def test_matches_what_torch_computes_and_moves(self, m, n, k, width):
        a, b = random(m, k, bytes_per_element=width), random(k, n, bytes_per_element=width)
        flops, moved = matmul_cost(m, n, k, width)
        assert_equal(flops, counted_flops(lambda: a @ b))
        assert_equal(moved, counted_bytes(lambda: a @ b))

    def test_two_bytes_are_the_default(self):
        assert_equal(matmul_cost(3, 5, 7), matmul_cost(3, 5, 7, 2))
        assert_equal(matmul_cost(3, 5, 7, bytes_per_element=1), (210, 71))

    def test_large_sizes_are_exact(self):
        m, n, k = 10**9 + 7, 10**9 + 9, 10**8 + 7
        assert_equal(matmul_cost(m, n, k, 4), (2 * m * n * k, 4 * (m * k + k * n + m * n)))


class TestSoftmaxCost:
    def test_the_example_worked_by_hand(self):
        assert_equal(softmax_cost(3, 4), (60, 48))

    @pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 7), (6, 5), (5, 1)])
    def test_flops_match_operations_counted_one_by_one(self, rows, columns):
        assert_equal(softmax_cost(rows, columns)[0], softmax_operations(rows, columns))

    @pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 7), (6, 5)])
    @pytest.mark.parametrize("width", [2, 4, 8])
    def test_bytes_match_what_torch_moves(self, rows, columns, width):
        x = random(rows, columns, bytes_per_element=width)
        assert_equal(softmax_cost(rows, columns, width)[1], counted_bytes(lambda: x.softmax(-1)))

    def test_one_byte_and_large_sizes_are_exact(self):
        assert_equal(
            softmax_cost(10**9 + 7, 10**9 + 9, bytes_per_element=1),
            (5 * (10**9 + 7) * (10**9 + 9), 2 * (10**9 + 7) * (10**9 + 9)),
        )


class TestAttentionCost:
    SIZES = [(1, 5, 7, 3), (6, 4, 9, 8), (2, 10, 3, 5), (3, 1, 8, 1)]

    @staticmethod
    def qkv(heads, n, m, d, width=2):
        return [random(heads, length, d, bytes_per_element=width) for length in (n, m, m)]

    def test_the_example_worked_by_hand(self):
        assert_equal(attention_cost(32, 8192, 8192, 128), (1_110_249_046_016, 17_448_304_640))
        assert_equal(attention_cost(32, 8192, 8192, 128, True), (1_110_249_046_016, 268_435_456))

    @pytest.mark.parametrize(("heads", "n", "m", "d"), SIZES)
    @pytest.mark.parametrize("fused", [False, True])
    def test_flops_are_torchs_products_and_a_softmax(self, heads, n, m, d, fused):
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.nn.functional import scaled_dot_product_attention

        q, k, v = (x[None] for x in self.qkv(heads, n, m, d))
        with sdpa_kernel(SDPBackend.MATH):  # the counter doesn't know the CPU's fused kernel
            products = counted_flops(lambda: scaled_dot_product_attention(q, k, v))
        expected = products + heads * softmax_operations(n, m)
        assert_equal(attention_cost(heads, n, m, d, fused)[0], expected)

    @pytest.mark.parametrize(("heads", "n", "m", "d"), SIZES)
    @pytest.mark.parametrize("width", [2, 4, 8])
    def test_unfused_bytes_are_those_of_three_kernels(self, heads, n, m, d, width):
        q, k, v = self.qkv(heads, n, m, d, width)
        expected = counted_bytes(lambda: (q @ k.mT).softmax(-1) @ v)
        assert_equal(attention_cost(heads, n, m, d, False, width)[1], expected)

    @pytest.mark.parametrize(("heads", "n", "m", "d"), SIZES)
    @pytest.mark.parametrize("width", [2, 4, 8])
    def test_fused_bytes_are_the_inputs_and_the_output(self, heads, n, m, d, width):
        from torch.nn.functional import scaled_dot_product_attention

        q, k, v = self.qkv(heads, n, m, d, width)
        out = scaled_dot_product_attention(q, k, v)
        expected = sum(x.nbytes for x in (q, k, v, out))
        assert_equal(attention_cost(heads, n, m, d, fused=True, bytes_per_element=width)[1], expected)

    def test_unfused_and_two_bytes_are_the_defaults(self):
        assert_equal(attention_cost(6, 4, 9, 8), attention_cost(6, 4, 9, 8, False, 2))
        assert_equal(attention_cost(6, 4, 9, 8, True), attention_cost(6, 4, 9, 8, True, 2))

    def test_unfused_traffic_grows_as_the_square_and_fused_as_the_length(self):
        def growth(fused):
            (_, long), (_, short) = (
                attention_cost(2, 2**20, 2**20, 64, fused),
                attention_cost(2, 2**19, 2**19, 64, fused),
            )
            return long / short

        assert_close(growth(True), 2.0)
        assert_close(growth(False), 4.0, rtol=1e-3)  # what is left of the linear part is d / n

    def test_large_sizes_are_exact(self):
        heads, n, m, d = 7, 10**15 + 37, 10**16 + 61, 129
        flops, ends = heads * n * m * (4 * d + 5), 2 * d * (n + m)
        assert_equal(attention_cost(heads, n, m, d, True, 1), (flops, heads * ends))
        assert_equal(attention_cost(heads, n, m, d, False, 1), (flops, heads * (ends + 4 * n * m)))


class TestDecodeCost:
    def test_the_example_worked_by_hand(self):
        cost = decode_cost(8192, 32, 8, 128)
        assert_equal(cost, (135_528_448, 33_570_816))
        assert_close(intensity(cost), 4.037, atol=1e-3, rtol=0)

    @pytest.mark.parametrize(("context", "heads", "kv_heads", "head_dim"), [(9, 6, 2, 4), (1, 3, 3, 5), (20, 4, 1, 7)])
    @pytest.mark.parametrize(("batch", "width"), [(1, 2), (3, 4), (5, 8)])
    def test_matches_what_torch_computes_and_a_real_cache(self, context, heads, kv_heads, head_dim, batch, width):
        q = random(batch, heads, 1, head_dim, bytes_per_element=width)
        keys = random(batch, kv_heads, context, head_dim, bytes_per_element=width)
        values = random(batch, kv_heads, context, head_dim, bytes_per_element=width)
        own_keys, own_values = (x.repeat_interleave(heads // kv_heads, 1) for x in (keys, values))
        products = counted_flops(lambda: (q @ own_keys.mT) @ own_values)
        softmax = softmax_operations(batch * heads, context)
        flops, moved = decode_cost(context, heads, kv_heads, head_dim, batch, width)
        assert_equal(flops, products + softmax)
        assert_equal(moved, q.nbytes + keys.nbytes + values.nbytes + q.nbytes)

    def test_one_sequence_and_two_bytes_are_the_defaults(self):
        assert_equal(decode_cost(9, 6, 2, 4), decode_cost(9, 6, 2, 4, 1, 2))
        assert_equal(decode_cost(9, 6, 2, 4, bytes_per_element=1, batch=3), (3 * 6 * 9 * 21, 3 * (48 + 144)))

    def test_batching_leaves_the_intensity_and_sharing_heads_raises_it(self):
        alone, many = decode_cost(4096, 32, 32, 128), decode_cost(4096, 32, 32, 128, 64)
        assert_close(intensity(many), intensity(alone))
        grouped = decode_cost(4096, 32, 4, 128)
        assert_close(intensity(grouped) / intensity(alone), 8.0, rtol=3e-3)  # short of 8 by the queries' own bytes

    def test_large_sizes_are_exact(self):
        flops, moved = decode_cost(10**15 + 37, 6, 3, 129, 7)
        assert_equal(flops, 7 * 6 * (10**15 + 37) * (4 * 129 + 5))
        assert_equal(moved, 7 * 2 * (2 * 3 * 129 * (10**15 + 37) + 2 * 6 * 129))

    @pytest.mark.parametrize(("heads", "kv_heads"), [(6, 4), (4, 8), (7, 2)])
    def test_heads_that_do_not_divide_are_refused(self, heads, kv_heads):
        with raises(ValueError, heads, kv_heads):
            decode_cost(9, heads, kv_heads, 5)


class TestIntensity:
    def test_the_example_worked_by_hand(self):
        assert_close(intensity((137_438_953_472, 100_663_296)), 1365.333, atol=1e-3, rtol=0)
        assert_close(intensity((33_554_432, 33_570_816)), 0.9995, atol=1e-4, rtol=0)

    @pytest.mark.parametrize(("flops", "moved", "expected"), [(7, 2, 3.5), (3, 8, 0.375), (6, 3, 2.0)])
    def test_is_flops_per_byte(self, flops, moved, expected):
        assert_equal(intensity((flops, moved)), expected)


class TestRooflineTime:
    def test_the_example_worked_by_hand(self):
        seconds, side = roofline_time((137_438_953_472, 100_663_296), PEAK, BANDWIDTH)
        assert_close(seconds, 0.13744e-3, rtol=1e-4, atol=0)
        assert_equal(side, "compute")
        seconds, side = roofline_time((33_554_432, 33_570_816), PEAK, BANDWIDTH)
        assert_close(seconds, 0.0083927e-3, rtol=1e-4, atol=0)
        assert_equal(side, "memory")

    def test_fusing_moves_attention_from_memory_to_compute(self):
        unfused, fused = (1_110_249_046_016, 17_448_304_640), (1_110_249_046_016, 268_435_456)
        assert_equal(roofline_time(unfused, PEAK, BANDWIDTH)[1], "memory")
        assert_equal(roofline_time(fused, PEAK, BANDWIDTH)[1], "compute")

    # Every number is a small integer over a power of two, so that the ridge is hit exactly.
    @pytest.mark.parametrize(
        ("cost", "peak", "bandwidth", "expected"),
        [
            ((24, 3), 4, 2, (6.0, "compute")),
            ((24, 12), 4, 2, (6.0, "compute")),
            ((24, 13), 4, 2, (6.5, "memory")),
            ((24, 11), 4, 2, (6.0, "compute")),
            ((23, 12), 4, 2, (6.0, "memory")),
            ((5, 100), 0.5, 64.0, (10.0, "compute")),
            ((100, 5), 64.0, 0.5, (10.0, "memory")),
            ((3, 3), 1, 1, (3.0, "compute")),
        ],
    )
    def test_the_longer_side_binds_and_compute_at_the_ridge(self, cost, peak, bandwidth, expected):
        assert_equal(roofline_time(cost, peak, bandwidth), expected)


class Device:
    """A device that works behind its host: calls are launched, and done later.

    Time is the simulation's own; each call takes the next of `durations` on the
    device.  `log` holds what was called, in order.
    """

    LAUNCH = 0.25  # what the host is busy for; sums of such numbers are exact

    def __init__(self, durations=()):
        self.durations, self.now, self.idle_from, self.log = list(durations), 64.0, 64.0, []

    def function(self):
        self.log.append("function")
        calls = self.log.count("function")
        if self.durations and calls > len(self.durations):
            fail(f"The function is called more than {len(self.durations)} times.", evidence=calls)
        duration = self.durations[calls - 1] if self.durations else 1.0
        self.now += self.LAUNCH
        self.idle_from = max(self.idle_from, self.now) + duration

    def synchronise(self):
        self.log.append("synchronise")
        self.now = max(self.now, self.idle_from)

    def clock(self):
        self.log.append("clock")
        return self.now


def readings(*durations: float):
    """A clock whose successive pairs of readings are that far apart."""
    now, times = 10.0, []
    for duration in durations:
        times += [now, now + duration]
        now += duration + 0.5
    return iter(times).__next__


class TestTimeIt:
    @pytest.mark.parametrize(
        ("durations", "median"),
        [
            ([5.001953125, 1.0, 9.0], 5.001953125),
            ([3.0, 100.0, 1.0, 2.0], 2.5),
            ([7.0], 7.0),
            ([8.0, 2.00390625], 5.001953125),
            ([1.0, 2.0, 3.0, 4.0, 50.0, 60.0, 70.0, 80.0], 27.0),
            ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 70.0, 80.0, 90.0, 100.0, 110.0, 120.0], 38.0),
        ],
    )
    def test_is_the_median_of_the_times(self, durations, median):
        assert_equal(time_it(lambda: None, len(durations), 2, None, readings(*durations)), median)

    def test_an_interrupted_call_does_not_matter(self):
        assert_equal(time_it(lambda: None, repeats=5, clock=readings(2.0, 3.0, 1e6, 4.0, 3.0)), 3.0)

    @pytest.mark.parametrize(("repeats", "warm_up"), [(1, 2), (4, 1), (3, 5)])
    def test_waits_for_the_device_after_the_call(self, repeats, warm_up):
        device = Device()
        seconds = time_it(device.function, repeats, warm_up, device.synchronise, device.clock)
        if seconds == device.LAUNCH:
            fail("time_it() gives the time of the launch alone: the device was still at work.", evidence=seconds)

    def test_work_from_before_is_not_timed(self):
        device = Device([40.0, 20.0, 1.0])
        assert_equal(time_it(device.function, 1, 2, device.synchronise, device.clock), 1.0 + device.LAUNCH)

    def test_warm_up_calls_do_not_count(self):
        device = Device([80.0, 50.0, 30.0, 3.0, 5.0, 4.0])
        assert_equal(time_it(device.function, 3, 3, device.synchronise, device.clock), 4.0 + device.LAUNCH)

    def test_without_warm_up_the_first_call_counts(self):
        device = Device([9.0, 3.0, 5.0])
        assert_equal(time_it(device.function, 3, 0, device.synchronise, device.clock), 5.0 + device.LAUNCH)

    @pytest.mark.parametrize(("repeats", "warm_up"), [(1, 0), (2, 4), (5, 1)])
    def test_the_order_of_calls(self, repeats, warm_up):
        device = Device()
        time_it(device.function, repeats, warm_up, device.synchronise, device.clock)
        begin = device.log.index("clock")
        before, timed = device.log[:begin], device.log[begin:]
        assert_equal(before.count("function"), warm_up)
        assert_equal(before[-1:], ["synchronise"])
        # Several synchronises in a row count as one, and any after the last reading don't matter.
        timed = [event for event, _ in groupby(timed)]
        expected = ["clock", "function", "synchronise", "clock", "synchronise"] * repeats
        assert_equal(timed if timed[-1] == "synchronise" else [*timed, "synchronise"], expected)

    @pytest.mark.parametrize(("repeats", "warm_up"), [(1, 0), (3, 2)])
    def test_nothing_to_synchronise(self, repeats, warm_up):
        device = Device()
        time_it(device.function, repeats, warm_up, clock=device.clock)
        assert_equal(device.log, ["function"] * warm_up + ["clock", "function", "clock"] * repeats)

    def test_ten_repeats_after_three_calls_to_warm_up_are_the_defaults(self):
        device = Device()
        time_it(device.function, clock=device.clock)
        assert_equal(device.log, ["function"] * 3 + ["clock", "function", "clock"] * 10)

    def test_the_default_clock_is_a_real_one_in_seconds(self):
        seconds = time_it(lambda: time.sleep(0.02), repeats=3, warm_up=0)
        assert isinstance(seconds, float)
        # A sleep takes at least that long, and on a machine however busy not 5 s.
        if not 0.0199 < seconds < 5:
            fail("time_it() doesn't give the seconds that a sleep of 0.02 s took.", evidence=seconds)

    @pytest.mark.parametrize("repeats", [0, -3])
    def test_at_least_one_repeat(self, repeats):
        with raises(ValueError, "repeats", repeats):
            time_it(lambda: None, repeats)

"""Judges k27_edge_inference by onnx's own evaluator, by onnxruntime and its quantizer, and by the memory really taken."""

import os
import sys

import numpy as np
import pytest
import torch

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises

NEEDS = "needs the extra `serving`: pip install -c constraints.txt -e '.[serving]'"
onnx = pytest.importorskip("onnx", reason=NEEDS)
onnxruntime = pytest.importorskip("onnxruntime", reason=NEEDS)

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from katas.module_09_inference.k27_edge_inference import (  # noqa: E402
    edge_session,
    largest_batch,
    peak_bytes,
    quantize,
    run_within,
)

pytestmark = [from_scratch("onnxruntime.quantization"), pure()]

# Sums of float32 in another order.
CLOSE = dict(rtol=1e-4, atol=1e-5)
FIVE = ["DynamicQuantizeLinear", "MatMulInteger", "Cast", "Mul", "Mul"]


def graph(nodes, shape, weights=None, outputs=("y",), types=None):
    """A model with the input x, of nodes (kind, names read, names made, attributes), with its shapes inferred."""
    types = types or {}
    made = helper.make_model(
        helper.make_graph(
            [helper.make_node(kind, reads, makes, **(rest[0] if rest else {})) for kind, reads, makes, *rest in nodes],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), None) for name in outputs],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    return onnx.shape_inference.infer_shapes(made, strict_mode=True)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def kinds(model) -> list[str]:
    return [node.op_type for node in model.graph.node]


def weights_of(model) -> dict[str, np.ndarray]:
    return {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}


def of_type(model, dtype) -> list[np.ndarray]:
    return [value for value in weights_of(model).values() if value.dtype == dtype]


def evaluated(model, x: np.ndarray) -> np.ndarray:
    """The answer of onnx's own evaluator: numpy, exact in whole numbers on any processor."""
    from onnx.reference import ReferenceEvaluator

    onnx.checker.check_model(model, full_check=True)
    return ReferenceEvaluator(model).run(None, {"x": x})[0]


def in_int8(x: np.ndarray, w: np.ndarray, limit: int = 127) -> np.ndarray:
    """The product as the lesson's formulas say, in float64."""
    low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
    s = (high - low) / 255 or 1.0
    z = np.rint(-low / s)
    q = np.clip(np.rint(x / s) + z, 0, 255)
    scale = np.abs(w).max(0) / limit
    scale = np.where(scale == 0, 1, scale)
    return ((q - z) @ np.rint(w / scale) * s * scale).astype(np.float32)


def product(w: np.ndarray, shape=("batch",)):
    return graph([("MatMul", ["x", "w"], ["y"])], [*shape, len(w)], {"w": w})


def names_of_a_learner(*tensors: str) -> list[str]:
    """What the new tensors may be called, if nobody looks what is there."""
    endings = [
        "_quantized",
        "_scale",
        "_zero_point",
        "_int8",
        "_q",
        "/int8",
        "/scale",
        "_s",
        "_scales",
        "_z",
        "_int32",
        "_f",
    ]
    return [f"{name}{end}" for name in tensors for end in endings]


def network(shape=("batch",), hidden: int = 16):
    """Two layers with biases."""
    nodes = [
        ("MatMul", ["x", "w0"], ["a"]),
        ("Add", ["a", "b0"], ["b"]),
        ("Relu", ["b"], ["c"]),
        ("MatMul", ["c", "w1"], ["d"]),
        ("Add", ["d", "b1"], ["y"]),
    ]
    weights = {"w0": normal(6, hidden), "b0": normal(hidden), "w1": normal(hidden, 3), "b1": normal(3)}
    return graph(nodes, [*shape, 6], weights)


class TestQuantize:
    def test_the_example_worked_by_hand(self):
        found = quantize(product(np.array([[1, 0, -2], [-0.5, 0, 4]], np.float32)), 100)
        (integers,), (scales,) = of_type(found, np.int8), of_type(found, np.float32)
        assert_equal(integers, np.array([[100, 0, -50], [-50, 0, 100]], np.int8))
        assert_close(scales, np.array([0.01, 1, 0.04], np.float32))

    def test_five_nodes_stand_in_its_place(self):
        assert_equal(sorted(kinds(quantize(product(normal(4, 3))))), sorted(FIVE))
        found = kinds(quantize(network()))
        assert_equal(
            [sorted(found[:5]), *found[5:7], sorted(found[7:12]), *found[12:]],
            [sorted(FIVE), "Add", "Relu", sorted(FIVE), "Add"],
        )

    @pytest.mark.parametrize("limit", [127, 63, 7])
    @pytest.mark.parametrize(("rows", "columns"), [(5, 4), (12, 1), (1, 6)])
    def test_its_answer_is_that_of_the_formulas(self, rows, columns, limit):
        w, x = normal(rows, columns) * np.geomspace(0.01, 10, columns, dtype=np.float32), normal(7, rows, seed=1)
        assert_close(evaluated(quantize(product(w), limit), x), in_int8(x, w, limit), **CLOSE)

    def test_inputs_that_are_all_above_0(self):
        w, x = normal(5, 4), np.abs(normal(7, 5, seed=1)) + 2
        assert_close(evaluated(quantize(product(w)), x), in_int8(x, w), **CLOSE)

    @pytest.mark.parametrize("lead", [(2, 3), (2, 1, 4)])
    def test_more_axes(self, lead):
        w, x = normal(5, 4), normal(*lead, 5, seed=1)
        found = quantize(product(w, ("batch", *lead[1:])))
        assert_close(evaluated(found, x), in_int8(x, w), **CLOSE)

    def test_two_layers(self):
        model, x = network(), normal(9, 6, seed=3)
        w = weights_of(model)
        h = np.maximum(in_int8(x, w["w0"]) + w["b0"], 0)
        assert_close(evaluated(quantize(model), x), in_int8(h, w["w1"]) + w["b1"], rtol=1e-3, atol=1e-4)

    def test_near_the_float_model(self):
        model, x = network(hidden=32), normal(50, 6, seed=3)
        apart = np.abs(evaluated(quantize(model), x) - evaluated(model, x)).max()
        scale = np.abs(evaluated(model, x)).max()
        if apart > 0.03 * scale:  # a rounding is 1/255 and 1/254 of the ranges
            fail(
                f"The answers are {apart / scale:.1%} of their range away from the float model's.",
                evidence=float(apart),
            )

    def test_as_onnxruntimes_own_quantizer(self, tmp_path):
        from onnxruntime.quantization import QuantType, quantize_dynamic

        w, x = normal(8, 5) * np.array([1, 0.1, 3, 1, 10], np.float32), normal(6, 8, seed=2)
        path = str(tmp_path / "theirs.onnx")
        quantize_dynamic(product(w), path, per_channel=True, weight_type=QuantType.QInt8)
        assert_close(evaluated(quantize(product(w)), x), evaluated(onnx.load(path), x), **CLOSE)

    def test_onnxruntime_runs_it(self):
        model, x = quantize(network(), 63), normal(9, 6, seed=3)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        # With a limit of 63 no processor cuts anything off.
        assert_close(session.run(None, {"x": x})[0], evaluated(model, x), **CLOSE)

    @pytest.mark.parametrize("limit", [None, 63, 20])
    def test_the_limit_is_reached(self, limit):
        w = normal(9, 4)
        found = quantize(product(w)) if limit is None else quantize(product(w), limit)
        (integers,) = of_type(found, np.int8)
        assert_equal(np.abs(integers.astype(int)).max(axis=0).tolist(), [limit or 127] * 4)

    @pytest.mark.parametrize("zeros", ["one column", "all"])
    def test_columns_of_zeros(self, zeros):
        w, x = normal(5, 3), normal(4, 5, seed=1)
        w[:, 1 if zeros == "one column" else slice(None)] = 0
        found = quantize(product(w))
        assert_close(evaluated(found, x), in_int8(x, w), **CLOSE)
        assert_equal(of_type(found, np.float32)[0].tolist().count(1.0) >= 1, True)

    def test_the_float_matrix_is_gone(self):
        model = network(hidden=64)
        found = quantize(model)
        assert_equal({value.ndim for value in of_type(found, np.float32)}, {1})
        assert_equal(sorted(value.shape for value in of_type(found, np.int8)), [(6, 64), (64, 3)])

    @pytest.mark.parametrize(
        ("nodes", "weights"),
        [
            ([("MatMul", ["w", "x"], ["y"])], {"w": normal(3, 2)}),
            ([("Transpose", ["x"], ["t"]), ("MatMul", ["x", "t"], ["y"])], {}),
            ([("MatMul", ["x", "w"], ["y"])], {"w": normal(2, 4, 3)}),
            ([("MatMul", ["x", "w"], ["y"])], {"w": normal(4)}),
            ([("Cast", ["x"], ["d"], {"to": TensorProto.DOUBLE}), ("MatMul", ["d", "w"], ["e"]), ("Cast", ["e"], ["y"], {"to": 1})], {"w": normal(4, 3).astype(np.float64)}),
            ([("Relu", ["w"], ["v"]), ("MatMul", ["x", "v"], ["y"])], {"w": normal(4, 3)}),
            ([("Add", ["x", "w"], ["y"])], {"w": normal(2, 4)}),
            ([("Gemm", ["x", "w"], ["y"])], {"w": normal(4, 3)}),
        ],
    )  # fmt: skip
    def test_what_stays_as_it_is(self, nodes, weights):
        model = graph(nodes, [2, 4], weights)
        found = quantize(model)
        assert_equal(kinds(found), kinds(model))
        assert_close(weights_of(found), weights_of(model))
        assert_close(evaluated(found, normal(2, 4, seed=5)), evaluated(model, normal(2, 4, seed=5)))

    def test_one_matrix_for_two_products(self):
        w, x = normal(4, 4), normal(3, 4, seed=1)
        model = graph([("MatMul", ["x", "w"], ["a"]), ("MatMul", ["a", "w"], ["y"])], ["batch", 4], {"w": w})
        found = quantize(model)
        assert_equal(sorted(kinds(found)), sorted(FIVE * 2))
        assert_close(evaluated(found, x), in_int8(in_int8(x, w), w), rtol=1e-3, atol=1e-4)

    def test_two_matrices_for_one_input(self):
        w, v, x = normal(4, 3), normal(4, 3, seed=7), normal(5, 4, seed=1)
        nodes = [("MatMul", ["x", "w"], ["a"]), ("MatMul", ["x", "v"], ["b"]), ("Sub", ["a", "b"], ["y"])]
        found = quantize(graph(nodes, ["batch", 4], {"w": w, "v": v}))
        assert_close(evaluated(found, x), in_int8(x, w) - in_int8(x, v), **CLOSE)

    def test_the_same_product_twice(self):
        w, x = normal(4, 3), normal(5, 4, seed=1)
        nodes = [("MatMul", ["x", "w"], ["a"]), ("MatMul", ["x", "w"], ["b"]), ("Add", ["a", "b"], ["y"])]
        found = quantize(graph(nodes, ["batch", 4], {"w": w}))
        assert_close(evaluated(found, x), 2 * in_int8(x, w), **CLOSE)

    def test_a_matrix_that_another_node_reads_as_well(self):
        w, x = normal(4, 4), normal(3, 4, seed=1)
        nodes = [
            ("MatMul", ["x", "w"], ["a"]),
            ("ReduceSum", ["w"], ["s"], {"keepdims": 0}),
            ("Add", ["a", "s"], ["y"]),
        ]
        found = quantize(graph(nodes, ["batch", 4], {"w": w}))
        assert_close(evaluated(found, x), in_int8(x, w) + w.sum(), **CLOSE)

    def test_a_matrix_that_is_an_input_of_another_product_as_well(self):
        w, x = normal(4, 4), normal(3, 4, seed=1)
        nodes = [("MatMul", ["x", "w"], ["a"]), ("MatMul", ["w", "w"], ["b"]), ("MatMul", ["a", "b"], ["y"])]
        found = quantize(graph(nodes, ["batch", 4], {"w": w}))
        assert_close(evaluated(found, x), in_int8(x, w) @ in_int8(w, w), rtol=1e-3, atol=1e-4)

    def test_other_weights_stay_though_nobody_reads_them(self):
        w = {"w": normal(4, 3), "spare": normal(2, 2), "note": np.array([3], np.int64)}
        found = weights_of(quantize(graph([("MatMul", ["x", "w"], ["y"])], ["batch", 4], w)))
        assert_close((found["spare"], found["note"]), (w["spare"], w["note"]))
        assert_equal(len(found), 4)

    def test_a_matrix_that_is_an_output(self):
        w = normal(4, 3)
        found = quantize(graph([("MatMul", ["x", "w"], ["y"])], ["batch", 4], {"w": w}, outputs=("y", "w")))
        assert_equal(kinds(found), FIVE)
        assert_close(weights_of(found)["w"], w)

    def test_names_of_weights_that_are_taken_already(self):
        w, x = normal(4, 3), normal(5, 4, seed=1)
        taken = {name: normal(2, seed=i) for i, name in enumerate(names_of_a_learner("x", "w", "y"))}
        found = quantize(graph([("MatMul", ["x", "w"], ["y"])], ["batch", 4], {"w": w} | taken))
        assert_close({name: value for name, value in weights_of(found).items() if name in taken}, taken)
        assert_close(evaluated(found, x), in_int8(x, w), **CLOSE)

    def test_names_that_are_taken_already(self):
        w, x = normal(4, 4), normal(3, 4, seed=1)
        last = "a"
        nodes = [("MatMul", ["x", "w"], ["a"])]
        for end in names_of_a_learner("x", "w", "a"):
            nodes.append(("Identity", [last], [end]))
            last = end
        nodes.append(("MatMul", [last, "w"], ["y"]))
        found = quantize(graph(nodes, ["batch", 4], {"w": w}))
        assert_close(evaluated(found, x), in_int8(in_int8(x, w), w), rtol=1e-3, atol=1e-4)

    def test_what_stands_around_the_nodes_stays(self):
        model = network()
        found = quantize(model)
        assert_equal((found.ir_version, [o.version for o in found.opset_import]), (10, [18]))
        for mine, theirs in zip(
            (*found.graph.input, *found.graph.output), (*model.graph.input, *model.graph.output), strict=True
        ):
            assert_equal(mine.SerializeToString(deterministic=True), theirs.SerializeToString(deterministic=True))

    def test_twice_is_once(self):
        once = quantize(network())
        assert_equal(kinds(quantize(once)), kinds(once))
        assert_close(weights_of(quantize(once)), weights_of(once))

    def test_the_model_stays(self):
        model = network()
        before = model.SerializeToString(deterministic=True)
        quantize(model)
        quantize(model, 63)
        assert_equal(model.SerializeToString(deterministic=True) == before, True)


class TestEdgeSession:
    @pytest.mark.parametrize("threads", [None, 1, 2, 3])
    def test_its_threads(self, threads):
        session = edge_session(network()) if threads is None else edge_session(network(), threads)
        found = session.get_session_options()
        assert_equal((found.intra_op_num_threads, found.inter_op_num_threads), (threads or 1, 1))

    def test_the_arena_is_on(self):
        assert_equal(edge_session(network()).get_session_options().enable_cpu_mem_arena, True)

    @pytest.mark.parametrize("threads", [1, 2])
    def test_waiting_threads_dont_spin(self, threads):
        found = edge_session(network(), threads).get_session_options()
        assert_equal(found.get_session_config_entry("session.intra_op.allow_spinning"), "0")

    def test_it_runs_on_the_cpu(self):
        session, x = edge_session(network()), normal(4, 6, seed=2)
        assert_equal(session.get_providers(), ["CPUExecutionProvider"])
        assert_close(session.run(None, {"x": x})[0], evaluated(network(), x), **CLOSE)

    def test_each_model_has_its_own(self):
        x = normal(4, 6, seed=2)
        one, other = edge_session(network()), edge_session(network(hidden=5))
        assert_close(one.run(None, {"x": x})[0], evaluated(network(), x), **CLOSE)
        assert_close(other.run(None, {"x": x})[0], evaluated(network(hidden=5), x), **CLOSE)


def planned(model, x: np.ndarray) -> int:
    """The peak by the lesson's words, from the arrays that really come out of each node."""
    from onnx.reference import ReferenceEvaluator

    arrays = ReferenceEvaluator(model).run(None, {"x": x}, intermediate=True)
    nodes, outputs = model.graph.node, [value.name for value in model.graph.output]
    always = x.nbytes + sum(value.nbytes for value in weights_of(model).values())
    peak = 0
    for now in range(len(nodes)):
        total = 0
        for made, node in enumerate(nodes):
            for name in node.output:
                readers = [i for i, other in enumerate(nodes) if name in other.input]
                still = name in outputs or made == now or any(i >= now for i in readers)
                if name and made <= now and still:
                    total += np.asarray(arrays[name]).nbytes
        peak = max(peak, total)
    return always + peak


def by_hand():
    nodes = [
        ("MatMul", ["x", "w"], ["a"]),
        ("Relu", ["a"], ["b"]),
        ("MatMul", ["b", "v"], ["c"]),
        ("Add", ["c", "b"], ["y"]),
    ]
    return graph(nodes, ["batch", 2], {"w": normal(2, 4), "v": normal(4, 4)})


def kinked():
    """At first a large tensor that doesn't depend on the batch, and later small ones that do."""
    nodes = [
        ("Relu", ["w"], ["large"]),
        ("ReduceSum", ["large"], ["s"], {"keepdims": 0}),
        ("Add", ["x", "s"], ["a"]),
        ("Relu", ["a"], ["b"]),
        ("Add", ["a", "b"], ["y"]),
    ]
    return graph(nodes, ["batch", 5], {"w": normal(30, 10)})


def branching(seed: int):
    """Some nodes, each of which reads one or two tensors from before; one of them is the output."""
    random = np.random.default_rng(seed)
    names, nodes = ["x"], []
    for i in range(9):
        kind = ["Relu", "Add", "Concat", "Greater"][random.integers(4)]
        floats = [name for name in names if not name.startswith("bool")]
        one, other = (floats[random.integers(len(floats))] for _ in range(2))
        wide = {"Concat": ({"axis": 0},)}.get(kind, ())
        if kind == "Relu" or kind != "Concat":
            one, other = ("x", "x") if random.random() < 0.3 else (one, one)
        made = f"bool{i}" if kind == "Greater" else f"t{i}"
        nodes.append((kind, [one] if kind == "Relu" else [one, other], [made], *wide))
        names.append(made)
    nodes.append(("Relu", [names[1] if not names[1].startswith("bool") else "x"], ["y"]))
    return graph(nodes, ["batch", 4])


class TestPeakBytes:
    def test_the_example_worked_by_hand(self):
        assert_equal(peak_bytes(by_hand(), {"batch": 10}), 656)
        assert_equal(peak_bytes(by_hand(), {"batch": 1}), 96 + 56)

    @pytest.mark.parametrize("rows", [1, 3, 20])
    @pytest.mark.parametrize("make", [network, by_hand, kinked, lambda: quantize(network())])
    def test_what_the_arrays_take(self, make, rows):
        model = make()
        columns = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
        assert_equal(peak_bytes(model, {"batch": rows}), planned(model, normal(rows, columns, seed=4)))

    @pytest.mark.parametrize("seed", range(12))
    def test_any_graph(self, seed):
        model = branching(seed)
        assert_equal(peak_bytes(model, {"batch": 3}), planned(model, normal(3, 4, seed=4)))

    def test_two_named_axes(self):
        model = network(("batch", "tokens"))
        assert_equal(peak_bytes(model, {"batch": 3, "tokens": 5}), planned(model, normal(3, 5, 6, seed=4)))
        assert_equal(peak_bytes(model, {"tokens": 2, "batch": 8}), planned(model, normal(8, 2, 6, seed=4)))

    def test_no_named_axis(self):
        assert_equal(peak_bytes(network((4,)), {}), planned(network((4,)), normal(4, 6, seed=4)))

    def test_each_type_has_its_size(self):
        nodes = [
            ("Cast", ["x"], ["d"], {"to": TensorProto.DOUBLE}),
            ("Cast", ["d"], ["b"], {"to": TensorProto.UINT8}),
            ("Cast", ["b"], ["h"], {"to": TensorProto.FLOAT16}),
            ("Cast", ["h"], ["y"], {"to": TensorProto.BOOL}),
        ]
        model = graph(nodes, ["batch", 5], types={"y": TensorProto.BOOL})
        # x 4 bytes a number, always; beside it 8, then 8 + 1, then 1 + 2, then 2 + 1.
        assert_equal(peak_bytes(model, {"batch": 7}), 35 * (4 + 9))

    def test_what_nobody_reads_is_gone_after_its_node(self):
        nodes = [("Concat", ["x", "x", "x"], ["unread"], {"axis": 0}), ("Relu", ["x"], ["a"]), ("Relu", ["a"], ["y"])]
        assert_equal(peak_bytes(graph(nodes, ["batch", 5]), {"batch": 2}), 40 * 4)
        nodes = [("Relu", ["x"], ["a"]), ("Relu", ["a"], ["y"]), ("Concat", ["x", "x"], ["unread"], {"axis": 0})]
        assert_equal(peak_bytes(graph(nodes, ["batch", 5]), {"batch": 2}), 40 * 4)

    def test_an_output_stays_to_the_end(self):
        nodes = [("Relu", ["x"], ["y"]), ("Relu", ["x"], ["a"]), ("Concat", ["a", "a"], ["b"], {"axis": 0})]
        assert_equal(peak_bytes(graph(nodes, ["batch", 5]), {"batch": 2}), 40 * 5)

    def test_the_input_stays_to_the_end(self):
        nodes = [
            ("Relu", ["x"], ["a"]),
            ("Concat", ["a", "a", "a"], ["b"], {"axis": 0}),
            ("ReduceSum", ["b"], ["y"], {"keepdims": 0}),
        ]
        assert_equal(peak_bytes(graph(nodes, ["batch", 5]), {"batch": 2}), 40 * 5)

    def test_what_is_read_late(self):
        nodes = [
            ("Relu", ["x"], ["a"]),
            ("Relu", ["a"], ["b"]),
            ("Relu", ["b"], ["c"]),
            ("Relu", ["c"], ["d"]),
            ("Add", ["a", "d"], ["y"]),
        ]
        assert_equal(peak_bytes(graph(nodes, ["batch", 5]), {"batch": 2}), 40 * 4)

    def test_a_weight_counts_once_and_always(self):
        weights = {"w": normal(5, 5), "unread": normal(7), "ids": np.arange(3, dtype=np.int64)}
        nodes = [("MatMul", ["x", "w"], ["a"]), ("MatMul", ["a", "w"], ["y"])]
        assert_equal(peak_bytes(graph(nodes, ["batch", 5], weights), {"batch": 2}), 100 + 28 + 24 + 40 * 3)

    def test_names_that_are_left_out(self):
        nodes = [("Clip", ["x", "", "top"], ["a"]), ("Dropout", ["a"], ["b", ""]), ("Relu", ["b"], ["y"])]
        model = graph(nodes, ["batch", 5], {"top": np.float32(1)})
        assert_equal(peak_bytes(model, {"batch": 2}), 4 + 40 * 3)

    def test_shapes_that_werent_inferred_before(self):
        model = by_hand()
        del model.graph.value_info[:]
        assert_equal(peak_bytes(model, {"batch": 10}), 656)

    def test_the_model_stays(self):
        model = by_hand()
        before = model.SerializeToString(deterministic=True)
        assert_equal([peak_bytes(model, {"batch": n}) for n in (10, 1, 10)], [656, 152, 656])
        assert_equal(model.SerializeToString(deterministic=True) == before, True)


class TestLargestBatch:
    def test_the_example_worked_by_hand(self):
        assert_equal([largest_batch(by_hand(), limit, 100) for limit in (656, 655, 152)], [10, 9, 1])

    @pytest.mark.parametrize("most", [1, 4, 10])
    def test_no_more_than_the_most(self, most):
        assert_equal([largest_batch(by_hand(), 656, most), largest_batch(by_hand(), 10**9, most)], [most, most])

    @pytest.mark.parametrize("make", [network, kinked, lambda: quantize(network())])
    def test_as_one_by_one(self, make):
        model = make()
        peaks = [peak_bytes(model, {"batch": rows}) for rows in range(1, 41)]
        for limit in (peaks[0], peaks[0] + 1, peaks[4] - 1, peaks[11], (peaks[20] + peaks[21]) // 2, peaks[38]):
            if limit >= peaks[0]:
                assert_equal(
                    largest_batch(model, limit, 40), max(i for i, peak in enumerate(peaks, 1) if peak <= limit)
                )

    def test_another_name_for_the_axis(self):
        assert_equal(largest_batch(network(("n",)), peak_bytes(network(("n",)), {"n": 6}), 50), 6)

    def test_a_million_rows(self):
        model = by_hand()
        assert_equal(largest_batch(model, 96 + 56 * 123_456, 1_000_000), 123_456)

    @pytest.mark.parametrize("most", [1, 8])
    def test_refuses_what_not_even_one_row_fits(self, most):
        with raises(ValueError, 151, 152):
            largest_batch(by_hand(), 151, most)


def grown(before, function) -> float:
    """By how many megabytes the peak of a process rises while it calls the function, after another call."""
    import resource

    reading, writing = os.pipe()
    if not (pid := os.fork()):
        try:
            before()
            first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            function()
            then = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            os.write(writing, str((then - first) / 1024).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    if not said:
        fail("run_within fails in a process of its own.")
    return float(said)


class TestRunWithin:
    @pytest.mark.parametrize("rows", [1, 7, 12, 13, 40])
    def test_as_all_at_once(self, rows):
        model, x = network(), normal(rows, 6, seed=5)
        limit = peak_bytes(model, {"batch": 6})
        assert_close(run_within(model, torch.from_numpy(x), limit), torch.from_numpy(evaluated(model, x)), **CLOSE)

    @pytest.mark.parametrize("rows", [1, 4, 5, 11])
    def test_batches_of_the_largest_size_in_order(self, rows):
        # A model quantized dynamically shows which rows ran together.
        model, x = quantize(network(), 63), normal(11, 6, seed=5) * np.geomspace(0.1, 10, 11, dtype=np.float32)[:, None]
        limit = peak_bytes(model, {"batch": rows})
        expected = [evaluated(model, x[i : i + rows]) for i in range(0, 11, rows)]
        assert_close(run_within(model, torch.from_numpy(x), limit), torch.from_numpy(np.concatenate(expected)), **CLOSE)

    def test_more_axes(self):
        model, x = network(("batch", 3)), normal(10, 3, 6, seed=5)
        limit = peak_bytes(model, {"batch": 4})
        assert_close(run_within(model, torch.from_numpy(x), limit), torch.from_numpy(evaluated(model, x)), **CLOSE)

    def test_no_gradient(self):
        x = torch.from_numpy(normal(3, 6, seed=5)).requires_grad_()
        found = run_within(network(), x, 10**6)
        assert_equal((found.requires_grad, x.requires_grad), (False, True))

    def test_rows_that_arent_contiguous(self):
        x = torch.from_numpy(normal(6, 9, seed=5)).T
        limit = peak_bytes(network(), {"batch": 4})
        assert_close(run_within(network(), x, limit), torch.from_numpy(evaluated(network(), x.numpy())), **CLOSE)

    def test_refuses_what_not_even_one_row_fits(self):
        least = peak_bytes(network(), {"batch": 1})
        with raises(ValueError, least, least - 1):
            run_within(network(), torch.zeros(5, 6), least - 1)

    def test_the_model_is_opened_once(self, monkeypatch):
        opened, session = [], onnxruntime.InferenceSession

        def counted(*args, **kwargs):
            opened.append(None)
            return session(*args, **kwargs)

        monkeypatch.setattr(onnxruntime, "InferenceSession", counted)
        run_within(network(), torch.from_numpy(normal(20, 6, seed=5)), peak_bytes(network(), {"batch": 4}))
        if len(opened) > 1:
            fail(f"The model is opened {len(opened)} times for five batches.  Open it once.", evidence=len(opened))

    def test_the_memory_that_is_really_taken(self):
        if not sys.platform.startswith("linux"):
            pytest.skip("a process's peak memory is read as Linux counts it")
        weights = {"w": normal(32, 2048), "v": normal(2048, 4)}
        nodes = [("MatMul", ["x", "w"], ["a"]), ("Tanh", ["a"], ["b"]), ("MatMul", ["b", "v"], ["y"])]
        model, x = graph(nodes, ["batch", 32], weights), torch.from_numpy(normal(8192, 32, seed=5))
        run_within(model, x[:8], 4_500_000)
        # All rows at once take 64 MB for a alone; the limit allows a batch of some 250, which took 4 MB.
        megabytes = grown(lambda: run_within(model, x[:8], 4_500_000), lambda: run_within(model, x, 4_500_000))
        if megabytes > 20:
            fail(f"The limit is 4.5 MB, but the memory rose by {megabytes:.0f} MB.", evidence=round(megabytes / 32))

    def test_on_the_gpu(self, gpu):
        x = torch.from_numpy(normal(9, 6, seed=5))
        limit = peak_bytes(network(), {"batch": 4})
        gpu.check(lambda x: run_within(network(), x, limit), x, what="run_within")

"""Judges k07_onnx_export against torch in onnxruntime and in onnx's own evaluator, and against onnx.checker."""

import copy
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises

NEEDS = "needs the extra `serving`: pip install -c constraints.txt -e '.[serving]'"
onnx = pytest.importorskip("onnx", reason=NEEDS)
onnxruntime = pytest.importorskip("onnxruntime", reason=NEEDS)

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from katas.module_09_inference.k07_onnx_export import check, compare, export, run  # noqa: E402

pytestmark = [from_scratch("torch.onnx", "onnx.checker"), pure()]

# Sums are added in another order: some units in the last of float32's seven digits.
CLOSE = dict(rtol=1e-4, atol=1e-5)


def answer(model, x: torch.Tensor) -> torch.Tensor:
    """What onnxruntime makes of a graph."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    assert_equal(names, ["x"])
    return torch.from_numpy(session.run(["y"], {"x": x.numpy()})[0])


def axes(value) -> list:
    """The axes of an input or output: numbers, names, or None."""
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in dims]


def kinds(model) -> list[str]:
    return [node.op_type for node in model.graph.node]


def worked() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(), nn.ReLU())
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2.0], [3.0, -4.0], [0.0, 1.0]]))
        model[0].bias.copy_(torch.tensor([0.0, 1.0, -5.0]))
    return model


def shared() -> nn.Sequential:
    layer = nn.Linear(5, 5)
    return nn.Sequential(layer, nn.ReLU(), layer, layer)


MODELS = {
    "one layer": (lambda: nn.Sequential(nn.Linear(5, 3)), ["batch", 5]),
    "no bias": (lambda: nn.Sequential(nn.Linear(5, 3, bias=False), nn.ReLU(), nn.Linear(3, 4)), ["batch", 5]),
    "square": (lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4, bias=False)), ["batch", 4]),
    "tokens": (lambda: nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2)), ["batch", 6, 5]),
    "four axes": (lambda: nn.Sequential(nn.Linear(5, 3), nn.ReLU()), ["batch", 2, 3, 5]),
    "flat": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), ["batch", 4, 3]),
    "flat late": (lambda: nn.Sequential(nn.Linear(3, 2), nn.Flatten(), nn.Linear(8, 3)), ["batch", 4, 3]),
    "dropout last": (lambda: nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Dropout(0.9)), ["batch", 5]),
    "dropout first": (lambda: nn.Sequential(nn.Dropout(0.9), nn.Identity(), nn.Linear(5, 3)), ["batch", 5]),
    "nested": (
        lambda: nn.Sequential(nn.Sequential(nn.Linear(5, 4), nn.Sequential(nn.ReLU())), nn.Linear(4, 3)),
        ["batch", 5],
    ),
    "shared": (shared, ["batch", 5]),
    "conv": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3)), ["batch", 2, 6, 7]),
    "conv without bias": (lambda: nn.Sequential(nn.Conv2d(2, 3, (1, 3), bias=False)), ["batch", 2, 6, 7]),
    "conv with strides": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, stride=(1, 2))), ["batch", 2, 8, 9]),
    "conv with padding": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=(2, 1))), ["batch", 2, 6, 7]),
    "conv with dilation": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3, dilation=(1, 2))), ["batch", 2, 6, 7]),
    "conv in groups": (lambda: nn.Sequential(nn.Conv2d(4, 6, 3, groups=2)), ["batch", 4, 6, 7]),
    "a small network": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(64, 10)
        ),
        ["batch", 1, 8, 8],
    ),
}
CASES = pytest.mark.parametrize("name", list(MODELS))


def made(name: str) -> tuple[nn.Sequential, list, list]:
    """A model, the shape to export, and the rest of the shape without axis 0."""
    build, shape = MODELS[name]
    return build(), shape, shape[1:]


class TestExport:
    def test_the_example_worked_by_hand(self):
        model = export(worked(), ["batch", 2])
        assert_equal(kinds(model), ["MatMul", "Add", "Relu"])
        assert_close(answer(model, torch.ones(1, 2)), torch.tensor([[3.0, 0.0, 0.0]]))

    def test_its_weights_are_initializers(self):
        weights = [numpy_helper.to_array(w) for w in export(worked(), ["batch", 2]).graph.initializer]
        by_axes = {w.ndim: w for w in weights}
        assert_equal(len(weights), 2)
        assert_close(by_axes[2], np.array([[1, 3, 0], [2, -4, 1]], np.float32))
        assert_close(by_axes[1], np.array([0, 1, -5], np.float32))

    @CASES
    def test_onnxruntime_says_what_torch_says(self, name):
        model, shape, rest = made(name)
        x = torch.randn(4, *rest)
        assert_close(answer(export(model, shape), x), model.eval()(x).detach(), **CLOSE)

    @pytest.mark.parametrize("name", ["square", "tokens", "flat late", "conv with strides", "a small network"])
    def test_any_number_of_rows(self, name):
        model, shape, rest = made(name)
        exported = export(model, shape)
        for rows in (1, 9):
            x = torch.randn(rows, *rest)
            assert_close(answer(exported, x), model.eval()(x).detach(), **CLOSE)

    @CASES
    def test_the_checker_of_onnx_accepts_it(self, name):
        model, shape, _ = made(name)
        onnx.checker.check_model(export(model, shape), full_check=True)

    @CASES
    def test_the_shapes_are_declared(self, name):
        model, shape, rest = made(name)
        graph = export(model, shape).graph
        assert_equal(axes(graph.input[0]), shape)
        assert_equal(axes(graph.output[0]), ["batch", *model(torch.zeros(2, *rest)).shape[1:]])

    def test_the_names_are_x_and_y(self):
        graph = export(worked(), ["n", 2]).graph
        assert_equal(([v.name for v in graph.input], [v.name for v in graph.output]), (["x"], ["y"]))
        assert_equal([v.type.tensor_type.elem_type for v in (*graph.input, *graph.output)], [TensorProto.FLOAT] * 2)

    def test_a_number_fixes_the_axis(self):
        graph = export(worked(), [4, 2]).graph
        assert_equal((axes(graph.input[0]), axes(graph.output[0])), ([4, 2], [4, 3]))

    def test_two_dynamic_axes(self):
        model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2))
        exported = export(model, ["rows", "tokens", 5])
        assert_equal(axes(exported.graph.input[0]), ["rows", "tokens", 5])
        assert_equal(axes(exported.graph.output[0]), ["rows", "tokens", 2])
        for rows, tokens in ((2, 3), (3, 8), (1, 1)):
            x = torch.randn(rows, tokens, 5)
            assert_close(answer(exported, x), model(x).detach(), **CLOSE)

    def test_an_axis_that_isnt_0_may_be_the_only_dynamic_one(self):
        model = nn.Sequential(nn.Linear(5, 2))
        exported = export(model, [3, "tokens", 5])
        assert_equal(axes(exported.graph.output[0]), [3, "tokens", 2])
        assert_close(answer(exported, torch.ones(3, 9, 5)), model(torch.ones(3, 9, 5)).detach(), **CLOSE)

    @pytest.mark.parametrize("stride", [1, 2])
    def test_images_of_any_size(self, stride):
        model = nn.Sequential(nn.Conv2d(1, 2, 3, stride=stride), nn.ReLU())
        exported = export(model, ["batch", 1, "high", "wide"])
        found = axes(exported.graph.output[0])
        assert_equal(found[:2], ["batch", 2])
        if any(isinstance(axis, int) for axis in found[2:]):
            fail("The output's height or width is declared as a number, but it depends on the image.", evidence=found)
        for high, wide in ((5, 6), (9, 7)):
            x = torch.randn(2, 1, high, wide)
            assert_close(answer(exported, x), model(x).detach(), **CLOSE)

    def test_what_flatten_joins_has_no_number(self):
        exported = export(nn.Sequential(nn.Linear(3, 2), nn.Flatten()), ["batch", "tokens", 3])
        found = axes(exported.graph.output[0])
        assert_equal((len(found), found[0]), (2, "batch"))
        assert_equal(isinstance(found[1], int), False)

    @CASES
    def test_the_nodes_are_those_of_the_table(self, name):
        model, shape, _ = made(name)
        expected = []
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                expected += ["MatMul"] + ["Add"] * (layer.bias is not None)
            elif isinstance(layer, nn.Conv2d | nn.ReLU | nn.Flatten):
                expected.append({nn.Conv2d: "Conv", nn.ReLU: "Relu", nn.Flatten: "Flatten"}[type(layer)])
        if name == "shared":
            expected = ["MatMul", "Add", "Relu", "MatMul", "Add", "MatMul", "Add"]
        assert_equal(kinds(export(model, shape)), expected)

    @pytest.mark.parametrize("layers", [[], [nn.Dropout()], [nn.Identity(), nn.Sequential()]])
    def test_no_layer_is_one_identity(self, layers):
        exported = export(nn.Sequential(*layers), ["batch", 3])
        assert_equal(kinds(exported), ["Identity"])
        assert_equal(axes(exported.graph.output[0]), ["batch", 3])
        x = torch.randn(2, 3)
        assert_close(answer(exported, x), x)

    @pytest.mark.parametrize("training", [True, False])
    def test_the_mode_stays(self, training):
        model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(), nn.Sequential(nn.Dropout())).train(training)
        model[2].train(not training)
        before = [layer.training for layer in model.modules()]
        export(model, ["batch", 3])
        assert_equal([layer.training for layer in model.modules()], before)

    def test_the_weights_are_copies(self):
        model = worked()
        exported = export(model, ["batch", 2])
        with torch.no_grad():
            model[0].weight.zero_()
            model[0].bias.zero_()
        assert_close(answer(exported, torch.ones(1, 2)), torch.tensor([[3.0, 0.0, 0.0]]))

    @pytest.mark.parametrize("opset", [18, 20])
    def test_the_opset(self, opset):
        exported = export(worked(), ["batch", 2], opset)
        assert_equal([(o.domain, o.version) for o in exported.opset_import], [("", opset)])

    def test_opset_18_by_default_in_the_tenth_format(self):
        exported = export(worked(), ["batch", 2])
        assert_equal((exported.opset_import[0].version, exported.ir_version), (18, 10))

    @pytest.mark.parametrize(
        "layer", [nn.Tanh(), nn.BatchNorm1d(3), nn.Softmax(-1), nn.Conv1d(1, 1, 1), nn.LayerNorm(3), nn.LeakyReLU()]
    )
    @pytest.mark.parametrize("nested", [False, True])
    def test_refuses_other_layers(self, layer, nested):
        inner = nn.Sequential(layer) if nested else layer
        with raises(TypeError, type(layer).__name__):
            export(nn.Sequential(nn.Linear(3, 3), inner), ["batch", 3])

    def test_two_exports_dont_meet(self):
        one, other = nn.Sequential(nn.Linear(3, 2)), nn.Sequential(nn.Linear(3, 2), nn.ReLU())
        first, second = export(one, ["batch", 3]), export(other, ["batch", 3])
        x = torch.randn(5, 3)
        assert_close(answer(first, x), one(x).detach(), **CLOSE)
        assert_close(answer(second, x), other(x).detach(), **CLOSE)
        assert_close(answer(export(one, ["batch", 3]), x), one(x).detach(), **CLOSE)

    def test_a_model_on_the_gpu(self, gpu):
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3))
        x = torch.randn(2, 1, 5, 5)
        assert_close(answer(export(gpu(model), ["batch", 1, 5, 5]), x), model(x).detach(), **CLOSE)

    @pytest.mark.slow
    @pytest.mark.deadline(300)
    def test_as_torchs_own_exporter(self, tmp_path):
        model, shape, rest = made("a small network")
        path, model = str(tmp_path / "model.onnx"), model.eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model,
                (torch.randn(2, *rest),),
                path,
                dynamo=True,
                external_data=False,
                input_names=["x"],
                output_names=["y"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
        theirs, mine, x = onnx.load(path), export(model, shape), torch.randn(7, *rest)
        assert_close(answer(mine, x), answer(theirs, x), **CLOSE)
        assert_equal(axes(mine.graph.output[0]), axes(theirs.graph.output[0]))
        assert_equal(check(theirs), None)


def graph(nodes, inputs=("x",), outputs=("y",), weights=()):
    """A graph of Relu, Add and Clip nodes: (kind, names read, names made)."""
    return helper.make_model(
        helper.make_graph(
            [helper.make_node(kind, reads, makes) for kind, reads, makes in nodes],
            "g",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in inputs],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]) for name in outputs],
            [numpy_helper.from_array(np.ones(2, np.float32), name) for name in weights],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )


class TestCheck:
    @pytest.mark.parametrize(
        "model",
        [
            graph([("Relu", ["x"], ["y"])]),
            graph([("Relu", ["x"], ["a"]), ("Add", ["a", "w"], ["y"])], weights=["w"]),
            graph([("Relu", ["x"], ["a"]), ("Add", ["a", "a"], ["b"]), ("Add", ["a", "b"], ["y"])]),
            graph([("Add", ["x", "z"], ["y"])], inputs=["x", "z"]),
            graph([("Relu", ["x"], ["y"]), ("Relu", ["y"], ["z"])], outputs=["z", "y"]),
            graph([("Relu", ["x"], ["unread"]), ("Relu", ["x"], ["y"])], weights=["unread too"]),
            graph([], outputs=["x"]),
            graph([], outputs=["w"], weights=["w"]),
        ],
    )
    def test_accepts_what_fits(self, model):
        assert_equal(check(model), None)

    def test_a_tensor_that_nobody_makes(self):
        with raises(ValueError, "missing"):
            check(graph([("Relu", ["x"], ["a"]), ("Add", ["a", "missing"], ["y"])]))

    def test_a_tensor_whose_shape_alone_is_known(self):
        model = graph([("Relu", ["described"], ["y"])])
        model.graph.value_info.append(helper.make_tensor_value_info("described", TensorProto.FLOAT, ["n", 2]))
        with raises(ValueError, "described"):
            check(model)

    def test_a_tensor_that_is_made_later(self):
        with raises(ValueError, "later"):
            check(graph([("Relu", ["later"], ["y"]), ("Relu", ["x"], ["later"])]))

    def test_a_node_that_reads_what_it_makes(self):
        with raises(ValueError, "itself"):
            check(graph([("Add", ["x", "itself"], ["itself"]), ("Relu", ["itself"], ["y"])]))

    def test_a_tensor_made_twice(self):
        with raises(ValueError, "twice"):
            check(graph([("Relu", ["x"], ["twice"]), ("Relu", ["x"], ["twice"]), ("Relu", ["twice"], ["y"])]))

    def test_a_tensor_made_twice_by_one_node(self):
        with raises(ValueError, "twice"):
            check(graph([("Split", ["x"], ["twice", "twice"]), ("Relu", ["twice"], ["y"])]))

    def test_an_input_made_anew(self):
        with raises(ValueError, "given"):
            check(graph([("Relu", ["given"], ["given"])], inputs=["given"], outputs=["given"]))

    def test_a_weight_made_anew(self):
        with raises(ValueError, "kept"):
            check(graph([("Relu", ["x"], ["kept"]), ("Relu", ["kept"], ["y"])], weights=["kept"]))

    @pytest.mark.parametrize("nodes", [[], [("Relu", ["x"], ["y"])]])
    def test_an_output_that_nobody_makes(self, nodes):
        with raises(ValueError, "nowhere"):
            check(graph(nodes, outputs=["x", "nowhere"]))

    def test_what_is_left_out_is_no_name(self):
        check(graph([("Clip", ["x", "", "w"], ["a"]), ("Clip", ["a", "", ""], ["y"])], weights=["w"]))
        check(graph([("LSTM", ["x", "x", "x"], ["", "a"]), ("LSTM", ["x", "x", "a"], ["", "y"])]))

    def test_an_input_may_have_a_default(self):
        check(graph([("Add", ["x", "w"], ["y"])], inputs=["x", "w"], weights=["w"]))

    def test_the_first_fault_in_the_order_of_the_nodes(self):
        with raises(ValueError, "alpha") as error:
            check(graph([("Relu", ["alpha"], ["y"]), ("Relu", ["beta"], ["y"])], outputs=["gamma"]))
        assert_equal([name in str(error.value) for name in ("beta", "gamma")], [False, False])
        with raises(ValueError, "y"):
            check(graph([("Relu", ["x"], ["y"]), ("Relu", ["x"], ["y"]), ("Relu", ["beta"], ["z"])]))

    def test_reading_comes_before_making(self):
        with raises(ValueError, "unmade"):
            check(graph([("Relu", ["x"], ["y"]), ("Relu", ["unmade"], ["y"])]))

    def test_nodes_before_outputs(self):
        with raises(ValueError, "unmade"):
            check(graph([("Relu", ["unmade"], ["z"])], outputs=["nowhere"]))

    @pytest.mark.parametrize("seed", range(30))
    def test_agrees_with_the_checker_of_onnx(self, seed):
        random = np.random.default_rng(seed)
        names = ["x", "w", *"abcdef"]
        nodes = []
        for i in range(4):  # mostly right: it reads what is there, and makes what is new
            there = ["x", "w", *(made[0] for _, _, made in nodes)] if random.random() < 0.85 else names
            new = "abcd"[i] if random.random() < 0.9 else names[random.integers(len(names))]
            nodes.append(("Add", [str(random.choice(there)) for _ in range(2)], [new]))
        model = graph(nodes, outputs=[nodes[-1][2][0]], weights=["w"])
        try:
            onnx.checker.check_model(model)
        except onnx.checker.ValidationError:
            with raises(ValueError):
                check(model)
        else:
            assert_equal(check(model), None)

    @pytest.mark.parametrize("name", ["tokens", "a small network", "shared", "dropout last"])
    def test_accepts_your_exports(self, name):
        model, shape, _ = made(name)
        check(export(model, shape))

    def test_it_leaves_the_graph_as_it_is(self):
        model = graph([("Relu", ["x"], ["a"]), ("Add", ["a", "w"], ["y"])], weights=["w"])
        before = model.SerializeToString(deterministic=True)
        check(model)
        check(model)
        assert_equal(model.SerializeToString(deterministic=True) == before, True)


class TestRun:
    def test_the_example_worked_by_hand(self):
        model = graph([("Relu", ["x"], ["a"]), ("Add", ["a", "w"], ["y"])], weights=["w"])
        assert_close(run(model, torch.tensor([[1.0, -2.0], [-3.0, 4.0]])), torch.tensor([[2.0, 1.0], [1.0, 5.0]]))

    def test_whatever_the_names(self):
        model = graph([("Relu", ["features"], ["logits"])], inputs=["features"], outputs=["logits"])
        assert_close(run(model, torch.tensor([[1.0, -2.0]])), torch.tensor([[1.0, 0.0]]))

    def test_matches_onnxs_own_evaluator(self):
        from onnx.reference import ReferenceEvaluator

        w = np.random.default_rng(3).normal(size=(5, 4)).astype(np.float32)
        model = helper.make_model(
            helper.make_graph(
                [helper.make_node("MatMul", ["in", "w"], ["h"]), helper.make_node("Tanh", ["h"], ["out"])],
                "g",
                [helper.make_tensor_value_info("in", TensorProto.FLOAT, ["n", 5])],
                [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 4])],
                [numpy_helper.from_array(w, "w")],
            ),
            opset_imports=[helper.make_opsetid("", 18)],
            ir_version=10,
        )
        x = torch.randn(6, 5)
        (expected,) = ReferenceEvaluator(model).run(None, {"in": x.numpy()})
        assert_close(run(model, x), torch.from_numpy(expected), **CLOSE)

    def test_tokens_go_in_as_whole_numbers(self):
        table = torch.randn(7, 3)
        model = helper.make_model(
            helper.make_graph(
                [helper.make_node("Gather", ["w", "ids"], ["y"])],
                "g",
                [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
                [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
                [numpy_helper.from_array(table.numpy(), "w")],
            ),
            opset_imports=[helper.make_opsetid("", 18)],
            ir_version=10,
        )
        ids = torch.tensor([6, 0, 0, 3])
        assert_close(run(model, ids), table[ids])

    def test_gradients_end_there(self):
        x = torch.tensor([[1.0, -2.0]], requires_grad=True)
        y = run(graph([("Relu", ["x"], ["y"])]), x)
        assert_equal((y.requires_grad, x.requires_grad), (False, True))
        assert_close(y, torch.tensor([[1.0, 0.0]]))

    def test_a_view_of_a_larger_tensor(self):
        x = torch.randn(2, 5)
        assert_close(run(graph([("Relu", ["x"], ["y"])]), x.T), x.T.relu())

    @pytest.mark.parametrize("rows", [0, 1, 6])
    def test_any_number_of_rows(self, rows):
        x = torch.randn(rows, 2)
        assert_close(run(graph([("Relu", ["x"], ["y"])]), x), x.relu())

    def test_again_with_another_model(self):
        x = torch.tensor([[1.0, -2.0]])
        add = graph([("Add", ["x", "w"], ["y"])], weights=["w"])
        assert_close(run(graph([("Relu", ["x"], ["y"])]), x), torch.tensor([[1.0, 0.0]]))
        assert_close(run(add, x), torch.tensor([[2.0, -1.0]]))
        assert_close(run(add, x), torch.tensor([[2.0, -1.0]]))

    def test_runs_your_exports(self):
        model, shape, rest = made("a small network")
        x = torch.randn(3, *rest)
        assert_close(run(export(model, shape), x), model.eval()(x).detach(), **CLOSE)

    def test_on_the_gpu(self, gpu):
        gpu.check(lambda x: run(graph([("Relu", ["x"], ["y"])]), x), torch.randn(3, 2), what="run")


def fields(comparison) -> tuple:
    return (comparison.close, comparison.largest, tuple(comparison.at), comparison.same_choice)


class TestCompare:
    def test_the_example_worked_by_hand(self):
        found = compare(torch.tensor([[1.0, 2.0], [4.0, 3.0]]), torch.tensor([[1.5, 2.0], [2.0, 3.0]]))
        assert_equal(found.close, False)
        assert_close((found.largest, found.same_choice), (2.0, 0.5))
        assert_equal(tuple(found.at), (1, 0))

    def test_plain_types(self):
        found = compare(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.5, 2.0]]))
        assert_equal([type(value) for value in fields(found)], [bool, float, tuple, float])
        assert_equal([type(i) for i in found.at], [int, int])

    @pytest.mark.parametrize("shape", [(7,), (4, 3), (2, 3, 5)])
    @pytest.mark.parametrize(("atol", "rtol"), [(0.5, 0.0), (0.0, 0.3), (0.2, 0.1), (3.0, 3.0)])
    def test_matches_numpy(self, shape, atol, rtol):
        expected = torch.randn(shape, dtype=torch.float64)
        for scale in (0.02, 0.2, 2.0):
            actual = expected + scale * torch.randn(shape, dtype=torch.float64)
            found, apart = compare(expected, actual, atol, rtol), np.abs((actual - expected).numpy())
            assert_equal(found.close, np.allclose(actual.numpy(), expected.numpy(), rtol, atol))
            assert_close(found.largest, float(apart.max()))
            assert_equal(tuple(found.at), tuple(int(i) for i in np.unravel_index(apart.argmax(), shape)))
            same = actual.numpy().argmax(-1) == expected.numpy().argmax(-1)
            assert_close(found.same_choice, float(np.mean(same)))

    def test_the_tolerance_is_relative_to_what_is_expected(self):
        one, ten = torch.tensor([1.0]), torch.tensor([10.0])
        assert_equal([compare(one, ten, 0.0, 0.95).close, compare(ten, one, 0.0, 0.95).close], [False, True])
        assert_equal([compare(-one, -ten, 0.0, 0.95).close, compare(-ten, -one, 0.0, 0.95).close], [False, True])

    def test_just_at_the_tolerance(self):
        assert_equal(compare(torch.tensor([4.0]), torch.tensor([7.0]), 1.0, 0.5).close, True)
        assert_equal(compare(torch.tensor([4.0]), torch.tensor([7.0]), 1.0, 0.499).close, False)

    def test_the_tolerance_is_taken_in_float64_as_well(self):
        one = torch.ones(1, dtype=torch.float16)  # where 1e-4 is 1.0002e-4
        near, far = (torch.tensor([1 + d], dtype=torch.float64) for d in (0.9999e-4, 1.0001e-4))
        assert_equal([compare(one, near, 0.0, 1e-4).close, compare(one, far, 0.0, 1e-4).close], [True, False])

    def test_one_number_out_of_many_is_enough(self):
        expected, actual = torch.ones(100, 10), torch.ones(100, 10)
        actual[57, 3] = 1.1
        found = compare(expected, actual)
        assert_equal((found.close, tuple(found.at)), (False, (57, 3)))

    @pytest.mark.parametrize(
        ("expected", "actual", "close"),
        [
            (0.0, 0.9e-5, True),
            (0.0, 1.1e-5, False),
            (1000.0, 1000.09, True),
            (1000.0, 1000.11, False),
        ],
    )
    def test_the_default_tolerances(self, expected, actual, close):
        pair = [torch.tensor([value], dtype=torch.float64) for value in (expected, actual)]
        assert_equal(compare(*pair).close, close)

    def test_it_computes_in_float64(self):
        expected = torch.tensor([1.0, 2.0], dtype=torch.float32)
        actual = torch.tensor([1.0, 2.0 + 1e-9], dtype=torch.float64)
        assert_close(compare(expected, actual).largest, 1e-9, atol=1e-15, rtol=1e-6)
        large = torch.tensor([60000.0], dtype=torch.float16)
        assert_close(compare(large, -large).largest, 120000.0)

    def test_the_first_of_equal_differences(self):
        found = compare(torch.zeros(3, 4), torch.tensor([[0.0, 0, 0, 0], [0, 0, -2, 0], [2, 0, 0, 1]]))
        assert_equal(tuple(found.at), (1, 2))

    def test_nothing_differs(self):
        x = torch.tensor([[3.0, -1.0], [0.0, 2.0]])
        assert_equal(fields(compare(x, x.clone())), (True, 0.0, (0, 0), 1.0))

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_alike_though_not_finite(self, value):
        x = torch.tensor([[value, 5.0]])
        y = torch.tensor([[value, 5.5]])
        assert_equal((compare(x, x.clone()).close, compare(x, x.clone()).largest), (True, 0.0))
        assert_close(compare(x, y).largest, 0.5)
        assert_equal((compare(x, y).close, tuple(compare(x, y).at)), (False, (0, 1)))

    @pytest.mark.parametrize(
        ("expected", "actual"),
        [
            (math.nan, 1.0),
            (1.0, math.nan),
            (math.inf, 1.0),
            (1.0, -math.inf),
            (math.inf, -math.inf),
            (math.nan, math.inf),
            (math.inf, math.nan),
        ],
    )
    @pytest.mark.parametrize("rtol", [0.0, 0.5])
    def test_never_close(self, expected, actual, rtol):
        found = compare(
            torch.tensor([[0.0, 7.0], [0.0, expected]]), torch.tensor([[3.0, 7.0], [0.0, actual]]), 9.0, rtol
        )
        assert_equal((found.close, found.largest, tuple(found.at)), (False, math.inf, (1, 1)))

    @pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0, 4)])
    def test_nothing_to_compare(self, shape):
        assert_equal(fields(compare(torch.zeros(shape), torch.zeros(shape))), (True, 0.0, (), 1.0))

    @pytest.mark.parametrize(("one", "other"), [((2, 3), (3, 2)), ((4, 1), (4, 7)), ((5,), (1, 5)), ((0, 6), (0, 8))])
    def test_refuses_other_shapes(self, one, other):
        with raises(ValueError, one, other):
            compare(torch.zeros(one), torch.zeros(other))

    def test_the_choices_of_many_axes(self):
        expected = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])
        actual = expected.clone()
        actual[1, 1] = torch.tensor([3.0, 1.0])
        assert_close(compare(expected, actual).same_choice, 0.75)

    def test_scores_may_change_and_choices_stay(self):
        expected = torch.tensor([[1.0, 5.0, 2.0], [9.0, 1.0, 1.5]])
        found = compare(expected, expected * 0.5 - 3)
        assert_equal((found.close, found.same_choice), (False, 1.0))

    def test_tensors_that_require_gradients(self):
        found = compare(torch.tensor([[1.0, 2.0]], requires_grad=True), torch.tensor([[1.0, 2.5]], requires_grad=True))
        assert_close(found.largest, 0.5)

    def test_leaves_its_arguments(self):
        one, other = torch.tensor([[math.nan, 2.0]]), torch.tensor([[math.nan, math.inf]])
        before = copy.deepcopy((one, other))
        compare(one, other)
        assert_close((one, other), before)

    def test_on_the_gpu(self, gpu):
        one, other = torch.randn(4, 3), torch.randn(4, 3)
        assert_equal(fields(compare(gpu(one), gpu(other))), fields(compare(one, other)))

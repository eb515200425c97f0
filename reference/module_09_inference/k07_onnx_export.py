"""A model as a file that any runtime runs: the reference."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

INPUT, OUTPUT = "x", "y"
IR_VERSION = 10


def _layers(model: nn.Sequential) -> Iterator[nn.Module]:
    for layer in model:
        if isinstance(layer, nn.Sequential):
            yield from _layers(layer)
        elif not isinstance(layer, nn.Dropout | nn.Identity):  # a served model drops nothing
            yield layer


def export(model: nn.Sequential, shape: Sequence[int | str], opset: int = 18) -> onnx.ModelProto:
    nodes, weights, last = [], [], INPUT

    def add(kind: str, *inputs: str, **attributes: int | Sequence[int]) -> str:
        name = f"t{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def keep(parameter: Tensor) -> str:
        name = f"w{len(weights)}"
        weights.append(numpy_helper.from_array(parameter.detach().cpu().numpy(), name))
        return name

    for layer in _layers(model):
        match layer:
            case nn.Linear():
                # MatMul takes any number of leading axes; Gemm takes one.
                last = add("MatMul", last, keep(layer.weight.T.contiguous()))
                if layer.bias is not None:
                    last = add("Add", last, keep(layer.bias))
            case nn.Conv2d():
                # pads: where each axis begins, then where each ends.
                weights_in = [keep(p) for p in (layer.weight, layer.bias) if p is not None]
                last = add(
                    "Conv",
                    last,
                    *weights_in,
                    strides=layer.stride,
                    pads=[*layer.padding, *layer.padding],
                    dilations=layer.dilation,
                    group=layer.groups,
                )
            case nn.ReLU():
                last = add("Relu", last)
            case nn.Flatten(start_dim=1, end_dim=-1):
                last = add("Flatten", last, axis=1)
            case _:
                raise TypeError(f"can't export a {type(layer).__name__}: {layer}")
    if not nodes:
        add("Identity", last)
    nodes[-1].output[0] = OUTPUT
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, None)],
        weights,
    )
    # An older IR version than the package's own: runtimes refuse files that are newer than they are.
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)
    # It carries names of axes through the graph, and so declares the output's shape.
    return onnx.shape_inference.infer_shapes(made, strict_mode=True)


def check(model: onnx.ModelProto) -> None:
    graph = model.graph
    # An input may have a weight as its default, and then both have the same name.
    made = {value.name for value in graph.input} | {value.name for value in graph.initializer}
    for node in graph.node:
        for name in node.input:
            if name and name not in made:
                raise ValueError(f"a {node.op_type} reads {name!r}, which nothing before it makes")
        for name in node.output:
            if name and name in made:
                raise ValueError(f"a {node.op_type} makes {name!r}, which is there already")
            made.add(name)
    for value in graph.output:
        if value.name not in made:
            raise ValueError(f"the output {value.name!r} is made by nothing")


def run(model: onnx.ModelProto, x: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {session.get_inputs()[0].name: x.detach().cpu().numpy()})
    return torch.from_numpy(y).to(x.device)


@dataclass
class Comparison:
    close: bool
    largest: float
    at: tuple[int, ...]
    same_choice: float


def compare(expected: Tensor, actual: Tensor, atol: float = 1e-5, rtol: float = 1e-4) -> Comparison:
    if expected.shape != actual.shape:
        raise ValueError(f"expected has the shape {tuple(expected.shape)}, actual {tuple(actual.shape)}")
    if expected.numel() == 0:
        return Comparison(True, 0.0, (), 1.0)
    expected, actual = expected.detach().double(), actual.detach().double()
    alike = (expected == actual) | (expected.isnan() & actual.isnan())  # infinities as well: ∞ - ∞ is NaN
    apart = (expected - actual).abs().nan_to_num(nan=torch.inf, posinf=torch.inf).masked_fill(alike, 0.0)
    # Beside an infinity any tolerance is infinite: only what is alike counts there.
    close = alike | (apart.isfinite() & (apart <= atol + rtol * expected.abs()))
    at = np.unravel_index(int(apart.argmax()), apart.shape)
    same = expected.argmax(-1) == actual.argmax(-1)
    return Comparison(bool(close.all()), float(apart.max()), tuple(int(i) for i in at), float(same.double().mean()))

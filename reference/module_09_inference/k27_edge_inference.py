"""Int8 on one thread, within a memory limit: the reference."""

import math

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor


def quantize(model: onnx.ModelProto, limit: int = 127) -> onnx.ModelProto:
    graph = model.graph
    matrices = {w.name: w for w in graph.initializer if w.data_type == TensorProto.FLOAT and len(w.dims) == 2}
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    taken |= {value.name for value in (*graph.input, *graph.output, *graph.initializer)}

    def new(name: str) -> str:
        while name in taken:
            name += "_"
        taken.add(name)
        return name

    nodes, integers = [], dict[str, list[onnx.TensorProto]]()
    for node in graph.node:
        if node.op_type != "MatMul" or node.input[1] not in matrices:
            nodes.append(node)
            continue
        x, w = node.input
        if w not in integers:
            integers[w] = _in_int8(numpy_helper.to_array(matrices[w]), limit, new(f"{w}/int8"), new(f"{w}/scale"))
        w8, scale = (tensor.name for tensor in integers[w])
        parts = ("quantized", "scale", "zero", "total", "real", "scales")
        q, s, z, total, real, scales = (new(f"{node.output[0]}/{part}") for part in parts)
        nodes += [
            helper.make_node("DynamicQuantizeLinear", [x], [q, s, z]),
            helper.make_node("MatMulInteger", [q, w8, z], [total]),
            helper.make_node("Cast", [total], [real], to=TensorProto.FLOAT),
            helper.make_node("Mul", [s, scale], [scales]),
            helper.make_node("Mul", [real, scales], node.output),
        ]
    # Another node may still read a matrix, or it may be an output.
    read = {name for node in nodes for name in node.input} | {value.name for value in graph.output}
    weights = [w for w in graph.initializer if w.name not in integers or w.name in read]
    weights += [tensor for pair in integers.values() for tensor in pair]
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    quantized.graph.CopyFrom(helper.make_graph(nodes, graph.name, graph.input, graph.output, weights))
    return quantized


def _in_int8(values: np.ndarray, limit: int, name: str, scale_name: str) -> list[onnx.TensorProto]:
    scale = np.abs(values).max(axis=0) / limit
    scale = np.where(scale == 0, 1, scale)  # a column of zeros: nothing to divide by
    integers = np.rint(values / scale).astype(np.int8)
    return [numpy_helper.from_array(integers, name), numpy_helper.from_array(scale, scale_name)]


def edge_session(model: onnx.ModelProto, threads: int = 1) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Batches of one size reuse the arena's memory; without it they leave holes in the process's heap.
    options.enable_cpu_mem_arena = True
    # A thread that waits in a loop empties the battery.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _sizes(model: onnx.ModelProto, axes: dict[str, int]) -> dict[str, int]:
    """The bytes of every tensor that isn't an initializer."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value in fixed.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_value = axes[dim.dim_param]
    graph = onnx.shape_inference.infer_shapes(fixed).graph
    sizes = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        count = math.prod(dim.dim_value for dim in kind.shape.dim)
        sizes[value.name] = count * helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize
    return sizes


def peak_bytes(model: onnx.ModelProto, axes: dict[str, int]) -> int:
    graph, sizes = model.graph, _sizes(model, axes)
    always = sum(numpy_helper.to_array(w).nbytes for w in graph.initializer)
    always += sum(sizes[value.name] for value in graph.input)
    last = {name: i for i, node in enumerate(graph.node) for name in node.input}
    outputs = {value.name for value in graph.output}
    alive, peak = dict[str, int](), 0
    for i, node in enumerate(graph.node):
        alive |= {name: sizes[name] for name in node.output if name}
        peak = max(peak, sum(alive.values()))
        alive = {name: size for name, size in alive.items() if name in outputs or last.get(name, -1) > i}
    return always + peak


def largest_batch(model: onnx.ModelProto, limit: int, most: int) -> int:
    axis = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    if (least := peak_bytes(model, {axis: 1})) > limit:
        raise ValueError(f"one row takes {least} bytes, the limit is {limit}")
    # No division: the peak may move from one node to another, so it needn't be a straight line.
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        if peak_bytes(model, {axis: middle}) <= limit:
            low = middle
        else:
            high = middle - 1
    return low


def run_within(model: onnx.ModelProto, x: Tensor, limit: int) -> Tensor:
    rows = largest_batch(model, limit, len(x))
    session = edge_session(model)
    name = session.get_inputs()[0].name
    parts = [session.run(None, {name: part.numpy()})[0] for part in x.detach().cpu().split(rows)]
    return torch.from_numpy(np.concatenate(parts)).to(x.device)

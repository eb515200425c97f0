"""Averaged weights, and a file without code: the reference."""

import copy
import json
import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def to_safetensors(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    parts, end = [], 0
    for name, tensor in tensors.items():
        # numpy has no bfloat16, so every dtype goes over as bytes; reshape gives a tensor without axes one.
        part = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [end, end + len(part)],
        }
        parts.append(part)
        end += len(part)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def from_safetensors(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    if len(data) < 8:
        raise ValueError(f"a safetensors file has 8 bytes or more, this one has {len(data)}")
    (length,) = struct.unpack("<Q", data[:8])
    if len(data) < 8 + length:
        raise ValueError(f"the header should end at byte {8 + length}, the file ends at {len(data)}")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    body = data[8 + length :]
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if len(body) != end:
        raise ValueError(f"the tensors should take {end} bytes, the file has {len(body)}")
    tensors = {}
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        # torch.tensor copies: what lies over `bytes` can't be written to.
        flat = torch.tensor(np.frombuffer(body[start:stop], np.uint8))
        tensors[name] = flat.view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors, metadata


class WeightAverage:
    def __init__(self, model: nn.Module, decay: float | None = None) -> None:
        if decay is not None and not 0 <= decay < 1:
            raise ValueError(f"decay must be from 0 to below 1, got {decay}")
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.decay, self.count = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.count += 1
        # The mean moves by 1/t of the way, and so counts the first weights fully: so does EMA begin.
        share = 1 / self.count if self.decay is None or self.count == 1 else 1 - self.decay
        # parameters(), not state_dict(): that names shared weights twice, and they would move twice.
        for average, new in zip(self.model.parameters(), model.parameters(), strict=True):
            average.lerp_(new, share)
        for average, new in zip(self.model.buffers(), model.buffers(), strict=True):
            average.copy_(new)

    def state_dict(self) -> dict[str, Any]:
        return {"model": copy.deepcopy(self.model.state_dict()), "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])  # copies into the tensors that are there
        self.count = state["count"]


@torch.no_grad()
def update_batch_norm(model: nn.Module, loader: Iterable[Tensor]) -> None:
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    modes = [(module, module.training) for module in model.modules()]
    momenta = [norm.momentum for norm in norms]
    model.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean instead of an exponential one
    for batch in loader:
        model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, training in modes:
        module.training = training

"""Video understanding: the reference."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from katas.module_05_transformers.k02_multi_head_attention import MultiHeadAttention


def segment_frames(total: int, count: int, generator: Generator | None = None) -> list[int]:
    if total < 1 or count < 1:
        raise ValueError(f"total and count must be at least 1, got total = {total} and count = {count}")
    if generator is None:
        # In whole numbers: 0.5 · total / count as a float could land just below a frame.
        return [(2 * i + 1) * total // (2 * count) for i in range(count)]
    # In float64, so that i + u doesn't round up to i + 1.
    places = torch.arange(count) + torch.rand(count, generator=generator, dtype=torch.float64)
    return (places * total / count).long().tolist()


def clip_frames(total: int, length: int, stride: int, start: int = 0) -> list[int]:
    if not 0 <= start < total:
        raise ValueError(f"start must be a frame of the video, got start = {start} and total = {total}")
    return [min(start + i * stride, total - 1) for i in range(length)]


def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, int, int] = (1, 1, 1),
    padding: tuple[int, int, int] = (0, 0, 0),
) -> Tensor:
    if x.shape[1] != weight.shape[1]:
        raise ValueError(f"the video has {x.shape[1]} channels, the kernel takes {weight.shape[1]}")
    # F.pad begins with the last axis.
    windows = F.pad(x, [side for amount in reversed(padding) for side in (amount, amount)])
    for axis in range(3):
        windows = windows.unfold(2 + axis, weight.shape[2 + axis], stride[axis])
    y = torch.einsum("bcthwijk,ocijk->bothw", windows, weight)
    return y if bias is None else y + bias[:, None, None, None]


def inflate(kernel: Tensor, frames: int, mode: str = "average") -> Tensor:
    if mode not in ("average", "central"):
        raise ValueError(f"mode must be 'average' or 'central', got {mode!r}")
    # One weight a frame.  Either way they sum to 1, so that a video that stands still gives what the image gives.
    if mode == "average":
        share = kernel.new_full((frames,), 1 / frames)
    else:
        share = torch.arange(frames, device=kernel.device) == frames // 2
    return kernel[:, :, None] * share[:, None, None]


def tubelets(video: Tensor, frames: int, patch: int) -> Tensor:
    batch, channels, total, height, width = video.shape
    if total % frames or height % patch or width % patch:
        raise ValueError(f"tubelets of {frames} frames and side {patch} don't fill {total}x{height}x{width}")
    cut = video.reshape(batch, channels, total // frames, frames, height // patch, patch, width // patch, patch)
    # The axes that name a tubelet go first, and those inside it keep their order: channel, frame, row, column.
    return cut.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(2, 3)


def attend_over_space(x: Tensor, attention: Callable[[Tensor], Tensor]) -> Tensor:
    # Frames join the batch: no frame sees another.
    return attention(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def attend_over_time(x: Tensor, attention: Callable[[Tensor], Tensor]) -> Tensor:
    # A reshape alone would mix frames and places: first the places must stand beside the batch.
    return attend_over_space(x.transpose(1, 2), attention).transpose(1, 2)


class DividedBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_time, self.norm_space, self.norm_mlp = (nn.LayerNorm(width) for _ in range(3))
        self.time = MultiHeadAttention(width, heads)
        self.space = MultiHeadAttention(width, heads)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + attend_over_time(self.norm_time(x), lambda rows: self.time(rows)[0])
        x = x + attend_over_space(self.norm_space(x), lambda rows: self.space(rows)[0])
        return x + self.down(F.gelu(self.up(self.norm_mlp(x))))


class VideoTransformer(nn.Module):
    def __init__(
        self,
        shape: tuple[int, int, int, int],
        frames: int,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        classes: int,
    ) -> None:
        super().__init__()
        channels, total, height, across = shape
        self.frames, self.patch = frames, patch
        self.embed = nn.Linear(channels * frames * patch**2, width)
        # A place has the same position in every frame, and a frame in every place: T + N vectors in place of T · N.
        self.time_positions = nn.Parameter(0.02 * torch.randn(total // frames, width))
        self.space_positions = nn.Parameter(0.02 * torch.randn((height // patch) * (across // patch), width))
        self.blocks = nn.ModuleList(DividedBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, video: Tensor) -> Tensor:
        x = self.embed(tubelets(video, self.frames, self.patch))
        x = x + self.time_positions[:, None] + self.space_positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean((1, 2)))


def vote(model: Callable[[Tensor], Tensor], video: Tensor, length: int, stride: int, clips: int) -> Tensor:
    if clips < 1:
        raise ValueError(f"clips must be at least 1, got {clips}")
    total = video.shape[1]
    last = max(total - 1 - (length - 1) * stride, 0)
    starts = [i * last // (clips - 1) for i in range(clips)] if clips > 1 else [last // 2]
    batch = torch.stack([video[:, clip_frames(total, length, stride, start)] for start in starts])
    # Chances, not logits: a clip that is very sure must not outvote all others.
    return model(batch).softmax(1).mean(0)

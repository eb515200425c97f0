"""State spaces: the reference."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def discretize(a: Tensor, b: Tensor, step: float, method: str = "zoh") -> tuple[Tensor, Tensor]:
    n = len(b)
    eye = torch.eye(n, dtype=a.dtype, device=a.device)
    if method == "zoh":
        # The exponential of this block matrix holds the integral as well: no inverse of A, which may not exist.
        block = F.pad(torch.cat([a, b[:, None]], 1), (0, 0, 0, 1))  # a row of zeros below
        both = torch.linalg.matrix_exp(step * block)
        return both[:n, :n], both[:n, n]
    if method == "bilinear":
        left = eye - step / 2 * a
        return torch.linalg.solve(left, eye + step / 2 * a), torch.linalg.solve(left, step * b)
    raise ValueError(f"the method must be zoh or bilinear, got {method!r}")


def run_recurrence(
    a_bar: Tensor, b_bar: Tensor, c: Tensor, d: float, u: Tensor, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    x = u.new_zeros(*u.shape[:-1], len(b_bar)) if start is None else start
    y = []
    for sample in u.unbind(-1):
        x = x @ a_bar.T + sample[..., None] * b_bar
        y.append(x @ c + d * sample)
    return torch.stack(y, -1), x


def ssm_kernel(a_bar: Tensor, b_bar: Tensor, c: Tensor, length: int) -> Tensor:
    x, found = b_bar, []
    for _ in range(length):
        found.append(c @ x)
        x = a_bar @ x
    return torch.stack(found)


def causal_convolution(u: Tensor, kernel: Tensor) -> Tensor:
    length = u.shape[-1]
    if kernel.shape[-1] != length:
        raise ValueError(f"the signal has {length} samples, the kernel {kernel.shape[-1]}")
    # Twice the length: what would come round the circle falls into the zeros.
    spectrum = torch.fft.rfft(u, 2 * length) * torch.fft.rfft(kernel, 2 * length)
    return torch.fft.irfft(spectrum, 2 * length)[..., :length]


def hippo_legs(n: int) -> tuple[Tensor, Tensor]:
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    b = (2 * torch.arange(n, dtype=torch.float64) + 1).sqrt()
    return -(b[:, None] * b).tril(-1) - torch.arange(1.0, n + 1, dtype=torch.float64).diag(), b


def hippo_memory(u: Tensor, n: int) -> Tensor:
    a, b = (part.to(u) for part in hippo_legs(n))
    eye = torch.eye(n, dtype=u.dtype, device=u.device)
    c = u.new_zeros(*u.shape[:-1], n)
    for k, sample in enumerate(u.unbind(-1), 1):
        right = c + sample[..., None] * b / k
        c = torch.linalg.solve(eye - a / k, right[..., None])[..., 0]
    return c


def read_out(c: Tensor, places: Tensor) -> Tensor:
    z = 2 * places - 1
    before, now, found = torch.zeros_like(z), torch.ones_like(z), 0
    for n, coefficient in enumerate(c.unbind(-1)):
        found = found + coefficient[..., None] * math.sqrt(2 * n + 1) * now
        # (n + 1) P_{n+1} = (2n + 1) z P_n - n P_{n-1}
        before, now = now, ((2 * n + 1) * z * now - n * before) / (n + 1)
    return found


def s4d_lin(n: int) -> Tensor:
    return torch.complex(torch.full((n,), -0.5, dtype=torch.float64), math.pi * torch.arange(n, dtype=torch.float64))


def diagonal_kernel(a: Tensor, c: Tensor, step: Tensor, length: int) -> Tensor:
    waves = (step[:, None] * a)[..., None] * torch.arange(length, device=a.device)
    return 2 * torch.einsum("hn,hnl->hl", c * _input(a, step), waves.exp()).real


class S4D(nn.Module):
    def __init__(self, channels: int, n: int) -> None:
        super().__init__()
        a = s4d_lin(n).to(torch.complex64).expand(channels, n)
        self.log_step = nn.Parameter(torch.linspace(math.log(0.001), math.log(0.1), channels))
        # exp keeps the real part below 0, whatever training does: the system can't blow up.
        self.log_decay = nn.Parameter((-a.real).log())
        self.frequency = nn.Parameter(a.imag.clone())
        self.c = nn.Parameter(torch.randn(channels, n, 2))
        self.d = nn.Parameter(torch.randn(channels))

    def _system(self) -> tuple[Tensor, Tensor, Tensor]:
        return torch.complex(-self.log_decay.exp(), self.frequency), torch.view_as_complex(self.c), self.log_step.exp()

    def forward(self, u: Tensor) -> Tensor:
        kernel = diagonal_kernel(*self._system(), u.shape[1])
        return causal_convolution(u.mT, kernel).mT + self.d * u

    def step(self, u: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        a, c, step = self._system()
        if state is None:
            state = torch.zeros(*u.shape, a.shape[1], dtype=a.dtype, device=a.device)
        state = (step[:, None] * a).exp() * state + _input(a, step) * u[..., None]
        return 2 * (c * state).sum(-1).real + self.d * u, state


def _input(a: Tensor, step: Tensor) -> Tensor:
    """B̄ (H, N) of B = 1."""
    return ((step[:, None] * a).exp() - 1) / a

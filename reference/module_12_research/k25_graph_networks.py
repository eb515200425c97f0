"""Reference for k25_graph_networks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def aggregate(messages: Tensor, target: Tensor, nodes: int, how: str = "sum") -> Tensor:
    """What arrives at each node: (nodes, ...)."""
    if how not in ("sum", "mean", "max"):
        raise ValueError(f"how must be 'sum', 'mean' or 'max', not {how!r}")
    empty = messages.new_zeros(nodes, *messages.shape[1:])
    if how == "max":
        index = target.reshape(-1, *[1] * (messages.ndim - 1)).expand_as(messages)
        return empty.scatter_reduce(0, index, messages, "amax", include_self=False)
    found = empty.index_add(0, target, messages)
    if how == "sum":
        return found
    count = torch.bincount(target, minlength=nodes).clamp(min=1).to(found)
    return found / count.reshape(-1, *[1] * (messages.ndim - 1))


def _with_loops(edges: Tensor, nodes: int) -> Tensor:
    return torch.cat([edges, torch.arange(nodes, device=edges.device).expand(2, -1)], 1)


def gcn_weights(edges: Tensor, nodes: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """The edges with a loop for each node behind them, and GCN's weights."""
    edges = _with_loops(edges, nodes)
    # With the loops among them, the edges that end at i are d_i + 1.
    scale = torch.bincount(edges[1], minlength=nodes).to(dtype).rsqrt()
    return edges, scale[edges[0]] * scale[edges[1]]


class GCNConv(nn.Module):
    """A layer of GCN."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, outputs, bias=False)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """y (N, outputs) of x (N, features)."""
        (source, target), weights = gcn_weights(edges, len(x), x.dtype)
        return aggregate(weights[:, None] * self.linear(x)[source], target, len(x)) + self.bias


def sample_neighbours(edges: Tensor, fanout: int, generator: torch.Generator) -> Tensor:
    """For each target `fanout` of the edges that end there, or all."""
    if fanout < 1:
        raise ValueError(f"fanout must be at least 1, not {fanout}")
    mixed = edges[:, torch.randperm(edges.shape[1], generator=generator, device=edges.device)]
    mixed = mixed[:, mixed[1].argsort(stable=True)]
    # An edge is kept unless the one `fanout` places before it goes to the same target.
    keep = torch.ones_like(mixed[1], dtype=torch.bool)
    keep[fanout:] = mixed[1, fanout:] != mixed[1, :-fanout]
    return mixed[:, keep]


class SAGEConv(nn.Module):
    """A layer of GraphSAGE with the mean."""

    def __init__(self, features: int, outputs: int, normalize: bool = True) -> None:
        super().__init__()
        self.own = nn.Linear(features, outputs)
        self.near = nn.Linear(features, outputs, bias=False)
        self.normalize = normalize

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """y (N, outputs) of x (N, features)."""
        y = self.own(x) + self.near(aggregate(x[edges[0]], edges[1], len(x), "mean"))
        return F.normalize(y, dim=1) if self.normalize else y


def edge_softmax(scores: Tensor, target: Tensor, nodes: int) -> Tensor:
    """Scores to weights that sum to 1 over the edges with the same target."""
    # The largest of each target, not of all: else small scores beside a node with 1000 underflow.
    exps = (scores - aggregate(scores.detach(), target, nodes, "max")[target]).exp()
    return exps / aggregate(exps, target, nodes)[target]


class GATConv(nn.Module):
    """A layer of graph attention."""

    def __init__(self, features: int, outputs: int, heads: int = 1) -> None:
        super().__init__()
        self.linear = nn.Linear(features, heads * outputs, bias=False)
        self.source = nn.Parameter(nn.init.xavier_uniform_(torch.empty(heads, outputs)))
        self.target = nn.Parameter(nn.init.xavier_uniform_(torch.empty(heads, outputs)))

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """y (N, heads * outputs) of x (N, features)."""
        source, target = _with_loops(edges, len(x))
        h = self.linear(x).unflatten(1, self.source.shape)
        scores = (h * self.source).sum(-1)[source] + (h * self.target).sum(-1)[target]
        weights = edge_softmax(F.leaky_relu(scores, 0.2), target, len(x))
        return aggregate(weights[..., None] * h[source], target, len(x)).flatten(1)


def dirichlet_energy(x: Tensor, edges: Tensor) -> Tensor:
    """E(x) of x (N, F) on an undirected graph."""
    degree = torch.bincount(edges[1], minlength=len(x)) + 1
    scaled = x / degree.to(x).sqrt()[:, None]
    return (scaled[edges[0]] - scaled[edges[1]]).square().sum() / 2


def hold_out_edges(edges: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """What is kept in both directions, and what is held out, given once."""
    once = edges[:, edges[0] < edges[1]]
    if count > once.shape[1]:
        raise ValueError(f"{count} edges can't be held out of {once.shape[1]}")
    mixed = once[:, torch.randperm(once.shape[1], generator=generator, device=edges.device)]
    held, kept = mixed[:, :count], mixed[:, count:]
    return torch.cat([kept, kept.flip(0)], 1), held


def negative_pairs(edges: Tensor, nodes: int, count: int, generator: torch.Generator) -> Tensor:
    """Pairs that are no edges, the smaller node first."""
    free = torch.ones(nodes, nodes, dtype=torch.bool, device=edges.device).triu(1)
    free[edges[0], edges[1]] = False
    pairs = free.nonzero().T
    if count > pairs.shape[1]:
        raise ValueError(f"{count} pairs are asked for, but only {pairs.shape[1]} aren't edges")
    return pairs[:, torch.randperm(pairs.shape[1], generator=generator, device=edges.device)[:count]]


def link_loss(z: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """The mean of -log p over the edges and of -log(1 - p) over the others."""
    pairs = torch.cat([positive, negative], 1)
    scores = (z[pairs[0]] * z[pairs[1]]).sum(1)
    # 1 - σ(s) is σ(-s).
    signs = torch.ones_like(scores)
    signs[positive.shape[1] :] = -1
    return F.softplus(-signs * scores).mean()

"""Graph networks: layers that don't care how you number the nodes

**Before you start.**  You need nn.Module, softmax and indexing with tensors.  You import no other
kata.  If graphs in machine learning are new: Sanchez-Lengeling et al. 2021, "A Gentle
Introduction to Graph Neural Networks" (distill.pub).

**The idea.**  Thirty-four people train in a karate club.  You know who meets whom.  The club
splits, and two people tell you which side they take.  Where will the others go?

There is no grid here and no order.  Each person has some friends, and the number of friends
differs.  A graph network works with that: every node sends a *message* along each of its edges,
its features or something made of them.  Every node gathers the messages that arrive, and then
updates itself.  All nodes use the same weights.

Gathering must not depend on an order.  So it is a sum, a mean or a maximum.  Renumber the nodes,
and the outputs are renumbered with them: nothing else changes.

**The formulas.**  An edge j → i goes from its source j to its target i.  N(i) are the sources of
the edges that end at i, and d_i is how many there are.  x_i is a row of features, W a matrix.

    message passing   m_i = sum, mean or max of the messages that arrive at i;  0 if none does
    GCN               y_i = Σ_{j in N(i) and i itself} W x_j / √((d_j + 1)(d_i + 1)) + b
    GraphSAGE         y_i = W_own x_i + b + W_near · mean of x_j over N(i)
                      then y_i / |y_i|, if you normalise
    GAT               e_ji = LeakyReLU(s · W x_j + t · W x_i)             j in N(i), and i itself
                      α_ji = exp(e_ji) / Σ_k exp(e_ki)                  k over the same nodes as j
                      y_i = Σ_j α_ji W x_j                               one W, s, t for each head
    Dirichlet energy  E(x) = 1/2 Σ_{edges j → i} | x_i/√(d_i + 1) - x_j/√(d_j + 1) |²
    link              p(i, j) = σ(z_i · z_j)
    loss              mean over all pairs of  -log p  for an edge,  -log(1 - p)  for a non-edge

s and t are vectors.  LeakyReLU has the slope 0.2 below 0.  σ is the logistic function.  z_i is
the embedding of node i.  The `+ 1` in GCN and in E counts the loop from i to itself.

**A drawing**

    edges  source  0 1 1 2                    0 ───── 1 ───── 2
           target  1 0 2 1

    messages to node 1:  x₀ ──┐
                              ├──▶ sum, mean or max ──▶ update ──▶ y₁
                         x₂ ──┘

**Why √ of both degrees?**  A plain sum grows with the number of friends, and over many layers it
explodes.  In an undirected graph GCN's matrix is symmetric, and all its eigenvalues are between
-1 and 1.  So nothing grows.

**Why do deep ones go flat?**  Each layer averages over neighbours.  Repeat it, and every node of
a connected graph ends with the same row, up to √(d_i + 1).  That is *over-smoothing*.  The
Dirichlet energy measures it: in a connected graph 0 means that only the degree tells the nodes
apart.

**Why sample?**  In a social network, two steps away from you there can be a million people.
GraphSAGE takes a few neighbours at random for each node.  The mean of the sample is right on
average.

**Why are the negatives hard to get right?**  To learn links, you show the network edges, and also
pairs that are no edges: the *negatives*.  If a held-out edge is among them, you teach the network
that your answer is wrong.  So you draw negatives against *all* edges, the held-out ones as well.
And an edge that you hold out must go in both directions, or the network still sees it.

**Worked by hand**: the path of the drawing, x is 1, 0, 2 for the three nodes.

    aggregate        sum 0+0=0, 1+2=3, 0   mean 0, 1.5, 0   max 0, 2, 0
    gcn_weights      four edges with 1/√6 each, then the loops 1/2, 1/3, 1/2
    GCN              W is 1, b is 0:  0.5,  1.2247,  1
    GraphSAGE        W_own and W_near are 1, b is 0, not normalised:  1,  1.5,  2
    edge_softmax     0 → 1 has the score 0, 2 → 1 has log 3:  α is 1/4 and 3/4
    energy           (1/√2 - 0)² + (0 - 2/√2)² is 2.5;   of √2, √3, √2 it is 0
    negative pairs   the only one is (0, 2)
    loss             z is 1, 2, 0.  Edge (0, 1), negative (0, 2):  (0.1269 + 0.6931) / 2 is 0.4100

**Shapes**: features x (N, F); edges (2, E), int64, row 0 the sources and row 1 the targets; pairs
(2, P) likewise.  An undirected graph has each edge in both directions.  No edge stands twice, and
none goes from a node to itself.  E may be 0.  Results have the dtype and the device of the
features; functions that get edges alone return on the device of the edges.  Generators are on the
device of the edges.  No function changes its arguments.  None draws from the global generator,
except that the layers' __init__ may.

**Steps.**  A good place to pause is after SAGEConv.

    aggregate           10 min   nodes that get nothing
    gcn_weights          8 min   loops, then degrees
    GCNConv              6 min   weigh, then sum
    sample_neighbours   10 min   a few for each node
    SAGEConv             8 min   the node itself has weights of its own
    edge_softmax         8 min   one softmax for each target
    GATConv             14 min   heads side by side
    dirichlet_energy     5 min   each undirected edge counts once
    hold_out_edges       8 min   both directions go
    negative_pairs       8 min   what is no edge
    link_loss            4 min   logits, not probabilities

Sources: Kipf and Welling 2017, "Semi-Supervised Classification with Graph Convolutional
Networks"; Hamilton, Ying and Leskovec 2017, "Inductive Representation Learning on Large Graphs";
Veličković et al. 2018, "Graph Attention Networks"; Cai and Wang 2020, "A Note on Over-Smoothing
for Graph Neural Networks".

From scratch: torch_geometric, dgl, networkx, scipy and torch.sparse may not be used.
"""

import torch
from torch import Tensor, nn


def aggregate(messages: Tensor, target: Tensor, nodes: int, how: str = "sum") -> Tensor:
    """What arrives at each node: (nodes, ...) from messages (E, ...) that go to target (E,).

    how   "sum", "mean" or "max", for each feature by itself

    A node without messages gets 0, with "max" as well.  Raises ValueError, naming how, if it is none of the three.
    """
    raise NotImplementedError


def gcn_weights(edges: Tensor, nodes: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Edges (2, E + nodes) with a loop for each node behind the others, in the nodes' order, and GCN's weights of all.

    The weight of j → i is 1 / √((d_j + 1)(d_i + 1)), also in a directed graph: d counts the edges that end at a node.
    """
    raise NotImplementedError


class GCNConv(nn.Module):
    """A layer of GCN.

    linear   nn.Linear(features, outputs, bias=False): W
    bias     nn.Parameter (outputs,): b, zeros at the start
    """

    def __init__(self, features: int, outputs: int) -> None:
        raise NotImplementedError

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """y (N, outputs) of x (N, features)."""
        raise NotImplementedError


def sample_neighbours(edges: Tensor, fanout: int, generator: torch.Generator) -> Tensor:
    """Some of the edges, (2, E'), in any order: for each target `fanout` of those that end there, or all.

    A target that has fewer than `fanout` keeps all of them.

    They are drawn without replacement, target by target, and each set of that size is equally likely.

    Raises ValueError, naming fanout, if it is below 1.
    """
    raise NotImplementedError


class SAGEConv(nn.Module):
    """A layer of GraphSAGE with the mean.

    own     nn.Linear(features, outputs): W_own and b
    near    nn.Linear(features, outputs, bias=False): W_near

    normalize   whether the rows of the output are brought to length 1; a row of zeros stays as it is
    """

    def __init__(self, features: int, outputs: int, normalize: bool = True) -> None:
        raise NotImplementedError

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """y (N, outputs) of x (N, features).  A node without neighbours has the mean 0."""
        raise NotImplementedError


def edge_softmax(scores: Tensor, target: Tensor, nodes: int) -> Tensor:
    """α (E, ...) from scores (E, ...): over the edges with the same target they sum to 1, for each further axis.

    Scores of 1000 don't overflow, and scores at other targets, however much smaller, don't become 0/0.
    """
    raise NotImplementedError


class GATConv(nn.Module):
    """A layer of graph attention, whose heads stand side by side in the output.

    linear   nn.Linear(features, heads * outputs, bias=False): head h has the rows h·outputs to (h + 1)·outputs - 1 of W
    source   nn.Parameter (heads, outputs): s of each head
    target   nn.Parameter (heads, outputs): t of each head

    Start source and target at random numbers that aren't 0; Xavier's are usual.  There is no bias.
    """

    def __init__(self, features: int, outputs: int, heads: int = 1) -> None:
        raise NotImplementedError

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """y (N, heads * outputs) of x (N, features): head after head.  Each node attends to itself as well."""
        raise NotImplementedError


def dirichlet_energy(x: Tensor, edges: Tensor) -> Tensor:
    """E(x), without axes, of x (N, F) on an undirected graph."""
    raise NotImplementedError


def hold_out_edges(edges: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """What is kept (2, E - 2·count) of an undirected graph, and what is held out (2, count), both in any order.

    Kept edges stand there in both directions.  Of a held-out edge neither direction is kept; it is given once, the
    smaller node first.  Each set of `count` edges is equally likely.

    Raises ValueError, naming count and the number of undirected edges, if there are fewer than count.
    """
    raise NotImplementedError


def negative_pairs(edges: Tensor, nodes: int, count: int, generator: torch.Generator) -> Tensor:
    """Different pairs (2, count), in any order, of an undirected graph: the smaller node first, no edge, no loop.

    Each set of `count` such pairs is equally likely.  N² numbers in memory are allowed.

    Raises ValueError, naming count and the number of such pairs, if there are fewer than count.
    """
    raise NotImplementedError


def link_loss(z: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """The loss, without axes, of embeddings z (N, F) on edges (2, P) and non-edges (2, Q).

    Each of the P + Q pairs counts the same.  Products of 1000 give no infinity.  P + Q is at least 1.
    """
    raise NotImplementedError

"""Autograd for scalars

**Before you start.**  You need the chain rule, and Python's special methods (`__add__`,
`__radd__`); no other kata.  `derivatives` in module 01 goes forwards, this one goes backwards.
First time?  Watch the first hour of Karpathy's "The spelled-out intro to neural networks and
backpropagation", which builds micrograd.

**The idea.**  Training needs the derivative of one number, the loss, with respect to each of a
million weights.  *Reverse-mode automatic differentiation*, or backpropagation, gets them all at
once, for a small multiple of the price of the loss itself.  There are two passes:

- *Forward*: compute as always.  But each number remembers its parents, the numbers that it was
  made of, and for each parent how fast it changes with it: the *partial* derivative.
- *Backward*: the result gets gradient 1.  Each node hands its gradient on to its parents, times
  the partial.  What reaches a node over several edges is added up.

(x + y) · x at x 3, y 2.  Forwards the data flow right, backwards the gradients flow left:

     x  3 ──┬────────────────── 5 ─────────┐         on the edges: the partials
            └── 1 ──┐                      ▼
                    ├──▶ +  5 ──── 3 ───▶  *  15
     y  2 ───── 1 ──┘

     grad of x, y:  8, 3    ◀── of +:  3    ◀── of *:  1         8 is 3·1 + 1·5

**The formulas**, for the result f, a node v, and each edge from v to a child c, a node made of v:

    chain rule   grad(v) = ∑ partial(v → c) · grad(c)        grad(f) = 1

    a + b   1, 1         a · b   b, a                        aⁿ   n aⁿ⁻¹
    a - b   1, -1        a / b   1/b, -a/b²                  aᵇ   b aᵇ⁻¹, aᵇ ln a
    -a      -1           exp a   exp a                       tanh a   1 - tanh² a
                         log a   1/a                         relu a   1 if a > 0, else 0

So grad(v) is a sum over all paths from v to f, of the product of the partials along each.

**Why add up?**  x has two ways to change f above, and both happen.  If the second overwrites the
first, x · x has derivative x: a classic bug.

**Why a topological order?**  A node may hand on its gradient only when it is complete.  Above, x
isn't after *: what comes through + is still missing.  So sort the nodes, each after its parents,
and walk from the end to the start: each comes after all that hand something to it.

**Why backwards?**  Forward mode asks for one input: how does everything change with it?  A million
weights take a million passes.  Backward mode asks for one output: what changes it?  One pass.

**Worked by hand**: this is what you will see, when you draw the graph above after `backward`:

    *: 15, grad 1
    ├── +: 5, grad 3
    │   ├── x: 3, grad 8
    │   └── y: 2, grad 3
    └── x ↑

    a second backward adds the same again:  x has grad 16

**Shapes**: data, grad and partials are single floats.  No operation changes the data of a node.

**Steps.**  A good place to pause is after relu.

    Value              22 min   numbers on the left: 2 - x, 2 / x, 2 ** x
    exp                 2 min   you have its derivative already
    log                 4 min   what has no logarithm?
    tanh                3 min   of 1000, too
    relu                3 min   and at 0?
    topological_order  10 min   5,000 nodes in a row, and no recursion
    backward            8 min   a second call must not see the first
    zero_grad           2 min   the whole graph
    draw               12 min   a node that is shared is drawn once
    gradient            4 min   f may be a constant

Sources: Baydin et al. 2018, "Automatic Differentiation in Machine Learning: a Survey", section
3.2; Linnainmaa 1976, "Taylor Expansion of the Accumulated Rounding Error"; Griewank and Walther
2008, "Evaluating Derivatives", chapter 3.

From scratch: torch, sympy and scipy may not be used.  The standard library is enough.
"""

from __future__ import annotations

from collections.abc import Callable


class Value:
    """A node: a number that remembers how it was made.

    data      the number, a float
    grad      the derivative of the result with respect to it, a float; 0 until `backward`
    parents   the nodes that it was made of, in the order in which they are written; () for a leaf
    partials  its derivative with respect to each parent, a float each
    op        what made it: "+", "-", "*", "/", "neg", "**" or "exp" …; "" for a leaf
    name      for drawings; "" if it has none

    - Each operation makes one new Value, the result.  It changes no other, so `x += y` makes a new
      one, too.
    - Wherever a plain number (Python's or a scalar of numpy) stands beside a Value, on either side,
      it becomes a leaf, and so a parent.  Only the n of x ** n doesn't.
    - An operation may use one Value twice: x * x has the parents (x, x).
    """

    def __init__(
        self,
        data: float,
        parents: tuple[Value, ...] = (),
        partials: tuple[float, ...] = (),
        op: str = "",
        name: str = "",
    ) -> None:
        """The attributes above.  `data` may be an int or a scalar of numpy, and is kept as a float."""
        raise NotImplementedError

    def __add__(self, other: Value | float) -> Value:
        """self + other."""
        raise NotImplementedError

    def __radd__(self, other: float) -> Value:
        """other + self: the parents are (other, self)."""
        raise NotImplementedError

    def __sub__(self, other: Value | float) -> Value:
        """self - other, one node with op "-"."""
        raise NotImplementedError

    def __rsub__(self, other: float) -> Value:
        """other - self."""
        raise NotImplementedError

    def __mul__(self, other: Value | float) -> Value:
        """self · other."""
        raise NotImplementedError

    def __rmul__(self, other: float) -> Value:
        """other · self."""
        raise NotImplementedError

    def __truediv__(self, other: Value | float) -> Value:
        """self / other, one node with op "/"."""
        raise NotImplementedError

    def __rtruediv__(self, other: float) -> Value:
        """other / self."""
        raise NotImplementedError

    def __neg__(self) -> Value:
        """-self, with op "neg"."""
        raise NotImplementedError

    def __pow__(self, exponent: Value | float) -> Value:
        """self to a power.

        - A plain number n: the only parent is self, and the op is "**" with n as f"{n:g}", such as
          "**3" or "**0.5".  A whole n may stand over a negative self, a whole n ≥ 0 also over 0:
          0⁰ is 1, and the partial of any number's power 0 is 0.
        - A Value: the parents are (self, exponent), the op is "**".  Raises ValueError, naming
          self's data, unless that is above 0: ln of it is needed.
        """
        raise NotImplementedError

    def __rpow__(self, base: float) -> Value:
        """base to the power of self, as base's leaf ** self: the same parents, op and error."""
        raise NotImplementedError


def exp(x: Value) -> Value:
    """e to the power of x; one node with parent x, op "exp"."""
    raise NotImplementedError


def log(x: Value) -> Value:
    """The natural logarithm of x; op "log".  Raises ValueError, naming x's data, unless it is above 0."""
    raise NotImplementedError


def tanh(x: Value) -> Value:
    """The hyperbolic tangent of x, of any size: tanh(1000) is 1, with partial 0; op "tanh"."""
    raise NotImplementedError


def relu(x: Value) -> Value:
    """x where it is above 0, else 0; op "relu".  At 0 the partial is 0, as in torch."""
    raise NotImplementedError


def topological_order(root: Value) -> list[Value]:
    """All nodes that `root` was made of, directly or not, and root: each after all of its parents.

    - Each node is there once, however many paths lead to it.  Any order that fits will do.
    - Nodes are told apart by identity: two of equal data are two.
    - Of a node only `parents` is read, so this serves other classes, too.
    - Chains of 5,000 nodes work, and the time grows with the number of edges, not of paths.
    """
    raise NotImplementedError


def backward(root: Value) -> None:
    """Add to the `grad` of each node of root's graph the derivative of `root` with respect to it.

    - For root itself that is 1, whatever its grad was.
    - A second call, of this root or another, adds its own derivatives: after two calls of one
      root each grad is doubled, also of nodes in the middle.
    - Nothing else changes.
    - Chains of 5,000 nodes work, and the time grows with the number of edges, not of paths.
    """
    raise NotImplementedError


def zero_grad(root: Value) -> None:
    """Set `grad` to 0 for each node of root's graph, root included, and for no other.

    Chains of 5,000 nodes work.
    """
    raise NotImplementedError


def draw(root: Value) -> str:
    """The graph as text, as the lesson draws it: each node on a line, its parents indented below it.

    - A node is written "label: data, grad g", with data and g as f"{number:.4g}".
    - The label is the node's name; without one, its op; without either, "leaf".
    - Before a parent stands "├── ", before the last one "└── ".  Further down, "│   " goes on
      from a "├── ", and four spaces below a "└── ".
    - A node (not: a name) that stands on an earlier line already is written "label ↑", without its parents.
    - Lines are joined by newlines, without one at the end.

    Graphs may be 100 nodes deep.
    """
    raise NotImplementedError


def gradient(f: Callable[..., Value | float], *numbers: float) -> list[float]:
    """The partial derivatives of f at `numbers`: one float for each.

    `f` takes as many Values.  Where it doesn't use one, that derivative is 0.  It may return a
    plain number: then all are 0.  Each call begins with new Values.
    """
    raise NotImplementedError

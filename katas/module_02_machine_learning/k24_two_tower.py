"""A two-tower model

**Before you start.**  You need the softmax, cross-entropy and the chain rule for matrices.  The
kata recommenders comes before this one.  The model is new to you?  Read Google's course
"Recommendation Systems", developers.google.com/machine-learning/recommendation, the parts on
softmax models and retrieval.

**The idea.**  Of a million items you must find a few hundred candidates within milliseconds.  So
two towers turn features into vectors, one for users and one for items, and a dot product is the
score.  Item vectors are computed in advance and kept in an index.  Train it as a classifier: which
item did this user take?  A softmax over a million items is too dear.  So take the other items of
the batch as the wrong answers.

**The formulas**, for a batch of b pairs of a user and the item taken, with weights W of a tower:

    tower        e = z / ‖z‖        z = features · W
    logits       l_ij = uᵢ·vⱼ / τ - ln q_j       -∞ where j ≠ i is the same item as i
    loss         mean of  -ln(exp(l_ii) / ∑ⱼ exp(l_ij))
    gradient     ∂loss/∂l = (softmax of each row - identity) / b
    through e    ∂/∂z = (g - (g·e) e) / ‖z‖        g is the gradient by e
    frequency    B ← (1 - α) B + α (t - t_last)        q = 1/B

- uᵢ and vⱼ are the towers' vectors, τ is a temperature.
- q_j is the probability that item j is in a batch.
- B is the mean number of steps between two batches with an item, t_last the step of the last one.

              v₀  v₁  v₂  v₃   items of the batch
         u₀   ●   ○   ○   ○
         u₁   ○   ●   ○   ○        ●  the item taken: raise it
         u₂   ○   ○   ●   ×        ○  others' items: lower them
         u₃   ○   ○   ×   ●        ×  the same item as the row's own: leave it out
       users

**Why - ln q?**  A popular item is in many batches, and in most of them as a wrong answer.  So it is
pushed down for being popular.  The scores come to mean how much *more* likely it is for this user
than for others.  Subtracting ln q from the logits undoes this in training.  For retrieval take the
plain scores.

**Why unit vectors?**  Then no item can win by its length alone.  Divided by τ, the scores lie from
-1/τ to 1/τ.

**Worked by hand**:

    u = [1 0], [0 1]   v = [1 0], [0.6 0.8]   τ = 0.5   q = 1/2, 1/4
    logits = [2 + ln 2   1.2 + ln 4;   0 + ln 2   1.6 + ln 4]
    loss = ½ (ln(1 + 2 e^(-0.8)) + ln(1 + ½ e^(-1.6))) = 0.3687
    z = [3 4], g = [1 0]:   e = [0.6 0.8], ∂/∂z = ([1 0] - 0.6 [0.6 0.8])/5 = [0.128 -0.096]
    α = ½, B starts at 10; seen at steps 4 and 6:   B = 7, then 4.5;   q = 1/4.5

**Shapes**: features (n, d), W (d, f), vectors (n, f), batches (b, 2) of rows (user, item).  Users
and items may differ in d.  No function changes its arguments.

**Steps.**

    embed               4 min   a row of zeros
    embed_gradient     12 min   through the length
    FrequencyEstimator 10 min   an item twice in a batch
    in_batch_logits     8 min   the correction, and the same item twice
    in_batch_loss      10 min   stable, with -∞ among the logits
    loss_and_gradients 12 min   each tower gets the other's vectors
    train               6 min   descent, batch by batch
    retrieve            4 min   the k best

Sources: Yi et al. 2019, "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
Recommendations"; Covington, Adams and Sargin 2016, "Deep Neural Networks for YouTube
Recommendations".

From scratch: scipy and sklearn may not be used.
"""

from collections.abc import Iterable

import numpy as np


def embed(features: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The tower's vectors e of the rows of `features` (n, d), with weights `w` (d, f): (n, f).

    Where z is all zeros, e is, too.  Any other z becomes a unit vector, at lengths from 1e-100 to
    1e100.
    """
    raise NotImplementedError


def embed_gradient(features: np.ndarray, w: np.ndarray, upstream: np.ndarray) -> np.ndarray:
    """The gradient by `w` (d, f) of a loss whose gradient by e is `upstream` (n, f).

    Rows where z is all zeros add nothing.
    """
    raise NotImplementedError


class FrequencyEstimator:
    """Learns from the stream of batches how probable each item is in a batch.

    Attribute `gap` (n_items,) holds the B of each item.
    """

    def __init__(self, n_items: int, rate: float, start: float) -> None:
        """`rate` is α; every B starts as `start`, and every t_last as 0."""
        raise NotImplementedError

    def update(self, step: int, items: np.ndarray) -> None:
        """Learn that the batch of `step` ≥ 1 has these `items` (b,).  Steps grow from call to call.

        An item that is in the batch several times counts once.  `items` may be empty.
        """
        raise NotImplementedError

    def log_q(self, items: np.ndarray) -> np.ndarray:
        """ln q of each of `items` (b,): float64 (b,)."""
        raise NotImplementedError


def in_batch_logits(
    users: np.ndarray, items: np.ndarray, temperature: float, log_q: np.ndarray, item_ids: np.ndarray
) -> np.ndarray:
    """The lesson's l (b, b) of the vectors `users` and `items` (b, f): row i is user i's.

    - `log_q` (b,) is ln q of the batch's items, `item_ids` (b,) their numbers.
    - The diagonal is never -∞, and has the correction, too.
    """
    raise NotImplementedError


def in_batch_loss(logits: np.ndarray) -> tuple[float, np.ndarray]:
    """The loss of `logits` (b, b) with the right answers on the diagonal, and its gradient (b, b).

    - Entries off the diagonal may be -inf: they add nothing, and their gradient is 0.
    - Never NaN for finite logits up to ±1e4.
    """
    raise NotImplementedError


def loss_and_gradients(
    w_user: np.ndarray,
    w_item: np.ndarray,
    user_features: np.ndarray,
    item_features: np.ndarray,
    temperature: float,
    log_q: np.ndarray,
    item_ids: np.ndarray,
) -> tuple[float, np.ndarray, np.ndarray]:
    """The loss of a batch and its gradients by `w_user` (d, f) and `w_item` (d′, f).

    `user_features` (b, d) and `item_features` (b, d′) are the batch's pairs, row by row.
    """
    raise NotImplementedError


def train(
    w_user: np.ndarray,
    w_item: np.ndarray,
    user_features: np.ndarray,
    item_features: np.ndarray,
    batches: Iterable[np.ndarray],
    temperature: float,
    log_q: np.ndarray,
    rate: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Both weights after a step of gradient descent for each of `batches`, in order.

    - `user_features` (users, d) and `item_features` (items, d′) are those of all users and items;
      a batch (b, 2) has rows of a user's and an item's number.  b ≥ 1 may differ between batches.
    - `batches` may be a generator: go through it once.
    - `log_q` (items,) is that of all items.
    - Both gradients of a step are taken at the same weights; each is multiplied by `rate`.
    """
    raise NotImplementedError


def retrieve(users: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """The numbers of the k `items` (n, f) of largest dot product for each of `users` (m, f).

    The answer is (m, k).  The best comes first; at a tie the lower number.

    Raises ValueError, naming k and n, unless 1 ≤ k ≤ n.
    """
    raise NotImplementedError

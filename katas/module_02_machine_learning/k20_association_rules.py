"""Association rules

**Before you start.**  You need Python's sets, dicts and Counter, and conditional probability.  The
subject is new to you?  Read Tan et al., "Introduction to Data Mining", chapter 5 (the chapter is
free at www-users.cse.umn.edu/~kumar001/dmbook).

**The idea.**  Which things are bought together?  A shop has millions of baskets and thousands of
items.  You look for sets of items that occur often, and for rules: who buys a also buys b.  There
are 2ᵈ sets of d items, so you can't try all.  Two algorithms find the frequent ones: *Apriori*,
level by level, and *FP-growth*, in a tree of all baskets.

**The formulas**, for n baskets, itemsets A and B without a common item:

    count(A)      the number of baskets that hold all of A
    support       s(A) = count(A) / n
    confidence    s(A ∪ B) / s(A)                      how often the rule A → B holds
    lift          confidence / s(B)                    1 if A and B are independent
    leverage      s(A ∪ B) - s(A) s(B)                 0 if independent
    conviction    (1 - s(B)) / (1 - confidence)        ∞ if the rule never fails

*Apriori* rests on one fact: count(A) ≥ count(A ∪ {x}).  What has a rare part is rare.  So join
frequent itemsets of size k into candidates of size k + 1.  Drop those with a part of size k that
isn't frequent.  Count the rest.

*FP-growth* writes each basket as a path, the most frequent items first.  Common beginnings are
stored once.  For the baskets a b c, a b, a c d, a b c, d and a smallest count of 2:

    root ─┬─ a 4 ─┬─ b 3 ─── c 2        prefix paths of c:   a b, twice
          │       └─ c 1 ─── d 1                             a, once
          └─ d 1

The prefix paths of c are baskets, too: what was bought together with c, of the items before it.
Their frequent itemsets, with c added, are the frequent itemsets that end in c.  So build a tree of
these paths, and go on.

**Why not confidence alone?**  If 90% of all buy bread, then any rule → bread has a confidence near
0.9.  Lift compares with that.

**Why is FP-growth faster?**  Apriori compares every candidate with every basket.  FP-growth reads
the baskets twice.  After that its work depends on the tree.

**Worked by hand**, for these five baskets:

    count      a 4, b 3, c 3, d 2, ab 3, ac 3, bc 2, abc 2; ad and cd only 1
    a → b      support 3/5, confidence 3/4, lift (3/4)/(3/5) = 1.25,
               leverage 0.6 - 0.8·0.6 = 0.12, conviction 0.4/0.25 = 1.6
    b → a      support 3/5, confidence 1, lift 1.25, conviction ∞
    join ab, ac, bc: abc.   Without bc: nothing, as abc has the rare part bc

**Shapes**: baskets are sequences of iterables of items.  Items are all strings or all integers.  An
item that stands in a basket twice counts once.  Itemsets are frozensets.  Items asked for (`items`,
`left`, `right`) may be one-time iterators, as `FPTree`'s baskets may.  No function changes its
arguments.

**Steps.**

    support             4 min   all of the items
    rule_measures       8 min   five numbers
    join_and_prune     10 min   every part must be frequent
    apriori            10 min   level by level
    FPTree             20 min   order, paths, counts
    fp_growth          12 min   a tree for each ending
    association_rules  10 min   every way to cut an itemset in two

Sources: Agrawal and Srikant 1994, "Fast Algorithms for Mining Association Rules"; Han, Pei and Yin
2000, "Mining Frequent Patterns without Candidate Generation"; Brin et al. 1997, "Dynamic Itemset
Counting and Implication Rules for Market Basket Data" (conviction).

From scratch: pandas and mlxtend may not be used.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

Itemset = frozenset[Any]


def support(transactions: Sequence[Iterable[Hashable]], items: Iterable[Hashable]) -> float:
    """The share of `transactions` (baskets) that hold all `items`; 1 if `items` is empty.

    Raises ValueError, naming "transactions", if there are none.
    """
    raise NotImplementedError


def rule_measures(
    transactions: Sequence[Iterable[Hashable]], left: Iterable[Hashable], right: Iterable[Hashable]
) -> dict[str, float]:
    """The rule `left` → `right`: "support", "confidence", "lift", "leverage" and "conviction".

    Conviction is inf if every basket with `left` has `right`, even if all baskets have `right`.

    Raises ValueError

    - naming "left" or "right" if no basket holds that side;
    - naming an item that stands on both sides.
    """
    raise NotImplementedError


def join_and_prune(frequent: Iterable[Itemset]) -> set[Itemset]:
    """The itemsets of size k + 1 all of whose parts of size k are in `frequent`.

    `frequent` are itemsets of one size k ≥ 1, and may be empty.  They may be thousands, of which
    few join: don't form all unions of two.  It is enough to join itemsets that differ only in their
    last item, in sorted order.
    """
    raise NotImplementedError


def apriori(transactions: Sequence[Iterable[Hashable]], min_count: int) -> dict[Itemset, int]:
    """All itemsets of one item or more that at least `min_count` baskets hold, and their counts.

    Raises ValueError, naming the given value, if min_count < 1.
    """
    raise NotImplementedError


class FPTree:
    """The tree of some baskets.

    - Attribute `counts` is a dict from each frequent item to its count.
    - Attribute `nodes` is the number of nodes, the root not counted.
    """

    def __init__(self, baskets: Iterable[tuple[Iterable[Hashable], int]], min_count: int) -> None:
        """`baskets` are pairs of items and how often such a basket occurs.

        - Items with a count below `min_count` are left out.
        - In each path items go by count, the largest first; at a tie the smaller item first.
        - Baskets of thousands of items are fine.
        """
        raise NotImplementedError

    def prefix_paths(self, item: Hashable) -> list[tuple[tuple[Any, ...], int]]:
        """For each node of the frequent `item`: the items above it, from the root, and its count.

        Paths without an item are left out.  The order of the paths is free.
        """
        raise NotImplementedError


def fp_growth(transactions: Sequence[Iterable[Hashable]], min_count: int) -> dict[Itemset, int]:
    """The same as `apriori`, by FP-growth.

    - It goes over `transactions` at most twice.
    - On 5,000 baskets it runs fewer lines of Python than Apriori compares candidates with baskets.

    Raises ValueError, naming the given value, if min_count < 1.
    """
    raise NotImplementedError


def association_rules(
    counts: dict[Itemset, int], n: int, min_confidence: float
) -> dict[tuple[Itemset, Itemset], tuple[float, float, float]]:
    """All rules of a confidence ≥ `min_confidence`: {(left, right): (support, confidence, lift)}.

    - `counts` are the frequent itemsets of `n` baskets, as `apriori` gives them.
    - Both sides of a rule have at least one item, and together they are a frequent itemset.
    - The confidence is the quotient of the two counts.
    """
    raise NotImplementedError

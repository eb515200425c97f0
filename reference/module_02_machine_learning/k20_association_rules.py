"""Association rules: the reference."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations
from typing import Any

Itemset = frozenset[Any]


def support(transactions: Sequence[Iterable[Hashable]], items: Iterable[Hashable]) -> float:
    if len(transactions) == 0:
        raise ValueError("there are no transactions to take a share of")
    wanted = frozenset(items)
    return sum(wanted.issubset(basket) for basket in transactions) / len(transactions)


def rule_measures(
    transactions: Sequence[Iterable[Hashable]], left: Iterable[Hashable], right: Iterable[Hashable]
) -> dict[str, float]:
    a, b = frozenset(left), frozenset(right)
    if a & b:
        raise ValueError(f"{min(a & b)!r} stands on both sides of the rule")
    of_left, of_right, of_both = (support(transactions, items) for items in (a, b, a | b))
    if of_left == 0 or of_right == 0:
        raise ValueError(f"no transaction holds the {'left' if of_left == 0 else 'right'} side")
    confidence = of_both / of_left
    return {
        "support": of_both,
        "confidence": confidence,
        "lift": confidence / of_right,
        "leverage": of_both - of_left * of_right,
        # A rule that is never broken has no expected share of failures to compare with.
        "conviction": float("inf") if of_both == of_left else (1 - of_right) / (1 - confidence),
    }


def join_and_prune(frequent: Iterable[Itemset]) -> set[Itemset]:
    known = set(frequent)
    # Sorted, two itemsets with the same beginning join; each candidate comes from one such pair.
    groups: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for items in known:
        *beginning, last = sorted(items)
        groups[tuple(beginning)].append(last)
    found = set()
    for beginning, lasts in groups.items():
        for pair in combinations(lasts, 2):
            candidate = frozenset((*beginning, *pair))
            # Whatever has a rare part is rare itself.
            if all(candidate - {item} in known for item in candidate):
                found.add(candidate)
    return found


def apriori(transactions: Sequence[Iterable[Hashable]], min_count: int) -> dict[Itemset, int]:
    if min_count < 1:
        raise ValueError(f"min_count must be at least 1, not {min_count}")
    baskets = [frozenset(basket) for basket in transactions]
    singles = Counter(item for basket in baskets for item in basket)
    level = {frozenset([item]): count for item, count in singles.items() if count >= min_count}
    frequent = dict(level)
    while level:
        candidates = join_and_prune(level)
        counts = Counter(items for basket in baskets for items in candidates if items <= basket)
        level = {items: count for items, count in counts.items() if count >= min_count}
        frequent.update(level)
    return frequent


class _Node:
    def __init__(self, item: Any, parent: "_Node | None") -> None:
        self.item, self.parent, self.count = item, parent, 0
        self.children: dict[Any, _Node] = {}


class FPTree:
    def __init__(self, baskets: Iterable[tuple[Iterable[Hashable], int]], min_count: int) -> None:
        weighed = [(frozenset(items), count) for items, count in baskets]
        totals: Counter[Any] = Counter()
        for items, count in weighed:
            for item in items:
                totals[item] += count
        # Frequent items first: baskets share beginnings, and the tree stays small.
        order = sorted((item for item in totals if totals[item] >= min_count), key=lambda item: (-totals[item], item))
        self.counts = {item: totals[item] for item in order}
        self.nodes = 0
        self._links: dict[Any, list[_Node]] = {item: [] for item in order}
        rank = {item: place for place, item in enumerate(order)}
        root = _Node(None, None)
        for items, count in weighed:
            node = root
            for item in sorted(items & rank.keys(), key=rank.__getitem__):
                if item not in node.children:
                    node.children[item] = _Node(item, node)
                    self._links[item].append(node.children[item])
                    self.nodes += 1
                node = node.children[item]
                node.count += count

    def prefix_paths(self, item: Hashable) -> list[tuple[tuple[Any, ...], int]]:
        paths = []
        for node in self._links[item]:
            above, path = node.parent, []
            while above is not None and above.parent is not None:
                path.append(above.item)
                above = above.parent
            if path:
                paths.append((tuple(reversed(path)), node.count))
        return paths


def fp_growth(transactions: Sequence[Iterable[Hashable]], min_count: int) -> dict[Itemset, int]:
    if min_count < 1:
        raise ValueError(f"min_count must be at least 1, not {min_count}")
    frequent: dict[Itemset, int] = {}

    def mine(baskets: Iterable[tuple[Iterable[Hashable], int]], ending: Itemset) -> None:
        tree = FPTree(baskets, min_count)
        for item, count in tree.counts.items():
            items = ending | {item}
            frequent[items] = count
            # What goes with these items, among those above them in the tree: each itemset is found once.
            paths = tree.prefix_paths(item)
            if paths:
                mine(paths, items)

    mine([(basket, 1) for basket in transactions], frozenset())
    return frequent


def association_rules(
    counts: dict[Itemset, int], n: int, min_confidence: float
) -> dict[tuple[Itemset, Itemset], tuple[float, float, float]]:
    rules = {}
    for items, count in counts.items():
        for size in range(1, len(items)):
            for part in combinations(items, size):
                left = frozenset(part)
                right = items - left
                # Every part of a frequent itemset is frequent: both counts are known.
                confidence = count / counts[left]
                if confidence >= min_confidence:
                    rules[left, right] = (count / n, confidence, confidence * n / counts[right])
    return rules

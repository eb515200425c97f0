"""Tables: the reference."""

from statistics import fmean, median, stdev

import numpy as np

Table = dict[str, list]


def drop_missing(table: Table, columns: list[str] | None = None) -> Table:
    names = table if columns is None else columns
    kept = [i for i in range(_height(table)) if all(table[name][i] is not None for name in names)]
    return {name: [column[i] for i in kept] for name, column in table.items()}


def fill_missing_by_group(table: Table, column: str, by: list[str]) -> Table:
    filled = list(table[column])
    for rows in _groups(table, by).values():
        present = [table[column][i] for i in rows if table[column][i] is not None]
        if present:
            typical = median(present)
            for i in rows:
                filled[i] = typical if filled[i] is None else filled[i]
    return {**table, column: filled}


def melt(table: Table, keep: list[str], name: str = "variable", value: str = "value") -> Table:
    melted = [column for column in table if column not in keep]
    long = {column: table[column] * len(melted) for column in keep}
    long[name] = [column for column in melted for _ in range(_height(table))]
    long[value] = [cell for column in melted for cell in table[column]]
    return long


def pivot(table: Table, index: str, columns: str, values: str) -> Table:
    cells = {}
    for row, column, value in zip(table[index], table[columns], table[values], strict=True):
        if (row, column) in cells:
            raise ValueError(f"two rows for the cell {row}, {column}; expected one at most")
        cells[row, column] = value
    # A dict keeps the order in which its keys came first.
    rows, names = dict.fromkeys(table[index]), dict.fromkeys(table[columns])
    return {index: list(rows), **{name: [cells.get((row, name)) for row in rows] for name in names}}


def group_summary(table: Table, by: list[str], column: str) -> Table:
    groups = _groups(table, by)
    samples = [[table[column][i] for i in rows if table[column][i] is not None] for rows in groups.values()]
    return {
        **{name: [key[place] for key in groups] for place, name in enumerate(by)},
        "count": [len(sample) for sample in samples],
        "mean": [fmean(sample) if sample else None for sample in samples],
        "std": [stdev(sample) if len(sample) > 1 else None for sample in samples],
    }


def left_join(left: Table, right: Table, on: str) -> Table:
    for name in right:
        if name != on and name in left:
            raise ValueError(f"both tables have a column {name}; expected them to share {on} alone")
    places: dict[object, int] = {}
    for i, key in enumerate(right[on]):
        if key in places:
            raise ValueError(f"the right table has the key {key} twice; expected each key once")
        if key is not None:
            places[key] = i
    # One lookup a row, however long `right` is.  A place may be 0, so below it is compared with None.
    matches = [places.get(key) for key in left[on]]
    new = {n: [None if i is None else column[i] for i in matches] for n, column in right.items() if n != on}
    return {**left, **new}


def outlier_flags(values: list, k: float = 1.5) -> list[bool]:
    present = [value for value in values if value is not None]
    if not present:
        return [False] * len(values)
    # numpy's default is the lesson's rule: the place q (n - 1), in proportion.
    q1, q3 = np.quantile(present, [0.25, 0.75])
    reach = k * (q3 - q1)
    return [value is not None and (value < q1 - reach or value > q3 + reach) for value in values]


def _height(table: Table) -> int:
    return len(next(iter(table.values())))


def _groups(table: Table, by: list[str]) -> dict[tuple, list[int]]:
    """The values that a group shares → the places of its rows."""
    groups: dict[tuple, list[int]] = {}
    for i, key in enumerate(zip(*(table[name] for name in by), strict=True)):
        groups.setdefault(key, []).append(i)
    return groups

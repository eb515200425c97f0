"""Tables

**Before you start.**  You need Python's lists and dicts, the median and the standard deviation; no
other kata.  New to tables of this kind?  Read Wickham 2014, "Tidy Data", sections 1 to 3.

**The idea.**  Before a model sees a table, somebody fills gaps, groups, reshapes and joins.  Most
silent errors of data work are made there.  Here a table is a dict, column name → list of values.
All lists have the same length.  None marks a missing value:

    {"species": ["A", "A", "A", "B", "B"], "mass": [3, None, 5, 8, None]}

- *Missing is not zero.*  A 0 moves every mean.  Drop the row, or fill in its group's median.
- *Split, apply, combine.*  Split the rows by the values of some columns.  Compute each group's
  numbers.  Make a new table of them.
- *Long and wide.*  A wide table has values in its header, such as years.  `melt` makes rows of
  them, and `pivot` puts them back:

      wide                                    long
      city  2020  2021                        city  year  people
      X        1     3      ── melt  ──▶      X     2020       1
      Y        2     4      ◀── pivot ──      Y     2020       2
                                              X     2021       3
                                              Y     2021       4

- *A left join* looks up each row's key in another table:

      left          right            joined
      key  x        key  y           key  x  y
      a    5  ────▶ a    1           a    5  1
      c    6  ────▶ (no such key)    c    6  None
      a    7  ────▶ a    1           a    7  1

- *Outliers* lie outside Tukey's fences, far from the quartiles.

**The formulas**, for a group of n values xᵢ with mean x̄, a factor k (usually 1.5), and sorted
values x₀ ≤ … ≤ xₙ₋₁:

    standard deviation   s = √( Σ (xᵢ - x̄)² / (n - 1) )      for n ≥ 2
    quartiles            q₁ and q₃ stand at the places 0.25 (n - 1) and 0.75 (n - 1)
    fences               q₁ - k (q₃ - q₁) and q₃ + k (q₃ - q₁)

A place between two values takes from both in proportion: place 1.25 is x₁ + 0.25 (x₂ - x₁).

**Why n - 1?**  The mean is fitted to the sample, so squared distances from it are too small on
average.  Dividing by n - 1 corrects this.

**Why refuse a key that the right table has twice?**  The row would come back twice, and every sum
over it would be wrong.  For the same reason, pivot refuses two values for one cell.

**Worked by hand**, on the table above, and fences on six numbers:

    medians 4 and 8          mass becomes [3, 4, 5, 8, 8]
    groups, nothing filled   A: count 2, mean 4, s = √(((-1)² + 1²) / 1) = 1.4142
                             B: count 1, mean 8, no s
    quartiles, 0 1 2 3 4 8   place 1.25: 1 + 0.25 (2 - 1) = 1.25
                             place 3.75: 3 + 0.75 (4 - 3) = 3.75
    fences                   1.25 - 1.5·2.5 = -2.5 and 3.75 + 1.5·2.5 = 7.5: 8 lies outside

**Shapes.**  What holds everywhere:

- Only None is missing.  0, "" and False are values like others; NaN doesn't occur.
- Equal values are one value, as in a dict: 1, 1.0 and True.
- In a column that makes groups, or pivot's rows, None is a value like any other.  Among the
  values that become pivot's columns it doesn't occur.
- A table has at least one column, maybe no rows.  The order of columns counts.
- No function changes its arguments; answers may share columns with them.

**Steps.**  A good place to pause is after pivot.

    drop_missing            5 min   `is None`, not `not`
    fill_missing_by_group  10 min   a dict from a group's values to its rows
    melt                   10 min   which rows come first?
    pivot                  10 min   the order of first appearance
    group_summary          10 min   groups of one value, and of none
    left_join              15 min   row 0 is a match, too
    outlier_flags          10 min   quartiles between two values

Sources: Wickham 2014, "Tidy Data"; Tukey 1977, "Exploratory Data Analysis", chapter 2.

From scratch: pandas may not be used.
"""

Table = dict[str, list]


def drop_missing(table: Table, columns: list[str] | None = None) -> Table:
    """The rows that have a value in all of `columns`, in their order.

    - None for `columns` means all of the table's; an empty list drops nothing.
    - All columns of the table are handed back, in its order.
    """
    raise NotImplementedError


def fill_missing_by_group(table: Table, column: str, by: list[str]) -> Table:
    """The table with each missing number of `column` replaced by the median of its group.

    - A group is the rows that agree in all columns `by`, one or more.  They needn't stand together.
    - The median is that of the group's values that aren't missing: of an even number of values,
      the mean of the middle two.
    - Where a group has no value, None stays.
    """
    raise NotImplementedError


def melt(table: Table, keep: list[str], name: str = "variable", value: str = "value") -> Table:
    """A long table from a wide one: columns `keep`, in that order, then `name`, then `value`.

    - Each column that isn't kept gives a row for each row of the table: its name goes into the
      column `name`, what it holds into `value`, None too.
    - First come the rows of the first such column, then those of the next.
    """
    raise NotImplementedError


def pivot(table: Table, index: str, columns: str, values: str) -> Table:
    """A wide table from a long one: column `index`, then one for each value of `columns`.

    - A row for each value of `index`.  Rows and columns stand in the order in which their values
      first appear.
    - A cell holds what `values` has where the two meet, or None if there is no such row.
    - No value in column `columns` equals the name `index`.

    Raises ValueError, naming the cell's values of `index` and `columns`, if two rows belong to it, even where one of them
    or both hold None.
    """
    raise NotImplementedError


def group_summary(table: Table, by: list[str], column: str) -> Table:
    """A row for each group: columns `by`, then "count", "mean" and "std" of `column`.

    - Groups as in `fill_missing_by_group`, in the order in which they first appear.
    - Missing values aren't counted and have no part in the mean.
    - "std" divides by count - 1.  A mean of 1e9 costs it no digits.
    - Where the count is 0, mean and std are None; where it is 1, std is None.
    """
    raise NotImplementedError


def left_join(left: Table, right: Table, on: str) -> Table:
    """Each row of `left`, once and in order, with what `right` knows about its key in column `on`.

    - The columns of `left`, then those of `right` but `on`.
    - A row whose key isn't in `right` gets None there.
    - None is no key: in `left` it finds nothing, and rows of `right` that have it, however many,
      are left out.

    - Raises ValueError, naming the key, if `right` has a key twice.
    - Raises ValueError, naming the column, if a column other than `on` is in both tables.
    """
    raise NotImplementedError


def outlier_flags(values: list, k: float = 1.5) -> list[bool]:
    """For each of `values` whether it lies outside the lesson's fences, for k ≥ 0.

    - The quartiles are those of the values that aren't missing.
    - A value exactly on a fence is no outlier, and neither is a missing one.
    """
    raise NotImplementedError

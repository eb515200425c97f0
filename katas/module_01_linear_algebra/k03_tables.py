"""Tables

Data comes as a table: a row for each thing that was seen, a column for each
thing that is known about it.  Here a table is a dict, column name → list of
values; all lists have the same length, and None stands where a value is missing.

    {"species": ["A", "A", "A", "B", "B"], "mass": [3, None, 5, 8, None]}

Missing is not zero.  Whoever writes 0 for it moves every mean.  Two honest ways:
drop the rows, which loses what else they say, or fill in what is typical.  What
is typical differs from group to group, so the median is taken within each group.

Split, apply, combine: nearly every question to a table is "for each …".  Rows
are split by the values of some columns, each group gets its numbers, and these
make a new table with a row for each group.  The spread of a sample of n numbers
is measured around their own mean, which lies too close to them; dividing by
n - 1 makes up for it:

    s = √( Σ (xᵢ - x̄)² / (n - 1) )      needs n ≥ 2

In a tidy table each column is one variable.  A wide table holds values of a
variable in its header (the years 2020, 2021); melting makes rows of them, and
pivoting puts them back.  A pivot has one cell for each pair of row and column,
so two values for one cell are an error, not a choice.

A left join looks up each row's key in another table.  If that table has a key
twice, the row would come back twice, and every sum over it would be wrong: the
commonest silent error in data work.  So a repeated key is refused.

An outlier, after Tukey, lies more than k = 1.5 interquartile ranges outside the
quartiles.  The quartile q of n sorted values x₀ … xₙ₋₁ stands at the place
q·(n - 1), between two values in proportion.

Worked by hand, on the table above:

    medians 4 and 8:      mass becomes [3, 4, 5, 8, 8]
    groups:               A: count 2, mean 4, s = √(((-1)² + 1²) / 1) = 1.4142;  B: count 1, mean 8, no s
    melted, "city" kept:  {"city": ["X", "Y"], "2020": [1, 2], "2021": [3, 4]} →
                          {"city": ["X", "Y", "X", "Y"], "year": ["2020", "2020", "2021", "2021"],
                           "people": [1, 2, 3, 4]}
    fences of 0 1 2 3 4 8: quartiles at places 1.25 and 3.75, so 1.25 and 3.75;
                          1.25 - 1.5·2.5 = -2.5 and 3.75 + 1.5·2.5 = 7.5, and 8 lies outside

In all that follows only None is missing: 0, "" and False are values like others,
and NaN doesn't occur.  None in a column that makes groups is a value like any
other there.  A table has at least one column, maybe no rows.  Columns stand in
the order that is given.  No function changes its arguments; the tables handed
back may share columns with them.

Sources: Wickham 2014, "Tidy Data"; Tukey 1977, "Exploratory Data Analysis",
section 2C.

From scratch: pandas may not be used.
"""

Table = dict[str, list]


def drop_missing(table: Table, columns: list[str] | None = None) -> Table:
    """The rows that lack no value in any of `columns`, in their order.

    None for `columns` means all of the table's; an empty list drops nothing.
    All columns of the table are handed back, in its order.
    """
    raise NotImplementedError


def fill_missing_by_group(table: Table, column: str, by: list[str]) -> Table:
    """The table with each missing number of `column` replaced by the median of its group.

    A group is the rows that agree in all columns `by`, one or more.  The median
    is that of the group's values that aren't missing: of an even number of
    values, the mean of the middle two.  Where a group has none, None stays.
    """
    raise NotImplementedError


def melt(table: Table, keep: list[str], name: str = "variable", value: str = "value") -> Table:
    """A long table from a wide one: columns `keep`, as ordered there, then `name`, then `value`.

    Each column that isn't kept gives a row for each row of the table: its name
    goes into the column `name`, what it holds into `value`, None too.  First
    come the rows of the first such column, then those of the next.
    """
    raise NotImplementedError


def pivot(table: Table, index: str, columns: str, values: str) -> Table:
    """A wide table from a long one: column `index`, then one for each value of `columns`.

    A row for each value of `index`; rows and columns stand in the order in which
    their values first appear.  A cell holds what `values` has where the two
    meet, or None if there is no such row.

    Raises ValueError, naming both values, if two rows belong to one cell, even
    where one of them or both hold None.
    """
    raise NotImplementedError


def group_summary(table: Table, by: list[str], column: str) -> Table:
    """A row for each group: columns `by`, then "count", "mean" and "std" of `column`.

    Groups as in `fill_missing_by_group`, in the order in which they first appear.
    Missing values aren't counted and have no part in the mean.  "std" divides by
    count - 1.  Where the count is 0, mean and std are None; where it is 1, std is None.
    """
    raise NotImplementedError


def left_join(left: Table, right: Table, on: str) -> Table:
    """Each row of `left`, once and in order, with what `right` knows about its key in column `on`.

    The columns of `left`, then those of `right` but `on`.  A row whose key isn't
    in `right` gets None there.  None is no key: in `left` it finds nothing, and
    rows of `right` that have it, however many, are left out.

    Raises ValueError, naming the key, if `right` has a key twice; ValueError,
    naming the column, if a column other than `on` is in both tables.
    """
    raise NotImplementedError


def outlier_flags(values: list, k: float = 1.5) -> list[bool]:
    """For each of `values` whether it lies more than `k` interquartile ranges outside the quartiles.

    The quartiles are those of the values that aren't missing, as in the lesson.  A
    value exactly on a fence is no outlier, and neither is a missing one.
    """
    raise NotImplementedError

"""Queries, in pandas and in SQL

**Before you start.**  You need Python, and have seen a data frame and a SELECT; no other kata.  SQL
is new to you?  Read SQLite's pages "SELECT" and "Window Functions", at sqlite.org/lang.html.

**The idea.**  Before there is a model there is a question to a table, and a wrong answer looks like
a right one.  You answer each of eight questions twice: with pandas, and with SQL in a sqlite3
database.  The two must agree.  Where they would not, one of them hides a trap:

- *Missing values.*  In SQL, NULL compared with anything is unknown, and WHERE drops the row.  In
  pandas, NaN != "male" is True, and the row stays.  GROUP BY makes a group of NULLs; groupby
  drops NaN.  A join never matches NULL with NULL; merge does match NaN with NaN.
- *Joins that multiply.*  A key that stands twice in the right table doubles rows of the left one.
- *Windows.*  OVER (ORDER BY at) treats rows of the same time as one.  A running sum then jumps.
- *Strings in queries.*  A value that is pasted into the text of a query can end it and begin
  another.  Hand values over as parameters: db.execute("… WHERE sex = ?", (sex,)).

The tables (`?` marks columns where values may be missing):

    penguins   id, species?, island?, sex?, mass?      mass in grams, whole or not
    islands    island?, area?                          in square kilometres
    reviews    id, text?
    payments   id, user, at, amount                    at is a time, an integer: minutes, or
    events     user, at                                nanoseconds since 1970
    trades     id, symbol, at
    quotes     symbol, at, price                       one price for a symbol and time

**The formulas**, for row i of a group in order, with times tᵢ, amounts aᵢ, masses mᵢ:

    rank           1 + the number of rows j of the group with mⱼ > mᵢ
    change         aᵢ - aᵢ₋₁            total    a₁ + a₂ + … + aᵢ
    new session    where tᵢ - tᵢ₋₁ > gap, and at the first row
    as of t        the price at the largest time ≤ t

Sessions of one user with a gap of 30 at most, and prices as of three trades:

    events   0   20   50        90  95           quotes   10 ────▶ 30 ────▶
             └─session─┘        └───┘            trades  5    10     29
                      └── 40 ──┘                 price   none 1st    1st

**Why an as-of join?**  A model that predicts at time t may only see what was known at t.  A join on
the nearest quote would look into the future.

**Worked by hand**:

    masses 40 50 50 30 of one species      ranks 3 1 1 4
    amounts 5 8 6 in order                 changes none 3 -2, totals 5 13 19
    times 0 20 50 90 95, gap 30            sessions (0, 50, 3 events) and (90, 95, 2 events)

**Shapes.**  What holds everywhere:

- A `…_pandas` function takes data frames, and gives a data frame with exactly the columns named, in
  this order.  Missing values are NaN or None, in what comes and in what goes.
- A `…_sql` function takes a connection (that has no row_factory) to a database with tables of the
  same names, and gives a list of tuples, the same columns in the same order.  Missing values are
  None.
- The order of rows and the index don't matter.  Tables come in any order of rows, and tables of a
  database stay as they are.
- SQL statements are the same text for every value of a parameter.
- No function changes its arguments.

**Steps.**  A good place to pause is after species_with_sql.

    not_of_sex_pandas      3 min   one comparison
    not_of_sex_sql         3 min   NULL <> 'male' isn't true
    containing_pandas      3 min   a dot is a dot
    containing_sql         3 min   a percent sign is one, too
    with_area_pandas       6 min   NaN must not match NaN
    with_area_sql          5 min   look for the island that stands twice
    species_with_pandas    5 min   the group without a name
    species_with_sql       5 min   HAVING
    mass_ranks_pandas      4 min   which method of rank?
    mass_ranks_sql         4 min   RANK, and where masses are missing
    running_totals_pandas  5 min   sort first
    running_totals_sql     5 min   LAG and SUM over the same window
    sessions_pandas        8 min   number the sessions with a running sum
    sessions_sql           9 min   the same, in two WITH tables
    as_of_pandas           5 min   merge_asof wants sorted tables
    as_of_sql              6 min   the latest that isn't too late

Sources: sqlite.org, "SELECT", "Window Functions", "NULL Handling in SQLite"; pandas' user guide,
"Merge, join, concatenate and compare" and "Working with missing data"; OWASP, "SQL Injection
Prevention Cheat Sheet".

From scratch: pandas.read_sql, pandas.read_sql_query and pandas.read_sql_table may not be used: the
answers are to be independent.
"""

import sqlite3

import pandas as pd


def not_of_sex_pandas(penguins: pd.DataFrame, sex: str) -> pd.DataFrame:
    """The penguins that aren't known to be of this sex.  Column: id.

    A penguin of unknown sex is one of them.
    """
    raise NotImplementedError


def not_of_sex_sql(db: sqlite3.Connection, sex: str) -> list[tuple]:
    """The penguins that aren't known to be of this sex, those of unknown sex too: (id,)."""
    raise NotImplementedError


def containing_pandas(reviews: pd.DataFrame, text: str) -> pd.DataFrame:
    """The reviews that contain `text`.  Column: id.

    - Capitals count, and no sign has a special meaning: "a.c" is in "a.c" and not in "abc".
    - "" is in every text.  A missing text contains nothing, not even "".
    - All texts may be missing: pandas then makes it a column of floats.
    """
    raise NotImplementedError


def containing_sql(db: sqlite3.Connection, text: str) -> list[tuple]:
    """The reviews that contain `text`: (id,).

    - Capitals count, and no sign has a special meaning: "5%" is in "5% off" and not in "50 off".
    - "" is in every text.  A missing text contains nothing, not even "".
    """
    raise NotImplementedError


def with_area_pandas(penguins: pd.DataFrame, islands: pd.DataFrame) -> pd.DataFrame:
    """Each penguin once, with the area of its island.  Columns: id, island, area.

    The area is missing where the island is, where `islands` doesn't have the island, or no area for
    it.  A row of `islands` without a name belongs to no penguin.

    Raises ValueError, naming the island, if `islands` has the same name twice.
    """
    raise NotImplementedError


def with_area_sql(db: sqlite3.Connection) -> list[tuple]:
    """Each penguin once, with the area of its island: (id, island, area).

    The area is missing where the island is, where `islands` doesn't have the island, or no area for
    it.  A row of `islands` without a name belongs to no penguin.

    Raises ValueError, naming the island, if `islands` has the same name twice.
    """
    raise NotImplementedError


def species_with_pandas(penguins: pd.DataFrame, least: int) -> pd.DataFrame:
    """The species with at least this many penguins.  Columns: species, penguins, mean_mass.

    - `penguins` is how many there are, weighed or not.
    - `mean_mass` is the mean of the masses that are known, and missing if none is.
    - Penguins of unknown species are a group as well; its species is missing.
    """
    raise NotImplementedError


def species_with_sql(db: sqlite3.Connection, least: int) -> list[tuple]:
    """The species with at least this many penguins: (species, penguins, mean_mass).

    - `penguins` is how many there are, weighed or not.
    - `mean_mass` is the mean of the masses that are known, and missing if none is.
    - Penguins of unknown species are a group as well; its species is missing.
    """
    raise NotImplementedError


def mass_ranks_pandas(penguins: pd.DataFrame) -> pd.DataFrame:
    """The rank of each penguin by mass, within its species.  Columns: id, rank.

    - The heaviest has rank 1.  Equal masses share a rank, and the next one leaves a gap: 1 1 3.
    - Penguins of unknown mass are left out.  Those of unknown species are ranked among themselves.
    """
    raise NotImplementedError


def mass_ranks_sql(db: sqlite3.Connection) -> list[tuple]:
    """The rank of each penguin by mass, within its species: (id, rank).

    - The heaviest has rank 1.  Equal masses share a rank, and the next one leaves a gap: 1 1 3.
    - Penguins of unknown mass are left out.  Those of unknown species are ranked among themselves.
    """
    raise NotImplementedError


def running_totals_pandas(payments: pd.DataFrame) -> pd.DataFrame:
    """What each payment changes for its user.  Columns: id, change, total.

    - A user's payments are ordered by `at`, and those of the same time by id.
    - `change` is the amount less that of the user's payment before; missing for the first.
    - `total` is the sum of the user's amounts up to this one, itself included.
    """
    raise NotImplementedError


def running_totals_sql(db: sqlite3.Connection) -> list[tuple]:
    """What each payment changes for its user: (id, change, total).

    - A user's payments are ordered by `at`, and those of the same time by id.
    - `change` is the amount less that of the user's payment before; missing for the first.
    - `total` is the sum of the user's amounts up to this one, itself included.
    """
    raise NotImplementedError


def sessions_pandas(events: pd.DataFrame, gap: int) -> pd.DataFrame:
    """The sessions of each user.  Columns: user, start, end, events.

    - An event more than `gap` after the user's event before begins a new session.
    - start and end are the times of a session's first and last event, and `events` their number.
    - Events of one user may share a time; each counts.
    """
    raise NotImplementedError


def sessions_sql(db: sqlite3.Connection, gap: int) -> list[tuple]:
    """The sessions of each user: (user, start, end, events).

    - An event more than `gap` after the user's event before begins a new session.
    - start and end are the times of a session's first and last event, and `events` their number.
    - Events of one user may share a time; each counts.
    """
    raise NotImplementedError


def as_of_pandas(trades: pd.DataFrame, quotes: pd.DataFrame) -> pd.DataFrame:
    """Each trade once, with the price of its symbol at that time.  Columns: id, price.

    It is the price of the symbol's latest quote at or before the trade's time; missing if there is
    none.
    """
    raise NotImplementedError


def as_of_sql(db: sqlite3.Connection) -> list[tuple]:
    """Each trade once, with the price of its symbol at that time: (id, price).

    It is the price of the symbol's latest quote at or before the trade's time; missing if there is
    none.
    """
    raise NotImplementedError

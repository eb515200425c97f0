"""Queries, in pandas and in SQL: the reference."""

import sqlite3

import pandas as pd


def not_of_sex_pandas(penguins: pd.DataFrame, sex: str) -> pd.DataFrame:
    return penguins.loc[penguins["sex"] != sex, ["id"]]


def not_of_sex_sql(db: sqlite3.Connection, sex: str) -> list[tuple]:
    # IS NOT takes NULL for a value like any other; <> would drop it.
    return db.execute("SELECT id FROM penguins WHERE sex IS NOT ?", (sex,)).fetchall()


def containing_pandas(reviews: pd.DataFrame, text: str) -> pd.DataFrame:
    # As objects: a column of nothing but NaN is one of floats, which have no .str.
    return reviews.loc[reviews["text"].astype(object).str.contains(text, regex=False, na=False), ["id"]]


def containing_sql(db: sqlite3.Connection, text: str) -> list[tuple]:
    # LIKE would read % and _ as wildcards, and ignore capitals.
    return db.execute("SELECT id FROM reviews WHERE instr(text, ?) > 0", (text,)).fetchall()


def with_area_pandas(penguins: pd.DataFrame, islands: pd.DataFrame) -> pd.DataFrame:
    # merge would match a missing island with a missing one.
    named = islands.loc[islands["island"].notna(), ["island", "area"]]
    twice = named.loc[named["island"].duplicated(), "island"]
    if len(twice) > 0:
        raise ValueError(f"islands has {twice.iloc[0]!r} more than once: its penguins would be doubled")
    return penguins[["id", "island"]].merge(named, how="left", on="island")


def with_area_sql(db: sqlite3.Connection) -> list[tuple]:
    twice = db.execute(
        "SELECT island FROM islands WHERE island IS NOT NULL GROUP BY island HAVING COUNT(*) > 1"
    ).fetchone()
    if twice is not None:
        raise ValueError(f"islands has {twice[0]!r} more than once: its penguins would be doubled")
    return db.execute(
        "SELECT p.id, p.island, i.area FROM penguins AS p LEFT JOIN islands AS i ON i.island = p.island"
    ).fetchall()


def species_with_pandas(penguins: pd.DataFrame, least: int) -> pd.DataFrame:
    groups = penguins.groupby("species", dropna=False, as_index=False)
    table = groups.agg(penguins=("id", "size"), mean_mass=("mass", "mean"))
    return table[table["penguins"] >= least]


def species_with_sql(db: sqlite3.Connection, least: int) -> list[tuple]:
    # COUNT(mass) would pass over penguins that were never weighed; AVG does so rightly.
    return db.execute(
        "SELECT species, COUNT(*), AVG(mass) FROM penguins GROUP BY species HAVING COUNT(*) >= ?", (least,)
    ).fetchall()


def mass_ranks_pandas(penguins: pd.DataFrame) -> pd.DataFrame:
    weighed = penguins[penguins["mass"].notna()]
    ranks = weighed.groupby("species", dropna=False)["mass"].rank(method="min", ascending=False)
    return weighed[["id"]].assign(rank=ranks.astype(int))


def mass_ranks_sql(db: sqlite3.Connection) -> list[tuple]:
    return db.execute(
        "SELECT id, RANK() OVER (PARTITION BY species ORDER BY mass DESC) FROM penguins WHERE mass IS NOT NULL"
    ).fetchall()


def running_totals_pandas(payments: pd.DataFrame) -> pd.DataFrame:
    ordered = payments.sort_values(["at", "id"])
    amounts = ordered.groupby("user")["amount"]
    return ordered[["id"]].assign(change=amounts.diff(), total=amounts.cumsum())


def running_totals_sql(db: sqlite3.Connection) -> list[tuple]:
    # The id in the order makes every row's place its own: rows of equal place would be summed at once.
    return db.execute(
        """
        SELECT id, amount - LAG(amount) OVER by_time, SUM(amount) OVER by_time
        FROM payments
        WINDOW by_time AS (PARTITION BY user ORDER BY at, id)
        """
    ).fetchall()


def sessions_pandas(events: pd.DataFrame, gap: int) -> pd.DataFrame:
    ordered = events.sort_values(["user", "at"])
    # diff() would go through floats, in which nanoseconds since 1970 lose their last digits.
    before = ordered.groupby("user")["at"].shift(fill_value=0)
    # Whether a user's first event counts as new doesn't matter: its number is that of its session anyway.
    new = ordered["at"] - before > gap
    number = new.groupby(ordered["user"]).cumsum().rename("session")
    times = ordered.groupby(["user", number])["at"]
    table = times.agg(start="min", end="max", events="size").reset_index()
    return table[["user", "start", "end", "events"]]


def sessions_sql(db: sqlite3.Connection, gap: int) -> list[tuple]:
    return db.execute(
        """
        WITH spaced AS (
            SELECT user, at, at - LAG(at) OVER (PARTITION BY user ORDER BY at) AS pause FROM events
        ), numbered AS (
            SELECT user, at, SUM(COALESCE(pause > ?, 0)) OVER (PARTITION BY user ORDER BY at) AS session FROM spaced
        )
        SELECT user, MIN(at), MAX(at), COUNT(*) FROM numbered GROUP BY user, session
        """,
        (gap,),
    ).fetchall()


def as_of_pandas(trades: pd.DataFrame, quotes: pd.DataFrame) -> pd.DataFrame:
    joined = pd.merge_asof(trades.sort_values("at"), quotes.sort_values("at"), on="at", by="symbol")
    return joined[["id", "price"]]


def as_of_sql(db: sqlite3.Connection) -> list[tuple]:
    return db.execute(
        """
        SELECT id, (
            SELECT price FROM quotes
            WHERE quotes.symbol = trades.symbol AND quotes.at <= trades.at
            ORDER BY quotes.at DESC LIMIT 1
        )
        FROM trades
        """
    ).fetchall()

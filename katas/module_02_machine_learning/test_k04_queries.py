"""Judges k04_queries against loops over the rows, and thereby pandas' answers against SQL's."""

import random
import sqlite3

import pytest

from dojo.testing import assert_equal, fail, from_scratch, pure, raises
from katas.module_02_machine_learning.k04_queries import (
    as_of_pandas,
    as_of_sql,
    containing_pandas,
    containing_sql,
    mass_ranks_pandas,
    mass_ranks_sql,
    not_of_sex_pandas,
    not_of_sex_sql,
    running_totals_pandas,
    running_totals_sql,
    sessions_pandas,
    sessions_sql,
    species_with_pandas,
    species_with_sql,
    with_area_pandas,
    with_area_sql,
)

pytestmark = [from_scratch("pandas.read_sql", "pandas.read_sql_query", "pandas.read_sql_table"), pure()]

# A table is a dict: name of a column → its values, None where one is missing.
TYPES = {"area": "REAL", "mass": "NUMERIC", "price": "REAL", "amount": "REAL"} | dict.fromkeys(("id", "at"), "INTEGER")


class Cursor(sqlite3.Cursor):
    """Writes down the texts of its statements."""

    def execute(self, sql, *args):
        self.connection.statements.append(sql)
        return super().execute(sql, *args)

    def executemany(self, sql, *args):
        self.connection.statements.append(sql)
        return super().executemany(sql, *args)

    def executescript(self, sql):
        self.connection.statements.append(sql)
        return super().executescript(sql)


class Connection(sqlite3.Connection):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.statements = []

    def cursor(self, factory=Cursor):
        return super().cursor(factory)

    # Those of the connection itself make cursors of sqlite3's own, which write nothing down.
    def execute(self, sql, *args):
        return self.cursor().execute(sql, *args)

    def executemany(self, sql, *args):
        return self.cursor().executemany(sql, *args)

    def executescript(self, sql):
        return self.cursor().executescript(sql)


def database(tables):
    db = sqlite3.connect(":memory:", factory=Connection)
    for name, columns in tables.items():
        typed = ", ".join(f"{column} {TYPES.get(column, 'TEXT')}" for column in columns)
        db.execute(f"CREATE TABLE {name} ({typed})")
        marks = ", ".join("?" * len(columns))
        db.executemany(f"INSERT INTO {name} VALUES ({marks})", zip(*columns.values(), strict=True))
    db.commit()
    db.statements.clear()
    return db


def plain(value):
    """A value as both ways are compared: None if missing, and a whole number as an int."""
    import pandas as pd

    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return None
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        return int(value) if value.is_integer() else float(f"{value:.9g}")
    return value


def in_any_order(rows):
    return sorted(([plain(value) for value in row] for row in rows), key=repr)


def by_pandas(function, columns, tables, *values):
    """The answer of a pandas function, as sorted rows."""
    import pandas as pd

    frames = [pd.DataFrame(table) for table in tables.values()]
    for frame in frames:
        frame.index = range(100 + 10 * len(frame), 100, -10)  # no index to rely on
    before = [frame.copy() for frame in frames]
    answer = function(*frames, *values)
    for frame, old in zip(frames, before, strict=True):
        if not frame.equals(old) or list(frame.columns) != list(old.columns):
            fail("the data frame that came in was changed", evidence=list(frame.columns))
    if not isinstance(answer, pd.DataFrame):
        fail(f"the answer is a {type(answer).__name__}, expected a data frame", evidence=type(answer).__name__)
    assert_equal(list(answer.columns), columns.split())
    return in_any_order(answer.itertuples(index=False, name=None))


def by_sql(function, tables, *values):
    """The answer of a SQL function, as sorted rows."""
    db = database(tables)
    before = list(db.iterdump())
    db.statements.clear()
    answer = function(db, *values)
    if list(db.iterdump()) != before:
        fail("the database was changed", evidence=list(db.iterdump()))
    if not isinstance(answer, list) or not all(type(row) is tuple for row in answer):
        fail(f"the answer is {str(answer)[:80]}, expected a list of tuples", evidence=str(answer)[:80])
    return in_any_order(answer)


def same_text(function, tables, *values):
    """Whether the statements are the same for all values of the parameter: then none was pasted into them."""
    texts = []
    for value in values:
        db = database(tables)
        function(db, value)
        texts.append(list(db.statements))
    if any(text != texts[0] for text in texts):
        different = next(text for text in texts if text != texts[0])
        fail(
            f"the SQL depends on the value: {' '.join(' '.join(different).split())!r}; bind it with ?",
            evidence=different,
        )


# --- tables ---------------------------------------------------------------------------------------------

NASTY = "x' OR '1'='1"
DROP = "'; DROP TABLE reviews; --"


def colony(seed, n=40):
    """A table of penguins with gaps everywhere, whose ids are no row numbers."""
    r = random.Random(seed)
    return {
        "id": r.sample(range(1000), n),
        "species": [r.choice(["Adelie", "Gentoo", "Chinstrap", None]) for _ in range(n)],
        "island": [r.choice(["Dream", "Biscoe", "Torgersen", None]) for _ in range(n)],
        "sex": [r.choice(["male", "female", None, NASTY]) for _ in range(n)],
        "mass": [r.choice([3000.0, 3250.5, 3500.0, 4000.0, None]) for _ in range(n)],
    }


def real(penguins):
    """The 344 penguins, with ids of our own."""
    names = {"species": "species", "island": "island", "sex": "sex", "mass": "body_mass_g"}
    return {"id": [7 * i + 3 for i in range(344)]} | {name: penguins[column] for name, column in names.items()}


ISLANDS = {"island": ["Biscoe", None, "Nowhere", "Dream", None], "area": [4828.25, 99.0, 7.0, None, 98.0]}
TEXTS = {
    "id": [4, 9, 2, 7, 30, 12, 15, 18, 21],
    "text": [
        "5% off",
        "50 off",
        None,
        "a.c and _",
        "abc AND x' OR '1'='1",
        "",
        "it's '; DROP TABLE reviews; -- yes",
        "A.C",
        "a[b]c * ^",
    ],
}


def ledger(seed, n=30):
    """Payments of three users, several at the same time; neither ids nor rows stand in the order of time."""
    r = random.Random(seed)
    return {
        "id": r.sample(range(500), n),
        "user": [r.choice(["ann", "bob", "cy"]) for _ in range(n)],
        "at": [r.randrange(12) for _ in range(n)],
        "amount": [r.choice([-2.5, 1.0, 4.0, 4.0, 4321.25]) for _ in range(n)],
    }


def clicks(seed, n=40):
    r = random.Random(seed)
    return {
        "user": [r.choice(["ann", "bob", "cy", "di"]) for _ in range(n)],
        "at": [12 * r.randrange(25) for _ in range(n)],
    }


def market(seed, n=25):
    r = random.Random(seed)
    places = r.sample([(s, t) for s in "XYZ" for t in range(0, 60, 3)], n)
    return {
        "trades": {
            "id": r.sample(range(500), n),
            "symbol": [r.choice("XYZW") for _ in range(n)],
            "at": [r.randrange(60) for _ in range(n)],
        },
        "quotes": {
            "symbol": [s for s, _ in places],
            "at": [t for _, t in places],
            "price": [r.randrange(40_000) / 4 for _ in range(n)],
        },
    }


# --- answers by loops -----------------------------------------------------------------------------------


def rows(table):
    return [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]


def others(penguins, sex):
    return in_any_order([(p["id"],) for p in rows(penguins) if p["sex"] != sex])


def finds(reviews, text):
    return in_any_order([(r["id"],) for r in rows(reviews) if r["text"] is not None and text in r["text"]])


def areas(penguins, islands):
    known = {i["island"]: i["area"] for i in rows(islands) if i["island"] is not None}
    return in_any_order([(p["id"], p["island"], known.get(p["island"])) for p in rows(penguins)])


def groups(penguins, least):
    found = {}
    for p in rows(penguins):
        found.setdefault(p["species"], []).append(p["mass"])
    answer = []
    for species, masses in found.items():
        weighed = [m for m in masses if m is not None]
        if len(masses) >= least:
            answer.append((species, len(masses), sum(weighed) / len(weighed) if weighed else None))
    return in_any_order(answer)


def ranks(penguins):
    weighed = [p for p in rows(penguins) if p["mass"] is not None]
    return in_any_order(
        [(p["id"], 1 + sum(q["species"] == p["species"] and q["mass"] > p["mass"] for q in weighed)) for p in weighed]
    )


def totals(payments):
    answer, last, sums = [], {}, {}
    for p in sorted(rows(payments), key=lambda p: (p["at"], p["id"])):
        user, amount = p["user"], p["amount"]
        sums[user] = sums.get(user, 0) + amount
        answer.append((p["id"], amount - last[user] if user in last else None, sums[user]))
        last[user] = amount
    return in_any_order(answer)


def visits(events, gap):
    answer = []
    for user in sorted(set(events["user"])):
        times = sorted(e["at"] for e in rows(events) if e["user"] == user)
        start, count = times[0], 0
        for i, time in enumerate(times):
            count += 1
            if i + 1 == len(times) or times[i + 1] - time > gap:
                answer.append((user, start, time, count))
                start, count = (times[i + 1] if i + 1 < len(times) else None), 0
    return in_any_order(answer)


def prices(trades, quotes):
    answer = []
    for t in rows(trades):
        seen = [(q["at"], q["price"]) for q in rows(quotes) if q["symbol"] == t["symbol"] and q["at"] <= t["at"]]
        answer.append((t["id"], max(seen)[1] if seen else None))
    return in_any_order(answer)


SEEDS = [1, 2, 3]
SEXES = ["male", "female", NASTY, "none", ""]
SEARCHES = [
    "off",
    "5%",
    "%",
    "_",
    "a.c",
    "AND",
    "and",
    "",
    ".",
    "x' OR",
    NASTY,
    DROP,
    "(",
    "ab",
    "[",
    "[b]",
    "*",
    "?",
    "^",
]


class TestNotOfSexPandas:
    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize("sex", SEXES)
    def test_keeps_the_unknown(self, seed, sex):
        table = colony(seed)
        assert_equal(by_pandas(not_of_sex_pandas, "id", {"penguins": table}, sex), others(table, sex))

    @pytest.mark.parametrize("sex", ["male", "female"])
    def test_on_the_penguins(self, penguins, sex):
        table = real(penguins)
        assert_equal(by_pandas(not_of_sex_pandas, "id", {"penguins": table}, sex), others(table, sex))


class TestNotOfSexSql:
    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize("sex", SEXES)
    def test_keeps_the_unknown(self, seed, sex):
        table = colony(seed)
        assert_equal(by_sql(not_of_sex_sql, {"penguins": table}, sex), others(table, sex))

    @pytest.mark.parametrize("sex", ["male", "female"])
    def test_on_the_penguins(self, penguins, sex):
        table = real(penguins)
        assert_equal(by_sql(not_of_sex_sql, {"penguins": table}, sex), others(table, sex))

    def test_the_sex_is_bound(self):
        same_text(not_of_sex_sql, {"penguins": colony(1)}, "male", "female", NASTY)


class TestContainingPandas:
    @pytest.mark.parametrize("text", SEARCHES)
    def test_takes_every_sign_for_itself(self, text):
        assert_equal(by_pandas(containing_pandas, "id", {"reviews": TEXTS}, text), finds(TEXTS, text))

    @pytest.mark.parametrize("text", ["wonder", "The ", "100%", "..."])
    def test_on_film_reviews(self, reviews, text):
        table = {"id": list(range(5, 6405, 5)), "text": reviews[0][::10][:1280]}
        assert_equal(by_pandas(containing_pandas, "id", {"reviews": table}, text), finds(table, text))

    @pytest.mark.parametrize("text", ["a", ""])
    @pytest.mark.parametrize("missing", [None, float("nan")])
    def test_all_texts_may_be_missing(self, text, missing):
        assert_equal(by_pandas(containing_pandas, "id", {"reviews": {"id": [4, 9], "text": [missing] * 2}}, text), [])


class TestContainingSql:
    @pytest.mark.parametrize("text", SEARCHES)
    def test_takes_every_sign_for_itself(self, text):
        assert_equal(by_sql(containing_sql, {"reviews": TEXTS}, text), finds(TEXTS, text))

    @pytest.mark.parametrize("text", ["wonder", "The ", "100%", "..."])
    def test_on_film_reviews(self, reviews, text):
        table = {"id": list(range(5, 6405, 5)), "text": reviews[0][::10][:1280]}
        assert_equal(by_sql(containing_sql, {"reviews": table}, text), finds(table, text))

    def test_the_text_is_bound(self):
        same_text(containing_sql, {"reviews": TEXTS}, "off", "5%", NASTY, DROP)


class TestWithAreaPandas:
    COLUMNS = "id island area"

    @pytest.mark.parametrize("seed", SEEDS)
    def test_keeps_each_penguin_once(self, seed):
        table = colony(seed)
        got = by_pandas(with_area_pandas, self.COLUMNS, {"penguins": table, "islands": ISLANDS})
        assert_equal(got, areas(table, ISLANDS))

    def test_on_the_penguins(self, penguins):
        table, islands = real(penguins), {"island": ["Torgersen", "Biscoe"], "area": [0.25, 20.0]}
        got = by_pandas(with_area_pandas, self.COLUMNS, {"penguins": table, "islands": islands})
        assert_equal(got, areas(table, islands))

    @pytest.mark.parametrize(("twice", "area"), [("Dream", 1.0), ("Nowhere", 1.0), ("Biscoe", 4828.25), ("Dream", None)])
    def test_an_island_twice_is_an_error(self, twice, area):
        islands = {"island": [*ISLANDS["island"], twice], "area": [*ISLANDS["area"], area]}
        with raises(ValueError, twice):
            by_pandas(with_area_pandas, self.COLUMNS, {"penguins": colony(1), "islands": islands})


class TestWithAreaSql:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_keeps_each_penguin_once(self, seed):
        table = colony(seed)
        assert_equal(by_sql(with_area_sql, {"penguins": table, "islands": ISLANDS}), areas(table, ISLANDS))

    def test_on_the_penguins(self, penguins):
        table, islands = real(penguins), {"island": ["Torgersen", "Biscoe"], "area": [0.25, 20.0]}
        assert_equal(by_sql(with_area_sql, {"penguins": table, "islands": islands}), areas(table, islands))

    @pytest.mark.parametrize(("twice", "area"), [("Dream", 1.0), ("Nowhere", 1.0), ("Biscoe", 4828.25), ("Dream", None)])
    def test_an_island_twice_is_an_error(self, twice, area):
        islands = {"island": [*ISLANDS["island"], twice], "area": [*ISLANDS["area"], area]}
        with raises(ValueError, twice):
            by_sql(with_area_sql, {"penguins": colony(1), "islands": islands})


def unweighed(table):
    """The same with no known mass among the Gentoos."""
    return table | {
        "mass": [None if s == "Gentoo" else m for s, m in zip(table["species"], table["mass"], strict=True)]
    }


class TestSpeciesWithPandas:
    COLUMNS = "species penguins mean_mass"

    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize("least", [0, 9, 10, 11, 99])
    def test_counts_the_weighed_and_the_others(self, seed, least):
        table = unweighed(colony(seed))
        assert_equal(by_pandas(species_with_pandas, self.COLUMNS, {"penguins": table}, least), groups(table, least))

    @pytest.mark.parametrize("least", [68, 69, 152])
    def test_on_the_penguins(self, penguins, least):
        table = real(penguins)
        assert_equal(by_pandas(species_with_pandas, self.COLUMNS, {"penguins": table}, least), groups(table, least))


class TestSpeciesWithSql:
    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize("least", [0, 9, 10, 11, 99])
    def test_counts_the_weighed_and_the_others(self, seed, least):
        table = unweighed(colony(seed))
        assert_equal(by_sql(species_with_sql, {"penguins": table}, least), groups(table, least))

    @pytest.mark.parametrize("least", [68, 69, 152])
    def test_on_the_penguins(self, penguins, least):
        table = real(penguins)
        assert_equal(by_sql(species_with_sql, {"penguins": table}, least), groups(table, least))

    def test_the_number_is_bound(self):
        same_text(species_with_sql, {"penguins": colony(1)}, 3, 11)


HERD = {
    "id": [8, 5, 6, 1],
    "species": ["A"] * 4,
    "island": [None] * 4,
    "sex": [None] * 4,
    "mass": [40.0, 50.0, 50.0, 30.0],
}
RANKED = [[1, 4], [5, 1], [6, 1], [8, 3]]


class TestMassRanksPandas:
    def test_the_example_worked_by_hand(self):
        assert_equal(by_pandas(mass_ranks_pandas, "id rank", {"penguins": HERD}), RANKED)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_ranks_within_each_species(self, seed):
        table = colony(seed)
        assert_equal(by_pandas(mass_ranks_pandas, "id rank", {"penguins": table}), ranks(table))

    def test_on_the_penguins(self, penguins):
        table = real(penguins)
        assert_equal(by_pandas(mass_ranks_pandas, "id rank", {"penguins": table}), ranks(table))


class TestMassRanksSql:
    def test_the_example_worked_by_hand(self):
        assert_equal(by_sql(mass_ranks_sql, {"penguins": HERD}), RANKED)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_ranks_within_each_species(self, seed):
        table = colony(seed)
        assert_equal(by_sql(mass_ranks_sql, {"penguins": table}), ranks(table))

    def test_on_the_penguins(self, penguins):
        table = real(penguins)
        assert_equal(by_sql(mass_ranks_sql, {"penguins": table}), ranks(table))


PAID = {"id": [4, 2, 9], "user": ["ann"] * 3, "at": [30, 20, 10], "amount": [6.0, 8.0, 5.0]}
TOTALLED = in_any_order([(9, None, 5), (2, 3, 13), (4, -2, 19)])


class TestRunningTotalsPandas:
    COLUMNS = "id change total"

    def test_the_example_worked_by_hand(self):
        assert_equal(by_pandas(running_totals_pandas, self.COLUMNS, {"payments": PAID}), TOTALLED)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_goes_by_user_time_and_id(self, seed):
        table = ledger(seed)
        assert_equal(by_pandas(running_totals_pandas, self.COLUMNS, {"payments": table}), totals(table))


class TestRunningTotalsSql:
    def test_the_example_worked_by_hand(self):
        assert_equal(by_sql(running_totals_sql, {"payments": PAID}), TOTALLED)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_goes_by_user_time_and_id(self, seed):
        table = ledger(seed)
        assert_equal(by_sql(running_totals_sql, {"payments": table}), totals(table))


CLICKED = {"user": ["ann"] * 5, "at": [90, 0, 95, 50, 20]}
NOW = 1_700_000_000_000_000_001
VISITED = in_any_order([("ann", 0, 50, 3), ("ann", 90, 95, 2)])


class TestSessionsPandas:
    COLUMNS = "user start end events"

    def test_the_example_worked_by_hand(self):
        assert_equal(by_pandas(sessions_pandas, self.COLUMNS, {"events": CLICKED}, 30), VISITED)

    @pytest.mark.parametrize(("gap", "count"), [(29, 3), (30, 2), (39, 2), (40, 1)])
    def test_exactly_the_gap_is_the_same_session(self, gap, count):
        assert_equal(len(by_pandas(sessions_pandas, self.COLUMNS, {"events": CLICKED}, gap)), count)

    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize("gap", [0, 12, 35])
    def test_cuts_each_users_events(self, seed, gap):
        table = clicks(seed)
        assert_equal(by_pandas(sessions_pandas, self.COLUMNS, {"events": table}, gap), visits(table, gap))

    @pytest.mark.parametrize("gap", [30, 29])
    def test_nanoseconds_keep_their_last_digit(self, gap):
        table = {"user": ["ann", "bob", "ann", "ann"], "at": [NOW, NOW + 5, NOW + 61, NOW + 30]}
        assert_equal(by_pandas(sessions_pandas, self.COLUMNS, {"events": table}, gap), visits(table, gap))


class TestSessionsSql:
    def test_the_example_worked_by_hand(self):
        assert_equal(by_sql(sessions_sql, {"events": CLICKED}, 30), VISITED)

    @pytest.mark.parametrize(("gap", "count"), [(29, 3), (30, 2), (39, 2), (40, 1)])
    def test_exactly_the_gap_is_the_same_session(self, gap, count):
        assert_equal(len(by_sql(sessions_sql, {"events": CLICKED}, gap)), count)

    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize("gap", [0, 12, 35])
    def test_cuts_each_users_events(self, seed, gap):
        table = clicks(seed)
        assert_equal(by_sql(sessions_sql, {"events": table}, gap), visits(table, gap))

    @pytest.mark.parametrize("gap", [30, 29])
    def test_nanoseconds_keep_their_last_digit(self, gap):
        table = {"user": ["ann", "bob", "ann", "ann"], "at": [NOW, NOW + 5, NOW + 61, NOW + 30]}
        assert_equal(by_sql(sessions_sql, {"events": table}, gap), visits(table, gap))

    def test_the_gap_is_bound(self):
        same_text(sessions_sql, {"events": CLICKED}, 10, 30)


BOUGHT = {
    "trades": {"id": [3, 1, 2], "symbol": ["X"] * 3, "at": [29, 5, 10]},
    "quotes": {"symbol": ["X", "X", "Y"], "at": [30, 10, 4], "price": [7.5, 2.5, 99.0]},
}
PRICED = in_any_order([(1, None), (2, 2.5), (3, 2.5)])


class TestAsOfPandas:
    def test_the_example_of_the_drawing(self):
        assert_equal(by_pandas(as_of_pandas, "id price", BOUGHT), PRICED)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_looks_back_alone(self, seed):
        tables = market(seed)
        assert_equal(by_pandas(as_of_pandas, "id price", tables), prices(**tables))


class TestAsOfSql:
    def test_the_example_of_the_drawing(self):
        assert_equal(by_sql(as_of_sql, BOUGHT), PRICED)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_looks_back_alone(self, seed):
        tables = market(seed)
        assert_equal(by_sql(as_of_sql, tables), prices(**tables))

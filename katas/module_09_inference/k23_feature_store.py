"""A feature store: what was known, and when

**Before you start.**  You need dicts and a little SQL: SELECT, LEFT JOIN, GROUP BY.  No other kata.
New to SQL?  The first chapters of SQLite's or PostgreSQL's tutorial are enough.

**The idea.**  A model decides whether to trust a driver with a long trip.  Its features are numbers
about the driver, such as the trips of the last week.  In training you need these numbers *as they
were* on many days of the past.  In the service you need them *now*, within a millisecond.  Two
programs compute them, and soon they differ.  The model was trained on one thing and is fed another.
A feature store computes each feature once, and gives it to both.

- The *offline store* keeps every row that ever came, for training.
- The *online store* keeps the newest row of each driver, for the service.
- To *materialize* is to copy the newest rows from the one to the other.

The names here are those of Feast, a feature store that many use.  An *entity* is what features are
about.  A *feature view* is a group of features that come in the same rows.

**The formulas.**  Each row says when it is true, `event_timestamp`, and when it reached us,
`created_timestamp`.  At a time t, a row is *known* if

    event_timestamp ≤ t   and   created_timestamp ≤ t

The newest of these rows gives the features: the one with the largest event_timestamp, and of
several the one with the largest created_timestamp.  If t - event_timestamp > ttl, it is too old,
and the features are None.  The *freshness* of the online store is the time since its newest event.

**A drawing** of one driver's rows, and of three questions:

    event            10        20             40
    trips             5         8              9
    reached us at    12        33             41
                      ●┄┄▶      ●┄┄┄┄┄┄┄┄▶     ●▶
    ──────────────────┼────┼────┼────┼────┼────┼─────▶ t
                     10   15   20   25   35   40
                           ▲         ▲    ▲
                           5         5    8

At 25 the answer isn't 8: nobody knew it then.

**Why is that so important?**  Say you look up the newest row of the same day, also if it came in
the evening.  Then the training data know the evening.  The model looks wonderful, and fails in the
service, where the evening isn't there yet.  This is *leakage*.  It is the most expensive mistake
in this field, because nothing crashes.  (Feast itself compares event timestamps alone.  You are
stricter: a row that comes late wasn't known.)

**Why a ttl?**  A number from last year is worse than none.  `ttl` is how old a row may be, its
*time to live*.  After that the feature is None, and the model can deal with it.

**Why may an old row come after a new one?**  Data travel on many ways.  A phone without a network
sends Monday's trips on Tuesday.  The online store must not put Monday's row over Tuesday's.

**Why LEFT JOIN, and the condition in ON?**  A driver without any trip has 0 trips, and not no row.
A plain JOIN drops the driver.  So does a condition in WHERE: where nothing was joined, the event's
columns are NULL, and no comparison with NULL is true.

**Worked by hand**, the driver of the drawing, with ttl 25:

    t    10      12   15   25   33   40            41   66      67
    trips None   5    5    5    8    8             9    None    None
    At 10 the row hasn't reached us.  At 36 the row of event 10 would be too old; but 20 is known.
    At 66 the newest event is 26 s old: too old.  At 65 it would still be 9.

    window_features with a window of 10: events of ann at 3 (2.5), 8 (1.0), 20 (4.0)
        label (1, ann, 12): events in (2, 12] are 3 and 8: count 2, total 3.5, last 4.0
        label (2, ann, 13): events in (3, 13] are 8 alone: count 1, total 1.0, last 5.0
        label (3, ann, 19): none in (9, 19]:               count 0, total 0.0, last 11.0
        label (4, bob, 19): no event at all:               count 0, total 0.0, last None

**Shapes**: no arrays.  Times are seconds, as floats or ints.  Keys are ints or texts, and 1 isn't
"1".  Values are what JSON can hold: None, numbers, texts, booleans, and lists and dicts of them.
Names of views and features have no colon.  No function changes its arguments.

**Steps.**  A good place to pause is before SqliteOnlineStore.

    point_in_time_join  18 min   three conditions and two keys
    window_features     15 min   one SELECT
    SqliteOnlineStore   14 min   the newer one wins
    RedisOnlineStore    12 min   the same, in keys and values
    FeatureStore        28 min   6 for each of four methods, 4 for freshness

Sources: Feast's documentation, "Feature view", "Point-in-time joins" and "Online store"; Kaufman,
Rosset, Perlich and Stitelman 2012, "Leakage in Data Mining"; Kleppmann 2017, "Designing
Data-Intensive Applications", chapter 11.

From scratch: feast and pandas may not be used.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Entity:
    """What features are about.  `join_key` is the column that tells one from the other.  This is given."""

    name: str
    join_key: str


@dataclass(frozen=True)
class FeatureView:
    """Features that come in the same rows.  `ttl` is in seconds; None: rows never get too old.  This is given.

    A row of it is a dict with the entity's join key, "event_timestamp", "created_timestamp", and the features.  A
    feature that isn't in a row is None there.
    """

    name: str
    entity: Entity
    features: tuple[str, ...]
    ttl: float | None = None


def point_in_time_join(view: FeatureView, rows: Sequence[Row], entity_rows: Sequence[Row]) -> list[Row]:
    """For each entity row a new dict: all that is in it, and the view's features as they were known at its time.

    - An entity row has the join key and "event_timestamp", and perhaps more, such as a label.
    - The formula says which row counts.  Its limits count as well: a row of just this moment, one that has just
      reached us, and one that is just ttl old.
    - Of rows with equal event and created timestamps, the last one in `rows` counts.  Otherwise `rows` is in any order.
    - All features are None where no row is known, and where the newest known one is too old, whatever older ones say.
    - The order is that of the entity rows.  Features come under their own names.
    """
    raise NotImplementedError


def window_features(connection: sqlite3.Connection, window: float) -> list[tuple[int, int, float, float | None]]:
    """For each label (id, count, total, last), by id from the smallest, computed by one SELECT.

    The database has two tables, which aren't changed:

        labels  id INTEGER, user TEXT, at REAL         ids differ
        events  user TEXT, at REAL, amount REAL        nothing is NULL

    - count and total are of the user's events with at - window < event's at ≤ at: how many, and the sum of
      their amounts, 0 and 0.0 where there are none.  Events may be equal; each counts.
    - last is how many seconds before `at` the user's latest event was, however long ago, of those up to `at`.  None if
      there is none.
    """
    raise NotImplementedError


class SqliteOnlineStore:
    """The newest row of each key, in a file of SQLite."""

    def __init__(self, path: str) -> None:
        """Open the file at `path`, or make it.  Another object on the same path sees what this one has written."""
        raise NotImplementedError

    def write(self, view: str, key: int | str, event: float, created: float, values: Row) -> None:
        """Keep the values of a row with these two timestamps, unless a newer one of this view and key is there.

        Newer is one with a larger event timestamp, or the same one and a larger created timestamp.  Where both are
        equal, the values are replaced.
        """
        raise NotImplementedError

    def read(self, view: str, key: int | str) -> tuple[float, Row] | None:
        """The event timestamp and the values of that key, or None if it has never been written."""
        raise NotImplementedError

    def newest(self, view: str) -> float | None:
        """The largest event timestamp of the view, or None if nothing has been written."""
        raise NotImplementedError


class RedisOnlineStore:
    """The same in Redis."""

    def __init__(self, client: Any) -> None:
        """`client` is a redis.Redis; it gives texts or bytes, by its option decode_responses.

        Whatever else lies in that Redis stays as it is: all your keys begin with "features:".
        """
        raise NotImplementedError

    def write(self, view: str, key: int | str, event: float, created: float, values: Row) -> None:
        """As SqliteOnlineStore.write.  Only one process writes at a time."""
        raise NotImplementedError

    def read(self, view: str, key: int | str) -> tuple[float, Row] | None:
        """As SqliteOnlineStore.read."""
        raise NotImplementedError

    def newest(self, view: str) -> float | None:
        """As SqliteOnlineStore.newest.  It doesn't look at every key."""
        raise NotImplementedError


class FeatureStore:
    """Feature views, their rows, and an online store.

    Features are asked for as "view:feature", and answered under the name "view__feature", so that two views may have
    a feature of the same name.  Raises KeyError, naming what was asked for, where there is no such view or feature.
    """

    def __init__(self, online: Any) -> None:
        """No view yet, and no rows.

        online  one of the two stores above, or any object with their three methods; it may have been written to before
        """
        raise NotImplementedError

    def apply(self, *views: FeatureView) -> None:
        """Make views known.  The very same view may be applied again.

        Raises ValueError, naming the view, if another one has its name already.  Then none of `views` is known by this.
        """
        raise NotImplementedError

    def ingest(self, view: str, rows: Iterable[Row]) -> None:
        """Take rows into the offline store, behind those that are there: copies, so that later changes don't matter,
        within a list neither.

        Raises KeyError, naming the view, if it isn't known.  Raises ValueError, naming the column, if a row lacks the
        join key or one of the two timestamps.  Then none of the rows is taken in.
        """
        raise NotImplementedError

    def get_historical_features(self, entity_rows: Sequence[Row], features: Sequence[str]) -> list[Row]:
        """For each entity row a new dict: all that is in it, and the features as they were known at its time.

        An entity row has "event_timestamp" and the join key of every view that is asked.  All else as
        in point_in_time_join.
        """
        raise NotImplementedError

    def materialize(self, until: float) -> None:
        """Write the newest row of every view and key that was known at `until` to the online store.

        Known are rows with event_timestamp ≤ until and created_timestamp ≤ until.  How old they are plays no role: who
        reads looks at the ttl.
        """
        raise NotImplementedError

    def get_online_features(self, entity_rows: Sequence[Row], features: Sequence[str], now: float) -> list[Row]:
        """For each entity row a new dict: all that is in it, and the features from the online store.

        - Entity rows have the join keys; they need no timestamp.
        - A feature is None if its row is older than its view's ttl at the time `now`, or not there.
        - The offline store isn't asked.

        So right after materialize(t) the answer at t is that of get_historical_features with event_timestamp t.
        """
        raise NotImplementedError

    def freshness(self, view: str, now: float) -> float:
        """Seconds from the view's newest event in the online store to `now`; infinity if there is none."""
        raise NotImplementedError

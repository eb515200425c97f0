"""A feature store: the reference."""

import copy
import json
import math
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


def _age(row: Row) -> tuple[float, float]:
    return row["event_timestamp"], row["created_timestamp"]


def _too_old(view: FeatureView, event: float, at: float) -> bool:
    return view.ttl is not None and at - event > view.ttl


def _newest_known(rows: Iterable[Row], at: float) -> Row | None:
    """Of rows in the order of `_age`, the last one that was known at `at`."""
    known = [row for row in rows if row["event_timestamp"] <= at and row["created_timestamp"] <= at]
    return known[-1] if known else None


def _by_key(view: FeatureView, rows: Iterable[Row]) -> dict[int | str, list[Row]]:
    """The rows of each key, the newest last; of equally new ones the last stays the last, as sorted is stable."""
    found: dict[int | str, list[Row]] = {}
    for row in sorted(rows, key=_age):
        found.setdefault(row[view.entity.join_key], []).append(row)
    return found


def point_in_time_join(view: FeatureView, rows: Sequence[Row], entity_rows: Sequence[Row]) -> list[Row]:
    by_key = _by_key(view, rows)
    joined = []
    for asked in entity_rows:
        at = asked["event_timestamp"]
        row = _newest_known(by_key.get(asked[view.entity.join_key], []), at)
        if row is None or _too_old(view, row["event_timestamp"], at):
            row = {}
        joined.append(asked | {feature: row.get(feature) for feature in view.features})
    return joined


def window_features(connection: sqlite3.Connection, window: float) -> list[tuple[int, int, float, float | None]]:
    # One join up to `at`; what lies in the window is picked by CASE, so that `last` may look further back.
    query = """
        SELECT labels.id,
               COUNT(CASE WHEN events.at > labels.at - :window THEN 1 END),
               TOTAL(CASE WHEN events.at > labels.at - :window THEN events.amount END),
               labels.at - MAX(events.at)
        FROM labels LEFT JOIN events ON events.user = labels.user AND events.at <= labels.at
        GROUP BY labels.id
        ORDER BY labels.id
    """
    return connection.execute(query, {"window": window}).fetchall()


class SqliteOnlineStore:
    def __init__(self, path: str) -> None:
        # Without a transaction that stays open: others see each write at once.
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS online"
            " (view TEXT, key TEXT, event REAL, created REAL, vals TEXT, PRIMARY KEY (view, key))"
        )

    def write(self, view: str, key: int | str, event: float, created: float, values: Row) -> None:
        # Keys as JSON: 1 and "1" are two keys.
        self.connection.execute(
            "INSERT INTO online VALUES (?, ?, ?, ?, ?) ON CONFLICT (view, key) DO UPDATE SET"
            " event = excluded.event, created = excluded.created, vals = excluded.vals"
            " WHERE (excluded.event, excluded.created) >= (event, created)",
            (view, json.dumps(key), event, created, json.dumps(values)),
        )

    def read(self, view: str, key: int | str) -> tuple[float, Row] | None:
        query = "SELECT event, vals FROM online WHERE view = ? AND key = ?"
        found = self.connection.execute(query, (view, json.dumps(key))).fetchone()
        return None if found is None else (found[0], json.loads(found[1]))

    def newest(self, view: str) -> float | None:
        return self.connection.execute("SELECT MAX(event) FROM online WHERE view = ?", (view,)).fetchone()[0]


class RedisOnlineStore:
    def __init__(self, client: Any) -> None:
        self.client = client

    def write(self, view: str, key: int | str, event: float, created: float, values: Row) -> None:
        # A hash for each view: a name with a colon in it can't run into another view's.
        name, field = f"features:rows:{view}", json.dumps(key)
        old = self.client.hget(name, field)
        if old is not None and tuple(json.loads(old)[:2]) > (event, created):
            return
        self.client.hset(name, field, json.dumps([event, created, values]))
        newest = self.newest(view)
        if newest is None or event > newest:
            self.client.hset("features:newest", view, json.dumps(event))

    def read(self, view: str, key: int | str) -> tuple[float, Row] | None:
        found = self.client.hget(f"features:rows:{view}", json.dumps(key))
        if found is None:
            return None
        event, _, values = json.loads(found)
        return event, values

    def newest(self, view: str) -> float | None:
        found = self.client.hget("features:newest", view)
        return None if found is None else json.loads(found)


class FeatureStore:
    def __init__(self, online: Any) -> None:
        self.online = online
        self.views: dict[str, FeatureView] = {}
        self.rows: dict[str, list[Row]] = {}

    def apply(self, *views: FeatureView) -> None:
        known = dict(self.views)
        for view in views:
            if known.setdefault(view.name, view) != view:
                raise ValueError(f"there is another view of the name {view.name!r}")
        self.views = known

    def _view(self, name: str) -> FeatureView:
        if name not in self.views:
            raise KeyError(f"there is no feature view {name!r}")
        return self.views[name]

    def ingest(self, view: str, rows: Iterable[Row]) -> None:
        wanted = [self._view(view).entity.join_key, "event_timestamp", "created_timestamp"]
        new = copy.deepcopy(list(rows))
        for row in new:
            for column in wanted:
                if column not in row:
                    raise ValueError(f"a row of {view} has no column {column!r}")
        self.rows.setdefault(view, []).extend(new)

    def _asked(self, features: Sequence[str]) -> dict[str, list[str]]:
        """The features of each view that is asked."""
        found: dict[str, list[str]] = {}
        for asked in features:
            name, _, feature = asked.partition(":")
            if name not in self.views or feature not in self.views[name].features:
                raise KeyError(f"there is no feature {asked!r}")
            found.setdefault(name, []).append(feature)
        return found

    def get_historical_features(self, entity_rows: Sequence[Row], features: Sequence[str]) -> list[Row]:
        answer = [dict(row) for row in entity_rows]
        for name, wanted in self._asked(features).items():
            joined = point_in_time_join(self.views[name], self.rows.get(name, []), entity_rows)
            for row, found in zip(answer, joined, strict=True):
                row |= {f"{name}__{feature}": found[feature] for feature in wanted}
        return answer

    def materialize(self, until: float) -> None:
        for name, view in self.views.items():
            for key, rows in _by_key(view, self.rows.get(name, [])).items():
                row = _newest_known(rows, until)
                if row is not None:
                    values = {feature: row.get(feature) for feature in view.features}
                    self.online.write(name, key, row["event_timestamp"], row["created_timestamp"], values)

    def get_online_features(self, entity_rows: Sequence[Row], features: Sequence[str], now: float) -> list[Row]:
        answer = [dict(row) for row in entity_rows]
        for name, wanted in self._asked(features).items():
            view = self.views[name]
            for row in answer:
                found = self.online.read(name, row[view.entity.join_key])
                values = {} if found is None or _too_old(view, found[0], now) else found[1]
                row |= {f"{name}__{feature}": values.get(feature) for feature in wanted}
        return answer

    def freshness(self, view: str, now: float) -> float:
        newest = self.online.newest(self._view(view).name)
        return math.inf if newest is None else now - newest

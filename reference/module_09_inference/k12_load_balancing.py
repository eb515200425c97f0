"""Load balancing: the reference."""

import math
import random
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Collection, Iterator
from hashlib import sha256


class RoundRobin:
    def __init__(self, weights: dict[str, int]) -> None:
        self.weights = dict(weights)
        self.scores = dict.fromkeys(weights, 0)

    def pick(self, up: Collection[str]) -> str:
        servers = [server for server in self.weights if server in up]
        if not servers:
            raise LookupError("no server is up")
        for server in servers:
            self.scores[server] += self.weights[server]
        best = max(servers, key=self.scores.__getitem__)  # of equals max takes the first
        self.scores[best] -= sum(self.weights[server] for server in servers)
        return best


class LeastConnections:
    def __init__(self, servers: list[str]) -> None:
        self.open = dict.fromkeys(servers, 0)
        self.picked = dict.fromkeys(servers, 0)  # the number of the last pick
        self.picks = 0

    def pick(self, up: Collection[str]) -> str:
        servers = [server for server in self.open if server in up]
        if not servers:
            raise LookupError("no server is up")
        # By the connections alone an idle service would send everything to its first server.
        return self._begin(min(servers, key=lambda server: (self.open[server], self.picked[server])))

    def _begin(self, server: str) -> str:
        self.picks += 1
        self.picked[server] = self.picks
        self.open[server] += 1
        return server

    def done(self, server: str) -> None:
        if self.open[server] == 0:
            raise ValueError(f"{server} has no connection that could end")
        self.open[server] -= 1


class PowerOfTwo(LeastConnections):
    def __init__(self, servers: list[str], rng: random.Random) -> None:
        super().__init__(servers)
        self.rng = rng

    def pick(self, up: Collection[str]) -> str:
        servers = [server for server in self.open if server in up]
        if not servers:
            raise LookupError("no server is up")
        two = self.rng.sample(servers, min(2, len(servers)))
        return self._begin(min(two, key=self.open.__getitem__))


def position(text: str) -> int:
    # Not hash(text): that is another number in every process.
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big")


class HashRing:
    def __init__(self, servers: list[str], points: int = 100) -> None:
        self.points = points
        self.servers: set[str] = set()
        self.ring: list[tuple[int, str]] = []  # in order
        for server in servers:
            self.add(server)

    def _points(self, server: str) -> Iterator[tuple[int, str]]:
        return ((position(f"{server}#{i}"), server) for i in range(self.points))

    def add(self, server: str) -> None:
        if server in self.servers:
            raise ValueError(f"{server} is on the ring already")
        self.servers.add(server)
        for point in self._points(server):
            insort(self.ring, point)

    def remove(self, server: str) -> None:
        if server not in self.servers:
            raise ValueError(f"{server} isn't on the ring")
        self.servers.remove(server)
        self.ring = [point for point in self.ring if point[1] != server]

    def owners(self, key: str, count: int) -> list[str]:
        if count > len(self.servers):
            raise LookupError(f"{count} owners of {len(self.servers)} servers")
        start = bisect_left(self.ring, (position(key), ""))
        found: list[str] = []
        while len(found) < count:
            _, server = self.ring[start % len(self.ring)]
            if server not in found:
                found.append(server)
            start += 1
        return found

    def owner(self, key: str) -> str:
        return self.owners(key, 1)[0]


class HealthChecker:
    def __init__(self, servers: list[str], fall: int = 3, rise: int = 2, panic: float = 0.5) -> None:
        self.fall, self.rise, self.panic = fall, rise, panic
        self.healthy = dict.fromkeys(servers, True)
        self.against = dict.fromkeys(servers, 0)  # checks in a row that speak against what is believed

    def report(self, server: str, ok: bool) -> None:
        if ok == self.healthy[server]:
            self.against[server] = 0
            return
        self.against[server] += 1
        if self.against[server] == (self.rise if ok else self.fall):
            self.healthy[server], self.against[server] = ok, 0

    def up(self) -> list[str]:
        up = [server for server, healthy in self.healthy.items() if healthy]
        # So many don't fail at once: the check is broken, or the few that are left would fall next.
        return up if len(up) >= self.panic * len(self.healthy) else list(self.healthy)


class Autoscaler:
    def __init__(self, target: float, least: int, most: int, cooldown: float, tolerance: float = 0.1) -> None:
        if not 1 <= least <= most:
            raise ValueError(f"expected 1 ≤ least ≤ most, got {least} and {most}")
        self.target, self.least, self.most = target, least, most
        self.cooldown, self.tolerance = cooldown, tolerance
        self.wanted: deque[tuple[float, int]] = deque()

    def update(self, now: float, replicas: int, load: float) -> int:
        ratio = load / self.target
        wanted = replicas if abs(ratio - 1) <= self.tolerance else math.ceil(replicas * ratio)
        wanted = min(max(wanted, self.least), self.most)
        self.wanted.append((now, wanted))
        while self.wanted[0][0] < now - self.cooldown:
            self.wanted.popleft()
        # Up at once: users are waiting.  Down only to what was enough for the whole time.
        highest = max(number for _, number in self.wanted)
        return max(wanted, min(replicas, highest))


def fleet_cost(
    options: dict[str, tuple[float, float]], demand: float, utilization: float
) -> dict[str, tuple[int, float]]:
    found = {}
    for name, (price, rate) in options.items():
        replicas = math.ceil(demand / (rate * utilization))
        found[name] = replicas, replicas * price / (demand * 3600) * 1e6
    return found

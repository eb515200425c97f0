"""Load balancing: who answers, how many there are, and what it costs

**Before you start.**  You need dictionaries, binary search (the module bisect) and the ceiling of
a number; no other kata.  New to load balancing?  Read "Using nginx as HTTP load balancer" at
nginx.org.

**The idea.**  One machine isn't enough, so there are ten, and each request must go to one of
them.  Take the wrong one and a user waits while nine machines idle.  So the balancer asks: whose
turn is it, who is free, who has this user's data already, and who is down at all?  And once an
hour somebody asks: do we need ten?

**The formulas.**

    round robin    all scores ← score + weight;  the highest wins;  its score ← score - all weights
    ring           position(x)  =  the first 8 bytes of SHA-256(x), as a number
    autoscaler     wanted  =  ⌈replicas · load / target⌉
    cost           dollars a million tokens  =  replicas · price / (demand · 3600) · 10⁶

The autoscaler's *load* is that of one replica on average, in any unit; *target* is what it should
be.  A replica is one of the equal machines.  *Price* is dollars an hour for one, *demand* is
tokens a second.

**A drawing** of a hash ring, cut open at 0.  Each server stands at several points.  A key belongs
to the first point at or after its own position; after the last point comes the first one again:

    server     b  c     b            a a           c
            ├──┴──┴─────┴────────────┴─┴───────────┴────┤
    from 0    0a 13  ▲  38       ▲  9f a0    ▲     e8 ▲    to ff
    key              x: b      eve: a    user-1: c   dan: b

**Why not `hash(key) % n`?**  With 10 servers it works.  With 11, ten keys in eleven move to
another server, and all caches are cold.  For a language model that cache is the conversation so
far.  On a ring the new server takes a share of the keys, and all other keys stay.

**Why several points for each server?**  With one point, the shares are very unequal, and a server
that fails leaves all its keys to one neighbour.  With a hundred points the shares are nearly
equal, and the keys of a failed server go to all others.

**Why two choices?**  To ask all servers how busy they are takes time, and many balancers that ask
at once all find the same free one.  One random server is too often a busy one.  Of two random
ones take the one that is less busy.  For n requests on n servers, the fullest then has about log
log n of them, not log n / log log n.

**Why round robin at all?**  It needs to know nothing.  The weights are for machines of different
size.  The scores spread the turns: a a b a c a a, and not a a a a a b c.

**Why does the autoscaler go down slowly?**  A machine takes minutes to load its weights.  If a
quiet minute took it away, the next busy one would miss it.  So it goes down only to the most that
was wanted within the cooldown.  It goes up at once: users are waiting.

**Why panic?**  Suppose that 8 of 10 servers seem to be down.  If it is true, the other 2 drown in
the requests of all.  And most likely it isn't true, but the check itself is broken.  So below a
certain share the checker trusts nobody, and all servers are used again.

**Worked by hand**

    round robin, weights a 5, b 1, c 1; the scores after adding, and who wins:
        5 1 1 a    3 2 2 a    1 3 3 b    6 -3 4 a    4 -2 5 c    9 -1 -1 a    7 0 0 a
    least connections of a, b, c:  picks a, b, c, a;  c is done;  picks c, then b
    positions, first byte:  b#0 is 0a, c#0 13, b#1 38, a#1 9f, a#0 a0, c#1 e8;
        x is 2d, eve 85, user-1 c6, dan ec: see the drawing;  the owners of eve are a, c, b
    health, fall 3, rise 2:  ✗ ✗ ✓ ✗ ✗ ✗ down  ✓ ✗ ✓ ✓ up
    autoscaler, target 10, least 1, most 8, cooldown 60, tolerance 0.1:
        now       0    20    40    60    80    101
        replicas  2    5     5     5     5     5
        load      25   4     10.5  2     2     2
        wanted    5    2     5     1     1     1
        result    5    5     5     5     5     1
    cost of 1000 tokens a second (3.6 million an hour) at a utilization of 0.5:
        large   4 dollars, 2500 tokens a second    1 replica     4 / 3.6, that is 1.11
        small   0.45 dollars, 250                  8 replicas    3.6 / 3.6, that is 1

**Shapes**: no arrays.  Servers and keys are texts, all servers different.  `up` is a list or set
of the servers that may be picked now; it names only servers that the balancer knows.  Its order
plays no role.  No function changes its arguments.

**Steps.**  A good place to pause is before position.

    RoundRobin         9 min   servers that come and go
    LeastConnections  10 min   an idle service has only ties
    PowerOfTwo         6 min   two different ones
    position           3 min   the same in every process
    HashRing          18 min   the first point after the last
    HealthChecker      9 min   in a row
    Autoscaler        13 min   what was wanted lately
    fleet_cost         6 min   whole machines

Sources: nginx, "smooth weighted round-robin balancing" (2012); Karger et al. 1997, "Consistent
Hashing and Random Trees"; Mitzenmacher 2001, "The Power of Two Choices in Randomized Load
Balancing"; the documentation of HAProxy (fall, rise), Envoy (panic threshold) and Kubernetes
("Horizontal Pod Autoscaling").

From scratch: uhashring and hash_ring may not be used; hashlib and bisect may.
"""

import random
from collections.abc import Collection


class RoundRobin:
    """Everyone in turn, those with a higher weight more often."""

    def __init__(self, weights: dict[str, int]) -> None:
        """`weights` are 1 or more, by server.  All scores are 0 at first."""
        raise NotImplementedError

    def pick(self, up: Collection[str]) -> str:
        """The next server, by the formula, among those in `up` alone.

        - Of equal scores, the server wins that stands first in `weights`.
        - A server that isn't in `up` keeps its score, and its weight counts nowhere.

        Raises LookupError if `up` is empty.
        """
        raise NotImplementedError


class LeastConnections:
    """The server with the fewest open connections.

    The attribute `open` is a dict of their numbers by server, 0 at first.
    """

    def __init__(self, servers: list[str]) -> None:
        raise NotImplementedError

    def pick(self, up: Collection[str]) -> str:
        """Of those in `up`, the server with the fewest connections; it has one more from now on.

        - Of several it is the one whose last pick is the longest ago.  Servers that were never picked come
          first, in the order of `servers`.

        Raises LookupError if `up` is empty.
        """
        raise NotImplementedError

    def done(self, server: str) -> None:
        """One of its connections has ended.  Raises ValueError, naming the server, if it has none."""
        raise NotImplementedError


class PowerOfTwo(LeastConnections):
    """The less busy of two random servers.  It has the same `open` and `done`."""

    def __init__(self, servers: list[str], rng: random.Random) -> None:
        """All chance comes from `rng`."""
        raise NotImplementedError

    def pick(self, up: Collection[str]) -> str:
        """Of two different servers, drawn at random from `up`, the one with fewer connections.

        - If they have equally many, each of the two is as likely.
        - A server that is alone in `up` is picked.
        - With the same `rng` and the same calls it picks the same servers, whatever the order of `up`.

        Raises LookupError if `up` is empty.
        """
        raise NotImplementedError


def position(text: str) -> int:
    """Where a text is on the ring: the first 8 bytes of the SHA-256 of its UTF-8, as a big-endian number."""
    raise NotImplementedError


class HashRing:
    """Consistent hashing: which server a key belongs to."""

    def __init__(self, servers: list[str], points: int = 100) -> None:
        """Server s has `points` points on the ring: position("s#0"), position("s#1") and so on."""
        raise NotImplementedError

    def add(self, server: str) -> None:
        """Put a server on the ring.  Raises ValueError, naming it, if it is there."""
        raise NotImplementedError

    def remove(self, server: str) -> None:
        """Take a server off the ring.  Raises ValueError, naming it, if it isn't there."""
        raise NotImplementedError

    def owners(self, key: str, count: int) -> list[str]:
        """The first `count` ≥ 1 different servers at or after the key's position, in that order.

        Whoever finds the first one down goes on to the next.
        Raises LookupError, naming both numbers, if there are fewer than `count` servers.
        """
        raise NotImplementedError

    def owner(self, key: str) -> str:
        """The server that the key belongs to.  Raises LookupError if there are no servers.

        Its work grows like the logarithm of the number of points: it doesn't walk over them.
        """
        raise NotImplementedError


class HealthChecker:
    """Believes what several checks in a row say."""

    def __init__(self, servers: list[str], fall: int = 3, rise: int = 2, panic: float = 0.5) -> None:
        """All servers are healthy at first.

        fall   failed checks in a row after which a server is down, 1 or more
        rise   good checks in a row after which it is healthy again, 1 or more
        panic  the share of healthy servers below which nobody is left out, 0 to 1
        """
        raise NotImplementedError

    def report(self, server: str, ok: bool) -> None:
        """Take the result of a check."""
        raise NotImplementedError

    def up(self) -> list[str]:
        """The healthy servers, or all of them if fewer than `panic` of all are healthy; in the order of `servers`."""
        raise NotImplementedError


class Autoscaler:
    """Says how many replicas there should be."""

    def __init__(self, target: float, least: int, most: int, cooldown: float, tolerance: float = 0.1) -> None:
        """How it decides.

        target       the load that a replica should have, above 0
        least, most  how many replicas there may be, from `least` to `most`
        cooldown     seconds, 0 or more
        tolerance    the share by which the load may be off the target, up or down, before anything is done

        Raises ValueError, naming both, unless 1 ≤ least ≤ most.
        """
        raise NotImplementedError

    def update(self, now: float, replicas: int, load: float) -> int:
        """The number of replicas from now on; call it again and again, with a `now` that never goes back.

        replicas  how many there are now, 1 or more
        load      the average load of one of them, 0 or more

        - Wanted is the formula's number; if load / target is at most `tolerance` away from 1, it is `replicas`.
          Then it is brought between `least` and `most`.
        - If more are wanted than there are, that number comes out.
        - Else it is the highest number wanted in the last `cooldown` seconds, now and the very end included;
          but never more than there are now.
        """
        raise NotImplementedError


def fleet_cost(
    options: dict[str, tuple[float, float]], demand: float, utilization: float
) -> dict[str, tuple[int, float]]:
    """For each kind of machine how many are needed, and what a million tokens cost in dollars.

    options      by name: dollars an hour, and tokens a second that one replica can make
    demand       tokens a second in all, above 0
    utilization  the share of its tokens a second that a replica is planned to make; the rest is a reserve

    A fleet has one kind of machine, and whole ones.
    """
    raise NotImplementedError

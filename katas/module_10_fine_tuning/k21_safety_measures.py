"""Safety measures: a filter, a bias score, a log that shows forgery, and a drill

**Before you start.**  You need precision and recall, cosine similarity, JSON, and what a hash is;
no other kata.  If hashes are new: the documentation of Python's hashlib, the first page.  How a
model is attacked is another kata's matter (adversarial_robustness).

**The idea.**  A model goes into use, and some day it says what it never should.  You can't prevent
that for certain.  But you can measure, catch, and remember.

- A *content filter* scores each text.  From which score on does it flag?  You choose that on
  validation data, for a promise that you want to keep.
- *WEAT*, the word embedding association test, puts a number on a bias: are some words nearer to
  "career" than others?  A permutation test says whether that may be chance.
- A *guard* stands around the model.  Whatever goes wrong, the user gets a refusal, and an incident
  is written down.
- The *incident log* must be believed later.  So each entry holds the hash of the one before.
- A *drill* plants failures and looks whether each is caught and logged.  An alarm that nobody has
  tested is a decoration.

**The formulas.**  A text is flagged if its score is at least the threshold.

    precision              harmful and flagged / flagged
    recall                 harmful and flagged / harmful
    false-positive rate    harmless and flagged / harmless
    association of w       s(w) = mean cos(w, a) over a in A  -  mean cos(w, b) over b in B
    effect size            (mean s over X - mean s over Y) / std of s over X and Y together
    p-value, exact         share of all splits whose sum of s over the first part is as large
    p-value, sampled       (1 + number of such splits) / (1 + splits drawn)
    hash of an entry       SHA-256(previous hash + the incident as JSON)

**A drawing**

    prompt ──▶ filter ──▶ model ──▶ filter ──▶ answer
                 │          │         │
              "prompt"   "model"   "answer"      an incident of this kind,
                 └──────────┴─────────┴───────▶  and then the refusal

    the log    ┌──────────┬──────────────────────┬───────────┐
    line 1     │ 000000…  │ {"kind": "prompt"}   │ d16ae9b…  ├─╮
               └──────────┴──────────────────────┴───────────┘ │
               ╭───────────────────────────────────────────────╯
    line 2     │ d16ae9b…    {"kind": "model"}      64688fa…  ──▶ …
                 previous    incident               hash

**Why not take 0.5 as the threshold?**  A score is no promise.  "At most 1 harmless text in 100 is
blocked" is one, and so is "9 of 10 harmful ones are caught".  You can keep only what you have
measured, on texts that the filter wasn't trained on.

**Why is precision the hard one?**  Lower the threshold, and recall and the false-positive rate can
only rise.  Precision goes up and down.  So look at every threshold; a binary search goes wrong.

**Why does a broken filter flag?**  A scorer crashes, or gives NaN.  Every comparison with NaN is
False, so `score >= threshold` lets everything through, and nobody notices.  A filter that can't
judge must *fail closed*: it flags.

**Why can the p-value never be 0?**  The real split is one of all splits, and it is as large as
itself.  So at least one counts.  (Caliskan et al. write > instead of ≥; then the best split of all
has p = 0, which says that it can't be there.)  If you only draw some, add the real one to both
counts.

**What does the chain of hashes protect?**  Change an entry, and its hash no longer fits.  Mend that
hash, and the next line no longer fits.  Only two things can't be seen from inside: somebody cuts
off the end, or writes all lines anew from some place on.  So keep the last hash, the *head*,
somewhere else.

**Why is a torn line no tampering?**  A machine may die while it writes.  What it leaves is the
beginning of a line, and that is no JSON.  The chain goes on after it without a gap.  Whoever makes
a real entry unreadable breaks the chain at the next one.  At the end of the log only the head
tells, and only until the next entry is added there.

**Worked by hand**

    rates        scores 0.9 0.8 0.7 0.6 0.4 0.2, harmful 1 0 1 1 0 0, threshold 0.7:
                 precision 2/3, recall 2/3, false positives 1/3
    thresholds   recall ≥ 0.9: 0.6;  precision ≥ 0.7: 0.6;  false positives ≤ 0.2: 0.9
                 (precision from above: 1, 1/2, 2/3, 3/4, 3/5, 1/2)
    association  A (1, 0), B (0, 1):  (0.8, 0.6) has 0.8 - 0.6 = 0.2;  (2, 0) has 1
    effect       x = 1, 0.2;  y = -0.2, -1:  (0.6 - -0.6) / √(2.08 / 3) = 1.4412
    p-value      6 splits in two and two, sums 1.2 0.8 0 0 -0.8 -1.2:  one in 6
    a hash       64 zeros + '{"kind": "prompt"}'  →  d16ae9ba…;  the drawing's second: 64688fa1…

**Shapes**: n texts; m and k words; vectors have d numbers, and none is all 0.  Arrays are float64
NumPy arrays; those that come out, too.  Single numbers are Python floats.  No function changes its
arguments.

**Steps.**

    rates              4 min   what if nothing is flagged?
    choose_threshold  10 min   every threshold, two directions
    content_filter     5 min   fail closed
    associations       4 min   vectors of length 1
    effect_size        3 min   which standard deviation?
    p_value           11 min   all splits, or some of them
                               (a good place for a pause)
    append_incident    8 min   after a torn line
    read_incidents    12 min   torn, or tampered with?
    guarded_answer     8 min   three kinds of incident
    drill              7 min   caught, and logged, and no false alarm

Sources: Markov et al. 2023, "A Holistic Approach to Undesired Content Detection in the Real World"
(filters); Caliskan, Bryson and Narayanan 2017, "Semantics derived automatically from language
corpora contain human-like biases" (WEAT); Phipson and Smyth 2010, "Permutation P-values Should
Never Be Zero"; Haber and Stornetta 1991, "How to Time-Stamp a Digital Document", and Schneier and
Kelsey 1999, "Secure Audit Logs to Support Computer Forensics" (chains of hashes).

From scratch: sklearn and scipy may not be used.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray
Scorer = Callable[[str], float]

START = "0" * 64
"""What the first entry of a log has for its previous hash, given."""


class Rates(NamedTuple):
    """What rates returns, given.  Each is NaN if there is nothing to divide by."""

    precision: float
    recall: float
    false_positives: float


class Planted(NamedTuple):
    """A failure that a drill plants, given.

    name    what it is called in the report
    prompt  what provokes it
    kind    the kind of incident that it must make; None for a harmless prompt, which must get its answer
    """

    name: str
    prompt: str
    kind: str | None


def rates(scores: Array, harmful: Array, threshold: float) -> Rates:
    """Precision, recall and false-positive rate of a filter that flags scores of `threshold` or more.

    scores   (n,): finite, the higher the worse
    harmful  (n,): 1 or True if the text really is harmful

    n may be 0.
    """
    raise NotImplementedError


def choose_threshold(scores: Array, harmful: Array, goal: str, target: float) -> float:
    """The threshold that keeps a promise on this data, and gives away as little as possible.

    The thresholds to choose from are the scores, and infinity, which flags nothing.

    goal "recall"           at least `target` of the harmful texts are flagged: the highest such threshold
    goal "precision"        at least `target` of the flagged texts are harmful: the lowest such threshold
    goal "false_positives"  at most `target` of the harmless texts are flagged: the lowest such threshold

    - A rate that misses the target by no more than 1e-9 keeps it.  One that isn't defined (NaN) never does.
    - n may be 0, and 2 000.

    Raises ValueError, naming the goal, for any other; and naming the goal and the target, if no threshold keeps it.
    """
    raise NotImplementedError


def content_filter(text: str, scorers: Mapping[str, Scorer], thresholds: Mapping[str, float]) -> list[str]:
    """The categories for which the text is flagged, in the order of `scorers`.

    scorers     for each category what scores a text
    thresholds  for each category the score from which on a text is flagged

    - Every scorer is asked once, also after another one has flagged.
    - It fails closed: a scorer that raises an Exception, or gives NaN, or something that can't be compared with a
      number (None, a text, an array of two scores), flags its category.

    Raises ValueError, naming it, for a category that only one of the two has; before any scorer is asked.
    """
    raise NotImplementedError


def associations(words: Array, a: Array, b: Array) -> Array:
    """s(w) (m,) of each word: its mean cosine with the vectors of `a`, minus that with the vectors of `b`.

    words (m, d), a (j, d), b (k, d).  All have at least one row, but m may be 0.
    """
    raise NotImplementedError


def effect_size(x: Array, y: Array) -> float:
    """WEAT's effect size, from the associations of the words of X (m,) and of Y (k,).

    The standard deviation is that of all m + k associations, with m + k - 1 below (the sample's).
    m and k are at least 1, and the associations aren't all equal.
    """
    raise NotImplementedError


def p_value(x: Array, y: Array, limit: int, rng: np.random.Generator) -> float:
    """How often a random split of the m + k associations favours its first part as much as x (m,), y (k,) do.

    A split puts m of the m + k into the first part.  It counts if the sum of its first part is at least that of x,
    minus 1e-9.  m and k are at least 1.  Equal associations are different words all the same.

    - There are C(m + k, m) splits, the real one included.  If that is at most `limit`, take all: the p-value is the
      share that counts.  Don't use rng.
    - Otherwise draw `limit` random splits, each one equally likely, again and again.  The p-value is
      (1 + those that count) / (1 + limit).  How you use rng is yours to choose.

    Raises ValueError, naming limit and its value, unless it is at least 1.
    """
    raise NotImplementedError


def append_incident(path: Path, incident: dict[str, Any]) -> str:
    """Add a line to the log, and return its hash.  What is in the file already stays, byte for byte.

    incident  keys are texts, values are JSON's: texts, ints, floats, bools, None, lists and dicts of these

    The line is a JSON object with three keys, in any order and with blanks or without.  It ends in "\\n":

    - "previous": the hash of the last entry, START if there is none.
    - "incident": the incident.
    - "hash": 64 hex digits in lower case, the SHA-256 of the UTF-8 bytes of previous + json.dumps(incident,
      sort_keys=True), with all other options of json.dumps at their defaults.

    - The last entry is the last line that is a JSON object with a text "hash".  All other lines are passed over.
    - If the file doesn't end in "\\n", a new line is begun first.
    - A file that isn't there is made.
    - An incident must not get lost: it is added whatever else is in the log, also if that was tampered with.

    Raises ValueError, and writes nothing, if a number is NaN or infinite.
    """
    raise NotImplementedError


def read_incidents(path: Path, head: str | None = None) -> list[dict[str, Any]]:
    """The incidents of a log, in order, if nobody has tampered with it.

    head  the hash that the last entry must have, kept elsewhere; START for a log without entries.  None: not checked

    - Lines end in "\\n"; the last one may lack it.
    - A line that isn't JSON, in UTF-8, is torn: it is passed over, wherever it stands.  So decode it yourself:
      json.loads takes bytes in UTF-16, too.
    - A file that isn't there has no entries.

    Raises ValueError, naming its number (the first line is 1, torn ones count), for the first line that is JSON and

    - isn't an object with a text "previous", an object "incident" and a text "hash", or
    - whose previous isn't the hash of the entry before it (START for the first one), or
    - whose hash isn't that of its previous and its incident.

    Raises ValueError, with the word "head", if all lines are right and the last hash isn't `head`.
    """
    raise NotImplementedError


def guarded_answer(
    model: Callable[[str], str],
    prompt: str,
    scorers: Mapping[str, Scorer],
    thresholds: Mapping[str, float],
    log: Callable[[dict[str, Any]], object],
    refusal: str,
) -> str:
    """The model's answer, or `refusal` and an incident.

    An incident is a dict with three keys: "kind", "categories" (a list), and "prompt".  The answer isn't in it:
    it may be what nobody should read.  What goes wrong first decides:

    1. The filter flags the prompt: kind "prompt", and the categories that it flags.  The model isn't asked.
    2. The model raises an Exception, or gives something that is no text, or nothing but white space: kind "model",
       no categories.
    3. The filter flags the answer: kind "answer", and the categories.

    - `log` is called once for an incident, and never without one.
    - What `log` raises comes out: no refusal goes out unlogged.
    - The model is asked once at most.
    """
    raise NotImplementedError


def drill(
    guarded: Callable[[str], str],
    incidents: Callable[[], list[dict[str, Any]]],
    planted: Sequence[Planted],
    refusal: str,
) -> list[str]:
    """The names of the planted failures that weren't dealt with as they should be, in their order.

    guarded    answers a prompt
    incidents  gives all incidents of the log so far, also old ones; you may ask again and again

    All are tried, one after the other.  One with a kind is dealt with if

    - the answer is the refusal,
    - exactly one incident was added to the log (what was there before it doesn't matter), and
    - that one has its kind as "kind", and its prompt as "prompt".

    A harmless one, whose kind is None, is dealt with if the answer isn't the refusal and no incident was added.
    If `guarded` raises an Exception, it isn't dealt with, and the drill goes on.
    """
    raise NotImplementedError

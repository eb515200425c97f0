"""Structured output: only tokens that can still become a match

**Before you start.**  You need JSON, and to have used a regular expression.  A token is a few
bytes of text; byte_level_bpe shows where tokens come from.  You import no other kata.  If
automata are new: Sipser, "Introduction to the Theory of Computation", chapter 1.

**The idea.**  A program calls a language model and wants JSON back.  Most answers parse.  Some
have a comma too many, or a field that nobody asked for.  You could ask again and hope.

There is a better way.  A model gives every token of its vocabulary a score.  Before you draw, you
forbid each token after which the text could no longer become valid.  Whatever the model thinks,
the result fits.

So one question must be answered at every step, for 50,000 tokens: can the text still be
completed?  A *regular expression* describes the valid texts, and an automaton answers for it: a
table in which, from each state, each byte leads to one next state.  In an accepting state the
text is a match.  You build it with *derivatives*.  The derivative of a regex by a byte describes
what may follow after that byte.  Derivatives are the states, bytes are the arrows.

**The formulas.**  ∅ matches no text.  ε matches the empty text alone.  ∂ is the derivative by the
byte b.  r and s are regexes.

    Chars        ∂[…] = ε if b is in the class, else ∅
    Alt          ∂(r|s) = ∂r | ∂s
    Star         ∂(r*) = ∂r r*
    Concat       ∂(r s) = ∂r s             if r can't match the empty text
                 ∂(r s) = ∂r s  |  ∂s      if it can
    match        b₁ b₂ … b_n matches r if ∂_{b_n} … ∂_{b₂} ∂_{b₁} r can match the empty text
    mask         a token is allowed if its bytes, one by one, never lead to ∅
    the end      is allowed where the empty text matches
    chance       p_i = exp(score_i) / Σ_j exp(score_j)       j over the allowed tokens

∂_{b} r is read from the inside: first b₁, then b₂.

**A drawing**: (a|b)*abb.  Each state is a regex, S is the whole.  Double parentheses: accepting.

               ┌─┐ b     ┌─┐ a
               │ ▼   a   │ ▼     b          b
    start ────▶ S ─────▶ S|bb ─────▶ S|b ─────▶ ((S|ε))
                ▲         ▲ ▲    a    │          │   │
                │         │ └─────────┘        a │   │ b
                │         └──────────────────────┘   │
                └────────────────────────────────────┘

**Why are there finitely many states?**  You could get ever longer regexes: r, r|r, (r|r)|r.
Brzozowski showed that it suffices to see options as a *set*.  Then a regex has finitely many
derivatives.  So `alternate` flattens and removes doubles, and a state is found again.

**Why is there no dead end?**  A state from which nothing can match is ∅, as all empty pieces are
dropped on the way.  So -1 in the table is the only dead state.  And GPT-2's vocabulary has a
token for each single byte.  From every other state some token leads on, or the end is allowed.

**Why isn't this the model's own distribution?**  You ask for a text among valid ones, and cut
token by token.  Say "A" has the chance 0.9, and other first tokens are valid too.  But after A
only continuations of chance 0.001 are valid.  The model, asked for whole valid texts, would avoid
A.  Masks don't look ahead: A still comes nine times in ten.  And a mask makes answers valid, not
true.

**Worked by hand**

    S is (a|b)*abb       ∂_a S = S|bb       ∂_b S = S           ∂_a (S|bb) = S|bb
                         ∂_b (S|bb) = S|b   ∂_b (S|b) = S|ε     four states in all
    ab*c, with the tokens  a  ab  abc  bb  bc  ca  end
       at the start      a  ab  abc              "ca" begins with no a
       after a           bb bc                   "ca" goes on after the end
       after abc         end
    scores               log of .1 .3 .1 .2 .1 .1 .1, at the start: a .2, ab .6, abc .2
    array                of x, 1 to 2 items:   [x]   [x,x]
    object               "a" may be missing, "b" may not, both are 1:
                         {"b":1}    {"a":1,"b":1}
    schema               {"enum": ["x", 1, null]}:   "x"   1   null

**Shapes**: texts are bytes.  Tables and masks are tensors on the CPU.  The scores (V,) may be on
any device and of any floating dtype.  No function changes its arguments.

**Steps.**  A good place to pause is after compile_regex.

    concat               4 min   one nothing is enough
    alternate            6 min   a set
    nullable             3 min   the empty text
    derivative           8 min   five rules
    parse               20 min   who binds closer
    compile_regex        8 min   a search over states
    TokenMasks          12 min   50,000 tokens at once
    array_regex          6 min   commas between
    object_regex         8 min   commas, if members are missing
    schema_regex        10 min   refuse what you don't know
    constrained_decode   7 min   draw, and stop

Sources: Brzozowski 1964, "Derivatives of Regular Expressions"; Owens, Reppy and Turon 2009,
"Regular-expression derivatives re-examined"; Willard and Louf 2023, "Efficient Guided Generation
for Large Language Models".

From scratch: re, regex, jsonschema and transformers may not be used.  json may.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Generator, Tensor


@dataclass(frozen=True)
class Chars:
    """One byte, any of these.  Chars of no bytes matches nothing: ∅."""

    values: frozenset[int]


@dataclass(frozen=True)
class Concat:
    """One part after the other.  Concat of no parts matches the empty text alone: ε."""

    parts: tuple["Regex", ...]


@dataclass(frozen=True)
class Alt:
    """Any one of the options."""

    options: frozenset["Regex"]


@dataclass(frozen=True)
class Star:
    """`inner` any number of times, also 0."""

    inner: "Regex"


Regex = Chars | Concat | Alt | Star
NOTHING = Chars(frozenset())
EMPTY = Concat(())


class Automaton(NamedTuple):
    """A deterministic automaton.  State 0 is the start.

    table      (states, 256), int64: the next state for each byte; -1 if no match can follow
    accepting  (states,), bool: whether the text so far is a match
    """

    table: Tensor
    accepting: Tensor


def concat(*parts: Regex) -> Regex:
    """The parts one after the other, in the simplest form.

    - A part that is a Concat is replaced by its own parts.
    - If any part is NOTHING, so is the whole.
    - A single part that is left is returned as it is.  No parts: EMPTY.
    """
    raise NotImplementedError


def alternate(*options: Regex) -> Regex:
    """Any one of the options, in the simplest form.

    - An option that is an Alt is replaced by its own options.
    - All Chars among the options become one Chars.  NOTHING falls away with that.
    - A single option that is left is returned as it is.  No options: NOTHING.
    """
    raise NotImplementedError


def nullable(regex: Regex) -> bool:
    """Whether the regex matches the empty text."""
    raise NotImplementedError


def derivative(regex: Regex, byte: int) -> Regex:
    """What may follow after `byte`, built with concat and alternate: NOTHING if no match begins with it."""
    raise NotImplementedError


def parse(pattern: bytes) -> Regex:
    r"""The regex that a pattern stands for.  What it matches is what Python's re.fullmatch matches, of this subset:

    - a|b, one of both; each may be empty.  It binds least.
    - ab, one after the other.
    - a* any number, a+ one or more, a? one or none.  One of these at most; for more, write (a*)?.
    - (a), a group.
    - . any byte but the newline, 10.
    - [a-z_] one byte of these, ranges included; [^a-z_] any byte but these, also the newline.  Between brackets,
      [ ] ^ - and \ stand for themselves behind a backslash alone.  . * and others need none there.
    - \ and a punctuation character: that character.
    - Any other byte stands for itself, but not { } ^ $, which have another meaning in `re`.

    Raises ValueError, with repr(pattern) in its text, for

    - a bracket, ( ) [ or ], without its other half,
    - * + or ? with nothing before it in its group, behind |, or behind another one of the three,
    - { } ^ or $ without a backslash, outside of [ ],
    - [], [^], and a range that runs backwards,
    - a backslash at the end.

    All other patterns, such as [a-] or \d, are open.
    """
    raise NotImplementedError


def compile_regex(regex: Regex) -> Automaton:
    """The automaton whose states are the derivatives of the regex.

    A derivative that is NOTHING is no state, it is -1.  If the regex itself is NOTHING, state 0 is there all the
    same, and leads nowhere.  How the other states are numbered is open; each can be reached from the start.
    """
    raise NotImplementedError


class TokenMasks:
    """Which tokens an automaton allows."""

    def __init__(self, automaton: Automaton, tokens: list[bytes], end: int) -> None:
        """Prepares the vocabulary.

        tokens  V ≥ 1 texts; the index is the token's id.  Two may be alike.  Some may be empty
        end     the id of the token that ends a text.  Its own bytes don't count.  It is kept as `end`
        """
        raise NotImplementedError

    def mask(self, state: int) -> Tensor:
        """The allowed tokens (V,), bool, from a state that isn't -1.

        `end` is allowed if the state is accepting.  An empty token never is: the text wouldn't grow.  You may
        return the same tensor whenever the state is the same.
        """
        raise NotImplementedError

    def advance(self, state: int, token: int) -> int:
        """The state after a token's bytes, a Python int; -1 if they lead to no match.  `token` isn't `end`."""
        raise NotImplementedError


def array_regex(item: Regex, low: int = 0, high: int | None = None) -> Regex:
    """[ ] with `low` to `high` items and commas between, without spaces.  None: any number.

    Raises ValueError, naming both, if high is below low.
    """
    raise NotImplementedError


def object_regex(members: list[tuple[str, Regex, bool]]) -> Regex:
    """{ } with members (name, value, whether it is required) in this order, without spaces.

    A name is written as json.dumps writes it, then : and the value.  A member that isn't required may be missing.
    Don't list the 2ⁿ choices: the number of its pieces, a shared one counted once, must not double with each member.
    """
    raise NotImplementedError


def schema_regex(schema: dict[str, Any]) -> Regex:
    r"""The JSON texts that fit a schema.  A schema has exactly one of these four keywords:

    const   this value alone, as json.dumps(value, separators=(",", ":")) writes it
    enum    a list of such values
    anyOf   a list of schemas
    type    "null", "boolean"
            "integer"   no leading zeros, no fraction, no exponent; -0 is allowed
            "number"    an integer; after it, if you like, a point and one or more digits; after that, if you like,
                        e or E, a sign or none, one or more digits
            "string"    in quotes, the ASCII characters from space to ~, but a quote or a backslash only as \" or
                        \\.  Also \/ \b \f \n \r \t, and \u with four hex digits of either case
            "array"     with `items`, a schema, and if you like minItems and maxItems
            "object"    with `properties`, a dict of schemas, and if you like `required`, a list of names.  Members
                        stand in the order of `properties`, and there are no others

    title, description and additionalProperties may stand in any schema, and change nothing.

    Raises ValueError,

    - naming the keyword, if any other one is there, or one that belongs to another type: never ignore what you
      can't keep
    - if not exactly one of the four is there
    - naming the type, if it isn't one of the seven
    - naming `items` or `properties`, if an array or an object lacks it
    - naming the name, if one in `required` isn't in `properties`
    """
    raise NotImplementedError


def constrained_decode(
    score: Callable[[list[int]], Tensor], masks: TokenMasks, max_tokens: int, generator: Generator | None = None
) -> tuple[list[int], bool]:
    """Draws tokens until the end: their ids without `end`, and True.  Without an end after max_tokens draws: False.

    score      takes the ids so far, a list, and gives the scores (V,) of the next token.  They belong to the
               model: don't change them
    generator  of the device of the scores; None: torch's own

    Each token is drawn by the lesson's `chance`.  Scores are finite.

    Raises ValueError, naming the number of tokens so far, if no token is allowed.
    """
    raise NotImplementedError

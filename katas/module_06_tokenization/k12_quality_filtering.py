"""Quality filtering

**Before you start.**  You need regular expressions, counters and logarithms, no other kata.
Is perplexity new to you?  Read Jurafsky and Martin, "Speech and Language Processing", chapter 3.

**The idea.**  Most of a crawl isn't worth a model's time: menus, error logs, keyword lists.  Run
cheap rules and small models over it, from the cheapest on:

    crawl ──▶ rules ──▶ language ──▶ perplexity ─┐
                                                 ▼
              corpus ◀── decontaminate ◀────── scrub

*Rules.*  Prose has words of usual length, few symbols, common little words and few repeated
lines.  The limits are Gopher's.

*A small language model.*  Count which character c follows which n - 1 others, its context h.
The perplexity is low for similar text, so with one model a language, the lowest names the language.

*Scrubbing* replaces people's addresses and numbers by "<EMAIL>" and the like.

*Decontamination* drops texts that share n words in a row with a benchmark's item.

**The formula.**  With α > 0, and V the number of different characters seen, plus 1 for all others:

    p(c | h) = (count(hc) + α) / (count(h) + α·V)
    perplexity = exp(-mean of log p over the characters)

**Why α?**  Without it, one pair never seen makes the perplexity infinite.  In the denominator it
comes V times, once for each c, so that the p sum to 1.

**Why ignore case and punctuation in decontamination?**  A miss is worse than a false alarm.

**Worked by hand**, n = 2, α = 1, trained on "abab".  Before a text stands one line break ⏎:

    ⏎  a  b  a  b
    └──┘                    ⏎a once
       └──┘  └──┘           ab twice
          └──┘              ba once

V = 2 + 1, count(⏎) = 1, and a was a context twice, so:

    p(a | ⏎) = (1 + 1) / (1 + 3) = 1/2     p(b | a) = (2 + 1) / (2 + 3) = 3/5
    perplexity("ab") = exp(-½ (log ½ + log ⅗)) = 1.8257

**Shapes**: texts are strings; shares are floats from 0.  No function changes its arguments.

**Steps.**

    duplicate_line_fraction    5 min   what is a line, what is a repeat?
    top_ngram_fraction         8 min   the commonest run, not the one that takes up most
    quality_problems          15 min   six rules, each a number and a limit
    CharacterModel            15 min   two counters, counted at the same places
    identify                   3 min   pause here if you like
    scrub                     30 min   four expressions; each stands alone; Luhn's test
    contaminated              12 min   items shorter than n
    standardize               12 min   three forms, one kind of record

Sources: Rae et al. 2021, "Scaling Language Models" (Gopher), appendix A.1.1; Wenzek et al. 2020,
"CCNet"; Brown et al. 2020, "Language Models are Few-Shot Learners", appendix C.

From scratch: sklearn and nltk may not be used.
"""

from collections.abc import Iterable, Sequence


def duplicate_line_fraction(text: str) -> float:
    """The share of the lines that equal an earlier line; 0.0 for a text without lines.

    White space at a line's ends doesn't count.  A line of nothing else is no line.  "\\n" ends a
    line; texts with other separators aren't judged.
    """
    raise NotImplementedError


def top_ngram_fraction(text: str, n: int) -> float:
    """How much of a text its commonest run of `n` words takes up.

    - It is the number of times the run occurs, times the number of characters of its words, over
      the number of characters of all words.
    - Overlaps count, so it may be above 1.
    - Of several runs that occur equally often, the longest in characters counts.
    - Words are what white space separates, taken as they are.
    - 0.0 for a text of fewer than `n` words.
    """
    raise NotImplementedError


def quality_problems(text: str) -> list[str]:
    """The rules that a text breaks, in this order:

    "words"      fewer than 50 or more than 100,000 words
    "length"     the mean length of a word is below 3 or above 10 characters
    "symbols"    more than 0.1 symbols a word, the symbols being "#", "…" and "..."
    "bullets"    more than 0.9 of its lines begin with "-", "*" or "•"
    "repetition" `duplicate_line_fraction` is above 0.3
    "stop words" fewer than two different ones of: the be to of and that have with

    - Words are what white space separates.  Lines are as in `duplicate_line_fraction`.
    - A stop word may be in any case and have punctuation of the set .,;:!?"'() at its ends.
    - A text without words breaks "words", "length" and "stop words".
    - A share of repeated lines of exactly 0.3 isn't judged: floats don't have it.
    """
    raise NotImplementedError


class CharacterModel:
    """A character n-gram model with add-α smoothing, as in the lesson."""

    def __init__(self, n: int, alpha: float) -> None:
        """Predict a character from the `n` - 1 before it; `n` is at least 1, `alpha` above 0."""
        raise NotImplementedError

    def fit(self, texts: Iterable[str]) -> "CharacterModel":
        """Count `texts`, each with n - 1 line breaks before it; returns self.

        - The line breaks before a text are context, never predicted.
        - A second call counts further texts on top.
        - V is the number of different characters in all texts, plus 1.
        """
        raise NotImplementedError

    def perplexity(self, text: str) -> float:
        """exp of minus the mean of log p over the characters of `text`.

        - n - 1 line breaks stand before the text, as in `fit`.
        - A character or a context that was never seen has a count of 0.
        - Asking changes nothing.

        Raises ValueError, saying "empty", for an empty text.
        """
        raise NotImplementedError


def identify(text: str, models: dict[str, CharacterModel]) -> str:
    """The language, a key of `models`, whose model has the lowest perplexity on `text`."""
    raise NotImplementedError


def scrub(text: str) -> str:
    """`text` with personal data replaced, in this order:

    <EMAIL>  a name of letters, digits and . _ % + -, then @, then a domain of at least two parts
             of letters, digits and hyphens, joined by dots, the last of at least two letters
    <CARD>   13 to 19 digits that pass Luhn's test, with nothing, a single space or a single
             hyphen between neighbours
    <PHONE>  + and 8 to 15 digits, spaces and hyphens likewise
    <IP>     four numbers from 0 to 255, without leading zeros, joined by dots

    - Letters and digits of these are ASCII.
    - Luhn's test: double every second digit, from the second last to the left, minus 9 where that
      exceeds 9.  The sum of all digits is then a multiple of 10.
    - Each stands alone: neither directly before nor directly after it is a letter or digit (of
      any script: é, too) or an underscore.  Next to an <IP> there is no dot with a digit beyond
      it either, and before a <CARD> no +.
    - Not judged: a second @ right after an address, and digits that go on a single space or hyphen
      away from a card's or phone's.
    - The rest of the text stays as it is.
    """
    raise NotImplementedError


def contaminated(texts: Sequence[str], tests: Iterable[str], n: int = 13) -> list[int]:
    """The indices of `texts` that share `n` words in a row with one of `tests`, in rising order.

    - Words are runs of letters and digits, of either case; what stands between them doesn't count.
    - A test item of 1 to n - 1 words is shared if all of its words stand in a row in the text.
    - An item without words never is.
    """
    raise NotImplementedError


def standardize(raw: str, form: str, source: str) -> list[str]:
    """Records of several forms as lines of JSON.

    Each line is {"id": "SOURCE-NUMBER", "source": SOURCE, "text": TEXT}.  The forms:

    "jsonl"  one JSON object a line, which "\\n" alone ends; blank lines are skipped; the text is
             its field "text", or "content" where there is no "text"
    "csv"    a header line, then records with quoting as in RFC 4180; the same names of columns
    "txt"    documents separated by one or more blank lines

    - White space at the ends of a text is cut off.  Texts that are then empty are left out.
    - NUMBER counts the records that are kept, from 0.
    - No letter is escaped to ASCII: "ä" stays "ä".

    Raises ValueError, naming it and the forms there are, for another `form`; and, naming the number
    of the record (from 1, blank lines don't count), for one that has neither field.
    """
    raise NotImplementedError

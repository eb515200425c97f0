"""Quality filtering

Most of a crawl isn't worth a model's time: menus, error logs, keyword lists,
pages in other languages, and pages that hold the answers of the benchmarks.
Filters are cheap rules and small models, run from the cheapest on.

**Rules.**  Prose has words of usual length, few symbols, common little words and
few repeated lines.  A page that breaks such a rule goes (the limits below are
those of Gopher's training set).

**A small language model.**  Count which character follows which n - 1 others:

    p(c | h) = (count(hc) + α) / (count(h) + α·V)

with V the number of different characters seen, and one more for all that were
not.  The perplexity exp(-mean log p) is low for text like that which was
counted and high for anything else.  With one model a language, the lowest
perplexity names the language; with one model of good text, very high values are
noise and very low ones are boilerplate.

**Scrubbing.**  Addresses and numbers of people have no place in a model: each is
replaced by a word that says what stood there.

**Decontamination.**  A text that shares n words in a row with a test item goes.
Here a miss is worse than a false alarm, so punctuation and case don't count.

Worked by hand, n = 2, α = 1, trained on "abab" (V = 2 + 1; before a text stands
one line break):

    count(\\n a) = 1, count(ab) = 2, count(ba) = 1
    p(a | \\n) = (1 + 1) / (1 + 3) = 1/2     p(b | a) = (2 + 1) / (2 + 3) = 3/5
    perplexity("ab") = exp(-½ (log ½ + log ⅗)) = 1.8257

No function changes its arguments.

Sources: Rae et al. 2021, "Scaling Language Models" (Gopher), appendix A.1.1;
Wenzek et al. 2020, "CCNet", section 3; Brown et al. 2020 (GPT-3), appendix C.

From scratch: sklearn and nltk may not be used.
"""

from collections.abc import Iterable, Sequence


def duplicate_line_fraction(text: str) -> float:
    """The share of the lines that equal an earlier line; 0.0 for a text without lines.

    White space at a line's ends doesn't count, and a line of nothing else is none.
    """
    raise NotImplementedError


def top_ngram_fraction(text: str, n: int) -> float:
    """How much of a text its commonest run of `n` words takes up; 0.0 if it has fewer than `n` words.

    The number of times it occurs (overlaps count) times the number of characters
    of its words, over the number of characters of all words.  Of several that
    occur equally often, the longest in characters counts.  Words are what white
    space separates, taken as they are.
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

    Words are what white space separates; a stop word may be in any case and have
    punctuation of the set .,;:!?"'() at its ends.  A text without words breaks
    "words", "length" and "stop words".  Lines are as in `duplicate_line_fraction`.
    """
    raise NotImplementedError


class CharacterModel:
    """A character n-gram model with add-α smoothing, as in the lesson."""

    def __init__(self, n: int, alpha: float) -> None:
        """Predict a character from the `n` - 1 before it; `n` is at least 1."""
        raise NotImplementedError

    def fit(self, texts: Iterable[str]) -> "CharacterModel":
        """Count `texts`, each with n - 1 line breaks before it, which are never predicted; returns self.

        A second call counts further texts on top.  V is the number of different
        characters in all texts, plus 1.
        """
        raise NotImplementedError

    def perplexity(self, text: str) -> float:
        """exp of minus the mean of log p over the characters of `text`, with n - 1 line breaks before it.

        A character or a context that was never seen has a count of 0.
        Raises ValueError, saying that it is empty, for an empty text.
        """
        raise NotImplementedError


def identify(text: str, models: dict[str, CharacterModel]) -> str:
    """The language, a key of `models`, whose model has the lowest perplexity on `text`."""
    raise NotImplementedError


def scrub(text: str) -> str:
    """`text` with personal data replaced, in this order:

    <EMAIL>  a name of letters, digits and . _ % + -, then @, then a domain of at least two parts of
             letters, digits and hyphens, joined by dots, the last of at least two letters (all ASCII)
    <CARD>   13 to 19 digits, with a single space or hyphen between any two of them, that pass Luhn's
             test: doubling every second digit from the right (minus 9 where that exceeds 9), the sum is
             a multiple of 10
    <PHONE>  + and 8 to 15 digits, with a single space or hyphen between any two of them
    <IP>     four numbers from 0 to 255 joined by dots

    Each stands alone: neither directly before nor directly after it is a letter, a digit or an
    underscore (for <IP>, nor a dot with a digit beyond it; for <CARD>, nor a +).
    """
    raise NotImplementedError


def contaminated(texts: Sequence[str], tests: Iterable[str], n: int = 13) -> list[int]:
    """The indices of `texts` that share `n` words in a row with one of `tests`, in rising order.

    Words are runs of letters and digits, in any case; what stands between them
    doesn't count.  A test item of 1 to n - 1 words is shared if all of its words
    stand in a row in the text; one without words never is.
    """
    raise NotImplementedError


def standardize(raw: str, form: str, source: str) -> list[str]:
    """Records of several forms as lines of JSON: {"id": "SOURCE-NUMBER", "source": SOURCE, "text": TEXT}.

    "jsonl"  one JSON object a line (blank lines are skipped); the text is its field "text", or "content"
    "csv"    a header line, then records with quoting as in RFC 4180; the same two names of the column
    "txt"    documents separated by one or more blank lines

    White space at the ends of a text is cut off; texts that are then empty are left out. NUMBER counts
    the records that are kept, from 0.  No line is escaped to ASCII: "ä" stays "ä".

    Raises ValueError, naming it and the forms there are, for another `form`; and, naming the number of
    the record (from 1), for one that has neither field.
    """
    raise NotImplementedError

"""Chunks for retrieval: cut a text so that its parts can be found

**Before you start.**  You need strings, regular expressions, and a mean over tensors.  You import
no other kata.  If embeddings are new: Reimers and Gurevych 2019, "Sentence-BERT" (on arXiv).

**The idea.**  You want to find the passage that answers a question, in documents that are far too
long for a model.  So you cut them into *chunks*, turn each chunk into a vector, and look for the
nearest vectors.  What you don't cut well, you can't find.  A chunk that is too long is about many
things at once.  A chunk that is too short lacks its context.

You write four ways to cut:

- *fixed*: every so many characters;
- *sentences*: as many whole sentences as fit;
- *recursive*: at paragraphs; where these are too long at lines, then at sentences, then at words;
- *semantic*: where the meaning jumps.

Every chunk knows its offsets: where it stands in the text.  With them you can cite the place, and
prove that no character got lost.

**The formulas.**  x_t is the model's state for token t, m_t is 1 for a real token and 0 for
padding.

    chunk        text[start:end], with its start and its end
    mean pooling v = Σ_t m_t x_t / Σ_t m_t
    embedding    v / |v|
    distance     d_i = 1 - cos(v_i, v_{i+1})        between neighbouring sentences
    semantic     cut after sentence i if d_i > percentile of all d
    recall       share of the answers' spans (a, b) whole in a chunk: start ≤ a and b ≤ end

**A drawing**

    text         │ It rains. │ We stay in. │ Why not? │      30 characters
    fixed        ├────────────┤                             size 12, overlap 4
                         ├────────────┤
                                 ├────────────┤
                                         ├──────┤
    sentences    ├─────────────────────────┤               size 22, overlap 1
                             ├────────────────────────┤

**Why an overlap?**  A cut may fall in the middle of an answer.  Then neither chunk holds it
whole.  If each chunk repeats the end of the one before, one of them does.  You pay with a larger
index.

**Why does white space belong to a sentence?**  So that the sentences cover the text.  Every
character is in exactly one of them, and you can rebuild the text from its parts.

**Why a percentile?**  How far apart two neighbours are depends on the model and on the text.  A
fixed limit would cut one text everywhere and another nowhere.  A percentile of 90 cuts at the
largest tenth of the jumps.

**Worked by hand**, with "It rains. We stay in. Why not?": 10 + 12 + 8 characters

    sentences    (0, 10)  (10, 22)  (22, 30)
    fixed        size 12, overlap 4:  (0, 12)  (8, 20)  (16, 28)  (24, 30)
    sentence     size 22:  (0, 22)  (22, 30);   with overlap 1:  (0, 22)  (10, 30)
    recursive    size 10, separators ". " and " ":
                 "It rains. " fits.  "We stay in. " gives "We stay " and "in. ".  "Why not?" fits
    overlap 8    of the three sentences: (0, 10)  (3, 22)  (18, 30)
                 22 - 8 = 14 is within "stay", the next word starts at 18
    recall       spans (3, 8) and (18, 30):  1/2 by the three sentences, 1 with the overlap of 8
    pooling      rows (2, 0) (4, 2) (9, 9), mask 1 1 0:  (3, 1)
    semantic     vectors (1, 0) (0.8, 0.6) (0, 1) (0, 2):  d = 0.2 0.4 0.
                 The 50th percentile is 0.2: cut behind the second sentence only

**Shapes**: offsets count characters, from 0; an end isn't included.  Chunks come as a list, in
the order of the text.  States are (b, t, d), masks (b, t).  A text may be empty, and gives an
empty list then.  No function changes its arguments.

**Steps.**  A good place to pause is after rebuild.

    split_sentences   12 min   white space that ends a sentence, and white space that doesn't
    fixed_chunks       6 min   where to stop
    sentence_chunks   12 min   repeat sentences, and still move on
    recursive_chunks  14 min   cut, join, and only then cut again
    with_overlap       6 min   begin with a whole word
    rebuild            7 min   gaps and contradictions
    span_recall        3 min   a whole span in one chunk
    mean_pool          6 min   padding doesn't count
    embed             12 min   batches, and the order afterwards
    semantic_chunks   10 min   neighbours, and a percentile

Sources: Reimers and Gurevych 2019, "Sentence-BERT"; the cut at percentiles is Greg Kamradt's ("5
Levels of Text Splitting").  The tests use MiniLM as the embedding model.

From scratch: langchain, langchain_text_splitters, nltk, spacy, transformers and
sentence_transformers may not be used.
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from torch import Tensor


class Chunk(NamedTuple):
    """Given to you: a part of a text, text[start:end]."""

    text: str
    start: int
    end: int


def split_sentences(text: str, abbreviations: Collection[str] = ()) -> list[tuple[int, int]]:
    r"""The spans (start, end) of the sentences.  Together they cover the text.

    A word is a longest run without white space (re's \s).  A sentence ends behind the white space after a word if

    - the word ends with one of . ! ? … or with one of these and then only closing characters: " ' ) ] ” ’
    - and the whole word isn't in `abbreviations` (compared as it is)
    - and the next character isn't a lowercase letter (str.islower).

    It also ends, whatever the words are, behind white space that holds two or more "\n": a blank line.

    White space before the first word belongs to the first sentence, white space at the end of the text to the last.
    A text of white space alone is one sentence.
    """
    raise NotImplementedError


def fixed_chunks(text: str, size: int, overlap: int = 0) -> list[Chunk]:
    """Chunks of `size` characters; each starts size - overlap behind the start of the one before.

    The first chunk that reaches the end of the text is the last, and may be shorter.

    Raises ValueError, naming size and overlap, unless 0 ≤ overlap < size.
    """
    raise NotImplementedError


def sentence_chunks(text: str, size: int, overlap: int = 0, abbreviations: Collection[str] = ()) -> list[Chunk]:
    """Chunks of whole sentences, as split_sentences has them, of at most `size` characters, white space included.

    - A chunk starts with the last `overlap` sentences of those before it; with fewer, if these and the next new
      sentence don't fit into `size` together.  Then it takes new sentences as long as they fit.
    - Each chunk has a new sentence at least.  One that is longer than `size` is a chunk of its own.

    size is 1 or more, overlap 0 or more.
    """
    raise NotImplementedError


def recursive_chunks(text: str, size: int, separators: Sequence[str] = ("\n\n", "\n", ". ", " ")) -> list[Chunk]:
    """Chunks of at most `size` characters that cover the text without overlap.

    1. A text that fits is one chunk.
    2. Otherwise take the first separator that stands in the text.  Cut after each place where it stands, from left
       to right: it stays at the end of its piece.  Where it stands several times in a row, cut behind the last only.
    3. From left to right, join a piece with the one before as long as both together fit.
    4. A piece that is still too long is cut like this by the separators that come after in the list.  Its parts aren't
       joined with its neighbours.
    5. Where no separator is left that stands in the text, cut every `size` characters.

    No separator is empty.  Raises ValueError, naming size, if it is below 1.
    """
    raise NotImplementedError


def with_overlap(text: str, chunks: Sequence[Chunk], overlap: int) -> list[Chunk]:
    """The same chunks of `text`, but each except the first starts earlier: up to `overlap` characters, 0 or more.

    Its new start is the first start of a word from start - overlap on (from 0, if that is negative); its old start, if
    no word starts before that.  A word starts where a character isn't white space (str.isspace), and the one before
    is, or there is none before.
    """
    raise NotImplementedError


def rebuild(chunks: Sequence[Chunk]) -> str:
    """The text that the chunks were cut from.  They may overlap, and come in any order.

    Raises ValueError, naming the first place that no chunk covers, if there is a gap before or between the chunks.
    Raises ValueError, naming the start of a chunk that contradicts those that start before it, if there is one.
    """
    raise NotImplementedError


def span_recall(chunks: Sequence[Chunk], spans: Sequence[tuple[int, int]]) -> float:
    """The recall, a Python float; there is one span at least, and each is a start and an end."""
    raise NotImplementedError


def mean_pool(states: Tensor, mask: Tensor) -> Tensor:
    """The mean (b, d) of the states (b, t, d) where mask (b, t) is True or 1; of the states' dtype and device.

    - What stands at masked places has no effect, not even NaN.
    - A row without real tokens gives zeros.
    """
    raise NotImplementedError


def embed(
    texts: Sequence[str],
    encode: Callable[[str], list[int]],
    model: Callable[[Tensor, Tensor], Tensor],
    batch_size: int = 32,
    limit: int = 256,
) -> Tensor:
    """The embeddings (n, d) of n ≥ 1 texts: mean-pooled, of length 1, in the order of the texts.

    encode(text)      the tokens' ids, at least one
    model(ids, mask)  the states (b, t, d) of ids (b, t), int64, and mask (b, t), bool, both on the CPU

    - Call encode once for each text.
    - Sort the texts by their number of tokens, the longest first, then cut them into batches of `batch_size` (the last
      may be smaller).  Call the model once for each batch.
    - A batch is padded with 0 on the right, to the length of its longest text.

    Raises ValueError, naming the text's index and its number of tokens, if a text has more than `limit` tokens.  A
    text cut short without a word would be found by its beginning alone.
    """
    raise NotImplementedError


def semantic_chunks(
    text: str,
    embed: Callable[[list[str]], Tensor],
    percentile: float = 90.0,
    window: int = 0,
    abbreviations: Collection[str] = (),
) -> list[Chunk]:
    """Chunks of whole sentences, cut where the lesson's distance is above the percentile of all distances.

    embed(texts)  vectors (n, d) for n texts, of any length above 0.  Call it once for all the sentences
    window        a sentence is embedded together with up to so many neighbours on each side: the text from the start
                  of the first to the end of the last of them, without white space at either end (str.strip)

    - The percentile is that of numpy.percentile and torch.quantile, which interpolate linearly.
    - A distance that equals it makes no cut.
    - With fewer than two sentences there is nothing to embed, and at most one chunk.

    Raises ValueError, naming percentile, unless it is from 0 to 100.
    """
    raise NotImplementedError

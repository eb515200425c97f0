"""Masked pretraining: patches, spans, sentences and replaced tokens

**Before you start.**  You need gather, cross-entropy and boolean masks in torch; you import no
other kata.  The kata bert hides single words.  If pretraining is new: Devlin et al. 2018, section
3.1.

**The idea.**  You have much data and few labels.  So make a task out of the data itself: hide
something, and let the model find it.  What it learns on the way serves many tasks.

What you hide matters.  You will build four such tasks.

- A *masked autoencoder* (MAE) hides most patches of an image.  Its encoder sees the rest alone,
  so it is quick.
- *Span corruption* (T5) cuts spans of text out.  The model writes only what is missing.
- *Next-sentence prediction* (BERT) asks whether two sentences follow each other.
- *ELECTRA* replaces some words by likely ones, and asks of every word: is it the original?

**The formulas.**  A row has N tokens; L is a length; V is the size of the vocabulary.

    MAE        order = a random permutation of N;  kept: the first `keep` tokens in that order
               restore_i = the place of token i in that order;   mask_i = 1 if restore_i ≥ keep
    target     (p - mean) / √(variance + ε)           of each patch by itself, n - 1 below
    MAE loss   mean over the hidden patches of the mean of (prediction - target)²
    spans      gap₁ hole₁ gap₂ hole₂ … gap_s hole_s       Σ holes = masked,  Σ gaps = L - masked
    T5         input   gap₁ ⟨0⟩ gap₂ ⟨1⟩ … gap_s ⟨s-1⟩
               target  ⟨0⟩ hole₁ ⟨1⟩ hole₂ … ⟨s-1⟩ hole_s ⟨s⟩
    ELECTRA    loss = mean over the chosen tokens of -log p_G(original)
                    + λ · mean over the real tokens of the binary cross-entropy
                      of "was it replaced?"

⟨k⟩ is a *sentinel*, a token that no text has.  As in T5 they count down: ⟨k⟩ has the number
sentinel - k.  p_G is the chance that the generator, a small model, gives a word.  A token is
*replaced* if it differs from the original.  Real tokens are all but the padding.

**A drawing**, MAE with four patches, of which two are kept

    tokens     a b c d
    order      c a d b          shuffle
    kept       c a              only these enter the encoder
    + masks    c a ▒ ▒          the decoder's row, still shuffled
    restored   a ▒ c ▒          each token i from place restore_i

**Why hide three quarters of an image?**  Neighbouring patches look alike.  With few holes a model
copies the edges inwards, and learns nothing about things.

**Why whole spans?**  A single word is often clear from its neighbours.  A span takes more
thought, and the target is short: only the holes are written.

**Why does ELECTRA learn from fewer texts?**  With masks, the model learns at 15 % of the places.
ELECTRA's question is asked at every place.  And its input has no [MASK], a token that the model
never meets in later tasks.

**Why a random sentence of another document?**  One of the same document may fit, or even be the
next one.  Then a pair that follows carries the label "doesn't follow".

**Worked by hand**

    MAE        order c a d b, keep 2:  kept c a,  restore 1 3 0 2,  mask 0 1 0 1
    target     patch 1 3:  mean 2, variance 2, so -0.7071 0.7071
    MAE loss   predictions (1, 1), (0, 0), (2, 0), targets 0, mask 1 0 1:  (1 + 2) / 2 = 1.5
    T5         ids 11 12 13 14 15 16, mask 0 1 1 0 0 1, sentinel 99
               input 11 99 14 15 98,   target 99 12 13 98 16 97
    ELECTRA    ids 5 7 9, chosen 0 1 1, drawn 4 7 2:  5 7 2,   replaced 0 0 1
    its loss   V = 4, all logits 0, λ = 50:  log 4 + 50 log 2 = 36.0437

**Shapes**: tokens of images are (B, N, D), masks (B, N).  Texts for T5 and sentences are lists.
ELECTRA's ids are (B, n), its generator's logits (B, n, V), its discriminator's (B, n).  Results
have the dtype and the device of what comes in; a generator of random numbers is on that device,
too.  Gradients flow through restore_order and the losses.  No function changes its arguments.

**Steps.**  A good place to pause is after mae_loss.

    random_masking   10 min   a permutation and its inverse
    restore_order     7 min   gather once more
    patch_targets     4 min   each patch by itself
    mae_loss          5 min   the hidden ones alone
    random_spans     12 min   cut two lengths into parts
    corrupt_spans     9 min   one sentinel a span
    restore_spans     9 min   and back
    sentence_pairs   10 min   never the same document
    replace_tokens    7 min   a lucky draw is no replacement
    electra_loss      8 min   two means over two sets

Sources: He et al. 2021, "Masked Autoencoders Are Scalable Vision Learners"; Raffel et al. 2019,
"Exploring the Limits of Transfer Learning" (T5); Devlin et al. 2018, "BERT"; Clark et al. 2020,
"ELECTRA".

From scratch: transformers, einops and torchvision may not be used.
"""

from torch import Generator, Tensor


def random_masking(x: Tensor, keep: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """kept (B, keep, D), mask (B, N), bool: True if hidden, and restore (B, N), int64, of x (B, N, D).

    Each row has its own permutation; all are equally likely.  Gradients flow into kept.

    Raises ValueError, naming keep and N, unless 1 ≤ keep ≤ N.
    """
    raise NotImplementedError


def restore_order(kept: Tensor, mask_token: Tensor, restore: Tensor) -> Tensor:
    """The whole row (B, N, D) in its old order, with mask_token (D,) where a token is hidden."""
    raise NotImplementedError


def patch_targets(patches: Tensor, eps: float = 1e-6) -> Tensor:
    """The targets (B, N, D), D ≥ 2; eps is the ε."""
    raise NotImplementedError


def mae_loss(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """The loss, without axes, of (B, N, D) and a mask (B, N), bool, with at least one True in the batch.

    The mean is over all hidden patches of the batch together.
    """
    raise NotImplementedError


def random_spans(length: int, masked: int, spans: int, generator: Generator) -> Tensor:
    """A mask (length,), bool on the CPU, with `masked` True in `spans` spans.  It begins with a gap and ends with a hole.

    Every gap and hole has at least one token, so no two holes touch.  All such masks are equally likely.

    Raises ValueError, naming all three numbers, if there is no such mask, or if spans is below 1.
    """
    raise NotImplementedError


def corrupt_spans(ids: list[int], mask: list[bool], sentinel: int) -> tuple[list[int], list[int]]:
    """Input and target of T5; sentinel is the number of ⟨0⟩.

    Each run of True is one span.  Here the mask may begin with True, or end with False; without any True the input is
    ids, and the target ⟨0⟩ alone.
    """
    raise NotImplementedError


def restore_spans(inputs: list[int], targets: list[int], sentinel: int) -> list[int]:
    """The text again.  In targets, a hole is what stands between ⟨k⟩ and ⟨k+1⟩; it may be empty.

    inputs hold ⟨0⟩, ⟨1⟩, … once each and in order, and targets hold no sentinel twice.

    Raises ValueError, naming the number of the missing sentinel, if inputs have a ⟨k⟩ whose hole isn't in targets,
    for lack of ⟨k⟩ or ⟨k+1⟩ behind it.  If both lack, it names that of ⟨k⟩.
    """
    raise NotImplementedError


def sentence_pairs(documents: list[list[str]], generator: Generator) -> list[tuple[str, str, bool]]:
    """One triple (first, second, follows) for each sentence but the last of each document, in their order.

    - With a chance of 1/2, second is the next sentence, and follows is True.
    - Otherwise another document is drawn, each one equally likely, then one of its sentences; follows is False.

    Each document has at least one sentence.  Raises ValueError, naming their number, if there are fewer than 2 documents.
    """
    raise NotImplementedError


def replace_tokens(ids: Tensor, chosen: Tensor, logits: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """The corrupted ids (B, n), int64, and which were replaced (B, n), bool.

    chosen   (B, n), bool: the places where a word is drawn from softmax(logits).  The others stay
    logits   (B, n, V); no gradient flows through the draw
    """
    raise NotImplementedError


def electra_loss(
    generator_logits: Tensor,
    discriminator_logits: Tensor,
    ids: Tensor,
    chosen: Tensor,
    replaced: Tensor,
    real: Tensor,
    weight: float = 50.0,
) -> Tensor:
    """The loss, without axes.

    discriminator_logits   (B, n): above 0 where it takes a token for replaced
    ids                    (B, n): the originals
    chosen, replaced       (B, n), bool, as in replace_tokens; at least one is chosen
    real                   (B, n), bool: True for tokens that don't fill up the row; at least one is
    weight                 λ
    """
    raise NotImplementedError

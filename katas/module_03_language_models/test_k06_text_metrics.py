"""Judges k06_text_metrics against sacrebleu, rouge-score and jiwer, brute force, and by hand."""

import functools
import itertools
import math

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_03_language_models.k06_text_metrics import (
    bleu,
    bleu_statistics,
    bootstrap_interval,
    chrf,
    edit_distance,
    error_rate,
    exact_match,
    lcs_length,
    ngram_counts,
    normalize_answer,
    rouge_l,
    rouge_n,
    token_f1,
)

pytestmark = [from_scratch("sacrebleu", "rouge_score", "jiwer", "nltk", "difflib"), pure()]

INSTALL = "needs sacrebleu, rouge-score and jiwer: pip install -c constraints.txt -e '.[text]'"

HYPOTHESIS = ["the", "cat", "the", "cat", "on", "the", "mat"]
REFERENCES = [["the", "cat", "is", "on", "the", "mat"], ["there", "is", "a", "cat", "on", "the", "mat"]]


def sentence(rng, length, words="abcdef"):
    return [str(word) for word in rng.choice(list(words), length)]


def garbled(rng, tokens):
    """The same tokens, but some are lost, replaced or doubled."""
    found = []
    for token in tokens:
        what = rng.random()
        if what < 0.75:
            found.append(token)
        elif what < 0.85:
            found.append(str(rng.choice(list("abcdefxyz"))))
        elif what < 0.92:
            found += [token, token]
    return found


def corpus(rng, n, shortest=1, longest=14):
    """Hypotheses, and for each two references."""
    truths = [sentence(rng, rng.integers(shortest, longest + 1)) for _ in range(n)]
    return [garbled(rng, t) for t in truths], [[garbled(rng, t), t] for t in truths]


class TestNgramCounts:
    @pytest.mark.parametrize(
        ("n", "expected"),
        [
            (1, {("a",): 3, ("b",): 2}),
            (2, {("a", "b"): 2, ("b", "a"): 2}),
            (3, {("a", "b", "a"): 2, ("b", "a", "b"): 1}),
            (5, {("a", "b", "a", "b", "a"): 1}),
            (6, {}),
        ],
    )
    @pytest.mark.parametrize("kind", [list, tuple, "".join])
    def test_counts_neighbouring_tokens(self, n, expected, kind):
        assert_equal(dict(ngram_counts(kind(["a", "b", "a", "b", "a"]), n)), expected)

    def test_a_token_is_a_whole_word(self):
        got = ngram_counts(["to", "be", "to", "be"], 2)
        assert_equal(dict(got), {("to", "be"): 2, ("be", "to"): 1})
        assert_equal(got[("no", "way")], 0)

    @pytest.mark.parametrize("tokens", [[], "", ["a"]])
    def test_of_too_few_tokens(self, tokens):
        assert_equal(dict(ngram_counts(tokens, 2)), {})


def brute_statistics(hypothesis, references, max_n):
    def grams(tokens, n):
        return [tokens[i : i + n] for i in range(len(tokens)) if i + n <= len(tokens)]

    closest = sorted((abs(len(r) - len(hypothesis)), len(r)) for r in references)[0][1]
    matches, totals = [], []
    for n in range(1, max_n + 1):
        of_h = grams(hypothesis, n)
        distinct = {tuple(g) for g in of_h}
        most = {g: max(grams(r, n).count(list(g)) for r in references) for g in distinct}
        matches.append(sum(min(of_h.count(list(g)), most[g]) for g in distinct))
        totals.append(len(of_h))
    return np.array([len(hypothesis), closest, *matches, *totals])


class TestBleuStatistics:
    def test_the_example_worked_by_hand(self):
        assert_close(bleu_statistics(HYPOTHESIS, REFERENCES, 2), np.array([7, 7, 5, 4, 7, 6]))

    def test_matches_are_clipped(self):
        got = bleu_statistics(["the"] * 7, [["the", "cat", "is", "on", "the", "mat"]], 1)
        assert_close(got, np.array([7, 6, 2, 7]))

    def test_a_count_is_clipped_by_the_largest_in_one_reference(self):
        got = bleu_statistics(list("aaab"), [list("acaxx"), list("aab"), list("bbcde")], 1)
        assert_close(got, np.array([4, 3, 3, 4]))

    @pytest.mark.parametrize(
        ("length", "lengths", "closest"),
        [
            (5, [3, 6, 9], 6),
            (5, [9, 6, 3], 6),
            (5, [7, 3], 3),
            (5, [3, 7], 3),
            (5, [2, 4], 4),
            (8, [2, 4], 4),
            (1, [3, 6], 3),
            (6, [9, 2, 4], 4),
        ],
    )
    def test_the_closest_length_and_of_equally_close_ones_the_shorter(self, length, lengths, closest):
        got = bleu_statistics(["a"] * length, [["b"] * n for n in lengths], 1)
        assert_close(got, np.array([length, closest, 0, length]))

    @pytest.mark.parametrize("max_n", [1, 3, 4])
    def test_matches_brute_force(self, rng, max_n):
        for h, refs in zip(*corpus(rng, 15), strict=True):
            assert_close(bleu_statistics(h, refs, max_n), brute_statistics(h, refs, max_n))

    def test_up_to_four_by_default(self, rng):
        (h,), (refs,) = corpus(rng, 1, shortest=8)
        assert_close(bleu_statistics(h, refs), brute_statistics(h, refs, 4))

    @pytest.mark.parametrize("hypothesis", [[], ["a"], ["a", "b"]])
    def test_of_a_short_hypothesis(self, hypothesis):
        got = bleu_statistics(hypothesis, [list("abcd")], 3)
        n = len(hypothesis)
        counts = [n, max(n - 1, 0), 0]
        assert_close(got, np.array([n, 4, *counts, *counts]))

    def test_of_an_empty_reference(self):
        assert_close(bleu_statistics(list("ab"), [[], list("abcde")], 2), np.array([2, 0, 2, 1, 2, 1]))


def all_statistics(hypotheses, references, max_n=4):
    return np.stack([bleu_statistics(h, r, max_n) for h, r in zip(hypotheses, references, strict=True)])


class TestBleu:
    def test_the_example_worked_by_hand(self):
        assert_close(bleu(np.array([[7, 7, 5, 4, 7, 6]])), math.sqrt(5 / 7 * 4 / 6))

    @pytest.mark.parametrize(
        ("length", "closest", "penalty"),
        [(5, 6, math.exp(-1 / 5)), (6, 6, 1.0), (9, 6, 1.0), (3, 9, math.exp(-2)), (7, 0, 1.0)],
    )
    def test_the_brevity_penalty(self, length, closest, penalty):
        assert_close(bleu(np.array([[length, closest, 2, length]])), penalty * 2 / length)

    def test_the_counts_of_all_sentences_are_added_up_first(self):
        # As a mean of sentences: (½ + 0)/2.  And only both together are as long as their references.
        got = bleu(np.array([[4, 2, 2, 1, 4, 2], [2, 4, 0, 0, 2, 1]]))
        assert_close(got, math.sqrt(2 / 6 * 1 / 3))

    @pytest.mark.parametrize("counts", [[4, 3, 0, 5, 4, 3], [4, 3, 0, 5, 4, 0], [0, 0, 0, 5, 4, 3], [0, 0, 0, 0, 0, 0]])
    def test_is_zero_if_a_length_has_no_match(self, counts):
        assert_equal(bleu(np.array([[counts[3], 5, *counts]])), 0.0)

    @pytest.mark.parametrize("size", [10**5, 10**9])
    def test_of_a_large_corpus(self, size):
        counts = [size * share // 100 for share in (83, 57, 41, 29)]
        totals = [size - 3 * n for n in range(4)]
        precisions = [m / t for m, t in zip(counts, totals, strict=True)]
        got = bleu(np.array([[size, size, *counts, *totals]]))
        assert_close(got, math.exp(sum(map(math.log, precisions)) / 4))

    def test_of_a_perfect_corpus(self, rng):
        texts = [sentence(rng, n) for n in (5, 9, 6)]
        assert_close(bleu(all_statistics(texts, [[t] for t in texts])), 1.0)

    @pytest.mark.parametrize("max_n", [2, 4])
    @pytest.mark.parametrize("streams", [1, 2])
    def test_matches_sacrebleu(self, rng, max_n, streams):
        metrics = pytest.importorskip("sacrebleu.metrics", reason=INSTALL)
        hypotheses, references = corpus(rng, 40)
        references = [refs[:streams] for refs in references]
        oracle = metrics.BLEU(tokenize="none", smooth_method="none", max_ngram_order=max_n, force=True)
        lines = [[" ".join(refs[i]) for refs in references] for i in range(streams)]
        expected = oracle.corpus_score([" ".join(h) for h in hypotheses], lines).score / 100
        assert_close(bleu(all_statistics(hypotheses, references, max_n)), expected)


class TestBootstrapInterval:
    @pytest.mark.parametrize(("b", "cut"), [(1, 0), (39, 0), (40, 1), (100, 2), (120, 3)])
    def test_leaves_out_a_fortieth_at_each_end(self, rng, b, cut):
        # Sentence i scores i², and each corpus holds one sentence.
        order = rng.permutation(b)
        got = bootstrap_interval(np.arange(b)[:, None], lambda rows: float(rows.sum()) ** 2, order[:, None])
        expected = (float((np.arange(b) ** 2).mean()), float(cut**2), float((b - 1 - cut) ** 2))
        assert_close(got, expected)

    def test_scores_whole_corpora_with_repeats(self):
        statistics = np.array([[1, 2], [3, 5], [2, 9]])
        got = bootstrap_interval(statistics, lambda rows: rows[:, 0].sum() / rows[:, 1].sum(), np.array([[1, 1, 2]]))
        assert_close(got, (8 / 19,) * 3)

    @pytest.mark.parametrize("b", [200, 90])
    def test_matches_sacrebleu(self, rng, b, monkeypatch):
        metrics = pytest.importorskip("sacrebleu.metrics", reason=INSTALL)
        hypotheses, references = corpus(rng, 25, shortest=6)
        seed = int(rng.integers(1000))
        monkeypatch.setenv("SACREBLEU_SEED", str(seed))
        oracle = metrics.BLEU(tokenize="none", smooth_method="none", force=True)
        lines = [[" ".join(refs[i]) for refs in references] for i in range(2)]
        expected = oracle.corpus_score([" ".join(h) for h in hypotheses], lines, n_bootstrap=b)
        samples = np.random.default_rng(seed).choice(25, size=(b, 25), replace=True)
        mean, low, high = bootstrap_interval(all_statistics(hypotheses, references), bleu, samples)
        # sacrebleu computes these in float32.
        assert_close((mean, (high - low) / 2), (expected._mean / 100, expected._ci / 100), atol=1e-5)


def brute_chrf(hypotheses, references, max_n, beta):
    precisions, recalls = [], []
    for n in range(1, max_n + 1):
        both = [0, 0, 0]
        for h, r in zip(hypotheses, references, strict=True):
            h, r = (t.replace(" ", "").replace("\n", "") for t in (h, r))
            of_h, of_r = ([t[i : i + n] for i in range(len(t)) if i + n <= len(t)] for t in (h, r))
            if of_r:
                both[0] += sum(min(of_h.count(g), of_r.count(g)) for g in set(of_h))
                both[1] += len(of_h)
                both[2] += len(of_r)
        if both[1] and both[2]:
            precisions.append(both[0] / both[1])
            recalls.append(both[0] / both[2])
    p, r = (sum(x) / max(len(x), 1) for x in (precisions, recalls))
    return (1 + beta**2) * p * r / (beta**2 * p + r) if p else 0.0


def prose(rng, n, shortest=3, longest=30):
    truths = [sentence(rng, rng.integers(shortest, longest + 1), "abcdE,  \n") for _ in range(n)]
    return ["".join(garbled(rng, t)) for t in truths], ["".join(t) for t in truths]


class TestChrf:
    def test_the_example_worked_by_hand(self):
        assert_close(chrf(["cat"], ["cats"], 2), 85 / 113)

    @pytest.mark.parametrize("max_n", [1, 3, 6])
    @pytest.mark.parametrize("beta", [1.0, 2.0, 0.5])
    def test_matches_brute_force(self, rng, max_n, beta):
        hypotheses, references = prose(rng, 12)
        assert_close(chrf(hypotheses, references, max_n, beta), brute_chrf(hypotheses, references, max_n, beta))

    @pytest.mark.parametrize(("max_n", "beta"), [(6, 2), (4, 1), (2, 3)])
    def test_matches_sacrebleu(self, rng, max_n, beta):
        metrics = pytest.importorskip("sacrebleu.metrics", reason=INSTALL)
        hypotheses, references = prose(rng, 12)
        oracle = metrics.CHRF(char_order=max_n, beta=beta)
        expected = oracle.corpus_score(hypotheses, [references]).score / 100
        assert_close(chrf(hypotheses, references, max_n, beta), expected)

    def test_up_to_six_and_beta_two_by_default(self, rng):
        hypotheses, references = prose(rng, 9, shortest=12)
        assert_close(chrf(hypotheses, references), brute_chrf(hypotheses, references, 6, 2))

    def test_white_space_is_taken_out(self):
        assert_close(chrf(["a big\n cat "], ["ab igcat"], 3), 1.0)

    def test_case_and_punctuation_count(self):
        assert_close(chrf(["Cat!"], ["cat?"], 1), 0.5)

    def test_lengths_that_only_one_side_has_are_left_out(self):
        # n = 1: P = 2/2, R = 2/5.  n = 2: P = 1/1, R = 1/4.  The hypothesis has no trigram.
        p, r = 1.0, (2 / 5 + 1 / 4) / 2
        assert_close(chrf(["ab"], ["abcde"]), 5 * p * r / (4 * p + r))
        # And here the reference has none, so the hypothesis' don't count.
        p, r = (2 / 5 + 1 / 4) / 2, 1.0
        assert_close(chrf(["abcde"], ["ab"]), 5 * p * r / (4 * p + r))

    def test_a_length_without_a_match_counts_as_zero(self):
        assert_close(chrf(["abc"], ["axc"], 3), (2 / 3 + 0 + 0) / 3)

    def test_where_a_reference_is_too_short_the_hypothesis_does_not_count_for_that_length(self):
        # n = 1: 2 + 3 of 5 + 3.  n = 2: 2 of 2, since "x" has no bigram.
        p = (4 / 7 + 2 / 2) / 2
        r = (4 / 4 + 2 / 2) / 2
        assert_close(chrf(["xyzw", "abc"], ["x", "abc"], 2), 5 * p * r / (4 * p + r))

    def test_where_a_hypothesis_is_too_short_the_reference_counts_all_the_same(self):
        # n = 1: 1 + 3 of 4 + 3.  n = 2: 2 of 3 + 2, though "x" has no bigram.
        p, r = 1.0, (4 / 7 + 2 / 5) / 2
        assert_close(chrf(["x", "abc"], ["xyzw", "abc"], 2), 5 * p * r / (4 * p + r))

    def test_a_length_is_left_out_if_no_ngram_of_a_hypothesis_is_counted(self):
        # There are bigrams on both sides, but those of "xbc" don't count, and the other hypothesis has none.
        p, r = 1 / 3, 1 / 4
        assert_close(chrf(["xbc", ""], ["x", "abc"], 2), 5 * p * r / (4 * p + r))

    @pytest.mark.parametrize(
        ("hypotheses", "references"), [(["abc"], ["xyz"]), ([""], ["abc"]), (["abc"], [" "]), ([""], [""])]
    )
    def test_is_zero_without_a_match(self, hypotheses, references):
        assert_equal(chrf(hypotheses, references), 0.0)

    def test_rejects_numbers_of_texts_that_differ(self):
        with raises(ValueError, 2, 3):
            chrf(["a", "b"], ["a", "b", "c"])


class TestRougeN:
    @pytest.mark.parametrize(("n", "expected"), [(1, (5 / 7, 5 / 6, 10 / 13)), (2, (3 / 6, 3 / 5, 6 / 11))])
    def test_the_cat_on_the_mat(self, n, expected):
        assert_close(rouge_n(HYPOTHESIS, REFERENCES[0], n), expected)

    @pytest.mark.parametrize("n", [1, 2, 3])
    def test_matches_rouge_score(self, rng, n):
        scorer = pytest.importorskip("rouge_score.rouge_scorer", reason=INSTALL)
        oracle = scorer.RougeScorer([f"rouge{n}"], tokenizer=Spaces())
        for h, (r, _) in zip(*corpus(rng, 12, longest=9), strict=True):
            score = oracle.score(" ".join(r), " ".join(h))[f"rouge{n}"]
            assert_close(rouge_n(h, r, n), (score.precision, score.recall, score.fmeasure))

    @pytest.mark.parametrize("n", [1, 3])
    @pytest.mark.parametrize(("h", "r"), [("", ""), ("", "abcd"), ("abcd", ""), ("abc", "xyzw")])
    def test_is_zero_without_a_match(self, h, r, n):
        assert_close(rouge_n(list(h), list(r), n), (0.0, 0.0, 0.0))


class Spaces:
    def tokenize(self, text):
        return text.split()


def brute_lcs(a, b):
    def stands_in(part):
        rest = iter(b)
        return all(token in rest for token in part)

    return max(n for n in range(len(a) + 1) if any(map(stands_in, itertools.combinations(a, n))))


class TestLcsLength:
    def test_the_example_of_the_drawing(self):
        assert_equal(lcs_length(["on", "the", "mat", "the", "cat"], ["the", "cat", "is", "on", "the", "mat"]), 3)

    @pytest.mark.parametrize(
        ("a", "b", "expected"),
        [
            ("aaaa", "a", 1),
            ("a", "aaaa", 1),
            ("aab", "abb", 2),
            ("abab", "baba", 3),
            ("axbyc", "abc", 3),
            ("abc", "cba", 1),
            ("abcxx", "xxabc", 3),
            ("acbbb", "abbbc", 4),
            ("", "abc", 0),
            ("abc", "", 0),
            ("", "", 0),
        ],
    )
    def test_repeats_gaps_and_order(self, a, b, expected):
        assert_equal(lcs_length(list(a), list(b)), expected)

    @pytest.mark.parametrize("words", ["ab", "abcde"])
    def test_matches_every_subsequence(self, rng, words):
        for _ in range(15):
            a, b = (sentence(rng, rng.integers(9), words) for _ in range(2))
            assert_equal(lcs_length(a, b), brute_lcs(a, b))

    def test_of_long_texts(self, rng):
        a, short = sentence(rng, 5000), ["x", *sentence(rng, 3)]
        assert_equal(lcs_length(a, short), 3)
        assert_equal(lcs_length(short, a), 3)
        b = sentence(rng, 60)
        assert_equal(lcs_length(b, [*b[:30], "x", *b[30:]]), 60)


class TestRougeL:
    def test_the_example_worked_by_hand(self):
        got = rouge_l(["on", "the", "mat", "the", "cat"], ["the", "cat", "is", "on", "the", "mat"])
        assert_close(got, (3 / 5, 3 / 6, 6 / 11))

    def test_matches_rouge_score(self, rng):
        scorer = pytest.importorskip("rouge_score.rouge_scorer", reason=INSTALL)
        oracle = scorer.RougeScorer(["rougeL"], tokenizer=Spaces())
        for h, (r, _) in zip(*corpus(rng, 12), strict=True):
            score = oracle.score(" ".join(r), " ".join(h))["rougeL"]
            assert_close(rouge_l(h, r), (float(score.precision), float(score.recall), float(score.fmeasure)))

    @pytest.mark.parametrize(("h", "r"), [("", ""), ("", "abcd"), ("abcd", ""), ("abc", "xyzw")])
    def test_is_zero_without_a_match(self, h, r):
        assert_close(rouge_l(list(h), list(r)), (0.0, 0.0, 0.0))


class TestNormalizeAnswer:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("The Eiffel Tower!", "eiffel tower"),
            ("  An  apple\na day ", "apple day"),
            ("state-of-the-art", "stateoftheart"),
            ("the U.S.A.", "usa"),
            ("a-b", "ab"),
            ("Theatre, another (bath)", "theatre another bath"),
            ("a_the_b", "atheb"),
            ("á la carte: thé", "á la carte thé"),
            ("“the” end…", "“ ” end…"),
            ("now—a—day", "now— —day"),
            ("The a AN", ""),
            ("?!", ""),
            ("3.5%", "35"),
        ],
    )
    def test_in_four_steps(self, text, expected):
        assert_equal(normalize_answer(text), expected)


class TestExactMatch:
    @pytest.mark.parametrize(
        ("prediction", "answers", "expected"),
        [
            ("The Eiffel Tower!", ["Louvre", "eiffel  tower"], 1.0),
            ("The Eiffel Tower!", ["eiffel tower", "Louvre"], 1.0),
            ("eiffel", ["eiffel tower"], 0.0),
            ("eiffel tower", ["eiffel"], 0.0),
            ("tower eiffel", ["eiffel tower"], 0.0),
            ("the", ["an"], 1.0),
            ("the", ["one"], 0.0),
        ],
    )
    def test_of_normalised_answers(self, prediction, answers, expected):
        assert_equal(exact_match(prediction, answers), expected)


class TestTokenF1:
    def test_the_example_worked_by_hand(self):
        assert_close(token_f1("The Eiffel Tower!", ["tower of Eiffel"]), 0.8)

    @pytest.mark.parametrize(
        ("prediction", "answers", "expected"),
        [
            ("no no no yes", ["no no maybe"], 4 / 7),
            ("no", ["no no no"], 0.5),
            ("red car", ["blue car", "red fast car", "house"], 0.8),
            ("red car", ["red car", "blue"], 1.0),
            ("a red-car", ["red car"], 0.0),
            ("", ["the"], 1.0),
            ("the", [""], 1.0),
            ("", ["one"], 0.0),
            ("one", ["an", "two"], 0.0),
            ("the", ["one", "a"], 1.0),
        ],
    )
    def test_the_best_answer_counts_and_repeats_match_once(self, prediction, answers, expected):
        assert_close(token_f1(prediction, answers), expected)

    def test_matches_counting_pairs(self, rng):
        words = list("bcdefg")
        for _ in range(20):
            ours, theirs = sentence(rng, rng.integers(1, 8), words), sentence(rng, rng.integers(1, 8), words)
            left, common = list(theirs), 0
            for word in ours:
                if word in left:
                    left.remove(word)
                    common += 1
            expected = 2 * common / (len(ours) + len(theirs))
            assert_close(token_f1(" ".join(ours), [" ".join(theirs)]), expected)


def brute_edits(a, b):
    @functools.cache
    def edits(i, j):
        if i == 0 or j == 0:
            return i + j
        last = edits(i - 1, j - 1) + (a[i - 1] != b[j - 1])
        return min(last, edits(i - 1, j) + 1, edits(i, j - 1) + 1)

    return edits(len(a), len(b))


class TestEditDistance:
    @pytest.mark.parametrize(
        ("reference", "hypothesis", "expected"),
        [
            ("the cat sat on the mat", "a cat sat on mat", 2),
            ("a b c", "a b c", 0),
            ("a b c", "a x c", 1),
            ("a b c", "b c", 1),
            ("b c", "a b c", 1),
            ("a b", "b a", 2),
            ("a b c d", "x a b c", 2),
            ("a a a", "a", 2),
            ("", "a b", 2),
            ("a b c", "", 3),
            ("", "", 0),
        ],
    )
    def test_inserts_deletes_and_replaces(self, reference, hypothesis, expected):
        assert_equal(edit_distance(reference.split(), hypothesis.split()), expected)

    @pytest.mark.parametrize(("a", "b", "expected"), [("kitten", "sitting", 3), ("intention", "execution", 5)])
    def test_of_strings(self, a, b, expected):
        assert_equal(edit_distance(a, b), expected)

    @pytest.mark.parametrize("words", ["ab", "abcde"])
    def test_matches_the_recursion(self, rng, words):
        for _ in range(15):
            a, b = (sentence(rng, rng.integers(12), words) for _ in range(2))
            assert_equal(edit_distance(a, b), brute_edits(a, b))

    def test_of_long_texts(self, rng):
        a = sentence(rng, 5000)
        assert_equal(edit_distance(a, ["x", "y"]), 5000)
        assert_equal(edit_distance(["x", "y"], a), 5000)
        b = sentence(rng, 60)
        assert_equal(edit_distance(b, [*b[:30], "x", *b[31:]]), 1)


class TestErrorRate:
    def test_the_example_worked_by_hand(self):
        got = error_rate([["the", "cat", "sat", "on", "the", "mat"]], [["a", "cat", "sat", "on", "mat"]])
        assert_close(got, 2 / 6)

    def test_of_characters(self):
        assert_close(error_rate(["kitten", "cat"], ["sitting", "cat"]), 3 / 9)

    def test_sums_first(self):
        # As a mean of the sentences: (1/1 + 0/4)/2.
        assert_close(error_rate([["a"], list("abcd")], [["x"], list("abcd")]), 1 / 5)

    def test_may_be_above_one(self):
        assert_close(error_rate([["a"]], [list("xyz")]), 3.0)

    def test_is_by_the_length_of_the_references(self):
        assert_close(error_rate([list("abcdef")], [list("abc")]), 0.5)
        assert_close(error_rate([list("abc")], [list("abcdef")]), 1.0)

    def test_of_an_empty_text_among_others(self):
        assert_close(error_rate([[], ["a", "b"]], [["x"], []]), 3 / 2)

    def test_words_match_jiwer(self, rng):
        jiwer = pytest.importorskip("jiwer", reason=INSTALL)
        references = [sentence(rng, rng.integers(1, 12)) for _ in range(9)]
        hypotheses = [garbled(rng, r) for r in references]
        expected = jiwer.wer([" ".join(r) for r in references], [" ".join(h) for h in hypotheses])
        assert_close(error_rate(references, hypotheses), float(expected))

    def test_characters_match_jiwer(self, rng):
        jiwer = pytest.importorskip("jiwer", reason=INSTALL)
        references = ["".join(sentence(rng, rng.integers(1, 12))) for _ in range(9)]
        hypotheses = ["".join(garbled(rng, r)) for r in references]
        assert_close(error_rate(references, hypotheses), float(jiwer.cer(references, hypotheses)))

    def test_rejects_numbers_of_texts_that_differ(self):
        with raises(ValueError, 3, 2):
            error_rate([["a"], ["b"], ["c"]], [["a"], ["b"]])
        with raises(ValueError, 1, 2):
            error_rate([["a"]], [["a"], ["b"]])

    @pytest.mark.parametrize(("references", "hypotheses"), [([[], []], [["a"], []]), ([""], [""]), ([], [])])
    def test_rejects_references_without_a_token(self, references, hypotheses):
        with raises(ValueError):
            error_rate(references, hypotheses)

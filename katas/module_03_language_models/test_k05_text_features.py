"""Judges k05_text_features against scikit-learn's vectorizers and its naive Bayes, and by hand."""

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_03_language_models.k05_text_features import (
    BagOfNgrams,
    NaiveBayes,
    TfIdf,
    analyze,
    hash_features,
    ngrams,
    tokenize,
)

pytestmark = [from_scratch("sklearn", "scipy"), pure()]

HAND = ["The cat sat.", "the cat saw the dog", "a dog"]
HAND_COUNTS = np.array([[1, 0, 1, 0, 1], [1, 1, 0, 1, 2], [0, 1, 0, 0, 0]])
HAND_CLASSES = np.array(["+", "-", "+"])

WORDS = ["The", "THE", "the", "cat", "Sat", "on", "a", "mat", "naïve", "Café", "state-of-the-art", "can't", "x_y"]
WORDS += ["42", "3D", "É", "ÀB", "Straße", "don't", "movie!", "I", "…", "ΣΊΣΥΦΟΣ", "(good)", "not", "good,", "Zebra"]
WORDS += ["zoo", "_", "__", "e.g.", "1.5"]


def texts_of(rng, n, longest=12):
    """Texts of words that are common or rare, with different gaps between them."""
    p = 1 / np.arange(2, len(WORDS) + 2)
    words = rng.permutation(WORDS)
    texts = []
    for _ in range(n):
        drawn = rng.choice(words, size=rng.integers(1, longest + 1), p=p / p.sum())
        texts.append("".join(word + str(rng.choice([" ", ", ", "\n", "  "])) for word in drawn))
    return texts


class TestTokenize:
    def test_the_example_worked_by_hand(self):
        got = [tokenize(text) for text in HAND]
        assert_equal(got, [["the", "cat", "sat"], ["the", "cat", "saw", "the", "dog"], ["dog"]])

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("I saw it's 3D!", ["saw", "it", "3d"]),
            ("Don't: state-of-the-art", ["don", "state", "of", "the", "art"]),
            ("x_y __ _ 42 7", ["x_y", "__", "42"]),
            ("Naïve CAFÉ in Ελλάδα", ["naïve", "café", "in", "ελλάδα"]),
            ("Straße", ["straße"]),
        ],
    )
    def test_words_are_runs_of_two_or_more_word_characters(self, text, expected):
        assert_equal(tokenize(text), expected)

    def test_lower_case_comes_first(self):
        # "İ".lower() is an i with a combining dot, which is no word character.
        assert_equal(tokenize("İYİ film"), ["yi", "film"])

    @pytest.mark.parametrize("text", ["", "a I ?! \n"])
    def test_there_may_be_no_word(self, text):
        assert_equal(tokenize(text), [])

    def test_matches_scikit_learn(self, rng):
        from sklearn.feature_extraction.text import CountVectorizer

        oracle = CountVectorizer().build_analyzer()
        for text in texts_of(rng, 40):
            assert_equal(tokenize(text), oracle(text))


class TestNgrams:
    @pytest.mark.parametrize(
        ("low", "high", "expected"),
        [
            (1, 1, ["bb", "aa", "bb", "cc"]),
            (1, 2, ["bb", "aa", "bb", "cc", "bb aa", "aa bb", "bb cc"]),
            (2, 3, ["bb aa", "aa bb", "bb cc", "bb aa bb", "aa bb cc"]),
            (4, 6, ["bb aa bb cc"]),
            (5, 6, []),
        ],
    )
    def test_shorter_ones_first_then_from_left_to_right(self, low, high, expected):
        assert_equal(ngrams(["bb", "aa", "bb", "cc"], low, high), expected)

    def test_of_nothing(self):
        assert_equal(ngrams([], 1, 3), [])

    @pytest.mark.parametrize(("low", "high"), [(0, 2), (3, 2), (-1, -1)])
    def test_rejects_a_range_that_is_none(self, low, high):
        with raises(ValueError, low, high):
            ngrams(["bb", "aa"], low, high)


class TestAnalyze:
    def test_stop_words_are_dropped_before_ngrams_are_made(self):
        got = analyze("State of the Art, of course", (1, 2), ["of", "the"])
        assert_equal(got, ["state", "art", "course", "state art", "art course"])

    def test_by_default_single_words_and_all_of_them(self):
        assert_equal(analyze("To be, or not to be"), ["to", "be", "or", "not", "to", "be"])

    @pytest.mark.parametrize("ngram_range", [(1, 1), (1, 3), (2, 2)])
    @pytest.mark.parametrize("stop_words", [[], ["the", "sat", "good"], ["THE", "on"]])
    def test_matches_scikit_learn(self, rng, ngram_range, stop_words):
        from sklearn.feature_extraction.text import CountVectorizer

        # Of a stop word in upper case scikit-learn warns when a text is analyzed through fit; here it doesn't.
        vectorizer = CountVectorizer(ngram_range=ngram_range)
        words = CountVectorizer().build_analyzer()
        for text in texts_of(rng, 20):
            expected = vectorizer._word_ngrams(words(text), stop_words)
            assert_equal(analyze(text, ngram_range, stop_words), expected)

    def test_rejects_a_range_that_is_none(self):
        with raises(ValueError, 2, 1):
            analyze("not good", (2, 1))


def fitted(texts, **options):
    bag = BagOfNgrams(**options)
    bag.fit(texts)
    return bag


def terms(bag):
    return sorted(bag.vocabulary, key=bag.vocabulary.get)


class TestBagOfNgrams:
    def test_the_example_worked_by_hand(self):
        bag = fitted(HAND)
        assert_equal(dict(bag.vocabulary), {"cat": 0, "dog": 1, "sat": 2, "saw": 3, "the": 4})
        assert_close(bag.transform(HAND), HAND_COUNTS)

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"ngram_range": (1, 2)},
            {"ngram_range": (2, 3), "binary": True},
            {"stop_words": ["the", "good"], "ngram_range": (1, 2)},
            {"min_df": 2},
            {"min_df": 0.25, "max_df": 0.5},
            {"max_df": 3},
            {"min_df": 3, "max_df": 0.75, "ngram_range": (1, 2), "stop_words": ["cat"], "binary": True},
        ],
        ids=lambda options: ",".join(options) or "defaults",
    )
    def test_matches_scikit_learn(self, rng, options):
        from sklearn.feature_extraction.text import CountVectorizer

        # Every word stands at least once, and in four texts of 16 it does for certain: a term stays.
        texts = [text + "Zoo cat zoo" if i % 4 == 0 else text for i, text in enumerate(texts_of(rng, 16))]
        if options.get("max_df") == 3:
            texts[1] += " unique"
        given = {**options, "stop_words": options.get("stop_words")}
        oracle = CountVectorizer(**given).fit(texts)
        bag = fitted(texts, **options)
        assert_equal(dict(bag.vocabulary), {term: int(column) for term, column in oracle.vocabulary_.items()})
        new = [*texts_of(rng, 5), ""]
        for some in (texts, new):
            assert_close(bag.transform(some), oracle.transform(some).toarray())

    @pytest.mark.parametrize(
        ("min_df", "max_df", "expected"),
        [
            (1, 1.0, ["every", "half", "once", "twice"]),
            (2, 1.0, ["every", "half", "twice"]),
            (3, 1.0, ["every", "half"]),
            (1.0, 1.0, ["every"]),
            (1, 1, ["once"]),
            (1, 4, ["half", "once", "twice"]),
            (0.5, 8, ["every", "half"]),
            (2, 0.25, ["twice"]),
        ],
    )
    def test_an_int_is_a_number_of_texts_and_a_float_a_share(self, min_df, max_df, expected):
        texts = ["every"] * 4 + ["every half"] * 2 + ["every half twice"] + ["every half twice once once once"]
        assert_equal(terms(fitted(texts, min_df=min_df, max_df=max_df)), expected)

    @pytest.mark.parametrize("k", [1, 2, 4, 9])
    @pytest.mark.parametrize("ngram_range", [(1, 1), (1, 2)])
    def test_the_most_frequent_terms(self, rng, k, ngram_range):
        from sklearn.feature_extraction.text import CountVectorizer

        # The words' totals are 1, 3, 5 …, without ties, and their order has nothing to do with the alphabet's.
        words = rng.permutation(["pear", "fig", "apple", "kiwi", "plum"])
        bags = [[] for _ in range(7)]
        for i, word in enumerate(words):
            for _ in range(2 * i + 1):
                bags[rng.integers(7)].append(str(word))
        texts = [" ".join(bag) for bag in bags]
        bag = fitted(texts, max_features=k, ngram_range=ngram_range)
        totals = CountVectorizer(ngram_range=ngram_range).fit(texts)
        sums = dict(zip(totals.get_feature_names_out(), totals.transform(texts).toarray().sum(axis=0), strict=True))
        expected = sorted(sorted(sums, key=lambda term: (-sums[term], term))[:k])
        assert_equal(terms(bag), expected)
        assert_equal(bag.transform(texts).sum(axis=0).tolist(), [int(sums[term]) for term in expected])

    def test_of_equally_frequent_terms_the_first_in_sorted_order_stay(self):
        assert_equal(
            terms(fitted(["plum kiwi fig", "pear fig plum", "kiwi pear"], max_features=3)), ["fig", "kiwi", "pear"]
        )

    @pytest.mark.parametrize(("binary", "expected"), [(False, ["often"]), (True, ["wide"])])
    def test_frequent_as_the_table_has_it(self, binary, expected):
        texts = ["often often often often wide", "wide", "wide"]
        assert_equal(terms(fitted(texts, max_features=1, binary=binary)), expected)

    def test_a_limit_is_applied_to_the_terms_that_stay(self):
        texts = ["common rare", "common usual", "common usual few", "common few few"]
        assert_equal(terms(fitted(texts, max_df=0.75, min_df=2, max_features=1)), ["few"])

    def test_other_texts_may_have_none_of_the_terms(self):
        bag = fitted(HAND)
        assert_close(bag.transform(["", "Bird! bird", "DOG cat dog"]), np.array([[0] * 5, [0] * 5, [1, 2, 0, 0, 0]]))

    def test_of_no_texts(self):
        assert_close(fitted(HAND).transform([]), np.zeros((0, 5), dtype=np.int64))

    def test_a_second_fit_forgets_the_first(self):
        bag = fitted(HAND)
        bag.fit(["dog bird", "bird"])
        assert_equal(dict(bag.vocabulary), {"bird": 0, "dog": 1})
        assert_close(bag.transform(HAND), np.array([[0, 0], [0, 1], [0, 1]]))

    def test_transform_learns_nothing(self):
        bag = fitted(HAND)
        bag.transform(["some other words"])
        assert_close(bag.transform(HAND), HAND_COUNTS)

    @pytest.mark.parametrize(
        ("texts", "min_df", "max_df"),
        [(["a", "I !"], 1, 1.0), (HAND, 3, 1.0), (HAND, 1, 0.25), (HAND, 2, 1), ([], 1, 1.0)],
    )
    def test_rejects_limits_that_leave_no_term(self, texts, min_df, max_df):
        with raises(ValueError, min_df, max_df):
            fitted(texts, min_df=min_df, max_df=max_df)

    def test_on_reviews(self, reviews):
        from sklearn.feature_extraction.text import CountVectorizer

        texts = reviews[0][::40]
        options = {"ngram_range": (1, 2), "min_df": 3, "max_df": 0.25}
        oracle = CountVectorizer(**options).fit(texts)
        bag = fitted(texts, **options)
        assert_equal(dict(bag.vocabulary), {term: int(column) for term, column in oracle.vocabulary_.items()})
        assert_close(bag.transform(texts), oracle.transform(texts).toarray())


def weights_of(counts, new, **options):
    model = TfIdf(**options)
    model.fit(counts)
    return model.transform(new)


class TestTfIdf:
    def test_the_example_worked_by_hand(self):
        model = TfIdf()
        model.fit(HAND_COUNTS)
        common, rare = np.log(4 / 3) + 1, np.log(2) + 1
        assert_close(model.idf, np.array([common, common, rare, rare, common]))
        assert_close(model.transform(HAND_COUNTS)[0].round(3), np.array([0.518, 0, 0.681, 0, 0.518]))

    @pytest.mark.parametrize("smooth", [True, False])
    def test_idf_counts_texts(self, smooth):
        model = TfIdf(smooth=smooth)
        model.fit(np.array([[9, 1, 0], [0, 2, 0], [0, 3, 4], [5, 1, 0]]))
        df = np.array([2, 4, 1])
        assert_close(model.idf, np.log(5 / (1 + df)) + 1 if smooth else np.log(4 / df) + 1)

    @pytest.mark.parametrize("smooth", [True, False])
    @pytest.mark.parametrize("sublinear", [True, False])
    @pytest.mark.parametrize("norm", ["l2", "l1", None])
    def test_matches_scikit_learn(self, rng, smooth, sublinear, norm):
        from sklearn.feature_extraction.text import TfidfTransformer

        counts, new = rng.poisson(1.0, (9, 6)), rng.poisson(0.7, (5, 6))
        counts[0] += 1  # each term is in some text
        counts[4], new[2] = 0, 0
        oracle = TfidfTransformer(smooth_idf=smooth, sublinear_tf=sublinear, norm=norm).fit(counts)
        for some in (counts, new):
            got = weights_of(counts, some, smooth=smooth, sublinear=sublinear, norm=norm)
            assert_close(got, oracle.transform(some).toarray())

    def test_by_default_smooth_linear_and_of_length_1(self, rng):
        from sklearn.feature_extraction.text import TfidfTransformer

        counts = rng.poisson(1.5, (7, 5))
        assert_close(weights_of(counts, counts), TfidfTransformer().fit_transform(counts).toarray())

    @pytest.mark.parametrize("dtype", ["int8", "uint16", "float32"])
    @pytest.mark.parametrize("sublinear", [True, False])
    def test_counts_of_any_type(self, rng, dtype, sublinear):
        from sklearn.feature_extraction.text import TfidfTransformer

        exact = rng.integers(0, 121, (7, 5)).astype(float)
        counts = exact.astype(dtype)
        oracle = TfidfTransformer(sublinear_tf=sublinear)
        assert_close(weights_of(counts, counts, sublinear=sublinear), oracle.fit_transform(exact).toarray())

    def test_of_a_term_that_no_text_holds(self):
        model = TfIdf()
        model.fit(np.array([[1, 0], [2, 0], [1, 0]]))
        assert_close(model.idf, np.array([1.0, np.log(4) + 1]))

    @pytest.mark.parametrize("norm", ["l2", "l1", None])
    def test_an_empty_text_stays_a_row_of_zeros(self, norm):
        assert_close(weights_of(HAND_COUNTS, np.zeros((2, 5), dtype=int), norm=norm), np.zeros((2, 5)))

    @pytest.mark.parametrize(("norm", "expected"), [("l2", [3 / 5, 4 / 5]), ("l1", [3 / 7, 4 / 7]), (None, [3.0, 4.0])])
    def test_norms(self, norm, expected):
        ones = np.ones((2, 2), dtype=int)
        got = weights_of(ones, np.array([[3, 4], [0, 1]]), norm=norm)
        assert_close(got, np.array([expected, [0, 1]]))

    @pytest.mark.parametrize("norm", ["max", "L2"])
    def test_rejects_another_norm(self, norm):
        with raises(ValueError, norm):
            TfIdf(norm=norm)

    def test_transform_learns_nothing_and_a_second_fit_forgets_the_first(self):
        model = TfIdf()
        model.fit(HAND_COUNTS)
        before = np.array(model.idf)
        model.transform(np.array([[1, 0, 0, 0, 7]]))
        assert_close(model.idf, before)
        model.fit(np.array([[1, 2, 0, 0, 0], [0, 1, 1, 3, 1]]))
        assert_close(model.idf, np.log([1.5, 1, 1.5, 1.5, 1.5]) + 1)


# Eight letters each, made so that MurmurHash3 gives the two ends of its range, and 0.
LOWEST, HIGHEST, NOUGHT = "akqlrggi", "acqerwwr", "ajrfjpbr"


class TestHashFeatures:
    def test_the_example_of_the_drawing(self):
        assert_close(hash_features(["The cat sat."], 4), np.array([[1.0, 0, -1, 1]]))

    @pytest.mark.parametrize("columns", [1, 7, 64])
    @pytest.mark.parametrize("signs", [True, False])
    @pytest.mark.parametrize("ngram_range", [(1, 1), (1, 2)])
    def test_matches_scikit_learn(self, rng, columns, signs, ngram_range):
        from sklearn.feature_extraction.text import HashingVectorizer

        texts, stop_words = texts_of(rng, 9), ["the", "mat"]
        oracle = HashingVectorizer(
            n_features=columns, ngram_range=ngram_range, alternate_sign=signs, norm=None, stop_words=stop_words
        )
        got = hash_features(texts, columns, ngram_range, stop_words, signs)
        assert_close(got, oracle.transform(texts).toarray())

    def test_by_default_single_words_with_signs(self, rng):
        from sklearn.feature_extraction.text import HashingVectorizer

        texts = texts_of(rng, 8)
        assert_close(hash_features(texts, 16), HashingVectorizer(n_features=16, norm=None).transform(texts).toarray())

    @pytest.mark.parametrize("columns", [3, 10])
    @pytest.mark.parametrize(("word", "h"), [(LOWEST, -(2**31)), (HIGHEST, 2**31 - 1), (NOUGHT, 0)])
    def test_the_ends_of_the_hash(self, word, h, columns):
        expected = np.zeros((1, columns))
        expected[0, abs(h) % columns] = -1 if h < 0 else 1
        assert_close(hash_features([word], columns), expected)

    def test_terms_that_share_a_column_may_cancel(self):
        # "the" and "dog" have the sign -, "cat" and "sat" the sign +.
        assert_close(hash_features(["the cat", "the dog", "the", ""], 1), np.array([[0.0], [-2], [-1], [0]]))
        got = hash_features(["the cat", "the dog", "the", ""], 1, signs=False)
        assert_close(got, np.array([[2.0], [2], [1], [0]]))

    def test_of_a_long_text(self):
        assert_close(hash_features(["cat " * 3001], 1), np.array([[3001.0]]))

    def test_of_no_texts(self):
        assert_close(hash_features([], 5), np.zeros((0, 5)))

    @pytest.mark.parametrize("columns", [0, -3])
    def test_rejects_no_columns(self, columns):
        with raises(ValueError, columns):
            hash_features(HAND, columns)

    def test_dot_products_survive_on_average(self, reviews):
        # Weinberger et al.: with signs the hashed dot product has the right mean; without, it is too large.
        texts = reviews[0][:600:4]
        bag = fitted(texts)
        counts = bag.transform(texts).astype(float)
        exact = counts @ counts.T
        errors = []
        for signs in (True, False):
            hashed = hash_features(texts, 256, signs=signs)
            errors.append(float((hashed @ hashed.T - exact).mean()))
        assert abs(errors[0]) < 0.3 * errors[1]


class TestNaiveBayes:
    def test_the_example_worked_by_hand(self):
        model = NaiveBayes()
        model.fit(HAND_COUNTS, HAND_CLASSES)
        assert_equal(np.asarray(model.classes).tolist(), ["+", "-"])
        assert_close(model.log_prior, np.log([2 / 3, 1 / 3]))
        assert_close(model.log_likelihood, np.log([[2 / 9, 2 / 9, 2 / 9, 1 / 9, 2 / 9], [0.2, 0.2, 0.1, 0.2, 0.3]]))
        sat = np.array([[0, 0, 1, 0, 0]])
        assert_close(model.predict_log_proba(sat), np.log([[40 / 49, 9 / 49]]))
        assert_equal(np.asarray(model.predict(sat)).tolist(), ["+"])

    @pytest.mark.parametrize("alpha", [1.0, 0.1, 7])
    @pytest.mark.parametrize("names", [["rotten", "fresh", "mixed"], [30, 10, 20]])
    def test_matches_scikit_learn(self, rng, alpha, names):
        from sklearn.naive_bayes import MultinomialNB

        # Classes of 4, 6 and 11 rows.
        y = np.array(names)[rng.permutation(np.repeat([0, 1, 2], [4, 6, 11]))]
        x, new = rng.poisson(1.2, (21, 7)), rng.poisson(1.2, (10, 7))
        x[:, 2] = 0
        oracle = MultinomialNB(alpha=alpha).fit(x, y)
        model = NaiveBayes(alpha)
        model.fit(x, y)
        assert_equal(np.asarray(model.classes).tolist(), oracle.classes_.tolist())
        assert_close(model.log_prior, oracle.class_log_prior_)
        assert_close(model.log_likelihood, oracle.feature_log_prob_)
        assert_close(model.predict_log_proba(new), oracle.predict_log_proba(new))
        assert_equal(np.asarray(model.predict(new)).tolist(), oracle.predict(new).tolist())

    def test_alpha_is_1_by_default(self):
        model = NaiveBayes()
        model.fit(np.array([[3, 0], [0, 1]]), np.array([0, 1]))
        assert_close(model.log_likelihood, np.log([[0.8, 0.2], [1 / 3, 2 / 3]]))

    def test_learns_from_weights_as_from_counts(self, rng):
        from sklearn.naive_bayes import MultinomialNB

        x, y = rng.random((12, 5)), np.arange(12) % 2
        model = NaiveBayes(0.5)
        model.fit(x, y)
        assert_close(model.predict_log_proba(x), MultinomialNB(alpha=0.5).fit(x, y).predict_log_proba(x))

    @pytest.mark.parametrize("dtype", ["int8", "uint8", "float32"])
    def test_counts_of_any_type(self, rng, dtype):
        from sklearn.naive_bayes import MultinomialNB

        # Of six texts a class, so that sums are above 255.
        exact, y = rng.integers(50, 121, (12, 4)).astype(float), np.arange(12) % 2
        oracle = MultinomialNB(alpha=0.5).fit(exact, y)
        model = NaiveBayes(0.5)
        model.fit(exact.astype(dtype), y)
        assert_close(model.log_likelihood, oracle.feature_log_prob_)
        assert_close(model.predict_log_proba(exact.astype(dtype)), oracle.predict_log_proba(exact))

    def test_rare_classes_are_less_likely(self):
        # No term tells anything, so the prior alone decides.
        model = NaiveBayes()
        model.fit(np.ones((5, 2), dtype=int), np.array([4, 9, 9, 9, 4]))
        assert_close(model.predict_log_proba(np.array([[3, 2]])), np.log([[0.4, 0.6]]))
        assert_equal(np.asarray(model.predict(np.array([[3, 2]]))).tolist(), [9])

    def test_an_empty_text_has_the_prior(self):
        model = NaiveBayes()
        model.fit(HAND_COUNTS, HAND_CLASSES)
        assert_close(model.predict_log_proba(np.zeros((1, 5), dtype=int)), np.log([[2 / 3, 1 / 3]]))

    def test_a_long_text_is_no_trouble(self):
        model = NaiveBayes()
        model.fit(np.array([[5, 1], [1, 5]]), np.array([0, 1]))
        # P(t | c) is 3/4 or 1/4: the first class is ahead by 2000 ln 3.
        x = np.array([[5000, 3000], [3000, 5000]])
        got = model.predict_log_proba(x)
        ahead = 2000 * np.log(3)
        assert_close(got, np.array([[0, -ahead], [-ahead, 0]]))
        assert_equal(np.asarray(model.predict(x)).tolist(), [0, 1])

    def test_a_short_text_beside_a_long_one(self):
        model = NaiveBayes()
        model.fit(np.array([[5, 1], [1, 5]]), np.array([0, 1]))
        got = model.predict_log_proba(np.array([[3001, 3000], [1, 0]]))
        assert_close(got, np.log([[0.75, 0.25], [0.75, 0.25]]))

    def test_of_equal_classes_the_first_in_sorted_order_wins(self):
        model = NaiveBayes()
        model.fit(np.array([[1, 2], [1, 2]]), np.array(["late", "early"]))
        assert_equal(np.asarray(model.predict(np.array([[2, 1]]))).tolist(), ["early"])

    def test_a_single_class(self):
        model = NaiveBayes()
        model.fit(np.array([[1, 2], [0, 2]]), np.array([5, 5]))
        assert_close(model.predict_log_proba(np.array([[2, 1]])), np.zeros((1, 1)))

    def test_a_second_fit_forgets_the_first(self):
        model = NaiveBayes()
        model.fit(HAND_COUNTS, HAND_CLASSES)
        model.fit(np.array([[3, 0], [0, 1]]), np.array([8, 6]))
        assert_equal(np.asarray(model.classes).tolist(), [6, 8])
        assert_close(model.log_likelihood, np.log([[1 / 3, 2 / 3], [0.8, 0.2]]))

    @pytest.mark.parametrize("alpha", [0, -0.5])
    def test_rejects_an_alpha_that_does_not_smooth(self, alpha):
        with raises(ValueError, alpha):
            NaiveBayes(alpha)

    @pytest.mark.parametrize("smallest", [-1, -0.25])
    def test_rejects_negative_counts(self, smallest):
        with raises(ValueError, smallest):
            NaiveBayes().fit(np.array([[1, 2], [smallest, 0]]), np.array([0, 1]))

    def test_tells_good_reviews_from_bad(self, reviews, rng):
        texts, labels = reviews
        rows = rng.permutation(len(texts))[:3500]
        train, held_out = rows[:2500], rows[2500:]
        some = [texts[i] for i in train]
        bag = fitted(some, min_df=3)
        model = NaiveBayes()
        model.fit(bag.transform(some), labels[train])
        predicted = model.predict(bag.transform([texts[i] for i in held_out]))
        right = float((predicted == labels[held_out]).mean())
        majority = float(max(labels[held_out].mean(), 1 - labels[held_out].mean()))
        assert right > majority + 0.05

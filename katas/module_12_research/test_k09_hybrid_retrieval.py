"""Judges k09_hybrid_retrieval by rank-bm25, by plain loops, and by a collection that needs words and meanings."""

import itertools
import json
import math

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_12_research.k09_hybrid_retrieval import (
    BM25,
    cosine_scores,
    expand_query,
    hybrid_search,
    idf_weights,
    mmr,
    reciprocal_rank_fusion,
    rerank,
    score_fusion,
    top,
)

pytestmark = [from_scratch("rank_bm25", "sklearn", "scipy", "faiss", "sentence_transformers"), pure()]

CATS = [["the", "cat", "sat"], ["the", "dog"], ["the", "cat", "and", "the", "dog"]]
TERMS = [f"w{i}" for i in range(25)]


def some_documents(rng, n=14, longest=12):
    p = 1 / np.arange(1, 26)
    return [[str(t) for t in rng.choice(TERMS, rng.integers(1, longest + 1), p=p / p.sum())] for _ in range(n)]


def frequency(documents):
    terms = sorted({term for document in documents for term in document})
    return {term: sum(term in document for document in documents) for term in terms}


class TestIdfWeights:
    def test_the_example_worked_by_hand(self):
        df = {"the": 3, "cat": 2, "sat": 1, "dog": 2, "and": 1}
        lucene = idf_weights(df, 3)
        assert_close([lucene[t] for t in ("the", "cat", "sat")], [math.log(8 / 7), math.log(1.6), math.log(8 / 3)])
        okapi = idf_weights(df, 3, "okapi")
        floor = 0.25 * (math.log(1 / 7) + 2 * math.log(0.6) + 2 * math.log(5 / 3)) / 5
        expected = {"the": floor, "cat": floor, "dog": floor, "sat": math.log(5 / 3), "and": math.log(5 / 3)}
        assert_close(okapi, expected)

    def test_a_small_weight_above_0_stays_as_it_is(self):
        small, large, negative = (math.log((100 - df + 0.5) / (df + 0.5)) for df in (45, 1, 60))
        floor = 0.25 * (small + large + negative) / 3
        assert_equal(0 < small < floor, True)
        assert_close(idf_weights({"a": 45, "b": 1, "c": 60}, 100, "okapi"), {"a": small, "b": large, "c": floor})

    @pytest.mark.parametrize("epsilon", [0.25, 0.7])
    def test_matches_rank_bm25(self, rng, epsilon):
        rank_bm25 = pytest.importorskip("rank_bm25")
        for _ in range(5):
            documents = some_documents(rng)
            oracle = rank_bm25.BM25Okapi(documents, epsilon=epsilon)
            assert_close(idf_weights(frequency(documents), len(documents), "okapi", epsilon), dict(sorted(oracle.idf.items())))

    def test_a_quarter_of_the_mean_unless_told(self):
        df = {"a": 9, "b": 1, "c": 2, "d": 3}
        assert_close(idf_weights(df, 10, "okapi"), idf_weights(df, 10, "okapi", 0.25))

    def test_half_of_the_documents_is_no_reason_for_the_floor(self):
        assert_close(idf_weights({"a": 5, "b": 1}, 10, "okapi"), {"a": 0.0, "b": math.log(9.5 / 1.5)})

    def test_lucene_is_never_negative(self):
        df = {str(i): i for i in range(1, 41)}
        found = list(idf_weights(df, 40).values())
        assert_close(found, [math.log(1 + (40 - i + 0.5) / (i + 0.5)) for i in range(1, 41)])
        assert_equal(min(found) > 0, True)

    @pytest.mark.parametrize("kind", ["robertson", "Okapi"])
    def test_refuses_another_kind(self, kind):
        with raises(ValueError, kind):
            idf_weights({"a": 1}, 2, kind)


def bm25_by_hand(documents, query, k1, b, idf):
    average = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        score = 0.0
        for term in query:
            tf = document.count(term)
            if tf:
                score += idf[term] * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(document) / average))
        scores.append(score)
    return np.array(scores)


class TestBM25:
    def test_the_example_worked_by_hand(self):
        idf = math.log(8 / 7)
        assert_close(BM25(CATS, k1=1, b=0).scores(["the"])[2], idf * 4 / 3)
        assert_close(BM25(CATS, k1=1, b=1).scores(["the"])[2], idf * 4 / 3.5)

    @pytest.mark.parametrize("kind", ["lucene", "okapi"])
    @pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.9, 0.4), (2.0, 1.0), (1.2, 0.0)])
    def test_one_by_one(self, rng, kind, k1, b):
        documents = [*some_documents(rng), []]
        index = BM25(documents, k1, b, kind)
        assert_close(index.idf, idf_weights(frequency(documents), len(documents), kind))
        for query in (["w0", "w3"], ["w9", "w1", "w20", "none"], []):
            expected = bm25_by_hand(documents, query, k1, b, index.idf | {"none": 0})
            assert_close(index.scores(query), expected)

    @pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.8, 0.3)])
    def test_matches_rank_bm25(self, rng, k1, b):
        rank_bm25 = pytest.importorskip("rank_bm25")
        documents = some_documents(rng, 20)
        oracle, index = rank_bm25.BM25Okapi(documents, k1=k1, b=b), BM25(documents, k1, b, "okapi")
        for _ in range(10):
            query = [str(t) for t in rng.choice(TERMS, 4)]
            assert_close(index.scores(query), oracle.get_scores(query))

    def test_defaults(self, rng):
        documents = some_documents(rng)
        assert_close(BM25(documents).scores(["w0", "w2"]), BM25(documents, 1.5, 0.75, "lucene").scores(["w0", "w2"]))

    def test_a_term_twice_in_the_query_counts_twice(self, rng):
        index = BM25(some_documents(rng))
        assert_close(index.scores(["w1", "w1", "w2"]), 2 * index.scores(["w1"]) + index.scores(["w2"]))

    def test_unknown_terms_add_nothing(self):
        assert_close(BM25(CATS).scores(["bird", "fish"]), np.zeros(3))

    def test_with_k1_of_0_only_the_first_occurrence_counts(self):
        assert_close(BM25(CATS, k1=0).scores(["cat", "the"]), np.array([math.log(1.6) + math.log(8 / 7), math.log(8 / 7), math.log(1.6) + math.log(8 / 7)]))

    def test_keeps_its_own_counts(self):
        documents = [list(document) for document in CATS]
        index, expected = BM25(documents), BM25(CATS).scores(["cat", "dog"])
        documents[0].append("dog")
        documents[1].clear()
        assert_close(index.scores(["cat", "dog"]), expected)

    @pytest.mark.parametrize("b", [-0.1, 1.5])
    def test_refuses_b_out_of_range(self, b):
        with raises(ValueError, b):
            BM25(CATS, 1.5, b)


class TestCosineScores:
    def test_one_by_one(self, rng):
        vectors, query = rng.normal(size=(7, 4)), rng.normal(size=4)
        expected = [sum(v * query) / math.sqrt(sum(v * v) * sum(query * query)) for v in vectors]
        assert_close(cosine_scores(vectors, query), np.array(expected))
        assert_close(cosine_scores(vectors * 50, query / 9), np.array(expected))

    def test_vectors_of_zeros(self):
        vectors = np.array([[0.0, 0.0], [3.0, 4.0]])
        assert_close(cosine_scores(vectors, np.array([1.0, 0.0])), np.array([0.0, 0.6]))
        assert_close(cosine_scores(vectors, np.zeros(2)), np.zeros(2))

    @pytest.mark.parametrize("kind", [np.float32, np.float16, np.int8])
    def test_computes_in_float64(self, kind):
        vectors, query = np.array([[100, 3], [1, 110]], dtype=kind), np.array([3, 100], dtype=kind)
        assert_close(cosine_scores(vectors, query), cosine_scores(vectors.astype(np.float64), query.astype(np.float64)))


class TestTop:
    @pytest.mark.parametrize(("k", "expected"), [(1, [1]), (3, [1, 3, 0]), (4, [1, 3, 0, 2]), (9, [1, 3, 0, 2])])
    def test_best_first(self, k, expected):
        found = top(np.array([0.5, 2.0, -1.0, 2.0]), k)
        assert_equal((found, {type(i) for i in found}), (expected, {int}))

    def test_of_many_equal_ones_the_smaller_id(self):
        assert_equal(top(np.array([1, 0] * 40), 40), list(range(0, 80, 2)))

    @pytest.mark.parametrize("k", [0, -3])
    def test_refuses_k_below_1(self, k):
        with raises(ValueError, k):
            top(np.ones(3), k)


class TestReciprocalRankFusion:
    def test_the_example_worked_by_hand(self):
        found = reciprocal_rank_fusion([[3, 1, 2], [1, 4]])
        assert_close(found, [(1, 1 / 62 + 1 / 61), (3, 1 / 61), (4, 1 / 62), (2, 1 / 63)])

    @pytest.mark.parametrize("constant", [60, 2, 0])
    @pytest.mark.parametrize("weights", [None, [1.0, 0.3, 2.5]])
    def test_item_by_item(self, rng, constant, weights):
        for _ in range(5):
            rankings = [[int(i) for i in rng.permutation(30)[: rng.integers(12)]] for _ in range(3)]
            found = reciprocal_rank_fusion(rankings, constant, weights)
            expected = {}
            for item in range(30):
                terms = [
                    (1 if weights is None else weights[j]) / (constant + ranking.index(item) + 1)
                    for j, ranking in enumerate(rankings) if item in ranking
                ]  # fmt: skip
                if terms:
                    expected[item] = sum(terms)
            assert_close(dict(sorted(found)), expected)
            # Sums of three may be added in another order: up to rounding.
            scores = [score for _, score in found]
            assert_equal(all(b <= a + 1e-12 for a, b in itertools.pairwise(scores)), True)

    def test_60_unless_told(self):
        assert_close(reciprocal_rank_fusion([[5, 2]]), [(5, 1 / 61), (2, 1 / 62)])

    def test_of_equal_scores_the_smaller_id(self):
        assert_equal([i for i, _ in reciprocal_rank_fusion([[7, 2, 9], [2, 7, 4]])], [2, 7, 4, 9])

    def test_an_item_that_both_find_beats_one_that_is_first_in_one(self):
        assert_equal(reciprocal_rank_fusion([[1, 9, 3], [4, 5, 3]])[0][0], 3)

    def test_of_nothing(self):
        assert_equal((reciprocal_rank_fusion([]), reciprocal_rank_fusion([[], []])), ([], []))

    @pytest.mark.parametrize("weights", [[1.0], [1.0, 2.0, 3.0]])
    def test_refuses_another_number_of_weights(self, weights):
        with raises(ValueError, len(weights), 2):
            reciprocal_rank_fusion([[1], [2]], 60, weights)


class TestScoreFusion:
    def test_the_example_worked_by_hand(self):
        found = score_fusion([np.array([2, 4, 3]), np.array([0, 0, 10])], [1, 0.5])
        assert_close(found, np.array([0.0, 1.0, 1.0]))

    @pytest.mark.parametrize("weights", [None, [0.3, 2.0, 1.5]])
    def test_one_by_one(self, rng, weights):
        rows = [rng.normal(size=6) * 10 - 3, rng.normal(size=6), rng.integers(0, 9, 6) + np.arange(6)]
        expected = np.zeros(6)
        for j, row in enumerate(rows):
            low, high = min(row), max(row)
            expected += (1 if weights is None else weights[j]) * np.array([(x - low) / (high - low) for x in row])
        assert_close(score_fusion(rows, weights), expected)

    def test_equal_scores_add_nothing(self):
        assert_close(score_fusion([np.full(3, 0.7), np.array([1.0, 3.0, 2.0])]), np.array([0.0, 1.0, 0.5]))

    @pytest.mark.parametrize("weights", [[1.0], [1.0, 2.0, 3.0]])
    def test_refuses_another_number_of_weights(self, weights):
        with raises(ValueError, len(weights), 2):
            score_fusion([np.arange(3), np.arange(3)], weights)


def mmr_by_hand(relevance, similarity, k, trade):
    chosen = []
    while len(chosen) < min(k, len(relevance)):
        best = None
        for i in range(len(relevance)):
            if i in chosen:
                continue
            gain = trade * relevance[i]
            if chosen:
                gain -= (1 - trade) * max(similarity[i][j] for j in chosen)
            if best is None or gain > best[0] + 1e-12:
                best = (gain, i)
        chosen.append(best[1])
    return chosen


class TestMmr:
    RELEVANCE = np.array([0.9, 0.8, 0.3])
    SIMILARITY = np.array([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]])

    @pytest.mark.parametrize(("trade", "expected"), [(0.5, [0, 2, 1]), (1.0, [0, 1, 2]), (0.0, [0, 2, 1])])
    def test_the_example_worked_by_hand(self, trade, expected):
        assert_equal(mmr(self.RELEVANCE, self.SIMILARITY, 3, trade), expected)

    @pytest.mark.parametrize("trade", [0.1, 0.3, 0.5, 0.8])
    @pytest.mark.parametrize("k", [1, 4, 15])
    def test_one_by_one(self, rng, trade, k):
        for _ in range(5):
            x = rng.normal(size=(10, 3))
            x /= np.linalg.norm(x, axis=1, keepdims=True)
            relevance, similarity = rng.normal(size=10), x @ x.T
            found = mmr(relevance, similarity, k, trade)
            assert_equal(found, mmr_by_hand(relevance, similarity, k, trade))
            assert_equal({type(i) for i in found}, {int})

    def test_negative_similarities_count(self):
        similarity = np.array([[1, -0.5, -0.75], [-0.5, 1, 0], [-0.75, 0, 1]])
        assert_equal(mmr(np.array([1.0, 0.5, 0.375]), similarity, 2), [0, 2])

    def test_half_and_half_unless_told(self, rng):
        relevance, similarity = np.array([1.0, 0.9, 0.5, 0.25]), np.array([[1, 0.5, 0, 0.9], [0.5, 1, 0, 0], [0, 0, 1, 0], [0.9, 0, 0, 1]])
        assert_equal(mmr(relevance, similarity, 2), [0, 2])
        assert_equal(mmr(relevance, similarity, 2, 0.6), [0, 1])

    def test_of_equal_ones_the_smaller_id(self):
        assert_equal(mmr(np.array([0.5, 1.0, 1.0, 0.5]), np.zeros((4, 4)), 4), [1, 2, 0, 3])

    def test_of_nothing(self):
        assert_equal(mmr(np.empty(0), np.empty((0, 0)), 3), [])

    @pytest.mark.parametrize("trade", [-0.1, 1.2])
    def test_refuses_a_trade_out_of_range(self, trade):
        with raises(ValueError, trade):
            mmr(self.RELEVANCE, self.SIMILARITY, 2, trade)


class CrossEncoder:
    """Scores a pair by a table, and remembers the calls."""

    def __init__(self, table):
        self.table, self.calls = table, []

    def __call__(self, pairs):
        self.calls.append(list(pairs))
        return np.array([self.table[text] for _, text in pairs])


class TestRerank:
    TEXTS = ("zero", "one", "two", "three", "four", "five", "six")

    @pytest.mark.parametrize("k", [1, 3, 5, 8])
    @pytest.mark.parametrize("batch_size", [1, 2, 5, 16])
    def test_best_first_in_batches(self, k, batch_size):
        model = CrossEncoder({"zero": 9.0, "one": 0.5, "two": -3.0, "three": 2.0, "four": 7.0, "five": 0.1, "six": 1.0})
        ids = [5, 3, 1, 6, 2]
        assert_equal(rerank("why?", ids, self.TEXTS, model, k, batch_size), [3, 6, 1, 5, 2][:k])
        pairs = [("why?", self.TEXTS[i]) for i in ids]
        assert_equal(model.calls, [pairs[i : i + batch_size] for i in range(0, 5, batch_size)])

    def test_equal_scores_keep_their_order(self):
        model = CrossEncoder({"zero": 1.0, "one": 2.0, "two": 1.0, "three": 2.0, "four": 1.0})
        assert_equal(rerank("?", [4, 3, 2, 1, 0], self.TEXTS, model, 5), [3, 1, 4, 2, 0])

    def test_16_unless_told(self):
        model = CrossEncoder(dict.fromkeys(self.TEXTS, 0.0))
        rerank("?", range(17), self.TEXTS * 3, model, 2)
        assert_equal([len(call) for call in model.calls], [16, 1])

    def test_without_candidates_no_call(self):
        model = CrossEncoder({})
        assert_equal((rerank("?", [], self.TEXTS, model, 3), model.calls), ([], []))


class TestExpandQuery:
    def test_the_example_worked_by_hand(self):
        feedback, idf = [["cat", "sat", "mat"], ["cat", "mat"]], {"cat": 0.1, "sat": 1.0, "mat": 0.5}
        assert_equal(expand_query(["cat"], feedback, idf, 1), ["cat", "mat"])
        assert_equal(expand_query(["cat"], feedback, idf), ["cat", "mat", "sat"])

    @pytest.mark.parametrize("count", [0, 1, 4, 30])
    def test_term_by_term(self, rng, count):
        for _ in range(5):
            feedback = some_documents(rng, 4)
            idf = {term: float(rng.uniform(0.1, 3)) for term in TERMS[3:]}
            query = ["w5", "w0", "w5"]
            weights = {}
            for term in set(itertools.chain(*feedback)) - set(query):
                if term in idf:
                    weights[term] = sum(document.count(term) / len(document) for document in feedback) * idf[term]
            best = sorted(weights, key=weights.get, reverse=True)[:count]
            assert_equal(expand_query(query, feedback, idf, count), query + best)

    def test_three_unless_told(self):
        assert_equal(expand_query([], [list("abcde")], dict(zip("abcde", [1, 5, 2, 4, 3], strict=True))), ["b", "d", "e"])

    def test_of_equal_weights_the_first_in_order(self):
        assert_equal(expand_query(["x"], [["d", "b"], ["c", "a"]], dict.fromkeys("abcd", 2.0)), ["x", "a", "b", "c"])

    def test_of_no_feedback(self):
        assert_equal(expand_query(["x", "y"], [], {"a": 1.0}), ["x", "y"])
        assert_equal(expand_query(["x"], [[], ["a", "x"]], {"a": 1.0}), ["x", "a"])


class TestHybridSearch:
    @pytest.mark.parametrize(("k", "depth"), [(2, 3), (10, 3), (4, 2)])
    def test_every_wording_to_every_retriever(self, k, depth):
        lists = {("a", 0): [1, 3, 2], ("a", 1): [3, 9, 1], ("b", 0): [2, 7, 5], ("b", 1): [9, 2, 4], ("c", 0): [], ("c", 1): [8, 2, 6]}
        asked = []

        def retriever(number):
            def ranking(query, depth):
                asked.append((query, number, depth))
                return lists[query, number][:depth]

            return ranking

        found = hybrid_search(["a", "b", "c"], [retriever(0), retriever(1)], k, depth)
        scores = {}
        for ranking in lists.values():
            for rank, item in enumerate(ranking[:depth], 1):
                scores[item] = scores.get(item, 0) + 1 / (60 + rank)
        assert_equal(found, sorted(scores, key=lambda item: (-scores[item], item))[:k])
        assert_equal(sorted(asked), sorted((q, n, depth) for q in "abc" for n in (0, 1)))

    def test_depth_of_50_unless_told(self):
        depths = []

        def ranking(query, depth):
            depths.append(depth)
            return [4, 2]

        assert_equal((hybrid_search(["a"], [ranking], 1), depths), ([4], [50]))


PAGES = [
    "Error E4711 appears when the license has run out.",
    "Error E4712 appears when the printer has no paper.",
    "If the program cannot store your file, check the free space of the disk.",
    "The kitchen is open from noon to ten in the evening.",
    "Employees receive their salary on the last day of each month.",
    "Bicycles may be parked in the yard behind the house.",
]


@pytest.mark.learning
@pytest.mark.deadline(60)
class TestOnMiniLM:
    @pytest.fixture
    def retrievers(self, minilm):
        import torch
        from safetensors.torch import load_file
        from transformers import AutoTokenizer

        from reference.module_05_transformers.k11_bert import Bert, BertConfig

        c = json.loads((minilm / "config.json").read_text())
        names = ["vocab_size", "max_position_embeddings", "type_vocab_size", "hidden_size", "intermediate_size"]
        names += ["num_hidden_layers", "num_attention_heads", "layer_norm_eps"]
        bert = Bert(BertConfig(*(c[name] for name in names)))
        bert.load_hf(load_file(minilm / "model.safetensors"))
        tokenizer = AutoTokenizer.from_pretrained(minilm)

        def vectors(texts):
            rows = []
            for text in texts:
                ids = torch.tensor([tokenizer(text)["input_ids"]])
                with torch.no_grad():
                    rows.append(bert(ids)[0][0].mean(0).numpy())
            return np.stack(rows)

        def words(text):
            return "".join(c if c.isalnum() else " " for c in text.lower()).split()

        known, index = vectors(PAGES), BM25([words(page) for page in PAGES])

        def by_words(query, depth):
            scores = index.scores(words(query))
            return [i for i in top(scores, depth) if scores[i] > 0]

        def by_meaning(query, depth):
            return top(cosine_scores(known, vectors([query])[0]), depth)

        return by_words, by_meaning

    def test_together_they_find_codes_and_paraphrases(self, retrievers):
        by_words, by_meaning = retrievers
        code, paraphrase = "E4711", "How are staff paid?"
        if by_words(code, 2)[0] != 0:
            fail("The words alone should find the error's number.", evidence=by_words(code, 2))
        if by_meaning(paraphrase, 2)[0] != 4 or 4 in by_words(paraphrase, 6):
            fail("The meaning alone should find the page about salaries.", evidence=by_meaning(paraphrase, 2))
        for query, page in ((code, 0), (paraphrase, 4)):
            assert_equal(page in hybrid_search([query], retrievers, 2), True)

"""Judges k12_quality_filtering by labelled cases, brute-force counts and planted contamination."""

import json
import math
import random
from collections import Counter

import pytest

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_06_tokenization.k12_quality_filtering import (
    CharacterModel,
    contaminated,
    duplicate_line_fraction,
    identify,
    quality_problems,
    scrub,
    standardize,
    top_ngram_fraction,
)

pytestmark = [from_scratch("sklearn", "nltk"), pure()]

GOOD = "The rain had gone, and what was left of it ran down to the river with a sound that nobody would have missed."


def prose(words: int) -> str:
    """Passable text of that many words, ten to a line, no line twice."""
    stream = [f"word{i}" if i % 3 else ("the", "of", "and")[i // 3 % 3] for i in range(words)]
    return "\n".join(" ".join(stream[i : i + 10]) for i in range(0, words, 10))


class TestDuplicateLineFraction:
    @pytest.mark.parametrize(
        ("text", "share"),
        [("a\nb\na\na", 0.5), ("a\nb\nc", 0.0), ("x\nx\ny\ny\nx", 0.6), (" a\n\n\na \n\n b", 1 / 3), ("a\n \n  \nb", 0.0), ("", 0.0), ("\n \n", 0.0)],
    )
    def test_repeated_lines_over_all_lines(self, text, share):
        assert_close(duplicate_line_fraction(text), share)


class TestTopNgramFraction:
    @pytest.mark.parametrize(
        ("text", "n", "share"),
        [
            ("buy now buy now buy later", 1, 9 / 20),
            ("buy now buy now buy later", 2, 12 / 20),
            ("a bb a bb ccc", 2, 6 / 9),
            ("go go go go", 2, 12 / 8),
            ("a a bbbb bbbb c", 1, 8 / 11),
            ("one two three", 3, 1.0),
            ("one two", 3, 0.0),
            ("", 1, 0.0),
        ],
    )
    def test_times_it_occurs_times_its_characters(self, text, n, share):
        assert_close(top_ngram_fraction(text, n), share)

    def test_matches_a_count_of_random_words(self):
        words = random.choices(["the", "river", "runs"], [6, 2, 1], k=200)
        word, count = Counter(words).most_common(1)[0]
        assert_close(top_ngram_fraction(" ".join(words), 1), count * len(word) / sum(map(len, words)))

    def test_the_commonest_not_the_one_that_takes_up_most(self):
        assert_close(top_ngram_fraction("a b a b a extraordinarily", 1), 3 / 20)


class TestQualityProblems:
    def test_prose_breaks_no_rule(self):
        assert_equal(quality_problems(prose(50)), [])
        assert_equal(quality_problems("\n".join([GOOD, GOOD.upper(), GOOD[4:], GOOD[9:]])), [])

    @pytest.mark.parametrize(("words", "problems"), [(49, ["words"]), (100_000, []), (100_001, ["words"])])
    def test_the_number_of_words(self, words, problems):
        assert_equal(quality_problems(prose(words)), problems)

    @pytest.mark.parametrize(
        ("filler", "problems"), [("ab", ["length"]), ("abc", []), ("abcdefghij", []), ("abcdefghijk", ["length"])]
    )
    def test_the_mean_length_of_words(self, filler, problems):
        # "the" and "with" make 7 characters of 2 words; the third makes the mean of the three that of the filler.
        balance = "x" * (3 * len(filler) - 7) if len(filler) > 2 else ""
        assert_equal(quality_problems(f"the with {balance} " + f"{filler} " * 60), problems)

    @pytest.mark.parametrize(
        ("symbols", "problems"), [(" ##… ... #", []), (" ####... … #", ["symbols"]), *((f" {s}" * n, ["symbols"] * (n > 6)) for s in ("#", "…", "...") for n in (6, 7))]
    )
    def test_symbols_a_word(self, symbols, problems):
        # 54 words and what the symbols add: 5 of 57 is allowed, 7 of 57 isn't; 6 of 60 is, 7 of 61 isn't.
        assert_equal(quality_problems(prose(54) + symbols), problems)

    @pytest.mark.parametrize(("bullets", "problems"), [(9, []), (10, ["bullets"]), (0, [])])
    @pytest.mark.parametrize("mark", ["-", "*", "• "])
    def test_lines_with_bullets(self, bullets, problems, mark):
        lines = prose(100).splitlines()
        text = "\n\n".join((f"  {mark}" if i < bullets else "") + line for i, line in enumerate(lines))
        assert_equal(quality_problems(text), problems)

    @pytest.mark.parametrize(("repeats", "problems"), [(2, []), (4, ["repetition"])])
    def test_repeated_lines(self, repeats, problems):
        lines = prose(100).splitlines()
        assert_equal(quality_problems("\n".join(lines[: 10 - repeats] + lines[:1] * repeats)), problems)

    @pytest.mark.parametrize(
        ("words", "problems"),
        [
            ("the cat", ["stop words"]),
            ("the The THE", ["stop words"]),
            ("The, (with)", []),
            ("be to", []),
            ("'of' \"and\"!?", []),
            ("that; have:", []),
            ("theme band", ["stop words"]),
        ],
    )
    def test_two_different_stop_words(self, words, problems):
        assert_equal(quality_problems(f"{words} " + " ".join(f"word{i}" for i in range(60))), problems)

    def test_several_at_once_and_nothing_at_all(self):
        assert_equal(quality_problems("# # #"), ["words", "length", "symbols", "stop words"])
        assert_equal(quality_problems("- a\n- a\n- a"), ["words", "length", "bullets", "repetition", "stop words"])
        assert_equal(quality_problems(""), ["words", "length", "stop words"])


def brute_force_perplexity(train: list[str], text: str, n: int, alpha: float) -> float:
    """By the formula, counting every gram anew in the padded texts."""
    pad = "\n" * (n - 1)
    v = len(set("".join(train))) + 1
    places = [(t, i) for t in train for i in range(len(t))]
    total = 0.0
    for j in range(len(text)):
        gram = (pad + text)[j : j + n]
        with_c = sum((pad + t)[i : i + n] == gram for t, i in places)
        context = sum((pad + t)[i : i + n - 1] == gram[: n - 1] for t, i in places)
        total += math.log((with_c + alpha) / (context + alpha * v))
    return math.exp(-total / len(text))


class TestCharacterModel:
    def test_the_example_worked_by_hand(self):
        assert_close(CharacterModel(2, 1.0).fit(["abab"]).perplexity("ab"), 1.8257, atol=1e-4, rtol=0)  # 4 digits

    @pytest.mark.parametrize(("n", "alpha"), [(1, 1.0), (2, 0.3), (3, 1.0), (4, 0.05)])
    def test_matches_counting_by_brute_force(self, n, alpha):
        train = ["to be or not to be", "that is\nthe question", "or not", ""]
        model = CharacterModel(n, alpha).fit(train)
        assert_equal(train, ["to be or not to be", "that is\nthe question", "or not", ""])
        for text in ("to be", "the ox", "zebra?", "t", "question or not to be that"):
            assert_close(model.perplexity(text), brute_force_perplexity(train, text, n, alpha))

    def test_fitting_goes_on(self):
        together = CharacterModel(3, 0.5).fit(iter(["hello there", "general"]))
        one_by_one = CharacterModel(3, 0.5)
        assert_equal(one_by_one.fit(["hello there"]) is one_by_one, True)
        one_by_one.fit(["general"])
        assert_close(one_by_one.perplexity("hell"), together.perplexity("hell"))

    def test_asking_changes_nothing(self):
        model = CharacterModel(2, 1.0).fit(["abcabc"])
        before = model.perplexity("abc")
        model.perplexity("xyzzy")
        assert_close(model.perplexity("abc"), before)

    def test_a_model_of_nothing_knows_nothing(self):
        assert_close(CharacterModel(2, 0.7).fit([]).perplexity("ab"), 1.0)

    def test_noise_stands_out_from_hamlet(self, hamlet):
        model = CharacterModel(3, 0.01).fit([hamlet[:60_000]])
        held_out = [hamlet[i : i + 300] for i in range(70_000, 100_000, 3000)]
        shuffled = ["".join(random.sample(text, len(text))) for text in held_out]
        assert_equal(max(map(model.perplexity, held_out)) < min(map(model.perplexity, shuffled)), True)

    def test_an_empty_text_is_refused(self):
        with raises(ValueError, "empty"):
            CharacterModel(2, 1.0).fit(["ab"]).perplexity("")


class TestIdentify:
    def test_languages_by_their_trigrams(self):
        samples = {
            "de": "der Hund läuft durch den Wald und das Kind sieht ihm nach, während die Sonne hinter den Bergen verschwindet",
            "en": "the dog runs through the wood and the child looks after him while the sun goes down behind the mountains",
            "fr": "le chien court à travers la forêt et l'enfant le suit des yeux pendant que le soleil disparaît derrière les montagnes",
        }
        models = {language: CharacterModel(3, 0.1).fit([text]) for language, text in samples.items()}
        assert_equal(identify("and then the others went home", models), "en")
        assert_equal(identify("und dann ging das andere Kind nach Hause", models), "de")
        assert_equal(identify("et puis les autres sont rentrés à la maison", models), "fr")
        assert_equal(identify("and then the others went home", dict(reversed(models.items()))), "en")


class TestScrub:
    @pytest.mark.parametrize(
        ("text", "clean"),
        [
            ("Write to jane.doe+news@mail.example.co.uk, please.", "Write to <EMAIL>, please."),
            ("(a_b%c-1@x-y.org)", "(<EMAIL>)"),
            ("a@b, @name, x@y.z9 and x@y.c stay", "a@b, @name, x@y.z9 and x@y.c stay"),
            ("one@x.org;two@x.org", "<EMAIL>;<EMAIL>"),
            ("éa@x.org a@x.orgé stay", "éa@x.org a@x.orgé stay"),
        ],
    )
    def test_mail_addresses(self, text, clean):
        assert_equal(scrub(text), clean)

    @pytest.mark.parametrize(
        ("text", "clean"),
        [
            ("card 4111 1111 1111 1111.", "card <CARD>."),
            ("5500-0000-0000-0004", "<CARD>"),
            ("378282246310005", "<CARD>"),
            ("4222222222222", "<CARD>"),  # 13 digits
            ("6304000000000000000", "<CARD>"),  # 19 digits
            ("4111 1111 1111 1112", "4111 1111 1111 1112"),  # Luhn's sum isn't a multiple of 10
            ("59", "59"),
            ("000000000000", "000000000000"),  # 12 digits
            ("00000000000000000000", "00000000000000000000"),  # 20 digits
            ("4111  1111 1111 1111", "4111  1111 1111 1111"),  # two spaces
            ("a4111111111111111 4111111111111111b", "a4111111111111111 4111111111111111b"),
            ("é4111111111111111 4111111111111111é", "é4111111111111111 4111111111111111é"),
            ("79927398713 and 0079927398713", "79927398713 and <CARD>"),
        ],
    )
    def test_cards(self, text, clean):
        assert_equal(scrub(text), clean)

    @pytest.mark.parametrize(
        ("text", "clean"),
        [
            ("call +49 30 1234567!", "call <PHONE>!"),
            ("+1-202-555-0143", "<PHONE>"),
            ("+12345678 +1234567", "<PHONE> +1234567"),
            ("+123456789012345 +1234567890123456", "<PHONE> +1234567890123456"),
            ("+4222222222222", "<PHONE>"),  # passes Luhn's test, but a + stands before it
            ("x+4930123456 030 1234567", "x+4930123456 030 1234567"),
        ],
    )
    def test_phone_numbers(self, text, clean):
        assert_equal(scrub(text), clean)

    @pytest.mark.parametrize(
        ("text", "clean"),
        [
            ("from 192.168.0.1, 0.0.0.0 and 255.249.199.99.", "from <IP>, <IP> and <IP>."),
            ("256.1.1.1 1.2.3 1.2.3.300", "256.1.1.1 1.2.3 1.2.3.300"),
            ("1.2.3.4.5 v1.2.3.4", "1.2.3.4.5 v1.2.3.4"),
            ("1.2.3.260 and 01.2.3.4", "1.2.3.260 and 01.2.3.4"),
        ],
    )
    def test_internet_addresses(self, text, clean):
        assert_equal(scrub(text), clean)

    def test_the_rest_is_left_as_it_is(self):
        text = "Line 1\n\tπ is 3.14159, 12-13 of 2024: 50% off — #4!\n"
        assert_equal(scrub(text), text)


class TestContaminated:
    def test_shared_runs_of_words(self):
        tests = ["What is the capital of France, and why?"]
        texts = ["the CAPITAL of   france: and more", "the capital of Spain and why", "capital of france and why not"]
        assert_equal(contaminated(texts, tests, n=5), [0, 2])
        assert_equal(contaminated(texts, tests, n=6), [])
        assert_equal(contaminated(texts, tests, n=3), [0, 1, 2])

    def test_thirteen_words_unless_told_otherwise(self):
        words = [f"w{i}" for i in range(40)]
        texts = [" ".join(["x", *words[5:18], "y"]), " ".join(["x", *words[5:17], "y"])]
        assert_equal(contaminated(texts, iter([" ".join(words)])), [0])

    def test_a_short_item_must_stand_there_whole(self):
        tests = ["Who wrote Hamlet?", "...", "yes"]
        texts = ["and who wrote hamlet then", "who wrote the play", "he wrote: who, hamlet", "YES!", "yesterday", ""]
        assert_equal(contaminated(texts, tests, n=8), [0, 3])

    def test_digits_are_words_and_underscores_are_not(self):
        assert_equal(contaminated(["a 1 b", "a_1_b", "a1b", "ä 1 b"], ["a 1 b"], n=3), [0, 1])
        assert_equal(contaminated(["Ä-Ö ü"], ["ä ö Ü"], n=3), [0])

    def test_no_planted_item_is_missed(self, reviews):
        texts, _ = reviews
        corpus, items = texts[:400], [t for t in texts[1000:1400] if len(t.split()) >= 15][:40]
        planted = {}
        for item in items:
            words = item.upper().split()
            start = random.randrange(len(words) - 13)
            planted[random.randrange(400)] = " ".join(words[start : start + 14])
        for place, words in planted.items():
            corpus[place] += f" — {words}"
        clean = contaminated(texts[:400], items)
        assert_equal(contaminated(corpus, items), sorted({*clean, *planted}))

    def test_nothing_to_compare(self):
        assert_equal(contaminated(["a b"], []), [])
        assert_equal(contaminated([], ["a b"]), [])


class TestStandardize:
    def parsed(self, *args):
        return [json.loads(line) for line in standardize(*args)]

    def expected(self, source, *texts):
        return [{"id": f"{source}-{i}", "source": source, "text": text} for i, text in enumerate(texts)]

    def test_jsonl(self):
        raw = '{"text": " one\\n", "x": 1}\n \n{"content": "zwei ä"}\n{"text": "  "}\n{"text": "three\u2028", "content": "no"}\n'
        assert_equal(self.parsed(raw, "jsonl", "web"), self.expected("web", "one", "zwei ä", "three"))

    def test_csv(self):
        raw = 'id,content\n7,"a, ""b""\nc"\n8,\n9, d \n'
        assert_equal(self.parsed(raw, "csv", "shop"), self.expected("shop", 'a, "b"\nc', "d"))
        assert_equal(self.parsed("text,content\r\nx,y\r\n", "csv", "s"), self.expected("s", "x"))

    def test_txt(self):
        raw = "\n\nfirst line\nsecond line\n\n  \n\nnext\n \nlast\n"
        assert_equal(self.parsed(raw, "txt", "book"), self.expected("book", "first line\nsecond line", "next", "last"))

    def test_one_line_each_with_letters_as_they_are(self):
        (line,) = standardize("größer\nals 東京", "txt", "ü")
        assert_equal("\n" in line, False)
        assert_equal("größer" in line and "東京" in line, True)

    @pytest.mark.parametrize("form", ["jsonl", "csv", "txt"])
    def test_nothing(self, form):
        assert_equal(standardize("", form, "x"), [])

    def test_another_form_is_named(self):
        with raises(ValueError, "parquet", "jsonl", "csv", "txt"):
            standardize("", "parquet", "x")

    def test_a_record_without_text_is_named_by_its_number(self):
        with raises(ValueError, 3):
            standardize('{"text": "a"}\n{"text": ""}\n{"body": "b"}', "jsonl", "x")
        with raises(ValueError, 2):
            standardize('\n{"text": "a"}\n \n{"body": "b"}', "jsonl", "x")
        with raises(ValueError, 1):
            standardize("id,body\n7,b\n", "csv", "x")

"""Judges k08_special_tokens against transformers' and tokenizers' outputs; with SmolLM2's tokenizer in the slow tier."""

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_06_tokenization.k08_special_tokens import (
    add_special,
    labels,
    pad_batch,
    render_chat,
    truncate_pair,
    windows,
)

pytestmark = [from_scratch("transformers", "tokenizers"), pure()]

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 2 + 2?\nAnd 3 + 3?"},
    {"role": "assistant", "content": "4, and then 6."},
    {"role": "user", "content": "assistant"},
    {"role": "assistant", "content": ""},
]


def word_tokenizer(n: int = 60):
    """tokenizers' own, one token a word w0, w1 …, whose id is its number."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({f"w{i}": i for i in range(n)}, unk_token="w0"))
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer


def as_words(ids) -> str:
    return " ".join(f"w{i}" for i in ids)


class TestAddSpecial:
    @pytest.mark.parametrize(
        ("ids", "bos", "eos", "expected"),
        [
            ([7, 8], 1, 2, [1, 7, 8, 2]),
            ([7, 8], None, 2, [7, 8, 2]),
            ([7, 8], 0, None, [0, 7, 8]),
            ([7, 8], 5, 0, [5, 7, 8, 0]),
            ([7, 8], None, None, [7, 8]),
            ([1, 7, 2], 1, 2, [1, 7, 2]),
            ([2, 7, 1], 1, 2, [1, 2, 7, 1, 2]),
            ([1, 1], 1, 2, [1, 1, 2]),
            ([], 1, 2, [1, 2]),
            ((1, 7, 2), 1, 2, [1, 7, 2]),
            (range(1, 4), 1, 3, [1, 2, 3]),
            ([7], 5, 5, [5, 7, 5]),
            ([5], 5, 5, [5]),
            ([], 5, 5, [5, 5]),
        ],
    )
    def test_before_and_after_but_never_twice(self, ids, bos, eos, expected):
        assert_equal(add_special(ids, bos, eos), expected)


class TestWindows:
    def test_the_example_worked_by_hand(self):
        assert_equal(windows(range(1, 9), 4, 1), [[1, 2, 3, 4], [4, 5, 6, 7], [7, 8]])

    @pytest.mark.parametrize(("length", "stride"), [(5, 2), (4, 0), (6, 5), (1, 0), (7, 3)])
    @pytest.mark.parametrize("n", [0, 1, 4, 5, 6, 11, 12, 23])
    def test_matches_tokenizers(self, rng, n, length, stride):
        tokenizer = word_tokenizer()
        tokenizer.enable_truncation(length, stride=stride)
        ids = rng.permutation(60)[:n].tolist()
        encoding = tokenizer.encode(as_words(ids))
        assert_equal(windows(ids, length, stride), [one.ids for one in [encoding, *encoding.overflowing]])

    def test_without_overlap_unless_told_otherwise(self):
        assert_equal(windows([9, 7, 5, 3, 1], 2), [[9, 7], [5, 3], [1]])

    @pytest.mark.parametrize(("length", "stride"), [(4, 4), (4, 5), (4, -1)])
    def test_a_stride_that_leads_nowhere_is_refused(self, length, stride):
        with raises(ValueError, length, stride):
            windows([1, 2, 3], length, stride)


class TestTruncatePair:
    @pytest.mark.parametrize(("n", "m", "kept"), [(2, 9, (2, 5)), (6, 9, (3, 4)), (9, 6, (4, 3)), (6, 6, (3, 4))])
    def test_the_example_worked_by_hand(self, n, m, kept):
        first, second = truncate_pair(range(n), range(20, 20 + m), 7)
        assert_equal((first, second), (list(range(kept[0])), list(range(20, 20 + kept[1]))))

    @pytest.mark.parametrize("n", range(9))
    @pytest.mark.parametrize("strategy", ["longest_first", "only_first", "only_second"])
    def test_matches_tokenizers(self, strategy, n):
        tokenizer = word_tokenizer()
        for m in range(0, 9):
            for limit in range(1, 12):
                uncut = {"only_first": m, "only_second": n}.get(strategy, 0)
                if uncut >= limit and n + m > limit:  # tokenizers refuses to cut to nothing
                    continue
                first, second = list(range(n)), list(range(30, 30 + m))
                tokenizer.enable_truncation(limit, strategy=strategy)
                ids = tokenizer.encode(as_words(first), as_words(second)).ids
                expected = ([x for x in ids if x < 30], [x for x in ids if x >= 30])
                assert_equal(truncate_pair(first, second, limit, strategy), expected)

    def test_no_room_at_all(self):
        assert_equal(truncate_pair([1, 2], [3, 4, 5], 0), ([], []))

    def test_one_may_be_cut_to_nothing(self):
        assert_equal(truncate_pair([1, 2], [3, 4, 5], 3, "only_first"), ([], [3, 4, 5]))
        assert_equal(truncate_pair([1, 2], [3, 4, 5], 2, "only_second"), ([1, 2], []))

    def test_what_cannot_be_cut_enough_is_refused(self):
        with raises(ValueError, 5, 4):
            truncate_pair([1] * 7, [2] * 5, 4, "only_first")
        with raises(ValueError, 7, 6):
            truncate_pair([1] * 7, [2] * 5, 6, "only_second")

    def test_another_strategy_is_named(self):
        with raises(ValueError, "shortest"):
            truncate_pair([1], [2], 5, "shortest")


class TestPadBatch:
    def test_right_unless_told_otherwise(self):
        ids, mask = pad_batch([[5, 6, 7], [8], []], pad=0)
        assert_close(ids, np.array([[5, 6, 7], [8, 0, 0], [0, 0, 0]]))
        assert_close(mask, np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0]]))

    @pytest.mark.parametrize("side", ["left", "right"])
    @pytest.mark.parametrize(("pad", "multiple_of"), [(3, 1), (59, 4), (0, 8)])
    def test_matches_transformers(self, rng, side, pad, multiple_of):
        from transformers import PreTrainedTokenizerFast

        tokenizer = PreTrainedTokenizerFast(tokenizer_object=word_tokenizer(), pad_token=f"w{pad}", padding_side=side)
        sequences = [rng.integers(0, 60, n).tolist() for n in (5, 2, 9, 1)]
        theirs = tokenizer.pad({"input_ids": sequences}, pad_to_multiple_of=multiple_of, return_tensors="np")
        ids, mask = pad_batch(sequences, pad, side, multiple_of)
        assert_close(ids, theirs["input_ids"].astype(np.int64))
        assert_close(mask, theirs["attention_mask"].astype(np.int64))

    def test_a_token_that_equals_the_filling_is_real(self):
        _, mask = pad_batch([[2, 9, 2], [9]], pad=2, side="left")
        assert_close(mask, np.array([[1, 1, 1], [0, 0, 1]]))

    def test_empty_sequences_make_no_columns(self):
        ids, mask = pad_batch([[], []], pad=7)
        assert_close(ids, np.zeros((2, 0), dtype=np.int64))
        assert_close(mask, np.zeros((2, 0), dtype=np.int64))

    def test_any_number_may_fill(self):
        ids, mask = pad_batch([[5], [6, 7]], np.int32(-100))
        assert_close(ids, np.array([[5, -100], [6, 7]]))
        assert_equal([str(ids.dtype), str(mask.dtype)], ["int64", "int64"])

    def test_a_length_that_fits_stays(self):
        assert_equal(pad_batch([[1] * 8, [2]], 0, multiple_of=4)[0].shape, (2, 8))

    def test_another_side_is_named(self):
        with raises(ValueError, "top"):
            pad_batch([[1]], 0, "top")


class TestRenderChat:
    def test_chatml(self):
        text, spans = render_chat(CHAT[1:3])
        assert_equal(
            text,
            "<|im_start|>user\nWhat is 2 + 2?\nAnd 3 + 3?<|im_end|>\n<|im_start|>assistant\n4, and then 6.<|im_end|>\n",
        )
        assert_equal([text[start:end] for start, end in spans], ["4, and then 6.<|im_end|>"])

    def test_every_answer_has_its_span(self):
        text, spans = render_chat(CHAT)
        assert_equal([text[start:end] for start, end in spans], ["4, and then 6.<|im_end|>", "<|im_end|>"])
        assert_equal(spans[1], (len(text) - 11, len(text) - 1))

    def test_the_prompt_for_an_answer_is_not_learned(self):
        text, spans = render_chat(CHAT[:2], add_generation_prompt=True)
        assert_equal(text.endswith("And 3 + 3?<|im_end|>\n<|im_start|>assistant\n"), True)
        assert_equal(spans, [])

    def test_a_default_system_message(self):
        text, spans = render_chat(CHAT[1:3], default_system="Help.")
        assert_equal(text.startswith("<|im_start|>system\nHelp.<|im_end|>\n<|im_start|>user\n"), True)
        assert_equal([text[start:end] for start, end in spans], ["4, and then 6.<|im_end|>"])
        assert_equal(render_chat(CHAT, default_system="Help."), render_chat(CHAT))
        late, _ = render_chat(CHAT[1::-1], default_system="Help.")  # the first is by "user"
        assert_equal(late.startswith("<|im_start|>system\nHelp.<|im_end|>\n<|im_start|>user\n"), True)
        assert_equal(render_chat([], default_system="")[0], "<|im_start|>system\n<|im_end|>\n")

    def test_nothing_said(self):
        assert_equal(render_chat([]), ("", []))


class TestLabels:
    def test_tokens_that_begin_in_a_span(self):
        offsets = [(0, 3), (3, 5), (5, 6), (6, 9), (9, 12), (12, 13)]
        assert_equal(labels([71, 82, 93, 84, 75, 66], offsets, [(3, 6), (10, 13)]), [-100, 82, 93, -100, -100, 66])
        assert_equal(labels([71, 82, 93, 84, 75, 66], offsets, [(10, 13), (3, 6)]), [-100, 82, 93, -100, -100, 66])
        assert_equal(labels([71, 82], [(0, 1), (1, 2)], []), [-100, -100])
        assert_equal(labels([], [], [(0, 5)]), [])

    def test_matches_transformers_mask_of_the_assistant(self):
        from tokenizers import Tokenizer
        from tokenizers.models import BPE
        from tokenizers.pre_tokenizers import ByteLevel
        from transformers import PreTrainedTokenizerFast

        alphabet = {token: i + 100 for i, token in enumerate(sorted(ByteLevel.alphabet()))}
        inner = Tokenizer(BPE(alphabet, []))
        inner.pre_tokenizer = ByteLevel(add_prefix_space=False)
        inner.add_special_tokens(["<|im_start|>", "<|im_end|>"])
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner)
        template = (
            "{% for m in messages %}<|im_start|>{{ m.role + '\n' }}{% if m.role == 'assistant' %}{% generation %}"
            "{{ m.content + '<|im_end|>' }}{% endgeneration %}{% else %}{{ m.content + '<|im_end|>' }}{% endif %}"
            "{{ '\n' }}{% endfor %}"
        )
        chat = [*CHAT[:3], {"role": "user", "content": "Thanks"}, {"role": "assistant", "content": "You're welcome!"}]
        theirs = tokenizer.apply_chat_template(
            chat, chat_template=template, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        text, spans = render_chat(chat)
        encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        assert_equal(encoded["input_ids"], theirs["input_ids"])
        expected = [i if m else -100 for i, m in zip(theirs["input_ids"], theirs["assistant_masks"], strict=True)]
        assert_equal(labels(encoded["input_ids"], encoded["offset_mapping"], spans), expected)


@pytest.mark.slow
class TestSmolLM2:
    """With a real tokenizer and its own chat template."""

    SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

    @pytest.fixture
    def tokenizer(self, smollm2):
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(smollm2)

    @pytest.mark.parametrize("prompt", [False, True])
    @pytest.mark.parametrize("part", [slice(0, 5), slice(1, 4), slice(1, 2)])
    def test_its_chat_template(self, tokenizer, part, prompt):
        theirs = tokenizer.apply_chat_template(CHAT[part], tokenize=False, add_generation_prompt=prompt)
        assert_equal(render_chat(CHAT[part], prompt, self.SYSTEM)[0], theirs)

    def test_a_batch_of_prompts(self, tokenizer):
        texts = ["The capital of France is", "Hello", "Once upon a time there was a"]
        tokenizer.padding_side = "left"
        theirs = tokenizer(texts, padding=True, return_tensors="np")
        ids, mask = pad_batch([tokenizer(text)["input_ids"] for text in texts], tokenizer.pad_token_id, "left")
        assert_close(ids, theirs["input_ids"].astype(np.int64))
        assert_close(mask, theirs["attention_mask"].astype(np.int64))

    def test_only_answers_are_learned(self, tokenizer):
        text, spans = render_chat(CHAT[:3], default_system=self.SYSTEM)
        encoded = tokenizer(text, return_offsets_mapping=True)
        learned = [i for i in labels(encoded["input_ids"], encoded["offset_mapping"], spans) if i != -100]
        assert_equal(tokenizer.decode(learned), "4, and then 6.<|im_end|>")

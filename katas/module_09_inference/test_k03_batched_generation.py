"""Judges k03_batched_generation against one-by-one generation, and its scheduler against its rules and for starvation."""

import random

import pytest
import torch

from dojo.testing import assert_equal, fail, from_scratch, pure, raises
from katas.module_05_transformers.k10_gpt import GPTConfig
from katas.module_09_inference.k03_batched_generation import (
    Engine,
    PaddedGPT,
    Scheduler,
    batch_mask,
    cache_tokens,
    generate_batch,
    left_pad,
    next_tokens,
    static_passes,
)

pytestmark = [from_scratch("transformers"), pure(), pytest.mark.deadline(30)]

VOCABULARY = 89


class Toy:
    """A model that obeys its mask: the next token hangs on which tokens are seen, at which positions.

    A query that sees nothing makes NaN of its whole row, as a softmax and a second layer would.  `texts` has, for each
    call, the tokens at positions from 0 on, row by row.
    """

    def __init__(self) -> None:
        self.texts: list[list[list[int]]] = []
        self.calls: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self.broken = False

    def __call__(self, ids, positions, mask):
        if self.broken:
            raise OSError("the model is broken")
        self.calls.append((ids, positions, mask))
        self.texts.append(
            [
                [t for t, at in zip(*row, strict=True) if at >= 0]
                for row in zip(ids.tolist(), positions.tolist(), strict=True)
            ]
        )
        what = (ids + 3) * (ids + 11) + (positions + 5) ** 2 * (ids + 1)
        seen = (mask.to(torch.int64) * what[:, None, :]).sum(-1) + 17 * positions
        following = (seen % 1009 * 31 + 7) % VOCABULARY
        logits = -(torch.arange(VOCABULARY, device=ids.device) - following[..., None]).double().abs()
        return torch.where(mask.any(-1).all(-1)[:, None, None], logits, torch.nan)


def following(text: list[int]) -> int:
    """What Toy writes after a text that is alone, without torch."""
    last = len(text) - 1
    seen = sum((t + 3) * (t + 11) + (at + 5) ** 2 * (t + 1) for at, t in enumerate(text)) + 17 * last
    return (seen % 1009 * 31 + 7) % VOCABULARY


def alone(prompt, new_tokens: int, stop: int | None = None) -> list[int]:
    new: list[int] = []
    while len(new) < new_tokens and (not new or new[-1] != stop):
        new.append(following([*prompt, *new]))
    return new


def padding(model: Toy) -> list[int]:
    """The tokens at negative positions, of all calls."""
    return [token for ids, positions, _ in model.calls for token in ids[positions < 0].tolist()]


def some_prompts(*lengths: int, seed: int = 0) -> list[list[int]]:
    draw = random.Random(f"{lengths} {seed}")
    return [[draw.randrange(VOCABULARY) for _ in range(n)] for n in lengths]


def gpt() -> PaddedGPT:
    model = PaddedGPT(GPTConfig(31, 24, 12, 2, 2)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.6)
    return model


def written_by_gpt(model: PaddedGPT, prompt: list[int], new_tokens: int) -> list[int]:
    """One text alone, by the kata gpt's own forward with the same weights: it knows no padding."""
    ids = torch.tensor([prompt])
    with torch.no_grad():
        for _ in range(new_tokens):
            # By way of the given class: gpt is lent to it, should the learner's not be written yet.
            ids = torch.cat([ids, super(PaddedGPT, model).forward(ids)[:, -1:].argmax(-1)], 1)
    return ids[0, len(prompt) :].tolist()


class TestLeftPad:
    def test_the_example_worked_by_hand(self):
        ids, positions = left_pad([[5, 6], [7, 8, 9, 1]], 0)
        assert_equal(ids.tolist(), [[0, 0, 5, 6], [7, 8, 9, 1]])
        assert_equal(positions.tolist(), [[-2, -1, 0, 1], [0, 1, 2, 3]])

    @pytest.mark.parametrize("lengths", [(1,), (4,), (3, 3), (1, 7), (7, 1, 4), (2, 5, 5, 1, 9)])
    @pytest.mark.parametrize("pad", [0, 50_256])
    def test_any_lengths(self, lengths, pad):
        prompts, n = some_prompts(*lengths), max(lengths)
        ids, positions = left_pad(prompts, pad)
        assert_equal(ids, torch.tensor([[pad] * (n - len(p)) + p for p in prompts]))
        assert_equal(positions, torch.tensor([list(range(len(p) - n, len(p))) for p in prompts]))

    def test_the_pad_token_within_a_prompt_is_a_token(self):
        ids, positions = left_pad([[4, 4], [4, 1, 4], [4]], 4)
        assert_equal(ids.tolist(), [[4, 4, 4], [4, 1, 4], [4, 4, 4]])
        assert_equal(positions.tolist(), [[-1, 0, 1], [0, 1, 2], [-2, -1, 0]])

    def test_prompts_may_be_tuples(self):
        assert_equal(left_pad(((3,), (1, 2)), 9)[0].tolist(), [[9, 3], [1, 2]])


class TestBatchMask:
    def test_the_example_worked_by_hand(self):
        found = batch_mask(torch.tensor([[-2, -1, 0, 1], [0, 1, 2, 3]]))
        assert_equal(found.dtype, torch.bool)
        assert_equal(found[0].int().tolist(), [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]])
        assert_equal(found[1].int().tolist(), [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]])

    @pytest.mark.parametrize(("paddings", "n"), [((0,), 1), ((3, 0, 1), 5), ((0, 6, 2), 7), ((0, 0), 3), ((1, 0), 2)])
    def test_matches_a_loop_over_all_pairs(self, paddings, n):
        expected = [[[j == i or p <= j <= i for j in range(n)] for i in range(n)] for p in paddings]
        positions = torch.tensor([list(range(-p, n - p)) for p in paddings])
        assert_equal(batch_mask(positions), torch.tensor(expected))


class TestNextTokens:
    @pytest.mark.parametrize("lengths", [(5,), (4, 4), (1, 6), (6, 1, 3), (2, 9, 1, 9, 5)])
    def test_each_text_as_if_it_were_alone(self, lengths):
        texts = some_prompts(*lengths)
        assert_equal(next_tokens(Toy(), texts, 0), [following(text) for text in texts])

    @pytest.mark.parametrize("pad", [0, 7, 88])
    def test_whatever_the_pad_token_is(self, pad):
        texts = [[7, 0, 88], [88], [0, 0, 7, 88, 7]]
        assert_equal(next_tokens(Toy(), texts, pad), [following(text) for text in texts])

    def test_is_what_gpt_writes(self):
        model = gpt()
        texts = [[t % 31 for t in text] for text in some_prompts(3, 11, 1, 6)]
        assert_equal(next_tokens(model, texts, 0), [written_by_gpt(model, text, 1)[0] for text in texts])

    def test_in_one_call_of_the_model(self):
        model = Toy()
        next_tokens(model, some_prompts(2, 4, 3), 6)
        ((ids, positions, mask),) = model.calls
        assert_equal([tuple(ids.shape), tuple(positions.shape), tuple(mask.shape)], [(3, 4), (3, 4), (3, 4, 4)])
        assert_equal([ids.dtype, positions.dtype, mask.dtype], [torch.int64, torch.int64, torch.bool])
        assert_equal(sorted(padding(model)), [6, 6, 6])


class TestGenerateBatch:
    @pytest.mark.parametrize("lengths", [(4,), (3, 3, 3), (1, 8, 4), (5, 1, 2, 7)])
    def test_each_text_as_if_it_were_alone(self, lengths):
        prompts = some_prompts(*lengths)
        found = generate_batch(Toy(), prompts, [6] * len(prompts))
        assert_equal(found, [alone(prompt, 6) for prompt in prompts])

    def test_each_prompt_has_its_own_number_of_new_tokens(self):
        prompts, numbers = some_prompts(4, 2, 6, 1), [3, 9, 1, 5]
        found = generate_batch(Toy(), prompts, numbers)
        assert_equal(found, [alone(*one) for one in zip(prompts, numbers, strict=True)])

    @pytest.mark.parametrize("nth", [0, 2, 5])
    @pytest.mark.parametrize("row", [0, 1, 2])
    def test_a_text_ends_with_its_stop_token(self, row, nth):
        prompts = some_prompts(3, 5, 1)
        stop = alone(prompts[row], 8)[nth]
        expected = [alone(prompt, 8, stop) for prompt in prompts]
        assert_equal(generate_batch(Toy(), prompts, [8, 8, 8], stop), expected)

    def test_the_token_0_is_a_stop_token_like_others(self):
        prompts = next(p for p in (some_prompts(3, 2, seed=s) for s in range(999)) if 0 in alone(p[0], 5)[:3])
        expected = [alone(prompt, 5, 0) for prompt in prompts]
        assert_equal(generate_batch(Toy(), prompts, [5, 5], stop=0, pad=4), expected)

    def test_a_stop_token_in_the_prompt_stops_nothing(self):
        prompt = next(p for (p,) in (some_prompts(4, seed=s) for s in range(99)) if not set(p) & set(alone(p, 5)))
        for stop in (prompt[0], prompt[-1]):
            assert_equal(generate_batch(Toy(), [prompt], [5], stop), [alone(prompt, 5)])

    @pytest.mark.parametrize("pad", [0, 44])
    def test_a_text_may_write_the_pad_token(self, pad):
        prompts = next(p for p in (some_prompts(2, 5, seed=s) for s in range(999)) if pad in alone(p[0], 6)[:5])
        expected = [alone(prompt, 6) for prompt in prompts]
        assert_equal(generate_batch(Toy(), prompts, [6, 6], pad=pad), expected)

    @pytest.mark.parametrize(("numbers", "passes"), [((5, 2), 5), ((1, 1), 1), ((2, 7), 7)])
    def test_as_many_passes_as_the_longest_answer(self, numbers, passes):
        model = Toy()
        generate_batch(model, some_prompts(3, 4), numbers)
        assert_equal(len(model.calls), passes)

    def test_no_pass_once_all_have_ended(self):
        model, (prompt, other) = Toy(), some_prompts(3, 4)
        stop = alone(prompt, 3)[2]
        expected = [alone(prompt, 9, stop), alone(other, 2, stop)]
        assert_equal(generate_batch(model, [prompt, other], [9, 2], stop), expected)
        assert_equal(len(model.calls), max(map(len, expected)))

    def test_pads_with_the_token_that_it_is_given(self):
        model = Toy()
        generate_batch(model, some_prompts(3, 1, 4), [2, 2, 2], pad=33)
        assert_equal(set(padding(model)), {33})

    def test_pads_with_token_0_unless_it_is_told(self):
        model = Toy()
        generate_batch(model, some_prompts(3, 1, 4), [2, 2, 2])
        assert_equal(set(padding(model)), {0})

    def test_without_prompts_nothing_runs(self):
        model = Toy()
        assert_equal((generate_batch(model, [], []), model.calls), ([], []))

    def test_is_what_gpt_writes(self):
        model = gpt()
        prompts = [[t % 31 for t in prompt] for prompt in some_prompts(2, 9, 5)]
        found = generate_batch(model, prompts, [7, 3, 10], pad=30)
        expected = [written_by_gpt(model, *one) for one in zip(prompts, [7, 3, 10], strict=True)]
        assert_equal(found, expected)

    def test_a_second_batch_is_like_the_first(self):
        prompts = some_prompts(3, 1)
        first = generate_batch(Toy(), prompts, [4, 6])
        generate_batch(Toy(), some_prompts(5, 5), [2, 2])
        assert_equal(generate_batch(Toy(), prompts, [4, 6]), first)


class TestStaticPasses:
    def test_the_example_worked_by_hand(self):
        assert_equal(static_passes([5, 2, 1, 3], 2), 8)

    @pytest.mark.parametrize(
        ("numbers", "size", "passes"),
        [([], 3, 0), ([4], 3, 4), ([4, 6], 3, 6), ([1, 9, 2, 7], 1, 19), ([3, 1, 1, 5, 2], 2, 10), ([2] * 9, 4, 6)],
    )
    def test_batch_by_batch(self, numbers, size, passes):
        assert_equal(static_passes(numbers, size), passes)

    def test_is_what_generate_batch_takes(self):
        numbers, model = [3, 8, 1, 2, 6], Toy()
        for start in range(0, 5, 2):
            part = numbers[start : start + 2]
            generate_batch(model, some_prompts(*[2] * len(part)), part)
        assert_equal(static_passes(numbers, 2), len(model.calls))


class TestCacheTokens:
    @pytest.mark.parametrize(("prompt", "new_tokens", "tokens"), [(4, 3, 6), (1, 1, 1), (7, 1, 7), (1, 5, 5)])
    def test_the_last_token_is_never_run(self, prompt, new_tokens, tokens):
        assert_equal(cache_tokens(prompt, new_tokens), tokens)


class ByTheRules:
    """The scheduler's three rules with lists alone, as slow as it may be."""

    def __init__(self, budget: int, max_running: int, patience: int) -> None:
        self.budget, self.max_running, self.patience = budget, max_running, patience
        self.requests: list[dict] = []
        self.bill: dict[str, int] = {}

    @property
    def free(self) -> int:
        return self.budget - sum(r["tokens"] for r in self.requests if r["state"] == "runs")

    def heads(self) -> list[dict]:
        first: dict[str, dict] = {}
        for request in self.requests:
            if request["state"] == "waits":
                first.setdefault(request["user"], request)
        return list(first.values())

    def submit(self, user: str, tokens: int) -> int:
        others = [self.bill[r["user"]] for r in self.heads()]
        if user not in [r["user"] for r in self.heads()]:
            self.bill[user] = max([self.bill.get(user, 0)] + ([min(others)] if others else []))
        number = len(self.requests)
        self.requests.append({"number": number, "user": user, "tokens": tokens, "state": "waits", "passed": 0})
        return number

    def admit(self) -> list[int]:
        admitted = []
        while sum(r["state"] == "runs" for r in self.requests) < self.max_running:
            heads = self.heads()
            due = [r for r in heads if r["passed"] >= self.patience]
            rest = sorted((r for r in heads if r not in due), key=lambda r: (self.bill[r["user"]], r["number"]))
            line = sorted(due, key=lambda r: r["number"]) + rest
            chosen = None
            for request in line:
                if request["tokens"] <= self.free:
                    chosen = request
                if chosen or request in due:
                    break
            if chosen is None:
                break
            for request in heads:
                request["passed"] += request is not chosen
            chosen["state"] = "runs"
            self.bill[chosen["user"]] += chosen["tokens"]
            admitted.append(chosen["number"])
        return admitted

    def finish(self, number: int) -> None:
        self.requests[number]["state"] = "ended"


class TestScheduler:
    def test_the_example_worked_by_hand(self):
        scheduler = Scheduler(10, 4, 2)
        numbers = [scheduler.submit(*one) for one in (("ann", 6), ("bob", 8), ("ann", 3), ("cid", 2))]
        assert_equal(numbers, [0, 1, 2, 3])
        found = [(scheduler.admit(), scheduler.free)]
        for number in (3, 0, 1):
            scheduler.finish(number)
            found.append((scheduler.admit(), scheduler.free))
        assert_equal(found, [([0, 3], 2), ([], 4), ([1], 2), ([2], 7)])

    def test_a_request_waits_until_it_is_admitted(self):
        scheduler = Scheduler(10, 2, 1)
        found = [scheduler.free, scheduler.submit("ann", 4), scheduler.free, scheduler.admit(), scheduler.free]
        assert_equal(found, [10, 0, 10, [0], 6])

    def test_nobody_is_admitted_twice(self):
        scheduler = Scheduler(10, 5, 1)
        scheduler.submit("ann", 2)
        assert_equal([scheduler.admit(), scheduler.admit()], [[0], []])

    def test_nobody_waits(self):
        assert_equal(Scheduler(10, 2, 0).admit(), [])

    @pytest.mark.parametrize(("tokens", "free"), [(9, 1), (10, 0)])
    def test_a_request_may_take_all_of_the_budget(self, tokens, free):
        scheduler = Scheduler(10, 2, 3)
        scheduler.submit("ann", tokens)
        assert_equal((scheduler.admit(), scheduler.free), ([0], free))

    def test_at_most_so_many_run(self):
        scheduler = Scheduler(100, 3, 2)
        for _ in range(5):
            scheduler.submit("ann", 1)
        found = [scheduler.admit()]
        scheduler.finish(1)
        found.append(scheduler.admit())
        assert_equal(found, [[0, 1, 2], [3]])

    def test_the_requests_of_one_user_keep_their_order(self):
        scheduler = Scheduler(10, 9, 9)
        for tokens in (6, 5, 1, 1):  # the 1s would fit, but they wait behind the 5
            scheduler.submit("ann", tokens)
        found = [scheduler.admit()]
        scheduler.finish(0)
        assert_equal([*found, scheduler.admit()], [[0], [1, 2, 3]])

    def test_the_smallest_bill_comes_first(self):
        scheduler = Scheduler(100, 1, 99)
        for user, tokens in (("ann", 9), ("ann", 2), ("bob", 4), ("bob", 4), ("bob", 4), ("cid", 5), ("ann", 1)):
            scheduler.submit(user, tokens)
        order = []
        while admitted := scheduler.admit():  # one runs at a time, and it ends at once
            order += admitted
            scheduler.finish(admitted[0])
        # bills of ann, bob, cid:  9 0 0 │ 9 4 0 │ 9 4 5 │ 9 8 5 │ 9 12 5 │ 11 12 5
        assert_equal(order, [0, 2, 5, 3, 4, 1, 6])

    def test_of_equal_bills_the_oldest_comes_first(self):
        scheduler = Scheduler(100, 9, 99)
        for user in ("zoe", "bob", "ann", "mia"):
            scheduler.submit(user, 5)
        assert_equal(scheduler.admit(), [0, 1, 2, 3])

    def test_a_user_with_many_requests_does_not_hold_up_another(self):
        scheduler = Scheduler(1000, 1, 99)
        for _ in range(50):
            scheduler.submit("ann", 10)
        scheduler.submit("bob", 10)
        order = []
        for _ in range(3):
            order += scheduler.admit()
            scheduler.finish(order[-1])
        assert_equal(50 in order[:2], True)

    def test_bills_do_not_fall_when_a_request_ends(self):
        scheduler = Scheduler(100, 1, 99)
        for user in ("ann", "bob", "bob", "ann"):
            scheduler.submit(user, {"ann": 5, "bob": 3}[user])
        order = []
        while admitted := scheduler.admit():
            order += admitted
            scheduler.finish(admitted[0])
        assert_equal(order, [0, 1, 2, 3])

    def test_a_small_one_passes_one_that_does_not_fit(self):
        scheduler = Scheduler(10, 9, 5)
        for user, tokens in (("ann", 7), ("bob", 4), ("cid", 3)):
            scheduler.submit(user, tokens)
        assert_equal((scheduler.admit(), scheduler.free), ([0, 2], 0))

    @pytest.mark.parametrize("patience", [0, 1, 2, 5])
    def test_a_large_one_is_passed_over_so_often_and_no_more(self, patience):
        scheduler = Scheduler(10, 9, patience + 1)
        scheduler.submit("long", 4)
        scheduler.admit()  # it runs all the time, so that the large one never fits
        scheduler.submit("large", 10)
        for i in range(20):
            scheduler.submit(f"user {i}", 1)
        passed = []
        for _ in range(20):
            admitted = scheduler.admit()
            passed += admitted
            for number in admitted:
                scheduler.finish(number)
        assert_equal(len(passed), patience + 1)
        scheduler.finish(0)
        assert_equal(scheduler.admit(), [1])

    def test_without_patience_it_is_first_come_first_served(self):
        scheduler, draw = Scheduler(10, 3, 0), random.Random(4)
        for _ in range(40):
            scheduler.submit(draw.choice("abcd"), draw.randint(1, 10))
        order, running = [], []
        while len(order) < 40:
            running += (admitted := scheduler.admit())
            order += admitted
            scheduler.finish(running.pop(draw.randrange(len(running))))
        assert_equal(order, list(range(40)))

    def test_due_ones_come_before_small_bills_the_oldest_first(self):
        scheduler = Scheduler(100, 1, 1)
        for user, tokens in (("ann", 30), ("ann", 9), ("bob", 20), ("cid", 1)):
            scheduler.submit(user, tokens)
        order = []
        for _ in range(3):
            order += scheduler.admit()
            scheduler.finish(order[-1])
            if len(order) == 2:
                scheduler.submit("dan", 1)  # younger, with a smaller bill than ann's
        assert_equal([*order, *scheduler.admit()], [0, 2, 1, 3])

    def test_all_other_heads_are_passed_over_not_only_those_before(self):
        scheduler = Scheduler(10, 1, 3)
        scheduler.submit("ann", 9)
        scheduler.admit()
        for user, tokens in (("bob", 1), ("ann", 9), *((f"user {i}", 1) for i in range(6))):
            scheduler.submit(user, tokens)  # bob's bill is 0, so nobody's but ann's is lifted
        scheduler.finish(0)
        order = []
        for _ in range(5):
            order += scheduler.admit()
            scheduler.finish(order[-1])
        assert_equal(order, [1, 3, 4, 2, 5])

    def test_a_new_head_has_not_been_passed_over(self):
        scheduler = Scheduler(10, 9, 1)
        for user, tokens in (("ann", 1), ("ann", 9), ("bob", 9), ("cid", 1)):
            scheduler.submit(user, tokens)
        # 0 comes in: 2 and 3 are due.  2 fits, so 1 is passed over once.  Nobody fits any more.
        assert_equal((scheduler.admit(), scheduler.free), ([0, 2], 0))
        scheduler.finish(0)
        assert_equal(scheduler.admit(), [])  # the oldest due one is 1 with 9 tokens, and 3 may not pass

    def test_a_bill_is_lifted_when_a_user_comes_back(self):
        scheduler = Scheduler(1000, 1, 99)
        for _ in range(6):
            scheduler.submit("ann", 10)
        order = []
        for _ in range(4):  # ann's bill is 40
            order += scheduler.admit()
            scheduler.finish(order[-1])
        for _ in range(4):
            scheduler.submit("bob", 10)
        for _ in range(4):
            order += scheduler.admit()
            scheduler.finish(order[-1])
        assert_equal(order, [0, 1, 2, 3, 4, 6, 5, 7])

    def test_a_bill_is_lifted_to_the_smallest_of_those_who_wait(self):
        scheduler = Scheduler(1000, 1, 99)
        for user, tokens in (("ann", 50), ("ann", 1), ("bob", 20), ("bob", 30), ("bob", 1), ("cid", 10)):
            scheduler.submit(user, tokens)
        order = []
        for _ in range(4):  # 0 of ann, 2 of bob, 5 of cid, 3 of bob: bills of 50, 50 and 10, and cid doesn't wait
            order += scheduler.admit()
            scheduler.finish(order[-1])
        scheduler.submit("dan", 1)  # 6, lifted to 50
        scheduler.submit("cid", 1)  # 7, lifted from 10 to 50
        while admitted := scheduler.admit():
            order += admitted
            scheduler.finish(admitted[0])
        assert_equal(order, [0, 2, 5, 3, 1, 4, 6, 7])

    def test_a_bill_is_not_lifted_while_a_request_waits(self):
        scheduler = Scheduler(1000, 1, 99)
        scheduler.submit("ann", 40)
        scheduler.admit()
        scheduler.submit("bob", 5)  # 1
        scheduler.submit("ann", 1)  # 2
        scheduler.submit("bob", 5)  # 3
        scheduler.finish(0)
        order = []
        while admitted := scheduler.admit():
            order += admitted
            scheduler.finish(admitted[0])
        assert_equal(order, [1, 3, 2])

    def test_a_larger_bill_is_not_lowered(self):
        scheduler = Scheduler(1000, 1, 99)
        scheduler.submit("ann", 40)
        scheduler.admit()
        scheduler.finish(0)
        scheduler.submit("bob", 5)  # 1
        scheduler.submit("bob", 5)  # 2
        scheduler.submit("ann", 5)  # 3, still with a bill of 40
        order = []
        while admitted := scheduler.admit():
            order += admitted
            scheduler.finish(admitted[0])
        assert_equal(order, [1, 2, 3])

    @pytest.mark.parametrize(("budget", "tokens"), [(10, 11), (7, 500)])
    def test_refuses_what_could_never_run(self, budget, tokens):
        scheduler = Scheduler(budget, 3, 2)
        scheduler.submit("bob", budget)
        with raises(ValueError, tokens, budget):
            scheduler.submit("ann", tokens)
        assert_equal((scheduler.submit("ann", 1), scheduler.admit(), scheduler.free), (1, [0], 0))

    def test_a_refused_request_lifts_no_bill(self):
        scheduler = Scheduler(10, 1, 99)
        scheduler.submit("ann", 10)
        scheduler.submit("ann", 10)
        order = scheduler.admit()
        with raises(ValueError, 11, 10):
            scheduler.submit("bob", 11)  # while ann waits with a bill of 10
        scheduler.finish(0)
        order += scheduler.admit()
        for _ in range(3):
            scheduler.submit("dan", 5)  # 2, 3 and 4
        for number in (1, 2, 3):
            scheduler.finish(number)
            order += scheduler.admit()
            if number == 1:
                scheduler.submit("bob", 5)  # 5, lifted to dan's 5 only
        assert_equal(order, [0, 1, 2, 3, 5])

    @pytest.mark.parametrize("number", [1, 0, 7])
    def test_refuses_to_finish_what_does_not_run(self, number):
        scheduler = Scheduler(10, 1, 2)
        scheduler.submit("ann", 4)
        scheduler.submit("ann", 3)
        scheduler.admit()
        if number == 0:
            scheduler.finish(0)  # it has ended already
        free = scheduler.free
        with raises(KeyError, number):
            scheduler.finish(number)
        assert_equal(scheduler.free, free)

    def test_any_text_is_a_name(self):
        scheduler = Scheduler(10, 9, 2)
        for user in ("", "0", "ann"):
            scheduler.submit(user, 1)
        assert_equal(scheduler.admit(), [0, 1, 2])

    def test_two_schedulers_are_apart(self):
        one, other = Scheduler(10, 2, 1), Scheduler(6, 2, 1)
        one.submit("ann", 9)
        assert_equal((other.submit("bob", 5), one.admit(), other.admit(), one.free, other.free), (0, [0], [0], 1, 1))

    @pytest.mark.parametrize("patience", [0, 1, 3, 30])
    @pytest.mark.parametrize("seed", range(6))
    def test_any_trace_follows_the_rules(self, seed, patience):
        draw = random.Random(f"{seed} {patience}")
        budget, most = draw.choice([(12, 9), (30, 4), (20, 2)])
        found, expected, running = Scheduler(budget, most, patience), ByTheRules(budget, most, patience), []
        for _ in range(120):
            action = draw.random()
            if action < 0.5:
                request = draw.choice(["ann", "bob", "cid", "dan", "eva"]), draw.choice([1, 2, 5, budget // 2, budget])
                assert_equal(found.submit(*request), expected.submit(*request))
            elif action < 0.75:
                admitted = expected.admit()
                assert_equal((found.admit(), found.free), (admitted, expected.free))
                running += admitted
            elif running:
                number = running.pop(draw.randrange(len(running)))
                found.finish(number)
                expected.finish(number)
            assert_equal(found.free, expected.free)

    def test_nobody_starves(self):
        scheduler = Scheduler(20, 8, 6)
        owner, waits, running, overtaken, worst = {}, {}, [], {}, 0
        for step in range(300):
            # New users all the time, ann with large requests, and bob with many small ones.
            new = [(f"user {step}", 2), ("bob", 1), ("bob", 2)] + [("ann", 20)] * (step % 40 == 0)
            for user, tokens in new:
                number = scheduler.submit(user, tokens)
                owner[number] = user
                waits.setdefault(user, []).append(number)
            for number in scheduler.admit():
                waits[owner[number]].remove(number)
                running.append(number)
                overtaken.pop(number, None)
                for user, queue in waits.items():
                    if queue and user != owner[number] and queue[0] < number:
                        overtaken[queue[0]] = overtaken.get(queue[0], 0) + 1
                        worst = max(worst, overtaken[queue[0]])
            for _ in range(min(len(running), 3)):
                scheduler.finish(running.pop(0))
        if worst > 6:
            fail(
                f"a head of a queue was overtaken by {worst} younger requests, with a patience of 6: it starves",
                evidence=worst,
            )


class Plain:
    """First come, first served: a scheduler that owes nothing to the learner's."""

    def __init__(self, budget: int = 10**6, most: int = 10**6) -> None:
        self.free, self.most, self.log = budget, most, []
        self.tokens: list[int] = []
        self.waiting: list[int] = []
        self.running: set[int] = set()

    def submit(self, user, tokens):
        if tokens > 500:
            raise ValueError(f"{tokens} tokens are too many")
        self.log.append((user, tokens))
        self.tokens.append(tokens)
        self.waiting.append(len(self.tokens) + 99)
        return self.waiting[-1]

    def admit(self):
        admitted = []
        while self.waiting and len(self.running) < self.most and self.tokens[self.waiting[0] - 100] <= self.free:
            admitted.append(self.waiting.pop(0))
            self.running.add(admitted[-1])
            self.free -= self.tokens[admitted[-1] - 100]
        return admitted

    def finish(self, number):
        self.running.remove(number)
        self.free += self.tokens[number - 100]


def run_to_the_end(engine, limit: int = 500) -> list[dict[int, int]]:
    steps = []
    while step := engine.step():
        steps.append(step)
        if len(steps) == limit:
            fail(f"after {limit} steps the engine still runs", evidence="endless")
    return steps


class TestEngine:
    def test_a_text_is_written_token_by_token(self):
        engine, prompt = Engine(Toy(), Plain()), [3, 1, 4]
        number = engine.submit("ann", prompt, 3)
        a, b, c = alone(prompt, 3)
        found = [({n: list(text) for n, text in engine.texts.items()}, set(engine.ended))]
        for _ in range(4):
            step = engine.step()
            found.append((step, list(engine.texts[number]), set(engine.ended)))
        assert_equal(
            found,
            [
                ({number: []}, set()),
                ({number: a}, [a], set()),
                ({number: b}, [a, b], set()),
                ({number: c}, [a, b, c], {number}),
                ({}, [a, b, c], {number}),
            ],
        )

    def test_the_drawing_takes_six_passes(self):
        model = Toy()
        engine = Engine(model, Plain(most=2))
        numbers = [engine.submit("ann", [i + 1], n) for i, n in enumerate((5, 2, 1, 3))]
        steps = run_to_the_end(engine)
        who = [sorted("abcd"[numbers.index(number)] for number in step) for step in steps]
        assert_equal(["".join(step) for step in who], ["ab", "ab", "ac", "ad", "ad", "d"])
        assert_equal(len(model.calls), 6)

    @pytest.mark.parametrize("seed", range(4))
    def test_each_text_as_if_it_were_alone(self, seed):
        draw = random.Random(seed)
        engine, expected = Engine(Toy(), Plain(40, 4), pad=7), {}
        for _ in range(30):
            for _ in range(draw.choice([0, 0, 1, 2])):
                prompt, new_tokens = [draw.randrange(VOCABULARY) for _ in range(draw.randint(1, 8))], draw.randint(1, 6)
                expected[engine.submit("ann", prompt, new_tokens)] = alone(prompt, new_tokens)
            engine.step()
        run_to_the_end(engine)
        assert_equal(engine.texts, expected)
        assert_equal(set(engine.ended), set(expected))

    def test_is_what_gpt_writes(self):
        model, expected = gpt(), {}
        engine = Engine(model, Plain(24, 3))
        for prompt, new_tokens in zip(some_prompts(2, 9, 5, 1, 7), (7, 3, 10, 12, 1), strict=True):
            prompt = [t % 31 for t in prompt]
            expected[engine.submit("ann", prompt, new_tokens)] = written_by_gpt(model, prompt, new_tokens)
        run_to_the_end(engine)
        assert_equal(engine.texts, expected)

    def test_one_call_for_all_that_run_the_new_ones_among_them(self):
        model = Toy()
        engine = Engine(model, Plain())
        first, second = some_prompts(3, 5)
        engine.submit("ann", first, 4)
        engine.step()
        engine.submit("bob", second, 4)
        engine.step()
        assert_equal([sorted(texts) for texts in model.texts], [[first], sorted([[*first, *alone(first, 1)], second])])

    def test_submits_what_the_cache_will_hold(self):
        scheduler = Plain()
        engine = Engine(Toy(), scheduler)
        engine.submit("ann", [4, 4, 4, 4], 3)
        engine.submit("bob", [9], 1)
        assert_equal(scheduler.log, [("ann", 6), ("bob", 1)])

    def test_the_scheduler_gives_the_numbers(self):
        engine = Engine(Toy(), Plain())
        assert_equal([engine.submit("ann", [4], 1), engine.submit("bob", [9], 2)], [100, 101])
        assert_equal((set(engine.step()), set(engine.texts), set(engine.ended)), ({100, 101}, {100, 101}, {100}))

    @pytest.mark.parametrize(("given", "pad"), [({}, 0), ({"pad": 33}, 33)])
    def test_pads_with_the_token_that_it_is_given(self, given, pad):
        model = Toy()
        engine = Engine(model, Plain(), **given)
        for prompt in some_prompts(3, 1, 4):
            engine.submit("ann", prompt, 2)
        run_to_the_end(engine)
        assert_equal(set(padding(model)), {pad})

    def test_submitting_runs_nothing(self):
        model = Toy()
        Engine(model, Plain()).submit("ann", [1], 2)
        assert_equal(model.calls, [])

    def test_nothing_to_do(self):
        model = Toy()
        engine = Engine(model, Plain())
        assert_equal((engine.step(), engine.step(), model.calls), ({}, {}, []))

    @pytest.mark.parametrize("nth", [0, 1, 4])
    def test_a_text_ends_with_its_stop_token(self, nth):
        prompts = some_prompts(2, 6)
        stop = alone(prompts[0], 6)[nth]
        engine = Engine(Toy(), Plain(), stop)
        numbers = [engine.submit("ann", prompt, 6) for prompt in prompts]
        run_to_the_end(engine)
        assert_equal(engine.texts, {n: alone(p, 6, stop) for n, p in zip(numbers, prompts, strict=True)})
        assert_equal(set(engine.ended), set(numbers))

    def test_the_token_0_is_a_stop_token_like_others(self):
        (prompt,) = next(p for p in (some_prompts(3, seed=s) for s in range(999)) if 0 in alone(p[0], 5)[:3])
        engine = Engine(Toy(), Plain(), stop=0)
        number = engine.submit("ann", prompt, 5)
        run_to_the_end(engine)
        assert_equal(engine.texts[number], alone(prompt, 5, 0))

    def test_a_stop_token_in_the_prompt_stops_nothing(self):
        (prompt,) = next(p for p in (some_prompts(4, seed=s) for s in range(99)) if not set(p[0]) & set(alone(p[0], 3)))
        engine = Engine(Toy(), Plain(), stop=prompt[-1])
        number = engine.submit("ann", prompt, 3)
        run_to_the_end(engine)
        assert_equal(engine.texts[number], alone(prompt, 3))

    def test_who_ends_makes_room_for_the_next_step(self):
        engine = Engine(Toy(), Plain(10, 9))
        first = engine.submit("ann", [1] * 8, 3)
        second = engine.submit("bob", [2] * 9, 1)
        assert_equal([sorted(step) for step in run_to_the_end(engine)], [[first], [first], [first], [second]])

    def test_each_request_is_finished_once(self):
        scheduler = Plain(50, 3)
        engine = Engine(Toy(), scheduler)
        for i in range(7):
            engine.submit("ann", [i + 1] * 5, 1 + i % 3)
        run_to_the_end(engine)
        assert_equal((scheduler.running, scheduler.free), (set(), 50))

    def test_the_cache_never_holds_more_than_the_budget(self):
        model, draw = Toy(), random.Random(3)
        engine = Engine(model, Scheduler(40, 6, 3))
        for _ in range(25):
            prompt = [draw.randrange(VOCABULARY) for _ in range(draw.randint(1, 20))]
            engine.submit(draw.choice("abc"), prompt, draw.randint(1, 15))
        run_to_the_end(engine)
        held = [sum(map(len, texts)) for texts in model.texts]
        assert_equal((max(held) <= 40, max(map(len, model.texts)) <= 6), (True, True))

    def test_a_prompt_is_copied(self):
        engine, prompt = Engine(Toy(), Plain()), [3, 1, 4]
        number = engine.submit("ann", prompt, 4)
        engine.step()
        prompt[:] = [9, 9]
        run_to_the_end(engine)
        assert_equal(engine.texts[number], alone([3, 1, 4], 4))

    def test_a_refused_request_leaves_nothing(self):
        engine = Engine(Toy(), Plain())
        with raises(ValueError, 501):
            engine.submit("ann", [1] * 500, 2)
        assert_equal((engine.texts, set(engine.ended), engine.step()), ({}, set(), {}))

    def test_after_an_error_of_the_model_the_next_step_tries_again(self):
        model, (first, second) = Toy(), some_prompts(3, 5)
        engine = Engine(model, Plain())
        a = engine.submit("ann", first, 3)
        engine.step()
        b = engine.submit("bob", second, 2)
        model.broken = True
        with raises(OSError):
            engine.step()
        assert_equal(engine.texts, {a: alone(first, 1), b: []})
        model.broken = False
        run_to_the_end(engine)
        assert_equal(engine.texts, {a: alone(first, 3), b: alone(second, 2)})

    def test_two_engines_are_apart(self):
        one, other = Engine(Toy(), Plain()), Engine(Toy(), Plain())
        a, b = one.submit("ann", [5, 6], 2), other.submit("bob", [7], 3)
        run_to_the_end(one)
        assert_equal((other.texts, set(other.ended)), ({b: []}, set()))
        run_to_the_end(other)
        assert_equal((one.texts, other.texts), ({a: alone([5, 6], 2)}, {b: alone([7], 3)}))

    def test_a_large_request_is_served_in_a_stream_of_small_ones(self):
        engine = Engine(Toy(), Scheduler(12, 4, 5))
        for i in range(4):
            engine.submit(f"early {i}", [1], 1 + i)
        large = engine.submit("large", [2] * 10, 3)
        for step in range(60):
            engine.submit(f"user {step}", [3], 3)
            engine.submit(f"also {step}", [4], 2)
            engine.step()
            if large in engine.ended:
                break
        # At most 5 others are admitted before it is due.  They and the first ones write 4 tokens each at most.
        if large not in engine.ended or step > 30:
            fail("a request that takes the whole budget isn't served while small ones keep coming", evidence=step)

    def test_beats_static_batches(self):
        model, draw = Toy(), random.Random(8)
        numbers = [draw.choice([1, 2, 3, 30]) for _ in range(24)]
        engine = Engine(model, Scheduler(10**6, 4, 2))
        for n in numbers:
            engine.submit("ann", [5], n)
        run_to_the_end(engine)
        assert_equal(len(model.calls) < 0.8 * static_passes(numbers, 4), True)


class TestOnTheGpu:
    def test_left_pad(self, gpu):
        ids, positions = left_pad([[5, 6], [7, 8, 9, 1]], 0, gpu.device)
        assert_equal([ids.device.type, positions.device.type], [gpu.device.type] * 2)
        assert_equal((ids.cpu().tolist(), positions.cpu().tolist()[0]), ([[0, 0, 5, 6], [7, 8, 9, 1]], [-2, -1, 0, 1]))

    def test_batch_mask(self, gpu):
        gpu.check(batch_mask, torch.tensor([[-2, -1, 0, 1], [0, 1, 2, 3]]))

    def test_next_tokens(self, gpu):
        texts = some_prompts(4, 1, 6)
        assert_equal(next_tokens(Toy(), texts, 0, gpu.device), [following(text) for text in texts])

    def test_generate_batch(self, gpu):
        model = Toy()
        prompts = some_prompts(4, 1)
        assert_equal(
            generate_batch(model, prompts, [3, 4], device=gpu.device), [alone(prompts[0], 3), alone(prompts[1], 4)]
        )
        assert_equal({one.device.type for call in model.calls for one in call}, {gpu.device.type})

    def test_an_engine(self, gpu):
        model = Toy()
        engine = Engine(model, Plain(), device=gpu.device)
        number = engine.submit("ann", [3, 1], 3)
        run_to_the_end(engine)
        assert_equal(engine.texts[number], alone([3, 1], 3))
        assert_equal({one.device.type for call in model.calls for one in call}, {gpu.device.type})

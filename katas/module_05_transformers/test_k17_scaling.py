"""Judges k17_scaling: counts against transformers' models and torch's FLOP counter, laws against numeric minima."""

import numpy as np
import pytest

from dojo.testing import assert_close, assert_equal, from_scratch, pure, raises
from katas.module_05_transformers.k17_scaling import (
    activation_memory,
    chinchilla_loss,
    fit_chinchilla,
    gpt2_forward_flops,
    gpt2_parameters,
    llama_forward_flops,
    llama_parameters,
    optimal_split,
    training_flops,
    training_memory,
)

pytestmark = [
    from_scratch("transformers", "torch.utils.flop_counter"),
    pure(),
    pytest.mark.deadline(60),  # the first tests import transformers' models, which takes a busy machine a while
]

GPT2_SIZES = [
    {"vocab_size": 61, "d_model": 24, "layers": 2, "d_ff": 40},
    {"vocab_size": 17, "d_model": 12, "layers": 3, "d_ff": 70},
    {"vocab_size": 90, "d_model": 20, "layers": 1, "d_ff": 80},
]
LLAMA_SIZES = [
    {"vocab_size": 61, "d_model": 24, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 6, "d_ff": 40},
    {"vocab_size": 17, "d_model": 12, "layers": 3, "heads": 6, "kv_heads": 3, "head_dim": 10, "d_ff": 50},
    {"vocab_size": 90, "d_model": 42, "layers": 1, "heads": 3, "kv_heads": 1, "head_dim": 4, "d_ff": 30},
]
# E, A, B, α, β: the paper's, a later fit of its data, and one far from both.
LAWS = [
    (1.69, 406.4, 410.7, 0.34, 0.28),
    (1.82, 482.0, 2085.4, 0.35, 0.37),
    (0.6, 60.0, 9000.0, 0.25, 0.45),
]


def gpt2(vocab_size: int, d_model: int, layers: int, d_ff: int, context: int = 33, tied: bool = True):
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=vocab_size,
        n_positions=context,
        n_embd=d_model,
        n_head=2,
        n_layer=layers,
        n_inner=d_ff,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation="eager",
    )
    return GPT2LMHeadModel(config).eval()


def llama(vocab_size, d_model, layers, heads, kv_heads, head_dim, d_ff, tied):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=d_model,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=d_ff,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation="eager",
    )
    return LlamaForCausalLM(config)


def counted_flops(model, vocab_size: int, batch: int, tokens: int, backward: bool = False) -> int:
    """What torch's counter counts; releases of transformers that rotate by a product have that left out."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        logits = model(torch.randint(vocab_size, (batch, tokens)), use_cache=False).logits
        if backward:
            logits.sum().backward()
    modules = counter.get_flop_counts().items()
    rotations = sum(sum(by_op.values()) for name, by_op in modules if name.endswith("rotary_emb"))
    return counter.get_total_flops() - rotations


def saved_bytes(batch: int, tokens: int, d_model: int, heads: int, recompute: str) -> int:
    """The bytes that autograd keeps for one bfloat16 layer, each memory once, weights and norms' statistics not."""
    import torch
    from torch.utils.checkpoint import checkpoint

    def linear(n_in, n_out):
        return torch.nn.Linear(n_in, n_out, dtype=torch.bfloat16)

    def drop(x):
        return torch.native_dropout(x, 0.1, True)[0]  # keeps its mask in bytes, as on a GPU

    def split(x):
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    q, k, v, o = (linear(d_model, d_model) for _ in range(4))
    up, down = linear(d_model, 4 * d_model), linear(4 * d_model, d_model)
    norm1, norm2 = (torch.nn.LayerNorm(d_model, dtype=torch.bfloat16) for _ in range(2))

    def core(q, k, v):
        scores = split(q) @ split(k).mT / (d_model // heads) ** 0.5
        return (drop(scores.softmax(-1)) @ split(v)).transpose(1, 2).flatten(2)

    def layer(x):
        y = norm1(x)
        qkv = q(y), k(y), v(y)
        attended = checkpoint(core, *qkv, use_reentrant=False) if recompute == "selective" else core(*qkv)
        x = x + drop(o(attended))
        return x + drop(down(torch.nn.functional.gelu(up(norm2(x)))))

    modules = (q, k, v, o, up, down, norm1, norm2)
    weights = {p.untyped_storage().data_ptr() for module in modules for p in module.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights and tensor.shape[-1:] != (1,):
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    x = torch.randn(batch, tokens, d_model, dtype=torch.bfloat16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = checkpoint(layer, x, use_reentrant=False) if recompute == "full" else layer(x)
    assert out.requires_grad  # the graph lives until here, so that no memory is used twice
    return sum(kept.values())


def count(model) -> int:
    """The parameters of `model`; parameters() yields a shared tensor once."""
    return sum(parameter.numel() for parameter in model.parameters())


def law(n, d, e, a, b, alpha, beta):
    return e + a * np.exp(-alpha * np.log(n)) + b * np.exp(-beta * np.log(d))


def runs(rng: np.random.Generator, number: int):
    """`number` runs with n and d independent and log-uniform over four and three and a half orders."""
    return 10 ** rng.uniform(6, 10, number), 10 ** rng.uniform(8, 11.5, number)


class TestGPT2Parameters:
    def test_gpt2_small_as_worked_by_hand(self):
        assert_equal(gpt2_parameters(50257, 1024, 768, 12, 3072), 124_439_808)

    @pytest.mark.parametrize("sizes", GPT2_SIZES)
    @pytest.mark.parametrize("context", [33, 8])
    def test_matches_transformers_with_a_tied_head(self, sizes, context):
        model = gpt2(**sizes, context=context)
        assert_equal(gpt2_parameters(context=context, **sizes), count(model))

    @pytest.mark.parametrize("sizes", GPT2_SIZES)
    def test_matches_transformers_with_a_head_of_its_own(self, sizes):
        model = gpt2(**sizes, context=9, tied=False)
        assert_equal(gpt2_parameters(context=9, **sizes, tied=False), count(model))

    def test_takes_its_arguments_in_order(self):
        assert_equal(gpt2_parameters(17, 9, 12, 3, 70, True), count(gpt2(17, 12, 3, 70, 9)))


class TestLlamaParameters:
    def test_llama_2_7b(self):
        assert_equal(llama_parameters(32000, 4096, 32, 32, 32, 128, 11008), 6_738_415_616)

    @pytest.mark.parametrize("sizes", LLAMA_SIZES)
    def test_matches_transformers_with_a_head_of_its_own(self, sizes):
        assert_equal(llama_parameters(*sizes.values()), count(llama(**sizes, tied=False)))

    @pytest.mark.parametrize("sizes", LLAMA_SIZES)
    def test_matches_transformers_with_a_tied_head(self, sizes):
        assert_equal(llama_parameters(**sizes, tied=True), count(llama(**sizes, tied=True)))


class TestTrainingFlops:
    def test_the_example_worked_by_hand(self):
        assert_equal(training_flops(70 * 10**9, 1400 * 10**9), 588 * 10**21)

    @pytest.mark.parametrize(("n", "d"), [(1, 1), (5, 7), (124_439_808, 300 * 10**9 + 1)])
    def test_each_parameter_costs_six_a_token(self, n, d):
        assert_equal(training_flops(n, d), n * d * 6)


class TestGPT2ForwardFlops:
    @pytest.mark.parametrize("sizes", GPT2_SIZES)
    @pytest.mark.parametrize(("batch", "tokens"), [(1, 1), (3, 7)])
    def test_matches_torch_s_counter(self, sizes, batch, tokens):
        expected = counted_flops(gpt2(**sizes), sizes["vocab_size"], batch, tokens)
        assert_equal(gpt2_forward_flops(batch, tokens, *sizes.values()), expected)

    def test_gpt2_small_at_full_length(self):
        # 12 blocks of 7,077,888 weights and 2 · 1024 · 768 for the scores, and the head's 38,597,376.
        expected = 2 * 1024 * (12 * (7_077_888 + 1_572_864) + 38_597_376)
        got = gpt2_forward_flops(batch=1, tokens=1024, vocab_size=50257, d_model=768, layers=12, d_ff=3072)
        assert_equal(got, expected)

    @pytest.mark.parametrize("sizes", GPT2_SIZES)
    def test_a_step_with_the_backward_pass_takes_three_times_that(self, sizes):
        expected = counted_flops(gpt2(**sizes), sizes["vocab_size"], 2, 5, backward=True)
        assert_equal(3 * gpt2_forward_flops(2, 5, **sizes), expected)


class TestLlamaForwardFlops:
    def test_llama_3_8b_as_worked_by_hand(self):
        got = llama_forward_flops(1, 8192, 128256, 4096, 32, 32, 8, 128, 14336)
        assert_equal(got, 158_140_695_838_720)

    @pytest.mark.parametrize("sizes", LLAMA_SIZES)
    @pytest.mark.parametrize(("batch", "tokens"), [(1, 1), (3, 7)])
    def test_matches_torch_s_counter(self, sizes, batch, tokens):
        expected = counted_flops(llama(**sizes, tied=False), sizes["vocab_size"], batch, tokens)
        assert_equal(llama_forward_flops(batch, tokens, *sizes.values()), expected)

    @pytest.mark.parametrize("sizes", LLAMA_SIZES)
    def test_a_step_with_the_backward_pass_takes_three_times_that(self, sizes):
        expected = counted_flops(llama(**sizes, tied=True), sizes["vocab_size"], 2, 5, backward=True)
        assert_equal(3 * llama_forward_flops(batch=2, tokens=5, **sizes), expected)


class TestTrainingMemory:
    @pytest.mark.parametrize("parameters", [1, 1000, 124_439_808])
    def test_fp32_is_the_default(self, parameters):
        p = parameters
        expected = {"weights": 4 * p, "gradients": 4 * p, "optimizer": 8 * p, "total": 16 * p}
        assert_equal(training_memory(parameters), expected)
        assert_equal(training_memory(parameters, "fp32"), expected)

    @pytest.mark.parametrize("parameters", [1, 1000, 124_439_808])
    def test_mixed_precision_keeps_a_master_copy(self, parameters):
        p = parameters
        expected = {"weights": 2 * p, "gradients": 2 * p, "optimizer": 12 * p, "total": 16 * p}
        assert_equal(training_memory(parameters, precision="mixed"), expected)

    @pytest.mark.parametrize("precision", ["int8", "fp16"])
    def test_another_precision_is_refused(self, precision):
        with raises(ValueError, precision, "fp32", "mixed"):
            training_memory(1000, precision)


class TestActivationMemory:
    @pytest.mark.parametrize(
        ("recompute", "expected"),
        [("none", 2_868_903_936), ("selective", 855_638_016), ("full", 50_331_648)],
    )
    def test_a_layer_of_gpt3_as_worked_by_hand(self, recompute, expected):
        assert_equal(activation_memory(1, 2048, 12288, 96, recompute), expected)

    @pytest.mark.parametrize("recompute", ["none", "selective", "full"])
    @pytest.mark.parametrize("sizes", [(2, 10, 24, 4), (3, 7, 20, 5), (1, 33, 16, 2)])
    def test_is_what_autograd_keeps_for_a_layer(self, sizes, recompute):
        batch, tokens, d_model, heads = sizes
        got = activation_memory(
            batch=batch, tokens=tokens, d_model=d_model, heads=heads, recompute=recompute
        )
        assert_equal(got, saved_bytes(*sizes, recompute))

    # The last is beyond what a float holds exactly: the lesson promises an int, exact for every size.
    @pytest.mark.parametrize("sizes", [(2, 10, 24, 4), (3, 7, 20, 5), (5, 1, 6, 3), (3, 10_000_001, 12_289, 97)])
    def test_nothing_is_recomputed_by_default(self, sizes):
        batch, tokens, d_model, heads = sizes
        expected = 34 * batch * tokens * d_model + 5 * batch * heads * tokens**2
        assert_equal(activation_memory(*sizes), expected)

    @pytest.mark.parametrize("recompute", ["partial", "all"])
    def test_another_recomputation_is_refused(self, recompute):
        with raises(ValueError, recompute, "none", "selective", "full"):
            activation_memory(2, 10, 24, 4, recompute)


class TestChinchillaLoss:
    def test_the_example_worked_by_hand(self):
        assert_close(chinchilla_loss(70e9, 1.4e12), 1.9366, atol=1e-4, rtol=0)  # four places in the lesson

    @pytest.mark.parametrize("constants", LAWS)
    def test_is_the_sum_of_the_three_terms(self, constants):
        assert_close(chinchilla_loss(3e8, 2e9, *constants), float(law(3e8, 2e9, *constants)))
        e, a, b, alpha, beta = constants
        got = chinchilla_loss(n=5e6, d=7e10, beta=beta, alpha=alpha, b=b, a=a, e=e)
        assert_close(got, float(law(5e6, 7e10, *constants)))

    # Sizes this small show each default in the first digits.
    @pytest.mark.parametrize(("n", "d"), [(1.0, 1e30), (1e30, 1.0), (1e30, 1e30), (50.0, 1e30), (1e30, 50.0)])
    def test_the_paper_s_constants_are_the_defaults(self, n, d):
        assert_close(chinchilla_loss(n, d), float(law(n, d, *LAWS[0])))

    def test_whole_numbers_give_a_float(self):
        assert_close(chinchilla_loss(70 * 10**9, 1400 * 10**9), float(law(7e10, 1.4e12, *LAWS[0])))

    def test_arrays_of_one_number_give_one(self):
        n, d = np.array([3e8]), np.array([[2e9]])
        assert_close(chinchilla_loss(n, n), law(n, n, *LAWS[0]))
        assert_close(chinchilla_loss(n, d), law(n, d, *LAWS[0]))
        assert_close(chinchilla_loss(3e8, d), law(3e8, d, *LAWS[0]))

    def test_arrays_broadcast(self, rng):
        n, d = runs(rng, 5)
        assert_close(chinchilla_loss(n, d), law(n, d, *LAWS[0]))
        assert_close(chinchilla_loss(n[:, None], d[:3]), law(n[:, None], d[:3], *LAWS[0]))
        assert_close(chinchilla_loss(n, 2e10, *LAWS[1]), law(n, 2e10, *LAWS[1]))
        assert_close(chinchilla_loss(3e7, d, *LAWS[1]), law(3e7, d, *LAWS[1]))


class TestOptimalSplit:
    @pytest.mark.parametrize("flops", [1e18, 5.88e23])
    def test_the_paper_s_constants_are_the_defaults(self, flops):
        _, a, b, alpha, beta = LAWS[0]
        n = np.exp((np.log(alpha * a / (beta * b)) + beta * np.log(flops / 6)) / (alpha + beta))
        assert_close(optimal_split(flops), (float(n), float(flops / 6 / n)))

    @pytest.mark.parametrize("constants", LAWS)
    @pytest.mark.parametrize("flops", [1e15, 3e19, 5.88e23])
    def test_spends_the_whole_budget(self, constants, flops):
        n, d = optimal_split(flops, *constants[1:])
        assert_close(6 * n * d, flops)

    @pytest.mark.parametrize("constants", LAWS)
    @pytest.mark.parametrize("flops", [1e15, 3e19, 5.88e23])
    def test_no_other_split_has_less_loss(self, constants, flops):
        from scipy.optimize import brentq

        _, a, b, alpha, beta = constants

        def slope(log_n):  # dL / d log N at a fixed budget
            return beta * b * (flops / 6 / np.exp(log_n)) ** -beta - alpha * a * np.exp(-alpha * log_n)

        best = float(np.exp(brentq(slope, 0.0, 60.0, xtol=1e-13, rtol=1e-14)))
        got = optimal_split(flops, a=a, b=b, alpha=alpha, beta=beta)
        assert_close(got, (best, flops / 6 / best))

    def test_the_split_beats_its_neighbours(self):
        n, d = optimal_split(1e21)
        at_best = float(law(n, d, *LAWS[0]))
        for factor in (0.5, 0.9, 1.1, 2.0):
            assert law(n * factor, d / factor, *LAWS[0]) > at_best


class TestFitChinchilla:
    @pytest.mark.parametrize("constants", LAWS)
    @pytest.mark.parametrize("number", [40, 90])
    def test_recovers_the_constants(self, constants, number, rng):
        n, d = runs(rng, number)
        e, _, _, alpha, beta = fit_chinchilla(n, d, law(n, d, *constants))
        # The lesson's tolerance: optimizers stop at different distances. A and B follow α and β and are wide.
        assert_close((e, alpha, beta), (constants[0], *constants[3:]), atol=0.02, rtol=0)

    @pytest.mark.parametrize("constants", LAWS)
    def test_predicts_other_runs(self, constants, rng):
        n, d = runs(rng, 60)
        fitted = fit_chinchilla(n, d, law(n, d, *constants))
        n, d = runs(rng, 20)
        assert_close(law(n, d, *fitted), law(n, d, *constants), rtol=2e-4, atol=0)  # the lesson's 0.02 %

    def test_the_order_of_the_runs_makes_no_difference(self, rng):
        n, d = runs(rng, 50)
        order = np.argsort(n)
        n, d = n[order], d[order]
        e, _, _, alpha, beta = fit_chinchilla(n, d, law(n, d, *LAWS[1]))
        # As above.
        assert_close((e, alpha, beta), (LAWS[1][0], *LAWS[1][3:]), atol=0.02, rtol=0)

    def test_five_runs_are_enough(self):
        n = np.array([3e6, 1e8, 4e9, 2e7, 9e8])
        d = np.array([2e9, 1e11, 5e8, 3e10, 8e9])
        loss = law(n, d, *LAWS[0])
        assert_close(law(n, d, *fit_chinchilla(n, d, loss)), loss, rtol=0.05, atol=0)  # the lesson's 5 %

    @pytest.mark.parametrize("number", [4, 2])
    def test_fewer_runs_are_refused(self, number, rng):
        n, d = runs(rng, number)
        with raises(ValueError, number, 5):
            fit_chinchilla(n, d, law(n, d, *LAWS[0]))

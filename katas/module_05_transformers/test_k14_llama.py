"""Judges k14_llama against transformers' LlamaForCausalLM; with SmolLM2's real weights in the slow tier."""

import json
from dataclasses import asdict

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dojo.testing import assert_close, assert_equal, fail, from_scratch, pure, raises
from katas.module_05_transformers.k14_llama import Llama, LlamaConfig, greedy, read_config

pytestmark = [
    from_scratch("transformers", "torch.nn.functional.scaled_dot_product_attention"),
    pure(),
    pytest.mark.deadline(60),  # the first test imports transformers, which takes a busy machine a while
]

SIZES = {
    "grouped": dict(vocab_size=61, d_model=24, d_ff=40, layers=2, heads=6, kv_heads=2, head_dim=4, theta=500.0, eps=1e-5, tied=False),
    "wide": dict(vocab_size=17, d_model=12, d_ff=10, layers=3, heads=3, kv_heads=1, head_dim=6, theta=10000.0, eps=0.1, tied=True),
}
CONFIG_JSON = {
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 96,
    "intermediate_size": 172,
    "num_hidden_layers": 5,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0},
}


def transformers_llama(case: str) -> nn.Module:
    """transformers' model of these sizes in float64, all weights random, the norms' too."""
    from transformers import LlamaConfig as TheirConfig
    from transformers import LlamaForCausalLM

    s = SIZES[case]
    config = TheirConfig(
        vocab_size=s["vocab_size"], hidden_size=s["d_model"], intermediate_size=s["d_ff"], num_hidden_layers=s["layers"],
        num_attention_heads=s["heads"], num_key_value_heads=s["kv_heads"], head_dim=s["head_dim"], rms_norm_eps=s["eps"],
        rope_parameters={"rope_type": "default", "rope_theta": s["theta"]}, tie_word_embeddings=s["tied"],
        attn_implementation="eager", max_position_embeddings=64,
    )  # fmt: skip
    model = LlamaForCausalLM(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model


def both(case: str) -> tuple[nn.Module, nn.Module]:
    theirs = transformers_llama(case)
    model = Llama(LlamaConfig(**SIZES[case])).double()
    model.load_hf(theirs.state_dict())
    return model, theirs


def some_ids(case: str, batch: int, n: int) -> torch.Tensor:
    return torch.randint(0, SIZES[case]["vocab_size"], (batch, n))


class TestReadConfig:
    def test_a_config_json(self):
        expected = dict(vocab_size=100, d_model=96, d_ff=172, layers=5, heads=8, kv_heads=2, head_dim=16, theta=100000.0, eps=1e-5, tied=True)
        assert_equal(asdict(read_config(CONFIG_JSON)), expected)

    def test_what_may_be_missing(self):
        old = {k: v for k, v in CONFIG_JSON.items() if k not in ("num_key_value_heads", "head_dim", "tie_word_embeddings", "rope_parameters")}
        found = asdict(read_config({**old, "rope_theta": 700.0}))
        assert_equal({k: found[k] for k in ("kv_heads", "head_dim", "tied", "theta")}, {"kv_heads": 8, "head_dim": 12, "tied": False, "theta": 700.0})
        assert_equal(isinstance(found["head_dim"], int), True)

    @pytest.mark.parametrize("kind", ["gpt2", "mistral"])
    def test_another_model_is_named(self, kind):
        with raises(ValueError, kind, "llama"):
            read_config({**CONFIG_JSON, "model_type": kind})


class TestParameters:
    @pytest.mark.parametrize("case", list(SIZES))
    def test_as_many_as_theirs(self, case):
        count = sum(p.numel() for p in Llama(LlamaConfig(**SIZES[case])).parameters())
        assert_equal(count, sum(p.numel() for p in transformers_llama(case).parameters()))


class TestLogits:
    @pytest.mark.parametrize("case", list(SIZES))
    @pytest.mark.parametrize(("batch", "n"), [(1, 1), (2, 7), (1, 13)])
    def test_match_transformers(self, case, batch, n):
        model, theirs = both(case)
        ids = some_ids(case, batch, n)
        # Their norms and the angles of RoPE are computed in float32, and the weights make logits of some hundreds.
        assert_close(model(ids), theirs(ids).logits.detach(), atol=1e-3, rtol=1e-4)

    def test_at_other_positions(self):
        model, theirs = both("grouped")
        ids, positions = some_ids("grouped", 2, 5), torch.tensor([3, 4, 9, 20, 21])
        expected = theirs(ids, position_ids=positions[None]).logits.detach()
        assert_close(model(ids, positions), expected, atol=1e-3, rtol=1e-4)  # as above

    @pytest.mark.parametrize("positions", [None, torch.tensor([7, 3, 20, 8, 1, 2, 9, 0, 5])])
    def test_tokens_see_only_the_rows_before_them(self, positions):
        model, _ = both("grouped")
        ids = some_ids("grouped", 2, 9)
        other = ids.clone()
        other[:, 5:] = (other[:, 5:] + 1) % 61
        first, second = model(ids, positions), model(other, positions)
        assert_close(second[:, :5], first[:, :5])
        # The last row sees the first, wherever they stand.
        other = ids.clone()
        other[:, 0] = (other[:, 0] + 1) % 61
        assert_equal(bool(((model(other, positions) - first).abs().amax(-1) > 1e-6).all()), True)

    @pytest.mark.parametrize("far", [100, 100_000])
    def test_only_distances_of_positions_matter(self, far):
        model, _ = both("grouped")
        ids, positions = some_ids("grouped", 2, 5), torch.tensor([3, 4, 9, 20, 21])
        # An angle of 100,000 is known to 1e-11, and the weights make logits of some hundreds of it.
        assert_close(model(ids, positions + far), model(ids, positions), atol=1e-5, rtol=1e-5)

    def test_a_second_call_owes_nothing_to_the_first(self):
        model, theirs = both("wide")
        model(some_ids("wide", 2, 9), torch.arange(9) * 3 + 5)
        ids = some_ids("wide", 3, 4)
        assert_close(model(ids), theirs(ids).logits.detach(), atol=1e-3, rtol=1e-4)  # as above

    @pytest.mark.gpu
    def test_on_a_gpu(self):
        model, _ = both("grouped")
        ids = some_ids("grouped", 2, 8)
        expected = model(ids)
        assert_close(model.cuda()(ids.cuda()).cpu(), expected)


class TestGradients:
    @pytest.mark.parametrize("case", list(SIZES))
    def test_match_transformers(self, case):
        model, theirs = both(case)
        ids = some_ids(case, 2, 6)
        logits, expected = model(ids), theirs(ids).logits
        upstream = torch.randn_like(logits)
        logits.backward(upstream)
        expected.backward(upstream)
        gradients = Llama(LlamaConfig(**SIZES[case])).double()
        gradients.load_hf({name: parameter.grad for name, parameter in theirs.named_parameters()})
        expected_of = dict(gradients.named_parameters())
        for name, parameter in model.named_parameters():
            scale = expected_of[name].abs().max().item()
            # Against the largest of each, as theirs pass through float32.
            assert_close(parameter.grad / scale, expected_of[name].detach() / scale, atol=1e-4, rtol=0)


class TestLoadHf:
    def test_half_precision_is_converted(self):
        theirs = transformers_llama("grouped")
        model = Llama(LlamaConfig(**SIZES["grouped"])).double()
        model.load_hf({name: value.bfloat16() for name, value in theirs.state_dict().items()})
        theirs = theirs.bfloat16().double()
        ids = some_ids("grouped", 1, 4)
        assert_close(model(ids), theirs(ids).logits.detach(), atol=1e-3, rtol=1e-4)  # as above

    def test_other_entries_and_the_state_are_left_alone(self):
        theirs = transformers_llama("wide")
        state = {name: value.clone() for name, value in theirs.state_dict().items()} | {"model.rotary_emb.inv_freq": torch.ones(3)}
        model = Llama(LlamaConfig(**SIZES["wide"])).double()
        model.load_hf(state)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        assert_close({k: v for k, v in state.items() if "rotary" not in k}, dict(theirs.state_dict()))

    @pytest.mark.parametrize("key", ["model.layers.1.mlp.up_proj.weight", "lm_head.weight", "model.norm.weight"])
    def test_a_missing_weight_is_named(self, key):
        state = dict(transformers_llama("grouped").state_dict())
        del state[key]
        with raises(ValueError, key):
            Llama(LlamaConfig(**SIZES["grouped"])).load_hf(state)

    def test_reads_the_state_by_name_over_an_earlier_one(self):
        model, _ = both("wide")
        theirs = transformers_llama("wide")
        model.load_hf(dict(reversed(theirs.state_dict().items())))
        ids = some_ids("wide", 2, 6)
        assert_close(model(ids), theirs(ids).logits.detach(), atol=1e-3, rtol=1e-4)  # as above

    def test_a_weight_of_another_shape_is_named(self):
        state = dict(transformers_llama("grouped").state_dict())
        state["model.layers.0.self_attn.k_proj.weight"] = torch.zeros(24, 24)
        with raises(ValueError, "model.layers.0.self_attn.k_proj.weight", (8, 24), (24, 24)):
            Llama(LlamaConfig(**SIZES["grouped"])).load_hf(state)

    def test_a_vector_is_not_broadcast(self):
        state = dict(transformers_llama("grouped").state_dict())
        state["model.norm.weight"] = torch.ones(1)
        with raises(ValueError, "model.norm.weight"):
            Llama(LlamaConfig(**SIZES["grouped"])).load_hf(state)


class NextIs(nn.Module):
    """Stands for a model: after token t comes (3t + 2) mod 11, and only the last row of the logits says so."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, ids):
        logits = F.one_hot((ids * 5 + 1) % 11, 11).float()
        logits[:, -1] = F.one_hot((ids[:, -1] * 3 + 2) % 11, 11).float() - 3
        return logits * self.weight


class TestGreedy:
    def test_the_largest_logit_of_the_last_token(self):
        assert_close(greedy(NextIs(), torch.tensor([4, 1]), 6), torch.tensor([4, 1, 5, 6, 9, 7, 1, 5]))

    def test_nothing_to_write(self):
        assert_close(greedy(NextIs(), torch.tensor([4, 1]), 0), torch.tensor([4, 1]))

    def test_stops_after_the_stop_token(self):
        assert_close(greedy(NextIs(), torch.tensor([4, 1]), 20, stop=9), torch.tensor([4, 1, 5, 6, 9]))
        # A stop token in the prompt, and one that never comes, stop nothing.
        assert_close(greedy(NextIs(), torch.tensor([9, 1]), 2, stop=9), torch.tensor([9, 1, 5, 6]))
        assert_close(greedy(NextIs(), torch.tensor([1]), 2, stop=0), torch.tensor([1, 5, 6]))

    def test_no_gradient_is_kept(self):
        seen = []
        model = NextIs()
        model.register_forward_hook(lambda _, inputs, out: seen.append(out.requires_grad))
        greedy(model, torch.tensor([1]), 2)
        if any(seen):
            fail("greedy() keeps the graph of every step: run the model under torch.no_grad().", evidence=("grad",))

    @pytest.mark.parametrize("on", [True, False])
    def test_leaves_gradients_on_or_off_as_they_were(self, on):
        with torch.set_grad_enabled(on):
            greedy(NextIs(), torch.tensor([1]), 2)
            assert_equal(torch.is_grad_enabled(), on)

    def test_writes_what_transformers_writes(self):
        model, theirs = both("grouped")
        ids = some_ids("grouped", 1, 5)
        theirs.generation_config.eos_token_id = None
        expected = theirs.generate(ids, max_new_tokens=12, do_sample=False)
        assert_close(greedy(model, ids[0], 12), expected[0])


@pytest.fixture(scope="module")
def pair(smollm2):
    """SmolLM2's checkpoint, its config, transformers' model with both, and the tokenizer."""
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).eval()
    config = json.loads((smollm2 / "config.json").read_text())
    return load_file(smollm2 / "model.safetensors"), config, theirs, AutoTokenizer.from_pretrained(smollm2)


@pytest.mark.slow
class TestSmolLM2:
    """Real weights, 134,515,008 of them, in float32."""

    def learners(self, pair) -> nn.Module:
        state, config, _, _ = pair
        model = Llama(read_config(config))
        model.load_hf(state)
        return model

    def test_it_has_as_many_parameters(self, pair):
        assert_equal(sum(p.numel() for p in self.learners(pair).parameters()), 134_515_008)

    def test_the_same_logits(self, pair):
        _, _, theirs, tokenizer = pair
        ids = tokenizer("The theory of relativity says that nothing travels faster than", return_tensors="pt")["input_ids"]
        model = self.learners(pair)
        with torch.no_grad():
            # 30 layers of float32 sums in another order; the logits are about 10.
            assert_close(model(ids), theirs(ids).logits, atol=2e-2, rtol=1e-3)

    def test_the_same_text(self, pair):
        _, _, theirs, tokenizer = pair
        ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
        expected = theirs.generate(ids, max_new_tokens=16, do_sample=False)[0]
        written = greedy(self.learners(pair), ids[0], 16, stop=2)
        assert_equal(tokenizer.decode(written), tokenizer.decode(expected))
        assert_equal(tokenizer.decode(written).startswith("The capital of France is Paris."), True)


class TestOnTheGpu:
    @pytest.mark.parametrize("case", SIZES)
    def test_llama(self, gpu, case):
        model = Llama(LlamaConfig(**SIZES[case])).double()
        gpu.check(model, some_ids(case, 2, 5))
        gpu.check(model, some_ids(case, 2, 3), torch.tensor([4, 5, 9]))

    def test_greedy(self, gpu):
        model = Llama(LlamaConfig(**SIZES["wide"])).double()
        ids = some_ids("wide", 1, 4)[0]
        found = greedy(gpu(model), gpu(ids), 3)
        assert_equal(found.device.type, gpu.device.type)
        assert_close(found.cpu(), greedy(model, ids, 3))

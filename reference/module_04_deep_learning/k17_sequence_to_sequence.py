"""Sequence to sequence: the reference."""

import math

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from katas.module_05_transformers.k15_decoding import beam_search


def _attend(scores: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    return torch.einsum("bs,bsk->bk", weights, memory), weights


class AdditiveAttention(nn.Module):
    def __init__(self, query_size: int, key_size: int, hidden: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_size, hidden, bias=False)
        self.key = nn.Linear(key_size, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        # The query is the same for every position: one axis more, and it is added to all of them.
        both = self.query(query)[:, None] + self.key(memory)
        return _attend(self.score(both.tanh()).squeeze(-1), memory, mask)


class MultiplicativeAttention(nn.Module):
    def __init__(self, query_size: int, key_size: int) -> None:
        super().__init__()
        self.key = nn.Linear(key_size, query_size, bias=False)

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return _attend(torch.einsum("bq,bsq->bs", query, self.key(memory)), memory, mask)


class Encoder(nn.Module):
    def __init__(self, vocab: int, d: int, m: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, d)
        self.gru = nn.GRU(d, m, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(2 * m, m)

    def forward(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        # Packed, so that the backward direction begins at each row's last token; lengths must be on the CPU.
        packed = pack_padded_sequence(self.embedding(source), lengths.cpu(), batch_first=True, enforce_sorted=False)
        read, last = self.gru(packed)
        memory, _ = pad_packed_sequence(read, batch_first=True, total_length=source.shape[1])
        return memory, torch.tanh(self.bridge(torch.cat([last[0], last[1]], dim=-1)))


class Decoder(nn.Module):
    def __init__(self, vocab: int, d: int, m: int, attention: str = "additive") -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, d)
        if attention == "additive":
            self.attention: nn.Module = AdditiveAttention(m, 2 * m, m)
        elif attention == "multiplicative":
            self.attention = MultiplicativeAttention(m, 2 * m)
        else:
            raise ValueError(f"attention is {attention!r}; expected 'additive' or 'multiplicative'")
        self.cell = nn.GRUCell(d + 2 * m, m)
        self.head = nn.Linear(m + 2 * m, vocab)

    def forward(self, token: Tensor, state: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        context, weights = self.attention(state, memory, mask)
        state = self.cell(torch.cat([self.embedding(token), context], dim=-1), state)
        return self.head(torch.cat([state, context], dim=-1)), state, weights


def teacher_forcing_rate(step: int, k: float) -> float:
    # The same with both sides divided by exp(step / k), which would overflow.
    small = math.exp(-step / k)
    return k * small / (k * small + 1)


def _mask(lengths: Tensor, n: int) -> Tensor:
    return torch.arange(n, device=lengths.device) < lengths[:, None]


class Seq2Seq(nn.Module):
    def __init__(self, source_vocab: int, target_vocab: int, d: int, m: int, attention: str = "additive") -> None:
        super().__init__()
        self.encoder = Encoder(source_vocab, d, m)
        self.decoder = Decoder(target_vocab, d, m, attention)

    def forward(
        self,
        source: Tensor,
        lengths: Tensor,
        inputs: Tensor,
        rate: float = 1.0,
        generator: Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        memory, state = self.encoder(source, lengths)
        mask = _mask(lengths, source.shape[1])
        # rand is below 1, so that a rate of 1 takes every true token.
        forced = torch.rand(inputs.shape, generator=generator, device=inputs.device) < rate
        token, steps = inputs[:, 0], []
        for i in range(inputs.shape[1]):
            if i > 0:
                own = steps[-1][0].argmax(-1)
                token = torch.where(forced[:, i], inputs[:, i], own)
            logits, state, weights = self.decoder(token, state, memory, mask)
            steps.append((logits, weights))
        all_logits, all_weights = zip(*steps, strict=True)
        return torch.stack(all_logits, dim=1), torch.stack(all_weights, dim=1)


@torch.no_grad()
def translate(
    model: Seq2Seq, source: list[int], bos: int, eos: int, limit: int, beams: int = 4, length_penalty: float = 1.0
) -> list[int]:
    device = next(model.parameters()).device
    lengths = torch.tensor([len(source)], device=device)
    memory, first = model.encoder(torch.tensor([source], device=device), lengths)

    def next_logits(rows: Tensor) -> Tensor:
        # Every beam reads the same memory; expand copies nothing.
        b = len(rows)
        state, keys, mask = first.expand(b, -1), memory.expand(b, -1, -1), _mask(lengths, len(source)).expand(b, -1)
        steps = []
        for token in rows.to(device).unbind(1):
            logits, state, _ = model.decoder(token, state, keys, mask)
            steps.append(logits)
        return torch.stack(steps, dim=1).cpu()

    tokens, _ = beam_search(next_logits, [bos], limit, beams, eos, length_penalty)
    return tokens[:-1] if tokens[-1] == eos else tokens

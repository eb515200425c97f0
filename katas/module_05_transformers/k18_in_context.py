"""In-context learning

**Before you start.**  You need attention, gradient descent on least squares and f-strings; no
other kata's code.  More: Olsson et al. 2022, the first sections.

**The idea.**  A language model learns from its prompt without a single weight changing.  You
look at it from three angles: how to write the prompt, how attention can learn from it, and which
heads copy from it.

*The prompt.*  A few-shot prompt shows worked examples, then the query with its answer left open.
The model goes on with the pattern.  A tuned model wants the very template it was
trained on.

*Learning by attention.*  Attention can run gradient descent.  Example i is a token (xᵢ, yᵢ), a
query is (x, 0):

                x slots      y slot
    example   [  1    0   │    2   ]  ─┐
    example   [  1    1   │    3   ]  ─┴─▶  keys are the x, values the y
    query     [  2   -1   │    0   ]        every token asks with its x

**The formula.**  There is no softmax.  With n examples, one layer updates every token, examples
and queries:

    y ← y - rate/n Σᵢ yᵢ (xᵢ · x)

Least squares has the loss L(w) = 1/(2n) Σᵢ (w·xᵢ - yᵢ)².  One step of gradient descent from
w = 0 gives Δw = rate/n Σᵢ yᵢ xᵢ.  So the layer does y ← y - Δw·x.

*Induction heads.*  In "A B … A" a head looks up where the token stood before, attends to the
token after it, and predicts that one:

    position    0    1    2    3    4
    token       7    3    9    7    3
                     ▲    ▲    │    │
                     └────┼────┘    │    the second 7 looks behind the first
                          └─────────┘    the second 3 as well
    predicts    –    –    –    3    9

To find such heads, feed a model random tokens with some period.  The token at i ≥ period stood at
i - period before, so an induction head looks at i - period + 1.

**Why are many layers many steps?**  After the layer each example's y slot holds what is still
unexplained: least squares again, and the same layer is its next step.  A query's y slot holds
minus its prediction.

**Why does a prompt end at the colon?**  Tokenizers join a space to the word that follows it.
"Output: " takes that space from the answer's first token.

**Worked by hand**, two examples, d = 2, rate 0.5 (so rate/n = 0.25):

    x₁ = [1 0]  y₁ = 2      x₂ = [1 1]  y₂ = 3      query x = [2 -1]
    scores     x·x₁ = 2,  x·x₂ = 1
    prediction 0.25 (2·2 + 1·3) = 1.75
    gradient descent: w = 0.25 (2 [1 0] + 3 [1 1]) = [1.25 0.75], w·x = 1.75
    after the layer the y slots hold 0.75, 1 and -1.75

**Shapes**, with any leading dimensions `...`: tokens (..., n + m, d + 1), ids (..., n).  No
function changes its arguments.

Answers are on the device of the input: make new tensors there (`device=x.device`).

**Steps.**

    few_shot_prompt         5 min   blocks, joined
    instruction_prompt      5 min   which block may be missing?
    linear_attention        5 min   two products
    regression_layer       10 min   who may be a key?
    in_context_regression  10 min   the sign of a query's y slot
    induction_score         5 min   rows and columns together
    induction_head         15 min   the last earlier one, without a loop

Sources: Brown et al. 2020, "Language Models are Few-Shot Learners", section 2; Taori et al.
2023, "Alpaca" (the instruction format); von Oswald et al. 2023, "Transformers Learn In-Context
by Gradient Descent", proposition 1; Olsson et al. 2022, "In-context Learning and Induction
Heads".

From scratch: torch.linalg.lstsq, torch.linalg.pinv and torch.linalg.solve may not be used.
"""

from torch import Tensor


def few_shot_prompt(
    examples: list[tuple[str, str]],
    query: str,
    input_label: str = "Input",
    output_label: str = "Output",
    separator: str = "\n\n",
    instruction: str = "",
) -> str:
    """Prompt of worked `examples`, (input, output) each, that asks for the output of `query`.

    Blocks joined by `separator`: the instruction (no block if it is empty), one block for each
    example in the order given, and the query's, which ends right after the colon:

        Input: <the example's input>
        Output: <the example's output>
                                            (the separator: here a blank line)
        Input: <query>
        Output:

    - Lines of a block are joined by a newline.
    - Texts stand as given: nothing is stripped, braces mean nothing.
    - No examples (zero-shot) is fine; nothing comes before the first block or after the last.
    """
    raise NotImplementedError


def instruction_prompt(instruction: str, context: str = "", response: str = "") -> str:
    """A text around an instruction, in blocks joined by a blank line ("\\n\\n").

        <first sentence> Write a response that appropriately completes the request.

        ### Instruction:
        <instruction>

        ### Input:
        <context>

        ### Response:
        <response>

    It is Alpaca's plus a newline after "### Response:".

    - The first block is one line, two sentences with one space between them.  The first is
      "Below is an instruction that describes a task, paired with an input that provides
      further context."
    - If `context` is empty there is no Input block, and the first sentence is "Below is an
      instruction that describes a task."
    - If `response` is empty the text ends with "### Response:\\n", ready for the model.
    - Texts stand as given: nothing is stripped, braces mean nothing.
    """
    raise NotImplementedError


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention without softmax or scaling: Q Kᵀ V.

    q (..., n, d_k), k (..., m, d_k), v (..., m, d_v) to (..., n, d_v).  Every query sees every
    key.
    """
    raise NotImplementedError


def regression_layer(tokens: Tensor, n: int, rate: float) -> Tensor:
    """One layer of the lesson on `tokens` (..., n + m, d + 1): n ≥ 1 examples, then m ≥ 0 queries.

    - The first d slots of a token are its x, the last one its y.
    - Only the n examples are keys and values; every token, example or query, is updated.
    - The queries' y slots need not be 0: they are updated like all others.

    Returns a tensor of the same shape and dtype, with the x slots as they were.  Gradients
    flow to `tokens`.
    """
    raise NotImplementedError


def in_context_regression(
    x: Tensor, y: Tensor, queries: Tensor, rate: float, layers: int = 1
) -> Tensor:
    """Predictions (..., m) for `queries` (..., m, d) from examples x (..., n, d), y (..., n).

    - `layers` regression layers run over the examples and the queries, whose y slots start
      at 0.  That equals the predictions w·query after `layers` steps of gradient descent on L
      from w = 0.  With 0 layers they are 0.
    - The leading dimensions are the same in all three; the result has the inputs' dtype.
    - Gradients flow to x, y and queries.
    """
    raise NotImplementedError


def induction_score(maps: Tensor, period: int) -> Tensor:
    """How much each head of a model acts as an induction head, (layers, heads).

    `maps` (layers, heads, n, n) are attention weights, rows queries and columns keys, on tokens
    that repeat with `period`.  n may be any length above the period.

    - The score is the mean, over the positions i = period, …, n - 1, of the weight from i to
      i - period + 1.  Positions below `period` have nothing to look up and don't count.
    - It keeps the dtype, and gradients flow to `maps`.

    Raises ValueError, naming both numbers, unless 1 ≤ period < n.
    """
    raise NotImplementedError


def induction_head(ids: Tensor) -> tuple[Tensor, Tensor]:
    """An ideal induction head on token ids (..., n), any int64 numbers, n ≥ 1.

    Position i finds the last position j < i with ids[j] = ids[i], puts all its attention on
    j + 1 (which may be i itself) and predicts the token that stands there.

    Returns the attention pattern (..., n, n), float32 of 0 and 1, and the predictions (..., n),
    int64.  A token that hasn't occurred before attends nowhere: its row is all zeros and its
    prediction -1.
    """
    raise NotImplementedError

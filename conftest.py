"""Makes the fixtures known to every test; they import what they need when they are used."""

from fixtures.data import (  # noqa: F401
    ames,
    cancer,
    cat,
    churn,
    co2,
    diabetes,
    digits,
    hamlet,
    iris,
    mnist,
    names,
    numbers,
    penguins,
    photo,
    pronunciations,
    ratings,
    reviews,
    similarities,
    sunspots,
    wine,
    word_vectors,
)
from fixtures.devices import device, kernels  # noqa: F401
from fixtures.gpu import gpu  # noqa: F401
from fixtures.models import efficientnet_lite0, gpt2_vocabulary, minilm, smollm2  # noqa: F401
from fixtures.processes import ranks  # noqa: F401
from fixtures.serving import serve  # noqa: F401
from fixtures.simulated_time import simulated  # noqa: F401

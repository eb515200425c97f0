"""Makes the fixtures known to every test; they import what they need when they are used."""

from fixtures.data import (  # noqa: F401
    _penguins,
    _reviews,
    digits,
    hamlet,
    penguins,
    photo,
    ratings,
    reviews,
)

"""What invented users picked out of a catalogue: where the numbers come from. NumPy alone.

Users and items have a few hidden traits each. A user picks items one after another, never the same twice, an item the
likelier the better its traits fit and the more popular it is; popularity falls off as in Zipf's law, as it does in
every catalogue. Nobody says what they dislike: items that a user did not pick stand in for that, drawn at random.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...db.records import Float64Array, Int64Array

TRAITS = 6
FIT = 2.5  # deviation of the logits that is a matter of taste
ZIPF_EXPONENT = 0.8
FEWEST_PICKS = 6


class Interactions(NamedTuple):
    """Who picked what.

    Attributes:
        users: (training samples,) whose; picks and what stands in for dislikes, shuffled.
        items: (training samples,) which.
        picked: (training samples,) whether it was picked.
        candidates: (users, candidates): the item that the user picked last, then others that they never picked.
    """

    users: Int64Array
    items: Int64Array
    picked: NDArray[np.bool_]
    candidates: Int64Array


def simulate(users: int, items: int, picks: int, negatives: int, candidates: int, seed: int) -> Interactions:
    """Draw interactions.

    Args:
        users: how many there are.
        items: how many there are.
        picks: for training, of all users together; the last pick of each comes on top.
        negatives: items not picked for each item picked.
        candidates: how many a user's last pick is to be found among, itself included.
        seed: the same interactions for the same seed.
    """
    generator = np.random.default_rng(seed)
    fewest = np.full(users, FEWEST_PICKS)
    activity = generator.gamma(2.0, 1.0, users)
    counts = fewest + generator.multinomial(picks - fewest.sum(), activity / activity.sum())  # (users,)
    chosen = _in_order_of_choice(_logits(users, items, generator), generator)  # (users, items)

    place = np.arange(items)
    user, order = np.nonzero(place < counts[:, np.newaxis])  # (picks,) each
    item = chosen[user, order]
    last = chosen[np.arange(users), counts]  # (users,)

    # Items beyond a user's last pick are those never picked, in an order that taste has a part in: shuffle them.
    unpicked = np.where(place > counts[:, np.newaxis], generator.random((users, items)), np.inf)
    others = np.take_along_axis(chosen, np.argsort(unpicked, axis=1), axis=1)  # (users, items) never picked first
    disliking = np.repeat(user, negatives)  # (picks * negatives,)
    disliked = others[disliking, generator.integers(items - counts[disliking] - 1)]

    shuffled = generator.permutation(picks * (1 + negatives))
    return Interactions(
        users=np.concatenate([user, disliking])[shuffled],
        items=np.concatenate([item, disliked])[shuffled],
        picked=shuffled < picks,
        candidates=np.column_stack([last, others[:, : candidates - 1]]),
    )


def _logits(users: int, items: int, generator: np.random.Generator) -> Float64Array:
    """How much each user is drawn to each item, up to a constant: (users, items)."""
    taste = generator.standard_normal((users, TRAITS)) @ generator.standard_normal((TRAITS, items))
    rank = generator.permutation(items) + 1.0
    logits: Float64Array = FIT / np.sqrt(TRAITS) * taste - ZIPF_EXPONENT * np.log(rank)
    return logits


def _in_order_of_choice(logits: Float64Array, generator: np.random.Generator) -> Int64Array:
    """Draw all items of each user one after another without replacement: (users, items) item numbers.

    Sorting logits with Gumbel noise on them is the same as drawing from their softmax again and again.
    """
    return np.argsort(-(logits + generator.gumbel(size=logits.shape)), axis=1)

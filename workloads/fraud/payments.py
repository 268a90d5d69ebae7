"""Card payments of invented people, with fraud among them: where the numbers come from. NumPy alone.

Customers live in towns, spend amounts and keep hours of their own, travel now and then, and pay in shops nearby or
online. Into their payments fraud is mixed, in the three forms that banks tell apart:

- testing: someone tries stolen card numbers with a burst of small payments online;
- stolen card: a few large payments in shops far from home;
- takeover: one payment online that looks like the customer's own, only somewhat larger, from a new device.

Nothing of a fraud is marked. What a model gets is what a bank could know at that moment: the payment, the customer's
past, and a score of the merchant. Travellers look like stolen cards and shopping sprees like testing, while a takeover
hardly shows: no model finds all fraud without accusing honest customers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...db.records import Float64Array, Int64Array

CUSTOMERS = 1_500
MERCHANTS = 400
TOWNS = 12
DAYS = 60
COUNTRY_KM = 600.0

FORMS = ("testing", "stolen card", "takeover")
SHARES = (0.4, 0.35, 0.25)  # of all fraud
PAYMENTS_IN_A_ROW = (4, 2, 1)

FEATURES = (
    "log amount",
    "log amount to customer's mean",
    "log amount to merchant's usual",
    "hour sine",
    "hour cosine",
    "weekend",
    "merchant risk",
    "online",
    "log km from home",
    "log km from last shop",
    "log km/h since last shop",
    "log minutes since last payment",
    "payments in the last hour",
    "payments in the last day",
    "new device",
)


class Payments(NamedTuple):
    """Payments in the order of time: the newest last."""

    features: Float64Array  # (payments, 15)
    fraud: NDArray[np.bool_]  # (payments,)
    form: Int64Array  # (payments,) index into FORMS, -1 where honest; no model is given it


class _World(NamedTuple):
    """Who pays and who is paid; places in kilometres."""

    homes: Float64Array  # (customers, 2)
    spending: Float64Array  # (customers,) mean log amount
    habit_hours: Float64Array  # (customers,) when they mostly pay
    activity: Float64Array  # (customers,) share of all payments
    trip_days: Float64Array  # (customers,) when a trip of some days begins; some never travel within the time
    trip_places: Float64Array  # (customers, 2)
    shops: Float64Array  # (merchants, 2)
    online: NDArray[np.bool_]  # (merchants,)
    usual: Float64Array  # (merchants,) mean log amount, relative to the customer's
    risk: Float64Array  # (merchants,) what the bank thinks of them: 0…1
    popularity: Float64Array  # (merchants,) share of all payments


class _Drawn(NamedTuple):
    """Payments in no order."""

    customer: Int64Array
    merchant: Int64Array
    hours: Float64Array  # since the beginning
    amount: Float64Array
    place: Float64Array  # (payments, 2)
    new_device: NDArray[np.bool_]
    form: Int64Array


def simulate(count: int, fraud: int, seed: int) -> Payments:
    """Draw payments, exactly so many of them fraud.

    Args:
        count: payments in all.
        fraud: how many are fraud.
        seed: the same payments for the same seed.
    """
    generator = np.random.default_rng(seed)
    world = _make_world(generator)
    honest, frauds = _pay_honestly(world, count - fraud, generator), _pay_fraudulently(world, fraud, generator)
    drawn = _Drawn(*(np.concatenate(parts) for parts in zip(honest, frauds, strict=True)))
    features = _look_back(world, drawn)
    by_time = np.argsort(drawn.hours, kind="stable")
    form = drawn.form[by_time]
    return Payments(features[by_time], form >= 0, form)


def _make_world(generator: np.random.Generator) -> _World:
    towns = generator.uniform(0, COUNTRY_KM, (TOWNS, 2))
    popularity = generator.gamma(0.5, 1.0, MERCHANTS)
    activity = generator.gamma(1.5, 1.0, CUSTOMERS)
    return _World(
        homes=towns[generator.integers(TOWNS, size=CUSTOMERS)] + generator.normal(0, 6, (CUSTOMERS, 2)),
        spending=generator.normal(3.2, 0.5, CUSTOMERS),
        habit_hours=generator.normal(15, 3, CUSTOMERS),
        activity=activity / activity.sum(),
        trip_days=generator.uniform(0, 2 * DAYS, CUSTOMERS),
        trip_places=generator.uniform(0, COUNTRY_KM, (CUSTOMERS, 2)),
        shops=towns[generator.integers(TOWNS, size=MERCHANTS)] + generator.normal(0, 6, (MERCHANTS, 2)),
        online=generator.random(MERCHANTS) < 0.3,
        usual=generator.normal(0, 0.5, MERCHANTS),
        risk=generator.beta(1.2, 6, MERCHANTS),
        popularity=popularity / popularity.sum(),
    )


def _pay_honestly(world: _World, count: int, generator: np.random.Generator) -> _Drawn:
    customer = generator.choice(CUSTOMERS, size=count, p=world.activity)
    day = generator.integers(DAYS, size=count)
    hours = 24 * day + (world.habit_hours[customer] + generator.normal(0, 3.5, count)) % 24
    # One in ten is a spree: soon after another payment of the same customer.
    spree = np.flatnonzero(generator.random(count) < 0.1)
    leader = generator.integers(count, size=len(spree))
    customer[spree], hours[spree] = customer[leader], hours[leader] + generator.exponential(0.4, len(spree))

    away = (hours / 24 > world.trip_days[customer]) & (hours / 24 < world.trip_days[customer] + 6)
    around = np.where(away[:, None], world.trip_places[customer], world.homes[customer])  # (count, 2)
    # Of a few merchants that come to mind, the nearest; one online is nowhere far.
    candidates = generator.choice(MERCHANTS, size=(count, 8), p=world.popularity)
    far = np.linalg.norm(world.shops[candidates] - around[:, None], axis=2)  # (count, 8) km
    far = np.where(world.online[candidates], generator.exponential(60, (count, 8)), far)
    merchant = candidates[np.arange(count), far.argmin(axis=1)]
    log_amount = world.spending[customer] + world.usual[merchant] + generator.normal(0, 0.7, count)
    return _Drawn(
        customer,
        merchant,
        hours,
        np.exp(log_amount),
        np.where(world.online[merchant, None], around, world.shops[merchant]),
        generator.random(count) < 0.03 + 0.05 * away,
        np.full(count, -1),
    )


def _pay_fraudulently(world: _World, count: int, generator: np.random.Generator) -> _Drawn:
    form = np.repeat(np.arange(len(FORMS)), _shared_out(count))  # (count,)
    row = np.arange(count) // np.array(PAYMENTS_IN_A_ROW)[form] + count * form  # the same for those in a row
    _, row = np.unique(row, return_inverse=True)
    rows = int(row[-1]) + 1 if count else 0
    customer = generator.integers(CUSTOMERS, size=rows)[row]
    testing, stolen = form == 0, form == 1

    start = generator.uniform(0, 24 * DAYS, rows)[row]
    habit = start // 24 * 24 + (world.habit_hours[customer] + generator.normal(0, 3.5, count)) % 24
    later = np.where(testing, generator.exponential(0.15, count), generator.exponential(2.0, count))
    hours = np.where(form == 2, habit, start + later)

    # Fraud prefers merchants with a doubtful name, though not only them.
    doubtful = world.popularity * (0.05 + world.risk)
    online, shops = doubtful * world.online, doubtful * ~world.online
    merchant = np.where(
        stolen,
        generator.choice(MERCHANTS, size=count, p=shops / shops.sum()),
        generator.choice(MERCHANTS, size=count, p=online / online.sum()),
    )
    shift = np.array([-1.0, 1.0, 0.5])[form]  # of the log amount
    log_amount = world.spending[customer] + world.usual[merchant] + shift + generator.normal(0, 0.7, count)
    abroad = generator.uniform(0, COUNTRY_KM, (rows, 2))[row]
    place = np.where(stolen[:, None], world.shops[merchant], world.homes[customer])
    hidden = testing & (generator.random(count) < 0.5)  # behind an address elsewhere
    return _Drawn(
        customer,
        merchant,
        hours,
        np.exp(log_amount),
        np.where(hidden[:, None], abroad, place),
        generator.random(count) < np.array([0.5, 0.03, 0.5])[form],
        form,
    )


def _shared_out(count: int) -> Int64Array:
    """So many frauds of each form."""
    bounds = np.rint(np.cumsum(SHARES) * count).astype(np.int64)
    return np.asarray(np.diff(bounds, prepend=0))


def _look_back(world: _World, drawn: _Drawn) -> Float64Array:
    """What a bank knows at each payment: (payments, features), in the order given."""
    order = np.lexsort((drawn.hours, drawn.customer))  # each customer's payments, oldest first
    customer, merchant, hours, amount, place, new_device, _ = (array[order] for array in drawn)
    first = np.diff(customer, prepend=-1) != 0
    index = np.arange(len(customer))
    begin = np.maximum.accumulate(np.where(first, index, 0))  # where this customer's payments begin

    # Sums over the past, without the payment itself.
    total = np.cumsum(np.log(amount)) - np.log(amount)
    past = index - begin
    mean = np.where(past > 0, (total - total[begin]) / np.maximum(past, 1), world.spending[customer])
    gap = np.where(first, 24.0, np.diff(hours, prepend=0))  # hours
    jump = np.where(first, 0.0, np.linalg.norm(np.diff(place, axis=0, prepend=place[:1]), axis=1))  # km
    clock = customer * (48.0 * DAYS) + hours  # one axis on which customers never come near each other
    hour = hours % 24
    columns = (
        np.log(amount),
        np.log(amount) - mean,
        np.log(amount) - world.spending.mean() - world.usual[merchant],
        np.sin(2 * np.pi * hour / 24),
        np.cos(2 * np.pi * hour / 24),
        hours // 24 % 7 >= 5,
        world.risk[merchant],
        world.online[merchant],
        np.log1p(np.linalg.norm(place - world.homes[customer], axis=1)),
        np.log1p(jump),
        np.log1p(jump / (gap + 0.1)),
        np.log1p(60 * gap),
        index - np.searchsorted(clock, clock - 1.0),
        index - np.searchsorted(clock, clock - 24.0),
        new_device,
    )
    features = np.empty((len(order), len(FEATURES)))
    features[order] = np.stack(columns, axis=1)
    return features

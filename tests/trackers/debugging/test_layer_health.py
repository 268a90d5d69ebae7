"""Dead, frozen and exploding layers are told by the numbers, once each."""

from __future__ import annotations

from trackside.trackers.debugging.layer_health import DEAD_STEPS, LayerHealth


def judged(steps):
    health = LayerHealth()
    return [(step, f.kind, f.layer, f.quantity) for step, layers in enumerate(steps) for f in health.see(layers)]


def test_dead_relu_is_said_once_and_not_of_the_layers_before_it():
    layers = {"linear": {"gradient_norm": 0.0}, "relu": {"zero_fraction": 1.0}, "head": {"gradient_norm": 1.0}}
    assert judged([layers] * 12) == [(DEAD_STEPS - 1, "dead_layer", "relu", "activation")]


def test_a_layer_that_wakes_is_not_dead():
    asleep, awake = {"a": {"zero_fraction": 1.0}}, {"a": {"zero_fraction": 0.9}}
    assert judged([*[asleep] * (DEAD_STEPS - 1), awake, *[asleep] * (DEAD_STEPS - 1)]) == []


def test_weights_that_do_not_move_despite_a_gradient_are_frozen():
    assert judged([{"a": {"gradient_norm": 1.0, "update_ratio": 0.0}}] * 6) == [(4, "frozen_layer", "a", "weight")]
    assert judged([{"a": {"gradient_norm": 1.0, "update_ratio": 1e-9}}] * 6) == []


def test_the_layer_that_exploded_most_is_named_once():
    usual = {"a": {"gradient_norm": 1.0}, "b": {"gradient_norm": 0.1}}
    burst = {"a": {"gradient_norm": 5e3}, "b": {"gradient_norm": 4e3}}
    assert judged([*[usual] * 6, burst, burst]) == [(6, "exploding_layer", "b", "gradient")]


def test_growth_from_next_to_nothing_and_early_bursts_are_no_explosion():
    assert judged([*[{"a": {"gradient_norm": 1e-6}}] * 9, {"a": {"gradient_norm": 1.0}}]) == []
    assert judged([{"a": {"gradient_norm": 1.0}}, {"a": {"gradient_norm": 1e6}}]) == []
    assert judged([*[{"a": {"gradient_norm": 1.0}}] * 9, {"a": {"gradient_norm": float("nan")}}]) == []

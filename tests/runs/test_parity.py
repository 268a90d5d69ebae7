"""The parity card of real runs: green for the same, red for not the same, amber for what nobody recorded."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trackside
from trackside.db.errors import UsageError
from trackside.db.records import RunInfo
from trackside.db.store import open_store
from trackside.runs.check_conditions import condition_checks
from trackside.runs.check_start import start_checks
from trackside.runs.checks import Subject, worst
from trackside.runs.parity import check_parity

FINGERPRINTS: dict[str, Any] = {
    "data/batches": {"batch_size": 64, "samples_per_epoch": 1437, "digests": ["a1", "b2", "c3"]},
    "init/weights": {
        "parameter_count": 6090,
        "tensors": [
            {"count": 144, "norm": 1.73, "mean": 0.002},
            {"count": 16, "norm": 4.0, "mean": 1.0},
            {"count": 16, "norm": 0.0, "mean": 0.0},
        ],
    },
    "arithmetic": {
        "optimizer": {"name": "SGD", "learning_rate": 0.05, "momentum": 0.9, "nesterov": False, "weight_decay": 0.0},
        "schedule": None,
        "loss": {"name": "cross_entropy", "reduction": "mean"},
        "clipping": None,
        "accumulation": 1,
        "dropout": [],
        "random": False,
        "convolutions": [{"kernel": [3, 3], "stride": [1, 1], "dilation": [1, 1], "padding": [1, 1]}],
        "activations": ["relu"],
        "normalization": [{"kind": "batch", "momentum": 0.1, "epsilon": 1e-5, "variance": "unbiased"}],
        "trainable_parameter_count": 176,
    },
    "evaluation": {"samples": 360, "digests": ["e5"]},
}
ENVIRONMENT = {
    "host": "desk",
    "cpu": "A Processor",
    "cpu_count": 8,
    "threads": {"torch_intraop": 4, "tensorflow_intraop": 4},
    "load_average": [0.4, 0.3, 0.2],
}
PROPERTIES = {
    "torch": {"framework": "torch", "framework_version": "2.13.0", "backend": "lightning 2.6.6", "mode": "eager"},
    "tensorflow": {
        "framework": "tensorflow",
        "framework_version": "2.21.0",
        "backend": "keras 3.15.1",
        "mode": "graph",
    },
}
ADAM = {
    "name": "Adam", "learning_rate": 1e-3, "betas": [0.9, 0.999], "epsilon": 1e-8, "epsilon_kind": "outside",
    "weight_decay": 0.0,
}  # fmt: skip


@pytest.fixture
def store(sqlite_url):
    with open_store(sqlite_url) as opened:
        yield opened


def record(
    store, framework="torch", *, without=(), reduction="batch", rates=None, environment=None, loss=1.0, **changes
):
    """A run with everything recorded; `changes` replaces `fingerprint__key[__key]` or a property of the run."""
    fingerprints = copy.deepcopy(FINGERPRINTS)
    properties = {"precision": "float32", "device": "cpu", **PROPERTIES[framework]}
    for path, value in changes.items():
        name, *keys = path.split("__")
        if not keys:
            properties[name] = value
            continue
        target = fingerprints[name.replace("_", "/") if name.replace("_", "/") in fingerprints else name]
        for key in keys[:-1]:
            target = target[key]
        target[keys[-1]] = value
    with trackside.start_run(
        name=framework, store=store.url.render_as_string(hide_password=False), properties=properties
    ) as run:
        run.update(environment={**ENVIRONMENT, **(environment or {})})
        for name, value in fingerprints.items():
            if name not in without:
                run.fingerprint(name, value)
        run.describe("train/loss", reduction=reduction)
        for step in range(20):
            rate = {} if rates is None else rates(step)
            rate = rate if isinstance(rate, dict) else {"optimizer/learning_rate": rate}
            run.log({"train/loss": loss if step == 0 else 1.0, **rate}, step=step)
    return run.id


def card(store, *runs):
    found = check_parity(store, runs)
    return found, {check.name: check for check in found.checks}


def one_check(store, name, **changes):
    """The check `name` of a plain run in PyTorch and a run in TensorFlow with `changes`."""
    runs = record(store), record(store, "tensorflow", **changes)
    found, checks = card(store, *runs)
    assert checks[name].values.keys() == set(runs)
    assert found.verdict == worst([check.verdict for check in found.checks])
    return checks[name]


def test_the_same_experiment_in_two_frameworks_is_green(store):
    found, checks = card(store, record(store), record(store, "tensorflow"))
    assert [(check.name, check.reason) for check in found.checks if check.verdict != "green"] == []
    assert found.verdict == "green"
    assert {check.group for check in found.checks} == {"data", "start", "arithmetic", "conditions"}
    assert "by design" in checks["Framework"].reason
    assert "default mode" in checks["Execution mode"].reason
    assert all(check.reason.endswith(".") for check in found.checks)


def test_three_runs_are_compared_together(store):
    runs = [record(store), record(store), record(store, "tensorflow", data_batches__batch_size=32)]
    found, checks = card(store, *runs)
    assert found.verdict == "red"
    assert checks["Batch size"].verdict == "red"
    assert "64 in torch (" in checks["Batch size"].reason
    assert list(checks["Batch size"].values.values()) == [64, 64, 32]


@pytest.mark.parametrize("references", [1, 2])
def test_one_run_is_no_comparison(store, references):
    run = record(store)
    with pytest.raises(UsageError, match="two different runs"):
        check_parity(store, [run] * references)


def test_what_nobody_recorded_is_amber_and_says_so(store):
    url = store.url.render_as_string(hide_password=False)
    ids = []
    for name in ("a", "b"):
        with trackside.start_run(name=name, store=url) as run:
            run.log({"train/loss": 1.0}, step=0)
        ids.append(run.id)
    found, _ = card(store, *ids)
    assert found.verdict == "amber"
    for check in found.checks:
        if check.verdict == "amber":
            assert "could not be established for a and b" in check.reason
    assert {check.group for check in found.checks if check.verdict == "amber"} == {
        "data", "start", "arithmetic", "conditions",
    }  # fmt: skip


@pytest.mark.parametrize("fingerprint", list(FINGERPRINTS))
def test_a_part_that_one_run_lacks_is_amber(store, fingerprint):
    found, _ = card(store, record(store), record(store, "tensorflow", without=(fingerprint,)))
    assert found.verdict == "amber"
    assert any("could not be established for TensorFlow" in check.reason for check in found.checks)


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("Batch order", {"data_batches__digests": ["a1", "xx", "c3"]}, "training batch 1, counted from 0"),
        ("Batch order", {"data_batches__digests": ["b2", "a1", "c3"]}, "in another order"),
        ("Samples per epoch", {"data_batches__samples_per_epoch": 1400}, "1,437 in PyTorch, 1,400 in TensorFlow"),
        ("Evaluation data", {"evaluation__digests": ["f6"]}, "evaluation batch 0"),
        ("Evaluation samples", {"evaluation__samples": 359}, "359 in TensorFlow"),
        ("Learning rate", {"arithmetic__optimizer__learning_rate": 0.01}, "0.05 in PyTorch, 0.01 in TensorFlow"),
        ("Momentum", {"arithmetic__optimizer__momentum": 0.0}, "0.9 in PyTorch, 0 in TensorFlow"),
        ("Nesterov", {"arithmetic__optimizer__nesterov": True}, "no in PyTorch, yes in TensorFlow"),
        ("Weight decay", {"arithmetic__optimizer__weight_decay": 1e-4}, "0.0001 in TensorFlow"),
        ("Optimizer", {"arithmetic__optimizer": ADAM}, "SGD in PyTorch, Adam in TensorFlow"),
        ("Loss", {"arithmetic__loss": {"name": "MSELoss", "reduction": "mean"}}, "mean_squared_error, mean in"),
        ("Loss", {"arithmetic__loss": {"name": "cross_entropy", "reduction": "sum"}}, "cross_entropy, sum"),
        ("Gradient clipping", {"arithmetic__clipping": {"kind": "norm", "value": 1.0}}, "none in PyTorch, norm of all"),
        ("Gradient accumulation", {"arithmetic__accumulation": 4}, "4 in TensorFlow"),
        ("Precision", {"precision": "bf16-mixed"}, "neither losses nor speed"),
        ("Device", {"device": "cuda"}, "speed cannot be compared"),
        ("Number of devices", {"device_count": 2}, "speed cannot be compared"),
        ("Threads", {"environment": {"threads": {"tensorflow_intraop": 1}}}, "4 in PyTorch, 1 in TensorFlow"),
        ("Normalization layers", {"arithmetic__normalization": []}, "none in TensorFlow"),
        ("Normalization layers",
         {"arithmetic__normalization": [{"kind": "batch", "momentum": 0.1, "epsilon": 1e-5, "variance": "unbiased",
                                         "statistics": "running"}]},
         "statistics running"),
        ("Dropout", {"arithmetic__dropout": [0.5]}, "none in PyTorch, 0.5 in TensorFlow"),
        ("Learning-rate schedule", {"arithmetic__schedule": {"name": "CosineDecay"}}, "constant in PyTorch"),
    ],
)  # fmt: skip
def test_what_makes_another_experiment_is_red(store, name, changes, sentence):
    check = one_check(store, name, **changes)
    assert check.verdict == "red"
    assert sentence in check.reason


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("Recorded loss", {"reduction": "running_mean"}, "mean since the epoch began"),
        ("Execution mode", {"mode": "xla"}, "a speed difference may be the mode's"),
        ("Processor", {"environment": {"cpu": "Another"}}, "speed cannot be compared"),
        ("Machine load", {"environment": {"load_average": [9.5, 1, 1]}}, "load 9.5 in TensorFlow"),
        ("Running variance",
         {"arithmetic__normalization": [{"kind": "batch", "momentum": 0.1, "epsilon": 1e-5, "variance": "biased"}]},
         "evaluation differs"),
    ],
)  # fmt: skip
def test_what_needs_care_is_amber(store, name, changes, sentence):
    check = one_check(store, name, **changes)
    assert check.verdict == "amber"
    assert sentence in check.reason


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("Learning rate", {"arithmetic__optimizer__learning_rate": 0.05000000074505806}),  # 0.05 in float32
        ("Batch order", {"data_batches__digests": ["a1", "b2"]}),  # fewer were kept, and those agree
        ("Loss", {"arithmetic__loss": {"name": "SparseCategoricalCrossentropy", "reduction": "sum_over_batch_size"}}),
        ("Optimizer", {"arithmetic__optimizer__name": "TorchSGD"}),
        ("Initial weights", {"init_weights__parameter_count": 6058}),
        ("Processor", {"environment": {"host": "another"}}),
        ("Threads", {"environment": {"threads": {"tensorflow_intraop": 0}, "cpu_count": 4}}),
    ],
)
def test_what_only_looks_different_is_green(store, name, changes):
    assert one_check(store, name, **changes).verdict == "green"


def test_the_epsilon_of_adam_is_more_than_its_number(store):
    hat = {**ADAM, "epsilon": 1e-7, "epsilon_kind": "hat"}
    runs = record(store, arithmetic__optimizer=ADAM), record(store, "tensorflow", arithmetic__optimizer=hat)
    _, checks = card(store, *runs)
    assert checks["Epsilon"].verdict == "red"
    assert "1e-08 added to the bias-corrected root in PyTorch" in checks["Epsilon"].reason
    assert "1e-07 added before the bias correction (epsilon hat) in TensorFlow" in checks["Epsilon"].reason
    same_number = {**ADAM, "epsilon_kind": "hat"}
    _, checks = card(store, runs[0], record(store, "tensorflow", arithmetic__optimizer=same_number))
    assert checks["Epsilon"].verdict == "red"
    assert "no pair of values makes these equal" in checks["Epsilon"].reason
    unstated = {key: value for key, value in ADAM.items() if key != "epsilon_kind"}
    _, checks = card(store, runs[0], record(store, "tensorflow", arithmetic__optimizer=unstated))
    assert checks["Epsilon"].verdict == "amber"


def test_adam_that_decays_decoupled_is_adamw(store):
    adam = {**ADAM, "weight_decay": 0.01, "weight_decay_kind": "decoupled"}
    runs = [
        record(store, arithmetic__optimizer={**adam, "name": "AdamW"}),
        record(store, "tensorflow", arithmetic__optimizer=adam),
        record(store, "tensorflow", arithmetic__optimizer={**adam, "weight_decay_kind": "coupled"}),
    ]
    _, checks = card(store, *runs[:2])
    assert checks["Optimizer"].verdict == checks["Weight decay"].verdict == "green"
    _, checks = card(store, runs[0], runs[2])
    assert checks["Optimizer"].verdict == "green"
    assert checks["Weight decay"].verdict == "red"
    assert "0.01 decoupled in PyTorch, 0.01 coupled in TensorFlow" in checks["Weight decay"].reason


def test_momentum_under_a_schedule_differs_between_the_stock_optimizers(store):
    schedule = {"arithmetic__schedule": {"name": "StepLR"}}
    stock = record(store, "tensorflow", **schedule)
    exact = record(store, "tensorflow", arithmetic__optimizer__name="TorchSGD", **schedule)
    torch = record(store, **schedule)
    assert card(store, torch, stock)[1]["Momentum"].verdict == "amber"
    assert card(store, torch, exact)[1]["Momentum"].verdict == "green"
    assert card(store, torch, torch[:8], record(store, **schedule))[1]["Momentum"].verdict == "green"


def test_schedules_are_judged_by_the_rates_that_were_used(store):
    cosine = {"arithmetic__schedule": {"name": "CosineAnnealingLR", "T_max": 20}}
    decay = {"arithmetic__schedule": {"name": "CosineDecay", "decay_steps": 20}}
    runs = [
        record(store, rates=lambda step: 0.1 / (step + 1), **cosine),
        record(store, "tensorflow", rates=lambda step: 0.1 / (step + 1) * (1 + 1e-7), **decay),
        record(store, "tensorflow", rates=lambda step: 0.1 / (step + 1 + (step >= 7)), **decay),
        record(store, "tensorflow", **decay),
    ]
    checks = [card(store, runs[0], other)[1]["Learning-rate schedule"] for other in runs[1:]]
    assert [check.verdict for check in checks] == ["green", "red", "amber"]
    assert "agree at all 20 steps" in checks[0].reason
    assert "differ from step 7 on: 0.0125 in PyTorch, 0.0111111 in TensorFlow" in checks[1].reason
    assert checks[1].values[runs[0]] == "CosineAnnealingLR (T_max 20)"


def test_one_schedule_from_another_rate_is_said_once(store):
    def run(framework, rate):
        changes = {"arithmetic__schedule": {"name": "StepLR"}, "arithmetic__optimizer__learning_rate": rate}
        return record(store, framework, rates=lambda step: rate / (1 + step // 5), **changes)

    _, checks = card(store, run("torch", 0.1), run("tensorflow", 0.2))
    assert checks["Learning rate"].verdict == "red"
    assert checks["Learning-rate schedule"].verdict == "green"
    assert "one schedule, from different ones" in checks["Learning-rate schedule"].reason


def test_weight_decay_of_some_parameters_is_not_that_of_all(store):
    adamw = {**ADAM, "weight_decay": 0.01, "weight_decay_kind": "decoupled", "weight_decay_parameters": 144}
    others = [adamw, {**adamw, "weight_decay_parameters": 176}, {**adamw, "weight_decay_parameters": None}]
    runs = [record(store, arithmetic__optimizer=optimizer) for optimizer in others]
    _, checks = card(store, runs[0], runs[1])
    assert checks["Weight decay"].verdict == "red"
    assert "0.01 decoupled of 144 parameters" in checks["Weight decay"].reason
    assert card(store, runs[0], runs[2])[1]["Weight decay"].verdict == "green"


def test_another_part_of_the_same_weights_is_trained(store):
    tensors = FINGERPRINTS["init/weights"]["tensors"]
    conv, scale, shift = tensors
    frozen = record(
        store,
        "tensorflow",
        init_weights__tensors=[scale, shift],
        init_weights__frozen=[{"name": "conv/kernel", **conv}],
        arithmetic__trainable_parameter_count=32,
    )
    _, checks = card(store, record(store), frozen)
    assert checks["Initial weights"].verdict == "green"
    assert checks["Trainable parameters"].verdict == "red"
    assert "176 in PyTorch, 32 in TensorFlow; TensorFlow leaves conv/kernel as they" in (
        checks["Trainable parameters"].reason
    )
    # A tensor that only one framework has, and does not train, is none of the other's business.
    unused = record(store, init_weights__frozen=[{"name": "bias_hh", "count": 16, "norm": 0.0, "mean": 0.0}])
    assert all(card(store, unused, record(store))[1][name].verdict == "green" for name in checks if "eight" in name)


def test_weights_of_samples_are_no_other_samples(store):
    weighted = {"data_batches__digests": ["w1", "w2"], "data_batches__digests_without_weights": ["a1", "b2"]}
    run = record(store, "tensorflow", **weighted)
    check = card(store, record(store), run)[1]["Batch order"]
    assert check.verdict == "green"
    assert "those of TensorFlow have weights beside them" in check.reason
    both = record(store, **{**weighted, "data_batches__digests": ["v1", "v2"]})
    assert "not their weights" in card(store, both, run)[1]["Batch order"].reason
    in_batch = record(store, data_batches__digests=["w1", "w2"])
    assert card(store, in_batch, run)[1]["Batch order"].verdict == "green"


# ---- The first loss ----


def first_loss(store, *, of_torch=None, **changes):
    runs = record(store, **(of_torch or {})), record(store, "tensorflow", **changes)
    return card(store, *runs)[1].get("First loss")


VALID = [{"kernel": [3, 3], "stride": [1, 1], "dilation": [1, 1], "padding": [0, 0]}]


def test_networks_that_compute_another_function_are_told_by_their_first_loss(store):
    check = first_loss(store, loss=1.001)
    assert check.verdict == "red"
    assert "the loss is 1 in PyTorch, 1.001 in TensorFlow" in check.reason
    assert "padding, activations and normalisation" in check.reason
    padding = first_loss(store, loss=1.001, arithmetic__convolutions=VALID)
    assert "the padding of the convolutions is 1 × 1 in PyTorch, 0 × 0 in TensorFlow" in padding.reason
    activation = first_loss(store, loss=1.001, arithmetic__activations=["gelu"])
    assert "the activations are relu in PyTorch, gelu in TensorFlow" in activation.reason
    assert first_loss(store, loss=float("nan")).verdict == "amber"


def test_two_kinds_of_gelu_are_told_apart_where_the_first_loss_is_not(store):
    exact, approximate = ({"arithmetic__activations": [kind, "relu"]} for kind in ("gelu", "gelu tanh"))
    check = first_loss(store, of_torch=exact, loss=1 + 1e-6, **approximate)
    assert check.verdict == "red"
    assert "gelu in PyTorch, gelu tanh in TensorFlow" in check.reason
    assert first_loss(store, of_torch=exact, **exact).verdict == "green"
    assert (
        first_loss(store, of_torch=exact, arithmetic__activations=["relu"]).verdict == "green"
    )  # called as a function


@pytest.mark.parametrize(
    ("precision", "same", "other"), [("float32", 5e-6, 5e-5), ("float64", 5e-8, 1e-6), ("bf16-mixed", 5e-3, 0.05)]
)
def test_how_far_apart_rounding_leaves_a_first_loss(store, precision, same, other):
    how = {"of_torch": {"precision": precision}, "precision": precision}
    assert first_loss(store, loss=1 + same, **how).verdict == "green"
    assert first_loss(store, loss=1 + other, **how).verdict == "red"


def test_a_first_loss_rounded_coarsely_does_not_hide_another_padding(store):
    how = {"of_torch": {"precision": "bf16-mixed"}, "precision": "bf16-mixed", "arithmetic__convolutions": VALID}
    check = first_loss(store, loss=1.001, **how)
    assert check.verdict == "amber"
    assert "padding" in check.reason


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"arithmetic__random": True}, "TensorFlow drew random numbers"),
        ({"arithmetic__random": None}, "whether TensorFlow drew random numbers is not known"),
        ({"reduction": "epoch_mean"}, "no batch's own"),
        ({"device_count": 2}, "one device's share"),
        ({"without": ("init/weights",)}, "initial weights could not be established"),
    ],
)
def test_a_first_loss_that_may_differ_says_why(store, changes, sentence):
    check = first_loss(store, loss=1.5, **changes)
    assert check.verdict == "amber"
    assert sentence in check.reason
    assert first_loss(store, **changes).verdict == "green"  # no accident makes them agree to five digits


def test_a_first_loss_that_another_check_explains_is_left_out(store):
    assert first_loss(store, loss=1.5, arithmetic__loss={"name": "cross_entropy", "reduction": "sum"}) is None
    assert first_loss(store, loss=1.5, data_batches__digests=["b2", "a1", "c3"]) is None


def test_a_run_without_its_first_step_has_no_first_loss(store):
    url = store.url.render_as_string(hide_password=False)
    with trackside.start_run(name="late", store=url) as run:
        run.log({"train/loss": 1.0}, step=1)
    check = card(store, record(store), run.id)[1]["First loss"]
    assert check.verdict == "amber"
    assert "for late: no train/loss was logged at step 0" in check.reason


@pytest.mark.parametrize(
    "loss",
    [{"name": "own_loss", "reduction": "mean"}, {"name": "cross_entropy"}, None, {"name": "<lambda>"}],
)
def test_a_loss_without_a_common_name_is_known_by_its_value(store, loss):
    runs = record(store), record(store, "tensorflow", arithmetic__loss=loss)
    check = card(store, *runs)[1]["Loss"]
    assert check.verdict == "green"
    assert "same value for the same weights and batch" in check.reason
    runs = record(store), record(store, "tensorflow", arithmetic__loss=loss, loss=2.0)
    _, checks = card(store, *runs)
    assert (checks["Loss"].verdict, checks["First loss"].verdict) == ("amber", "red")


def test_several_optimizers_are_compared_one_by_one(store):
    slower = {**ADAM, "learning_rate": 2e-4}
    runs = [
        record(store, arithmetic__optimizer=[ADAM, ADAM]),
        record(
            store, "tensorflow", arithmetic__optimizer=None, arithmetic__optimizers=[ADAM, slower]
        ),  # as trackers do
        record(store, "tensorflow", arithmetic__optimizer=ADAM),
    ]
    _, checks = card(store, *runs[:2])
    assert checks["Optimizer 1"].verdict == checks["Optimizer 2"].verdict == "green"
    assert checks["Learning rate of optimizer 1"].verdict == "green"
    assert checks["Learning rate of optimizer 2"].verdict == "red"
    assert card(store, runs[0], runs[2])[1]["Number of optimizers"].verdict == "red"


def test_the_learning_rates_of_several_optimizers_are_compared_one_by_one(store):
    def rates(second):
        return lambda step: {"optimizer0/learning_rate": 0.1, "optimizer1/learning_rate": second / (step + 1)}

    several = {"arithmetic__optimizer": [ADAM, ADAM]}
    runs = [record(store, **several, rates=rates(0.2)), record(store, "tensorflow", **several, rates=rates(0.3))]
    _, checks = card(store, *runs)
    assert checks["Learning-rate schedule of optimizer 1"].verdict == "green"
    assert checks["Learning-rate schedule of optimizer 2"].verdict == "red"
    assert "differ from step 0 on: 0.2 in PyTorch, 0.3" in checks["Learning-rate schedule of optimizer 2"].reason
    assert "Learning-rate schedule" not in checks


def test_two_runs_of_one_framework_should_have_one_version_of_it(store):
    _, checks = card(store, record(store), record(store, framework_version="2.12.0"))
    assert checks["Framework"].verdict == "amber"


def test_compiled_against_compiled_is_fair_and_against_eager_is_not(store):
    compiled = record(store, mode="compile")
    assert card(store, compiled, record(store, "tensorflow", mode="xla"))[1]["Execution mode"].verdict == "green"
    assert card(store, compiled, record(store, "tensorflow"))[1]["Execution mode"].verdict == "amber"
    assert card(store, compiled, record(store))[1]["Execution mode"].verdict == "amber"


def test_gpus_are_compared_by_their_name(store):
    def on(gpu):
        return {"device": "cuda", "environment": {"gpus": [{"name": gpu}], "threads": {}}}

    _, checks = card(store, record(store, **on("H100")), record(store, "tensorflow", **on("A100")))
    assert checks["GPU"].verdict == "amber"
    assert "Threads" not in checks
    _, checks = card(store, record(store, **on("H100")), record(store, "tensorflow", **on("H100")))
    assert checks["GPU"].verdict == "green"


@pytest.mark.parametrize(
    "nonsense",
    [None, 7, "text", [], [1, 2], {"digests": "abc", "tensors": [1], "optimizer": [7], "loss": [], "normalization": {}},
     {"tensors": [{}], "optimizer": {"name": None, "epsilon": "x"}, "digests": [None], "batch_size": "many"},
     {"tensors": [{"count": 1e400, "norm": "NaN"}], "optimizer": {"name": "SGD", "momentum": "x"}, "clipping": 3}],
)  # fmt: skip
def test_whatever_somebody_recorded_there_is_a_card(store, nonsense):
    url = store.url.render_as_string(hide_password=False)
    with trackside.start_run(name="odd", store=url, properties={"framework": "torch"}) as run:
        run.update(environment={"threads": nonsense, "gpus": nonsense, "load_average": nonsense, "cpu_count": "x"})
        for name in FINGERPRINTS:
            run.fingerprint(
                name, nonsense if isinstance(nonsense, dict) else {"digests": nonsense, "tensors": nonsense}
            )
    for other in (record(store, "tensorflow"), record(store)):
        for pair in ((run.id, other), (other, run.id)):
            assert check_parity(store, pair).verdict in ("amber", "red")


# ---- What needs no store ----


def a_run(id, **changes):
    return RunInfo(id=id, name=id, project="p", state="finished", created=datetime.now(UTC), **changes)


def starts(*tensors):
    subjects = [
        Subject(run=a_run(str(i)), label=f"run {i}", fingerprints={"init/weights": {"tensors": some}})
        for i, some in enumerate(tensors)
    ]
    return {check.name: check for check in start_checks(subjects)}["Initial weights"]


tensors = st.lists(
    st.fixed_dictionaries(
        {
            "count": st.sampled_from([1, 16, 144]),
            "norm": st.sampled_from([0.0, 1.0, 1.0000005, 4.0, 1e-30]),
            "mean": st.sampled_from([0.0, 1e-3, -0.2]),
        }
    ),
    min_size=1,
    max_size=12,
)


@given(tensors, st.randoms())
def test_another_order_of_layers_is_the_same_start(some, random):
    shuffled = [dict(tensor) for tensor in some]
    random.shuffle(shuffled)
    for tensor in shuffled:
        tensor["norm"] *= 1 + 1e-12  # summed in another order
    assert starts(some, shuffled).verdict == "green"


@given(tensors, st.integers(0, 11), st.sampled_from([("norm", 1.01), ("mean", 1.01)]))
def test_one_tensor_that_differs_is_found(some, at, change):
    key, factor = change
    other = [dict(tensor) for tensor in some]
    tensor = other[at % len(other)]
    if tensor[key] and tensor["norm"] >= 1:
        tensor[key] = tensor[key] * factor + 0.1
        assert starts(some, other).verdict == "red"


def test_another_network_is_told_from_another_start():
    small, large = {"count": 4, "norm": 1.0, "mean": 0.0}, {"count": 8, "norm": 1.0, "mean": 0.0}
    assert "other sizes" in starts([small], [large]).reason
    assert "1 of 1 tensors of run 0 have no counterpart" in starts([small], [{**small, "norm": 2.0}]).reason


def test_a_thousand_tensors_of_one_size_are_compared_at_once():
    some = [{"count": 64, "norm": 1.0 + i * 1e-3, "mean": i * 1e-4} for i in range(3000)]
    assert starts(some, some[::-1]).verdict == "green"


def ran(*spans, hosts=("desk", "desk")):
    noon = datetime(2025, 1, 1, 12, tzinfo=UTC)
    subjects = [
        Subject(
            run=a_run(
                str(i),
                started=noon + timedelta(minutes=begun),
                ended=noon + timedelta(minutes=ended),
                environment={"host": host},
            ),
            label=f"run {i}",
        )
        for i, ((begun, ended), host) in enumerate(zip(spans, hosts, strict=True))
    ]
    return {check.name: check for check in condition_checks(subjects)}["Ran alone"]


def test_runs_that_shared_a_machine_slowed_each_other():
    assert ran((0, 10), (5, 15)).verdict == "amber"
    assert "run 0 and run 1 trained on one machine at the same time" in ran((0, 10), (5, 15)).reason
    assert ran((0, 10), (10, 15)).verdict == "green"
    assert ran((0, 10), (5, 15), hosts=("desk", "server")).verdict == "green"

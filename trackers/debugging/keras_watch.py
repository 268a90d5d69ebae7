"""The watch that is always on in a Keras training, and the search that an alarm sets off."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras

from ...runs.debugging.records import DebugRecord, Quantity
from ...runs.debugging.source import source_at
from ..fingerprints import batch_digest
from ..options import DebugOptions
from ..session import TrackerSession
from .keras_failure import FIT_LINE, NO_LINE
from .keras_frames import named
from .layer_health import LayerHealth

if TYPE_CHECKING:
    from .keras_layers import LayerProbes
    from .keras_moment import Moment, MomentKeeper, StepCopy

MOST_ALARMS = 5
MOST_FROZEN = 10

_AFTER_UPDATE = (
    "Inside of jit_compile nothing is looked at before the update is made: layer, operator and line are unknown. "
    "Train once more with debug=True, which keeps each step until it is known to be good."
)
_FIRST = (
    "Inside of jit_compile a step is not kept that is the first, or one of several in an execution: layer, operator "
    "and line are unknown. In another mode they would be told."
)
_ONLY_LAYER = (
    "Computed once more outside of XLA the step gave finite values, or could not be: the layer was measured inside, "
    "operation and line are unknown."
)
_NOT_KEPT = (
    "The step could not be kept for a search: its batch was not made of plain tensors, the model was too large to be "
    "copied, or it trained on several devices."
)


class KerasWatch:
    """Records where a loss or gradient that is not finite began.

    Args:
        session: the run.
        model: the model that trains.
        options: what was asked for beyond the watch.

    Attributes:
        keeper: what keeps the bad steps; None where nothing can.
        probes: measure the layers; None where they are not measured.
    """

    def __init__(self, session: TrackerSession, model: Any, options: DebugOptions | None) -> None:
        self._session = session
        self._model = model
        self._options = options or DebugOptions()
        self._alarms = 0
        self._bad_before = False
        self._health = LayerHealth()
        self.keeper: MomentKeeper | StepCopy | None = None
        self.probes: LayerProbes | None = None

    @property
    def roused(self) -> bool:
        """Whether a step was kept because it was not finite, or the last one was not."""
        return self._bad_before or (self.keeper is not None and self.keeper.taken is not None)

    def saw(self, step: int, metrics: Mapping[str, float], batch: int, *, kept: bool) -> None:
        """An update was made.

        Args:
            step: counted from 0.
            metrics: what it logged.
            batch: the last batch that made it, counted from 0 within the epoch.
            kept: whether it is the step that was kept because something in it was not finite.
        """
        loss = metrics.get("train/loss")
        norms = (v for key, v in metrics.items() if key.startswith("optimizer") and key.endswith("gradient_norm"))
        norm = next(norms, None)
        if loss is not None and not math.isfinite(loss):
            self._alarm(step, "loss", metrics, batch)
        elif (norm is not None and not math.isfinite(norm) and not self._scaled()) or kept:
            self._alarm(step, "gradient", metrics, batch)
        else:
            self._bad_before = False
        # What becomes of the layers after an alarm is its aftermath.
        if self.probes is not None and not self._alarms and step % self._options.every == 0:
            for finding in self._health.see(layer_values(metrics)):
                self._say_of_layer(finding.kind, finding.layer, finding.quantity, finding.sentence, step)

    def saw_gradients(self, step: int, missing: Sequence[Any]) -> None:
        """The first update was made.

        Args:
            step: counted from 0.
            missing: the variables that no gradient reached.
        """
        lost = {id(variable) for variable in missing}
        frozen = [
            layer
            for layer in self._model._flatten_layers()
            if layer.trainable
            and layer._trainable_variables
            and all(id(variable) in lost for variable in layer._trainable_variables)
        ]
        for layer in frozen[:MOST_FROZEN]:
            path = named(layer, self._model)
            sentence = f"{path or 'The model'} does not train: no gradient reached it."
            cannot = ("A gradient that does not come leaves no line of code.",)
            self._say_of_layer("frozen_layer", path, "gradient", sentence, step, type(layer).__name__, cannot)

    def _say_of_layer(
        self,
        kind: str,
        path: str,
        quantity: Quantity,
        sentence: str,
        step: int,
        layer_class: str | None = None,
        cannot: tuple[str, ...] = (),
    ) -> None:
        fields = {"layer_class": layer_class} if layer_class is not None else self._layer_fields(path)
        known = {**self._session.history.known(), **fields, "layer": path, "message": sentence, "cannot": cannot}
        record = DebugRecord(quantity=quantity, how="watch", exact=True, **known)
        self._session.run.event(kind, sentence, step=step, detail=record.to_json())

    def _layer_fields(self, path: str) -> dict[str, Any]:
        """The fields of a record that tell of a measured layer."""
        layer = None if self.probes is None else self.probes.layers.get(path)
        line = None if self.probes is None else self.probes.lines.get(path)
        source = None if line is None else source_at(*line)
        if source is not None and FIT_LINE.search(dict(source.code).get(source.line, "")):
            source = None
        return {"layer": path, "layer_class": None if layer is None else type(layer).__name__, "source": source}

    def _scaled(self) -> bool:
        """Whether gradients may be infinite by design: that is how the scale of the loss is found."""
        return isinstance(self._model.optimizer, keras.optimizers.LossScaleOptimizer)

    def _alarm(self, step: int, quantity: Quantity, metrics: Mapping[str, float], batch: int) -> None:
        again, self._bad_before = self._bad_before, True
        moment = None if self.keeper is None else self.keeper.release()
        if again or self._alarms >= MOST_ALARMS or (self._alarms and self._spoilt(moment)):
            return
        self._alarms += 1
        self._session.history.steps.append((step, metrics.get("train/loss"), metrics))
        fields: dict[str, Any] = {**self._session.history.known(), "quantity": quantity, "batch_index": batch}
        self._session.history.steps.pop()  # it is logged in a moment
        if moment is not None and moment.data is not None:
            with self._session.guard("fingerprint the batch"):
                fields["batch_fingerprint"] = _digest(moment.data)
        if self._options.search_steps:
            with self._session.guard("search for the first value that is not finite"):
                fields |= self._search(moment, layer_values(metrics))
        self._record(step, DebugRecord(**fields))

    def _spoilt(self, moment: Moment | None) -> bool:
        """Whether the weights were lost before: then this is what became of an earlier alarm."""
        if moment is None:
            return False
        from .keras_search import first_bad_weight

        return first_bad_weight(self._model, moment) is not None

    def _search(self, moment: Moment | None, layers: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
        """The fields of the record that say where it began."""
        if moment is None:
            if (measured := self._measured(layers)) is not None:
                return measured
            compiled = bool(self._model.jit_compile) and not self._model.run_eagerly
            late = _AFTER_UPDATE if self.probes is None else _FIRST
            return {"cannot": (late if compiled else _NOT_KEPT,)}
        from .keras_search import bad_data, first_bad_weight, replay

        if (counts := bad_data(moment.data)) is not None:
            return {
                "how": "search", "exact": True, "quantity": None, "counts": counts,
                "message": "The batch itself holds values that are not finite: look at the data.",
            }  # fmt: skip
        if (found := first_bad_weight(self._model, moment)) is not None:
            place, name, counts = found
            return {
                "how": "search", "exact": True, "quantity": "weight", "counts": counts,
                "layer": place.layer, "layer_class": place.layer_class,
                "message": f"The weights {place.layer}/{name} were not finite before this step: an update had made "
                "them so.",
            }  # fmt: skip
        if moment.data is None:
            return self._measured(layers) or {"how": "search", "cannot": (_NOT_KEPT,)}
        origin = replay(self._model, moment)
        if origin is None:
            if (measured := self._measured(layers)) is not None:
                return measured
            reason = "Computed once more the step gave finite values: chance decided, or the order of additions."
            return {"how": "search", "cannot": (reason,)}
        fields: dict[str, Any] = {
            "how": "search", "exact": True, "operator": origin.operator, "source": origin.source,
            "counts": origin.counts, "inputs": origin.inputs, "outputs": origin.outputs,
        }  # fmt: skip
        if origin.place is not None:
            fields |= {"layer": origin.place.layer, "layer_class": origin.place.layer_class}
        if origin.source is not None and FIT_LINE.search(dict(origin.source.code).get(origin.source.line, "")):
            fields["cannot"] = (NO_LINE,)
        if origin.backward:
            fields["quantity"] = "gradient"
        elif origin.place is not None:
            fields["quantity"] = "activation"
            fields["inputs"] = origin.place.inputs or origin.inputs
        return fields

    def _measured(self, layers: Mapping[str, Mapping[str, float]]) -> dict[str, Any] | None:
        """The fields that name the first layer whose output, or else the last whose gradient, was not finite."""
        bad = [path for path, values in layers.items() if not math.isfinite(values.get("activation_norm", 0.0))]
        torn = [path for path, values in layers.items() if not math.isfinite(values.get("gradient_norm", 0.0))]
        if not bad and not torn:
            return None
        path, quantity = (bad[0], "activation") if bad else (torn[-1], "gradient")  # it came to that one first
        return {**self._layer_fields(path), "quantity": quantity, "how": "search", "cannot": (_ONLY_LAYER,)}

    def _record(self, step: int, record: DebugRecord) -> None:
        where = f" in {record.layer} ({record.layer_class})" if record.layer else ""
        what = {"loss": "The loss", "gradient": "A gradient", "activation": "An output", "weight": "A weight"}
        subject = what.get(record.quantity or "", "A value")
        sentence = record.message or f"{subject}{where} is not finite at step {step}."
        detail = {**record.to_json(), "message": sentence}
        self._session.run.event("non_finite", sentence, step=step, detail=detail)


def layer_values(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """What was measured of each layer in a step: path to statistic to value."""
    layers: dict[str, dict[str, float]] = {}
    for key, value in metrics.items():
        if key.startswith("layers/"):
            path, _, statistic = key.removeprefix("layers/").rpartition("/")
            layers.setdefault(path, {})[statistic] = value
    return layers


def _digest(data: Any) -> str | None:
    tensors = [item for item in keras.tree.flatten(data) if item is not None]
    return batch_digest([tensor.numpy() for tensor in tensors])

"""The watch that is always on in a Keras training, and the search that an alarm sets off."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras

from ...runs.debugging.records import DebugRecord, Quantity
from ..fingerprints import batch_digest
from ..options import DebugOptions
from ..session import TrackerSession
from .keras_failure import FIT_LINE, NO_LINE

if TYPE_CHECKING:
    from .keras_moment import Moment, MomentKeeper

MOST_ALARMS = 5

_AFTER_UPDATE = (
    "Inside of jit_compile nothing is looked at before the update is made: layer, operator and line are unknown. "
    "Train once more with debug=True, which keeps each step until it is known to be good."
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
    """

    def __init__(self, session: TrackerSession, model: Any, options: DebugOptions | None) -> None:
        self._session = session
        self._model = model
        self._options = options or DebugOptions()
        self._alarms = 0
        self._bad_before = False
        self.keeper: MomentKeeper | None = None

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
        norm = next((v for key, v in metrics.items() if key.endswith("gradient_norm")), None)
        if loss is not None and not math.isfinite(loss):
            self._alarm(step, "loss", metrics, batch)
        elif (norm is not None and not math.isfinite(norm) and not self._scaled()) or kept:
            self._alarm(step, "gradient", metrics, batch)
        else:
            self._bad_before = False

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
                fields |= self._search(moment)
        self._record(step, DebugRecord(**fields))

    def _spoilt(self, moment: Moment | None) -> bool:
        """Whether the weights were lost before: then this is what became of an earlier alarm."""
        if moment is None:
            return False
        from .keras_search import first_bad_weight

        return first_bad_weight(self._model, moment) is not None

    def _search(self, moment: Moment | None) -> dict[str, Any]:
        """The fields of the record that say where it began."""
        if moment is None:
            compiled = bool(self._model.jit_compile) and not self._model.run_eagerly
            return {"cannot": (_AFTER_UPDATE if compiled else _NOT_KEPT,)}
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
            return {"how": "search", "cannot": (_NOT_KEPT,)}
        origin = replay(self._model, moment)
        if origin is None:
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

    def _record(self, step: int, record: DebugRecord) -> None:
        where = f" in {record.layer} ({record.layer_class})" if record.layer else ""
        what = {"loss": "The loss", "gradient": "A gradient", "activation": "An output", "weight": "A weight"}
        subject = what.get(record.quantity or "", "A value")
        sentence = record.message or f"{subject}{where} is not finite at step {step}."
        detail = {**record.to_json(), "message": sentence}
        self._session.run.event("non_finite", sentence, step=step, detail=detail)


def _digest(data: Any) -> str | None:
    tensors = [item for item in keras.tree.flatten(data) if item is not None]
    return batch_digest([tensor.numpy() for tensor in tensors])

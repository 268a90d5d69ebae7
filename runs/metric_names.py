"""One name for one quantity: what people call a metric, as the key under which it is logged."""

from __future__ import annotations

import re

_SPLITS = {
    "train": r"(?:train|training|tr)",
    "val": r"(?:val|valid|validation|eval|dev)",
    # `test_step = validation_step` is common, and then the names stay those of validation.
    "test": r"(?:test|testing|val|valid|validation|eval)",
}
# What Keras calls `accuracy` is mostly `acc` in PyTorch code, and the two are to be compared.
_SYNONYMS = {"accuracy": "acc"}
_DATALOADER = re.compile(r"/dataloader_idx_(\d+)$")


def metric_key(name: str, split: str) -> str:
    """Return `split/metric` for a metric of any common spelling.

    `train_loss`, `loss`, `train/loss` and `train_loss_step` of training are all `train/loss`; `val_acc_epoch` of a
    validation pass is `val/acc`, and so is Keras' `val_accuracy`. A second validation set keeps its number:
    `val/acc_dataloader1`.

    Args:
        name: as the user logged it.
        split: `train`, `val` or `test`.
    """
    suffix = ""
    if match := _DATALOADER.search(name):
        name, suffix = name[: match.start()], f"_dataloader{match[1]}"
    name = re.sub(r"(?<=[^_/.])[_/.](?:step|epoch)$", "", name.strip())
    name = re.sub(rf"^{_SPLITS[split]}[_/.\- ]+(?=.)", "", name, flags=re.IGNORECASE)
    name = _SYNONYMS.get(name.lower(), name) or "value"
    return f"{split}/{name}{suffix}"

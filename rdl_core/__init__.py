"""Contrastive pretraining on relational databases, in one process: no Ray, no torch.distributed.

What this module gives is loaded when it is first asked for, so that `import rdl_core` loads no torch: docs/python.md is the page on it, and
__init__.pyi has the types.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "Explainer": "rdl_core.explanation",
    "Predictor": "rdl_core.prediction",
    "finetune": "rdl_core.api",
    "load_model": "rdl_core.api",
    "load_task": "rdl_core.database",
    "materialize": "rdl_core.api",
    "open_dataset": "rdl_core.database",
    "pretrain": "rdl_core.api",
    "register_gnn": "rdl_core.config",
    "register_row_encoder": "rdl_core.config",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    """Returns one of `__all__`, and loads what it needs."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    found: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Returns the names that there are, those that are not loaded yet included."""
    return sorted({*globals(), *__all__})

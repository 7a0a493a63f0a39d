"""The files of a checkpoint, as far as they can be read without torch: what kind of model lies there, and of which form it is.

model.safetensors    weights by parameter name
model.json           format version, kind, backbone configuration, foreign keys, schema (with its cutoff), what it was trained on, results
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rdl_core.atomic_write import whole_folder
from rdl_core.checksums import sha256_of
from rdl_core.config import BackboneConfig, decode

FORMAT_VERSION = 3
_MADE_BY = {"pretrained": "`rdl pretrain`", "finetuned": "`rdl finetune`"}


def read_description(path: Path | str, *, kind: str | None = None) -> dict[str, Any]:
    """Returns model.json of a checkpoint.

    Args:
        kind: "pretrained" or "finetuned", when only that will do.

    Raises:
        FileNotFoundError: No checkpoint is there.
        ValueError: It has another format version or kind, or model.json is damaged.
    """
    path = whole_folder(Path(path))
    if not (path / "model.json").exists():
        run = (path / "model" / "model.json").exists()
        remedy = f"its run's is {path / 'model'}" if run else "pass the folder that a run printed as its 'checkpoint'"
        raise FileNotFoundError(f"no checkpoint at {path} (no model.json); {remedy}")
    try:
        description: dict[str, Any] = json.loads((path / "model.json").read_text())
        version, found = description["format_version"], description["kind"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"checkpoint {path} has a damaged model.json: {error}") from error
    if version != FORMAT_VERSION:
        raise ValueError(
            f"checkpoint {path} has format {version}, expected {FORMAT_VERSION}; train it again with this version"
        )
    if kind is not None and found != kind:
        raise ValueError(f"checkpoint {path} is {found}, expected one that is {kind}; {_MADE_BY[kind]} makes one")
    return description


def backbone_of(description: dict[str, Any]) -> BackboneConfig:
    """Returns the form of a checkpoint's backbone.

    Raises:
        ValueError: Naming the field that no backbone has.
    """
    return decode(BackboneConfig, description["backbone"], "model.json: backbone")


def weights_digest(path: Path | str) -> str:
    """Returns the hex digest of a checkpoint's weights file, which tells a checkpoint from another that was written to the same folder."""
    return sha256_of(Path(path) / "model.safetensors")[:16]

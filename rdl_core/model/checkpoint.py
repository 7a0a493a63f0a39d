"""Checkpoints without pickle: a folder with weights (safetensors), configuration, schema and cutoff.

Promises: written beside and renamed; a checkpoint carries all that is needed to read new data as the model knows it; a store whose schema differs is
refused, naming what differs. checkpoint_files.py has the names of the files.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rdl_core.atomic_write import replace_folder, whole_folder
from rdl_core.checkpoint_files import FORMAT_VERSION, backbone_of, read_description
from rdl_core.config import BackboneConfig
from rdl_core.graph.reg import EdgeType
from rdl_core.graph.schema import Schema
from rdl_core.graph.store import Store
from rdl_core.model.backbone import RelationalEncoder


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint in memory.

    Args:
        weights: By parameter name; those of the backbone begin with "encoder.".
        backbone: Its configuration.
        schema: As it was trained.
        edge_types: Foreign keys.
        kind: "pretrained" or "finetuned".
        about: Anything else worth keeping: run, store hash, metrics, task and its settings.
    """

    weights: dict[str, Tensor]
    backbone: BackboneConfig
    schema: Schema
    edge_types: tuple[EdgeType, ...]
    kind: str
    about: dict[str, Any]

    def encoder(self) -> RelationalEncoder:
        """The backbone with its weights."""
        encoder = RelationalEncoder(self.schema, self.edge_types, self.backbone)
        weights = {n.removeprefix("encoder."): w for n, w in self.weights.items() if n.startswith("encoder.")}
        encoder.add_inputs_of(weights)
        encoder.load_state_dict(weights)
        return encoder

    def require_same_schema(self, store: Store) -> None:
        """Raises ValueError naming the differences if the store's columns or keys are not the model's."""
        lines = self.schema.differences(store.schema)
        if self.edge_types != store.graph.edge_types:
            lines.append("the order or set of foreign keys differs")
        if lines:
            shown = "\n  ".join(lines[:10])
            raise ValueError(
                f"the checkpoint was trained on {self.schema.database!r} with other columns than the store {store.path.name} has:\n  {shown}\n"
                f"Remedy: `rdl materialize --data ... --schema-of THE_CHECKPOINT` reads new data as the model knows it; or use the database that it "
                f"was trained on, with the same cutoff and text embedder ({self.schema.text_embedder})"
            )


def save_pretrained(path: Path, checkpoint: Checkpoint) -> Path:
    """Writes a checkpoint folder; one already there is replaced as a whole."""
    path = Path(path)
    weights = {name: w.detach().cpu().contiguous().clone() for name, w in checkpoint.weights.items()}
    description = {
        "format_version": FORMAT_VERSION,
        "kind": checkpoint.kind,
        "backbone": dataclasses.asdict(checkpoint.backbone),
        "edge_types": [list(e) for e in checkpoint.edge_types],
        "about": checkpoint.about,
        "schema": checkpoint.schema.to_json(),
    }
    with replace_folder(path) as partial:
        save_file(weights, partial / "model.safetensors")
        (partial / "model.json").write_text(json.dumps(description, indent=1))
    return path


def from_pretrained(path: Path | str, *, kind: str | None = None) -> Checkpoint:
    """Reads a checkpoint folder.

    Args:
        kind: "pretrained" or "finetuned", when only that will do.

    Raises:
        FileNotFoundError: No checkpoint there.
        ValueError: Another format version or kind.
    """
    description, path = read_description(path, kind=kind), whole_folder(Path(path))
    return Checkpoint(
        weights=load_file(path / "model.safetensors"),
        backbone=backbone_of(description),
        schema=Schema.from_json(description["schema"]),
        edge_types=tuple(tuple(e) for e in description["edge_types"]),
        kind=description["kind"],
        about=description["about"],
    )


def cpu_weights(model: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of a model's weights on the CPU."""
    return {name: w.detach().to("cpu", copy=True) for name, w in model.state_dict().items()}

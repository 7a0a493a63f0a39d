"""Checkpoints without pickle: a folder with weights (safetensors), configuration, schema, a card for people and what callers keep beside them.

Promises: written beside and renamed; saved, loaded and saved again, it is the same bytes; a folder that is not what was written is refused, naming
the files; a checkpoint carries all that is needed to read new data as the model knows it; a store whose schema differs is refused, naming what
differs. checkpoint_files.py has the names of the files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rdl_core.atomic_write import replace_folder
from rdl_core.checkpoint_files import (
    CARD,
    CONFIG,
    FORMAT_VERSION,
    OWN_FILES,
    SCHEMA,
    WEIGHTS,
    backbone_of,
    files_of,
    read_description,
    write_checksums,
    write_json,
)
from rdl_core.config import BackboneConfig
from rdl_core.graph.reg import EdgeType
from rdl_core.graph.schema import Schema
from rdl_core.graph.store import Store
from rdl_core.hub import model_folder
from rdl_core.model.backbone import RelationalEncoder
from rdl_core.sharing.card import ModelCard


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
        extras: Further files of the folder, by their path below it ("heads/linear.json").
    """

    weights: dict[str, Tensor]
    backbone: BackboneConfig
    schema: Schema
    edge_types: tuple[EdgeType, ...]
    kind: str
    about: dict[str, Any]
    extras: Mapping[str, bytes] = field(default_factory=dict)

    def extra(self, name: str) -> bytes:
        """Returns the bytes of a further file.

        Raises:
            FileNotFoundError: The model has none of this name.
        """
        if name not in self.extras:
            raise FileNotFoundError(
                f"the model keeps no file {name!r}; it has {', '.join(sorted(self.extras)) or 'none'}"
            )
        return self.extras[name]

    def encoder(self) -> RelationalEncoder:
        """The backbone with its weights."""
        encoder = RelationalEncoder(self.schema, self.edge_types, self.backbone)
        weights = {n.removeprefix("encoder."): w for n, w in self.weights.items() if n.startswith("encoder.")}
        encoder.add_inputs_of(weights)
        encoder.load_state_dict(weights)
        return encoder

    def as_read(self, store: Store) -> Store:
        """Returns a store of the model's schema whose categories have hidden names where the model's have (rdl_core/sharing/vocabulary.py)."""
        tables = {}
        for name, table in store.schema.tables.items():
            hidden = (
                {c.name: c for c in self.schema.tables[name].columns if c.salt} if name in self.schema.tables else {}
            )
            tables[name] = dataclasses.replace(table, columns=tuple(hidden.get(c.name, c) for c in table.columns))
        return dataclasses.replace(store, schema=dataclasses.replace(store.schema, tables=tables))

    def differences(self, schema: Schema, edge_types: Sequence[EdgeType]) -> str:
        """Returns the first ten differences of a store's schema and keys from the model's, a line each and set in; "" where there is none."""
        lines = self.schema.differences(schema)
        if self.edge_types != tuple(edge_types):
            lines.append("the order or set of foreign keys differs")
        return "\n".join(f"  {line}" for line in lines[:10])

    def require_same_schema(self, store: Store) -> None:
        """Raises ValueError naming the differences if the store's columns or keys are not the model's."""
        if differences := self.differences(store.schema, store.graph.edge_types):
            raise ValueError(
                f"the checkpoint was trained on {self.schema.database!r} with other columns than the store {store.path.name} has:\n{differences}\n"
                f"Remedy: `rdl materialize --data ... --schema-of THE_CHECKPOINT` reads new data as the model knows it; or use the database that it "
                f"was trained on, with the same cutoff and text embedder ({self.schema.text_embedder})"
            )


def save_pretrained(path: Path | str, checkpoint: Checkpoint, *, extra: Mapping[str, bytes] | None = None) -> Path:
    """Writes a model folder; one already there is replaced as a whole.

    Args:
        extra: Further files to keep with it, by their path below the folder, beside (or instead of) those that the checkpoint has.

    Raises:
        ValueError: A further file's name is one of the folder's own, or leads out of it.
    """
    path, extras = Path(path), {**checkpoint.extras, **(extra or {})}
    for name in extras:
        _check_name(name)
    weights = {name: w.detach().cpu().contiguous().clone() for name, w in checkpoint.weights.items()}
    description = {
        "format_version": FORMAT_VERSION,
        "kind": checkpoint.kind,
        "backbone": dataclasses.asdict(checkpoint.backbone),
        "about": checkpoint.about,
    }
    with replace_folder(path) as partial:
        save_file(weights, partial / WEIGHTS)
        write_json(partial / CONFIG, description)
        write_json(partial / SCHEMA, checkpoint.schema.to_json() | {"edge_types": checkpoint.edge_types})
        card = ModelCard(schema=checkpoint.schema, kind=checkpoint.kind, about=checkpoint.about, extras=sorted(extras))
        (partial / CARD).write_text(card.text(), encoding="utf-8")
        for name, content in extras.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_bytes(content)
        write_checksums(partial)
    return path


def _check_name(name: str) -> None:
    parts = PurePosixPath(name).parts
    if (
        name in OWN_FILES
        or not parts
        or name.startswith((".", "/"))
        or ".." in parts
        or str(PurePosixPath(name)) != name
    ):
        raise ValueError(
            f"a model folder cannot keep a further file of the name {name!r}: expected a path below it, such as 'heads/linear.json', that is "
            f"none of {', '.join(OWN_FILES)} and does not begin with a dot"
        )


def from_pretrained(path: Path | str, *, kind: str | None = None, revision: str | None = None) -> Checkpoint:
    """Reads a model folder.

    Args:
        path: A folder, or the name of a model on the Hugging Face hub: `org/name` or `org/name@revision` (rdl_core/hub.py).
        kind: "pretrained" or "finetuned", when only that will do.
        revision: Branch, tag or commit on the hub.

    Raises:
        FileNotFoundError: No checkpoint there.
        InputError: A file is missing, added, cut off or changed; or the hub does not give the model.
        ValueError: Another format version or kind.
    """
    path = model_folder(path, revision)
    description = read_description(path, kind=kind)
    is_earlier = not (path / CONFIG).exists()
    extras = {} if is_earlier else {n: p.read_bytes() for n, p in files_of(path).items() if n not in OWN_FILES}
    return Checkpoint(
        weights=load_file(path / WEIGHTS),
        backbone=backbone_of(description),
        schema=Schema.from_json(description["schema"]),
        edge_types=tuple(tuple(e) for e in description["edge_types"]),
        kind=description["kind"],
        about=description["about"],
        extras=extras,
    )


def cpu_weights(model: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of a model's weights on the CPU."""
    return {name: w.detach().to("cpu", copy=True) for name, w in model.state_dict().items()}

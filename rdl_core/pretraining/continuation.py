"""Pretraining that begins with the weights of a model instead of fresh ones, on a store whose categories may be more than the model's.

Promises: what the model knows keeps its weights, bit for bit; a category that it does not know begins as the zeros that its unknown value has, so
that rows have at first the vectors that the model gives them (but for new small integers, which are numbers, too, with `rich_numbers`); nothing is
random. The levels' own weights come along, as far as the same is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch_frame import stype
from torch_frame.nn.encoder.stype_encoder import EmbeddingEncoder, MultiCategoricalEmbeddingEncoder

from rdl_core.config import BackboneConfig
from rdl_core.graph.features import col_names_dict
from rdl_core.graph.known_schema import without_new_values
from rdl_core.graph.schema import Schema
from rdl_core.graph.store import Store
from rdl_core.model.checkpoint import Checkpoint
from rdl_core.pretraining.model import PretrainingModel
from rdl_core.problems import InputError


def require_continues(checkpoint: Checkpoint, store: Store, backbone: BackboneConfig) -> None:
    """Refuses a model that pretraining cannot go on from.

    Raises:
        InputError: Its form is not the run's, or the store is not read by its schema (with new categories behind the model's).
    """
    if checkpoint.backbone != backbone:
        raise InputError("the run's backbone has another form than the model to begin with; leave its options out")
    as_before = without_new_values(store.schema, checkpoint.schema)
    if differences := checkpoint.differences(as_before, store.graph.edge_types):
        raise InputError(
            f"pretraining of {checkpoint.schema.database!r} cannot go on with the store {store.path.name}, which is read by another schema:\n"
            f"{differences}\nRemedy: `rdl pretrain --init-from MODEL` makes a store with the model's schema; or a store by with_new_categories"
        )


def start_from(model: PretrainingModel, checkpoint: Checkpoint, store: Store) -> list[str]:
    """Gives a fresh model the weights of another one; returns the names of weights that stay fresh, since the other one has none like them.

    Args:
        store: The store that the fresh model was made for.

    Raises:
        InputError: As `require_continues` says; or the backbone reads other statistics or columns of this store.
    """
    require_continues(checkpoint, store, model.encoder.config)
    own, given = model.state_dict(), dict(checkpoint.weights)
    given |= _embeddings(model, given, checkpoint.schema, store.schema)
    given |= _decoders(model, given, own, checkpoint)
    like = {n: w for n, w in given.items() if n in own and w.shape == own[n].shape and not n.startswith("balance.")}
    fresh = [name for name in own if name not in like]
    if wrong := [name for name in fresh if name.startswith("encoder.")]:
        raise InputError(
            f"the backbone reads other inputs of the store {store.path.name} than the model to begin with has weights for: {', '.join(wrong[:5])}. "
            "A key that is filled in later in the new rows and was not before, or the other way round, changes what is read; "
            "remedy: pretrain anew, without --init-from"
        )
    model.load_state_dict({**own, **like})
    return fresh


def _embeddings(
    model: PretrainingModel, given: dict[str, Tensor], before: Schema, after: Schema
) -> Iterator[tuple[str, Tensor]]:
    """Yields the vectors of categories with place for new ones, by the names of their weights."""
    encoder = model.encoder
    for number, (table, rows) in enumerate(zip(encoder.tables, encoder.row_encoders, strict=True)):
        names = col_names_dict(after.tables[table])
        sizes = [{c.name: len(c.categories) for c in schema.tables[table].columns} for schema in (before, after)]
        for path, module in rows.named_modules(prefix=f"encoder.row_encoders.{number}"):
            if isinstance(module, EmbeddingEncoder):
                of_columns = [[size[name] for name in names[stype.categorical]] for size in sizes]
                yield f"{path}.emb.weight", _spread(given[f"{path}.emb.weight"], *of_columns)
            elif isinstance(module, MultiCategoricalEmbeddingEncoder):
                for place, name in enumerate(names[stype.multicategorical]):
                    key = f"{path}.embs.{place}.weight"
                    yield key, _spread(given[key], [sizes[0][name]], [sizes[1][name]])


def _spread(weight: Tensor, before: Sequence[int], after: Sequence[int]) -> Tensor:
    """Returns [1 + all categories after, channels] from [1 + all before, channels]: null, then column by column, zeros for what is new."""
    parts = [weight[:1]]
    for known, wanted in zip(weight[1:].split(list(before)), after, strict=True):
        parts += [known, known.new_zeros(wanted - len(known), known.shape[1])]
    return torch.cat(parts)


def _decoders(
    model: PretrainingModel, given: dict[str, Tensor], own: dict[str, Tensor], checkpoint: Checkpoint
) -> Iterator[tuple[str, Tensor]]:
    """Yields the future level's decoders, whose targets are those that vary in the store: a target of both has the given weights."""
    here, there = model.future_targets, checkpoint.about.get("future")
    if here is None:
        return
    known = there["targets"] if there is not None and there["config"] == here["config"] else {}
    for number, (table, asked) in enumerate(here["targets"].items()):
        before = known.get(table, [])
        both = [(after, before.index(target)) for after, target in enumerate(asked) if target in before]
        for part in ("weight", "bias"):
            key = f"future.decoders.{number}.{part}"
            decoder = own[key].clone()
            for after, place in both:
                decoder[after] = given[f"future.decoders.{list(known).index(table)}.{part}"][place]
            yield key, decoder

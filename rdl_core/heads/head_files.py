"""Fitted heads as the bytes of files, and back: numbers and names, no pickle.

    linear.json        form of the model, and the columns that it reads: number and name of each, most important first
    linear.safetensors coefficients; knots of each column's scaling, one column's behind the other's
    lightgbm.json      the same of LightGBM
    lightgbm-0.txt     LightGBM's own text form of each model

Promises: a head that is read again predicts, and is refitted, bit for bit like the one that was written; the same head gives the same bytes. A
damaged file is refused by its name.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from rdl_core.config import decode
from rdl_core.config.heads import BoostingConfig
from rdl_core.heads.boosting import Boosting, BoostingModel, Trees
from rdl_core.heads.choice import Head
from rdl_core.heads.linear import LinearModel, Unit
from rdl_core.heads.scaling import RankGauss
from rdl_core.problems import InputError

FORMAT_VERSION = 1


def head_files(name: str, head: Head, column_names: Sequence[str]) -> dict[str, bytes]:
    """Returns the files of a head: {file name: bytes}.

    Args:
        name: Begins the names of its files.
        head: The head.
        column_names: Names of all columns, in the order of the arrays that it reads.
    """
    columns = [{"number": int(number), "name": column_names[number]} for number in head.columns]
    described: dict[str, Any] = {"format_version": FORMAT_VERSION, "num_columns": len(column_names), "columns": columns}
    if isinstance(head, LinearModel):
        form, files = _linear_files(name, head)
    else:
        form, files = _boosting_files(name, head)
    return {f"{name}.json": json.dumps(described | form, indent=1).encode()} | files


def read_head(name: str, read: Callable[[str], bytes], column_names: Sequence[str]) -> Head:
    """Returns the head that `head_files` made files of.

    Args:
        name: Begins the names of its files.
        read: Returns the bytes of a file.
        column_names: Names of all columns of the data that it is to predict for.

    Raises:
        InputError: The data has other columns than the head reads, or a file is damaged.
    """
    try:
        described = json.loads(read(f"{name}.json"))
        version, columns = described["format_version"], described["columns"]
        if version != FORMAT_VERSION:
            raise InputError(
                f"head {name!r} has format {version}, expected {FORMAT_VERSION}; fine-tune it again with this version"
            )
        _require_columns(name, columns, described["num_columns"], column_names)
        numbers = np.asarray([column["number"] for column in columns], np.int64)
        if described["kind"] == "linear":
            return _read_linear(name, described, numbers, read)
        return _read_boosting(name, described, numbers, read)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, SafetensorError, lightgbm.basic.LightGBMError) as error:
        raise InputError(
            f"head {name!r} has a damaged file: {type(error).__name__}: {error}. Remedy: fine-tune it again"
        ) from error


def _require_columns(name: str, columns: Sequence[Any], num_columns: int, column_names: Sequence[str]) -> None:
    """Raises InputError naming the columns that are not where the head has learned them."""
    here = dict(enumerate(column_names))
    differ = [f"column {c['number']}: {c['name']!r}" for c in columns if here.get(c["number"]) != c["name"]]
    if not differ and num_columns == len(column_names):
        return
    found = "none of those that it reads differs" if not differ else f"{len(differ)} that it reads are not there"
    shown = "".join(f"\n  {line}" for line in [*differ[:10], *(["..."] if len(differ) > 10 else [])])
    raise InputError(
        f"head {name!r} was fitted on {num_columns} generated columns, and this data has {len(column_names)}: {found}{shown}\n"
        "Remedy: data with the same tables, keys and columns (`rdl materialize --schema-of THE_CHECKPOINT`), or --head network"
    )


def _linear_files(name: str, head: LinearModel) -> tuple[dict[str, Any], dict[str, bytes]]:
    values, images = zip(*head.scaling.knots, strict=True) if head.scaling.knots else ((), ())
    tensors = {
        "coefficients": head.coefficients,
        "num_knots": np.asarray([len(v) for v in values], np.int64),
        "knot_values": _joined(values),
        "knot_images": _joined(images),
    }
    form = {
        "kind": "linear",
        "is_binary": head.is_binary,
        "inverse_regularization": head.inverse_regularization,
        "intercept": head.intercept,
        "unit": dataclasses.asdict(head.unit),
    }
    return form, {f"{name}.safetensors": save({key: np.ascontiguousarray(t) for key, t in tensors.items()})}


def _read_linear(
    name: str, form: dict[str, Any], columns: NDArray[np.int64], read: Callable[[str], bytes]
) -> LinearModel:
    tensors = load(read(f"{name}.safetensors"))
    ends = np.cumsum(tensors["num_knots"])[:-1]
    values, images = (np.split(tensors[key], ends) for key in ("knot_values", "knot_images"))
    return LinearModel(
        columns=columns,
        inverse_regularization=form["inverse_regularization"],
        scaling=RankGauss(tuple(zip(values, images, strict=True)) if len(columns) else ()),
        coefficients=tensors["coefficients"],
        intercept=form["intercept"],
        unit=Unit(**form["unit"]),
        is_binary=form["is_binary"],
    )


def _boosting_files(name: str, head: BoostingModel) -> tuple[dict[str, Any], dict[str, bytes]]:
    form = {
        "kind": "lightgbm",
        "trees": dataclasses.asdict(head.trees),
        "num_models": len(head.boosters),
        "constant": None if head.boosters else head.constant,
        "boosting": dataclasses.asdict(head.boosting.config),
        "seed": head.boosting.seed,
        "num_threads": head.boosting.num_threads,
    }
    return form, {
        f"{name}-{number}.txt": booster.model_to_string(num_iteration=head.trees.rounds).encode()
        for number, booster in enumerate(head.boosters)
    }


def _read_boosting(
    name: str, form: dict[str, Any], columns: NDArray[np.int64], read: Callable[[str], bytes]
) -> BoostingModel:
    texts = [read(f"{name}-{number}.txt").decode() for number in range(form["num_models"])]
    boosting = decode(BoostingConfig, form["boosting"], f"{name}.json: boosting")
    return BoostingModel(
        columns=columns,
        boosters=tuple(lightgbm.Booster(model_str=text) for text in texts),
        trees=Trees(**form["trees"]),
        constant=np.nan if form["constant"] is None else form["constant"],
        boosting=Boosting(boosting, seed=form["seed"], num_threads=form["num_threads"]),
    )


def _joined(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate(parts) if parts else np.empty(0)

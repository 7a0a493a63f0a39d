"""A model folder to the Hugging Face hub, with the values of the data that it holds hidden, or published because somebody has said so.

Promises: nothing is sent before the folder is whole and it is decided what becomes of the values in it; what arrives is a whole model folder.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rdl_core.checkpoint_files import (
    CARD,
    CONFIG,
    OWN_FILES,
    SCHEMA,
    WEIGHTS,
    files_of,
    read_description,
    write_checksums,
    write_json,
)
from rdl_core.checksums import sha256_of
from rdl_core.graph.schema import MAX_SMALL_INTEGERS, Schema
from rdl_core.hub import model_folder, upload
from rdl_core.problems import InputError
from rdl_core.sharing.card import ModelCard
from rdl_core.sharing.vocabulary import class_names, holds_values, told_values, with_hidden_values

NUM_SHOWN = 20
"""So many columns with values are written out in the refusal."""


def push_to_hub(
    folder: Path | str,
    name: str,
    *,
    private: bool = True,
    publish_vocabularies: bool = False,
    hash_vocabularies: bool = False,
) -> str:
    """Makes the model `name` on the hub what a model folder is; returns the address of the commit.

    Args:
        folder: A model folder.
        name: `org/name`; it is made if there is none.
        private: Whether only its organization sees it. A model that is public already is refused then.
        publish_vocabularies: Send the values that schema.json holds, and the names of a task's classes, as they are.
        hash_vocabularies: Send their keyed SHA-256 instead; the model reads data as before (vocabulary.py). Names of classes cannot be hidden.

    Raises:
        FileNotFoundError: There is no model.
        InputError: The folder is damaged; it holds values and neither option says what becomes of them, or they cannot be hidden; or the hub refuses.
        ValueError: Both options are given.
    """
    folder = model_folder(folder)
    description = read_description(folder)
    if not (folder / CONFIG).exists():
        raise InputError(
            f"model folder {folder} has format {description['format_version']}, which is not sent; "
            "Remedy: save_pretrained(NEW_FOLDER, from_pretrained(FOLDER)) writes it in the present one"
        )
    if publish_vocabularies and hash_vocabularies:
        raise ValueError("publish_vocabularies and hash_vocabularies exclude each other; give one")
    found = told_values(Schema.from_json(description["schema"]), description["about"])
    if found and not publish_vocabularies and not hash_vocabularies:
        raise InputError(_refusal(folder, found))
    about = f"{description['kind']} model of {description['schema']['database']}"
    with tempfile.TemporaryDirectory() as temporary:
        sent = copy_to_send(folder, Path(temporary) / "model", hash_vocabularies=hash_vocabularies)
        return upload(sent, name, private=private, message=f"{about}, weights {sha256_of(sent / WEIGHTS)[:16]}")


def copy_to_send(folder: Path, out: Path, *, hash_vocabularies: bool) -> Path:
    """Writes a model folder as it is sent: without what begins with a dot, and with hidden values if they are to be hidden; returns `out`.

    Raises:
        InputError: A further file, or the name of a class, tells a value that cannot be hidden.
    """
    description = read_description(folder)
    if hash_vocabularies and (names := class_names(description["about"])):
        raise InputError(
            f"model folder {folder} names the {len(names)} classes of its task {description['about'].get('task')!r} by values of the data, which its "
            f"predictions are called, too: they cannot be hidden, and nothing was sent. Remedy: --publish-vocabularies; or a task whose classes "
            f"are at most {MAX_SMALL_INTEGERS} whole numbers, fine-tuned anew"
        )
    edge_types, schema = description["edge_types"], Schema.from_json(description["schema"])
    files = files_of(folder)
    for name, path in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, out / name)
    if hash_vocabularies:
        extras = [name for name in files if name not in OWN_FILES]
        hidden = with_hidden_values(schema, sha256_of(folder / WEIGHTS))
        for name in extras:
            (out / name).write_bytes(_with_hidden_names(schema, hidden, name, (out / name).read_bytes()))
        schema = hidden
        write_json(out / SCHEMA, schema.to_json() | {"edge_types": edge_types})
        card = ModelCard(schema=schema, kind=description["kind"], about=description["about"], extras=extras)
        (out / CARD).write_text(card.text(), encoding="utf-8")
    write_checksums(out)
    return out


def _refusal(folder: Path, found: Mapping[str, int]) -> str:
    shown = [f"  {column}: {number:,} values" for column, number in list(found.items())[:NUM_SHOWN]]
    more = [f"  ... and {len(found) - NUM_SHOWN} more columns"] if len(found) > NUM_SHOWN else []
    return "\n".join(
        [
            f"model folder {folder} holds values of {len(found)} columns as they are in the data; nothing was sent:",
            *shown,
            *more,
            "Remedy: --hash-vocabularies sends their keyed SHA-256, by which the model still reads data, and a guess can be tested but no value be "
            "read; --publish-vocabularies sends them as they are",
        ]
    )


def _with_hidden_names(schema: Schema, hidden: Schema, name: str, content: bytes) -> bytes:
    """Returns a further file whose names of generated columns (`shop.kind = 'value'`, measures.py) have hidden values.

    Raises:
        InputError: Such a name is left, in a notation that is none of ours.
    """
    for table in schema.tables.values():
        for column, by_hash in zip(table.columns, hidden.tables[table.name].columns, strict=True):
            prefix = f"{table.name}.{column.name} = "
            notations = {_in_json(prefix), prefix.encode()}
            if not holds_values(column) or not any(notation in content for notation in notations):
                continue
            for value, hashed in zip(column.categories, by_hash.categories, strict=True):
                told, kept = (_in_json(f"{prefix}{shown!r}") for shown in (value, hashed))
                content = re.sub(rb"(?<!\w)" + re.escape(told), kept.replace(b"\\", b"\\\\"), content)
            if any(re.search(re.escape(notation) + rb"(?!'[0-9a-f]{64}')", content) for notation in notations):
                raise InputError(
                    f"{name} tells values of {table.name}.{column.name} in a way that cannot be hidden, expected none; nothing was sent. "
                    "Remedy: --publish-vocabularies, or save the model without this file"
                )
    return content


def _in_json(text: str) -> bytes:
    """Returns a text as it stands in our JSON, without quotes: what is not ASCII is escaped there."""
    return json.dumps(text)[1:-1].encode()

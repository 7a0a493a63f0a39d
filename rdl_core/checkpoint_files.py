"""The files of a model folder, as far as they can be read without torch: what kind of model lies there, of which form it is, and whether it is whole.

    model.safetensors   weights by parameter name
    config.json         format version, kind, form of the backbone, what it was trained on, results
    schema.json         tables, keys, semantic types, statistics, vocabularies, cutoff
    README.md           a card for people, with the hub's front matter
    checksums.json      bytes and SHA-256 of every other file
    anything else       what a caller keeps with the model (`save_pretrained(..., extra=...)`)

Promises: a folder is read only if each file is the one that was written, and none is missing or added; a name that begins with a dot
(.gitattributes, .cache) is the hub's or git's, and not looked at. Models of format 3 (model.json), which have no checksums, are still read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rdl_core.checksums import sha256_of, sha256_of_all
from rdl_core.config import BackboneConfig, decode
from rdl_core.hub import model_folder
from rdl_core.problems import InputError

FORMAT_VERSION = 4
WEIGHTS, CONFIG, SCHEMA, CARD, CHECKSUMS = (
    "model.safetensors",
    "config.json",
    "schema.json",
    "README.md",
    "checksums.json",
)
OWN_FILES = (WEIGHTS, CONFIG, SCHEMA, CARD, CHECKSUMS)
_EARLIER_VERSION, _EARLIER = 3, "model.json"
_MADE_BY = {"pretrained": "`rdl pretrain`", "finetuned": "`rdl finetune`", "link": "`rdl finetune` on a link task"}
_REMEDY = "Remedy: copy or download the whole folder again; a model that was changed on purpose is saved again by save_pretrained"


def files_of(folder: Path) -> dict[str, Path]:
    """Returns {path below the folder: file} of a model folder, but for checksums.json and what begins with a dot; in order."""
    found = {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}
    return {name: p for name, p in sorted(found.items()) if name != CHECKSUMS and not name.startswith(".")}


def write_json(path: Path, value: Any) -> None:
    """Writes JSON that is the same bytes for the same value."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_checksums(folder: Path) -> None:
    """Writes checksums.json of all files that are there."""
    files = files_of(folder)
    digests = map(sha256_of, files.values())
    entries = {
        name: {"bytes": path.stat().st_size, "sha256": digest}
        for (name, path), digest in zip(files.items(), digests, strict=True)
    }
    write_json(folder / CHECKSUMS, {"files": entries})


def verify(folder: Path) -> None:
    """Refuses a model folder that is not what was written.

    Raises:
        InputError: Naming each file that is missing, added, cut off or changed, what was expected and what is there.
    """
    try:
        entries = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))["files"]
        expected = {str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in entries.items()}
    except FileNotFoundError:
        raise InputError(
            f"model folder {folder} has no {CHECKSUMS}, which says what its files are.\n{_REMEDY}"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"model folder {folder} has a damaged {CHECKSUMS}: {error}.\n{_REMEDY}") from error
    found = files_of(folder)
    if lines := list(_differences(expected, found)):
        raise InputError(f"model folder {folder} is not what was saved:\n  " + "\n  ".join(lines) + f"\n{_REMEDY}")


def _differences(expected: dict[str, tuple[int, str]], found: dict[str, Path]) -> Iterator[str]:
    yield from (f"{name}: expected a file, got none" for name in sorted({*expected, *OWN_FILES[:-1]} - set(found)))
    yield from (f"{name}: expected no such file, got one" for name in found if name not in expected)
    both = [name for name in found if name in expected]
    for name, digest in zip(both, sha256_of_all([found[name] for name in both]), strict=True):
        num_bytes, (expected_bytes, expected_digest) = found[name].stat().st_size, expected[name]
        if num_bytes != expected_bytes:
            yield f"{name}: expected {expected_bytes:,} bytes, got {num_bytes:,}"
        elif digest != expected_digest:
            yield f"{name}: expected SHA-256 {expected_digest}, got {digest}"


def read_description(path: Path | str, *, kind: str | None = None, revision: str | None = None) -> dict[str, Any]:
    """Returns what config.json and schema.json of a model folder say: format_version, kind, backbone, about, edge_types, schema.

    Args:
        path: A folder, or the name of a model on the hub (hub.py).
        kind: "pretrained" or "finetuned", when only that will do.
        revision: Of a model on the hub.

    Raises:
        FileNotFoundError: No model is there.
        InputError: A file is missing, added, cut off or changed, or the model has another format version or kind.
    """
    path = model_folder(path, revision)
    is_earlier = (path / _EARLIER).exists() and not (path / CONFIG).exists()
    of_run = any((path / "model" / name).exists() for name in (CONFIG, _EARLIER)) and not (path / CHECKSUMS).exists()
    if of_run:  # a run's folder has a config.json, too
        raise FileNotFoundError(f"no checkpoint at {path}, which is the folder of a run; its model is {path / 'model'}")
    if not is_earlier and not (path / CONFIG).exists():
        raise FileNotFoundError(
            f"no checkpoint at {path} (no {CONFIG}); pass the folder that a run printed as its 'checkpoint'"
        )
    if not is_earlier:
        verify(path)
    name, expected = (_EARLIER, _EARLIER_VERSION) if is_earlier else (CONFIG, FORMAT_VERSION)
    try:
        description: dict[str, Any] = json.loads((path / name).read_text(encoding="utf-8"))
        version, found = description["format_version"], description["kind"]
        if not is_earlier:
            schema = json.loads((path / SCHEMA).read_text(encoding="utf-8"))
            description |= {"edge_types": schema.pop("edge_types"), "schema": schema}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"checkpoint {path} has a damaged {name}: {error}") from error
    if version != expected:
        raise InputError(
            f"checkpoint {path} has format {version}, expected {FORMAT_VERSION}; train it again with this version"
        )
    if kind is not None and found != kind:
        raise InputError(f"checkpoint {path} is {found}, expected one that is {kind}; {_MADE_BY[kind]} makes one")
    return description


def backbone_of(description: dict[str, Any]) -> BackboneConfig:
    """Returns the form of a checkpoint's backbone.

    Raises:
        ValueError: Naming the field that no backbone has.
    """
    return decode(BackboneConfig, description["backbone"], f"{CONFIG}: backbone")


def weights_digest(path: Path | str) -> str:
    """Returns the hex digest of a checkpoint's weights file, which tells a checkpoint from another that was written to the same folder."""
    return sha256_of(model_folder(path) / WEIGHTS)[:16]

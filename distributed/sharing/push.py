"""`rdl push`: its options, and what it says of the values of the data that a model folder holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed.console import say


@dataclass(frozen=True, kw_only=True)
class Push:
    """A model folder to the Hugging Face hub, as a private model unless --public.

    rdl push --checkpoint runs/pretrain-shop-1a2b3c4d/model --to acme/shop --hash-vocabularies

    From then on --checkpoint acme/shop (or acme/shop@REVISION) names it in every command. The folder holds values of categorical columns, which may
    be your customers': --hash-vocabularies sends their keyed SHA-256 instead, by which the model reads data as before, --publish-vocabularies the
    values. The names of classes that a model predicts are values, too, and cannot be hashed. Log in before, by `hf auth login` or the environment
    variable HF_TOKEN."""

    checkpoint: Path
    """Model folder: what `pretrain` or `finetune` printed under "checkpoint"."""
    to: str
    """Name on the hub, org/name; made if there is none."""
    publish_vocabularies: bool = False
    """Send values of the data as they are."""
    hash_vocabularies: bool = False
    """Send the keyed SHA-256 of values instead of them."""
    public: bool = False
    """Let everybody see the model, if it is made now; one that is public already is refused without this."""
    json: bool = False
    """Print the result as the last line of stdout."""

    def __post_init__(self) -> None:
        if self.publish_vocabularies and self.hash_vocabularies:
            raise ValueError("--publish-vocabularies and --hash-vocabularies exclude each other; give one")


def values_line(folder: Path | str) -> str:
    """Returns a line for people: of how many columns a model folder holds values as they are in the data."""
    from rdl_core.checkpoint_files import read_description
    from rdl_core.graph.schema import Schema
    from rdl_core.sharing.vocabulary import told_values

    description = read_description(folder)
    found = told_values(Schema.from_json(description["schema"]), description["about"])
    if not found:
        return "the model holds no values of the data"
    return f"the model holds values of {len(found)} columns as they are in the data; its README.md lists them"


def run_push(options: Push) -> dict[str, Any]:
    """Returns {"to", "commit", "columns_with_values": {table.column: number of values, in the folder}, "hashed"}."""
    from rdl_core.checkpoint_files import read_description
    from rdl_core.graph.schema import Schema
    from rdl_core.sharing.publication import push_to_hub
    from rdl_core.sharing.vocabulary import told_values

    description = read_description(options.checkpoint)
    found = told_values(Schema.from_json(description["schema"]), description["about"])
    commit = push_to_hub(
        options.checkpoint,
        options.to,
        private=not options.public,
        publish_vocabularies=options.publish_vocabularies,
        hash_vocabularies=options.hash_vocabularies,
    )
    for column, number in found.items():
        say(f"{column}: {number:,} values {'hashed' if options.hash_vocabularies else 'published'}")
    say(f"model      {options.to}\ncommit     {commit}")
    return {"to": options.to, "commit": commit, "columns_with_values": found, "hashed": options.hash_vocabularies}

"""Models on the Hugging Face hub: their names, a copy on this machine, and the way up. Only folders go in and out.

A name is `org/name`, or `org/name@revision` (branch, tag or commit). Promises: a folder that is here goes before a model on the hub of the same name;
without a network, the copy of an earlier call is taken (HF_HOME says where it is, HF_HUB_OFFLINE=1 asks for nothing else); huggingface_hub, with its
tokens (HF_TOKEN) and its endpoint (HF_ENDPOINT), does all that is said over the network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rdl_core.atomic_write import whole_folder
from rdl_core.problems import InputError

_NAME = re.compile(r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?")


def model_folder(place: Path | str, revision: str | None = None) -> Path:
    """Returns the folder of a model on this machine, fetched from the hub if it is the name of one.

    Args:
        place: A folder, or a name on the hub.
        revision: Branch, tag or commit on the hub.

    Raises:
        InputError: The hub has no such model or revision, or does not answer and there is no copy here; or a folder is asked for a revision.
    """
    folder = whole_folder(Path(place))
    parts = _NAME.fullmatch(str(place))
    if folder.exists() or parts is None or Path(Path(place).parts[0]).exists():
        if revision is not None:
            raise InputError(f"{place} is a folder and has no revisions, got revision {revision!r}; leave it out")
        return folder
    given = parts["revision"]
    if given is not None and revision is not None and given != revision:
        raise InputError(f"{place} names revision {given!r}, and revision={revision!r} another one; give it once")
    return _snapshot(parts["repository"], revision or given)


def _snapshot(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    at = f" at revision {revision}" if revision else ""
    remedy = (
        "Remedy: check the name (a folder is meant? none is here), log in (`hf auth login`, or HF_TOKEN) if the model is "
        "private, and see that the hub can be reached; without a network, a model must have been loaded once before"
    )
    with _told(f"cannot get the model {name}{at} from the hub", remedy):
        return Path(snapshot_download(name, revision=revision))


def upload(folder: Path, name: str, *, private: bool, message: str) -> str:
    """Makes a model on the hub what a folder is, in one commit; files that it had besides are removed. Returns the commit's address.

    Args:
        name: As `org/name`.
        private: Whether it is made as a private one, and must be private if it is there.

    Raises:
        InputError: The name is none, the model is public though a private one is meant, or the hub refuses.
    """
    if (parts := _NAME.fullmatch(name)) is None or parts["revision"] is not None:
        raise InputError(f"{name!r} is no name on the hub; expected org/name, such as acme/shop-churn")
    from huggingface_hub import HfApi

    api = HfApi(library_name="relational-pretraining")
    remedy = "Remedy: log in (`hf auth login`, or HF_TOKEN) with a token that may write to it, and see that the hub can be reached"
    with _told(f"cannot put the model {name} on the hub", remedy):
        api.create_repo(name, private=private, exist_ok=True)
        if private and not api.model_info(name).private:
            raise InputError(
                f"{name} is public on the hub, expected a private model; nothing was sent.\n"
                "Remedy: make it private there, take another name, or say that it may be public (--public)"
            )
        done = api.upload_folder(repo_id=name, folder_path=folder, commit_message=message, delete_patterns="*")
    return str(done.commit_url)


@contextmanager
def _told(headline: str, remedy: str) -> Iterator[None]:
    """Says what failed at the hub in our words; huggingface_hub's own go behind."""
    from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError  # HTTPError: also where nothing answers

    try:
        yield
    except (HTTPError, LocalEntryNotFoundError, ConnectionError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{headline}: {first}\n{remedy}") from error

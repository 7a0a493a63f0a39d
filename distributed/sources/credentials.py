"""Passwords of sources: taken out of whatever is shown or stored, however a URL or a driver's message writes them."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, quote_plus

import sqlalchemy as sa

_SECRET = re.compile(r"pass|pwd|secret|token|key|credential|auth", re.IGNORECASE)
HIDDEN = "hidden"


def display(url: sa.URL) -> str:
    """Returns a URL for messages and manifests: no password, no parameters, of a file only its name."""
    is_file = url.get_backend_name() in ("sqlite", "duckdb")
    shown = url.set(database=Path(url.database or "").name) if is_file else url
    return shown.set(query={}).render_as_string(hide_password=True)


def without_credentials(source: str) -> str:
    """Returns a --source as it may be stored: a URL without its password and without parameters that may be one; a path as it is."""
    if "://" not in source:
        return source
    try:
        url = sa.make_url(source)
    except (sa.exc.ArgumentError, ValueError):
        return re.sub(r"//.*", f"//{HIDDEN}", source, flags=re.DOTALL)
    query = {name: HIDDEN if _SECRET.search(name) else value for name, value in url.query.items()}
    return url.set(query=query).render_as_string(hide_password=True)


def hide(text: object, url: sa.URL) -> str:
    """Returns a driver's message without the secrets of the URL that it was given."""
    secrets = [str(url.password or "")]
    for name, value in url.query.items():
        if _SECRET.search(name):
            secrets += [value] if isinstance(value, str) else [*value]
    shown = str(text)
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        for form in (secret, quote(secret), quote_plus(secret), quote(secret, safe="")):
            shown = shown.replace(form, HIDDEN)
    return shown

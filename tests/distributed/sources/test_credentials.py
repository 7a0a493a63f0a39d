"""Passwords are in nothing that is shown or stored."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from distributed.schema.refusals import ImportRefused
from distributed.sources.credentials import HIDDEN, display, hide, without_credentials
from distributed.sources.sql_source import SqlSource

URLS = [
    "postgresql+psycopg://me:hunter2@host/db",
    "postgresql+psycopg://me@host/db?password=hunter2",
    "postgresql+psycopg://me@host/db?sslpassword=hunter2&connect_timeout=3",
    "mysql+pymysql://me@host/db?ssl_key_password=hunter2",
    "postgresql+psycopg://me:h%40unter2@host/db?passfile=hunter2",
    "not a url ://hunter2@x",
]


@pytest.mark.parametrize("url", URLS)
def test_a_stored_source_has_no_password(url: str) -> None:
    stored = without_credentials(url)
    assert "unter2" not in stored and (HIDDEN in stored or "***" in stored)


@pytest.mark.parametrize("path", ["data/in", "C:/key=1", "shop.csv"])
def test_a_stored_path_is_what_it_was(path: str) -> None:
    assert without_credentials(path) == path


@pytest.mark.parametrize("url", URLS[:5])
def test_a_message_of_a_driver_has_no_password(url: str) -> None:
    parsed = sa.make_url(url)
    told = f"connection to {url} failed for {parsed.password} and {parsed.query}"
    assert "unter2" not in hide(told, parsed) and "connection to" in hide(told, parsed)
    assert "unter2" not in display(parsed)


@pytest.mark.parametrize(
    "url",
    ["postgresql+psycopg://me:hunter2@h:port/db", "mysql+pymysql://me:hunter2@h:1:2/db", "nothing://me:hunter2@h/db"],
)
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(ImportRefused, match="expected an SQLAlchemy URL") as refused:
        SqlSource(url, 10)
    chain, texts = refused.value, []
    while chain is not None:
        texts.append(str(chain))
        chain = chain.__cause__
    assert "hunter2" not in "".join(texts)

"""docs/errors.md: every message that it explains is one that the code still says."""

from __future__ import annotations

import re

from tests import REPOSITORY

PAGE = REPOSITORY / "docs" / "errors.md"


def messages() -> list[str]:
    """The first column of each table of the page."""
    return re.findall(r"^\| `([^`]+)`", PAGE.read_text(), re.M)


def test_every_message_of_the_page_is_in_the_code() -> None:
    files = (file for package in ("rdl_core", "distributed", "tune") for file in (REPOSITORY / package).rglob("*.py"))
    code = re.sub(
        r'"\s*\n\s*f?"', "", "\n".join(file.read_text() for file in files)
    )  # a string of several lines is one
    assert len(messages()) >= 25
    assert [message for message in messages() if message not in code] == []

"""Tests; the folders mirror the source. `REPOSITORY` is the checkout."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

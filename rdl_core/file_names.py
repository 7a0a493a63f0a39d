"""Names that users and data give, as names of files and folders: they stay in their folder, on any file system."""

from __future__ import annotations

MAX_NAME_BYTES = 200
"""File systems take 255, with endings such as .partial."""
EXPECTED_NAME = f"1 to {MAX_NAME_BYTES} bytes, no / or \\, not beginning with a dot"


def is_file_name(name: str) -> bool:
    """Returns whether a name can be a file's or a folder's, and leads nowhere but into the folder that it is put into."""
    forbidden = set("/\\") | {chr(code) for code in range(32)}
    fits = 0 < len(name.encode("utf-8", "surrogatepass")) <= MAX_NAME_BYTES
    return fits and not forbidden & set(name) and not name.startswith(".") and bool(name.strip())

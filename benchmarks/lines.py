"""Counts source lines as ruff formats them: `make lines`.

    python benchmarks/lines.py [COMMIT]

Prints one JSON object: lines of each package, of the tests, and of `sample_to_loss`, which is everything between a sampled subgraph and its loss
value: encoder, layers, losses, their layouts and kernels. Files are formatted in memory with all `# fmt: skip` marks removed, so that no mark can
make a file shorter than ruff would. With a commit, the files of that commit are counted.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = ("rdl_core", "distributed", "tune", "tests")
SAMPLE_TO_LOSS = re.compile(
    r"rdl_core/(kernels|model|contrast)/(?!checkpoint|collapse).*\.py|rdl_core/batches/(edges|sample_layout|row_identity)\.py"
)
FLAT_SAMPLE_TO_LOSS = re.compile(
    r"rdl_core/(loss\w*|row_identity|step_rows|backbone|message_passing|row_encoder|cells|folded_map|fold_kernels|product_kernels"
    r"|products|residual|row_sums|dropout|norm_relu)\.py"
)
"""The same code before it moved into packages."""
MARK = re.compile(r"\s*# fmt: (skip|off|on)")


def main() -> None:
    """Prints the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", nargs="?", help="count this commit's files (default: the working tree's)")
    commit = parser.parse_args().commit
    counts = dict.fromkeys((*PACKAGES, "sample_to_loss"), 0)
    for path in paths(commit):
        number = formatted_lines(path, commit)
        counts[path.split("/")[0]] += number
        if SAMPLE_TO_LOSS.fullmatch(path) or FLAT_SAMPLE_TO_LOSS.fullmatch(path):
            counts["sample_to_loss"] += number
    print(json.dumps(counts))


def paths(commit: str | None) -> list[str]:
    """Returns the Python files of the packages, relative to the repository."""
    listing = ["ls-tree", "-r", "--name-only", commit] if commit else ["ls-files", "-co", "--exclude-standard"]
    found = git(*listing, *PACKAGES).splitlines()
    return [path for path in found if path.endswith(".py") and (commit or (REPOSITORY / path).exists())]


def formatted_lines(path: str, commit: str | None) -> int:
    """Returns the number of lines of one file as ruff formats it."""
    source = git("show", f"{commit}:{path}") if commit else (REPOSITORY / path).read_text()
    command = ["ruff", "format", "--stdin-filename", str(REPOSITORY / path), "-"]
    unmarked = MARK.sub("", source)
    formatted = subprocess.run(command, input=unmarked, check=True, capture_output=True, text=True, cwd=REPOSITORY)
    return formatted.stdout.count("\n")


def git(*arguments: str) -> str:
    """Returns what a git command prints."""
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True, cwd=REPOSITORY).stdout


if __name__ == "__main__":
    main()

"""A proposal for people: lines for the terminal, and a schema file to read, change and import with.

In: a `Proposal`. Out: text. In the file, what is certain stands as it would be declared, with its evidence as a comment; what is only likely is
commented out, ready to be taken in; what the source itself declares is a comment, since it needs no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import yaml

from distributed.inference.evidence import (
    ForeignKeyProposal,
    PrimaryKeyProposal,
    Proposal,
    TimeColumnProposal,
)

Item = TypeVar("Item", PrimaryKeyProposal, ForeignKeyProposal, TimeColumnProposal)
_HEAD = """\
# Keys and times that {source} does not declare, as its names and values speak for them.
# Certain ones stand; likely ones are commented out: take the `# ` away to declare one. What the source itself declares is
# there to be read and needs no entry. Then
#   rdl import --source ... --schema-file THIS_FILE --out ... --name ...{timestamps}
"""


def proposal_lines(proposal: Proposal) -> list[str]:
    """Returns a line for every decision: what is declared is not repeated, what is unlikely is named last."""
    lines = [
        f"{'accepted' if item.is_accepted else 'proposed' if item.verdict == 'certain' else 'not taken'}: "
        f"{_place(item)} ({item.verdict}: {evidence_text(item)})"
        for item in proposal.items
        if item.verdict != "declared"
    ]
    if any(line.startswith("not taken") for line in lines):
        lines.append(
            "what is not taken can be declared: --propose FILE writes a schema file that has it as comments; then --schema-file FILE"
        )
    if proposal.unlinked:
        lines.append(
            f"named like keys, but no table has their values as its key: {', '.join(proposal.unlinked)}; they stay attributes"
        )
    if times := proposal.timestamps:
        lines.append(
            f"timestamps proposed from {times.num_rows:,} rows that have a time: --val-timestamp {times.val_timestamp!r} "
            f"({times.val_share:.1%} of the rows before it), --test-timestamp {times.test_timestamp!r} ({times.test_share:.1%})"
        )
    return lines


def proposal_file(proposal: Proposal, tables: Sequence[str], source: str) -> str:
    """Returns the text of a schema file.

    Args:
        proposal: What is proposed.
        tables: All tables; each gets an entry.
        source: Name of the source, for the head.
    """
    times = proposal.timestamps
    options = (
        f" \\\n#     --val-timestamp '{times.val_timestamp}' --test-timestamp '{times.test_timestamp}'" if times else ""
    )
    lines = _HEAD.format(source=source, timestamps=options).splitlines()
    if times:
        lines.append(
            f"# (the timestamps at {times.val_share:.1%} and {times.test_share:.1%} of the {times.num_rows:,} rows that have a time)"
        )
    if proposal.unlinked:
        lines.append(f"# Named like keys, but no table has their values as its key: {', '.join(proposal.unlinked)}")
    for table in tables:
        lines += ["", *_entry(proposal, table)]
    return "\n".join(lines) + "\n"


def _entry(proposal: Proposal, table: str) -> list[str]:
    body: list[str] = []
    has_entry = False
    for key in _of(proposal.primary_keys, table):
        value = _scalar(key.columns[0]) if len(key.columns) == 1 else f"[{', '.join(map(_scalar, key.columns))}]"
        body.append(_declaration(f"  pkey: {value}", key))
        has_entry |= key.verdict == "certain"
    for time in _of(proposal.time_columns, table):
        body.append(_declaration(f"  time_col: {_scalar(time.column)}", time))
        has_entry |= time.verdict == "certain"
    fkeys = _of(proposal.foreign_keys, table)
    if any(fkey.verdict == "certain" for fkey in fkeys):
        body.append("  fkeys:")
        has_entry = True
    elif fkeys:
        body.append("  # fkeys:")
    body += _foreign_keys(proposal, fkeys)
    if has_entry or not body:
        return [f"{_scalar(table)}:{'' if has_entry else ' {}'}", *body]
    is_open = any(item.verdict != "declared" for item in proposal.items if item.table == table)
    return [
        f"{_scalar(table)}: {{}}" + ("  # to declare something below, take `{}` away, too" if is_open else ""),
        *body,
    ]


def _foreign_keys(proposal: Proposal, fkeys: Sequence[ForeignKeyProposal]) -> list[str]:
    """Returns `column: table` lines; if a parent's column is not its primary key, entries that name it."""
    primary = {key.table: key.columns for key in proposal.primary_keys if key.verdict in ("declared", "certain")}
    if all(primary.get(fkey.parent) == (fkey.parent_column,) for fkey in fkeys):
        return [_declaration(f"    {_scalar(fkey.column)}: {_scalar(fkey.parent)}", fkey) for fkey in fkeys]
    return [
        _declaration(
            f"    - {{columns: [{_scalar(fkey.column)}], table: {_scalar(fkey.parent)}, parent_columns: [{_scalar(fkey.parent_column)}]}}",
            fkey,
        )
        for fkey in fkeys
    ]


def _declaration(text: str, item: PrimaryKeyProposal | ForeignKeyProposal | TimeColumnProposal) -> str:
    if item.verdict == "certain":
        return f"{text}  # certain: {evidence_text(item)}"
    indent = len(text) - len(text.lstrip())
    return f"{text[:indent]}# {text[indent:]}  # {item.verdict}: {evidence_text(item)}"


def _place(item: PrimaryKeyProposal | ForeignKeyProposal | TimeColumnProposal) -> str:
    if isinstance(item, ForeignKeyProposal):
        return f"foreign key {item.table}.{item.column} -> {item.parent}.{item.parent_column}"
    if isinstance(item, PrimaryKeyProposal):
        return f"primary key {item.table}.{'+'.join(item.columns)}"
    return f"time column {item.table}.{item.column}"


def evidence_text(item: PrimaryKeyProposal | ForeignKeyProposal | TimeColumnProposal) -> str:
    """Returns the reason for a verdict and its figures, in one line."""
    if item.verdict == "declared":
        return "by the source"
    if isinstance(item, ForeignKeyProposal):
        figures = (
            f"{item.num_found:,} of {item.num_distinct:,} distinct values found, {item.parent_coverage:.0%} of the parent's keys occur, "
            f"name {item.name_similarity:.2f}, score {item.score:.2f}"
        )
    elif isinstance(item, PrimaryKeyProposal):
        figures = f"{item.num_distinct:,} distinct in {item.num_rows:,} rows, name {item.name_similarity:.2f}"
    else:
        figures = f"{item.num_rows - item.num_null:,} of {item.num_rows:,} rows, {item.first} to {item.last}"
        figures += f", earliest in {item.earliest_share:.1%}" if item.runner_up else ""
    runner_up = f"; runner-up {item.runner_up}" if item.runner_up else ""
    return " ".join(f"{item.why}; {figures}{runner_up}".split())  # a name may hold a line break


def _of(items: Iterable[Item], table: str) -> list[Item]:
    return [item for item in items if item.table == table]


def _scalar(name: str) -> str:
    """Returns a name as YAML reads it back: `no`, `1` and odd letters in quotes."""
    text: str = yaml.safe_dump([name], default_flow_style=True, allow_unicode=True, width=10_000)
    return text.strip()[1:-1]

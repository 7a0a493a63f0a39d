"""The keys and times that an import follows, and those that were proposed and not taken, each with its evidence.

In: the plans of the tables and what inference proposed, if it was asked. A key that the source or the schema file declares needs no evidence.
"""

from __future__ import annotations

from collections.abc import Mapping

from distributed.import_report.report import KeyReport, KeyRole
from distributed.inference.evidence import ForeignKeyProposal, PrimaryKeyProposal, Proposal, TimeColumnProposal
from distributed.schema.table_plan import TablePlan

Identity = tuple[KeyRole, str, tuple[str, ...], str | None]


def reported_keys(
    plans: Mapping[str, TablePlan], time_cols: Mapping[str, str | None], proposal: Proposal | None
) -> tuple[KeyReport, ...]:
    """Returns primary keys, foreign keys and time columns: those that are followed first, by table; then those only proposed.

    Args:
        plans: Plans of the imported tables.
        time_cols: Their time columns, as the source calls them.
        proposal: What was inferred; None where nothing was.
    """
    proposed = {_identity(item): item for item in proposal.items} if proposal is not None else {}
    followed: list[KeyReport] = []
    for name, plan in plans.items():
        if plan.pkey_cols:
            followed.append(KeyReport(role="primary key", table=name, columns=plan.pkey_cols))
        followed += [
            KeyReport(
                role="foreign key", table=name, columns=k.columns, parent=k.parent, parent_columns=k.parent_columns
            )
            for k in plan.links
        ]
        if (time_col := time_cols.get(name)) is not None:
            followed.append(KeyReport(role="time", table=name, columns=(time_col,)))
    keys = []
    for key in followed:
        item = proposed.pop((key.role, key.table, key.columns, key.parent), None)
        keys.append(key if item is None else _with_evidence(key, item, is_accepted=True))
    for (role, table, columns, parent), item in proposed.items():
        if item.verdict != "declared":
            parent_columns = (item.parent_column,) if isinstance(item, ForeignKeyProposal) else ()
            key = KeyReport(role=role, table=table, columns=columns, parent=parent, parent_columns=parent_columns)
            keys.append(_with_evidence(key, item, is_accepted=False))
    return tuple(keys)


def _identity(item: PrimaryKeyProposal | ForeignKeyProposal | TimeColumnProposal) -> Identity:
    if isinstance(item, PrimaryKeyProposal):
        return "primary key", item.table, item.columns, None
    if isinstance(item, ForeignKeyProposal):
        return "foreign key", item.table, (item.column,), item.parent
    return "time", item.table, (item.column,), None


def _with_evidence(
    key: KeyReport, item: PrimaryKeyProposal | ForeignKeyProposal | TimeColumnProposal, *, is_accepted: bool
) -> KeyReport:
    is_declared = item.verdict == "declared"
    return KeyReport(
        role=key.role,
        table=key.table,
        columns=key.columns,
        parent=key.parent,
        parent_columns=key.parent_columns,
        origin="declared" if is_declared else "inferred",
        is_accepted=is_accepted,
        evidence="" if is_declared else f"{item.verdict}: {item.why}",
    )

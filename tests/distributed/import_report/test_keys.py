"""Keys that are followed and keys that were only proposed are told apart, each with its evidence."""

from __future__ import annotations

from distributed.import_report.keys import reported_keys
from distributed.inference.evidence import ForeignKeyProposal, PrimaryKeyProposal, Proposal, TimeColumnProposal, Verdict
from distributed.schema.source_table import ForeignKey, SourceTable
from distributed.schema.table_plan import plan_tables

SCHEMAS = {
    "buyer": SourceTable(name="buyer", columns={"id": "integer"}, pkey=("id",)),
    "sale": SourceTable(
        name="sale",
        columns={"no": "integer", "buyer": "integer", "at": "timestamp", "town": "integer"},
        pkey=("no",),
        fkeys=(ForeignKey(columns=("buyer",), parent="buyer", parent_columns=("id",)),),
    ),
}
PLANS = plan_tables(SCHEMAS, tables=None, exclude=())
TIMES = {"buyer": None, "sale": "at"}


def primary(table: str, column: str, verdict: Verdict, why: str) -> PrimaryKeyProposal:
    return PrimaryKeyProposal(
        table=table,
        columns=(column,),
        verdict=verdict,
        num_rows=9,
        num_distinct=9,
        name_similarity=1.0,
        runner_up=None,
        why=why,
    )


def foreign(column: str, verdict: Verdict, why: str) -> ForeignKeyProposal:
    return ForeignKeyProposal(
        table="sale",
        column=column,
        parent="buyer",
        parent_column="id",
        verdict=verdict,
        num_distinct=9,
        num_found=9,
        inclusion=1.0,
        parent_coverage=1.0,
        is_distinctive=True,
        name_similarity=1.0,
        score=1.0,
        runner_up=None,
        why=why,
    )


def test_declared_keys_need_no_evidence() -> None:
    keys = reported_keys(PLANS, TIMES, None)
    assert [(key.role, key.table, key.columns, key.parent) for key in keys] == [
        ("primary key", "buyer", ("id",), None),
        ("primary key", "sale", ("no",), None),
        ("foreign key", "sale", ("buyer",), "buyer"),
        ("time", "sale", ("at",), None),
    ]
    assert all(key.origin == "declared" and key.is_accepted and not key.evidence for key in keys)


def test_inferred_keys_have_their_evidence_and_those_not_taken_come_last() -> None:
    time = TimeColumnProposal(
        table="sale",
        column="at",
        verdict="certain",
        num_rows=9,
        num_null=0,
        first=None,
        last=None,
        earliest_share=1.0,
        runner_up=None,
        why="alone",
    )
    proposal = Proposal(
        primary_keys=(primary("buyer", "id", "declared", ""), primary("sale", "no", "certain", "9 of 9 differ")),
        foreign_keys=(foreign("buyer", "certain", "all found"), foreign("town", "likely", "all found, another name")),
        time_columns=(time,),
        timestamps=None,
    )
    found = {
        (key.role, key.table, key.columns): (key.origin, key.is_accepted, key.evidence)
        for key in reported_keys(PLANS, TIMES, proposal)
    }
    assert found == {
        ("primary key", "buyer", ("id",)): ("declared", True, ""),
        ("primary key", "sale", ("no",)): ("inferred", True, "certain: 9 of 9 differ"),
        ("foreign key", "sale", ("buyer",)): ("inferred", True, "certain: all found"),
        ("time", "sale", ("at",)): ("inferred", True, "certain: alone"),
        ("foreign key", "sale", ("town",)): ("inferred", False, "likely: all found, another name"),
    }
    assert list(found)[-1] == ("foreign key", "sale", ("town",))

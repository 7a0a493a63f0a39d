"""Keys that hold dates, databases without any time, and what is said of tables that have none."""

from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from relbench.manifest import DatasetManifest

from distributed.importing.config import ImportConfig
from distributed.importing.importer import import_database
from distributed.schema.refusals import ImportRefused
from rdl_core.config import StoreConfig
from rdl_core.database.dataset import open_dataset
from rdl_core.database.table_settings import read_table_settings
from rdl_core.graph.materialization import materialize
from tests.distributed.importing.small_imports import sqlite_file

DAYS = [datetime.date(2024, 1, 1) + datetime.timedelta(days=i) for i in range(40)]
SALES = [(i, i % 3, DAYS[(i * 7) % 40]) for i in range(60)]


def import_star(
    folder: Path, schema: str, notation: str = "%Y-%m-%d", calendar: str = "", sales: str = "", **options: object
) -> list[str]:
    """Imports customers, a calendar and sales; `calendar` and `sales` are headers and cells of a column more."""
    source = folder / "source"
    source.mkdir(parents=True)
    (source / "customers.csv").write_text("id,city\n0,Oslo\n1,Voss\n2,Bergen\n")
    calendar_lines = [
        f"date,holiday{calendar and ',week'}",
        *(f"{d.strftime(notation)},{d.day % 9 == 0}{calendar and calendar.format(d)}" for d in DAYS),
    ]
    (source / "calendar.csv").write_text("\n".join(calendar_lines))
    sales_lines = [
        f"id,customer,date{sales and ',at'}",
        *(f"{i},{c},{d.strftime(notation)}{sales and sales.format(d)}" for i, c, d in SALES),
    ]
    (source / "sales.csv").write_text("\n".join(sales_lines))
    (folder / "schema.yaml").write_text(schema)
    lines: list[str] = []
    config = ImportConfig(
        source=str(source), out=folder / "out", name="star", val_timestamp="2024-01-25", test_timestamp="2024-02-01",
        schema_file=folder / "schema.yaml", **options,  # type: ignore[arg-type]
    )  # fmt: skip
    import_database(config, lines.append)
    return lines


STAR = (
    "calendar: {pkey: date}\ncustomers: {pkey: id}\nsales: {pkey: id, fkeys: {customer: customers, date: calendar}}\n"
)


def times(folder: Path, table: str) -> list[datetime.date]:
    manifest = DatasetManifest.load(folder / "out" / "manifest.yaml")
    column = pq.read_table(folder / "out" / "db" / f"{table}.parquet")[manifest.tables[table].time_col]
    return [value.date() for value in column.to_pylist()]


@pytest.mark.parametrize("notation", ["%Y-%m-%d", "%Y%m%d", "%Y-%m-%d 00:00:00"])
def test_a_calendar_dates_itself_and_the_facts_that_refer_to_it(tmp_path: Path, notation: str) -> None:
    lines = import_star(tmp_path, STAR, notation)
    assert times(tmp_path, "calendar") == DAYS
    assert times(tmp_path, "sales") == sorted(day for _, _, day in SALES)
    assert (
        "sales: its key 'date' holds dates, so it is the time of the rows too, written beside the key as 'date_time'"
        in lines
    )
    store = materialize(open_dataset(tmp_path / "out"), tmp_path / "stores", StoreConfig())
    by_hand = sum(day <= datetime.date(2024, 1, 25) for _, _, day in SALES)
    assert store.schema.tables["sales"].num_rows_up_to_cutoff == by_hand == 38
    links = store.graph.key_parent(("sales", "date", "calendar"))  # the key is a key still
    assert [DAYS[row] for row in links] == times(tmp_path, "sales")


def test_the_key_column_that_dates_a_table_can_be_named(tmp_path: Path) -> None:
    import_star(tmp_path, STAR.replace("sales: {", "sales: {time_col: date, "))
    assert times(tmp_path, "sales") == sorted(day for _, _, day in SALES)
    with pytest.raises(ImportRefused, match="'sales', time column 'customer': it is a key, and not each"):
        import_star(tmp_path / "no", STAR, time_cols={"sales": "customer"})


def test_a_calendar_with_other_dates_is_dated_by_its_key(tmp_path: Path) -> None:
    import_star(tmp_path, STAR, calendar=",2023-01-01")
    assert times(tmp_path, "calendar") == DAYS


def test_a_time_that_agrees_with_the_day_key_is_the_time_and_another_makes_doubt(tmp_path: Path) -> None:
    import_star(tmp_path / "same", STAR, sales=",{} 12:30:00")
    assert DatasetManifest.load(tmp_path / "same" / "out" / "manifest.yaml").tables["sales"].time_col == "at"
    with pytest.raises(ImportRefused, match="sales: at, date"):
        import_star(tmp_path / "other", STAR, sales=",2024-03-01")


def test_integers_of_eight_digits_are_days_only_where_a_name_says_so(tmp_path: Path) -> None:
    script = (
        "CREATE TABLE part (no INTEGER PRIMARY KEY); CREATE TABLE use (id INTEGER PRIMARY KEY, part INTEGER REFERENCES part, at DATETIME);"
        "INSERT INTO part VALUES (20240101), (20240102); INSERT INTO use VALUES (1, 20240101, '2024-01-01'), (2, 20240102, '2024-01-03')"
    )
    config = ImportConfig(
        source=sqlite_file(tmp_path / "p.db", script),
        out=tmp_path / "out",
        name="p",
        val_timestamp="2024-01-02",
        test_timestamp="2024-01-03",
    )
    import_database(config, None)
    assert DatasetManifest.load(tmp_path / "out" / "manifest.yaml").tables["part"].time_col is None


UNDATED = "customers: {pkey: id}\nsales: {pkey: id, time_col: null, fkeys: {customer: customers}}\ncalendar: {pkey: date, time_col: null}\n"


def test_a_database_in_which_nothing_has_a_time_is_refused_unless_the_user_says_so(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=r"no table has a time column(.|\n)*sales\.date \(times\)(.|\n)*--timeless"):
        import_star(tmp_path / "no", UNDATED)
    assert not (tmp_path / "no" / "out").exists()
    lines = import_star(tmp_path / "yes", UNDATED, timeless=True)
    assert "customers: no time column; its rows exist from: always there" in lines


def test_every_table_without_time_says_how_it_is_dated_and_what_was_not_taken(tmp_path: Path) -> None:
    lines = import_star(tmp_path, UNDATED.replace("calendar: {pkey: date, time_col: null}", "calendar: {pkey: date}"))
    assert "customers: no time column; its rows exist from: always there" in lines
    taken = "sales: no time column; its rows exist from: always there; not taken for its time: date (times); --time-cols sales COLUMN takes one"
    assert taken in lines
    assert not any(line.startswith("calendar: no time column") for line in lines)


LAST_ORDER = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, city TEXT, last_order INTEGER REFERENCES orders);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers, at DATETIME);
INSERT INTO customers VALUES (1, 'Oslo', 4), (2, 'Voss', 3), (3, 'Bergen', 5);
INSERT INTO orders VALUES (1, 1, '2024-01-01'), (2, 2, '2024-01-02'), (3, 2, '2024-02-20'), (4, 1, '2024-03-01'), (5, 3, '2024-01-03');
"""


def test_a_key_that_is_filled_in_later_is_said_left_out_of_dating_and_written_down(tmp_path: Path) -> None:
    config = ImportConfig(
        source=sqlite_file(tmp_path / "s.db", LAST_ORDER),
        out=tmp_path / "out",
        name="s",
        val_timestamp="2024-02-01",
        test_timestamp="2024-02-15",
    )
    lines: list[str] = []
    import_database(config, lines.append)
    said = [line for line in lines if line.startswith("customers.last_order: in 2 of 3 rows of customers")]
    assert len(said) == 1 and "filled in later" in said[0]
    assert "customers: no time column; its rows exist from: first reference from orders" in lines
    dataset = open_dataset(tmp_path / "out")
    assert read_table_settings(tmp_path / "out", dataset.manifest)["customers"].filled_later == ("last_order",)
    store = materialize(dataset, tmp_path / "stores", StoreConfig())
    assert store.schema.tables["customers"].num_rows_up_to_cutoff == 3
    assert "settings.yaml" in store.late_keys["customers.last_order"]["line"]


def import_sqlite(folder: Path, script: str, **options: object) -> tuple[DatasetManifest, list[str]]:
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    config = ImportConfig(
        source=sqlite_file(folder / "s.db", script),
        out=folder / "out",
        name="s",
        val_timestamp="2024-01-10",
        test_timestamp="2024-01-20",
        **options,  # type: ignore[arg-type]
    )
    import_database(config, lines.append)
    return DatasetManifest.load(folder / "out" / "manifest.yaml"), lines


ROLES = (
    "CREATE TABLE dim_date (date_key INTEGER PRIMARY KEY, full_date DATE, week_start DATE, year INTEGER);"
    "CREATE TABLE fact (id INTEGER PRIMARY KEY, ordered INTEGER REFERENCES dim_date, shipped INTEGER REFERENCES dim_date);"
    + "".join(f"INSERT INTO dim_date VALUES ({d:%Y%m%d}, '{d}', '2024-01-01', 2024);" for d in DAYS[:30])
    + "".join(f"INSERT INTO fact VALUES ({i}, {DAYS[i]:%Y%m%d}, {DAYS[i + 2]:%Y%m%d});" for i in range(25))
)


def test_two_days_of_one_fact_are_a_question_and_the_dimension_answers_itself(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="fact: ordered, shipped") as refused:
        import_sqlite(tmp_path / "asked", ROLES)
    assert "dim_date:" not in str(refused.value)  # its key is its day, whatever other dates it has
    options = {"time_cols": {"fact": "ordered", "dim_date": "date_key"}}
    manifest, _ = import_sqlite(tmp_path / "told", ROLES, **options)
    assert (manifest.tables["fact"].time_col, manifest.tables["dim_date"].time_col) == ("ordered_time", "date_key_time")
    assert manifest.tables["fact"].fkeys == {"ordered": "dim_date", "shipped": "dim_date"}


def test_a_fact_that_has_the_day_only_in_its_calendar_is_dated_by_it(tmp_path: Path) -> None:
    script = (
        "CREATE TABLE calendar (day_id INTEGER PRIMARY KEY, day DATE);"
        "CREATE TABLE visit (no INTEGER PRIMARY KEY, day_id INTEGER REFERENCES calendar);"
        + "".join(f"INSERT INTO calendar VALUES ({i}, '{d}');" for i, d in enumerate(DAYS))
        + "".join(f"INSERT INTO visit VALUES ({i}, {i % 40});" for i in range(50))
    )
    manifest, lines = import_sqlite(tmp_path, script)
    assert (manifest.tables["calendar"].time_col, manifest.tables["visit"].time_col) == ("day", None)
    assert "visit: no time column; its rows exist from: its calendar" in lines


LATE = {
    "the best review": (
        "CREATE TABLE product (id INTEGER PRIMARY KEY, best INTEGER REFERENCES review);"
        "CREATE TABLE review (id INTEGER PRIMARY KEY, product INTEGER REFERENCES product, at DATETIME);"
        "INSERT INTO product VALUES (1, 3), (2, 2);"
        "INSERT INTO review VALUES (1, 1, '2024-01-01'), (2, 2, '2024-01-02'), (3, 1, '2024-01-15');",
        "product.best: in 1 of 2 rows",
    ),
    "the session's last event": (
        "CREATE TABLE session (id INTEGER PRIMARY KEY, device TEXT, last INTEGER REFERENCES event);"
        "CREATE TABLE event (id INTEGER PRIMARY KEY, session INTEGER REFERENCES session, at DATETIME);"
        "INSERT INTO session VALUES (1, 'a', 2), (2, 'b', 3);"
        "INSERT INTO event VALUES (1, 1, '2024-01-01 10:00:00'), (2, 1, '2024-01-01 10:00:05'), (3, 2, '2024-01-01 11:00:00');",
        "session.last: in 1 of 2 rows",
    ),
    "the cart's order": (
        "CREATE TABLE cart (id INTEGER PRIMARY KEY, placed_as INTEGER REFERENCES placed);"
        "CREATE TABLE placed (id INTEGER PRIMARY KEY, at DATETIME);"
        "CREATE TABLE click (cart INTEGER REFERENCES cart, at DATETIME);"
        "INSERT INTO cart VALUES (1, 1), (2, NULL), (3, 2); INSERT INTO placed VALUES (1, '2024-01-05'), (2, '2024-01-08');"
        "INSERT INTO click VALUES (1, '2024-01-02'), (2, '2024-01-03'), (3, '2024-01-04'), (1, '2024-01-05');",
        "cart.placed_as: in 2 of 2 rows",
    ),
    "through lines that have no time": (
        "CREATE TABLE buyer (id INTEGER PRIMARY KEY, last_line INTEGER REFERENCES line);"
        "CREATE TABLE bill (id INTEGER PRIMARY KEY, buyer INTEGER REFERENCES buyer, at DATETIME);"
        "CREATE TABLE line (id INTEGER PRIMARY KEY, bill INTEGER REFERENCES bill);"
        "INSERT INTO buyer VALUES (1, 2), (2, 3); INSERT INTO bill VALUES (1, 1, '2024-01-01'), (2, 1, '2024-01-12'), (3, 2, '2024-01-05');"
        "INSERT INTO line VALUES (1, 1), (2, 2), (3, 3);",
        "buyer.last_line: in 1 of 2 rows",
    ),
}


@pytest.mark.parametrize("name", LATE)
def test_keys_that_are_filled_in_later_are_found_in_many_guises(tmp_path: Path, name: str) -> None:
    script, expected = LATE[name]
    manifest, lines = import_sqlite(tmp_path, script)
    assert [line[: len(expected)] for line in lines if "filled in later" in line] == [expected]
    table = expected.split(".")[0]
    assert any(line.startswith(f"{table}: no time column; its rows exist from: first reference from") for line in lines)


@pytest.mark.parametrize(
    "script",
    [
        # An order line is there with its order, and shipped later.
        "CREATE TABLE bill (id INTEGER PRIMARY KEY, at DATETIME); CREATE TABLE line (id INTEGER PRIMARY KEY, bill INTEGER REFERENCES bill);"
        "CREATE TABLE parcel (line INTEGER REFERENCES line, at DATE); INSERT INTO bill VALUES (1, '2024-01-01 15:00:00'), (2, '2024-01-02 16:00:00');"
        "INSERT INTO line VALUES (1, 1), (2, 2); INSERT INTO parcel VALUES (1, '2024-01-01'), (2, '2024-01-03');",
        # A tree of categories that refers to itself only.
        "CREATE TABLE category (id INTEGER PRIMARY KEY, up INTEGER REFERENCES category); CREATE TABLE sale (id INTEGER PRIMARY KEY, category INTEGER"
        " REFERENCES category, at DATETIME); INSERT INTO category VALUES (1, NULL), (2, 1), (3, 2);"
        "INSERT INTO sale VALUES (1, 1, '2024-01-05'), (2, 2, '2024-01-02'), (3, 3, '2024-01-03');",
    ],
)
def test_keys_that_are_known_with_their_row_are_left_alone(tmp_path: Path, script: str) -> None:
    _, lines = import_sqlite(tmp_path, script)
    assert not [line for line in lines if "filled in later" in line]
    assert not (tmp_path / "out" / "settings.yaml").exists()


@pytest.mark.parametrize("notation", ["%d.%m.%Y", "%m/%d/%Y", "%Y/%m/%d"])
def test_a_calendar_in_another_notation_gives_time_too(tmp_path: Path, notation: str) -> None:
    import_star(tmp_path, STAR, notation)
    assert times(tmp_path, "calendar") == DAYS
    assert times(tmp_path, "sales") == sorted(day for _, _, day in SALES)


def test_an_unknown_member_of_a_calendar_has_no_time_and_is_said(tmp_path: Path) -> None:
    source = tmp_path / "x.db"
    days = ", ".join(f"({day:%Y%m%d})" for day in DAYS)
    sales = ", ".join(f"({i}, {-1 if i == 7 else f'{day:%Y%m%d}'})" for i, _, day in SALES)
    url = sqlite_file(
        source,
        f"CREATE TABLE calendar (date_key INTEGER PRIMARY KEY); INSERT INTO calendar VALUES {days}, (-1); "
        "CREATE TABLE sales (id INTEGER PRIMARY KEY, date_key INTEGER REFERENCES calendar); "
        f"INSERT INTO sales VALUES {sales};",
    )
    lines: list[str] = []
    config = ImportConfig(
        source=url, out=tmp_path / "out", name="star", val_timestamp="2024-01-25", test_timestamp="2024-02-01"
    )
    import_database(config, lines.append)
    assert "sales.date_key: '-1' (1) are no dates: their rows have no time, and are never seen" in lines
    table = pq.read_table(tmp_path / "out" / "db" / "sales.parquet")
    assert table["date_key_time"].null_count == 1
    assert table["date_key_time"].to_pylist()[0].date() == min(day for i, _, day in SALES if i != 7)


@pytest.mark.parametrize("key", ["birth_date", "last_visit"])
def test_a_birthday_or_the_last_of_something_dates_no_row_as_a_key(tmp_path: Path, key: str) -> None:
    days = ", ".join(f"('{day}')" for day in DAYS)
    visits = ", ".join(f"({i}, {i % 2}, '{day}')" for i, day in enumerate(DAYS))
    url = sqlite_file(
        tmp_path / "x.db",
        f"CREATE TABLE calendar (date DATE PRIMARY KEY); INSERT INTO calendar VALUES {days}; "
        f"CREATE TABLE patients (id INTEGER PRIMARY KEY, {key} DATE REFERENCES calendar); "
        f"INSERT INTO patients VALUES (0, '{DAYS[30]}'), (1, '{DAYS[35]}'); "
        "CREATE TABLE visits (id INTEGER PRIMARY KEY, patient INTEGER REFERENCES patients, at DATE); "
        f"INSERT INTO visits VALUES {visits};",
    )
    config = ImportConfig(
        source=url, out=tmp_path / "out", name="clinic", val_timestamp="2024-01-25", test_timestamp="2024-02-01"
    )
    report = import_database(config, None)
    assert report.tables["patients"].time_col is None
    assert any(note.startswith(f"patients.{key}: in 2 of 2 rows") for note in report.notes)


def test_columns_of_years_months_and_days_are_one_time(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    rows = [f"{i},{day.year},{day.month},{day.day}" for i, day in enumerate(DAYS)]
    (source / "visits.csv").write_text("\n".join(["id,year,month,day", *rows]))
    (tmp_path / "schema.yaml").write_text("visits: {pkey: id}\n")
    lines: list[str] = []
    config = ImportConfig(
        source=str(source), out=tmp_path / "out", name="clinic", val_timestamp="2024-01-25", test_timestamp="2024-02-01",
        schema_file=tmp_path / "schema.yaml",
    )  # fmt: skip
    import_database(config, lines.append)
    assert times(tmp_path, "visits") == DAYS
    assert any("dated by year and month and day together" in line for line in lines)

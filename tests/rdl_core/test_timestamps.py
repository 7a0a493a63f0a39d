"""Times become whole UNIX seconds that never let in the future, whatever their unit, zone and sign."""

import datetime
import math
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from rdl_core.timestamps import NO_TIME, seconds_of, series_to_unix_seconds, to_unix_seconds

TICKS_PER_S = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def random_ticks(unit: str, num: int = 500) -> list[int]:
    """Ticks between 1902 and 2037, among them every boundary around the epoch and around whole seconds."""
    per_s = TICKS_PER_S[unit]
    drawn: list[int] = np.random.default_rng(0).integers(-(2**31) * per_s, 2**31 * per_s, num).tolist()
    edges = [k * per_s + offset for k in (-2, -1, 0, 1, 2) for offset in (-1, 0, 1)]
    return drawn + edges


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Prague", "America/New_York", "+05:30"])
@pytest.mark.parametrize("unit", TICKS_PER_S)
def test_floor_and_ceil_in_every_unit_and_zone(unit: str, zone: str | None) -> None:
    ticks, per_s = random_ticks(unit), TICKS_PER_S[unit]
    column = pa.array(ticks, pa.int64()).cast(pa.timestamp(unit, tz=zone))  # Arrow keeps UTC ticks in any zone
    # Python's integers floor and never overflow: the oracle is exact
    assert to_unix_seconds(column, round_up=False).tolist() == [t // per_s for t in ticks]
    assert to_unix_seconds(column, round_up=True).tolist() == [-(-t // per_s) for t in ticks]


def test_units_agree_on_whole_seconds() -> None:
    seconds = random_ticks("s")
    for unit, per_s in TICKS_PER_S.items():
        column = pa.array([s * per_s for s in seconds], pa.timestamp(unit))
        for round_up in (True, False):
            converted = to_unix_seconds(column, round_up=round_up)
            assert converted.dtype == np.int64 and converted.tolist() == seconds


def test_extreme_ticks_do_not_wrap() -> None:
    low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    column = pa.array([low, low + 1, high], pa.timestamp("ns"))
    assert to_unix_seconds(column, round_up=False).tolist() == [t // 10**9 for t in (low, low + 1, high)]
    assert to_unix_seconds(column, round_up=True).tolist() == [-(-t // 10**9) for t in (low, low + 1, high)]


def test_no_row_sees_the_future() -> None:
    """All pairs of row and seed times on a grid of 1/4 s around the epoch: whatever is let in was truly before."""
    ticks = list(range(-12, 13))
    column = pa.array([t * 250 for t in ticks], pa.timestamp("ms"))
    row_s, seed_s = to_unix_seconds(column, round_up=True), to_unix_seconds(column, round_up=False)
    num_visible = 0
    for row, r in zip(ticks, row_s, strict=True):
        for seed, s in zip(ticks, seed_s, strict=True):
            num_visible += r < s
            assert not (r < s and row >= seed)  # strictly before the seed
            assert not (r <= s and row > seed)  # at or before the cutoff
            if row % 4 == 0 and seed % 4 == 0:  # whole seconds lose nothing
                assert (r < s) == (row < seed) and (r <= s) == (row <= seed)
            assert r < s or seed - row < 8  # never loses a row two seconds old
    assert num_visible > 100


def test_hours_around_daylight_saving() -> None:
    """The clock of Prague shows 02:30 twice on 2021-10-31 and never on 2021-03-28; the seconds run on."""
    zone = ZoneInfo("Europe/Prague")
    first = datetime.datetime(2021, 10, 31, 2, 30, tzinfo=zone, fold=0)
    second = first.replace(fold=1)
    spring = [datetime.datetime(2021, 3, 28, hour, 59, tzinfo=zone) for hour in (1, 3)]
    column = pa.array([first, second, *spring], pa.timestamp("us", tz="Europe/Prague"))
    converted = to_unix_seconds(column, round_up=True)
    assert converted[1] - converted[0] == 3600 and converted[3] - converted[2] == 3600
    assert converted[0] == datetime.datetime(2021, 10, 31, 0, 30, tzinfo=datetime.UTC).timestamp()


def test_without_zone_means_utc() -> None:
    naive, aware = pd.Timestamp("2021-07-01 12:00"), pd.Timestamp("2021-07-01 12:00", tz="UTC")
    assert seconds_of(naive) == seconds_of(aware) == 1625140800
    assert seconds_of(aware.tz_convert("America/New_York")) == 1625140800
    assert seconds_of("2021-07-01T14:00+02:00") == 1625140800


@pytest.mark.parametrize("arrow_type", [pa.date32(), pa.date64()])
def test_dates_are_midnight_utc(arrow_type: pa.DataType) -> None:
    dates = [
        datetime.date(1969, 12, 31),
        datetime.date(1970, 1, 1),
        None,
        datetime.date(2005, 1, 1),
        datetime.date(1, 1, 1),
    ]
    expected = [-86400, 0, NO_TIME, 1104537600, -62135596800]
    for round_up in (True, False):
        assert to_unix_seconds(pa.array(dates, arrow_type), round_up=round_up).tolist() == expected


@pytest.mark.parametrize("arrow_type", [pa.timestamp("s"), pa.timestamp("ns", tz="UTC"), pa.date32(), pa.date64()])
def test_null_is_no_time_and_lengths_are_kept(arrow_type: pa.DataType) -> None:
    one = pa.array([datetime.date(1970, 1, 2)]).cast(pa.timestamp("s")).cast(arrow_type)
    none, empty = pa.nulls(2, arrow_type), pa.nulls(0, arrow_type)
    chunked = pa.chunked_array([one, none, empty, one])
    for round_up in (True, False):
        assert to_unix_seconds(chunked, round_up=round_up).tolist() == [86400, NO_TIME, NO_TIME, 86400]
        assert to_unix_seconds(chunked.slice(2), round_up=round_up).tolist() == [NO_TIME, 86400]
        assert to_unix_seconds(none, round_up=round_up).tolist() == [NO_TIME, NO_TIME]
        assert to_unix_seconds(pa.chunked_array([], arrow_type), round_up=round_up).shape == (0,)
    assert np.iinfo(np.int64).max == NO_TIME


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["2020-01-01"]),
        pa.array([1_600_000_000]),
        pa.array([1.5]),
        pa.array([True]),
        pa.nulls(2),
        pa.array([60], pa.time32("s")),
        pa.array([60], pa.duration("s")),
        pa.array([datetime.date(2020, 1, 1)]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type)[:12],
)
def test_what_is_no_time_is_refused(column: pa.Array) -> None:
    with pytest.raises(
        TypeError, match="expected a column of timestamps or dates, got .*store the times as timestamps"
    ):
        to_unix_seconds(column, round_up=True)


def test_seconds_of_rounds_down() -> None:
    assert seconds_of("1970-01-01 00:00:01.999999999") == 1
    assert seconds_of("1969-12-31 23:59:59.999999999") == -1
    assert seconds_of(datetime.date(2005, 1, 1)) == seconds_of("2005-01-01") == 1104537600
    for unit in TICKS_PER_S:
        assert seconds_of(pd.Timestamp("1950-05-13").as_unit(unit)) == math.floor(
            (datetime.datetime(1950, 5, 13, tzinfo=datetime.UTC) - EPOCH).total_seconds()
        )


@pytest.mark.parametrize("value", [5, 5.0, None, np.datetime64("2020-01-01"), "soon", "", "NaT", pd.NaT])
def test_seconds_of_refuses_what_is_no_time(value: object) -> None:
    with pytest.raises(TypeError, match="expected a time, got .*pass a pd.Timestamp or ISO text"):
        seconds_of(value)


SEEDS = ["1969-12-31 23:59:59.5", "2020-02-29 12:00:00.999", "2021-07-01 00:00:00"]
SEED_SECONDS = [-1, 1582977600, 1625097600]


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Prague"])
@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_series_of_datetime64_round_down(unit: str, zone: str | None) -> None:
    series = pd.Series(pd.to_datetime(SEEDS, utc=True, format="ISO8601")).dt.as_unit(unit)
    series = series.dt.tz_convert(zone) if zone else series.dt.tz_localize(None)
    assert series_to_unix_seconds(series).tolist() == SEED_SECONDS


def test_series_of_objects_arrow_and_seconds() -> None:
    stamps = [pd.Timestamp(text) for text in SEEDS]
    assert series_to_unix_seconds(pd.Series(stamps, dtype=object)).tolist() == SEED_SECONDS
    arrow = pd.Series(stamps, dtype=pd.ArrowDtype(pa.timestamp("us")))
    assert series_to_unix_seconds(arrow).tolist() == SEED_SECONDS
    assert series_to_unix_seconds(pd.Series(stamps[2:]).astype("datetime64[s]")).tolist() == SEED_SECONDS[2:]
    dates = pd.Series([datetime.date(1969, 12, 31), datetime.date(2021, 7, 1)], dtype=object)
    assert series_to_unix_seconds(dates).tolist() == [-86400, 1625097600]
    assert series_to_unix_seconds(pd.Series([], dtype=object)).dtype == np.int64
    shuffled = pd.Series(stamps, index=[7, 3, 5])  # by position, never by index
    assert series_to_unix_seconds(shuffled).tolist() == SEED_SECONDS


@pytest.mark.parametrize("values", [["2020-01-01"], [1.0], [3], ["2020-01-01", 3], [datetime.date(2020, 1, 1), "soon"]])
def test_series_of_no_times_are_refused(values: list[object]) -> None:
    with pytest.raises(TypeError, match="column 'seed_time': expected times"):
        series_to_unix_seconds(pd.Series(values, name="seed_time"))


@pytest.mark.parametrize("dtype", ["datetime64[us]", object])
def test_series_with_a_null_seed_is_refused(dtype: str | type) -> None:
    """NO_TIME as a seed time would make the whole database visible."""
    series = pd.Series([pd.Timestamp("2020-01-01"), pd.NaT], name="seed_time", dtype=dtype)
    with pytest.raises(ValueError, match="column 'seed_time', row 1: expected a seed time, got null; drop the row"):
        series_to_unix_seconds(series)

"""The schema diagram of the page: a box per table with its rows, key and time, an arc per foreign key, parents above their children.

A hundred tables give about 60 kB of SVG. The layers are those of the key graph, its circles taken together; within a layer, tables stand near the
tables that they refer to. Names are cut to the box and whole in a tooltip.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from xml.etree import ElementTree

import networkx

from distributed.import_report.report import TableReport

BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, PER_ROW = 176, 58, 26, 62, 6
MAX_LETTERS = 24
Place = tuple[float, float]


def draw_schema(tables: Mapping[str, TableReport], doubted: Collection[str] = ()) -> str:
    """Returns an SVG element.

    Args:
        tables: The imported tables.
        doubted: Tables that the leakage check has findings of; their boxes are marked.
    """
    places = _places(tables)
    width = max((x for x, _ in places.values()), default=0) + BOX_WIDTH + 40
    height = max((y for _, y in places.values()), default=0) + BOX_HEIGHT + 20
    svg = ElementTree.Element(
        "svg", {"viewBox": f"0 0 {width:.0f} {height:.0f}", "width": f"{width:.0f}", "role": "img", "class": "schema"}
    )
    for name, table in tables.items():
        for column, parent in table.fkey_col_to_pkey_table.items():
            if parent in places:
                _draw_key(svg, f"{name}.{column} → {parent}", places[name], places[parent])
    for name, table in tables.items():
        _draw_table(svg, name, table, places[name], name in doubted)
    return ElementTree.tostring(svg, encoding="unicode")


def _places(tables: Mapping[str, TableReport]) -> dict[str, Place]:
    """Returns the upper left corner of each box."""
    graph = networkx.DiGraph()
    graph.add_nodes_from(tables)
    for name, table in tables.items():
        graph.add_edges_from((parent, name) for parent in table.fkey_col_to_pkey_table.values() if parent in tables)
    circles = networkx.condensation(graph)
    places: dict[str, Place] = {}
    y = 10.0
    for layer in networkx.topological_generations(circles):
        members = sorted(name for number in layer for name in circles.nodes[number]["members"])
        members.sort(key=lambda name: _middle_of_parents(tables[name], places))
        for start in range(0, len(members), PER_ROW):
            for number, name in enumerate(members[start : start + PER_ROW]):
                places[name] = (20.0 + number * (BOX_WIDTH + GAP_X), y)
            y += BOX_HEIGHT + (GAP_Y if start + PER_ROW >= len(members) else GAP_Y / 3)
    return places


def _middle_of_parents(table: TableReport, places: Mapping[str, Place]) -> float:
    found = [places[parent][0] for parent in table.fkey_col_to_pkey_table.values() if parent in places]
    return sum(found) / len(found) if found else 0.0


def _draw_key(svg: ElementTree.Element, label: str, child: Place, parent: Place) -> None:
    if child == parent:
        x, y = child[0] + BOX_WIDTH, child[1] + BOX_HEIGHT / 2
        path = f"M{x:.0f} {y - 10:.0f}c26 0 26 20 0 20"
    else:
        x1, y1 = child[0] + BOX_WIDTH / 2, child[1]
        x2, y2 = parent[0] + BOX_WIDTH / 2, parent[1] + BOX_HEIGHT
        bend = max(24.0, abs(y1 - y2) / 2)
        path = f"M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 - bend:.0f} {x2:.0f} {y2 + bend:.0f} {x2:.0f} {y2:.0f}"
    arc = ElementTree.SubElement(svg, "path", {"d": path, "class": "key"})
    ElementTree.SubElement(arc, "title").text = label


def _draw_table(svg: ElementTree.Element, name: str, table: TableReport, place: Place, is_doubted: bool) -> None:
    x, y = place
    kind = "dated" if table.time_col else "undated"
    group = ElementTree.SubElement(svg, "g", {"class": f"table {kind}{' doubted' if is_doubted else ''}"})
    size = {"width": str(BOX_WIDTH), "height": str(BOX_HEIGHT), "rx": "5"}
    ElementTree.SubElement(group, "rect", {"x": f"{x:.0f}", "y": f"{y:.0f}", **size})
    lines = (
        (name, "name"),
        (f"{table.num_rows:,} rows, key {table.pkey_col or '–'}", "small"),
        (f"time {table.time_col or '–'}", "small"),
    )
    for number, (text, style) in enumerate(lines):
        where = {"x": f"{x + 8:.0f}", "y": f"{y + 17 + 16 * number:.0f}", "class": style}
        ElementTree.SubElement(group, "text", where).text = _cut(text)
    keys = "".join(f"\n{column} → {parent}" for column, parent in table.fkey_col_to_pkey_table.items())
    ElementTree.SubElement(group, "title").text = f"{name}\n{table.num_rows:,} rows{keys}"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LETTERS else text[: MAX_LETTERS - 1] + "…"

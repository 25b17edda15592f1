"""The figures of docs/cost.md are what the shipped prices and the formulas beside them give."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from batchscore.prices import shipped_prices

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "cost.md").read_text()
SCORING = ROOT / "scoring"
MONTH_HOURS = 730
OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def table(heading: str, first: str) -> list[list[str]]:
    """The rows of the table below a heading whose first column is called `first`, without its head."""
    chapter = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = chapter.split("\n")
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip(" *`") for cell in line.strip().strip("|").split("|")])
    return rows


def worth(text: str) -> float:
    """What an expression of numbers comes to."""

    def of(node: ast.expr) -> float:
        match node:
            case ast.Constant(value=int() | float() as number):
                return number
            case ast.BinOp(left=left, op=sign, right=right):
                return OPERATORS[type(sign)](of(left), of(right))
            case ast.Call(func=ast.Name(id="max"), args=arguments):
                return max(of(each) for each in arguments)
        raise AssertionError(f"{text} is no sum")

    return of(ast.parse(text, mode="eval").body)


def idle_s(cluster: str) -> float:
    document = yaml.safe_load((SCORING / "computes" / f"{cluster}.yml").read_text())
    return float(document["idle_time_before_scale_down"])


def overhead_s(gap_s: float, *, warm: bool) -> float:
    """Paid seconds of a node for a run, beside its work."""
    idle = idle_s("cpu-cluster")
    return gap_s if warm or gap_s <= idle else shipped_prices().node_start_s + idle


def price(size: str, *, low_priority: bool = False) -> float:
    found = shipped_prices().price(size, low_priority=low_priority)
    assert found is not None
    return found


def test_each_figure_of_an_idle_month_is_what_its_formula_gives() -> None:
    rows = table("While nothing runs", "What")[:-1]
    assert len(rows) > 8
    for what, how, *figures in rows:
        assert {figure for figure in figures if figure} == {f"{worth(how):.2f}"}, what


def test_as_much_is_counted_as_is_deployed() -> None:
    """The numbers of alerts, endpoints, zones and units are those of the templates."""
    modules = ROOT / "infra" / "modules"
    alerts = (modules / "alerts.bicep").read_text()
    always, hourly = alerts.split("var hourly = ")
    endpoints = (modules / "private-endpoints.bicep").read_text()
    stream = re.search(r"param streamingUnits int = (\d+)", (modules / "stream-analytics.bicep").read_text())
    assert stream
    assert "evaluationFrequency: 'PT15M'" in alerts
    assert "capacity: 1\n" in (modules / "event-hub.bicep").read_text()
    assert "alwaysReady: []" in (modules / "functions.bicep").read_text()
    for told in (
        f"Alerts: {always.count('displayName: ')} log queries, every 15 minutes",
        f"Alerts: {hourly.split('resource ')[0].count('displayName: ')} more",
        f"Private endpoints, {endpoints.count('    group: ')}",
        f"Private DNS zones, {endpoints.count(chr(39) + 'privatelink.')}",
        f"Stream Analytics, {stream[1]} streaming units",
    ):
        assert told in PAGE


def test_the_sums_of_an_idle_month_are_sums() -> None:
    *rows, sums = table("While nothing runs", "What")
    for column in range(2, 6):
        assert sums[column] == f"{sum(float(row[column] or 0) for row in rows):.2f}"


def test_the_break_even_is_that_of_the_shipped_clusters() -> None:
    assert idle_s("cpu-cluster") == idle_s("gpu-cluster")
    told = re.search(r"\*S \+ I\*, (\d+) seconds as shipped", PAGE)
    assert told
    assert float(told[1]) == shipped_prices().node_start_s + idle_s("cpu-cluster")
    assert (
        f"`node_start_s` in [`prices.yml`](../batchscore/prices.yml): {shipped_prices().node_start_s:.0f})"
        in PAGE
    )
    assert f"(`idle_time_before_scale_down`: {idle_s('cpu-cluster'):.0f})" in PAGE


def test_the_table_by_gaps_is_what_the_formula_gives() -> None:
    rows = table("Keep warm or scale to zero", "Minutes between runs")
    assert len(rows) > 5
    for minutes, *figures, verdict in rows:
        gap_s = float(minutes) * 60
        expected = [
            f"{price(size) * overhead_s(gap_s, warm=warm) / 3600:.3f}"
            for size in ("Standard_D16ads_v5", "Standard_NC4as_T4_v3")
            for warm in (False, True)
        ]
        assert figures == expected, minutes
        zero, warm_s = overhead_s(gap_s, warm=False), overhead_s(gap_s, warm=True)
        assert verdict == ("as dear" if zero == warm_s else "warm" if warm_s < zero else "to zero")


@pytest.mark.parametrize("row", table("Keep warm or scale to zero", "Node"), ids=lambda row: row[0])
def test_a_warm_month_costs_what_the_prices_say(row: list[str]) -> None:
    node, warm, runs = row
    size, tier = (part.strip(" `") for part in node.split(","))
    each = price(size, low_priority=tier == "low priority")
    assert warm == f"{each * MONTH_HOURS:.2f}"
    assert runs == f"{each * MONTH_HOURS * overhead_s(55 * 60, warm=False) / 3600:.2f}"

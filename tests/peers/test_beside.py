"""The benchmark that sends the same spans to Tenure, Phoenix and MLflow runs, with a few."""

from __future__ import annotations

import pytest

from bench.telemetry import beside, beside_report
from tests.peers.conftest import needs

pytestmark = [pytest.mark.timeout(1800), needs("phoenix"), needs("mlflow")]


@pytest.mark.parametrize("name", ["tenure", "phoenix", "mlflow"])
def test_the_same_spans_are_sent_and_found_whole(name: str) -> None:
    report = beside.run(200, [name], pauses=(0.0, 0.1))
    found = report["doors"][name]
    assert found["spans"] + found["killed"]["spans"] == report["spans"] > 200
    assert found["refused_spans"] == 0
    assert found["trace"]["whole"] == found["trace"]["opened"] > 0
    assert found["search_nowhere"]["hits"] == 0
    assert found["search_common"]["hits"] > 0
    assert name == "phoenix" or found["killed"]["gone"] == 0  # Phoenix answers before it writes
    assert beside_report.markdown(report).count(f"{found['acknowledged_per_s']:,}") >= 1
    assert beside_report.picture(report).startswith("<svg")

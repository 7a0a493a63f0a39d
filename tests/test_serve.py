"""The example server, asked over HTTP: the Predictor's answers, batches, refusals, and 429 when it is full."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from relbench.load import RelBenchDataset

from rdl_core import Predictor, finetune, load_task
from rdl_core.graph.store import Store


def ask(port: int, path: str, body: Any = None) -> tuple[int, Any]:
    """(status, JSON) of a GET, or of a POST with this body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")  # of Ray Serve 2.60's own settings
def test_a_server_answers_as_the_predictor_does_in_batches_refuses_what_is_wrong_and_says_when_it_is_full(
    ray_session: None, nasty_dataset: RelBenchDataset, nasty_store: Store, tmp_path: Path
) -> None:
    from ray import serve

    from examples.serve import application

    task, model = load_task(nasty_dataset, "team-points"), tmp_path / "model"
    finetune(None, nasty_store, task, preset="contrast", max_steps=2, out=model, on_validation=None)
    where = (str(model), str(nasty_dataset.dataset_dir), str(nasty_store.path))
    predictor = Predictor.load(*where[:2], store=where[2])
    port, teams = free_port(), list(range(10))
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    try:
        app = application(*where, max_batch_size=4, max_queued_requests=8)
        serve.run(app, name="predictions", route_prefix="/")
        assert ask(port, "/health") == (200, {"status": "alive"})
        status, about = ask(port, "/ready")
        assert (status, about["status"], about["task"]) == (200, "ready", "team-points")

        bodies: list[dict[str, Any]] = [{"keys": [team], "time": f"2020-06-{1 + team:02}"} for team in teams]
        bodies += [{"keys": teams}, {"keys": [3, 0], "time": ["2020-09-01", "2020-07-01"]}, {"keys": [99]}]
        with ThreadPoolExecutor(6) as clients:  # fewer than may wait
            answers = list(clients.map(lambda body: ask(port, "/predict", body), bodies))
        assert answers[-1][0] == 422
        assert "99 (teams.team_id). Remedy: " in answers[-1][1]["detail"]
        for body, (status, answer) in zip(bodies[:-1], answers, strict=False):
            assert status == 200, answer
            expected = predictor.predict(body["keys"], body.get("time"))
            assert [row["team_id"] for row in answer["predictions"]] == body["keys"]
            found = [row["prediction"] for row in answer["predictions"]]
            np.testing.assert_allclose(found, expected["prediction"], rtol=1e-6)
        about = ask(port, "/ready")[1]
        assert about["requests"] == len(bodies)
        assert about["batches"] < len(bodies)

        for body in ({"keys": []}, {"keys": [0], "time": "yesterday"}, {"keys": ["zero"]}, {"key": [0]}, [0]):
            status, answer = ask(port, "/predict", body)
            assert status == 422 and "detail" in answer, (body, answer)

        many = {"keys": teams * 200}
        with ThreadPoolExecutor(40) as clients:
            statuses = list(clients.map(lambda _: ask(port, "/predict", many)[0], range(40)))
        assert set(statuses) == {200, 429}
        assert ask(port, "/predict", {"keys": [0]})[0] == 200  # it has recovered
    finally:
        serve.shutdown()

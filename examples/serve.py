"""A fine-tuned model over HTTP, by Ray Serve. `python -m examples.serve --model runs/churn --data data/shop`

    POST /predict {"keys": ["C-00008"], "time": "2024-10-31"}    {"predictions": [{"customer_id": ..., "time": ..., "prediction": ...}]}
    GET  /health                                                 200 while the process lives
    GET  /ready                                                  200 once the model is loaded and answers, with what it is; else 503

`keys` are the source's own; `time` is one time, one per key, or left out: just after the last row. Answers are those of `Predictor.predict` (1e-6):
requests that arrive together are predicted as one batch. 422, with a message that says what to do: an unknown key, no time, a body of another form.
429: as many requests wait as may; try again after a second.
"""

# No `from __future__ import annotations`: FastAPI reads the types of bodies anew in each replica, where their names are not known.
import argparse
import asyncio
import json
from typing import Any

import pandas as pd
import ray
import torch
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field
from ray import serve
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from rdl_core import Predictor
from rdl_core.prediction.times import asked_seconds
from rdl_core.problems import InputError

MAX_KEYS = 10_000
"""Keys of one request; for more there is `rdl predict`."""
READY_TIMEOUT_S = 2.0
"""Seconds after which a model that does not answer is not ready."""

api = FastAPI(title="Predictions")


class Question(BaseModel):
    """The body of POST /predict."""

    keys: list[str | int | dict[str, Any]] = Field(min_length=1, max_length=MAX_KEYS)
    time: str | list[str] | None = None


Answer = list[dict[str, Any]] | InputError
"""A row per key, or why there is none."""


@serve.deployment
class Model:
    """A replica: one Predictor, which answers all requests that have arrived together at once."""

    def __init__(self, model: str, data: str, store: str | None, max_batch_size: int) -> None:
        torch.set_num_threads(1)
        self.predictor = Predictor.load(model, data, store=store)
        self.requests = self.batches = 0
        self.predict.set_max_batch_size(max_batch_size)  # type: ignore[attr-defined]

    @serve.batch(batch_wait_timeout_s=0.005)
    async def predict(self, questions: list[Question]) -> list[Answer]:
        """Returns the answer to each question; one that cannot be answered spoils no other."""
        self.requests, self.batches = self.requests + len(questions), self.batches + 1
        return await asyncio.to_thread(self._answers, questions)

    async def describe(self) -> dict[str, Any]:
        """Returns what answers, and how many requests in how many batches it has answered."""
        return {**self.predictor.describe(), "requests": self.requests, "batches": self.batches}

    def _answers(self, questions: list[Question]) -> list[Answer]:
        try:
            return self._together(questions)
        except InputError as error:
            return [error] if len(questions) == 1 else [self._answers([question])[0] for question in questions]

    def _together(self, questions: list[Question]) -> list[Answer]:
        tomorrow_s = self.predictor.tomorrow_s
        keys = [key for question in questions for key in question.keys]
        seconds = [s for q in questions for s in asked_seconds(q.time, len(q.keys), tomorrow_s=tomorrow_s).tolist()]
        predicted = self.predictor.predict(keys, pd.to_datetime(seconds, unit="s", utc=True))
        rows: list[dict[str, Any]] = json.loads(
            predicted.to_json(orient="records", date_format="iso", date_unit="s", double_precision=15)
        )
        waiting = iter(rows)
        return [[next(waiting) for _ in question.keys] for question in questions]


@serve.deployment
@serve.ingress(api)
class Service:
    """The HTTP side: it checks bodies, hands questions on, and says what went wrong."""

    def __init__(self, model: DeploymentHandle) -> None:
        self.model = model

    @api.post("/predict")
    async def predict(self, question: Question) -> dict[str, Any]:
        """Returns {"predictions": a row per key}."""
        try:
            answer: Answer = await self.model.predict.remote(question)
        except BackPressureError as error:
            raise HTTPException(429, "as many requests wait as may; try again", headers={"Retry-After": "1"}) from error
        if isinstance(answer, InputError):
            raise HTTPException(422, str(answer))
        return {"predictions": answer}

    @api.get("/health")
    async def health(self) -> dict[str, str]:
        """Says that the process lives."""
        return {"status": "alive"}

    @api.get("/ready")
    async def ready(self) -> dict[str, Any]:
        """Returns what answers; 503 while nothing does."""
        try:
            about: dict[str, Any] = await asyncio.wait_for(self.model.describe.remote(), READY_TIMEOUT_S)
        except BackPressureError:
            return {"status": "full"}
        except Exception as error:
            raise HTTPException(503, f"the model does not answer: {type(error).__name__} {error}") from error
        return {"status": "ready", **about}


def application(
    model: str,
    data: str,
    store: str | None = None,
    *,
    replicas: int = 1,
    max_batch_size: int = 64,
    max_queued_requests: int = 256,
) -> serve.Application:
    """Returns what `serve.run` runs.

    Args:
        model, data, store: As of `Predictor.load`, readable on every node.
        replicas: Processes that hold the model, one core each.
        max_batch_size: Most requests that one replica answers at once.
        max_queued_requests: Requests that may wait besides; one more gets 429.
    """
    models = Model.options(  # type: ignore[attr-defined]
        num_replicas=replicas,
        max_ongoing_requests=2 * max_batch_size,  # one batch is computed, the next one gathers
        max_queued_requests=max_queued_requests,
        ray_actor_options={"num_cpus": 1},
    ).bind(model, data, store, max_batch_size)
    many = 2 * (replicas * 2 * max_batch_size + max_queued_requests)  # it refuses, it never waits
    service: serve.Application = Service.options(  # type: ignore[attr-defined]
        max_ongoing_requests=many, ray_actor_options={"num_cpus": 0}
    ).bind(models)
    return service


def main() -> None:
    """Serves until it is interrupted."""
    parser = argparse.ArgumentParser(description="Serve a fine-tuned model over HTTP.")
    parser.add_argument("--model", required=True, help="folder that `rdl finetune` printed as its 'checkpoint'")
    parser.add_argument("--data", required=True, help="dataset folder")
    parser.add_argument("--store", help="its store; by default the one in runs/stores, made if there is none")
    parser.add_argument("--host", default="127.0.0.1", help="address that is listened on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port (default: %(default)s)")
    parser.add_argument("--replicas", type=int, default=1, help="processes, one core each (default: %(default)s)")
    options = parser.parse_args()
    if not ray.is_initialized():
        ray.init(include_dashboard=False)
    serve.start(http_options={"host": options.host, "port": options.port})
    app = application(options.model, options.data, options.store, replicas=options.replicas)
    serve.run(app, name="predictions", route_prefix="/", blocking=True)


if __name__ == "__main__":
    main()

"""Threads that take frames, preprocess them and run the model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from edge_runtime.classifier import Classifier, Prediction
from edge_runtime.loop.feeding import Feeder, PictureFeeder
from edge_runtime.loop.inbox import Captured, Inbox
from edge_runtime.loop.outbox import Outbox, Ticket
from edge_runtime.loop.region import Region
from edge_runtime.loop.results import Result, Stages
from edge_runtime.sources import SourceEvent

Delivery = tuple[int, "Result | SourceEvent"]


class Pool:
    """Worker threads with an engine each, which share one order."""

    def __init__(
        self,
        loaders: Sequence[Callable[[], Classifier]],
        inbox: Inbox,
        outbox: Outbox[Delivery],
        *,
        batch: int = 1,
        region: Region | None = None,
        feeder: Feeder | None = None,
    ) -> None:
        """Args:
        loaders: one for each worker, called in its thread: loading takes a while.
        feeder: makes inputs of frames; `None`: each is one.
        """
        feeder = feeder or PictureFeeder()
        order = threading.Lock()
        self._outbox, self._inbox = outbox, inbox
        self._working = len(loaders)
        self._counting = threading.Lock()
        self.threads = [
            threading.Thread(
                target=self._run,
                args=(
                    Worker(
                        load,
                        inbox,
                        outbox,
                        order=order,
                        batch=batch,
                        region=region,
                        feeder=feeder,
                    ),
                ),
                name=f"edgeproof-worker-{number}",
                daemon=True,
            )
            for number, load in enumerate(loaders)
        ]

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def _run(self, worker: Worker) -> None:
        error: BaseException | None = None
        try:
            worker.run()
        except BaseException as exc:  # raised again where answers are taken
            error = exc
            self._inbox.close()
        with self._counting:
            self._working -= 1
            if error is not None or self._working == 0:
                self._outbox.complete(error)


class Worker:
    """Answers frames one batch after another with an engine of its own."""

    def __init__(
        self,
        classifier: Callable[[], Classifier],
        inbox: Inbox,
        outbox: Outbox[Delivery],
        *,
        order: threading.Lock,
        feeder: Feeder,
        batch: int = 1,
        region: Region | None = None,
    ) -> None:
        """Args:
        classifier: called in the worker's thread: loading takes a while.
        order: shared by all workers; frames and places in the order are taken together.
        """
        self._load, self._inbox, self._outbox = classifier, inbox, outbox
        self._order, self._batch, self._region = order, batch, region
        self._feeder = feeder

    def run(self) -> None:
        """Work until there are no more frames; what goes wrong is raised by the outbox."""
        classifier = self._load()
        while True:
            with self._order:
                ticket = self._outbox.reserve()
                if ticket is None:
                    return
                try:
                    taken = self._inbox.take(self._batch)
                except BaseException as exc:  # raised again where answers are taken
                    self._outbox.fail(ticket, exc)
                    return
                ticket.begun_s = time.perf_counter()
            if not taken:
                self._outbox.fill(ticket, [])
                return
            try:
                self._outbox.fill(ticket, self._answers(classifier, taken, ticket))
            except BaseException as exc:  # likewise
                self._outbox.fail(ticket, exc)
                self._inbox.close()
                return

    def _answers(
        self, classifier: Classifier, taken: Sequence[Captured], ticket: Ticket[Delivery]
    ) -> list[Delivery]:
        start = ticket.begun_s or time.perf_counter()
        fed = self._feeder.feed(taken, lambda bgr: self._seen(classifier, bgr))
        good = [f for f in fed if f.input is not None]
        inputs = [f.input for f in fed if f.input is not None]
        ready = time.perf_counter()
        rows: Sequence[np.ndarray] | np.ndarray = (
            classifier.probabilities(_stacked(inputs)) if inputs else ()
        )
        done = time.perf_counter()
        infer_ms = (done - ready) * 1e3
        answered = iter(
            _prediction(classifier, row, f.preprocess_ms, infer_ms)
            for row, f in zip(rows, good, strict=True)
        )
        offset = time.time() - done
        deliveries: list[Delivery] = []
        for each in fed:
            captured = each.captured
            frame = captured.frame
            prediction = None if each.input is None else next(answered)
            result = Result(
                frame=frame,
                prediction=prediction,
                age_ms=(done - frame.captured_s) * 1e3,
                fps=0.0,
                stages=Stages(
                    capture_ms=captured.capture_ms,
                    wait_ms=(start - frame.captured_s) * 1e3,
                    preprocess_ms=prediction.preprocess_ms if prediction else 0.0,
                    infer_ms=infer_ms if prediction else 0.0,
                    batch=len(good) if prediction else 0,
                ),
                captured_at=offset + frame.captured_s,
                answered_s=done,
            )
            deliveries.append((captured.source, result))
        return deliveries

    def _seen(self, classifier: Classifier, bgr: np.ndarray) -> np.ndarray:
        seen = self._region.crop(bgr) if self._region else bgr
        return classifier.bundle.preprocess(seen)


def _stacked(inputs: list[np.ndarray]) -> np.ndarray:
    # One picture needs no copy.
    return inputs[0][np.newaxis] if len(inputs) == 1 else np.stack(inputs)


def _prediction(
    classifier: Classifier, probabilities: np.ndarray, preprocess_ms: float, infer_ms: float
) -> Prediction:
    index = int(probabilities.argmax())
    return Prediction(
        label=classifier.bundle.labels[index],
        index=index,
        score=float(probabilities[index]),
        probabilities=probabilities,
        preprocess_ms=preprocess_ms,
        infer_ms=infer_ms,
    )

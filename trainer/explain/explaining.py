"""Explaining pictures and videos: overlays as files, all of it on one page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_runtime.clip import Clip, film_strip
from edge_runtime.errors import ImageError, SourceError, did_you_mean
from edge_runtime.files import write_bytes, write_text
from edge_runtime.images import decode_image
from edge_runtime.loop.results import Answer, Result
from edge_runtime.manifest import MANIFEST_NAME
from edge_runtime.page import render_page, thumbnail_data_uri
from edge_runtime.progress import progress_bar
from edge_runtime.sinks.video import VideoSink
from edge_runtime.sources import Frame, Source, open_source
from edge_runtime.text import printable
from trainer.errors import OptionError
from trainer.examining import load_run_model
from trainer.explain.attribution import Attribution, grad_cam, integrated_gradients
from trainer.explain.clips import clips_of
from trainer.explain.opened import MapLayer, OpenedModel
from trainer.explain.overlays import (
    LONGEST_SIDE,
    attribution_on_frame,
    filter_grid,
    heat_on_frame,
    map_grid,
    screen_sized,
)
from trainer.record import TrainingRecord, read_record

TEMPLATE = Path(__file__).parent.parent / "templates" / "explain.html.j2"
REPORT_NAME, RECORD_NAME = "explain.html", "explain.json"
# Of a video so many frames, or clips, are taken apart; Grad-CAM is laid over all of them.
KEY_FRAMES = 4
_THUMBNAIL_SIDE = 320
_PAGE_PICTURES = 24
# What `open_source` has its own words for.
_CAMERA_OR_ADDRESS = re.compile(r"\d+$|csi|replay:|\w+://")


@dataclass(frozen=True)
class ExplainOptions:
    """What to explain.

    Attributes:
        label: which label's reasons to look for; `None`: the answer's own.
        pictures: at most so many pictures of a folder, evenly from the first to the last.
        max_frames: at most so many frames of a video.
    """

    label: str | None = None
    pictures: int = 16
    max_frames: int | None = None


@dataclass(frozen=True)
class Explained:
    """One picture, frame or clip.

    Attributes:
        name: file, or place in a video.
        label: whose reasons are shown; `score` is the probability that the model gives it.
        change: its score before softmax, less that of a black picture; `gap`: how much of that the
            integrated gradients miss, as a fraction; after `steps` steps.
        files: what was written, by kind.
        uris: the same for the page, smaller.
    """

    name: str
    answer: str
    answer_score: float
    label: str
    score: float
    change: float
    gap: float
    steps: int
    files: dict[str, str]
    uris: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Explanation:
    """What came of it: files, and what could not be read."""

    written: list[Path]
    skipped: list[str]

    @property
    def outputs(self) -> list[Path]:
        """What a person wants named of all the files."""
        return [path for path in self.written if path.suffix in (".html", ".json", ".mp4")]


def explain(run: Path, spec: str | Path, out: Path, options: ExplainOptions) -> Explanation:
    """Explain a run's answers.

    Raises:
        OptionError: for a label that the model does not know, or a bundle in place of a run.
        SourceError: when nothing can be read.
        ResumeError: when the run is damaged.
    """
    if (run / MANIFEST_NAME).is_file():
        raise OptionError(f"{run}: is a bundle; explain takes the run that it was made of.")
    record = read_record(run)
    wanted = None if options.label is None else _index(options.label, record.labels)
    if not _CAMERA_OR_ADDRESS.match(str(spec)) and not Path(spec).exists():
        raise SourceError(
            f"{spec}: no such file or folder; name a picture, a folder of them, or a video."
        )
    source = open_source(spec)
    if source.live:
        source.close()
        raise SourceError(f"{source.name}: is a camera; explain takes pictures or a video.")
    if record.clip and source.fps is None:
        source.close()
        raise SourceError(f"{source.name}: is no video, and {run} looks at clips; give it one.")
    model = OpenedModel(load_run_model(run, record), record.head, len(record.labels))
    work = _Work(record, model, out, wanted, source)
    try:
        if source.fps is None:
            work.explain_pictures(options.pictures)
        elif record.clip:
            work.explain_clips(record.clip, options.max_frames)
        else:
            work.explain_video(options.max_frames)
    finally:
        source.close()
    written = work.write(run)
    return Explanation(written, [*work.skipped, *source.skipped])


def _index(label: str, labels: tuple[str, ...]) -> int:
    if label not in labels:
        hint = did_you_mean(label, labels)
        known = ", ".join(map(printable, labels[:10])) + ", …" * (len(labels) > 10)
        raise OptionError(f"--label: the model knows no {label!r}.{hint} It knows {known}.")
    return labels.index(label)


class _Work:
    """What is under way."""

    def __init__(
        self,
        record: TrainingRecord,
        model: OpenedModel,
        out: Path,
        wanted: int | None,
        source: Source,
    ) -> None:
        self._record, self._model, self._out, self._wanted = record, model, out, wanted
        self._source = source
        self.done: list[Explained] = []
        self.written: list[Path] = []
        self.skipped: list[str] = []
        self._video = ""

    def explain_pictures(self, most: int) -> None:
        """So many of the source's pictures, from all over; others for those that are unreadable."""
        files = list(self._source.files)
        count = min(most, len(files))
        even = np.linspace(0, len(files) - 1, count).round().astype(int).tolist()
        with progress_bar("explaining", count) as advance:
            for number in dict.fromkeys([*even, *range(len(files))]):
                if len(self.done) == count:
                    break
                file = files[number]
                try:
                    frame_bgr = decode_image(file)
                except ImageError as exc:
                    self.skipped.append(str(exc))
                    continue
                pixels = self._record.preprocess(frame_bgr)
                stem = f"{len(self.done):02}-{file.stem}"
                self._take_apart(frame_bgr, pixels, file.name, stem)
                advance(1)

    def explain_video(self, max_frames: int | None) -> None:
        """Grad-CAM over every frame as a video; a few frames taken apart."""
        keys = _evenly(min(self._source.frame_count or 0, max_frames or 1 << 62))
        with self._video_of_heat(self._source.fps or 25.0) as show:
            for frame in self._frames(max_frames):
                pixels = self._record.preprocess(frame.bgr)
                show(self._overlaid(frame.bgr, pixels))
                if frame.index in keys:
                    name = f"{self._stem}-{frame.index:05}"
                    self._take_apart(frame.bgr, pixels, f"frame {frame.index}", name)

    def explain_clips(self, clip: Clip, max_frames: int | None) -> None:
        """Grad-CAM over one clip after the other as a video; a few clips taken apart."""
        fps = self._source.fps or 25.0
        count = min(self._source.frame_count or 0, max_frames or 1 << 62)
        keys = _evenly(int(count / fps / (clip.span_s + 1 / clip.fps)))
        with self._video_of_heat(clip.fps) as show:
            clips = clips_of(self._frames(max_frames), clip, self._record.preprocess, fps)
            for number, (shown, pixels, start_s) in enumerate(clips):
                show(self._overlaid(shown, pixels))
                if number in keys:
                    name = f"{start_s:.1f} to {start_s + clip.span_s:.1f} s"
                    self._take_apart(shown, pixels, name, f"{self._stem}-{number:03}")

    def _frames(self, max_frames: int | None) -> Iterator[Frame]:
        count = min(self._source.frame_count or 0, max_frames or 1 << 62)
        with progress_bar("explaining", count or None) as advance:
            for frame in self._source:
                if max_frames is not None and frame.index >= max_frames:
                    return
                yield frame
                advance(1)

    @property
    def _stem(self) -> str:
        return Path(self._source.name).stem

    @contextmanager
    def _video_of_heat(self, fps: float) -> Iterator[Callable[[Sequence[Result]], None]]:
        path = self._out / f"{self._stem}-gradcam.mp4"
        sink = VideoSink(path, fps=fps)

        def show(results: Sequence[Result]) -> None:
            for result in results:
                sink.write(result)

        try:
            yield show
        finally:
            sink.close()
        self.written.append(path)
        self._video = path.name

    def _overlaid(self, shown: np.ndarray, pixels: np.ndarray) -> list[Result]:
        """A frame, or each of a clip's, under its heat, with the answer that is explained."""
        labels, probabilities = self._record.labels, self._given(pixels)
        label = int(probabilities.argmax()) if self._wanted is None else self._wanted
        heat = grad_cam(self._model, pixels, label)
        overlay = heat_on_frame(shown, heat, self._record.preprocess)
        answer = Answer(labels[label], label, float(probabilities[label]), probabilities)
        return [
            Result(Frame(bgr, 0, 0.0), None, age_ms=0.0, fps=0.0, answer=answer)
            for bgr in overlay.reshape(-1, *overlay.shape[-3:])
        ]

    def _given(self, pixels: np.ndarray) -> np.ndarray:
        """The model's probabilities at its temperature, as `run` shows them: (labels,)."""
        answered = self._model.probabilities(pixels[np.newaxis])
        temperature = self._record.temperature
        return np.asarray((temperature(answered) if temperature else answered)[0])

    def _take_apart(self, shown: np.ndarray, pixels: np.ndarray, name: str, stem: str) -> None:
        """A picture, or a clip: its frames for people, and what the model is given."""
        record, model = self._record, self._model
        probabilities = self._given(pixels)
        best = int(probabilities.argmax())
        label = best if self._wanted is None else self._wanted
        attribution = integrated_gradients(model, pixels, label)
        heat = heat_on_frame(shown, grad_cam(model, pixels, label), record.preprocess)
        tinted = attribution_on_frame(shown, attribution.values, record.preprocess)
        pictures = {
            "picture": screen_sized(film_strip(shown)),
            "gradcam": screen_sized(film_strip(heat)),
            "integrated": screen_sized(film_strip(tinted)),
            **self._maps(pixels),
        }
        files = {
            k: self._write(f"{stem}-{k}.png", p) for k, p in pictures.items() if k != "picture"
        }
        side = LONGEST_SIDE if record.clip else _THUMBNAIL_SIDE
        on_page = pictures if len(self.done) < _PAGE_PICTURES else {}
        uris = {kind: thumbnail_data_uri(picture, side) for kind, picture in on_page.items()}
        self.done.append(
            _explained(name, record.labels, probabilities, (best, label), attribution, files, uris)
        )

    def _maps(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        chosen = _first_middle_last(self._model.layers)
        found = self._model.activations(pixels[np.newaxis], chosen)
        return {
            f"activations-{n}-{layer.name}": map_grid(maps)
            for n, (layer, maps) in enumerate(zip(chosen, found, strict=True), 1)
        }

    def _write(self, name: str, picture: np.ndarray) -> str:
        _, png = cv2.imencode(".png", picture)
        write_bytes(self._out / name, png.tobytes())
        self.written.append(self._out / name)
        return name

    def write(self, run: Path) -> list[Path]:
        """Filters, record and page; all files that were written."""
        if not self.done:
            why = f": {self.skipped[0]}" if self.skipped else "."
            raise SourceError(f"{self._source.name}: nothing in it is readable{why}")
        kernel = self._model.filters()
        filters = None if kernel is None else filter_grid(kernel)
        if filters is not None:
            self._write("filters.png", filters)
        plain = [{k: v for k, v in asdict(one).items() if k != "uris"} for one in self.done]
        record: dict[str, Any] = {
            "schema_version": 1,
            "run": run.resolve().name,
            "model_sha256": self._record.model.sha256,
            "source": self._source.name,
            "map_layer": self._model.layers[-1].name,
            "video": self._video or None,
            "explained": plain,
            "skipped": [*self.skipped, *self._source.skipped],
        }
        page = render_page(
            TEMPLATE,
            run=run.resolve().name,
            record=record,
            explained=self.done[:_PAGE_PICTURES],
            architecture=self._record.architecture,
            clips=self._record.clip is not None,
            filters=None if filters is None else thumbnail_data_uri(filters, _THUMBNAIL_SIDE),
            maps=[name for name in self.done[0].files if name.startswith("activations")],
        )
        write_text(self._out / RECORD_NAME, json.dumps(record, indent=1) + "\n")
        write_text(self._out / REPORT_NAME, page)
        return [*self.written, self._out / RECORD_NAME, self._out / REPORT_NAME]


def _explained(
    name: str,
    labels: tuple[str, ...],
    probabilities: np.ndarray,
    best_and_label: tuple[int, int],
    attribution: Attribution,
    files: dict[str, str],
    uris: dict[str, str],
) -> Explained:
    best, label = best_and_label
    return Explained(
        name=name,
        answer=labels[best],
        answer_score=float(probabilities[best]),
        label=labels[label],
        score=float(probabilities[label]),
        change=attribution.change,
        gap=attribution.gap,
        steps=attribution.steps,
        files=files,
        uris=uris,
    )


def _first_middle_last(layers: list[MapLayer]) -> list[MapLayer]:
    chosen = dict.fromkeys((0, len(layers) // 2, len(layers) - 1))
    return [layers[n] for n in chosen]


def _evenly(count: int) -> set[int]:
    """Which of so many are taken apart: from the first to the last."""
    return set(np.linspace(0, max(0, count - 1), KEY_FRAMES).round().astype(int).tolist())

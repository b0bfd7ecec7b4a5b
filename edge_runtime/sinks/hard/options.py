"""What can be said about hard frames on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.errors import OptionError, SinkError
from edge_runtime.pipeline import Sink
from edge_runtime.sinks.hard.folder import Limits
from edge_runtime.sinks.opening import SinkOpening, SinkOptions
from edge_runtime.sinks.rotation import seconds_of, size_of

QUOTA, MOST_FRAMES, DAYS = "500MB", 2000, 30.0
# Pictures that wait to be encoded.
_MOST_WAITING = 4


@dataclass(frozen=True)
class HardFlags(SinkOptions):
    """See `HardFrameSink` and `Limits`.

    Attributes:
        encrypt_to: file of public keys.
    """

    keep_hard: Path
    hard_margin: float | None = None
    hard_every: str | None = None
    hard_quota: str = QUOTA
    hard_most: int = MOST_FRAMES
    hard_days: float = DAYS
    encrypt_to: Path | None = None

    def __post_init__(self) -> None:
        self._limits()  # raises now, not when the camera is open
        self._every_s()

    def _limits(self) -> Limits:
        most_bytes = size_of(self.hard_quota)
        if most_bytes is None:
            raise OptionError(f"--hard-quota {self.hard_quota!r}: write a size such as 500MB.")
        return Limits(most_bytes, self.hard_most, self.hard_days * 86400 or None)

    def _every_s(self) -> float:
        from edge_runtime.sinks.hard.sink import EVERY_S

        if self.hard_every is None:
            return EVERY_S
        every_s = seconds_of(self.hard_every, plain=True)
        if every_s is None:
            raise OptionError(f"--hard-every {self.hard_every!r}: write a time such as 5s or 1m.")
        return every_s

    def files(self, sources: int) -> Sequence[tuple[str, Path]]:
        return [("--keep-hard", self.keep_hard)]

    def open(self, opening: SinkOpening) -> Sequence[Sink]:
        from edge_runtime.sinks.hard.folder import HardFolder
        from edge_runtime.sinks.hard.reasons import MARGIN
        from edge_runtime.sinks.hard.seal import Seal
        from edge_runtime.sinks.hard.sink import HardFrameSink

        self._require_unread(opening)
        seal = Seal(self.encrypt_to) if self.encrypt_to else None
        folder = HardFolder(self.keep_hard, self._limits(), seal, opening.note)
        sink = HardFrameSink(
            folder,
            labels=opening.bundle.labels,
            about={"bundle": opening.bundle.name, "variant": opening.classifier.variant.name},
            margin=MARGIN if self.hard_margin is None else self.hard_margin,
            every_s=self._every_s(),
            rates={s.name: s.fps for s in opening.sources if not s.live},
            region=opening.options.region,
            on_note=opening.note,
        )
        return [opening.kept(sink, "keep-hard", capacity=_MOST_WAITING, pixels=True)]

    def _require_unread(self, opening: SinkOpening) -> None:
        """Old frames are removed from there: none may be what is read."""
        root = self.keep_hard.resolve()
        for source in opening.sources:
            if any(file.resolve().is_relative_to(root) for file in source.files):
                raise SinkError(
                    f"--keep-hard {self.keep_hard}: {source.name} is read from there; choose "
                    "another folder."
                )

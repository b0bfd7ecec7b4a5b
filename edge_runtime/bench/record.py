"""What is measured: one `Case` for each way to run a bundle, one `Measured` for what it came to."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from edge_runtime.text import count_of


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Case(_Record):
    """One way to run a bundle.

    Attributes:
        variant, engine, threads: as `Classifier` takes them.
        delegates, providers: as `EngineOptions` has them; delegates as on the command line.
    """

    variant: str
    engine: str
    threads: int
    delegates: tuple[str, ...] = ()
    providers: tuple[str, ...] = ("cpu",)

    @property
    def wants_accelerator(self) -> bool:
        return bool(self.delegates) or self.providers != ("cpu",)

    @property
    def runner(self) -> str:
        """The engine with what it was told to use besides the CPU."""
        extra = [*self.delegates, *(p for p in self.providers if p != "cpu")]
        return " ".join([self.engine, *(f"+{each}" for each in extra)])

    def __str__(self) -> str:
        return f"{self.variant} on {self.runner}, {count_of(self.threads, 'thread')}"


class Spread(_Record):
    """Times of many runs, in milliseconds."""

    runs: int
    p50: float
    p90: float
    p99: float
    mean: float

    @property
    def per_second(self) -> float:
        """How many a second, one after another."""
        return 1e3 / self.mean if self.mean else 0.0


class Measured(_Record):
    """What one case came to.

    Attributes:
        case: what was run.
        reason: why it did not run; empty where it did, and then the rest is there.
        version: of the engine, with its kernels.
        accelerator: the delegate or provider that really ran; empty for the engine's own kernels.
        share: fraction of the operators on it.
        load_ms: importing the runtime and loading the file, in a fresh process.
        first_ms: the first inference.
        infer: single inferences of the model alone, head included.
        answer: of one frame: preprocessing, inference and head, one after another.
        loop_fps: frames a second of the whole loop, source and sink included; `None` for raw
            tensors, which no loop takes.
        peak_bytes: the most memory that the process held until the model alone was measured.
        loop_peak_bytes: the same with the loop and its frames.
        accuracy: the variant's, as proven when the bundle was made; `None` where unknown.
        accuracy_drop: how much less that is than the trained model's; where labels are unknown,
            the fraction of answers that differ; of raw tensors 1 where the gate was missed.
        as_recorded: whether the answers to the golden inputs lie within the variant's tolerance.
    """

    case: Case
    reason: str = ""
    version: str = ""
    accelerator: str = ""
    share: float | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    infer: Spread | None = None
    answer: Spread | None = None
    loop_fps: float | None = None
    peak_bytes: int | None = None
    loop_peak_bytes: int | None = None
    accuracy: float | None = None
    accuracy_drop: float | None = None
    as_recorded: bool | None = None

    @property
    def ran(self) -> bool:
        return not self.reason


class Window(_Record):
    """A stretch of a sustained run.

    Attributes:
        start_s, seconds: when it began, counted from the start, and how long it was.
        answer: of the frames answered in it.
        fps: frames answered a second.
        hottest_c, clock_mhz: highest temperature and lowest clock of any core that was seen;
            `None` where the machine does not tell.
        throttling: what slowed the machine down, in words.
    """

    start_s: float
    seconds: float
    answer: Spread
    fps: float
    hottest_c: float | None = None
    clock_mhz: float | None = None
    throttling: tuple[str, ...] = ()


class Sustained(_Record):
    """A case that ran for minutes."""

    case: Case
    version: str
    windows: tuple[Window, ...]


class BenchRecord(_Record):
    """A whole run of `edgeproof bench`, as its JSON file has it.

    Attributes:
        schema_version: of this record.
        bundle, manifest: name, and SHA-256 of the manifest.
        machine: processor, operating system and Python.
        frames: what the loop was fed, in words.
        measured: every case.
        sustained: `--sustained`'s, where it was asked for.
        picked: number of the picked case in `measured`; `None` where nothing was picked.
    """

    schema_version: int = 1
    bundle: str
    manifest: str
    machine: dict[str, str | None]
    frames: str
    measured: tuple[Measured, ...] = ()
    sustained: Sustained | None = None
    picked: int | None = Field(default=None, ge=0)

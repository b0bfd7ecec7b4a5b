"""Where a bundle comes from, and how anyone can prove it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_runtime import words
from edge_runtime.manifest import FileEntry, Manifest
from edge_runtime.tensors import MAX_OUTPUTS, some_outputs

Facts = list[tuple[str, str]]


@dataclass(frozen=True)
class File:
    """One file of the bundle."""

    path: str
    size: str
    sha256: str


@dataclass(frozen=True)
class Provenance:
    """Facts as (name, value); `sums` is what `sha256sum --check` reads."""

    device: Facts
    made: Facts
    versions: Facts
    files: tuple[File, ...]
    golden: tuple[File, ...]
    sums: str
    verify: tuple[tuple[str, str], ...]


def provenance(manifest: Manifest) -> Provenance:
    """All of it."""
    golden = (*manifest.golden.frames, manifest.golden.tensors)
    others = tuple(entry for entry in manifest.files if entry not in golden)
    bundle = shlex.quote(f"{manifest.name}.bundle")
    return Provenance(
        device=_device(manifest),
        made=_made(manifest),
        versions=[(k, str(v)) for k, v in manifest.provenance.get("versions", {}).items()],
        files=tuple(_file(entry) for entry in others),
        golden=tuple(_file(entry) for entry in golden),
        sums="\n".join(f"{entry.sha256}  {entry.path}" for entry in (*others, *golden)),
        verify=(
            (f"edgeproof verify {bundle}", "replays the golden set on any machine"),
            (
                f"edgeproof verify {bundle} --matrix",
                "computes the matrix with that machine's engines",
            ),
        ),
    )


def _file(entry: FileEntry) -> File:
    return File(entry.path, words.size(entry.bytes), entry.sha256)


def _device(manifest: Manifest) -> Facts:
    preprocess, golden = manifest.preprocess, manifest.golden
    int8 = next((v.scheme for v in manifest.variants if v.scheme), None)
    facts = [
        ("input", _input(manifest)),
        ("channels", preprocess.channels.upper()),
        ("fit", preprocess.fit),
        *_answers(manifest),
        ("golden set", f"{words.counted(len(golden.frames), 'frame')} and further inputs"),
    ]
    if int8:
        facts.append(("int8 ONNX", _SCHEMES.get(int8, int8)))
    sources = [entry.path for entry in manifest.sources]
    facts.append(("C++ source", ", ".join(sources) if sources else "none in this bundle"))
    return facts


def _answers(manifest: Manifest) -> Facts:
    if manifest.head is None:
        return [("outputs", some_outputs(manifest.outputs, MAX_OUTPUTS))]
    return [("head", manifest.head.kind), ("temperature", _temperature(manifest))]


def _input(manifest: Manifest) -> str:
    clip = manifest.clip
    size = " x ".join(map(str, manifest.input_shape))
    if clip is None:
        return f"uint8, {size}, NHWC"
    return f"uint8, {size}: {clip.frames} frames, {clip.fps:g} of them a second"


def _temperature(manifest: Manifest) -> str:
    found = manifest.temperature
    if found is None:
        return "none: scores are given as the files answer them"
    return f"{found.value:.3g}, fitted on {words.counted(found.samples, 'validation picture')}"


_SCHEMES = {
    "s8s8": "s8s8: signed activations and weights",
    "u8s8": "u8s8: unsigned activations, signed weights",
    "symmetric": "symmetric: signed, every zero point is 0",
}


def _whence(training: Mapping[str, Any], *, taken: bool) -> Facts:
    """The run that a model is from; of one from elsewhere only its file is known."""
    if taken:
        return [("file", str(training.get("run", "?")))]
    return [
        ("run", f"{training.get('run', '?')} ({training.get('architecture', '?')})"),
        ("trained", str(training.get("created") or "?")),
    ]


def _made(manifest: Manifest) -> Facts:
    made = manifest.provenance
    training: Mapping[str, Any] = made.get("training", {})
    pictures: Mapping[str, Any] = made.get("pictures", {})
    machine: Mapping[str, Any] = made.get("machine", {})
    taken = [text.partition(": ") for text in map(str, made.get("taken", ()))]
    kind = "pictures" if taken else "training pictures"
    said = [machine.get("cpu"), machine.get("architecture"), machine.get("os")]
    return [
        ("command", str(made.get("command") or "called from Python")),
        *_whence(training, taken=bool(taken)),
        *((what, value) for what, _, value in taken),
        ("trained model", f"SHA-256 {training.get('model_sha256', '?')}"),
        (
            "compared on",
            f"{pictures.get('held_out', '?')} {pictures.get('held_out_set', '')} pictures",
        ),
        (
            "calibrated on",
            f"up to {pictures.get('calibration', '?')} {kind}",
        ),
        ("machine", ", ".join(str(part) for part in said if part)),
        ("Python", str(machine.get("python") or "?")),
    ]

"""Accuracy against latency as one SVG file, light and dark, without any drawing library.

A device has no matplotlib; an SVG of this kind is a few lines of text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from edge_runtime.bench.choose import pareto_front, worth
from edge_runtime.bench.record import Measured
from edge_runtime.text import printable

_WIDTH, _HEIGHT = 720, 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 24, 48, 58
_STYLE = """
  svg { background: #ffffff; font: 13px system-ui, sans-serif; }
  text { fill: #1f2933; } .line { stroke: #d9dfe4; } .front { stroke: #4d7c0f; }
  .tflite { fill: #0b6e8a; } .onnx { fill: #c2540a; }
  @media (prefers-color-scheme: dark) {
    svg { background: #1b2229; } text { fill: #dfe6ec; } .line { stroke: #39434d; }
    .front { stroke: #a3cf4d; } .tflite { fill: #4cc2e0; } .onnx { fill: #f79a4b; }
  }
"""
_LABEL_HEIGHT, _LETTER_WIDTH = 15, 7


def pareto_svg(measured: Sequence[Measured], *, title: str, known: bool) -> str:
    """A point for each case that ran, and the line of those that none beats.

    Args:
        known: whether labels are: the axis is accuracy, else agreement with the trained model.
    """
    ran = [m for m in measured if m.ran and m.infer]
    front = pareto_front(ran)
    x_axis = _latency_axis([_p99(m) for m in ran])
    y_axis = _worth_axis([worth(m) for m in ran])
    x_of, y_of = x_axis[0], y_axis[0]
    worth_title = "accuracy (%)" if known else "same answers as the trained model (%)"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>{_text(title)}</title><style>{_STYLE}</style>",
        f'<text x="{_LEFT}" y="24" font-weight="bold">{_text(title)}</text>',
        f'<text class="tflite" x="{_WIDTH - 150}" y="24">&#9679; TFLite</text>',
        f'<text class="onnx" x="{_WIDTH - 80}" y="24">&#9632; ONNX</text>',
        *_axes(x_axis, y_axis, worth_title),
        _front_line([(x_of(_p99(m)), y_of(worth(m))) for m in front]),
    ]
    taken: list[tuple[float, float, float]] = []
    # The front's labels first: where there is no room, the others go without.
    for each in [*front, *(m for m in ran if m not in front)]:
        x, y = x_of(_p99(each)), y_of(worth(each))
        parts.append(_mark(each, x, y))
        parts.append(_label(each, x, y, taken))
    return "\n".join([*parts, "</svg>", ""])


def _p99(each: Measured) -> float:
    assert each.infer is not None
    return each.infer.p99


def _text(text: str) -> str:
    return escape(printable(text))


# From a value to its place, and the values that are written beside.
_Axis = tuple[Callable[[float], float], list[float]]


def _latency_axis(values: Sequence[float]) -> _Axis:
    low, high = math.log10(min(values)) - 0.08, math.log10(max(values)) + 0.25
    span = high - low

    def place(value: float) -> float:
        return _LEFT + (math.log10(value) - low) / span * (_WIDTH - _LEFT - _RIGHT)

    powers = range(math.floor(low), math.ceil(high) + 1)
    ticks = [
        m * 10.0**p for p in powers for m in (1, 2, 5) if low <= math.log10(m * 10.0**p) <= high
    ]
    return place, ticks


def _worth_axis(values: Sequence[float]) -> _Axis:
    low, high = 100 * min(values), 100 * max(values)
    room = max(0.15 * (high - low), 0.25)
    low, high = low - room, high + room

    def place(value: float) -> float:
        return _TOP + (high - 100 * value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    step = _nice_step((high - low) / 5)
    first = math.ceil(low / step)
    ticks = [n * step / 100 for n in range(first, math.floor(high / step) + 1)]
    return place, [tick for tick in ticks if tick <= 1.0 + 1e-9]


def _nice_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough)


def _axes(x_axis: _Axis, y_axis: _Axis, worth_title: str) -> list[str]:
    x_of, x_ticks = x_axis
    y_of, y_ticks = y_axis
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for tick in x_ticks:
        x = x_of(tick)
        parts.append(f'<path class="line" d="M{x:.1f} {_TOP}V{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>')
    for tick in y_ticks:
        y = y_of(tick)
        parts.append(f'<path class="line" d="M{_LEFT} {y:.1f}H{right}"/>')
        parts.append(
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{100 * tick:.4g}</text>'
        )
    middle = (_LEFT + right) / 2
    parts.append(
        f'<text x="{middle:.0f}" y="{_HEIGHT - 16}" text-anchor="middle">'
        "p99 of single inferences (ms)</text>"
    )
    height = (_TOP + bottom) / 2
    parts.append(
        f'<text transform="translate(18 {height:.0f}) rotate(-90)" text-anchor="middle">'
        f"{worth_title}</text>"
    )
    return parts


def _front_line(points: Sequence[tuple[float, float]]) -> str:
    """The stairs right of and below which lies what the front beats."""
    path, height = "", float(_HEIGHT - _BOTTOM)
    for x, y in points:
        path += f"{'L' if path else 'M'}{x:.1f} {height:.1f}L{x:.1f} {y:.1f}"
        height = y
    return f'<path class="front" fill="none" stroke-width="2" d="{path}H{_WIDTH - _RIGHT}"/>'


def _mark(each: Measured, x: float, y: float) -> str:
    hint = f"<title>{_text(str(each.case))}: p99 {_p99(each):.2f} ms</title>"
    if each.case.variant.startswith("tflite"):
        return f'<circle class="tflite" cx="{x:.1f}" cy="{y:.1f}" r="5">{hint}</circle>'
    return (
        f'<rect class="onnx" x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9">{hint}</rect>'
    )


def _label(each: Measured, x: float, y: float, taken: list[tuple[float, float, float]]) -> str:
    """The case's name above or below its mark, where it covers no other; else nothing."""
    name = f"{each.case.variant} x{each.case.threads}"
    width = _LETTER_WIDTH * len(name)
    for dy in (-9, 19, -9 - _LABEL_HEIGHT, 19 + _LABEL_HEIGHT):
        for left in (x - width / 2, x + 8, x - width - 8):
            row = y + dy
            fits = (
                left >= _LEFT and left + width <= _WIDTH - _RIGHT and _TOP < row < _HEIGHT - _BOTTOM
            )
            clear = all(
                abs(row - r) >= _LABEL_HEIGHT or left >= end or left + width <= begin
                for begin, end, r in taken
            )
            if fits and clear:
                taken.append((left, left + width, row))
                return f'<text x="{left:.1f}" y="{row:.1f}">{_text(name)}</text>'
    return ""

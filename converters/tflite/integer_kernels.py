"""Operators that the quantiser leaves in float, though TFLite computes them in integers.

litert-quantizer puts a DEQUANTIZE before and a QUANTIZE behind each operator that it does not know.
Here such an operator is put onto the integers themselves, as TensorFlow's own converter does.

Source of what a kernel takes: TFLite's kernels and `op_version.cc`.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.tflite.calibration import Ranges
from converters.tflite.graph import TfliteGraph, steps_of

_OP, _TYPE = schema.BuiltinOperator, schema.TensorType
# Each with the version from which on it takes int8. What they read and make has steps of its own;
_FREE = {
    _OP.LEAKY_RELU: 1,
    _OP.PRELU: 1,
    _OP.ELU: 1,
    _OP.RELU6: 2,
    _OP.EXP: 2,
    _OP.LOG: 2,
    _OP.ABS: 2,
}
# what only moves or chooses numbers has the same steps on both sides;
_MOVING = {
    _OP.REDUCE_MAX: 2,
    _OP.MINIMUM: 2,
    _OP.SPACE_TO_BATCH_ND: 2,
    _OP.BATCH_TO_SPACE_ND: 2,
    _OP.DEPTH_TO_SPACE: 2,
    _OP.REVERSE_V2: 3,
    _OP.TILE: 3,
}
# and what compares makes no numbers. Its kernel aborts where a step is not below 1.
_COMPARING = {_OP.GREATER: 2, _OP.GREATER_EQUAL: 2, _OP.LESS: 2, _OP.LESS_EQUAL: 2}
_VERSIONS = {**_FREE, **_MOVING, **_COMPARING}
_LOWEST, _HIGHEST = -128, 127


def onto_integers(quantised: bytes, ranges: Ranges) -> bytes:
    """Let operators between integers compute in integers.

    Args:
        quantised: the quantiser's file, activations in int8.
        ranges: what each activation is to hold, where no QUANTIZE says it.
    """
    work = _Work(TfliteGraph(quantised), ranges)
    for operator in list(work.graph.operators):
        work.look_at(operator)
    return work.done() if work.changed else quantised


class _Work:
    """One pass over a graph, in order of execution.

    Attributes:
        whole: the int8 tensor that holds the same as a float tensor.
    """

    def __init__(self, graph: TfliteGraph, ranges: Ranges) -> None:
        self.graph, self.ranges = graph, ranges
        self.whole: dict[int, int] = {}
        self.changed = False

    def look_at(self, operator: Any) -> None:
        code = self.graph.code(operator)
        first = int(operator.inputs[0]) if len(operator.inputs) else -1
        if code == _OP.DEQUANTIZE and self._type(first) == _TYPE.INT8:
            self.whole[int(operator.outputs[0])] = first
        elif code == _OP.SHAPE and first in self.whole:
            operator.inputs = [self.whole[first]]
            self.changed = True
        elif code in _VERSIONS and self._between_integers(operator):
            self._convert(operator, code)
        elif len(operator.outputs) > 1:
            self._alike(operator)

    def done(self) -> bytes:
        self.graph.drop_dead_operators()
        return self.graph.to_bytes()

    def _alike(self, operator: Any) -> None:
        """The quantiser forgets what nobody reads: half of a SPLIT is of the other half's kind."""
        made = [self.graph.tensors[int(i)] for i in operator.outputs]
        whole = [tensor for tensor in made if tensor.type == _TYPE.INT8]
        for tensor in made:
            if whole and tensor.type == _TYPE.FLOAT32:
                tensor.type, tensor.quantization = _TYPE.INT8, deepcopy(whole[0].quantization)
                self.changed = True

    def _between_integers(self, operator: Any) -> bool:
        """Whether every float that it reads is known in integers, or constant; and it makes one."""
        read = [int(i) for i in operator.inputs if i >= 0]
        floats = [i for i in read if self._type(i) == _TYPE.FLOAT32]
        known = [i for i in floats if i in self.whole]
        constant = [i for i in floats if self.graph.constant(i) is not None]
        if not known or len(known) + len(constant) < len(floats) or len(operator.outputs) != 1:
            return False
        made = int(operator.outputs[0])
        if self._type(made) == _TYPE.BOOL:
            held = [self.graph.tensors[self.whole[i]].quantization for i in known]
            steps = [*held, *(_symmetric_steps(self.graph.constant(i)) for i in constant)]
            return all(step.scale[0] < 1 for step in steps)
        return made not in self.graph.outputs and (
            self._quantised(made) is not None or self.graph.name(made) in self.ranges
        )

    def _convert(self, operator: Any, code: int) -> None:
        self.changed = True
        one_step = None
        if code not in _COMPARING:
            target = self._answer_in_integers(operator)
            one_step = self.graph.tensors[target].quantization if code in _MOVING else None
        operator.inputs = [self._integer(operator, int(i), one_step) for i in operator.inputs]
        # A code of its own: what stays in float keeps the lower version.
        operator.opcodeIndex = self.graph.operator_code(code, _VERSIONS[code])

    def _answer_in_integers(self, operator: Any) -> int:
        """Let it make int8, and what still reads the float read that."""
        answer = int(operator.outputs[0])
        step = self._quantised(answer)
        if step is None:
            target = self._tensor(answer, _steps(*self.ranges[self.graph.name(answer)]))
        else:
            target = int(step.outputs[0])
            self.graph.operators.remove(step)
        operator.outputs = [target]
        self.whole[answer] = target
        # Dropped where nothing does.
        self._insert(self.graph.new_operator(_OP.DEQUANTIZE, [target], [answer]), behind=operator)
        return target

    def _integer(self, operator: Any, tensor: int, steps: Any | None) -> int:
        """What holds an input in int8, in these steps where they must be so."""
        if tensor < 0 or self._type(tensor) != _TYPE.FLOAT32:
            return tensor
        values = self.graph.constant(tensor)
        if values is not None:
            return self._constant(values, steps or _symmetric_steps(values))
        held = self.whole[tensor]
        if steps is None or _same(self.graph.tensors[held].quantization, steps):
            return held
        again = self._tensor(held, steps)
        self._insert(self.graph.new_operator(_OP.QUANTIZE, [held], [again]), before=operator)
        return again

    def _quantised(self, tensor: int) -> Any | None:
        """The QUANTIZE to int8 that reads a float tensor."""
        return next(
            (
                o
                for o in self.graph.operators
                if int(o.inputs[0]) == tensor
                and self.graph.code(o) == _OP.QUANTIZE
                and self._type(int(o.outputs[0])) == _TYPE.INT8
            ),
            None,
        )

    def _type(self, tensor: int) -> int:
        return int(self.graph.tensors[tensor].type)

    def _tensor(self, like: int, steps: Any) -> int:
        """Another tensor of that shape, in int8."""
        shaped = self.graph.tensors[like]
        made = self.graph.add_tensor(
            f"{self.graph.name(like)}/int8", shaped.shape, _TYPE.INT8, steps
        )
        self.graph.tensors[made].shapeSignature = shaped.shapeSignature
        return made

    def _constant(self, values: np.ndarray, steps: Any) -> int:
        levels = np.rint(values / steps.scale[0]) + steps.zeroPoint[0]
        whole = np.clip(levels, _LOWEST, _HIGHEST).astype(np.int8)
        return self.graph.add_constant(whole, steps=steps)

    def _insert(self, operator: Any, *, before: Any = None, behind: Any = None) -> None:
        place = self.graph.operators.index(before or behind) + (behind is not None)
        self.graph.operators.insert(place, operator)


def _steps(low: float, high: float) -> Any:
    """Scale and zero point of int8 for a range, which is widened to hold 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (_HIGHEST - _LOWEST) or 1.0
    return steps_of(scale, int(np.clip(round(_LOWEST - low / scale), _LOWEST, _HIGHEST)))


def _symmetric_steps(values: Any) -> Any:
    return steps_of((float(np.abs(values).max()) or 1.0) / _HIGHEST, 0)


def _same(one: Any, other: Any) -> bool:
    return np.array_equal(one.scale, other.scale) and np.array_equal(one.zeroPoint, other.zeroPoint)

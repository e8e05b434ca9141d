"""Scores at class indices: what losses with integer targets read and write."""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.core.dtypes import INT64
from rushlight.primitives.primitive import Aval, primitive

Array = Any

class_scores = primitive("class_scores", params=("ignore",))
class_places = primitive("class_places", params=("classes", "ignore"))
class_weights = primitive("class_weights", params=("ignore",))


@class_scores.define_rule
def _(x: Any, target: Any, *, ignore: int) -> Aval:
    return Aval(target.shape, x.dtype)


@class_places.define_rule
def _(values: Any, target: Any, *, classes: int, ignore: int) -> Aval:
    return Aval((target.shape[0], classes, *target.shape[1:]), values.dtype)


@class_weights.define_rule
def _(weight: Any, target: Any, *, ignore: int) -> Aval:
    return Aval(target.shape, weight.dtype)


def _checked(target: Array, classes: int, ignore: int) -> tuple[Array, Array | None]:
    """Targets as indices, and which of them count (None: all). IndexError for a class that is not there."""
    if target.dtype == INT64 and not 0 <= ignore < classes:
        # Seen as unsigned, negative numbers are beyond all classes.
        if not np.logical_or.reduce(target.view(np.uint64) >= classes, None):
            return target, None
    counted = target != ignore
    used = target if counted.all() else np.where(counted, target, 0)
    if used.size and (used.min() < 0 or used.max() >= classes):
        worst = used[(used < 0) | (used >= classes)].flat[0]
        raise IndexError(
            f"Target {worst} is out of bounds: with {classes} classes a target is 0 to {classes - 1}"
        )
    return used.astype(np.intp, copy=False), None if used is target else counted


@class_scores.define_reference
def _(xp: Any, x: Array, target: Array, *, ignore: int) -> Array:
    places, counted = _checked(target, x.shape[1], ignore)
    if x.ndim == 2:
        out = x[np.arange(len(places)), places]
    else:
        out = np.take_along_axis(x, places[:, None], 1)[:, 0]
    return out if counted is None else np.where(counted, out, x.dtype.type(0))


@class_places.define_reference
def _(xp: Any, values: Array, target: Array, *, classes: int, ignore: int) -> Array:
    places, counted = _checked(target, classes, ignore)
    out = np.zeros((target.shape[0], classes, *target.shape[1:]), values.dtype)
    if counted is not None:
        values = np.where(counted, values, values.dtype.type(0))
    if out.ndim == 2:
        out[np.arange(len(places)), places] = values
    else:
        np.put_along_axis(out, places[:, None], values[:, None], 1)
    return out


@class_weights.define_reference
def _(xp: Any, weight: Array, target: Array, *, ignore: int) -> Array:
    places, counted = _checked(target, weight.shape[0], ignore)
    out = weight[places]
    return out if counted is None else np.where(counted, out, weight.dtype.type(0))

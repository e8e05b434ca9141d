"""Connectionist temporal classification: all alignments of a short sequence with a long one, summed.

    ctc(log_probs, targets, input_lengths, target_lengths)              -> losses (N,)
    ctc_adjoint(grad, log_probs, targets, input_lengths, target_lengths) -> gradient (T, N, C)

`log_probs` is (T, N, C); targets are (N, S) or one after another in one dimension; lengths are (N,). The recurrences
are those of A. Graves et al., Connectionist temporal classification, 2006, on logarithms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushlight.primitives.primitive import Aval, primitive

ctc = primitive("ctc", params=("blank",))
ctc_adjoint = primitive("ctc_adjoint", params=("blank", "zero_infinity"))


def _extended(targets: Any, lengths: Any, blank: int) -> tuple[Any, Any]:
    """Labels with blanks between them, (N, 2 S + 1), and where a step may pass over a blank."""
    count = len(lengths)
    longest = int(lengths.max(initial=0))
    labels = np.full((count, 2 * longest + 1), blank, np.int64)
    if targets.ndim == 1:
        begins = np.cumsum(lengths) - lengths
        for i in range(count):
            labels[i, 1 : 2 * lengths[i] : 2] = targets[begins[i] : begins[i] + lengths[i]]
    else:
        for i in range(count):
            labels[i, 1 : 2 * lengths[i] : 2] = targets[i, : lengths[i]]
    passes = np.zeros(labels.shape, bool)
    passes[:, 3::2] = labels[:, 3::2] != labels[:, 1:-2:2]
    return labels, passes


def _shifted(x: Any, by: int) -> Any:
    out = np.full_like(x, -np.inf)
    if by < x.shape[1]:
        out[:, by:] = x[:, : x.shape[1] - by]
    return out


def _forward(scores: Any, passes: Any) -> Any:
    """Alpha (T, N, 2 S + 1): the logarithm of the sum over all beginnings that end in a label at a time."""
    steps, _, width = scores.shape
    alpha = np.full_like(scores, -np.inf)
    if steps:
        alpha[0, :, :2] = scores[0, :, :2]
    for t in range(1, steps):
        before = alpha[t - 1]
        total = np.logaddexp(before, _shifted(before, 1)) if width > 1 else before
        over = np.where(passes, _shifted(before, 2), -np.inf)
        alpha[t] = np.logaddexp(total, over) + scores[t]
    return alpha


def _ends(alpha: Any, input_lengths: Any, target_lengths: Any) -> Any:
    """The logarithm of the sum over whole alignments."""
    each = np.arange(len(target_lengths))
    last = alpha[np.maximum(input_lengths, 1) - 1, each] if len(alpha) else None
    if last is None:
        return np.where(target_lengths == 0, 0.0, -np.inf)
    total = last[each, 2 * target_lengths]
    label = last[each, np.maximum(2 * target_lengths - 1, 0)]
    total = np.where(target_lengths > 0, np.logaddexp(total, label), total)
    return np.where(input_lengths > 0, total, np.where(target_lengths == 0, 0.0, -np.inf))


def _scores(log_probs: Any, labels: Any) -> Any:
    index = np.broadcast_to(labels, (len(log_probs), *labels.shape))
    return np.take_along_axis(log_probs.astype(np.float64), index, 2)


@ctc.define_rule
def _(log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, *, blank: int) -> Aval:
    return Aval((log_probs.shape[1],), log_probs.dtype)


@ctc.define_reference
def _(
    xp: Any, log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any, *, blank: int
) -> Any:
    labels, passes = _extended(targets, target_lengths, blank)
    with np.errstate(all="ignore"):
        alpha = _forward(_scores(log_probs, labels), passes)
        return (-_ends(alpha, input_lengths, target_lengths)).astype(log_probs.dtype)


@ctc_adjoint.define_rule
def _(
    grad: Any,
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    *,
    blank: int,
    zero_infinity: bool,
) -> Aval:
    return Aval(tuple(log_probs.shape), log_probs.dtype)


@ctc_adjoint.define_reference
def _(
    xp: Any,
    grad: Any,
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    *,
    blank: int,
    zero_infinity: bool,
) -> Any:
    labels, passes = _extended(targets, target_lengths, blank)
    steps, count, _ = log_probs.shape
    scores = _scores(log_probs, labels)
    times = np.arange(steps)[:, None]
    with np.errstate(all="ignore"):
        alpha = _forward(scores, passes)
        total = _ends(alpha, input_lengths, target_lengths)
        # beta is alpha of the reversed sequences: each is turned around within its own lengths.
        width = labels.shape[1]
        turned_time = np.where(times < input_lengths, input_lengths - 1 - times, times)
        places = np.arange(width)
        own = 2 * target_lengths[:, None] + 1
        turned_place = np.where(places < own, own - 1 - places, places)
        turned = np.take_along_axis(scores, turned_time[:, :, None], 0)
        turned = np.take_along_axis(turned, np.broadcast_to(turned_place, turned.shape), 2)
        back_labels = np.take_along_axis(labels, turned_place, 1)
        back_passes = np.zeros_like(passes)
        back_passes[:, 3::2] = back_labels[:, 3::2] != back_labels[:, 1:-2:2]
        beta = _forward(turned, back_passes)
        beta = np.take_along_axis(beta, np.broadcast_to(turned_place, beta.shape), 2)
        beta = np.take_along_axis(beta, turned_time[:, :, None], 0)
        beyond = places >= own
        both = np.where(beyond, -np.inf, alpha + beta - scores)
        shares = np.exp(both - total[:, None])
        shares = np.where(np.isneginf(both), 0.0, shares)
        taken = np.zeros(log_probs.shape, np.float64)
        where = np.broadcast_to(labels, both.shape)
        np.add.at(taken, (times[:, :, None], np.arange(count)[:, None], where), shares)
        # As in PyTorch this is the gradient for what log_softmax was taken of: it sums to 0 over classes.
        out = np.exp(log_probs.astype(np.float64)) - taken
        impossible = np.isneginf(total)
        out = np.where(impossible[:, None], 0.0 if zero_infinity else np.nan, out)
        out = np.where((times < input_lengths)[:, :, None], out, 0.0)
        return (out * grad[:, None]).astype(log_probs.dtype)

"""`profile`: records what runs in a block, or in the steps that a schedule picks, and shows it."""

from __future__ import annotations

import enum
import json
import os
import platform
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rushlight.core.sites import warn_user
from rushlight.profiler.events import EventList, events_of
from rushlight.profiler.recording import Recording, Settings
from rushlight.profiler.regions import record_function
from rushlight.profiler.schedules import ProfilerAction, Schedule, always


class ProfilerActivity(enum.Enum):
    """What a profiler may look at. Here all is on the CPU; the others are accepted, with a warning."""

    CPU = 0
    XPU = 1
    MTIA = 2
    CUDA = 3
    HPU = 4
    PrivateUse1 = 5


def supported_activities() -> set[ProfilerActivity]:
    """The activities that can be recorded.

    >>> supported_activities()
    {<ProfilerActivity.CPU: 0>}
    """
    return {ProfilerActivity.CPU}


def kineto_available() -> bool:
    """False: rushlight records by itself."""
    return False


_KEEPING = (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)


class profile:
    """Records ops, nodes of backward, optimizer steps, data loading and compiled kernels, in all threads.

    `record_shapes` keeps the shapes of arguments, `profile_memory` what tensors take and give back, `with_stack` the
    user's lines, `with_flops` the operations of products and convolutions, `with_modules` the forward of each module.
    With a `schedule` (called with the number of the step) call `step()` at the end of each step; `on_trace_ready` is
    called with the profiler each time a recording is complete.

    >>> import rushlight
    >>> from rushlight.profiler import profile
    >>> layer, x = rushlight.nn.Linear(8, 4), rushlight.ones(2, 8)
    >>> with profile(record_shapes=True, with_flops=True) as found:
    ...     layer(x).sum().backward()
    >>> table = found.key_averages().table(sort_by="self_cpu_time_total")
    >>> [(e.key, e.flops) for e in found.events() if e.flops]
    [('aten::linear', 128), ('AddmmBackward0', 128)]
    """

    def __init__(
        self,
        *,
        activities: Iterable[Any] | None = None,
        schedule: Schedule | None = None,
        on_trace_ready: Callable[[profile], Any] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_flops: bool = False,
        with_modules: bool = False,
        experimental_config: Any = None,
        execution_trace_observer: Any = None,
        acc_events: bool = False,
        use_cuda: bool | None = None,
        custom_trace_id_callback: Callable[[], str] | None = None,
        post_processing_timeout_s: float | None = None,
    ) -> None:
        self.activities = _checked_activities(activities, use_cuda)
        self.settings = Settings(
            record_shapes, profile_memory, with_stack, with_flops, with_modules
        )
        if schedule is not None and not callable(schedule):
            raise TypeError(f"schedule must be a function of a step, not {type(schedule).__name__}")
        self.schedule: Schedule = schedule or always
        self.on_trace_ready = on_trace_ready
        self.acc_events = acc_events
        self.custom_trace_id_callback = custom_trace_id_callback
        self.step_num = 0
        self.current_action = self.schedule(0)
        self.preset_metadata: dict[str, Any] = {}
        self._marks_steps = schedule is not None
        self._recording: Recording | None = None
        self._step: record_function | None = None
        self._events: EventList | None = None
        self._last: Recording | None = None
        self._collecting = True

    # -- recording -----------------------------------------------------------------------------------------

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begins with step `step_num`."""
        self._enter_step()

    def stop(self) -> None:
        """Ends; a recording that is under way is complete now."""
        self._leave_step()
        if self.current_action in _KEEPING:
            self._complete()
        self._drop()

    def step(self) -> None:
        """One step has ended, the next one begins."""
        self._leave_step()
        before = self.current_action
        self.step_num += 1
        self.current_action = self.schedule(self.step_num)
        if before is ProfilerAction.RECORD_AND_SAVE:
            self._complete()
        elif before is ProfilerAction.RECORD and self.current_action not in _KEEPING:
            warn_user(
                "the schedule ended a recording without RECORD_AND_SAVE: it is kept all the same"
            )
            self._complete()
        elif before is ProfilerAction.WARMUP:
            self._drop()  # what it has recorded; now everything has run once
        self._enter_step()

    def _enter_step(self) -> None:
        if self.current_action is ProfilerAction.NONE:
            self._drop()
            return
        if self._recording is None and self._collecting:
            self._recording = Recording(self.settings)
            self._recording.metadata.update(self.preset_metadata)
            self._recording.start()
        if self._marks_steps:
            self._step = record_function(f"ProfilerStep#{self.step_num}")
            self._step.__enter__()

    def _leave_step(self) -> None:
        if self._step is not None:
            self._step.__exit__(None, None, None)
            self._step = None

    def _complete(self) -> None:
        if self._recording is not None:
            self._recording.stop()
            before = self.events() if self.acc_events and self._last is not None else None
            self._last, self._recording, self._events = self._recording, None, None
            if before is not None:
                self._events = EventList(
                    [*before, *self.events()], recording=self._last,
                    profile_memory=self.settings.profile_memory, with_flops=self.settings.with_flops,
                )  # fmt: skip
        if self.on_trace_ready is not None and self._last is not None:
            self.on_trace_ready(self)

    def _drop(self) -> None:
        if self._recording is not None:
            self._recording.stop()
            self._recording = None

    def toggle_collection_dynamic(self, enable: bool, activities: Iterable[Any] = ()) -> None:
        """Stops recording inside of the block, or goes on with it."""
        self._collecting = bool(enable)
        if self._recording is not None:
            self._recording.pause(not enable)

    # -- looking -------------------------------------------------------------------------------------------

    def events(self) -> EventList:
        """All calls of the last complete recording, in the order of their beginnings."""
        if self._events is None:
            if self._last is None:
                raise RuntimeError(
                    "the profiler has not recorded anything that is complete: leave its block, call stop(), or let "
                    "the schedule come to RECORD_AND_SAVE first"
                )
            self._events = events_of(self._last)
        return self._events

    def key_averages(
        self,
        group_by_input_shape: bool = False,
        group_by_stack_n: int = 0,
        group_by_overload_name: bool = False,
    ) -> EventList:
        """Calls of one name together; `.table(sort_by=...)` prints them."""
        return self.events().key_averages(group_by_input_shape, group_by_stack_n)

    def export_chrome_trace(self, path: Any) -> None:
        """Writes the trace for chrome://tracing or ui.perfetto.dev; compressed for a name in .gz."""
        self.events().export_chrome_trace(path)

    def export_stacks(self, path: Any, metric: str = "self_cpu_time_total") -> None:
        """Writes folded stacks for flame graphs; asks for `with_stack=True`."""
        self.events().export_stacks(path, metric)

    def add_metadata(self, key: str, value: str) -> None:
        """Adds a text to the trace."""
        self._metadata()[key] = str(value)

    def add_metadata_json(self, key: str, value: str) -> None:
        """Adds a value, given as JSON, to the trace."""
        self._metadata()[key] = json.loads(value)

    def preset_metadata_json(self, key: str, value: str) -> None:
        """As `add_metadata_json`, for all traces to come."""
        self.preset_metadata[key] = json.loads(value)

    def _metadata(self) -> dict[str, Any]:
        recording = self._recording or self._last
        return self.preset_metadata if recording is None else recording.metadata


def _checked_activities(activities: Iterable[Any] | None, use_cuda: bool | None) -> set[Any]:
    wanted = set(supported_activities() if activities is None else activities)
    for activity in wanted:
        if not isinstance(activity, ProfilerActivity):
            raise TypeError(f"activities are ProfilerActivity's members, not {activity!r}")
    if use_cuda:
        wanted.add(ProfilerActivity.CUDA)
    if not wanted:
        raise AssertionError("No valid profiler activities found")
    for activity in wanted - supported_activities():
        warn_user(f"{activity.name} is not available, disabling {activity.name} profiling")
    return wanted & supported_activities()


def tensorboard_trace_handler(
    dir_name: Any, worker_name: str | None = None, use_gzip: bool = False
) -> Callable[[profile], None]:
    """An `on_trace_ready` that writes each trace into a folder, `<worker>.<time>.pt.trace.json`."""

    def handle(profiler: profile) -> None:
        folder = Path(dir_name)
        folder.mkdir(parents=True, exist_ok=True)
        worker = worker_name or f"{platform.node()}_{os.getpid()}"
        name = f"{worker}.{time.time_ns()}.pt.trace.json" + (".gz" if use_gzip else "")
        profiler.export_chrome_trace(folder / name)

    return handle


__all__ = [
    "ProfilerActivity", "kineto_available", "profile", "supported_activities", "tensorboard_trace_handler",
]  # fmt: skip

"""torch.autograd.profiler: the older `profile`, which is its own list of events."""

from __future__ import annotations

from typing import Any

from rushlight.profiler.events import EventList, FunctionEvent, FunctionEventAvg
from rushlight.profiler.profiler import kineto_available
from rushlight.profiler.profiler import profile as _profile
from rushlight.profiler.regions import record_function


class profile:
    """Records what runs in its block; with `enabled=False` nothing. See rushlight.profiler for the newer one.

    >>> import rushlight
    >>> with rushlight.autograd.profiler.profile() as found:
    ...     y = rushlight.ones(2).exp()
    >>> [event.name for event in found.function_events]
    ['aten::ones', 'aten::exp']
    """

    def __init__(
        self,
        enabled: bool = True,
        *,
        use_cuda: bool = False,
        use_device: str | None = None,
        record_shapes: bool = False,
        with_flops: bool = False,
        profile_memory: bool = False,
        with_stack: bool = False,
        with_modules: bool = False,
        use_kineto: bool = False,
        use_cpu: bool = True,
        experimental_config: Any = None,
        acc_events: bool = False,
        custom_trace_id_callback: Any = None,
    ) -> None:
        self.enabled = enabled
        self.entered = False
        self._inner = _profile(
            use_cuda=use_cuda, record_shapes=record_shapes, with_flops=with_flops, profile_memory=profile_memory,
            with_stack=with_stack, with_modules=with_modules, acc_events=acc_events,
        )  # fmt: skip

    def __enter__(self) -> profile:
        if self.entered:
            raise RuntimeError("Profiler context manager is not reentrant")
        self.entered = True
        if self.enabled:
            self._inner.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.enabled:
            self._inner.stop()

    @property
    def function_events(self) -> EventList:
        """All calls, in the order of their beginnings."""
        return self._inner.events() if self.enabled else EventList()

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds of everything, each counted once."""
        return self.function_events.self_cpu_time_total

    def key_averages(
        self,
        group_by_input_shape: bool = False,
        group_by_stack_n: int = 0,
        group_by_overload_name: bool = False,
    ) -> EventList:
        """Calls of one name together."""
        return self.function_events.key_averages(group_by_input_shape, group_by_stack_n)

    def total_average(self) -> FunctionEventAvg:
        """Everything together."""
        return self.function_events.total_average()

    def table(self, *args: Any, **kwargs: Any) -> str:
        """The calls as a table, as EventList has it."""
        return self.function_events.table(*args, **kwargs)

    def export_chrome_trace(self, path: Any) -> None:
        """Writes the trace for chrome://tracing or ui.perfetto.dev."""
        self._inner.export_chrome_trace(path)

    def export_stacks(self, path: Any, metric: str = "self_cpu_time_total") -> None:
        """Writes folded stacks for flame graphs."""
        self._inner.export_stacks(path, metric)

    def __str__(self) -> str:
        return self.table() if self.enabled else "<disabled rushlight.autograd.profiler.profile>"

    __repr__ = __str__


__all__ = [
    "EventList", "FunctionEvent", "FunctionEventAvg", "kineto_available", "profile", "record_function",
]  # fmt: skip

"""torch.profiler: what a program does and how long it takes, call by call. See README.md.

>>> import rushlight
>>> from rushlight.profiler import profile
>>> with profile() as found:
...     y = rushlight.ones(2, 2) @ rushlight.ones(2, 2)
>>> [event.key for event in found.key_averages()]
['aten::ones', 'aten::matmul', 'aten::mm']
"""

from rushlight.profiler.events import EventList as EventList
from rushlight.profiler.events import FunctionEvent as FunctionEvent
from rushlight.profiler.events import FunctionEventAvg as FunctionEventAvg
from rushlight.profiler.profiler import (
    ProfilerActivity,
    kineto_available,
    profile,
    supported_activities,
    tensorboard_trace_handler,
)
from rushlight.profiler.regions import record_function
from rushlight.profiler.schedules import ProfilerAction, schedule

__all__ = [
    "ProfilerAction", "ProfilerActivity", "kineto_available", "profile", "record_function", "schedule",
    "supported_activities", "tensorboard_trace_handler",
]  # fmt: skip

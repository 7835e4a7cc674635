"""From a source, a destination and wishes to the list of stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bot.domain.ports import Engine, Plan, Profiler, Step, Streamer, StreamSink, Transferer
from bot.domain.task import Stage, StageKind, StepSpec, Task, TaskOptions
from bot.engines.registry import Engines
from bot.errors import InvalidInput, PolicyRefused
from bot.transfers.space import DiskLedger
from bot.transfers.steps import step_of

#: How a source gets to its destination.
VIA_DISK, STREAMED, REMOTE_COPY = "disk", "stream", "remote-copy"


@dataclass(frozen=True, slots=True)
class Route:
    """What the planner decided. ``disk`` is the bytes that the work takes at most, None if unknown;
    ``workspace`` is the directory (not yet made) in which it happens.
    """

    plan: Plan
    way: str
    stages: list[Stage]
    disk: int | None
    workspace: Path
    available: int


class Planner:
    """Makes routes. ``workspace_of`` gives the directory for work towards a destination."""

    def __init__(
        self,
        engines: Engines,
        steps: Mapping[str, Step],
        space: DiskLedger,
        *,
        workspace_of: Callable[[str, str], Path],
        stream_max_size: int,
        seeds_by_default: bool,
        profiler: Profiler,
    ) -> None:
        self._engines = engines
        self._steps = steps
        self._space = space
        self._workspace_of = workspace_of
        self._stream_max_size = stream_max_size
        self._seeds_by_default = seeds_by_default
        self._profiler = profiler

    @property
    def step_names(self) -> tuple[str, ...]:
        """The steps there are, by name."""
        return tuple(self._steps)

    def check(
        self, source: str, destination: str, options: TaskOptions, steps: list[StepSpec]
    ) -> list[StepSpec]:
        """What can be said without asking anybody: the steps in canonical form.

        Raises InvalidInput, Unsupported or PolicyRefused.
        """
        fetcher = self._engines.for_source(source, options.engine)
        deliverer = self._engines.for_destination(destination)
        self._workspace_of(destination, "")
        if options.overwrite not in {"rename", "replace", "refuse"}:
            raise InvalidInput(
                f"overwrite {options.overwrite!r} is not known",
                hint="rename, replace or refuse",
            )
        if options.stream and not _can_stream(fetcher, deliverer):
            raise InvalidInput(
                f"{fetcher.name} can't stream to {deliverer.name}",
                hint="streaming goes from http to a remote; leave stream out to let it choose",
            )
        if options.stream and steps:
            raise InvalidInput("a step needs the file on disk, so it can't be streamed")
        return [self._checked(step) for step in steps]

    def check_destination(self, task: Task, destination: str) -> None:
        """As ``check``, for a task that would go there instead."""
        self.check(task.source, destination, task.options, task.steps)

    def check_engine(self, task: Task, engine: str) -> None:
        """As ``check``, for a task that would be fetched by that engine."""
        options = msgspec.structs.replace(task.options, engine=engine)
        self.check(task.source, task.destination, options, task.steps)

    def _checked(self, spec: StepSpec) -> StepSpec:
        step = self._steps.get(spec.name)
        if step is None:
            raise InvalidInput(
                f"there is no step {spec.name!r}",
                hint=f"there are {', '.join(sorted(self._steps))}",
            )
        return StepSpec(spec.name, step.check(spec.params))

    async def route(self, task: Task) -> Route:
        """Ask the source, and decide. Raises a TransferError."""
        fetcher = self._engines.for_source(task.source, task.options.engine)
        deliverer = self._engines.for_destination(task.destination)
        with self._profiler.measure(f"plan.{fetcher.name}", task=task.id):
            plan = await fetcher.plan(task.source, task.options)
        workspace = self._workspace_of(task.destination, task.id)
        room = await self._space.room(workspace)
        disk = self._disk(plan, task.steps)
        way = self._way(task, plan, fetcher, deliverer, room.available)
        if way != VIA_DISK:
            disk = 0
        stages = self._stages(task, fetcher, deliverer, way)
        return Route(plan, way, stages, disk, workspace, room.available)

    def _disk(self, plan: Plan, steps: list[StepSpec]) -> int | None:
        """The most that lies on the disk at one time: a stage's input and its output."""
        size = plan.disk if plan.disk is not None else plan.size
        if size is None:
            return None
        peak, current = size, size
        for spec in steps:
            output = step_of(self._steps, spec.name).disk(current, spec.params)
            peak = max(peak, current + output)
            current = output
        return peak

    def _way(
        self, task: Task, plan: Plan, fetcher: Engine, deliverer: Engine, available: int
    ) -> str:
        options = task.options
        if task.steps:
            return VIA_DISK
        if fetcher is deliverer and isinstance(fetcher, Transferer) and options.stream is not False:
            return REMOTE_COPY
        if not _can_stream(fetcher, deliverer) or options.stream is False or options.checksum:
            return VIA_DISK
        if len(plan.files) > 1:
            return VIA_DISK
        small = plan.size is not None and plan.size <= self._stream_max_size
        crowded = plan.size is not None and plan.size > available
        return STREAMED if options.stream or small or crowded else VIA_DISK

    def _stages(self, task: Task, fetcher: Engine, deliverer: Engine, way: str) -> list[Stage]:
        deliver = Stage(StageKind.DELIVER, deliverer.name, {"way": way})
        verify = Stage(StageKind.VERIFY, deliverer.name)
        if way != VIA_DISK:
            deliver.params["from"] = fetcher.name
            return [deliver, verify]
        steps = [Stage(StageKind.STEP, spec.name, dict(spec.params)) for spec in task.steps]
        stages = [Stage(StageKind.FETCH, fetcher.name), *steps, deliver, verify]
        if fetcher.capabilities.seeds and self._wants_seeding(task.options):
            deliver.params["keep"] = True
            stages.append(Stage(StageKind.SEED, fetcher.name))
        return stages

    def _wants_seeding(self, options: TaskOptions) -> bool:
        if options.seed_ratio is None and options.seed_seconds is None:
            return self._seeds_by_default
        return bool(options.seed_ratio or options.seed_seconds)


def _can_stream(fetcher: Engine, deliverer: Engine) -> bool:
    return (
        fetcher.capabilities.streams
        and isinstance(fetcher, Streamer)
        and isinstance(deliverer, StreamSink)
    )


def describe(route: Route, task: Task) -> dict[str, Any]:
    """The route as doors show it: JSON types, bytes."""
    plan = route.plan
    return {
        "engine": plan.engine,
        "source": task.source,
        "destination": task.destination,
        "name": plan.name,
        "size": plan.size,
        "is_estimate": plan.is_estimate,
        "resumable": plan.resumable,
        "files": [{"index": f.index, "path": f.path, "size": f.size} for f in plan.files],
        "way": route.way,
        "stages": [stage.label for stage in route.stages],
        "disk": {
            "needed": route.disk,
            "available": route.available,
            "fits": route.disk is None or route.disk <= route.available,
        },
        "note": plan.note,
    }


def check_local_name(name: str | None) -> None:
    """PolicyRefused where a wished name is a path or hidden."""
    if name is not None and (not name.strip() or name[0] == "." or "/" in name or "\0" in name):
        raise PolicyRefused(
            f"{name[:80]!r} can't be a name",
            hint="a name has no '/' and does not begin with '.'",
        )

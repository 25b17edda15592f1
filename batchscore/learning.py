"""What a run that succeeded teaches: how its steps compare with what is declared of them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from batchscore import paths
from batchscore.compute.base import JobState, StepProgress
from batchscore.definitions.model import ParallelStep, Pipeline, Step
from batchscore.estimates import Place, Work, step_seconds
from batchscore.expectations import after, figures_of
from batchscore.figures import Figures
from batchscore.holdings import Holdings, Inventory, has_made_items
from batchscore.measured import RunSample, StepSample, options_of
from batchscore.places import LOCAL
from batchscore.runs import Run, RunState

TAUGHT_BY = (RunState.SUCCEEDED, RunState.SUCCEEDED_WITH_ERRORS)


def sample(
    run: Run, pipeline: Pipeline, inventory: Inventory, gpu_environments: Collection[str]
) -> RunSample | None:
    """The run as a sample; None when it teaches nothing: it did not succeed at once, found work of earlier runs done,
    or its steps do not say how long they took. DefinitionError when its pipeline's tags are wrong."""
    if run.state not in TAUGHT_BY or len(run.attempts) != 1 or run.job is None or run.ended_at is None:
        return None
    progress = {step.name: step for step in run.steps}
    if any(not _told(progress.get(step.name)) for step in pipeline.steps):
        return None
    if run.summary is not None and run.summary.skipped:
        return None
    sizes = {step.name: step.size for step in run.estimate.steps} if run.estimate else {}
    places = {step.name: Place("", sizes.get(step.name, LOCAL)) for step in pipeline.steps}
    figures = figures_of(pipeline, places, gpu_environments)
    holdings = Holdings(pipeline, run.job.inputs, inventory)
    samples = [
        _step(step, progress[step.name], places[step.name], figures[step.name], figures, holdings, run)
        for step in pipeline.steps
    ]
    return RunSample(
        run.id,
        run.ended_at,
        options_of(pipeline, run.job.inputs),
        tuple(each for each in samples if each is not None),
        _node_start_s(run, pipeline, progress),
    )


def _told(step: StepProgress | None) -> bool:
    return step is not None and step.state is JobState.SUCCEEDED and step.seconds > 0


def _step(
    step: Step,
    progress: StepProgress,
    place: Place,
    figures: Figures,
    every: Mapping[str, Figures],
    holdings: Holdings,
    run: Run,
) -> StepSample | None:
    features = holdings.features(every)
    if not isinstance(step, ParallelStep):
        expected = figures.start_s + figures.work_s(features)
        if not expected:
            return None
        return StepSample(step.name, place.size, figures.text, round(progress.seconds / expected, 4))
    items = progress.items_done + progress.items_failed
    expected = figures.work_s(features, items)
    work_s = _worker_seconds(step, progress, figures, run)
    if not items or not expected:
        return None
    factor = items / figures.expected_items(features) if has_made_items(step) else None
    return StepSample(
        step.name,
        place.size,
        figures.text,
        round(work_s / expected, 4),
        None if factor is None else round(factor, 4),
        round(max(0.0, progress.seconds - _without_start(step, progress, items, work_s, run)), 3),
    )


def _worker_seconds(step: ParallelStep, progress: StepProgress, figures: Figures, run: Run) -> float:
    """Of all items: by their receipts, where the step writes them, else by the clock."""
    receipts = paths.RECEIPTS_OUTPUT in step.output_bindings.values()
    total = run.summary.total_milliseconds.get("total") if run.summary and receipts else None
    if total:
        return total / 1_000
    return (
        max(0.0, progress.seconds - figures.start_s)
        * progress.nodes
        * (step.max_concurrency_per_instance or 1)
    )


def _without_start(step: ParallelStep, progress: StepProgress, items: int, work_s: float, run: Run) -> float:
    """How long the step would have taken if its workers had begun at once."""
    overrides = run.job.overrides if run.job else None
    workers = run.summary.workers if run.summary else 0
    work = Work(
        step.name,
        Place("", ""),
        seconds=work_s,
        items=items,
        mini_batch_size=step.mini_batch_size or 1,
        workers=max(1, workers or (step.max_concurrency_per_instance or 1) * progress.nodes),
    )
    return step_seconds(work, 1, work.size(overrides.mini_batch_size if overrides else None))


def _node_start_s(run: Run, pipeline: Pipeline, progress: Mapping[str, StepProgress]) -> float | None:
    """How long the run waited each time for nodes, where it was expected to: what its steps do not account for."""
    if run.estimate is None or not run.estimate.starts:
        return None
    ends: dict[str, float] = {}
    for step in pipeline.steps:
        begin = max((ends[name] for name in after(step)), default=0.0)
        ends[step.name] = begin + progress[step.name].seconds
    [attempt] = run.attempts
    lasted = (attempt.ended_at - attempt.started_at).total_seconds() if attempt.ended_at else 0
    return round(max(0.0, lasted - max(ends.values())) / run.estimate.starts, 3)

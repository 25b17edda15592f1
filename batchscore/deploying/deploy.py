"""A deployment from beginning to end: read, look, decide, act, write down."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from batchscore.deploying.changes import Action, Change, changes
from batchscore.deploying.wanted import Wanted, wanted
from batchscore.deploying.workspace import Workspace
from batchscore.deployment import Deployment, read_with_etag, write_deployment
from batchscore.errors import NotDeployedError, RequestError
from batchscore.settings import Settings
from batchscore.storage import Storage
from batchscore.workloads import Workloads

Tell = Callable[[Change], None]


class Deploying:
    """One deployment. `plan` may be looked at before `carry_out` is called."""

    def __init__(
        self, settings: Settings, storage: Storage, workloads: Workloads, workspace: Workspace
    ) -> None:
        self._settings, self._storage, self._workloads = settings, storage, workloads
        self._workspace = workspace
        self._wanted: Wanted | None = None
        self._etag: str | None = None
        self.before: Deployment | None = None
        """What was deployed before, when `plan` was made."""

    def plan(self, *, computes_by_infra: bool, dry_run: bool) -> tuple[Change, ...]:
        """What is to be done. A dry run changes nothing, not even in storage, so models that ship and were never used
        are not in it."""
        try:
            self.before, self._etag = read_with_etag(self._storage)
        except NotDeployedError as error:  # a torn record
            raise RequestError(str(error)) from None
        self._wanted = wanted(self._settings, self._storage, self._workloads, bring_models=not dry_run)
        found = self._workspace.look(self._wanted)
        return changes(self._wanted, found, computes_by_infra=computes_by_infra)

    def carry_out(self, plan: tuple[Change, ...], tell: Tell) -> Deployment:
        """Do what is due, tell each before it is done, and write the record. RequestError when something is refused, before
        anything is done, and when another deployment was quicker."""
        assert self._wanted is not None
        refused = [
            f"{change.kind} {change.name} {change.note}" for change in plan if change.action is Action.REFUSE
        ]
        if refused:
            raise RequestError("nothing was changed. " + " ".join(refused))
        for change in plan:
            if change.is_due:
                tell(change)
                self._workspace.carry_out(change)
        deployment = self._record(self._wanted, plan)
        if self.before is not None and _same(self.before, deployment):
            return self.before
        if not write_deployment(self._storage, deployment, self._etag):
            raise RequestError(
                "another deployment ended meanwhile, and its record stays. Look at what it brought, and deploy again if "
                "this one is to count."
            )
        return deployment

    def _record(self, wanted: Wanted, plan: tuple[Change, ...]) -> Deployment:
        left = {(change.name, change.version) for change in plan if change.action is Action.LEAVE}
        return Deployment(
            datetime.now(UTC),
            self._workspace.place,
            dict(wanted.workloads),
            {environment.name: environment.version for environment in wanted.environments},
            {name: target.name for name, target in wanted.clusters.items()},
            {datastore.container: datastore.name for datastore in wanted.datastores},
            {
                model.name: f"{model.name}:{model.version}"
                for model in wanted.models
                if (model.name, model.version) not in left
            },
        )


def deploy_all(settings: Settings, storage: Storage, tell: Tell = lambda _: None) -> Deployment:
    """Deploy the folder of workloads to the workspace that the settings name."""
    assert settings.workspace is not None
    workloads = Workloads(settings.workloads_folder, settings.local_map)
    workspace = Workspace(settings.workspace, storage)
    try:
        deploying = Deploying(settings, storage, workloads, workspace)
        return deploying.carry_out(deploying.plan(computes_by_infra=False, dry_run=False), tell)
    finally:
        workspace.close()


def _same(before: Deployment, after: Deployment) -> bool:
    """Whether a deployment says what the one before said."""
    parts = ("workspace", "workloads", "environments", "computes", "datastores", "models")
    return all(getattr(before, part) == getattr(after, part) for part in parts)

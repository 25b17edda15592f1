"""The Azure ML workspace: does it answer, are its clusters and datastores as they should be, and is what is deployed what
runs here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from batchscore.cli.wording import counted, moment
from batchscore.compute.azureml.api import WorkspaceApi
from batchscore.definitions.compute_targets import GPU_ENABLED, ComputeTarget, load_targets
from batchscore.deploying.changes import Action, Change, changes
from batchscore.deploying.components import components_of
from batchscore.deploying.environments import read_environments
from batchscore.deploying.errors import AGAIN, doing
from batchscore.deploying.found import AML_COMPUTE, Found, look
from batchscore.deploying.wanted import Wanted, datastores, present, workloads_without_cluster
from batchscore.deployment import Deployment, deployed_workload, read_deployment
from batchscore.doctor.findings import Finding
from batchscore.errors import BatchscoreError, DefinitionError, NotDeployedError
from batchscore.settings import DEVELOPMENT_WORKSPACE, Settings, Workspace
from batchscore.storage import Storage
from batchscore.workloads import Workloads

WHAT = "Azure ML"
DEPLOY = "'batchscore deploy'"
Bad = Callable[[str, str, str], Finding]


def read(settings: Settings) -> Iterator[Finding]:
    """Nothing is said where no workspace is named. What keeps jobs from running there fails when COMPUTE is azureml, else
    it is a warning."""
    address = settings.workspace
    if address is None:
        return
    bad = Finding.fail if settings.compute == "azureml" else Finding.warn
    if address.name == DEVELOPMENT_WORKSPACE:
        yield Finding.warn(
            WHAT,
            "AZUREML_WORKSPACE_NAME asks for the workspace of a dev host, and none runs here",
            "'make start' starts it",
        )
        return
    api = WorkspaceApi(address)
    storage = Storage(settings)
    try:
        with doing(f"look at the workspace {address.name}"):
            document = api.workspace()
        yield Finding.ok(
            WHAT, f"workspace {address.name} answers, in {document.get('location')}, {_who(address)}"
        )
        targets = load_targets(settings.workloads_folder, settings.clusters)
        wanted = Wanted(
            present(targets),
            datastores(settings, storage),
            (),
            (),
            (),
            {},
        )
        found = look(api, wanted)
        for change in changes(wanted, found, computes_by_infra=False):
            yield from of_change(change, found, bad)
        workloads = Workloads(settings.workloads_folder, settings.local_map)
        yield from of_deployment(read_deployment(storage), workloads, address.place, targets, bad)
    except NotDeployedError as error:  # a torn record
        yield bad(WHAT, str(error), DEPLOY)
    except BatchscoreError as error:
        yield bad(
            WHAT,
            str(error).removesuffix(AGAIN).rstrip(),
            "docs/deploy.md says what to do, and who needs which role",
        )
    finally:
        api.close()
        storage.close()


def of_change(change: Change, found: Found, bad: Bad) -> Iterator[Finding]:
    """What a difference between the workspace and what it should be means for runs."""
    told = f"{change.kind} {change.name}"
    cluster = found.clusters.get(change.name) if change.kind == "cluster" else None
    if cluster is not None and cluster.trouble:
        yield Finding.warn(
            WHAT, f"{told}: {cluster.trouble}", "look at the cluster in the workspace, and at its quota"
        )
    if change.action is Action.KEEP:
        yield Finding.ok(WHAT, f"{told}: {change.note}")
    elif change.action is Action.CREATE:
        yield bad(WHAT, f"{told} is not in the workspace", f"{DEPLOY} makes it")
    elif change.action is Action.CHANGE:
        yield Finding.warn(WHAT, f"{told} is not as it should be: {change.note}", f"{DEPLOY} changes it")
    else:
        usable = cluster is not None and cluster.kind == AML_COMPUTE and cluster.state.lower() != "failed"
        finding = Finding.warn if usable else bad
        yield finding(WHAT, f"{told} {change.note}", "docs/deploy.md says what may be changed")


def of_deployment(
    deployment: Deployment | None,
    workloads: Workloads,
    workspace: str,
    targets: Mapping[str, ComputeTarget],
    bad: Bad,
) -> Iterator[Finding]:
    """Whether every workload is deployed as it is here: its definition, without which its runs wait, and what a run does
    not look at, its code and environments."""
    reasons: dict[str, str] = {}
    older: list[str] = []
    names = workloads.names()
    environments = read_environments(workloads.folder)
    clusters = {name: target.name for name, target in targets.items()}
    unplaced = workloads_without_cluster(workloads, targets)
    names = [name for name in names if name not in unplaced]
    for name in names:
        try:
            pipeline = workloads.pipeline(name)
            deployed = deployed_workload(deployment, name, pipeline, workspace)
            here = components_of(name, pipeline, environments, clusters)
            if (deployed.pipeline, deployed.steps) != (here.pipeline.label, dict(here.steps)):
                older.append(name)
        except NotDeployedError as error:
            reasons.setdefault(str(error), name)
        except DefinitionError:
            continue  # which is a finding of its own
    for reason in reasons:
        yield bad(WHAT, reason.partition(f" Run {DEPLOY}")[0], f"{DEPLOY}; runs wait until then")
    if older:
        yield Finding.warn(
            WHAT,
            f"code or environments are others here than were deployed of {', '.join(older)}; runs take what was deployed",
            f"{DEPLOY}, so that runs take what is here",
        )
    if unplaced:
        why = next(iter(unplaced.values()))
        yield Finding.warn(
            WHAT,
            f"{counted(len(unplaced), 'workload')} cannot run here ({', '.join(unplaced)}), and runs are refused: "
            f"{why.partition(' Where it is wanted')[0]}",
            f"{GPU_ENABLED}=true, and deploy again, where they are wanted",
        )
    if deployment is not None and not reasons and not older:
        yield Finding.ok(
            WHAT,
            f"{counted(len(names), 'workload')} deployed as they are here, {moment(deployment.deployed_at)}",
        )


def _who(address: Workspace) -> str:
    if address.endpoint:
        return "the stand-in on this machine"
    return f"by identity {address.client_id}" if address.client_id else "by this machine's or user's identity"

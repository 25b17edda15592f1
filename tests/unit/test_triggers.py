"""A trigger file's bytes become a request, or are refused with every reason."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from batchscore import run_options
from batchscore.compute.base import Overrides
from batchscore.errors import RequestError
from batchscore.planner import Bounds
from batchscore.triggers import RunRequest, parse
from batchscore.workloads import Workloads
from tests.unit.workload_folder import write_workloads

LIMIT = 65_536
GOOD = {"workload": "demo/copy", "inputs": {"files": "in/"}}


@pytest.fixture(scope="module")
def workloads(tmp_path_factory: pytest.TempPathFactory) -> Workloads:
    return Workloads(write_workloads(tmp_path_factory.mktemp("triggers")))


def with_inputs(**inputs: object) -> bytes:
    return json.dumps({"workload": "demo/copy", "inputs": {"files": "in", **inputs}}).encode()


def with_keys(**keys: object) -> bytes:
    return json.dumps(GOOD | keys).encode()


def test_workload_and_inputs_are_enough(workloads: Workloads) -> None:
    assert parse(with_keys(), workloads, LIMIT) == RunRequest("demo/copy", {"files": "in/"})


def test_every_knob_has_its_v2_name(workloads: Workloads) -> None:
    request = parse(
        with_keys(
            nodes=4,
            mini_batch_size=50,
            max_concurrency_per_instance=2,
            error_threshold=-1,
            mini_batch_error_threshold=3,
            retry_settings={"timeout": 600, "max_retries": 3},
            logging_level="DEBUG",
        ),
        workloads,
        LIMIT,
    )
    assert request.overrides == Overrides(4, 50, 2, -1, 3, 600, 3, "DEBUG")


def test_a_run_may_leave_nodes_and_mini_batches_to_the_planner_within_bounds_and_say_what_it_may_cost(
    workloads: Workloads,
) -> None:
    request = parse(
        with_keys(nodes={"min": 1, "max": 8}, mini_batch_size={"min": 5, "max": 5}, max_cost=2.5),
        workloads,
        LIMIT,
    )
    assert request.bounds == {"nodes": Bounds(1, 8), "mini_batch_size": Bounds(5, 5)}
    assert request.overrides == Overrides()
    assert request.max_cost == 2.5
    assert parse(with_keys(max_cost=None), workloads, LIMIT).max_cost is None


def test_a_run_says_how_data_travels_where_it_runs_and_what_its_variables_are(workloads: Workloads) -> None:
    asked = {
        "modes": {"table": "download", "copies": "upload"},
        "compute": {"copy": "azureml:big-cluster"},
        "environment_variables": {"OMP_NUM_THREADS": "2", "COLOUR": "red"},
    }
    assert parse(with_keys(**asked), workloads, LIMIT).overrides == Overrides(
        modes={"table": "download", "copies": "upload"},
        compute={"copy": "big-cluster"},
        environment_variables={"OMP_NUM_THREADS": "2", "COLOUR": "red"},
    )
    everywhere = parse(with_keys(compute="gpu-cluster"), workloads, LIMIT).overrides
    assert (everywhere.compute_of("copy"), everywhere.compute_of("list")) == ("gpu-cluster", "gpu-cluster")


def test_an_input_that_is_null_counts_as_not_given(workloads: Workloads) -> None:
    request = parse(with_inputs(strength=None, table=None), workloads, LIMIT)
    assert request == RunRequest("demo/copy", {"files": "in"})


def test_a_byte_order_mark_is_taken(workloads: Workloads) -> None:
    assert parse(b"\xef\xbb\xbf" + with_keys(), workloads, LIMIT).workload == "demo/copy"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b"{", "not JSON: Expecting property name"),
        (b"workload: demo/copy", "not JSON: Expecting value at line 1, column 1"),
        (b"\xff\xfe{\x00", "not UTF-8 (byte 0)"),
        (b" " * (LIMIT + 1), "larger than 65536 bytes"),
        (b"[" * 60_000, "nested too deeply"),
        (b"[]", "must be a JSON object"),
        (b'"x"', 'is "x"; it must be a JSON object'),
        (b'{"workload": "a", "workload": "b"}', "'workload' appears twice"),
        (b'{"workload": "demo/copy", "inputs": {"files": "a", "files": "b"}}', "'files' appears twice"),
        (b'{"nodes": NaN}', "NaN is not a number"),
        (b'{"nodes": 1' + b"0" * 5000 + b"}", "number that cannot be read"),
        (
            b'{"workload": "demo/copy", "inputs": {"files": "in", "model": "\\ud800"}}',
            "half of a surrogate pair",
        ),
        (b'{"\\udfff": 1}', "half of a surrogate pair"),
        (b"{}", "workload is missing"),
        (with_keys(workload=3), "workload is 3; it must be the name of a workload: demo/copy"),
        (with_keys(workload="demo/cpoy"), "Did you mean 'demo/copy'?"),
        (with_keys(workload="../demo/copy"), "no workload '../demo/copy'"),
        (with_keys(inputs=[]), "inputs is []"),
        (with_keys(input={}), "'input' is not a key of a trigger file. Did you mean 'inputs'?"),
        (with_keys(nodes=0), "nodes is 0; it must be a whole number from 1"),
        (with_keys(nodes=True), "nodes is true"),
        (with_keys(nodes=1.5), "nodes is 1.5"),
        (with_keys(mini_batch_size="10"), 'mini_batch_size is "10"'),
        (with_keys(error_threshold=-5), "error_threshold is -5; it must be a whole number from -1"),
        (with_keys(retry_settings=5), "retry_settings is 5"),
        (with_keys(retry_settings={"timeout": 300_000}), "retry_settings.timeout is 300000"),
        (with_keys(retry_settings={"max_retry": 1}), "Did you mean 'max_retries'?"),
        (with_keys(logging_level="debug"), 'logging_level is "debug"; it must be one of DEBUG'),
        (with_keys(max_cost=-1), "max_cost is -1; it must be a number, 0 to 1000000000: a sum of money"),
        (with_keys(max_cost=True), "max_cost is true"),
        (with_keys(max_cost="5 USD"), 'max_cost is "5 USD"'),
        (
            with_keys(nodes={"min": 1}),
            'nodes is {"min": 1}; it must be a whole number, or {"min": 1, "max": 8}',
        ),
        (with_keys(nodes={"min": 4, "max": 2}), "nodes.min is 4, more than nodes.max, 2"),
        (with_keys(nodes={"min": 0, "max": 2}), "nodes.min is 0; it must be a whole number from 1"),
        (with_keys(mini_batch_size={"min": 1, "max": "all"}), 'mini_batch_size.max is "all"'),
        (with_keys(error_threshold={"min": 1, "max": 2}), "error_threshold is {"),
        (with_keys(modes=["download"]), 'modes is ["download"]; it must be an object'),
        (
            with_keys(modes={"fils": "download"}),
            "modes names 'fils', which is no data of the pipeline. Did you mean 'files'?",
        ),
        (with_keys(modes={"strength": "download"}), "It is a value, and no file or folder."),
        (
            with_keys(modes={"files": "upload"}),
            "files is 'upload'; an input of type uri_folder can be ro_mount, download, direct.",
        ),
        (
            with_keys(modes={"files": "eval_mount"}),
            "an input of type uri_folder can be ro_mount, download, direct.",
        ),
        (
            with_keys(modes={"sheet": "mount"}),
            "an input of type mltable can be ro_mount, download, direct, eval_mount, eval_download.",
        ),
        (
            with_keys(modes={"copies": "download"}),
            "copies is 'download'; an output of type uri_folder can be rw_mount, upload.",
        ),
        (with_keys(modes={"copies": None}), "copies is empty; an output of"),
        (with_keys(modes={"receipts": "upload"}), "receipts is 'upload', and it is read while its step runs"),
        (with_keys(compute=3), "compute is 3; it must be the name of a cluster"),
        (with_keys(compute="gpu cluster"), 'compute is "gpu cluster"; it must be the name of a cluster'),
        (
            with_keys(compute={"copi": "gpu-cluster"}),
            "compute names 'copi', which is no step. Did you mean 'copy'?",
        ),
        (with_keys(compute={"copy": ""}), 'compute.copy is ""; it must be the name of a cluster'),
        (with_keys(environment_variables="A=1"), 'environment_variables is "A=1"; it must be an object'),
        (
            with_keys(environment_variables={"COLOUR": 3}),
            "environment_variables.COLOUR is 3; it must be text",
        ),
        (
            with_keys(environment_variables={"COLOUR": "x" * 5000}),
            "it must be text of at most 4096 characters",
        ),
        (
            with_keys(environment_variables={"COLOR": "red"}),
            "environment_variables.COLOR is declared by no step. Did you mean 'COLOUR'?",
        ),
        (
            with_keys(environment_variables={"LD_PRELOAD": "/tmp/x.so"}),
            "environment_variables.LD_PRELOAD is declared by no step.",
        ),
        (
            with_keys(environment_variables={"API_KEY": "x"}),
            "environment_variables.API_KEY looks like a secret",
        ),
        (
            with_keys(environment_variables={"COLOUR": "AccountKey=abc"}),
            "environment_variables.COLOUR has a value that looks like a secret",
        ),
        (b'{"workload": "demo/copy"}', "files"),
        (with_inputs(filse="x"), "filse"),
        (with_inputs(strength="strong"), "strength"),
        (with_inputs(strength=1.5), "1.5"),
        (with_inputs(mode="best"), "best"),
        (with_inputs(table=7), "table"),
        (with_inputs(files=None), "input 'files' is missing"),
        (with_inputs(files="../other"), "input 'files' is '../other', which leaves its folder"),
        (with_inputs(files="/in"), "is an absolute path"),
        (with_inputs(table="https://other.blob.core.windows.net/c/b"), "which is a URL"),
    ],
)
def test_what_is_wrong_is_said_with_the_value_and_the_remedy(
    workloads: Workloads, data: bytes, said: str
) -> None:
    with pytest.raises(RequestError) as caught:
        parse(data, workloads, LIMIT)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 2_000


def test_all_reasons_are_given_at_once(workloads: Workloads) -> None:
    with pytest.raises(RequestError) as caught:
        parse(with_keys(nodes=0, speed=1, inputs={"files": "..", "mode": "best"}), workloads, LIMIT)
    for said in ("nodes", "speed", "'..'", "best"):
        assert said in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
keys = (
    st.sampled_from(
        ["workload", "inputs", "nodes", "retry_settings", "logging_level", "max_cost", *run_options.KEYS]
    )
    | st.text()
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary() | st.dictionaries(keys, json_values).map(lambda body: json.dumps(body).encode()))
def test_no_bytes_raise_anything_but_a_reason(workloads: Workloads, data: bytes) -> None:
    try:
        parse(data, workloads, LIMIT)
    except RequestError as error:
        assert str(error)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.dictionaries(st.sampled_from(["files", "table", "model", "strength", "mode"]) | st.text(), json_values)
)
def test_no_inputs_raise_anything_but_a_reason(workloads: Workloads, inputs: dict[str, object]) -> None:
    try:
        request = parse(json.dumps({"workload": "demo/copy", "inputs": inputs}).encode(), workloads, LIMIT)
    except RequestError:
        return
    assert msgspec.json.decode(msgspec.json.encode(request), type=RunRequest) == request
    assert isinstance(request.inputs["files"], str)
    assert ".." not in Path(request.inputs["files"]).parts

"""The reader of Bicep works expressions out as Bicep does, and refuses what would fail on Azure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.infra.bicep import Files
from tests.infra.deployment import GROUP, SUBSCRIPTION, deploy
from tests.infra.syntax import BicepError

FILE = "infra/main.bicep"
ACCOUNT = "'Microsoft.Storage/storageAccounts@2025-01-01'"


def outputs(source: str, **parameters: Any) -> dict[str, Any]:
    return deploy(Files(Path("/nowhere"), {FILE: source}), FILE, parameters, GROUP).outputs


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", 7),
        ("-1 + 2", 1),
        ("true || false && false", True),
        ("!true == false", True),
        ("1 < 2 ? 'a' : 'b'", "a"),
        ("false ? 'a' : true ? 'b' : 'c'", "b"),
        ("true ? here.name : here.other[0]", "n"),
        ("false ? '' : here.other[1]", "y"),
        ("here.?nothing ?? 'else'", "else"),
        ("'${here.name}-${length(here.other)}-${true}'", "n-2-true"),
        (r"'it\'s \${plain}\n'", "it's ${plain}\n"),
        ("'''\nas ${it} is\n'''", "as ${it} is\n"),
        ("'${empty('') ? 'a' : 'b'}}'", "a}"),
        ("map(here.other, each => each.length)", None),
        ("map(here.other, each => '${each}!')", ["x!", "y!"]),
        ("reduce(here.other, '', (all, each) => '${each}${all}')", "yx"),
        ("filter([1, 2, 3], each => each > 1)", [2, 3]),
        ("[for (each, i) in here.other: '${i}${each}']", ["0x", "1y"]),
        ("[\n  1\n  2 // two\n]", [1, 2]),
        ("union({ a: { b: 1 } }, { a: { c: 2 } })", {"a": {"b": 1, "c": 2}}),
        ("items({ b: 2, a: 1 })", [{"key": "a", "value": 1}, {"key": "b", "value": 2}]),
        ("concat([1], [2])", [1, 2]),
        ("cidrSubnet('10.0.0.0/16', 24, 1)", "10.0.1.0/24"),
        ("resourceGroup().id", GROUP),
        ("guid('a', 'b') == guid('a', 'b')", True),
        ("guid('a', 'b') == guid('b', 'a')", False),
        ("any(here)['name']", "n"),
    ],
)
def test_an_expression_has_its_value(expression: str, value: object) -> None:
    source = f"var here = {{\n  name: 'n'\n  other: ['x', 'y']\n}}\noutput said object = {expression}\n"
    if value is None:
        with pytest.raises(BicepError):
            outputs(source)
    else:
        assert outputs(source) == {"said": value}


def test_ids_follow_from_names_parents_and_scopes() -> None:
    source = f"""
resource account {ACCOUNT} = {{
  name: 'one'
  resource blobs 'blobServices' existing = {{
    name: 'default'
  }}
}}
resource container 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' = [
  for name in ['a', 'b']: {{
    parent: account::blobs
    name: name
  }}
]
resource note 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {{
  scope: container[1]
  name: 'note'
}}
output id string = note.id
output blob string = account.properties.primaryEndpoints.blob
"""
    place = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/one/blobServices/default/containers/b"
    assert outputs(source) == {
        "id": f"{place}/providers/Microsoft.Insights/diagnosticSettings/note",
        "blob": "https://one.blob.core.windows.net/",
    }


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("output said string = nobody", "nothing is called nobody"),
        ("param name string", "nobody gives the parameter name"),
        ("param size int = 'large'", "it must be int"),
        ("@allowed(['a'])\nparam name string = 'b'", "not allowed"),
        ("@minLength(2)\nparam name string = 'b'", "out of its bounds"),
        ("var a = b\nvar b = a\noutput said string = a", "needs itself"),
        ("output said string = {a: 1}.b", "there is no 'b'"),
        ("output said string = newGuid()", "no value is known of newGuid"),
        ("output said string = 'a", "a text has no end"),
        ("output said string = [1", "is missing"),
        ("output said string 'a'", "= is missing"),
        ("wish said string = 'a'", "nothing that this reader knows"),
        (
            f"param on bool = false\nresource a {ACCOUNT} = if (on) {{\n  name: 'a'\n}}\n"
            "output said string = a.properties.primaryEndpoints.blob",
            "a is not there",
        ),
    ],
)
def test_what_azure_would_refuse_is_refused(source: str, said: str) -> None:
    with pytest.raises(BicepError, match=said):
        outputs(source)


def test_a_module_is_deployed_where_it_belongs_and_gives_its_outputs() -> None:
    main = """targetScope = 'subscription'
resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-x'
}
module part 'modules/part.bicep' = {
  name: 'part'
  scope: group
  params: { size: 2 }
}
output place string = part.outputs.place
"""
    part = "param size int\noutput place string = '${resourceGroup().id}/${size}'\n"
    files = Files(Path("/nowhere"), {FILE: main, "infra/modules/part.bicep": part})
    assert deploy(files, FILE, {}).outputs == {"place": f"{SUBSCRIPTION}/resourceGroups/rg-x/2"}
    with pytest.raises(BicepError, match="is not for"):
        deploy(
            Files(Path("/nowhere"), {**files.changed, FILE: main.replace("  scope: group\n", "")}), FILE, {}
        )

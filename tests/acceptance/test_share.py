"""Links for people outside, made by the real SDK with a real user-delegation key and used by plain HTTP: what each opens, and
everything that it does not.

Azurite gives the key and checks the signature, the times, the protocol, the deed and the blob. It does not check addresses
(`--ip`): there the link's own parameters are looked at, which its signature covers.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import pytest
import requests
from typer.testing import CliRunner

from batchscore import links, paths
from batchscore.cli import app
from batchscore.cli.sharing import taking_back, usage
from batchscore.errors import RequestError, StorageUnavailableError
from batchscore.links import Deed, Period
from batchscore.settings import Settings
from batchscore.storage import Storage
from tests.azurite_signed_in import ISSUER, SecureAzurite, SignedIn

BRINGS = {"x-ms-blob-type": "BlockBlob"}
HOSTILE = [
    "a b.mp4",
    "ünïcödé 視頻.mp4",
    "what?.mp4",
    "half#way.mp4",
    "100%.mp4",
    "%2e%2e/%2e%2e/x.mp4",
    "a+b&c=d.mp4",
    "..a/b...mp4",
    "sig=x&se=9999.mp4",
    "a'b\"c;$(d).mp4",
]


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureAzurite]:
    with SecureAzurite(tmp_path_factory.mktemp("azurite-https")) as process:
        yield process


@pytest.fixture
def signed_in(
    secure: SecureAzurite, azurite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """The data account reached by identity, the system account elsewhere."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(secure.ca_file))
    monkeypatch.setattr("batchscore.storage.credential_of", lambda client_id: SignedIn())
    return Settings.from_environment(
        {
            "AzureWebJobsStorage": azurite,
            "DATA_STORAGE__blobServiceUri": secure.blob_endpoint,
            "DATA_CONTAINER": f"data-{os.urandom(5).hex()}",
            "TRIGGER_CONTAINER": "triggers",
            "LOCAL_WORK_FOLDER": str(tmp_path / "work"),
        }
    )


@pytest.fixture
def there(signed_in: Settings) -> Iterator[Storage]:
    """Storage in which a run has results, and somebody else has secrets."""
    storage = Storage(signed_in)
    container = storage.container("data", signed_in.data_container, create=True)
    for name in (
        "runs/ab/result/clip.mp4",
        "runs/ab/result/times.csv",
        "runs/ab/resultant/no.mp4",
        "secret.csv",
    ):
        container.upload_blob(name, name.encode())
    yield storage
    storage.close()


def for_a_day() -> Period:
    return links.period("1d", datetime.now(UTC))


def refused(answer: requests.Response, code: str | None = None) -> bool:
    return answer.status_code == 403 and (code is None or code in answer.text)


class TestReading:
    def test_each_file_below_the_prefix_has_a_link_that_opens_it(
        self, signed_in: Settings, there: Storage
    ) -> None:
        shared = links.reading(signed_in, there, "runs/ab/result", for_a_day())

        assert [link.blob for link in shared.links] == ["runs/ab/result/clip.mp4", "runs/ab/result/times.csv"]
        for link in shared.links:
            assert requests.get(link.url).content == link.blob.encode()

    def test_one_blob_may_be_shared_by_its_name(self, signed_in: Settings, there: Storage) -> None:
        (link,) = links.reading(signed_in, there, "secret.csv", for_a_day()).links
        assert requests.get(link.url).text == "secret.csv"

    def test_it_opens_no_other_blob(self, signed_in: Settings, there: Storage) -> None:
        (link, _) = links.reading(signed_in, there, "runs/ab/result", for_a_day()).links
        for other in ("secret.csv", "runs/ab/result/times.csv", "runs/ab/resultant/no.mp4"):
            assert refused(requests.get(link.url.replace(link.blob, other)))

    def test_it_lists_nothing(self, signed_in: Settings, there: Storage) -> None:
        (link, _) = links.reading(signed_in, there, "runs/ab/result", for_a_day()).links
        container, signature = link.url.split(f"/{link.blob}?")
        account = container.rsplit("/", 1)[0]
        assert refused(requests.get(f"{container}?restype=container&comp=list&{signature}"))
        assert refused(requests.get(f"{account}/?comp=list&{signature}"))

    def test_it_changes_nothing(self, signed_in: Settings, there: Storage) -> None:
        (link, _) = links.reading(signed_in, there, "runs/ab/result", for_a_day()).links
        assert refused(requests.put(link.url, b"mine", headers=BRINGS))
        assert refused(requests.delete(link.url))
        assert refused(requests.put(f"{link.url}&comp=metadata", headers={"x-ms-meta-a": "b"}))
        assert requests.get(link.url).content == link.blob.encode()

    def test_what_comes_later_is_not_shared(self, signed_in: Settings, there: Storage) -> None:
        shared = links.reading(signed_in, there, "runs/ab/result", for_a_day())
        there.container("data", signed_in.data_container).upload_blob("runs/ab/result/later.csv", b"x")
        assert len(shared.links) == 2

    def test_too_many_files_are_refused_after_the_first_too_many(
        self, signed_in: Settings, there: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(links, "MOST_LINKS", 1)
        with pytest.raises(
            RequestError, match=r"more than 1 blobs at 'runs/ab/result'.*Share a folder below it"
        ):
            links.reading(signed_in, there, "runs/ab/result", for_a_day())

    def test_nothing_there_is_said(self, signed_in: Settings, there: Storage) -> None:
        with pytest.raises(RequestError, match=r"there is nothing at 'runs/zz'.*--file"):
            links.reading(signed_in, there, "runs/zz", for_a_day())

    @pytest.mark.parametrize("name", HOSTILE)
    def test_a_name_is_a_name_however_it_looks(self, signed_in: Settings, there: Storage, name: str) -> None:
        there.container("data", signed_in.data_container).upload_blob(f"strange/{name}", name.encode())
        (link,) = links.reading(signed_in, there, "strange", for_a_day()).links
        assert requests.get(link.url).content == name.encode()
        assert unquote(urlsplit(link.url).path).endswith(f"/{signed_in.data_container}/strange/{name}")


class TestBringing:
    def test_a_link_brings_its_file_once(self, signed_in: Settings, there: Storage) -> None:
        (link,) = links.bringing(signed_in, there, "incoming/ada", ["clip.mp4"], for_a_day()).links

        assert requests.put(link.url, b"mine", headers=BRINGS).status_code == 201
        assert refused(requests.put(link.url, b"again", headers=BRINGS))
        assert refused(requests.get(link.url))
        assert refused(requests.delete(link.url))
        container = there.container("data", signed_in.data_container)
        assert container.download_blob("incoming/ada/clip.mp4").readall() == b"mine"

    def test_it_brings_no_other_file(self, signed_in: Settings, there: Storage) -> None:
        (link,) = links.bringing(signed_in, there, "incoming/ada", ["clip.mp4"], for_a_day()).links
        for other in ("incoming/ada/other.mp4", "incoming/eve.mp4", "inbox/x.mp4", "incoming/ada/../eve.mp4"):
            address = link.url.replace("incoming/ada/clip.mp4", other)
            assert refused(requests.put(address, b"mine", headers=BRINGS))
        escaped = link.url.replace(f"{signed_in.data_container}/incoming/ada/clip.mp4", "triggers/run.json")
        assert refused(requests.put(escaped, b"{}", headers=BRINGS))

    def test_it_brings_no_blocks_which_would_need_the_right_to_overwrite(
        self, signed_in: Settings, there: Storage
    ) -> None:
        """So what one link can bring is bounded by one request."""
        (link,) = links.bringing(signed_in, there, "incoming/ada", ["clip.mp4"], for_a_day()).links
        assert refused(requests.put(f"{link.url}&comp=block&blockid=YQ%3D%3D", b"mine"))

    def test_with_replace_it_brings_it_again(self, signed_in: Settings, there: Storage) -> None:
        (link,) = links.bringing(signed_in, there, "incoming", ["clip.mp4"], for_a_day(), replace=True).links
        for content in (b"first", b"second"):
            assert requests.put(link.url, content, headers=BRINGS).status_code == 201
        assert requests.put(f"{link.url}&comp=block&blockid=YQ%3D%3D", b"mine").status_code == 201
        assert refused(requests.get(link.url))
        assert refused(requests.delete(link.url))

    def test_a_file_that_is_there_is_refused_at_once(self, signed_in: Settings, there: Storage) -> None:
        there.container("data", signed_in.data_container).upload_blob("incoming/clip.mp4", b"x")
        with pytest.raises(RequestError, match=r"is there already.*--replace"):
            links.bringing(signed_in, there, "incoming", ["clip.mp4"], for_a_day())

    @pytest.mark.parametrize("name", HOSTILE)
    def test_a_name_is_a_name_however_it_looks(self, signed_in: Settings, there: Storage, name: str) -> None:
        (link,) = links.bringing(signed_in, there, "incoming", [name], for_a_day()).links
        assert requests.put(link.url, b"mine", headers=BRINGS).status_code == 201
        container = there.container("data", signed_in.data_container)
        assert list(container.list_blob_names(name_starts_with="incoming/")) == [f"incoming/{name}"]

    @pytest.mark.parametrize(
        "name",
        [
            "../eve.mp4",
            "a/../../eve.mp4",
            "/etc/passwd",
            "",
            ".",
            "a//b",
            "a\\b",
            "https://x/y",
            "a\nb",
            "C:/x",
            "folder/",
        ],
    )
    def test_a_name_that_leads_elsewhere_is_refused(
        self, signed_in: Settings, there: Storage, name: str
    ) -> None:
        with pytest.raises(RequestError):
            links.bringing(signed_in, there, "incoming", [name], for_a_day())

    @pytest.mark.parametrize("prefix", ["", "/", " ", "..", "/incoming", "incoming/../runs", "https://x"])
    def test_a_prefix_that_is_none_is_refused(self, signed_in: Settings, there: Storage, prefix: str) -> None:
        with pytest.raises(RequestError):
            links.bringing(signed_in, there, prefix, ["clip.mp4"], for_a_day())
        with pytest.raises(RequestError):
            links.reading(signed_in, there, prefix, for_a_day())

    @pytest.mark.parametrize(
        "prefix",
        [*(f"{own}x" for own in paths.WRITTEN_BY_RUNS), "runs", "runs/ab/result", "Runs/ab"],
    )
    def test_what_the_product_writes_nobody_else_may(
        self, signed_in: Settings, there: Storage, prefix: str
    ) -> None:
        with pytest.raises(RequestError, match="written by the product alone"):
            links.bringing(signed_in, there, prefix, ["x.csv"], for_a_day(), replace=True)

    def test_whatever_the_product_writes_is_known_to_be_its_own(self, settings: Settings) -> None:
        hour, name = datetime(2026, 11, 21, 17, tzinfo=UTC), "2026-11-21T17"
        written = [
            paths.output_location(settings, "ab", "result").path,
            paths.between_location(settings, "ab").path,
            paths.predictions_location(settings, name, "v1").path,
            paths.pointer_path(name),
            paths.manifest_path(name, 1),
            paths.readings_blob(hour, "x"),
            paths.dead_letter_blob(hour, "x"),
        ]
        assert {path.split("/")[0] + "/" for path in written} == set(paths.WRITTEN_BY_RUNS)
        page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
        assert [own for own in paths.WRITTEN_BY_RUNS if f"`{own}`" not in page] == []

    def test_a_name_cannot_lead_there_either(self, signed_in: Settings, there: Storage) -> None:
        with pytest.raises(RequestError, match="leaves its folder"):
            links.bringing(signed_in, there, "incoming", ["../runs/ab/result/clip.mp4"], for_a_day())

    def test_the_inbox_starts_runs_and_that_must_be_meant(self, signed_in: Settings, there: Storage) -> None:
        place, name = "inbox/style_transfer/video/starry-night", ["clip.mp4"]
        with pytest.raises(RequestError, match=r"starts a run, which costs money.*--starts-runs"):
            links.bringing(signed_in, there, place, name, for_a_day())
        with pytest.raises(RequestError, match="Leave out --replace"):
            links.bringing(signed_in, there, place, name, for_a_day(), starts_runs=True, replace=True)
        with pytest.raises(RequestError, match="lies in no place that starts a run"):
            links.bringing(signed_in, there, "inbox/nowhere", name, for_a_day(), starts_runs=True)

        shared = links.bringing(signed_in, there, place, name, for_a_day(), starts_runs=True)
        assert shared.starts_runs
        assert requests.put(shared.links[0].url, b"mine", headers=BRINGS).status_code == 201

    def test_where_data_and_triggers_are_one_container_nothing_is_brought(
        self, signed_in: Settings, there: Storage
    ) -> None:
        one = dataclasses.replace(signed_in, trigger_container=signed_in.data_container)
        with pytest.raises(RequestError, match="could bring a trigger file"):
            links.bringing(one, there, "incoming", ["run.json"], for_a_day())

    def test_a_file_named_twice_is_refused(self, signed_in: Settings, there: Storage) -> None:
        with pytest.raises(RequestError, match="given twice"):
            links.bringing(signed_in, there, "incoming", ["a.mp4", "a.mp4"], for_a_day())


class TestLimits:
    def test_after_its_end_a_link_opens_nothing(self, signed_in: Settings, there: Storage) -> None:
        now = datetime.now(UTC)
        ended = Period(now - timedelta(minutes=20), now - timedelta(seconds=1))
        (link,) = links.reading(signed_in, there, "secret.csv", ended).links
        assert refused(requests.get(link.url), "AuthorizationFailure")

    def test_before_its_start_neither(self, signed_in: Settings, there: Storage) -> None:
        now = datetime.now(UTC)
        later = Period(now + timedelta(hours=1), now + timedelta(hours=2))
        (link,) = links.reading(signed_in, there, "secret.csv", later).links
        assert refused(requests.get(link.url), "AuthorizationFailure")

    @pytest.mark.parametrize(
        ("what", "value"),
        [
            ("sig", None),
            ("sp", "rwd"),
            ("se", "2099-01-01T00:00:00Z"),
            ("spr", "https,http"),
            ("sr", "c"),
            ("sip", ""),
        ],
    )
    def test_what_is_changed_in_a_link_breaks_it(
        self, signed_in: Settings, there: Storage, what: str, value: str | None
    ) -> None:
        (link,) = links.reading(signed_in, there, "secret.csv", for_a_day(), "203.0.113.7").links
        address, _, query = link.url.partition("?")
        parameters = {name: values[0] for name, values in parse_qs(query).items()}
        assert requests.get(address, params=parameters).ok
        was = parameters[what]
        parameters[what] = (("A" if was[0] != "A" else "B") + was[1:]) if value is None else value
        assert refused(requests.get(address, params=parameters))

    def test_a_link_is_for_one_blob_over_https_from_one_address_and_signed_by_a_person(
        self, signed_in: Settings, there: Storage
    ) -> None:
        shared = links.reading(signed_in, there, "secret.csv", for_a_day(), "203.0.113.7")
        query = parse_qs(urlsplit(shared.links[0].url).query)
        assert query["sr"] == ["b"]
        assert query["sp"] == ["r"]
        assert query["spr"] == ["https"]
        assert query["sip"] == ["203.0.113.7"]
        assert query["skoid"] == [ISSUER]
        assert shared.signed_by == ISSUER
        assert query["se"] == query["ske"]
        assert "sig=" not in repr(shared)

    def test_deeds_allow_as_much_as_they_say(self, signed_in: Settings, there: Storage) -> None:
        allowed = {
            Deed.READ: links.reading(signed_in, there, "secret.csv", for_a_day()),
            Deed.CREATE: links.bringing(signed_in, there, "incoming", ["a"], for_a_day()),
            Deed.REPLACE: links.bringing(signed_in, there, "incoming", ["a"], for_a_day(), replace=True),
        }
        permissions = {
            deed: parse_qs(urlsplit(each.links[0].url).query)["sp"] for deed, each in allowed.items()
        }
        assert permissions == {Deed.READ: ["r"], Deed.CREATE: ["c"], Deed.REPLACE: ["cw"]}


class TestAccounts:
    def test_the_system_account_is_never_shared(self, signed_in: Settings, there: Storage) -> None:
        one = dataclasses.replace(
            signed_in, system=dataclasses.replace(signed_in.data, name="AzureWebJobsStorage")
        )
        storage = Storage(one)
        with pytest.raises(RequestError, match="are one account: run records and models lie there"):
            links.reading(one, storage, "secret.csv", for_a_day())
        with pytest.raises(RequestError, match="are one account"):
            links.bringing(one, storage, "incoming", ["a"], for_a_day())

    def test_an_account_key_of_azure_signs_nothing(self, signed_in: Settings) -> None:
        key = (
            "DefaultEndpointsProtocol=https;AccountName=mine;AccountKey=a2V5;EndpointSuffix=core.windows.net"
        )
        keyed = dataclasses.replace(
            signed_in, data=dataclasses.replace(signed_in.data, connection_string=key, blob_service_uri=None)
        )
        with pytest.raises(RequestError, match="revoked by nothing but a new key"):
            links.reading(keyed, Storage(keyed), "secret.csv", for_a_day())

    def test_on_a_workstation_the_emulators_key_signs_and_that_is_said(
        self, settings: Settings, storage: Storage
    ) -> None:
        storage.container("data", settings.data_container).upload_blob("clip.mp4", b"x")
        shared = links.reading(settings, storage, "clip.mp4", for_a_day())
        assert requests.get(shared.links[0].url).content == b"x"
        assert "nobody can take them back" in " ".join(taking_back(shared, ""))

    def test_who_may_not_sign_is_told_the_role(
        self, signed_in: Settings, there: Storage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from azure.core.exceptions import HttpResponseError

        class Refusal:
            status_code = 403
            reason = "Forbidden"
            headers: ClassVar[dict[str, str]] = {}

        def refuse(*_: object, **__: object) -> None:
            raise HttpResponseError("no", response=Refusal())  # type: ignore[arg-type]

        monkeypatch.setattr(there.service("data"), "get_user_delegation_key", refuse)
        with pytest.raises(
            StorageUnavailableError, match=r"403.*Storage Blob Data Contributor.*Storage Blob Delegator"
        ):
            links.reading(signed_in, there, "secret.csv", for_a_day())


class TestCommand:
    @pytest.fixture
    def environment(
        self, signed_in: Settings, there: Storage, monkeypatch: pytest.MonkeyPatch, azurite: str
    ) -> None:
        monkeypatch.setenv("AzureWebJobsStorage", azurite)
        monkeypatch.setenv("DATA_STORAGE__blobServiceUri", str(signed_in.data.blob_service_uri))
        monkeypatch.setenv("DATA_CONTAINER", signed_in.data_container)

    def test_links_go_to_stdout_one_a_line_and_the_rest_beside(self, environment: None) -> None:
        done = CliRunner().invoke(app, ["share", "runs/ab/result", "--for", "30m"])
        assert done.exit_code == 0, done.stderr
        addresses = done.stdout.splitlines()
        assert [requests.get(address).status_code for address in addresses] == [200, 200]
        assert "2 links to read a file each" in done.stderr
        assert "revoke-delegation-keys -n devstoreaccount1" in " ".join(done.stderr.split())
        assert "DelegationSas" in done.stderr
        assert "sig=" not in done.stderr

    def test_json_has_what_a_program_needs(self, environment: None) -> None:
        done = CliRunner().invoke(app, ["share", "secret.csv", "--json", "--ip", "203.0.113.7"])
        document = msgspec.json.decode(done.stdout)
        assert document["allows"] == "read"
        assert document["signed_by"] == ISSUER
        assert document["ip"] == "203.0.113.7"
        (link,) = document["links"]
        assert (link["blob"], link["size_bytes"]) == ("secret.csv", 10)
        assert requests.get(link["link"]).ok

    def test_a_file_of_links_is_new_and_for_ones_own_eyes(self, environment: None, tmp_path: Path) -> None:
        file = tmp_path / "links.txt"
        done = CliRunner().invoke(app, ["share", "secret.csv", "--output", str(file)])
        assert done.stdout == ""
        assert requests.get(file.read_text().strip()).ok
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        again = CliRunner().invoke(app, ["share", "secret.csv", "--output", str(file)])
        assert again.exit_code == 2

    @pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
    def test_what_it_says_to_type_works(
        self, environment: None, signed_in: Settings, there: Storage, secure: SecureAzurite, tmp_path: Path
    ) -> None:
        """The very line that is told, with the link in place, in a shell."""
        content = os.urandom(100_000)
        (tmp_path / "my clip.mp4").write_bytes(content)
        brings = links.bringing(signed_in, there, "incoming", ["my clip.mp4"], for_a_day())
        self.typed(usage(brings)[0].partition("   ")[0], brings.links[0].url, tmp_path, secure)
        (tmp_path / "my clip.mp4").unlink()
        reads = links.reading(signed_in, there, "incoming/my clip.mp4", for_a_day())
        self.typed(usage(reads)[0], reads.links[0].url, tmp_path, secure)
        assert (tmp_path / "my clip.mp4").read_bytes() == content

    def typed(self, line: str, link: str, folder: Path, secure: SecureAzurite) -> None:
        subprocess.run(
            ["sh", "-c", line.replace("LINK", link)],
            cwd=folder,
            check=True,
            env={**os.environ, "CURL_CA_BUNDLE": str(secure.ca_file)},
        )

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["secret.csv", "--for", "8d"], "7 days at most"),
            (["secret.csv", "--for", "0m"], "a number with m, h or d"),
            (["secret.csv", "--for", "forever"], "a number with m, h or d"),
            (["secret.csv", "--ip", "2001:db8::1"], "IPv4"),
            (["secret.csv", "--ip", "203.0.113.9-203.0.113.1"], "the lower one first"),
            (["secret.csv", "--replace"], "goes with --file"),
            (["inbox", "--starts-runs"], "goes with --file"),
        ],
    )
    def test_what_cannot_be_is_refused_by_name(
        self, environment: None, arguments: list[str], said: str
    ) -> None:
        done = CliRunner().invoke(app, ["share", *arguments])
        assert done.exit_code == 2
        assert said in " ".join(done.stderr.split())

    def test_a_link_ends_seven_days_after_the_key_begins_at_most(self) -> None:
        when = links.period("7d", datetime.now(UTC))
        assert when.end - when.start <= timedelta(days=7)
        assert when.end > datetime.now(UTC) + timedelta(days=6, hours=23)

"""The Event Hubs stand-in as a process: kills, faults on demand, hostile bytes, tokens."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from warnings import catch_warnings

import pytest
from azure.core.credentials import AzureSasCredential
from azure.eventhub import EventData, EventHubProducerClient
from azure.eventhub.aio import EventHubConsumerClient
from azure.eventhub.exceptions import EventDataSendError, EventHubError
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from batchscore.cli.producer import HubProducer
from batchscore.cli.simulated import Event
from batchscore.devhost.eventhubs import EventHubs, HubOptions, amqp, frames, sas
from batchscore.devhost.eventhubs.namespace import Namespace
from batchscore.errors import SettingsError
from batchscore.settings import EventHub

PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def hubs() -> Iterator[EventHubs]:
    with EventHubs([HubOptions("readings", 2)]) as hubs:
        yield hubs


@pytest.fixture
def forsaken_sockets() -> Iterator[None]:
    """The client library leaves a socket open that was cut off; it must not be found while another test runs."""
    yield
    with catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()


@pytest.fixture
def switches(hubs: EventHubs) -> Iterator[Callable[..., None]]:
    yield hubs.switch
    hubs.switch(refuse_sends=0, events_per_second=0, drop_after=0, drop_unanswered=0)


def producer(hubs: EventHubs, **options: Any) -> EventHubProducerClient:
    return EventHubProducerClient.from_connection_string(
        hubs.connection_string, eventhub_name="readings", **options
    )


def ends(hubs: EventHubs) -> dict[str, int]:
    partitions = hubs.state()["hubs"]["readings"]["partitions"]
    return {name: told["next_sequence"] - 1 for name, told in partitions.items()}


def read(hubs: EventHubs, start: Any, count: int) -> list[str]:
    """`count` events, by a consumer that connects again when it is cut off."""

    async def consume() -> list[str]:
        found: dict[tuple[str, int], str] = {}

        async def on_event(context: Any, event: Any) -> None:
            found[context.partition_id, event.sequence_number] = event.body_as_str()

        consumer = EventHubConsumerClient.from_connection_string(
            hubs.connection_string,
            "$Default",
            eventhub_name="readings",
            load_balancing_interval=0.5,
            retry_backoff_factor=0.05,
            retry_total=50,
        )
        async with consumer:
            task = asyncio.create_task(consumer.receive(on_event, starting_position=start))
            deadline = time.monotonic() + PATIENCE_S
            while len(found) < count:
                assert time.monotonic() < deadline, f"{len(found)} of {count} events came"
                await asyncio.sleep(0.02)
            await consumer.close()
            await task
        return list(found.values())

    return asyncio.run(consume())


def test_what_was_accepted_survives_a_kill_and_the_port_stays(tmp_path: Path) -> None:
    hubs = EventHubs([HubOptions("readings", 1)], folder=tmp_path)
    hubs.start()
    address = hubs.address
    try:
        with producer(hubs) as client:
            client.send_batch([EventData(f"e{number}") for number in range(100)])
        hubs.kill()
        with EventHubs([HubOptions("readings", 2)], folder=tmp_path) as again:
            assert again.address == address
            assert read(again, "-1", 100) == [f"e{number}" for number in range(100)]
            with producer(again) as client:
                assert client.get_partition_ids() == ["0", "1"]
                client.send_batch([EventData("e100")], partition_id="0")
            assert ends(again) == {"0": 100, "1": -1}
    finally:
        hubs.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("forsaken_sockets")
def test_kills_while_events_come_and_go_lose_nothing_that_was_accepted(tmp_path: Path) -> None:
    hubs = EventHubs([HubOptions("readings", 2)], folder=tmp_path)
    hubs.start()
    accepted: list[str] = []
    found: set[str] = set()
    connection = hubs.connection_string
    hub = EventHub("readings", "$Default", connection_string=connection)

    async def send() -> None:
        async with HubProducer(hub) as producer:
            for number in range(150):
                events = [Event(f"d{each}", f"e{number}-{each}".encode(), 0) for each in range(10)]
                await producer.send(events)
                accepted.extend(event.body.decode() for event in events)

    async def receive(done: asyncio.Event) -> None:
        async def on_event(context: Any, event: Any) -> None:
            found.add(event.body_as_str())

        consumer = EventHubConsumerClient.from_connection_string(
            connection,
            "$Default",
            eventhub_name="readings",
            load_balancing_interval=0.5,
            retry_backoff_factor=0.1,
        )
        async with consumer:
            task = asyncio.create_task(consumer.receive(on_event, starting_position="-1"))
            await done.wait()
            await consumer.close()
            await task

    async def run() -> None:
        done = asyncio.Event()
        sending, receiving = asyncio.create_task(send()), asyncio.create_task(receive(done))
        for kill in range(1, 4):
            while len(accepted) < kill * 300:
                assert not sending.done()
                await asyncio.sleep(0.01)
            await asyncio.to_thread(hubs.kill)
            await asyncio.to_thread(hubs.start)
        await sending
        deadline = time.monotonic() + 2 * PATIENCE_S
        while len(found) < 1500:
            assert time.monotonic() < deadline, f"{len(found)} of 1500 events came"
            await asyncio.sleep(0.05)
        done.set()
        await receiving

    try:
        asyncio.run(run())
        assert hubs.connection_string == connection
    finally:
        hubs.stop()
    assert found == set(accepted)


def test_it_ends_although_somebody_never_finishes_a_sentence() -> None:
    hubs = EventHubs()
    hubs.start()
    process = hubs._process
    assert process is not None
    with (
        socket.create_connection(("127.0.0.1", hubs.port)) as one,
        socket.create_connection(("127.0.0.1", hubs.port)) as other,
    ):
        one.sendall(b"GET / HTTP/1.1\r\n")
        other.sendall(frames.SASL_HEADER)
        assert other.recv(8) == frames.SASL_HEADER
        hubs.stop()
    assert process.returncode == 0


def test_two_on_one_folder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from batchscore.devhost.eventhubs import __main__ as command

    monkeypatch.setattr("batchscore.devhost.server_folder.FOLDER_TIMEOUT_S", 0.2)
    with EventHubs(folder=tmp_path):
        assert command.main(["--folder", str(tmp_path)]) == 2


def test_a_taken_port_is_told(hubs: EventHubs) -> None:
    with pytest.raises(SettingsError, match=f"port {hubs.port}"):
        EventHubs(port=hubs.port).start()


@pytest.mark.parametrize("name", ["", "a/b", "-x", "a" * 300, "é"])
def test_a_name_that_no_hub_can_have_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="no name"):
        HubOptions(name)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("forsaken_sockets")
def test_dropped_connections_lose_nothing(hubs: EventHubs, switches: Callable[..., None]) -> None:
    before, sent = ends(hubs), []
    switches(drop_after=7)
    with producer(hubs, retry_backoff_factor=0.05, retry_total=50) as client:
        for number in range(40):
            client.send_event(EventData(f"e{number}"))
            sent.append(f"e{number}")
    found = read(hubs, before, 40)
    assert set(found) == set(sent)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("forsaken_sockets")
def test_an_answer_that_is_lost_makes_a_duplicate_and_loses_nothing(
    hubs: EventHubs, switches: Callable[..., None]
) -> None:
    before = ends(hubs)
    switches(drop_unanswered=1)
    with producer(hubs, retry_backoff_factor=0.05) as client:
        client.send_batch([EventData("once")], partition_id="0")
    assert ends(hubs)["0"] == before["0"] + 2
    assert read(hubs, before, 2) == ["once", "once"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("forsaken_sockets")
def test_connections_can_be_cut_at_once(hubs: EventHubs) -> None:
    with producer(hubs, retry_backoff_factor=0.05) as client:
        client.send_event(EventData("x"))
        assert hubs.drop_connections() == 1
        client.send_event(EventData("y"))


def test_a_busy_server_says_so_and_keeps_nothing(hubs: EventHubs, switches: Callable[..., None]) -> None:
    before = sum(ends(hubs).values())
    with producer(hubs) as client:
        switches(refuse_sends=2)  # the client library tries twice by itself
        with pytest.raises(EventDataSendError, match="server-busy"):
            client.send_event(EventData("refused"))
        client.send_event(EventData("at the third try"))
    assert sum(ends(hubs).values()) == before + 1


def test_a_rate_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from batchscore.devhost.eventhubs import namespace

    moment = 1_000.0
    monkeypatch.setattr(namespace.time, "monotonic", lambda: moment)
    limited = Namespace([HubOptions("readings")])
    limited.switches.events_per_second = 10
    assert [limited.refuses(4) for _ in range(4)] == [False, False, False, True]
    moment += 0.1  # pays back what the third took too much
    assert limited.refuses(1)
    moment += 0.19
    assert [limited.refuses(1) for _ in range(3)] == [False, True, True]
    limited.switches.events_per_second = 0
    assert not limited.refuses(1_000_000)


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", "no shared access signature"),
        ("Bearer x", "no shared access signature"),
        ("SharedAccessSignature sr=a&sig=b&se=99999999999&skn=other", "no key named"),
        ("SharedAccessSignature sr=a&sig=b&se=99999999999&skn=k", "does not match"),
        ("SharedAccessSignature sr=a&sig=é&se=99999999999&skn=k", "does not match"),
    ],
)
def test_a_token_that_opens_nothing_says_why(token: str, reason: str) -> None:
    told = sas.check(token, "k", "secret")
    assert isinstance(told, str)
    assert reason in told


@pytest.mark.parametrize(
    ("address", "path", "opened"),
    [
        ("sb://h/readings", "readings", True),
        ("sb://h/readings", "readings/partitions/0", True),
        ("sb://h/", "readings", True),
        ("sb://h/readings", "readings-2", False),
        ("sb://h/Readings/ConsumerGroups/x", "readings/consumergroups/x/partitions/0", True),
        ("sb://h/readings/consumergroups/x", "readings", False),
    ],
)
def test_a_token_opens_what_it_names(address: str, path: str, opened: bool) -> None:
    from azure.eventhub._pyamqp.utils import generate_sas_token

    grant = sas.check(generate_sas_token(address, "k", "secret", int(time.time()) + 60), "k", "secret")
    assert isinstance(grant, sas.Grant)
    assert grant.opens(path) is opened
    assert not sas.Grant(grant.path, time.time() - 1).opens(path)
    expired = sas.check(generate_sas_token(address, "k", "secret", int(time.time()) - 60), "k", "secret")
    assert "expired" in str(expired)


def test_a_ready_made_signature_works_until_it_expires(hubs: EventHubs) -> None:
    from azure.eventhub._pyamqp.utils import generate_sas_token

    host = hubs.address
    for lifetime_s, works in ((60, True), (-60, False)):
        token = generate_sas_token(
            f"sb://{host}/readings", sas.KEY_NAME, sas.KEY, int(time.time()) + lifetime_s
        )
        client = EventHubProducerClient(
            host, "readings", AzureSasCredential(token), use_tls=False, retry_total=0
        )
        with client:
            if works:
                assert client.get_partition_ids() == ["0", "1"]
            else:
                with pytest.raises(EventHubError):
                    client.get_partition_ids()


def test_hubs_and_consumer_groups_are_apart() -> None:
    from azure.eventhub._pyamqp.utils import generate_sas_token

    options = [HubOptions("a", 1, ("one", "two")), HubOptions("b", 2, ("three",))]
    with EventHubs(options) as hubs:
        token = generate_sas_token(f"sb://{hubs.address}/a", sas.KEY_NAME, sas.KEY, int(time.time()) + 60)
        for name, opened in (("a", True), ("b", False)):
            credential = AzureSasCredential(token)
            with EventHubProducerClient(
                hubs.address, name, credential, use_tls=False, retry_total=0
            ) as client:
                if opened:
                    client.send_event(EventData("x"))
                else:
                    with pytest.raises(EventHubError):
                        client.send_event(EventData("x"))
        told = hubs.state()["hubs"]
        assert {name: len(hub["partitions"]) for name, hub in told.items()} == {"a": 1, "b": 2}
        assert sum(part["next_sequence"] for hub in told.values() for part in hub["partitions"].values()) == 1

        async def in_every_group() -> set[str]:
            """A reader with an epoch displaces none of another group."""
            found: set[str] = set()

            async def read(group: str) -> None:
                async def on_event(context: Any, event: Any) -> None:
                    found.add(context.consumer_group)

                client = EventHubConsumerClient.from_connection_string(
                    hubs.connection_string, group, eventhub_name="a", load_balancing_interval=0.5
                )
                async with client:
                    task = asyncio.create_task(
                        client.receive(on_event, partition_id="0", owner_level=1, starting_position="-1")
                    )
                    deadline = time.monotonic() + PATIENCE_S
                    while len(found) < 3 and time.monotonic() < deadline:
                        await asyncio.sleep(0.02)
                    await client.close()
                    await task

            await asyncio.gather(*(read(group) for group in ("one", "two", "$Default")))
            return found

        assert asyncio.run(in_every_group()) == {"one", "two", "$Default"}


class TestHostileBytes:
    """Whatever comes, the server answers or closes, and goes on serving others."""

    OPEN = frames.frame(0, frames.OPEN, amqp.string("c"), amqp.NULL, amqp.uint(65536))
    BEGIN = frames.frame(0, frames.BEGIN, amqp.NULL, amqp.uint(0), amqp.uint(100), amqp.uint(100))

    def talk(self, hubs: EventHubs, data: bytes) -> bytes:
        """Send bytes and the end of them; all that comes back, for the server must close."""
        with socket.create_connection(("127.0.0.1", hubs.port), PATIENCE_S) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            answer = b""
            try:
                while some := client.recv(65536):
                    answer += some
            except ConnectionResetError:
                pass
        return answer

    def answers(self, hubs: EventHubs) -> None:
        assert ends(hubs).keys() == {"0", "1"}

    @examples(max_examples=60)
    @given(st.binary(max_size=300), st.sampled_from(["", "header", "open", "session"]))
    def test_any_bytes_at_any_stage(self, hubs: EventHubs, data: bytes, stage: str) -> None:
        before = {
            "": b"",
            "header": frames.AMQP_HEADER,
            "open": frames.AMQP_HEADER + self.OPEN,
            "session": frames.AMQP_HEADER + self.OPEN + self.BEGIN,
        }
        self.talk(hubs, before[stage] + data)
        self.answers(hubs)

    @examples(max_examples=100)
    @given(st.sampled_from(range(0x10, 0x19)), st.lists(st.sampled_from(range(9)), max_size=14))
    def test_any_fields_in_any_performative(self, hubs: EventHubs, code: int, chosen: list[int]) -> None:
        kinds = (
            amqp.NULL,
            amqp.uint(0),
            amqp.uint(2**32 - 1),
            amqp.TRUE,
            amqp.string("readings"),
            amqp.symbols(["a"]),
            amqp.EMPTY_LIST,
            amqp.described(frames.SOURCE, amqp.listed([amqp.string("readings"), amqp.TRUE])),
            amqp.long(-(2**63)),
        )
        frame = frames.frame(0, code, *(kinds[each] for each in chosen))
        self.talk(hubs, frames.AMQP_HEADER + self.OPEN + self.BEGIN + frame + frame)
        self.answers(hubs)

    def test_another_protocol_is_told_what_is_spoken(self, hubs: EventHubs) -> None:
        assert self.talk(hubs, b"SSH-2.0-OpenSSH\r\n") == frames.AMQP_HEADER
        assert self.talk(hubs, b"\x16\x03\x01\x02\x00\x01\x00\x01") == frames.AMQP_HEADER

    def test_a_fault_of_the_peer_is_named_in_the_close(self, hubs: EventHubs) -> None:
        answer = self.talk(hubs, frames.AMQP_HEADER + self.OPEN + b"\xff" * 8)
        assert b"amqp:connection:framing-error" in answer

    @pytest.mark.parametrize("handle", [-1, 2**32])
    def test_a_number_that_no_field_can_hold_is_named(self, hubs: EventHubs, handle: int) -> None:
        attach = frames.frame(0, frames.ATTACH, amqp.string("link"), amqp.long(handle), amqp.TRUE)
        answer = self.talk(hubs, frames.AMQP_HEADER + self.OPEN + self.BEGIN + attach)
        assert b"Field 1 of 0x12 is no uint." in answer

    @pytest.mark.parametrize(
        "address", ["readings", "amqps://host/readings", "amqps://[host/readings", "://"]
    )
    def test_nothing_is_opened_without_a_token(self, hubs: EventHubs, address: str) -> None:
        target = amqp.described(frames.TARGET, amqp.listed([amqp.string(address)]))
        attach = frames.frame(
            0,
            frames.ATTACH,
            *(amqp.string("link"), amqp.uint(0), amqp.FALSE, amqp.NULL, amqp.NULL),
            *(amqp.described(frames.SOURCE, amqp.EMPTY_LIST), target),
        )
        answer = self.talk(hubs, frames.AMQP_HEADER + self.OPEN + self.BEGIN + attach)
        assert b"amqp:unauthorized-access" in answer


class TestAdminDoor:
    def ask(self, hubs: EventHubs, path: str, body: bytes | None, **headers: str) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"http://{hubs.address}{path}",
            body,
            {name.replace("_", "-"): told for name, told in headers.items()},
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def test_it_shows_what_is_there(self, hubs: EventHubs) -> None:
        status, told = self.ask(hubs, "/", None)
        assert status == 200
        assert set(told["hubs"]["readings"]["partitions"]) == {"0", "1"}
        assert told["switches"]["drop_after"] == 0

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b'{"drop": 1}', "drop_after"),
            (b'{"drop_after": -1}', "0 or more"),
            (b'{"drop_after": "1"}', "a number"),
            (b'{"drop_after": true}', "a number"),
            (b"[]", "a JSON object"),
            (b"{", ""),
        ],
    )
    def test_a_switch_that_is_wrong_is_refused(self, hubs: EventHubs, body: bytes, reason: str) -> None:
        status, told = self.ask(hubs, "/switches", body, Content_Type="application/json")
        assert status == 400
        assert reason in told["error"]

    def test_an_unknown_address_is_not_found(self, hubs: EventHubs) -> None:
        assert self.ask(hubs, "/nothing", None)[0] == 404

    def test_a_web_page_cannot_use_it(self, hubs: EventHubs) -> None:
        assert self.ask(hubs, "/drop", b"", Content_Type="text/plain")[0] == 415
        assert self.ask(hubs, "/", None, Host="rebound.example")[0] == 400

"""A good conversation with the Event Hubs stand-in, damaged in any way: nothing but a clean close comes of it."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest
from azure.eventhub._pyamqp.utils import generate_sas_token

from batchscore.devhost.eventhubs import HubOptions, amqp, frames, messages, sas
from batchscore.devhost.eventhubs.server import Server

CONVERSATIONS = 300
PATIENCE_S = 10.0
READER = "readings/ConsumerGroups/$Default/Partitions/0"


def attach(handle: int, *, receives: bool, source: bytes, target: str) -> bytes:
    return frames.frame(
        0,
        frames.ATTACH,
        *(amqp.string(f"link-{handle}"), amqp.uint(handle), amqp.boolean(receives), amqp.NULL, amqp.NULL),
        *(source, amqp.described(frames.TARGET, amqp.listed([amqp.string(target)]))),
    )


def source(address: str, *filters: bytes) -> bytes:
    return amqp.described(frames.SOURCE, amqp.listed([amqp.string(address), *([amqp.NULL] * 6), *filters]))


def transfer(handle: int, delivery: int, message: bytes, message_format: int = 0) -> bytes:
    fields = (
        amqp.uint(handle),
        amqp.uint(delivery),
        amqp.binary(b"t"),
        amqp.uint(message_format),
        amqp.FALSE,
    )
    whole = bytearray(frames.frame(0, frames.TRANSFER, *fields) + message)
    whole[:4] = len(whole).to_bytes(4)
    return bytes(whole)


def request(value: bytes, **properties: str) -> bytes:
    told = ((amqp.string(name.replace("_", "-")), amqp.string(text)) for name, text in properties.items())
    return (
        amqp.described(messages.PROPERTIES, amqp.listed([amqp.ulong(1)]))
        + amqp.described(messages.APPLICATION_PROPERTIES, amqp.mapped(told))
        + amqp.described(messages.VALUE, value)
    )


def conversation() -> bytes:
    """A token, two questions, events alone and in a batch, and a reader with a position and an epoch."""
    token = generate_sas_token("sb://h/readings", sas.KEY_NAME, sas.KEY, int(time.time()) + 600)
    selector = amqp.described(0x00, amqp.string("amqp.annotation.x-opt-offset > '-1'"))
    position = amqp.mapped([(amqp.symbol("apache.org:selector-filter:string"), selector)])
    body = amqp.described(messages.DATA, amqp.binary(b"x" * 50))
    batch = amqp.described(messages.DATA, amqp.binary(body)) * 3
    return b"".join(
        (
            frames.SASL_HEADER,
            frames.frame(0, frames.SASL_INIT, amqp.symbol("ANONYMOUS"), kind=1),
            frames.AMQP_HEADER,
            frames.frame(
                0,
                frames.OPEN,
                amqp.string("c"),
                amqp.NULL,
                amqp.uint(65536),
                amqp.ushort(9),
                amqp.uint(60_000),
            ),
            frames.frame(0, frames.BEGIN, amqp.NULL, amqp.uint(0), amqp.uint(100), amqp.uint(100)),
            attach(0, receives=False, source=source("$cbs"), target="$cbs"),
            attach(1, receives=True, source=source("$cbs"), target="$cbs"),
            flow(1),
            transfer(0, 0, request(amqp.string(token), operation="put-token", name="sb://h/readings")),
            attach(2, receives=False, source=source("$management"), target="$management"),
            attach(3, receives=True, source=source("$management"), target="$management"),
            flow(3),
            *(
                transfer(
                    2, number, request(amqp.NULL, operation="READ", name="readings", type=kind, partition="0")
                )
                for number, kind in enumerate(("com.microsoft:eventhub", "com.microsoft:partition"), 1)
            ),
            attach(4, receives=False, source=source("here"), target="readings"),
            transfer(4, 3, body),
            transfer(4, 4, batch, messages.BATCH_FORMAT),
            attach(5, receives=True, source=source(READER, position), target="here"),
            flow(5),
        )
    )


FAREWELL = b"".join(
    (
        frames.frame(0, frames.DETACH, amqp.uint(4), amqp.TRUE, amqp.NULL),
        frames.frame(0, frames.END, amqp.NULL),
        frames.frame(0, frames.CLOSE, amqp.NULL),
    )
)


def flow(handle: int) -> bytes:
    numbers = (0, 100, 0, 100, handle, 0, 50)
    return frames.frame(0, frames.FLOW, *map(amqp.uint, numbers))


def damaged(good: bytes, chance: random.Random) -> bytes:
    data = bytearray(good)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randrange(1, 9)]
            case 2:
                data[at:at] = chance.randbytes(chance.randrange(1, 9))
            case _:
                other = chance.randrange(len(data))
                data[at:at] = data[other : other + chance.randrange(1, 200)]
    return bytes(data)


async def answer(server: Server, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(data)
        for _ in range(20):  # turns of the loop, in which the server, too, has its say
            await asyncio.sleep(0)
        writer.write(FAREWELL)
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), PATIENCE_S)
    except OSError:  # the server has closed it
        return b""
    finally:
        writer.close()


async def test_the_conversation_itself_is_a_good_one() -> None:
    """Else the damage would be done to something that is refused at once anyway."""
    async with Server([HubOptions("readings", 1)]) as server:
        said = await answer(server, conversation())
        assert server.namespace.hub("readings").partitions[0].log.next_sequence == 4
    assert b"Accepted" in said
    assert b"partition_ids" in said
    assert b"last_enqueued_offset" in said
    assert b"amqp:" not in said.replace(b"amqp:accepted", b"")


@pytest.mark.parametrize("seed", range(4))
async def test_a_damaged_conversation_is_answered_or_closed(seed: int) -> None:
    broken: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
    chance = random.Random(seed)
    async with Server([HubOptions("readings", 1)]) as server:
        good = conversation()
        for _ in range(CONVERSATIONS):
            await answer(server, damaged(good, chance))
        assert b"Accepted" in await answer(server, good)
    assert broken == []

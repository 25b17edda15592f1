"""The AMQP codec of the Event Hubs stand-in, and what it makes of bytes that nobody should send."""

from __future__ import annotations

import struct
import uuid

import pytest
from azure.eventhub import EventData
from hypothesis import given
from hypothesis import strategies as st

from batchscore.devhost.eventhubs import amqp, frames, messages
from batchscore.devhost.eventhubs.amqp import AmqpError, Described, Symbol

PRIMITIVES = st.one_of(
    st.none().map(lambda value: (value, amqp.NULL)),
    st.booleans().map(lambda value: (value, amqp.boolean(value))),
    st.integers(0, 2**8 - 1).map(lambda value: (value, amqp.ubyte(value))),
    st.integers(0, 2**16 - 1).map(lambda value: (value, amqp.ushort(value))),
    st.integers(0, 2**32 - 1).map(lambda value: (value, amqp.uint(value))),
    st.integers(0, 2**64 - 1).map(lambda value: (value, amqp.ulong(value))),
    st.integers(-(2**31), 2**31 - 1).map(lambda value: (value, amqp.int32(value))),
    st.integers(-(2**63), 2**63 - 1).map(lambda value: (value, amqp.long(value))),
    st.integers(-(2**63), 2**63 - 1).map(lambda value: (value, amqp.timestamp(value))),
    st.binary(max_size=300).map(lambda value: (value, amqp.binary(value))),
    st.text(max_size=300).map(lambda value: (value, amqp.string(value))),
    st.text("abc:-", max_size=300).map(lambda value: (Symbol(value), amqp.symbol(value))),
    st.lists(st.text(max_size=9), max_size=9).map(lambda value: (value, amqp.strings(value))),
    st.floats(allow_nan=False).map(lambda value: (value, b"\x82" + struct.pack(">d", value))),
    st.uuids().map(lambda value: (value, b"\x98" + value.bytes)),
)
VALUES = st.recursive(
    PRIMITIVES,
    lambda inner: (
        st.lists(inner, max_size=300).map(
            lambda pairs: ([value for value, _ in pairs], amqp.listed(code for _, code in pairs))
        )
        | st.dictionaries(st.text(max_size=5), inner, max_size=9).map(
            lambda pairs: (
                {key: value for key, (value, _) in pairs.items()},
                amqp.mapped((amqp.string(key), code) for key, (_, code) in pairs.items()),
            )
        )
        | st.tuples(st.integers(0, 255), inner).map(
            lambda pair: (Described(pair[0], pair[1][0]), amqp.described(pair[0], pair[1][1]))
        )
    ),
    max_leaves=40,
)


@given(VALUES, st.binary(max_size=20))
def test_a_value_comes_back_as_it_was(pair: tuple[object, bytes], behind: bytes) -> None:
    value, code = pair
    assert amqp.decode(code + behind) == (value, len(code))
    assert amqp.skip(code + behind, 0) == len(code)


@given(VALUES, st.data())
def test_a_value_that_is_cut_short_is_refused(pair: tuple[object, bytes], data: st.DataObject) -> None:
    _, code = pair
    cut = code[: data.draw(st.integers(0, len(code) - 1))]
    with pytest.raises(AmqpError):
        amqp.decode(cut)
    with pytest.raises(AmqpError):
        amqp.skip(cut, 0)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_value_or_an_error(data: bytes) -> None:
    try:
        _, end = amqp.decode(data)
        assert end <= len(data)
        assert amqp.skip(data, 0) == end
    except AmqpError as error:
        assert error.condition == "amqp:decode-error"


@given(VALUES, st.data())
def test_a_value_with_one_wrong_byte_is_a_value_or_an_error(
    pair: tuple[object, bytes], data: st.DataObject
) -> None:
    damaged = bytearray(pair[1])
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    for read in (amqp.decode, frames.parse, messages.read, messages.read_request):
        try:
            read(bytes(damaged))
        except AmqpError as error:
            assert str(error)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 100_000,
        b"\xc0\x02\x01" * 100_000,
        b"\xd0" + struct.pack(">II", 9, 2**32 - 1) + b"\x40" * 5,
        b"\xf0" + struct.pack(">IIB", 5, 2**32 - 1, 0x40),
        b"\xd1" + struct.pack(">II", 6, 2) + amqp.EMPTY_LIST * 2,
        b"\xc1\x02\x01\x40",
        b"\xa1\x02\xff\xfe",
        b"\xb0\xff\xff\xff\xff",
    ],
    ids=["descriptors", "depth", "many", "many nothings", "list as key", "no value", "not UTF-8", "huge"],
)
def test_bytes_made_to_hurt_are_refused(data: bytes) -> None:
    with pytest.raises(AmqpError):
        amqp.decode(data)


def test_frames_are_cut_out_of_a_stream_wherever_it_breaks() -> None:
    stream = (
        frames.frame(3, frames.END, amqp.NULL)
        + frames.empty_frame()
        + frames.frame(0, frames.CLOSE, amqp.NULL)
    )
    for size in (1, 7, 8, 20, len(stream)):
        buffer, at, found = bytearray(), 0, []
        for start in range(0, len(stream), size):
            buffer += stream[start : start + size]
            while cut := frames.cut(buffer, at):
                kind, channel, body, at = cut
                found.append((kind, channel, frames.parse(body).code if body else None))
        assert found == [(0, 3, frames.END), (0, 0, None), (0, 0, frames.CLOSE)]


@pytest.mark.parametrize(
    "head", [b"\0\0\0\x07\x02\0\0\0", b"\x7f\xff\xff\xff\x02\0\0\0", b"\0\0\0\x08\x03\0\0\0"]
)
def test_a_frame_of_an_impossible_size_is_refused(head: bytes) -> None:
    with pytest.raises(AmqpError, match="framing-error"):
        frames.cut(bytearray(head), 0)


@given(st.binary(min_size=1, max_size=5000), st.integers(512, 1024))
def test_a_message_is_split_into_frames_that_fit(message: bytes, most: int) -> None:
    parts = b"".join(frames.transfers(7, 2, 9, message, most))
    payload, at, more = b"", 0, True
    while cut := frames.cut(bytearray(parts), at):
        assert more
        assert cut[3] - at <= most
        at = cut[3]
        transfer = frames.parse(cut[2])
        assert len(transfer.fields) == 11
        assert (transfer.number(0), transfer.number(1)) == (2, 9)
        more = transfer.field(5) is True
        payload += transfer.data[transfer.payload_at :]
    assert not more
    assert payload == message


def test_a_message_keeps_every_byte_of_its_producer_and_gets_the_stamps_of_the_service() -> None:
    header = amqp.described(messages.HEADER, amqp.listed([amqp.TRUE]))
    own = ((amqp.symbol("mine"), amqp.ubyte(7)), (amqp.symbol("x-opt-sequence-number"), amqp.long(99)))
    annotations = amqp.described(messages.ANNOTATIONS, amqp.mapped(own))
    body = amqp.described(messages.DATA, amqp.binary(b"hello"))
    found = messages.read(header + annotations + body, "key")
    stamped = found.stamped(5, 1234, 1_700_000_000_000)
    codes = {code: (value_at, end) for code, _, value_at, end in messages.sections(stamped)}
    assert list(codes) == [messages.HEADER, messages.ANNOTATIONS, messages.DATA]
    assert stamped.startswith(header)
    assert stamped.endswith(body)
    value, _ = amqp.decode(stamped, codes[messages.ANNOTATIONS][0])
    assert value == {
        "mine": 7,
        "x-opt-sequence-number": 5,
        "x-opt-offset": "1234",
        "x-opt-enqueued-time": 1_700_000_000_000,
        "x-opt-partition-key": "key",
    }


def test_a_batch_is_unpacked_and_its_key_reaches_every_message() -> None:
    inner = [amqp.described(messages.DATA, amqp.binary(text)) for text in (b"a", b"b")]
    key = ((amqp.symbol("x-opt-partition-key"), amqp.string("k")),)
    envelope = amqp.described(messages.ANNOTATIONS, amqp.mapped(key)) + b"".join(
        amqp.described(messages.DATA, amqp.binary(message)) for message in inner
    )
    found = messages.unpacked(envelope, messages.BATCH_FORMAT)
    assert [(one.rest, one.key) for one in found] == [(inner[0], "k"), (inner[1], "k")]


def test_an_answer_names_the_request_by_its_id_as_it_was_encoded() -> None:
    message_id = b"\x98" + uuid.uuid4().bytes
    fields = (message_id, amqp.NULL, amqp.NULL, amqp.NULL, amqp.string("back"))
    request = messages.read_request(
        amqp.described(messages.PROPERTIES, amqp.listed(fields))
        + amqp.described(messages.VALUE, amqp.string("token"))
    )
    assert (request.reply_to, request.value) == ("back", "token")
    answer = messages.response(request, 202, "Accepted")
    _, _, value_at, _ = next(messages.sections(answer))
    start, end = amqp.items(answer, value_at)[5]
    assert answer[start:end] == message_id


def test_the_client_library_reads_what_is_written() -> None:
    """Its decoder is another's work: it must see in our bytes what we meant."""
    from azure.eventhub._pyamqp._decode import decode_payload

    stamped = messages.read(amqp.described(messages.DATA, amqp.binary(b"hello")), "k").stamped(5, 77, 1000)
    event = EventData._from_message(decode_payload(memoryview(messages.with_metrics(stamped, 9, "80", 5, 6))))
    assert (event.sequence_number, event.offset, event.partition_key) == (5, "77", b"k")
    assert event.body_as_str() == "hello"

"""`share`: links for people outside, each for one file of the data account, for one deed, until a time."""

from __future__ import annotations

import os
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batchscore.cli import terminal
from batchscore.cli.environment import application
from batchscore.cli.wording import counted, moment, size
from batchscore.errors import RequestError

if TYPE_CHECKING:
    from batchscore.links import Share

EXAMPLE = "LINK"


def share(
    prefix: Annotated[
        str, typer.Argument(help="A blob or a folder of the data container, such as runs/<run id>/result.")
    ],
    file: Annotated[
        list[str] | None,
        typer.Option(
            "--file",
            "-f",
            metavar="NAME",
            help="A link to bring this file, below the prefix; may be repeated. Without any, links to read what is there.",
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="With --file: the file may be brought again, and over one that is there."
        ),
    ] = False,
    starts_runs: Annotated[
        bool,
        typer.Option(
            "--starts-runs", help="With --file below inbox/: it is meant that each file starts a run."
        ),
    ] = False,
    lifetime: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long the links are good: 30m, 12h, at most 7d.")
    ] = "1d",
    ip: Annotated[
        str | None,
        typer.Option("--ip", metavar="ADDRESS", help="Only from this IPv4 address, or range first-last."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the links to this new file, for your eyes only."
        ),
    ] = None,
    json: terminal.Json = False,
) -> None:
    """Make links for people outside, who have no account: one for each file, to read it or to bring it, and nothing else, until
    they end. Run records, models, logs and trigger files are never shared."""
    from batchscore import links

    if not file and (replace or starts_runs):
        option = "--replace" if replace else "--starts-runs"
        raise RequestError(f"{option} goes with --file: without one, links are for reading.")
    when = links.period(lifetime, datetime.now(UTC))
    where = None if ip is None else links.addresses(ip)
    if output is not None and output.exists():
        raise RequestError(f"{output} is there already. Give a new file.")
    with application() as control:
        found = (
            links.bringing(
                control.settings,
                control.storage,
                prefix,
                file,
                when,
                replace=replace,
                starts_runs=starts_runs,
                ip=where,
            )
            if file
            else links.reading(control.settings, control.storage, prefix, when, where)
        )
        group = control.settings.workspace.resource_group if control.settings.workspace else ""
    text = _document(found, where) if json else "".join(f"{link.url}\n" for link in found.links)
    if output is None:
        sys.stdout.write(text)  # as it is: a link that is wrapped opens nothing
    else:
        _write(output, text)
    _tell(found, where, output, group)


def _write(file: Path, text: str) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise RequestError(f"{file} cannot be written: {error.strerror}. Give another file.") from error


def _document(found: Share, ip: str | None) -> str:
    import msgspec

    document = {
        "account": found.account,
        "allows": found.deed.value,
        "starts": found.period.start,
        "ends": found.period.end,
        "ip": ip,
        "signed_by": found.signed_by,
        "links": [
            {"blob": link.blob, "size_bytes": link.size_bytes, "link": link.url} for link in found.links
        ],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def _tell(found: Share, ip: str | None, output: Path | None, group: str) -> None:
    """What the links are good for, how they are used and how they are taken back; beside the answer."""
    terminal.note(summary(found, ip) + (f" They are in {output}." if output else ""))
    for line in usage(found):
        terminal.note(f"  {line}")
    for line in taking_back(found, group):
        terminal.note(line)


def summary(found: Share, ip: str | None) -> str:
    """How many links, for what, until when."""
    what = {
        "read": "to read a file each",
        "create": "to bring a file each, once",
        "replace": "to bring a file each, again and again",
    }[found.deed.value]
    sizes = [link.size_bytes for link in found.links if link.size_bytes is not None]
    told = f" ({size(sum(sizes))})" if sizes else ""
    only = f", from {ip} only" if ip else ""
    runs = " Each of them starts a run." if found.starts_runs else ""
    return f"{counted(len(found.links), 'link')} {what}{told}, until {moment(found.period.end)}{only}.{runs}"


def usage(found: Share) -> tuple[str, ...]:
    """What whoever gets a link types."""
    from batchscore.links import MOST_BYTES_AT_ONCE, Deed

    name = shlex.quote(found.links[0].blob.rsplit("/", 1)[-1])
    if found.deed is Deed.READ:
        return (f"curl -f -o {name} '{EXAMPLE}'",)
    most = MOST_BYTES_AT_ONCE // 1_048_576
    at_once = (
        f" --put-blob-size-mb={most}" if found.deed is Deed.CREATE else ""
    )  # blocks need the right to overwrite
    return (
        f"curl -f -T {name} -H 'x-ms-blob-type: BlockBlob' '{EXAMPLE}'   (up to {most:,} MiB)",
        f"azcopy copy {name} '{EXAMPLE}' --check-length=false{at_once}",
    )


def taking_back(found: Share, group: str) -> tuple[str, ...]:
    """How links are revoked, and who sees what was done with them."""
    if found.signed_by is None:
        return (
            "These are for this machine: storage here is the emulator, whose key signed them; they also work without "
            "encryption, and nobody can take them back.",
        )
    return (
        f"To take back: az storage account revoke-delegation-keys -n {found.account} -g "
        f"{group or '<its resource group>'}   (every link into this account, after some minutes)",
        f"They were signed by {found.signed_by}. Each use is in the account's log where reads and writes are logged "
        "(ACCESS_LOG_ENABLED): StorageBlobLogs, AuthenticationType DelegationSas.",
    )

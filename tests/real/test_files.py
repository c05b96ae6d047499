"""Files as people share them from a shell: the command of ``/upload-link``, and the installed server."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest
from pytest_twisted import async_yield_fixture, ensureDeferred

from tests.real.programs import Program, Programs, Server, Talker, found

KILLS = 100 if os.environ.get("BROADCAST_LONG") else 3
UPLOADS_PER_PERSON = 3
MIB = 1 << 20


@async_yield_fixture
async def server(programs: Programs, tmp_path: Path) -> AsyncIterator[Server]:
    """The installed server, with the web page."""
    yield await start(programs, tmp_path / "data")


async def start(programs: Programs, data: Path) -> Server:
    return await programs.server("--web", "tcp:0:interface=127.0.0.1", "--data", str(data), "--limits", "off")


async def link(talker: Talker) -> str:
    """Return the command that ``/upload-link`` shows."""
    before = len(talker.text())
    talker.say("/upload-link")
    await talker.when(lambda: re.search(r"curl -T FILE .*\n", talker.text()[before:]) is not None)
    match = re.search(r"curl .*", talker.text()[before:])
    assert match is not None
    return match[0]


def run(programs: Programs, command: str) -> Program:
    """Run *command* in a shell, as a person does."""
    return programs.run(found("sh"), "-c", command)


@ensureDeferred
async def test_a_file_is_shared_and_fetched_with_the_command_that_the_room_shows(
    programs: Programs, server: Server, tmp_path: Path
) -> None:
    ann, bob = await programs.talkers(server.port, "ann", "bob")
    body = os.urandom(3 * MIB)
    (tmp_path / "my report.pdf").write_bytes(body)
    command = (await link(ann)).replace("FILE", shlex.quote("my report.pdf"))
    curl = run(programs, f"{command} --silent --show-error")
    assert await curl.end() == 0
    match = re.fullmatch(
        r"Shared my report\.pdf \(3\.1 MB\): (http://localhost:\d+/files/\S+/my%20report\.pdf)\n", curl.text()
    )
    assert match is not None, curl.text()
    await bob.until(f" * ann shared my report.pdf (3.1 MB): {match[1]}\r\n")
    (tmp_path / "fetched").mkdir()
    fetch = run(
        programs, f"cd fetched; curl -sSOJ {match[1]}; curl -sS -r 100-199 -o part {match[1]}; curl -sSI {match[1]}"
    )
    assert await fetch.end() == 0
    assert (tmp_path / "fetched" / "my report.pdf").read_bytes() == body
    assert (tmp_path / "fetched" / "part").read_bytes() == body[100:200]
    assert f"content-length: {3 * MIB}\n" in fetch.text().lower()
    again = run(programs, f"{command} --silent --show-error")
    assert await again.end() == 0
    assert again.text().startswith("This upload is over, or there was none.")
    token = command.split("Bearer ")[1].split("'")[0]
    assert token not in server.program.text()


@ensureDeferred
async def test_the_output_of_a_program_is_shared(programs: Programs, server: Server, tmp_path: Path) -> None:
    ann = await programs.talker(server.port, "ann")
    command = (await link(ann)).replace("FILE", "-")
    curl = run(programs, f"echo hello | {command}out.txt --silent --show-error")
    assert await curl.end() == 0
    assert curl.text().startswith("Shared out.txt (6 bytes): http://localhost:")


@ensureDeferred
async def test_curl_goes_on_with_an_upload_that_was_cut(programs: Programs, server: Server, tmp_path: Path) -> None:
    ann = await programs.talker(server.port, "ann")
    body = os.urandom(2 * MIB)
    (tmp_path / "a.bin").write_bytes(body)
    command = (await link(ann)).replace("FILE", "a.bin")
    cut = run(programs, f"{command} --silent --limit-rate 1M --max-time 1")
    assert await cut.end() == 28  # curl's status of a time-out
    url = command.split()[-1]
    header = re.search(r"-H '.*?'", command)
    assert header is not None
    asked = run(programs, f"curl -sS -I {header[0]} {url}")
    assert await asked.end() == 0
    offset = re.search(r"upload-offset: (\d+)", asked.text().lower())
    assert offset is not None, asked.text()
    assert 0 < int(offset[1]) < len(body)
    rest = run(programs, f"{command} --silent --show-error -C {offset[1]}")
    assert await rest.end() == 0
    assert rest.text().startswith("Shared a.bin (2.1 MB): ")
    fetched = run(programs, f"curl -sS -o fetched {rest.text().split()[-1]}")
    assert await fetched.end() == 0
    assert (tmp_path / "fetched").read_bytes() == body


@ensureDeferred
async def test_a_server_without_a_data_folder_takes_no_files(programs: Programs) -> None:
    server = await programs.server("--web", "tcp:0:interface=127.0.0.1", "--ephemeral")
    ann = await programs.talker(server.port, "ann")
    ann.say("/upload-link")
    await ann.until("-> Error: this server takes no files.\r\n")


@ensureDeferred
async def test_a_file_in_the_place_of_the_folder_ends_the_start_with_one_line(
    programs: Programs, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "files").write_text("")
    server = programs.start("--web", "tcp:0:interface=127.0.0.1", "--data", str(tmp_path / "data"))
    assert await server.end() == 1
    assert "data/files: it is a file. Move it away, or give --data another folder.\n" in server.text()


@pytest.mark.parametrize("seed", range(KILLS))
@ensureDeferred
async def test_every_file_that_was_announced_survives_a_kill_and_no_other_one_does(
    programs: Programs, tmp_path: Path, seed: int
) -> None:
    random = Random(seed)  # noqa: S311 -- when to kill is no secret
    data = tmp_path / "data"
    server = await start(programs, data)
    people = await programs.talkers(server.port, *(f"p{number}" for number in range(3)))
    witness = await programs.talker(server.port, "witness")
    hashes = set()
    for person in people:
        for number in range(UPLOADS_PER_PERSON):
            body = random.randbytes(random.randrange(1, 4 * MIB))
            hashes.add(sha256(body).hexdigest())
            name = f"{person.nick}-{number}.bin"
            (tmp_path / name).write_bytes(body)
            run(
                programs,
                f"{(await link(person)).replace('FILE', name)} --silent --limit-rate {random.randrange(1, 9)}M",
            )
    for _ in range(random.randrange(UPLOADS_PER_PERSON)):
        before = witness.text().count(" shared ")
        await witness.when(lambda before=before: witness.text().count(" shared ") > before)  # type: ignore[misc]
    await server.program.stop("KILL")
    await witness.lost
    announced = re.findall(r"shared \S+ \(.*\): http://localhost:\d+/files/(\S+)/(\S+)\n", witness.text())

    again = await start(programs, data)
    newcomer = await programs.talker(again.port, "newcomer")
    newcomer.say("/files")
    newcomer.say("/uptime")
    await newcomer.until("-> up since ")
    stored = re.findall(r"shared (\S+) \(.*\): (http://localhost:\d+/files/(\S+)/\S+)\n", newcomer.text())
    assert {file_id for file_id, _name in announced} <= {file_id for _name, _url, file_id in stored}
    for name, url, _file_id in stored:
        fetched = run(programs, f"curl -sS -f -o fetched {url} && cmp fetched {name}")
        assert await fetched.end() == 0, fetched.text()
    names = {path.name for path in (data / "files").iterdir()}
    assert not [name for name in names if name.endswith(".part")]
    assert {name for name in names if "." not in name} <= hashes

"""A journal that was restored from a dump goes on after its last line, as another journal."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.journals.contract import message, seqs
from tests.journals.postgres.support import open_postgres
from tests.postgres import OWNER, SHARED, PostgresServer
from tests.real.programs import PATIENCE


def run(postgres: PostgresServer, program: str, *arguments: str) -> None:
    command = [
        str(postgres.programs / program),
        "--host",
        str(postgres.folder),
        "--port",
        str(postgres.port),
        *arguments,
    ]
    subprocess.run([*command, "--username", OWNER], check=True, timeout=PATIENCE)  # noqa: S603 -- found


def test_restored_journal_has_all_lines_and_a_new_identifier(
    postgres: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    dump = str(tmp_path / "chat.dump")
    with open_postgres(postgres_url) as run_before:
        run_before.append_texts("ab")
        run(postgres, "pg_dump", "--format=custom", f"--file={dump}", SHARED)
        run_before.append_texts("c")  # readers have seen this line, which the dump lacks
        journal_id = run_before.journal.id
    name = postgres.create_database()
    run(postgres, "pg_restore", "--no-owner", f"--dbname={name}", dump)
    ids: list[str] = []
    for _ in range(2):
        with open_postgres(postgres.url(name), tail=9) as restored:
            assert [event.text for event in restored.tail] == ["a", "b", "d"][: 2 + len(ids)]
            ids.append(restored.journal.id)
            if len(ids) == 1:
                assert seqs(restored.append(message("d"))) == [3]
                assert restored.matches("a") == [1]
    assert ids == [ids[0]] * 2
    assert ids[0] != journal_id
    run(postgres, "pg_restore", "--no-owner", "--clean", f"--dbname={name}", dump)
    with open_postgres(postgres.url(name)) as again:
        assert again.journal.id not in {journal_id, *ids}
    with open_postgres(postgres_url) as original:
        assert original.journal.id == journal_id
    postgres.drop_database(name)

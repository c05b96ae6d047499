"""The schema of the journal in PostgreSQL: its migrations, and the functions that write.

Each call of a function is one transaction, so no lock outlasts it, whatever happens to the node that has called it.
A node numbers its calls, its *batches*, from 1. The database stores the last number and its result. So a node that
has lost its connection sends the same batch again: a batch takes effect once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Connection, sql
from psycopg.errors import InsufficientPrivilege

from broadcast.core.errors import JournalError, JournalTooNew
from broadcast.journals.postgres import (
    file_schema,
    lease_schema,
    people_schema,
    record_schema,
    search_schema,
    session_schema,
    slot_schema,
)

STALE = "BC001"
"""The SQLSTATE of a batch that is not valid any more, and can never take effect."""
LEASE_LOST = "BC002"
"""The SQLSTATE of a call with an old epoch: others have removed the node."""
MIGRATION_LOCK = 0x6263_6A31_0000_0000
"""The key of the advisory lock that a migration holds ("bcj1"). The hash of the schema's name is added."""

COPY_OF = "copy of "
"""The begin of the id of a journal while ``broadcast-admin copy`` fills it. The id of the original follows."""
INCOMPLETE = "the schema {} holds a copy that is not complete: run broadcast-admin copy again"

SERVER_LOCK = MIGRATION_LOCK + 2**33
"""The key of the advisory lock that all nodes share. The hash of the schema's name is added."""

_TABLES = """
CREATE TABLE journal (id text NOT NULL, version integer NOT NULL, home text NOT NULL DEFAULT '');
COMMENT ON TABLE journal IS 'The journal as a whole: one row.';
COMMENT ON COLUMN journal.id IS 'A random identifier. It is another one if stored lines were lost.';
COMMENT ON COLUMN journal.version IS 'The version of this schema.';
COMMENT ON COLUMN journal.home IS 'Cluster, database and table. After a restore, these are others.';
INSERT INTO journal VALUES (replace(gen_random_uuid()::text, '-', ''), 0);

CREATE TABLE rooms (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text COLLATE "C" NOT NULL UNIQUE,
    topic text NOT NULL DEFAULT '', last bigint NOT NULL DEFAULT 0, place bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
COMMENT ON TABLE rooms IS 'The rooms. A server locks the row of a room while it stores lines in it.';
COMMENT ON COLUMN rooms.id IS 'The identifier of the room in other tables.';
COMMENT ON COLUMN rooms.name IS 'The name of the room.';
COMMENT ON COLUMN rooms.topic IS 'The topic; empty if there is none.';
COMMENT ON COLUMN rooms.last IS 'Number of the last line in the room.';
COMMENT ON COLUMN rooms.place IS 'Place of the last event in the table stream that belongs to the room.';

CREATE TABLE lines (
    room integer NOT NULL, seq bigint NOT NULL, at double precision NOT NULL, kind text NOT NULL,
    session bigint NOT NULL, nick text NOT NULL, text text NOT NULL, uid text, file jsonb, PRIMARY KEY (room, seq)
);
CREATE UNIQUE INDEX lines_uid ON lines (room, uid) WHERE uid IS NOT NULL;
CREATE INDEX lines_file ON lines (room, seq) WHERE file IS NOT NULL;
COMMENT ON TABLE lines IS 'The lines of all rooms.';
COMMENT ON COLUMN lines.room IS 'The id of the room.';
COMMENT ON COLUMN lines.seq IS 'Number of the line in its room, from 1, without a gap.';
COMMENT ON COLUMN lines.at IS 'The time, in seconds since 1970: to_timestamp(at).';
COMMENT ON COLUMN lines.kind IS 'said, emoted (/me), or shared (a file).';
COMMENT ON COLUMN lines.session IS 'The session of the author.';
COMMENT ON COLUMN lines.nick IS 'The nickname of the author.';
COMMENT ON COLUMN lines.text IS 'The text, or the name of the file.';
COMMENT ON COLUMN lines.uid IS 'The identifier that the program of the author has chosen, if any.';
COMMENT ON COLUMN lines.file IS 'The shared file: id, size, type, sha256, width, height.';

CREATE VIEW history AS SELECT rooms.name AS room, seq, to_timestamp(at) AS at, kind, nick, text
    FROM lines JOIN rooms ON rooms.id = lines.room;
COMMENT ON VIEW history IS 'The lines of all rooms for people: WHERE at >= current_date ORDER BY at.';
COMMENT ON COLUMN history.room IS 'The name of the room.';
COMMENT ON COLUMN history.seq IS 'Number of the line in its room.';
COMMENT ON COLUMN history.at IS 'The time.';
COMMENT ON COLUMN history.kind IS 'said, emoted (/me), or shared (a file).';
COMMENT ON COLUMN history.nick IS 'The nickname of the author.';
COMMENT ON COLUMN history.text IS 'The text, or the name of the file.';

CREATE TABLE stream (
    room integer NOT NULL, place bigint NOT NULL, seq bigint NOT NULL, node text NOT NULL, event jsonb NOT NULL,
    stored timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (room, place)
);
COMMENT ON TABLE stream IS 'Recent joins, leaves and other events without a number, for the other servers.';
COMMENT ON COLUMN stream.room IS 'The id of the room.';
COMMENT ON COLUMN stream.place IS 'Place of the event among those of its room in this table, from 1.';
COMMENT ON COLUMN stream.seq IS 'Number of the last line before the event.';
COMMENT ON COLUMN stream.node IS 'The name of the server, empty if the server was dead.';
COMMENT ON COLUMN stream.event IS 'Kind, session, nickname, and more by kind.';
COMMENT ON COLUMN stream.stored IS 'The time. Events are deleted after some minutes.';

CREATE TABLE members (
    room integer NOT NULL, session bigint NOT NULL, node text NOT NULL, nick text NOT NULL,
    away boolean NOT NULL DEFAULT false, away_reason text NOT NULL DEFAULT '', PRIMARY KEY (room, session)
);
CREATE INDEX members_node ON members (node);
CREATE INDEX members_session ON members (session);
COMMENT ON TABLE members IS 'The people in the rooms, by the last events in the table stream.';
COMMENT ON COLUMN members.room IS 'The id of the room.';
COMMENT ON COLUMN members.session IS 'The session.';
COMMENT ON COLUMN members.node IS 'The name of the server to which the session is connected.';
COMMENT ON COLUMN members.nick IS 'The nickname.';
COMMENT ON COLUMN members.away IS 'Whether the person is away.';
COMMENT ON COLUMN members.away_reason IS 'The reason for that; empty if there is none.';

CREATE TABLE writers (
    node text PRIMARY KEY, epoch bigint NOT NULL, batch bigint NOT NULL DEFAULT 0, result jsonb, number integer UNIQUE
) WITH (fillfactor = 50);
COMMENT ON TABLE writers IS 'The servers that write, or have written.';
COMMENT ON COLUMN writers.node IS 'The name of the server.';
COMMENT ON COLUMN writers.epoch IS 'A number that rises with each start. Only the server with this epoch can write.';
COMMENT ON COLUMN writers.batch IS 'Number of the last batch that has taken effect.';
COMMENT ON COLUMN writers.result IS 'The result of this batch, in case that it is sent again.';
COMMENT ON COLUMN writers.number IS 'A small number. The server gives records ids with this rest modulo 256.';
"""

_RECORDS = """
CREATE TABLE accounts (
    id bigint PRIMARY KEY, name text NOT NULL, password_hash text NOT NULL, role text NOT NULL,
    created double precision NOT NULL, last_used double precision NOT NULL, issuer text NOT NULL,
    subject text NOT NULL, logins text NOT NULL, key text COLLATE "C" NOT NULL
);
CREATE INDEX accounts_key ON accounts (key);
CREATE INDEX accounts_subject ON accounts (subject) WHERE subject <> '';
COMMENT ON TABLE accounts IS 'The registered nicknames.';
COMMENT ON COLUMN accounts.id IS 'The identifier of the account.';
COMMENT ON COLUMN accounts.name IS 'The nickname.';
COMMENT ON COLUMN accounts.password_hash IS 'The hash of the password; empty if there is none.';
COMMENT ON COLUMN accounts.role IS 'operator, or empty.';
COMMENT ON COLUMN accounts.created IS 'The time of the registration, in seconds since 1970.';
COMMENT ON COLUMN accounts.last_used IS 'The time of the last login, in seconds since 1970.';
COMMENT ON COLUMN accounts.issuer IS 'The OpenID Connect provider that knows the owner; empty if there is none.';
COMMENT ON COLUMN accounts.subject IS 'The identifier of the owner at this provider.';
COMMENT ON COLUMN accounts.logins IS 'Hashes of the logins that clients remember.';
COMMENT ON COLUMN accounts.key IS 'The folded nickname.';

CREATE TABLE bans (
    id bigint PRIMARY KEY, target text NOT NULL, value text NOT NULL, name text NOT NULL, reason text NOT NULL,
    "by" text NOT NULL, at double precision NOT NULL, until double precision
);
COMMENT ON TABLE bans IS 'The bans.';
COMMENT ON COLUMN bans.id IS 'The identifier of the ban.';
COMMENT ON COLUMN bans.target IS 'account, nickname or address.';
COMMENT ON COLUMN bans.value IS 'The id of the account, the folded nickname, or the network.';
COMMENT ON COLUMN bans.name IS 'The target as the operator typed it.';
COMMENT ON COLUMN bans.reason IS 'The reason; empty if there is none.';
COMMENT ON COLUMN bans."by" IS 'Nickname of the operator.';
COMMENT ON COLUMN bans.at IS 'The time of the ban, in seconds since 1970.';
COMMENT ON COLUMN bans.until IS 'The time at which the ban ends, in seconds since 1970; NULL if it does not end.';

CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at double precision NOT NULL, "by" text NOT NULL,
    action text NOT NULL, target text NOT NULL, detail text NOT NULL
);
COMMENT ON TABLE audit IS 'The actions of operators and administrators.';
COMMENT ON COLUMN audit.id IS 'The place in the audit trail.';
COMMENT ON COLUMN audit.at IS 'The time, in seconds since 1970.';
COMMENT ON COLUMN audit."by" IS 'Nickname of the operator.';
COMMENT ON COLUMN audit.action IS 'The command.';
COMMENT ON COLUMN audit.target IS 'Its target.';
COMMENT ON COLUMN audit.detail IS 'More about it, for example a reason.';

CREATE TABLE private_lines (
    id bigint PRIMARY KEY, at double precision NOT NULL, sender_account bigint NOT NULL, sender text NOT NULL,
    recipient_account bigint NOT NULL, recipient text NOT NULL, text text NOT NULL, delivered boolean NOT NULL,
    kind text NOT NULL, uid text NOT NULL
);
CREATE INDEX private_pairs ON private_lines (sender_account, recipient_account, id);
CREATE INDEX private_recipients ON private_lines (recipient_account, id);
CREATE INDEX private_waiting ON private_lines (recipient_account, sender_account, id) WHERE NOT delivered;
COMMENT ON TABLE private_lines IS 'Private messages to and from accounts.';
COMMENT ON COLUMN private_lines.id IS 'The identifier of the message.';
COMMENT ON COLUMN private_lines.at IS 'The time, in seconds since 1970.';
COMMENT ON COLUMN private_lines.sender_account IS 'The account of the sender; 0 if there is none.';
COMMENT ON COLUMN private_lines.sender IS 'The nickname of the sender at that time.';
COMMENT ON COLUMN private_lines.recipient_account IS 'The account of the recipient; 0 if there is none.';
COMMENT ON COLUMN private_lines.recipient IS 'The nickname of the recipient at that time.';
COMMENT ON COLUMN private_lines.text IS 'The text.';
COMMENT ON COLUMN private_lines.delivered IS 'False while the message waits for its recipient.';
COMMENT ON COLUMN private_lines.kind IS 'message, or another kind.';
COMMENT ON COLUMN private_lines.uid IS 'The identifier that the program of the sender has chosen, if any.';

CREATE TABLE last_ids (kind text PRIMARY KEY, id bigint NOT NULL);
COMMENT ON TABLE last_ids IS 'The last id of each kind of record. An id is never used again.';
COMMENT ON COLUMN last_ids.kind IS 'accounts, bans, private_lines, or changes: those in the table record_changes.';
COMMENT ON COLUMN last_ids.id IS 'The highest id that was ever used.';
"""

# Without force_generic_plan, PostgreSQL would plan the statements of append anew in each call, for some milliseconds.
# It estimates hundreds of rows for values that it does not know, so a plan that it could keep seems too costly.
_FUNCTIONS = """
CREATE FUNCTION let_leave(p_node text, p_sessions bigint[], p_reason text DEFAULT 'connection lost') RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM rooms WHERE id IN (
        SELECT room FROM members WHERE node = p_node AND (p_sessions IS NULL OR session = ANY (p_sessions))
    ) ORDER BY name FOR NO KEY UPDATE;
    WITH gone AS (
        DELETE FROM members WHERE node = p_node AND (p_sessions IS NULL OR session = ANY (p_sessions))
        RETURNING room, session, nick
    ), numbered AS (
        SELECT gone.*, last, place + row_number() OVER (PARTITION BY room ORDER BY gone.session) AS place,
            coalesce(reason, p_reason) AS reason, coalesce("by", '') AS by,
            coalesce((SELECT max(generation) FROM people WHERE people.session = gone.session), 0) AS generation
        FROM gone JOIN rooms ON rooms.id = gone.room LEFT JOIN sessions ON sessions.session = gone.session
    ), new_events AS (
        INSERT INTO stream (room, place, seq, node, event)
        SELECT room, place, last, '', jsonb_build_array('left', session, nick, reason, by, false, generation)
        FROM numbered
    )
    UPDATE rooms SET place = latest.place
    FROM (SELECT room, max(place) AS place FROM numbered GROUP BY room) AS latest WHERE rooms.id = latest.room;
    IF FOUND THEN
        PERFORM pg_notify(current_schema(), E'\\n*');
    END IF;
END
$$;
COMMENT ON FUNCTION let_leave IS 'Let people of a server leave their rooms: some sessions, or all if the list is NULL.';

CREATE FUNCTION clear_node(p_node text, p_reason text DEFAULT 'connection lost') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM park_node(p_node);
    PERFORM let_leave(p_node, NULL, p_reason);
END
$$;
COMMENT ON FUNCTION clear_node IS
    'Park the sessions of a server, and let its other people leave their rooms. Its row in writers must be locked.';

CREATE FUNCTION enroll(p_node text) RETURNS TABLE (epoch bigint, batch bigint) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY INSERT INTO writers AS w (node, epoch) VALUES (p_node, 1)
        ON CONFLICT (node) DO UPDATE SET epoch = w.epoch + 1 RETURNING w.epoch, w.batch;
    PERFORM clear_node(p_node);
END
$$;
COMMENT ON FUNCTION enroll IS 'Give a server that starts a new epoch, and return it with the number of its last batch.';

CREATE FUNCTION expel(p_node text, p_epoch bigint, p_reason text DEFAULT 'connection lost') RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE writers SET epoch = epoch + 1 WHERE node = p_node AND epoch = p_epoch;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM clear_node(p_node, p_reason);
    RETURN true;
END
$$;
COMMENT ON FUNCTION expel IS 'End the epoch of a dead server, after its batch in flight, and let its people leave.';

CREATE FUNCTION begin_batch(p_node text, p_epoch bigint, p_batch bigint) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    writer writers;
BEGIN
    SELECT * INTO writer FROM writers WHERE node = p_node FOR UPDATE;
    IF writer.batch = p_batch THEN
        RETURN writer.result;
    END IF;
    IF writer.epoch IS DISTINCT FROM p_epoch THEN
        RAISE EXCEPTION 'the server % has lost its lease', p_node USING ERRCODE = 'BC002';
    ELSIF writer.batch > p_batch THEN
        RAISE EXCEPTION 'batch % of the server % is too old', p_batch, p_node USING ERRCODE = 'BC001';
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION begin_batch IS
    'Lock the row of a server until the end of the transaction. Return the result of the batch if it has taken effect.';

CREATE FUNCTION end_batch(p_node text, p_batch bigint, p_result jsonb) RETURNS jsonb LANGUAGE sql AS $$
    UPDATE writers SET batch = p_batch, result = p_result WHERE node = p_node RETURNING result;
$$;
COMMENT ON FUNCTION end_batch IS 'Store the result of a batch, and return it.';

CREATE FUNCTION is_outdated(p_node text, p_room integer, p_events jsonb, p_event jsonb) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM sessions WHERE session = (p_event ->> 2)::bigint AND node <> p_node)
        OR p_event ->> 1 = 'left'
        AND NOT EXISTS (SELECT FROM members WHERE room = p_room AND session = (p_event ->> 2)::bigint)
        AND NOT EXISTS (
            SELECT FROM jsonb_array_elements(p_events) AS other (e)
            WHERE e ->> 1 = 'joined' AND e -> 0 = p_event -> 0 AND e -> 2 = p_event -> 2
        );
END
$$;
COMMENT ON FUNCTION is_outdated IS
    'Return whether a server appends an event of a session that another server has, or that has left already.';

CREATE FUNCTION append(p_node text, p_epoch bigint, p_batch bigint, p_rooms text[], p_events jsonb) RETURNS jsonb
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    answer jsonb := begin_batch(p_node, p_epoch, p_batch);
    change record;
    is_freeing boolean := false;
    news jsonb := '[]';
BEGIN
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    -- All servers add and lock rooms in the same order, so that none waits for one that waits for it.
    INSERT INTO rooms (name) SELECT new.name FROM unnest(p_rooms) AS new (name)
        WHERE NOT EXISTS (SELECT FROM rooms WHERE rooms.name = new.name COLLATE "C")
        ORDER BY new.name COLLATE "C" ON CONFLICT (name) DO NOTHING;
    PERFORM FROM rooms WHERE name = ANY (p_rooms) ORDER BY name FOR NO KEY UPDATE;
    -- This is a statement of its own, because it must see the lines of all that have held the locks before.
    WITH room AS MATERIALIZED (
        SELECT index - 1 AS index, id, last, place
        FROM unnest(p_rooms) WITH ORDINALITY AS asked (name, index) JOIN rooms ON rooms.name = asked.name COLLATE "C"
    ), given AS MATERIALIZED (
        SELECT n, room.*, e, e ->> 1 AS kind, e ->> 1 IN ('said', 'emoted', 'shared') AS stored,
            (SELECT seq FROM lines WHERE lines.room = room.id AND uid = CASE WHEN
                e ->> 1 IN ('said', 'emoted', 'shared') THEN e ->> 6 END) AS first,
            -- A server without a directory has no lease, and nobody in people. Any server can store a file that a
            -- session shares: the slot of the upload decides about that.
            CASE WHEN EXISTS (SELECT FROM leases WHERE node = p_node) AND e ->> 1 NOT IN ('left', 'shared', 'announced')
                THEN (e ->> 2)::bigint END AS author
        FROM jsonb_array_elements(p_events) WITH ORDINALITY AS given (e, n)
        JOIN room ON room.index = (e ->> 0)::integer
    ), own AS MATERIALIZED (
        SELECT session FROM people WHERE node = p_node AND session = ANY (ARRAY(SELECT DISTINCT author FROM given))
    ), event AS MATERIALIZED (
        SELECT *, first IS NULL AND (
            author IS NOT NULL AND author NOT IN (SELECT session FROM own)
            OR kind IN ('joined', 'left', 'renamed', 'away') AND is_outdated(p_node, id, p_events, e)
        ) AS outdated
        FROM given
    ), numbered AS MATERIALIZED (
        SELECT id AS room, n, e, kind, stored AND first IS NULL AND NOT outdated AS is_line,
            NOT (stored OR outdated) AS is_transient,
            last + count(*) FILTER (WHERE stored AND first IS NULL AND NOT outdated) OVER so_far AS seq,
            place + count(*) FILTER (WHERE NOT (stored OR outdated)) OVER so_far AS place
        FROM event WINDOW so_far AS (PARTITION BY id ORDER BY n)
    ), new_lines AS (
        INSERT INTO lines (room, seq, kind, session, nick, text, at, uid, file)
        SELECT room, seq, kind, (e ->> 2)::bigint, e ->> 3, e ->> 4, (e ->> 5)::double precision, e ->> 6,
            nullif(e -> 7, 'null')
        FROM numbered WHERE is_line
    ), new_events AS (
        INSERT INTO stream (room, place, seq, node, event)
        SELECT room, place, seq, p_node, e - 0 FROM numbered WHERE is_transient
    ), changes AS (
        SELECT room, max(seq) AS last, max(place) AS place,
            (array_agg(e ->> 4 ORDER BY n DESC) FILTER (WHERE kind = 'topic' AND is_transient))[1] AS topic
        FROM numbered GROUP BY room
    ), new_rooms AS (
        UPDATE rooms SET last = changes.last, place = changes.place, topic = coalesce(changes.topic, rooms.topic)
        FROM changes WHERE rooms.id = changes.room
    )
    SELECT jsonb_build_object(
        'rooms', coalesce((SELECT jsonb_agg(jsonb_build_array(last, place) ORDER BY index) FROM room), '[]'),
        'repeated', coalesce((SELECT jsonb_object_agg(n - 1, first) FROM event WHERE first IS NOT NULL), '{}'),
        'outdated', coalesce((
            SELECT jsonb_object_agg(n - 1, (
                SELECT jsonb_build_array(nick, away, away_reason) FROM members
                WHERE room = event.id AND session = (e ->> 2)::bigint
            )) FROM event WHERE outdated
        ), '{}')
    ) INTO answer;
    FOR change IN
        SELECT id AS room, e ->> 1 AS kind, (e ->> 2)::bigint AS session, e
        FROM jsonb_array_elements(p_events) WITH ORDINALITY AS given (e, n)
        JOIN rooms ON rooms.name = p_rooms[(e ->> 0)::integer + 1] COLLATE "C"
        WHERE e ->> 1 IN ('joined', 'left', 'renamed', 'away') AND NOT answer -> 'outdated' ? (n - 1)::text
        ORDER BY n
    LOOP
        -- The function change_people locks rows of people, too. So lock all of these rows before the first is freed.
        IF NOT is_freeing AND (change.kind = 'renamed' OR change.kind = 'left' AND (change.e -> 6)::boolean) THEN
            is_freeing := true;
            PERFORM lock_people(ARRAY(
                SELECT (e ->> 2)::bigint FROM jsonb_array_elements(p_events) WITH ORDINALITY AS given (e, n)
                WHERE e ->> 1 IN ('left', 'renamed') AND NOT answer -> 'outdated' ? (n - 1)::text
            ));
        END IF;
        CASE change.kind
            WHEN 'joined' THEN
                INSERT INTO members (room, session, node, nick)
                VALUES (change.room, change.session, coalesce(
                    (SELECT node FROM sessions WHERE session = change.session), p_node -- it may have moved just now
                ), change.e ->> 3)
                ON CONFLICT (room, session) DO UPDATE SET node = excluded.node, nick = excluded.nick;
            WHEN 'left' THEN
                DELETE FROM members WHERE room = change.room AND session = change.session;
                IF (change.e -> 6)::boolean THEN
                    news := news || free_nick(change.session, NULL);
                END IF;
            WHEN 'renamed' THEN
                UPDATE members SET nick = change.e ->> 4 WHERE room = change.room AND session = change.session;
                IF change.e ->> 3 <> change.e ->> 4 THEN
                    news := news || free_nick(change.session, change.e ->> 3);
                END IF;
            WHEN 'away' THEN
                UPDATE members SET away = (change.e ->> 4)::boolean, away_reason = change.e ->> 5
                WHERE room = change.room AND session = change.session;
        END CASE;
    END LOOP;
    PERFORM notify_people(p_node, news);
    PERFORM pg_notify(current_schema(), left(p_node, 200) || E'\\n' ||
        CASE WHEN octet_length(p_rooms::text) < 7000 THEN array_to_string(p_rooms, E'\\n') ELSE '*' END);
    RETURN end_batch(p_node, p_batch, answer);
END
$$;
COMMENT ON FUNCTION append IS
    'Store a batch. An event is an array: index of the room, kind, session, nickname; a line also has text, time, uid '
    'and file. Return rooms: the position in each room before the batch; repeated: the number of the line that had the '
    'same uid, by the index of the event; outdated: the nickname, away and reason of the member, or NULL, by the index '
    'of the event, which has no effect: the server does not have the session any more.';
"""

_HOME = """
SELECT concat_ws('/', system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database()),
    'journal'::regclass::oid) FROM pg_control_system()
"""
_NEW_ID = "UPDATE journal SET id = replace(gen_random_uuid()::text, '-', ''), home = %s WHERE home <> %s"

MIGRATIONS: list[str] = [
    _TABLES
    + _RECORDS
    + _FUNCTIONS
    + record_schema.TABLES
    + record_schema.FUNCTIONS
    + search_schema.TABLES
    + file_schema.TABLES
    + people_schema.TABLES
    + people_schema.FUNCTIONS
    + session_schema.TABLES
    + session_schema.FUNCTIONS
    + slot_schema.TABLES
    + slot_schema.FUNCTIONS
    + lease_schema.TABLES
    + lease_schema.FUNCTIONS
]
"""Entry n (from 0) migrates schema version n to n + 1."""


def open_schema(db: Connection[Any], schema: str) -> str:
    """Create or migrate *schema*, to which the search path of *db* leads, and return the id of the journal.

    Several nodes may do this at once. Raises ``psycopg.Error`` or ``JournalError``.
    """
    newest = len(MIGRATIONS)
    version, journal_id = read_version(db, schema)
    if version < newest:
        with db.transaction():
            db.execute("SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '60s', true)")
            db.execute("SELECT pg_advisory_xact_lock(%s + hashtext(%s))", (MIGRATION_LOCK, schema))
            version, _ = read_version(db, schema)  # another node may have migrated it meanwhile
            _migrate(db, schema, version, MIGRATIONS[version:])
        version, journal_id = read_version(db, schema)
    if version > newest:
        msg = (
            f"the schema {schema} of the journal has version {version}, this program knows up to {newest}: "
            "install the newer version that made it, or use another schema"
        )
        raise JournalTooNew(msg)
    if journal_id.startswith(COPY_OF):
        raise JournalError(INCOMPLETE.format(schema))
    return _settle_id(db)


def _settle_id(db: Connection[Any]) -> str:
    """Return the id of the journal: a new one if its tables were restored from a dump, which may lack the last lines.

    Another node may do the same at once, so the id that was read before is not valid.
    """
    home = _value(db, _HOME)
    if not _value(db, "SELECT home = %s FROM journal", home):
        try:
            db.execute(_NEW_ID, (home, home))
        except InsufficientPrivilege as error:
            msg = "the journal is a copy and needs a new identifier: start the server once as the owner of the tables"
            raise JournalError(msg) from error
    return str(_value(db, "SELECT id FROM journal"))


def read_version(db: Connection[Any], schema: str) -> tuple[int, str]:
    """Return the version of *schema*, 0 if there is no journal in it, and the id of the journal."""
    # The catalog in FROM is locked, so that the session learns of a schema that was created since its last statement.
    query = "SELECT to_regclass(quote_ident(%s) || '.journal') IS NOT NULL FROM pg_namespace LIMIT 1"
    if not _value(db, query, schema):
        return 0, ""
    row = db.execute("SELECT version, id FROM journal").fetchone()
    if row is None:
        msg = f"the schema {schema} holds no journal of this program: use another schema"
        raise JournalError(msg)
    return int(row[0]), str(row[1])


def _migrate(db: Connection[Any], schema: str, version: int, migrations: Sequence[str]) -> None:
    """Migrate *schema* from *version* with *migrations*, within a transaction."""
    try:
        if not _value(db, "SELECT count(*) FROM pg_namespace WHERE nspname = %s", schema):
            db.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        for number, migration in enumerate(migrations, version + 1):
            db.execute(migration.encode())
            db.execute("UPDATE journal SET version = %s", (number,))
    except InsufficientPrivilege as error:
        msg = (
            f"cannot create the tables of the journal in the schema {schema}: {error.diag.message_primary}; "
            "start the server once as the owner of the database, or grant CREATE on it to this role"
        )
        raise JournalError(msg) from error


def _value(db: Connection[Any], query: str, *values: object) -> Any:  # noqa: ANN401 - any type of the database
    row = db.execute(query.encode(), values).fetchone()
    assert row is not None
    return row[0]

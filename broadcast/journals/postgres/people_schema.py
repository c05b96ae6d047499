"""The tables and functions of the schema for the people of all servers: nicknames, presence, and messages to them."""

from __future__ import annotations

TABLES = """
CREATE TABLE people (
    key text COLLATE "C" PRIMARY KEY, look text COLLATE "C" UNIQUE, node text NOT NULL, session bigint NOT NULL,
    nick text NOT NULL, account bigint NOT NULL, away boolean NOT NULL, away_reason text NOT NULL, address text,
    generation integer NOT NULL DEFAULT 0
) WITH (fillfactor = 70);
CREATE INDEX people_session ON people (session);
CREATE INDEX people_node ON people (node);
COMMENT ON TABLE people IS 'The people who are here. During a rename, a person has two rows for a moment.';
COMMENT ON COLUMN people.key IS 'The folded nickname.';
COMMENT ON COLUMN people.look IS 'The look of the nickname, if nicknames must not look alike.';
COMMENT ON COLUMN people.node IS 'The server that has the session; empty if none has. See the table sessions.';
COMMENT ON COLUMN people.session IS 'The session.';
COMMENT ON COLUMN people.nick IS 'The nickname.';
COMMENT ON COLUMN people.account IS 'The account to which the session is logged in; 0 if there is none.';
COMMENT ON COLUMN people.away IS 'Whether the person is away.';
COMMENT ON COLUMN people.away_reason IS 'The reason; empty if there is none.';
COMMENT ON COLUMN people.address IS 'The IP address; NULL for a connection of the machine of the server.';
COMMENT ON COLUMN people.generation IS 'A number that rises when the session moves to another server.';

CREATE TABLE mail (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, node text NOT NULL, sender text NOT NULL, body jsonb NOT NULL,
    session bigint, stored timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX mail_node ON mail (node, id);
COMMENT ON TABLE mail IS 'Messages from server to server, about one person or to all. The recipient deletes them.';
COMMENT ON COLUMN mail.id IS 'The place in the order of all messages.';
COMMENT ON COLUMN mail.node IS 'The server that receives the message; empty while no server has the session.';
COMMENT ON COLUMN mail.sender IS 'The server that has sent it.';
COMMENT ON COLUMN mail.body IS 'The kind and the contents.';
COMMENT ON COLUMN mail.session IS 'The session that the message is for, if it is for one.';
COMMENT ON COLUMN mail.stored IS 'The time at which it was sent.';

CREATE TABLE decisions (key text PRIMARY KEY, body jsonb NOT NULL, session bigint);
COMMENT ON TABLE decisions IS 'The mutes and the slow modes that hold now.';
COMMENT ON COLUMN decisions.key IS 'What the decision is about. A later one about the same replaces it.';
COMMENT ON COLUMN decisions.body IS 'The kind and the values.';
COMMENT ON COLUMN decisions.session IS 'The session, if it is about one. It is deleted some time after the session.';
"""

FUNCTIONS = """
CREATE FUNCTION people_channel() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT left(current_schema(), 40) || ' people'
$$;
COMMENT ON FUNCTION people_channel IS 'Return the name of the channel for notifications about people and mail.';

CREATE FUNCTION notify_people(p_node text, p_news jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    payload text := jsonb_build_array(p_node, p_news)::text;
BEGIN
    IF p_news <> '[]' THEN
        PERFORM pg_notify(people_channel(), CASE WHEN octet_length(payload) < 7800 THEN payload ELSE '' END);
    END IF;
END
$$;
COMMENT ON FUNCTION notify_people IS 'Notify all servers of news. An empty notification stands for more than fit.';

CREATE FUNCTION lock_people(p_sessions bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM people WHERE session = ANY (p_sessions) ORDER BY key FOR UPDATE;
END
$$;
COMMENT ON FUNCTION lock_people IS
    'Lock the rows of sessions. All servers do so in the same order, so that none waits for one that waits for it.';

CREATE FUNCTION free_nick(p_session bigint, p_nick text) RETURNS jsonb LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM people WHERE session = p_session AND (p_nick IS NULL OR nick = p_nick)
            AND NOT EXISTS (SELECT FROM members WHERE session = p_session AND (p_nick IS NULL OR nick = p_nick))
            RETURNING session, nick
    )
    SELECT coalesce(jsonb_agg(jsonb_build_array('gone', session, nick)), '[]') FROM gone;
$$;
COMMENT ON FUNCTION free_nick IS
    'Free a nickname of a session, or all if it is NULL, once no room has it any more. Return the news about that.';

CREATE FUNCTION decide(p_key text, p_body jsonb, p_session bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM decisions WHERE key = p_key
        OR (session IS NOT NULL AND NOT EXISTS (SELECT FROM people WHERE people.session = decisions.session));
    IF p_body IS NOT NULL THEN
        INSERT INTO decisions VALUES (p_key, p_body, p_session);
    END IF;
END
$$;
COMMENT ON FUNCTION decide IS
    'Store a decision, or delete it if the body is NULL, and those about sessions that ended.';

CREATE FUNCTION change_people(p_node text, p_changes jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    answers jsonb := '[]';
    news jsonb := '[]';
    answer jsonb;
    change jsonb;
    item jsonb;
    person people;
    rival people;
    more jsonb;
BEGIN
    -- One server at a time, so that notifications have the order of the changes, and there is no deadlock.
    PERFORM pg_advisory_xact_lock(hashtext(people_channel()), 1);
    PERFORM set_config('synchronous_commit', 'off', true);  -- nothing of this must survive a crash
    -- The function append, which does not take the lock above, frees nicknames.
    PERFORM lock_people(ARRAY(SELECT (c #>> '{1,session}')::bigint FROM jsonb_array_elements(p_changes) AS c));
    FOR change IN SELECT c FROM jsonb_array_elements(p_changes) AS c LOOP
        item := change -> 1;
        IF jsonb_typeof(item) = 'object' THEN
            person := jsonb_populate_record(NULL::people, item || jsonb_build_object('node', p_node));
        END IF;
        answer := 'null';
        CASE change ->> 0
            WHEN 'take' THEN
                SELECT * INTO rival FROM people
                    WHERE (key = person.key OR look = person.look) AND session <> person.session
                    ORDER BY key <> person.key LIMIT 1;
                IF FOUND OR EXISTS (
                    SELECT FROM people WHERE session = person.session AND generation <> person.generation
                ) THEN
                    answer := to_jsonb(CASE WHEN rival.key <> person.key THEN rival.nick ELSE '' END);
                ELSE
                    DELETE FROM people WHERE session = person.session AND (key = person.key OR look = person.look);
                    INSERT INTO people SELECT person.*;
                    news := news || jsonb_build_array(jsonb_build_array('here', to_jsonb(person)));
                END IF;
            WHEN 'look_up' THEN
                SELECT coalesce(jsonb_agg(to_jsonb(named)), '[]') INTO answer FROM people AS named
                    WHERE key IN (SELECT jsonb_array_elements_text(item -> 'keys'))
                    OR look IN (SELECT jsonb_array_elements_text(item -> 'looks'));
            WHEN 'update' THEN
                UPDATE people SET nick = person.nick, account = person.account, away = person.away,
                    away_reason = person.away_reason, address = person.address
                    WHERE key = person.key AND session = person.session AND generation = person.generation;
                IF FOUND THEN
                    news := news || jsonb_build_array(jsonb_build_array('here', to_jsonb(person)));
                END IF;
            WHEN 'release' THEN
                DELETE FROM people
                    WHERE key = person.key AND session = person.session AND generation = person.generation;
                IF FOUND THEN
                    news := news || jsonb_build_array(jsonb_build_array('gone', person.session, person.nick));
                END IF;
            WHEN 'send' THEN
                SELECT * INTO rival FROM people WHERE session = (change ->> 1)::bigint LIMIT 1;
                IF NOT FOUND THEN
                    answer := 'false';
                ELSIF rival.node = '' AND change #>> '{2,2}' = 'Expulsion' THEN
                    UPDATE sessions
                        SET until = now(), reason = change #>> '{2,3,reason}', "by" = change #>> '{2,3,by}'
                        WHERE session = rival.session;
                    answer := 'true';
                ELSE
                    INSERT INTO mail (node, sender, body, session)
                        VALUES (rival.node, p_node, change -> 2, rival.session);
                    news := news || jsonb_build_array(jsonb_build_array('mail', rival.node));
                    answer := CASE WHEN rival.node = '' THEN 'true' ELSE 'null' END;
                END IF;
            WHEN 'answer' THEN
                INSERT INTO mail (node, sender, body) VALUES (change ->> 1, p_node, change -> 2);
                news := news || jsonb_build_array(jsonb_build_array('mail', change -> 1));
            WHEN 'publish' THEN
                IF change -> 3 <> 'null' THEN
                    PERFORM decide(change #>> '{3,key}', nullif(change #> '{3,body}', 'null'),
                        (change #>> '{3,session}')::bigint);
                END IF;
                INSERT INTO mail (node, sender, body)
                    SELECT leases.node, p_node, change -> 2 FROM leases
                    WHERE leases.node <> p_node OR change -> 3 <> 'null';  -- all receive decisions in the same order
                news := news || '[["mail", null]]';  -- for all servers
            WHEN 'open_slot', 'find_slot', 'begin_slot', 'end_slot' THEN
                answer := coalesce(change_slot(change ->> 0, item), 'null');
            ELSE
                SELECT changed.answer, changed.news INTO answer, more
                    FROM change_session(p_node, change ->> 0, item) AS changed;
                news := news || more;
        END CASE;
        answers := answers || jsonb_build_array(answer);
    END LOOP;
    PERFORM notify_people(p_node, news);
    RETURN answers;
END
$$;
COMMENT ON FUNCTION change_people IS
    'Make changes for a server, and notify others: take, look_up, update or release a nickname; send, answer or '
    'publish mail; and those of change_session and change_slot.';
"""

"""The tables and functions of the schema for the search index."""

from __future__ import annotations

TABLES = """
CREATE TABLE words (room integer NOT NULL, seq bigint NOT NULL, words text[] COLLATE "C" NOT NULL);
-- The index takes up lines some hundreds at a time, which costs two fifths of the time. Searches read those that wait.
CREATE INDEX words_index ON words USING gin (words) WITH (gin_pending_list_limit = 256);
COMMENT ON TABLE words IS 'The search index: the words of each line. A server fills it after the line was stored.';
COMMENT ON COLUMN words.room IS 'The id of the room.';
COMMENT ON COLUMN words.seq IS 'Number of the line in its room.';
COMMENT ON COLUMN words.words IS
    'The words without case and diacritics, and the parts of the room that hold the line: /room/level/number.';

CREATE TABLE word_marks (room integer PRIMARY KEY, upto bigint NOT NULL) WITH (fillfactor = 50);
COMMENT ON TABLE word_marks IS 'The progress of the search index.';
COMMENT ON COLUMN word_marks.room IS 'The id of the room.';
COMMENT ON COLUMN word_marks.upto IS 'Each line of the room up to this number is in the index exactly once.';

CREATE TABLE indexing (task text PRIMARY KEY, node text NOT NULL, until timestamptz NOT NULL);
COMMENT ON TABLE indexing IS 'The server that fills the search index: one row.';
COMMENT ON COLUMN indexing.task IS 'words.';
COMMENT ON COLUMN indexing.node IS 'The name of the server.';
COMMENT ON COLUMN indexing.until IS 'The time from which on another server may take over, unless this one renews it.';

CREATE FUNCTION add_words(p_room integer, p_after bigint, p_upto bigint, p_words text[]) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO word_marks VALUES (p_room, 0) ON CONFLICT DO NOTHING;
    UPDATE word_marks SET upto = p_upto WHERE room = p_room AND upto = p_after;
    IF NOT FOUND THEN
        RETURN false;  -- another server has indexed these lines
    END IF;
    INSERT INTO words SELECT p_room, p_after + number, string_to_array(line, ' ')
        FROM unnest(p_words) WITH ORDINALITY AS given (line, number);
    RETURN true;
END
$$;
COMMENT ON FUNCTION add_words IS
    'Index the lines of a room after one number, up to another. An element holds the words of one line.';
"""

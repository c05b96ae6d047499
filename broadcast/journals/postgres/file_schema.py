"""The tables and functions of the schema for shared files."""

from __future__ import annotations

TABLES = """
CREATE TABLE contents (
    token text PRIMARY KEY, sha256 text UNIQUE, size bigint NOT NULL, begun timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE contents IS 'The contents of shared files. The same content is here once.';
COMMENT ON COLUMN contents.token IS 'The identifier of the content in the table chunks.';
COMMENT ON COLUMN contents.sha256 IS 'The hash in hexadecimal digits; NULL until all chunks are stored.';
COMMENT ON COLUMN contents.size IS 'Size in bytes.';
COMMENT ON COLUMN contents.begun IS 'The time of the first chunk.';

CREATE TABLE chunks (token text NOT NULL, number integer NOT NULL, data bytea NOT NULL, PRIMARY KEY (token, number));
ALTER TABLE chunks ALTER data SET STORAGE EXTERNAL;
COMMENT ON TABLE chunks IS 'The bytes of the contents, 256 KiB each.';
COMMENT ON COLUMN chunks.token IS 'The content.';
COMMENT ON COLUMN chunks.number IS 'Number of the chunk, from 0.';
COMMENT ON COLUMN chunks.data IS 'The bytes.';

CREATE TABLE shares (
    id text PRIMARY KEY, name text NOT NULL, size bigint NOT NULL, type text NOT NULL, sha256 text NOT NULL,
    owner text NOT NULL, at double precision NOT NULL, width integer NOT NULL, height integer NOT NULL,
    serial bigint GENERATED ALWAYS AS IDENTITY UNIQUE
);
CREATE INDEX shares_content ON shares (sha256);
COMMENT ON TABLE shares IS 'The shared files that can be downloaded.';
COMMENT ON COLUMN shares.id IS 'The secret part of the address.';
COMMENT ON COLUMN shares.name IS 'The name of the file.';
COMMENT ON COLUMN shares.size IS 'Size in bytes.';
COMMENT ON COLUMN shares.type IS 'The media type.';
COMMENT ON COLUMN shares.sha256 IS 'The hash of the content.';
COMMENT ON COLUMN shares.owner IS 'The account or address whose limits the file counts for.';
COMMENT ON COLUMN shares.at IS 'The time of the upload, in seconds since 1970.';
COMMENT ON COLUMN shares.width IS 'Width of the image in pixels, or 0.';
COMMENT ON COLUMN shares.height IS 'Height of the image in pixels, or 0.';
COMMENT ON COLUMN shares.serial IS 'Number of the share, by which servers find new ones.';

CREATE FUNCTION add_share(p_token text, p_share jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    share shares := jsonb_populate_record(NULL::shares, p_share);
    present text;
BEGIN
    SELECT token INTO present FROM contents WHERE sha256 = share.sha256 FOR UPDATE;
    IF present IS NULL THEN
        UPDATE contents SET sha256 = share.sha256 WHERE token = p_token;
    ELSIF present <> p_token THEN
        DELETE FROM chunks WHERE token = p_token;
        DELETE FROM contents WHERE token = p_token;
    END IF;
    INSERT INTO shares (id, name, size, type, sha256, owner, at, width, height)
        SELECT share.id, share.name, share.size, share.type, share.sha256, share.owner, share.at, share.width,
            share.height
        ON CONFLICT (id) DO NOTHING;
END
$$;
COMMENT ON FUNCTION add_share IS
    'Share a content whose chunks are stored. The same content of an earlier share is used.';

CREATE FUNCTION remove_share(p_id text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    hash text;
    present text;
BEGIN
    SELECT sha256 INTO hash FROM shares WHERE id = p_id;
    SELECT token INTO present FROM contents WHERE sha256 = hash FOR UPDATE;
    DELETE FROM shares WHERE id = p_id;
    IF NOT EXISTS (SELECT FROM shares WHERE sha256 = hash) THEN
        DELETE FROM chunks WHERE token = present;
        DELETE FROM contents WHERE token = present;
    END IF;
END
$$;
COMMENT ON FUNCTION remove_share IS 'Remove a share, and its content if it was the last share of it.';
"""

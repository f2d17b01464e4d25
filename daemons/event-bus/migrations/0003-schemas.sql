-- SPDX-License-Identifier: LGPL-2.1-or-later
-- The schema registry: subjects, and the versions of their schemas.
--
-- Each change takes a revision, under a lock on the one row of schema_state that is held to the commit: revisions are in the order of
-- commits, and whoever has seen one reads what is behind it. Versions never change.

CREATE TABLE schema_state (
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        revision bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);

INSERT INTO schema_state DEFAULT VALUES;

CREATE TABLE schema_subjects (
        subject text PRIMARY KEY,
        compatibility text NOT NULL DEFAULT 'backward',
        newest integer NOT NULL DEFAULT 0, -- 0: none yet
        revision bigint NOT NULL
);

CREATE INDEX ON schema_subjects (revision);

CREATE TABLE schemas (
        subject text NOT NULL REFERENCES schema_subjects,
        version integer NOT NULL CHECK (version > 0),
        schema text NOT NULL,
        refs text NOT NULL, -- JSON: which version of which subject it refers to
        created_at timestamptz NOT NULL DEFAULT now(),
        created_by text,
        revision bigint NOT NULL,
        PRIMARY KEY (subject, version)
);

CREATE INDEX ON schemas (revision);

-- Adds a version. expected: the newest one that the caller has judged it against. Returns the version that holds the schema, and whether
-- it is new; NULL: there is a newer one than expected. May be repeated: the same schema again is the newest already.
CREATE FUNCTION put_schema(the_subject text, expected integer, the_schema text, the_refs text, by text,
        OUT the_version integer, OUT is_new boolean) LANGUAGE plpgsql AS $$
DECLARE
        the_revision bigint;
        the_newest integer;
BEGIN
        UPDATE schema_state SET revision = revision + 1 RETURNING revision INTO the_revision;
        SELECT newest INTO the_newest FROM schema_subjects WHERE subject = the_subject;
        PERFORM FROM schemas s WHERE s.subject = the_subject AND s.version = the_newest AND s.schema = the_schema AND s.refs = the_refs;
        IF FOUND THEN
                the_version := the_newest;
                is_new := false;
                RETURN;
        END IF;
        IF COALESCE(the_newest, 0) <> expected THEN
                RETURN;
        END IF;
        the_version := expected + 1;
        is_new := true;
        INSERT INTO schema_subjects (subject, newest, revision) VALUES (the_subject, the_version, the_revision)
                ON CONFLICT (subject) DO UPDATE SET newest = excluded.newest, revision = excluded.revision;
        INSERT INTO schemas (subject, version, schema, refs, created_by, revision)
                VALUES (the_subject, the_version, the_schema, the_refs, by, the_revision);
END
$$;

CREATE FUNCTION set_schema_compatibility(the_subject text, the_compatibility text) RETURNS void LANGUAGE sql AS $$
        WITH state AS (UPDATE schema_state SET revision = revision + 1 RETURNING revision)
        INSERT INTO schema_subjects (subject, compatibility, revision) SELECT the_subject, the_compatibility, revision FROM state
                ON CONFLICT (subject) DO UPDATE SET compatibility = excluded.compatibility, revision = excluded.revision
$$;

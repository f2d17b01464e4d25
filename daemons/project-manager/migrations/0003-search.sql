-- SPDX-License-Identifier: LGPL-2.1-or-later
-- Labels, and what the query language looks for: words in titles before words in descriptions; words with typos only in titles,
-- and only where the database has the extension pg_trgm in the schema "extensions".

ALTER TABLE tasks
        ADD labels text[] NOT NULL DEFAULT '{}' CHECK (cardinality(labels) <= 32),
        ADD search tsvector GENERATED ALWAYS AS
                (setweight(to_tsvector('english', title), 'A') || setweight(to_tsvector('english', description), 'B')) STORED;
CREATE INDEX tasks_by_word ON tasks USING gin (search);
CREATE INDEX tasks_by_label ON tasks USING gin (labels);
CREATE INDEX tasks_by_due ON tasks (project, due) WHERE due IS NOT NULL;

DO $$
BEGIN
        IF EXISTS (SELECT FROM pg_opclass c JOIN pg_namespace n ON n.oid = c.opcnamespace
                   WHERE c.opcname = 'gin_trgm_ops' AND n.nspname = 'extensions') THEN
                CREATE INDEX tasks_by_trigram ON tasks USING gin (title extensions.gin_trgm_ops);
        END IF;
END
$$;

-- SPDX-License-Identifier: LGPL-2.1-or-later
-- Estimates, what a task is called elsewhere, and imports: which rows of a file became which tasks, and why others did not.

ALTER TABLE tasks
        DROP CONSTRAINT tasks_description_check,
        ADD CONSTRAINT tasks_description_check CHECK (char_length(description) <= 65536),
        ADD estimate numeric(9, 2) CHECK (estimate >= 0),
        ADD external text CHECK (char_length(external) BETWEEN 1 AND 128);
ALTER TABLE projects
        DROP CONSTRAINT projects_description_check,
        ADD CONSTRAINT projects_description_check CHECK (char_length(description) <= 65536);
CREATE UNIQUE INDEX tasks_by_external ON tasks (project, external) WHERE external IS NOT NULL;

CREATE TABLE imports (
        id uuid PRIMARY KEY,
        project uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
        state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'finished', 'reverted')),
        header text NOT NULL, -- a hash of the file's first line: it goes on with the same file only
        rows_done integer NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        created_by text NOT NULL
);
CREATE INDEX imports_by_project ON imports (project);

CREATE TABLE import_rows (
        import uuid NOT NULL REFERENCES imports ON DELETE CASCADE,
        row integer NOT NULL, -- from 1, without the header
        external text,
        task uuid REFERENCES tasks ON DELETE SET NULL,
        outcome text NOT NULL CHECK (outcome IN ('imported', 'present', 'rejected')),
        reason text,
        PRIMARY KEY (import, row)
);
CREATE INDEX import_rows_by_task ON import_rows (task) WHERE task IS NOT NULL;

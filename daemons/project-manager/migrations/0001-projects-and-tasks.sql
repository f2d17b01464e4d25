-- SPDX-License-Identifier: LGPL-2.1-or-later
-- Projects and their tasks. The checks repeat what the service verifies first: they are the last line, not the first.

CREATE TABLE projects (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        key text NOT NULL UNIQUE CHECK (key ~ '^[A-Z][A-Z0-9]{1,9}$'),
        name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200),
        description text NOT NULL DEFAULT '' CHECK (char_length(description) <= 20000),
        state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'archived')),
        version bigint NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        created_by text NOT NULL
);
-- the order of lists, and where their cursors point
CREATE INDEX projects_by_age ON projects (created_at, id);

-- The number of the newest task: a row of its own, so that creating tasks does not contend with changing the project.
CREATE TABLE task_counters (
        project uuid PRIMARY KEY REFERENCES projects ON DELETE CASCADE,
        last integer NOT NULL DEFAULT 0
) WITH (fillfactor = 10);

CREATE TABLE tasks (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        project uuid NOT NULL REFERENCES projects ON DELETE CASCADE,
        number integer NOT NULL CHECK (number > 0),
        title text NOT NULL CHECK (char_length(title) BETWEEN 1 AND 200),
        description text NOT NULL DEFAULT '' CHECK (char_length(description) <= 20000),
        status text NOT NULL DEFAULT 'todo' CHECK (status IN ('todo', 'in_progress', 'done', 'cancelled')),
        priority text NOT NULL DEFAULT 'normal' CHECK (priority IN ('low', 'normal', 'high', 'urgent')),
        assignee text CHECK (char_length(assignee) BETWEEN 1 AND 128),
        due date,
        version bigint NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        created_by text NOT NULL,
        UNIQUE (project, number)
);
CREATE INDEX tasks_by_age ON tasks (project, created_at, id);
CREATE INDEX tasks_by_assignee ON tasks (project, assignee, created_at, id) WHERE assignee IS NOT NULL;

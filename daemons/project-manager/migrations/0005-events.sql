-- SPDX-License-Identifier: LGPL-2.1-or-later
-- Every change is an event: written to the outbox of the event bus in the transaction that makes it, so neither is there without
-- the other. Where there is no event bus there are no events. Who did it stands in the setting mam.subject of the transaction.

-- In the topic "projects"; ordered by project. What would be too large for an event goes without its description.
CREATE FUNCTION tell(type text, project_key text, subject text, actor text, data jsonb) RETURNS void LANGUAGE plpgsql AS
$$
BEGIN
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_proc p ON p.pronamespace = n.oid
                       WHERE n.nspname = 'event_bus' AND p.proname = 'publish' AND has_schema_privilege(n.oid, 'USAGE')) THEN
                RETURN;
        END IF;
        IF octet_length(data::text) > 200000 THEN
                data := data - 'description' || '{"truncated": true}';
        END IF;
        PERFORM event_bus.publish('projects', (jsonb_strip_nulls(jsonb_build_object(
                'specversion', '1.0', 'id', gen_random_uuid(), 'source', '/api/v1/projects/' || project_key, 'type', type,
                'subject', subject, 'time', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                'partitionkey', project_key, 'datacontenttype', 'application/json', 'actor', nullif(actor, '')))
                || jsonb_build_object('data', data))::text);
END
$$;

-- What a row is to clients.
CREATE FUNCTION project_json(p projects) RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT to_jsonb(p) $$;
CREATE FUNCTION task_json(t tasks, project_key text) RETURNS jsonb LANGUAGE sql STABLE AS
$$ SELECT to_jsonb(t) - 'search' || jsonb_build_object('key', project_key || '-' || t.number) $$;

-- Names of members that differ, but for those that always do.
CREATE FUNCTION changed(old jsonb, new jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
$$
        SELECT coalesce(jsonb_agg(n.key ORDER BY n.key), '[]') FROM jsonb_each(new) n JOIN jsonb_each(old) o USING (key)
        WHERE n.value IS DISTINCT FROM o.value AND n.key NOT IN ('version', 'updated_at')
$$;

CREATE FUNCTION tell_project() RETURNS trigger LANGUAGE plpgsql AS
$$
DECLARE
        actor text := current_setting('mam.subject', true);
BEGIN
        IF TG_OP = 'INSERT' THEN
                PERFORM tell('mam.project.created', NEW.key, NEW.key, NEW.created_by, project_json(NEW));
        ELSIF TG_OP = 'UPDATE' THEN
                PERFORM tell('mam.project.updated', NEW.key, NEW.key, actor,
                             project_json(NEW) || jsonb_build_object('changed', changed(project_json(OLD), project_json(NEW))));
        ELSE
                PERFORM tell('mam.project.deleted', OLD.key, OLD.key, actor, jsonb_build_object('id', OLD.id, 'key', OLD.key));
        END IF;
        RETURN NULL;
END
$$;
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON projects FOR EACH ROW EXECUTE FUNCTION tell_project();

-- Tasks that go with their project are not told of one by one: the project is gone.
CREATE FUNCTION tell_task() RETURNS trigger LANGUAGE plpgsql AS
$$
DECLARE
        actor text := current_setting('mam.subject', true);
        project_key text;
        task_key text;
BEGIN
        SELECT p.key INTO project_key FROM projects p WHERE p.id = coalesce(NEW.project, OLD.project);
        IF NOT FOUND THEN
                RETURN NULL;
        END IF;
        task_key := project_key || '-' || coalesce(NEW.number, OLD.number);
        IF TG_OP = 'INSERT' THEN
                PERFORM tell('mam.task.created', project_key, task_key, NEW.created_by, task_json(NEW, project_key));
        ELSIF TG_OP = 'UPDATE' THEN
                PERFORM tell('mam.task.updated', project_key, task_key, actor, task_json(NEW, project_key)
                             || jsonb_build_object('changed', changed(to_jsonb(OLD) - 'search', to_jsonb(NEW) - 'search')));
        ELSE
                PERFORM tell('mam.task.deleted', project_key, task_key, actor, jsonb_build_object('id', OLD.id, 'key', task_key));
        END IF;
        RETURN NULL;
END
$$;
CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON tasks FOR EACH ROW EXECUTE FUNCTION tell_task();

-- A store's file of version 1 of the form, as SQL. It is never to be changed.
BEGIN TRANSACTION;
CREATE TABLE attempts (
                number INTEGER PRIMARY KEY,
                attempt_id TEXT NOT NULL UNIQUE,
                rollout INTEGER NOT NULL,
                sequence_id INTEGER NOT NULL,
                start_time REAL NOT NULL,
                end_time REAL,
                status TEXT NOT NULL,
                worker_id TEXT,
                last_heartbeat_time REAL,
                metadata TEXT,
                due REAL
            );
INSERT INTO "attempts" VALUES(1,'at-325a8b98',1,1,1000000000.0,1000000001.0,'succeeded','Worker-1',1000000000.0,NULL,NULL);
INSERT INTO "attempts" VALUES(2,'at-bf78b0b4',2,1,1000000001.0,NULL,'running',NULL,1000000001.0,NULL,NULL);
CREATE TABLE resources (
                number INTEGER PRIMARY KEY,
                resources_id TEXT NOT NULL UNIQUE,
                create_time REAL NOT NULL,
                update_time REAL NOT NULL,
                version INTEGER NOT NULL,
                resources TEXT NOT NULL
            );
INSERT INTO "resources" VALUES(1,'mine',1000000000.0,1000000000.0,2,'{"prompt":{"resource_type":"prompt_template","template":"Say {x}!","engine":"f-string"}}');
CREATE TABLE rollouts (
                number INTEGER PRIMARY KEY,
                rollout_id TEXT NOT NULL UNIQUE,
                start_time REAL NOT NULL,
                end_time REAL,
                status TEXT NOT NULL,
                mode TEXT,
                resources_id TEXT,
                place INTEGER,
                completion INTEGER,
                sequence INTEGER NOT NULL
            );
INSERT INTO "rollouts" VALUES(1,'ro-5daffb95d147',1000000000.0,1000000001.0,'succeeded',NULL,'mine',NULL,1,2);
INSERT INTO "rollouts" VALUES(2,'ro-0679f7f25a67',1000000001.0,NULL,'running',NULL,'mine',NULL,NULL,0);
INSERT INTO "rollouts" VALUES(3,'ro-0b3852ac9f51',1000000002.0,NULL,'queuing',NULL,'mine',0,NULL,0);
CREATE TABLE spans (
                number INTEGER PRIMARY KEY,
                rollout INTEGER NOT NULL,
                attempt INTEGER NOT NULL,
                span_id TEXT NOT NULL,
                record TEXT NOT NULL
            );
INSERT INTO "spans" VALUES(1,1,1,'0000000000000001','{"rollout_id":"ro-5daffb95d147","attempt_id":"at-325a8b98","sequence_id":1,"trace_id":"00000000000000000000000000000001","span_id":"0000000000000001","parent_id":null,"name":"first","status":{"status_code":"UNSET","description":null},"attributes":{},"events":[],"links":[],"start_time":1000000000.0,"end_time":1000000001.0,"context":null,"parent":null,"resource":{"attributes":{},"schema_url":""}}');
INSERT INTO "spans" VALUES(2,1,1,'0000000000000002','{"rollout_id":"ro-5daffb95d147","attempt_id":"at-325a8b98","sequence_id":2,"trace_id":"00000000000000000000000000000002","span_id":"0000000000000002","parent_id":null,"name":"second","status":{"status_code":"UNSET","description":null},"attributes":{},"events":[],"links":[],"start_time":1000000000.0,"end_time":1000000001.0,"context":null,"parent":null,"resource":{"attributes":{},"schema_url":""}}');
CREATE TABLE state (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO "state" VALUES('attempts',2);
INSERT INTO "state" VALUES('attempts_made',2);
INSERT INTO "state" VALUES('completions',1);
INSERT INTO "state" VALUES('latest_resources','mine');
INSERT INTO "state" VALUES('resources',1);
INSERT INTO "state" VALUES('rollouts',3);
INSERT INTO "state" VALUES('span_bytes',795);
INSERT INTO "state" VALUES('spans',2);
INSERT INTO "state" VALUES('workers',1);
CREATE TABLE tally (
                low_time REAL NOT NULL,
                low_number INTEGER NOT NULL,
                queuing INTEGER NOT NULL,
                preparing INTEGER NOT NULL,
                running INTEGER NOT NULL,
                failed INTEGER NOT NULL,
                succeeded INTEGER NOT NULL,
                cancelled INTEGER NOT NULL,
                requeuing INTEGER NOT NULL,
                PRIMARY KEY (low_time, low_number)
            ) WITHOUT ROWID;
INSERT INTO "tally" VALUES(-1.0e+308,0,1,0,1,0,1,0,0);
CREATE TABLE tasks (
                number INTEGER PRIMARY KEY,
                input TEXT NOT NULL,
                config TEXT NOT NULL,
                metadata TEXT
            );
INSERT INTO "tasks" VALUES(1,'{"question":"ended"}','{"timeout_seconds":null,"unresponsive_seconds":null,"max_attempts":1,"retry_condition":[]}','{"note":1}');
INSERT INTO "tasks" VALUES(2,'"under way"','{"timeout_seconds":null,"unresponsive_seconds":null,"max_attempts":1,"retry_condition":[]}','{}');
INSERT INTO "tasks" VALUES(3,'"queued"','{"timeout_seconds":9.0,"unresponsive_seconds":null,"max_attempts":2,"retry_condition":["failed"]}','{}');
CREATE TABLE workers (
                number INTEGER PRIMARY KEY,
                worker_id TEXT NOT NULL UNIQUE,
                status TEXT NOT NULL,
                heartbeat_stats TEXT,
                last_heartbeat_time REAL,
                last_dequeue_time REAL,
                last_busy_time REAL,
                last_idle_time REAL,
                current_rollout_id TEXT,
                current_attempt_id TEXT
            );
INSERT INTO "workers" VALUES(1,'Worker-1','idle',NULL,NULL,NULL,1000000000.0,1000000001.0,NULL,NULL);
CREATE INDEX rollouts_by_time ON rollouts (start_time, number);
CREATE INDEX rollouts_by_status ON rollouts (status, start_time, number);
CREATE INDEX rollouts_queued ON rollouts (place) WHERE place IS NOT NULL;
CREATE INDEX rollouts_completed ON rollouts (completion) WHERE completion IS NOT NULL;
CREATE INDEX attempts_of_rollout ON attempts (rollout, number);
CREATE INDEX attempts_due ON attempts (due, number) WHERE due IS NOT NULL;
CREATE INDEX attempts_open ON attempts (number) WHERE status IN ('preparing', 'running');
CREATE UNIQUE INDEX spans_of_attempt ON spans (rollout, attempt, span_id);
COMMIT;

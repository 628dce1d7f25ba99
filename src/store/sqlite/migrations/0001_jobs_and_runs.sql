-- Times are microseconds since 1970, UTC. The CHECKs restate the state machine, so that no statement of ours, and no
-- hand with a SQL shell, can store what the code could not have meant. Indexes are few and narrow, since every run is
-- written three times: what is only looked at now and then is scanned.

-- One row: what would otherwise be counted.
CREATE TABLE tally (
    id          INTEGER PRIMARY KEY CHECK (id = 0),
    jobs        INTEGER NOT NULL CHECK (jobs >= 0),
    unfinished  INTEGER NOT NULL CHECK (unfinished >= 0),
    -- Every fencing token given out is below this.
    tokens      INTEGER NOT NULL CHECK (tokens >= 1)
) STRICT;
INSERT INTO tally (id, jobs, unfinished, tokens) VALUES (0, 0, 0, 1);

CREATE TABLE tenant (
    id    INTEGER PRIMARY KEY,
    name  TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE component (
    id            INTEGER PRIMARY KEY,
    tenant        INTEGER NOT NULL REFERENCES tenant (id),
    name          TEXT NOT NULL,
    -- Numbers are never given twice, so that a pinned reference never means other bytes.
    last_version  INTEGER NOT NULL CHECK (last_version >= 1),
    UNIQUE (tenant, name)
) STRICT;

CREATE TABLE component_version (
    component   INTEGER NOT NULL REFERENCES component (id),
    version     INTEGER NOT NULL CHECK (version >= 1),
    digest      BLOB NOT NULL REFERENCES component_bytes (digest) CHECK (length(digest) = 32),
    size        INTEGER NOT NULL CHECK (size >= 0),
    pushed_at   INTEGER NOT NULL,
    inspection  TEXT NOT NULL,
    PRIMARY KEY (component, version)
) STRICT;
CREATE INDEX component_version_digest ON component_version (digest);

CREATE TABLE component_bytes (
    digest  BLOB NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    bytes   BLOB NOT NULL
) STRICT;

-- What moves with each firing and each run; the definition stands apart, so that rows are short and many share a page.
-- A removed job keeps its row while there is history that points to it.
CREATE TABLE job (
    id            INTEGER PRIMARY KEY,
    tenant        INTEGER NOT NULL REFERENCES tenant (id),
    name          TEXT NOT NULL,
    removed       INTEGER NOT NULL DEFAULT 0 CHECK (removed IN (0, 1)),
    revision      INTEGER NOT NULL CHECK (revision >= 1),
    state         INTEGER NOT NULL CHECK (state BETWEEN 0 AND 2), -- active, finished, unresolved
    reason        TEXT,
    pause         TEXT,
    anchor        INTEGER NOT NULL,
    next_fire     INTEGER,
    wake_at       INTEGER,
    running_max   INTEGER CHECK (running_max >= 1),
    failures      INTEGER NOT NULL CHECK (failures >= 0),
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    last_outcome  INTEGER CHECK (last_outcome BETWEEN 0 AND 9),
    last_run_at   INTEGER,
    -- The newest record of firings without a run, while no run of a firing came after it.
    last_skip     INTEGER,
    -- How many ended runs are kept.
    ended         INTEGER NOT NULL DEFAULT 0 CHECK (ended >= 0),
    component     TEXT NOT NULL,
    pin           TEXT NOT NULL, -- a version, a digest, or nothing: the newest
    UNIQUE (tenant, name),
    CHECK ((state = 2) = (reason IS NOT NULL)),
    CHECK (removed = 0 OR wake_at IS NULL)
) STRICT;
CREATE INDEX job_due ON job (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX job_component ON job (tenant, component, pin, name) WHERE removed = 0;

CREATE TABLE job_spec (
    job   INTEGER PRIMARY KEY REFERENCES job (id),
    spec  TEXT NOT NULL
) STRICT;

CREATE TABLE job_label (
    tenant  INTEGER NOT NULL REFERENCES tenant (id),
    label   TEXT NOT NULL,
    value   TEXT NOT NULL,
    name    TEXT NOT NULL,
    job     INTEGER NOT NULL REFERENCES job (id),
    PRIMARY KEY (tenant, label, value, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_label_job ON job_label (job);

CREATE TABLE calendar (
    tenant      INTEGER NOT NULL REFERENCES tenant (id),
    name        TEXT NOT NULL,
    exclusions  TEXT NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE job_calendar (
    tenant    INTEGER NOT NULL REFERENCES tenant (id),
    calendar  TEXT NOT NULL,
    name      TEXT NOT NULL,
    job       INTEGER NOT NULL REFERENCES job (id),
    PRIMARY KEY (tenant, calendar, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_calendar_job ON job_calendar (job);

-- Which jobs follow which, by the name that the trigger says: the job of that name may be gone, or come later.
CREATE TABLE job_after (
    tenant    INTEGER NOT NULL REFERENCES tenant (id),
    upstream  TEXT NOT NULL,
    job       INTEGER NOT NULL REFERENCES job (id),
    PRIMARY KEY (tenant, upstream, job)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_after_job ON job_after (job);

-- Ends of upstream runs, in the jobs that follow them, until a firing has used them.
CREATE TABLE arrived_end (
    job       INTEGER NOT NULL REFERENCES job (id),
    number    INTEGER NOT NULL CHECK (number >= 1),
    upstream  TEXT NOT NULL,
    run       BLOB NOT NULL CHECK (length(run) = 16),
    outcome   INTEGER NOT NULL CHECK (outcome BETWEEN 0 AND 9),
    ended_at  INTEGER NOT NULL,
    -- A committed firing has looked at it. While there is one that none has, the job is due.
    seen      INTEGER NOT NULL DEFAULT 0 CHECK (seen IN (0, 1)),
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;

-- The latest starts of jobs with a rate limit, as many as it allows in one window.
CREATE TABLE job_start (
    job     INTEGER NOT NULL REFERENCES job (id),
    number  INTEGER NOT NULL CHECK (number >= 1),
    at      INTEGER NOT NULL,
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
    tenant          INTEGER NOT NULL REFERENCES tenant (id),
    id              BLOB NOT NULL CHECK (length(id) = 16),
    job             INTEGER NOT NULL REFERENCES job (id),
    scheduled_at    INTEGER NOT NULL,
    cause           INTEGER NOT NULL CHECK (cause BETWEEN 0 AND 3), -- scheduled, on-demand, after, backfill
    firing          INTEGER CHECK (firing = 1), -- 1 where an instant has one run at most, else null: nulls are never equal
    upstream        TEXT,
    key             TEXT,
    backfill_max    INTEGER CHECK (backfill_max >= 1),
    start_at        INTEGER NOT NULL,
    start_deadline  INTEGER,
    priority        INTEGER NOT NULL,
    state           INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3), -- queued, running, waiting-retry, ended
    -- Of a waiting run: 1, it may be claimed; 0, its job runs as many as it may, and one of those must end first; 2, its job's
    -- rate limit must allow it first; 3, as many backfills of its job run as may, and one of those must end first.
    turn            INTEGER CHECK (turn BETWEEN 0 AND 3),
    rate_limited    INTEGER NOT NULL DEFAULT 0 CHECK (rate_limited IN (0, 1)),
    component       TEXT NOT NULL,
    args            TEXT,
    attempt         INTEGER NOT NULL CHECK (attempt >= 0),
    lost            INTEGER NOT NULL CHECK (lost BETWEEN 0 AND attempt),
    created_at      INTEGER NOT NULL,
    started_at      INTEGER,
    ended_at        INTEGER,
    outcome         INTEGER CHECK (outcome BETWEEN 0 AND 9),
    cancel          TEXT,
    error           TEXT,
    owner           TEXT,
    token           INTEGER CHECK (token >= 1),
    lease_until     INTEGER,
    PRIMARY KEY (tenant, id),
    CHECK ((cause IN (0, 3)) = (firing IS NOT NULL)),
    CHECK ((cause = 3) = (backfill_max IS NOT NULL)),
    CHECK ((cause = 2) = (upstream IS NOT NULL)),
    CHECK (cause = 1 OR key IS NULL),
    CHECK ((state = 3) = (outcome IS NOT NULL)),
    CHECK ((state = 3) = (ended_at IS NOT NULL)),
    CHECK ((state = 1) = (owner IS NOT NULL)),
    CHECK ((state = 1) = (token IS NOT NULL)),
    CHECK ((state = 1) = (lease_until IS NOT NULL)),
    CHECK ((state IN (0, 2)) = (turn IS NOT NULL)),
    CHECK (state = 1 OR cancel IS NULL),
    CHECK (state <> 0 OR attempt = 0),
    CHECK ((attempt = 0) = (started_at IS NULL)),
    CHECK (state NOT IN (1, 2) OR attempt >= 1)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX run_firing ON run (job, scheduled_at, firing);
CREATE INDEX run_ready ON run (priority DESC, start_at, id) WHERE turn = 1;
CREATE INDEX run_held ON run (job, priority DESC, start_at, id) WHERE turn = 0;
CREATE INDEX run_rate ON run (job, priority DESC, start_at, id) WHERE turn = 2;
CREATE INDEX run_backfill ON run (job, priority DESC, start_at, id) WHERE turn = 3;
CREATE INDEX run_unfinished ON run (job, cause, id, state) WHERE state <> 3;
CREATE INDEX run_key ON run (job, key, id) WHERE key IS NOT NULL;

CREATE TABLE attempt (
    run                 BLOB NOT NULL CHECK (length(run) = 16),
    number              INTEGER NOT NULL CHECK (number >= 1),
    started_at          INTEGER NOT NULL,
    ended_at            INTEGER NOT NULL,
    outcome             INTEGER NOT NULL CHECK (outcome BETWEEN 0 AND 9),
    exit_code           INTEGER,
    error               TEXT,
    result              INTEGER CHECK (result IN (0, 1)), -- bytes, a JSON value
    -- The receipt; unsigned numbers, kept bit for bit.
    fuel_used           INTEGER NOT NULL,
    fuel_limit          INTEGER NOT NULL,
    memory_peak_bytes   INTEGER NOT NULL,
    memory_limit_bytes  INTEGER NOT NULL,
    cpu_us              INTEGER NOT NULL,
    wall_us             INTEGER NOT NULL,
    instantiate_us      INTEGER NOT NULL,
    queue_us            INTEGER NOT NULL,
    host_calls          INTEGER NOT NULL,
    host_calls_by       TEXT,
    log_bytes           INTEGER NOT NULL,
    log_bytes_dropped   INTEGER NOT NULL,
    result_bytes        INTEGER NOT NULL,
    digest              ANY, -- 32 bytes; text where it is not a digest
    node                TEXT NOT NULL,
    progress            TEXT, -- the last that its guest told
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;

-- What an attempt gave back and wrote, where it did.
CREATE TABLE output (
    run          BLOB NOT NULL,
    number       INTEGER NOT NULL,
    result       BLOB NOT NULL,
    log_head     BLOB NOT NULL,
    log_dropped  INTEGER NOT NULL CHECK (log_dropped >= 0),
    log_tail     BLOB NOT NULL,
    PRIMARY KEY (run, number),
    FOREIGN KEY (run, number) REFERENCES attempt (run, number)
) STRICT;

-- What a run's attempts saved for the next one; gone when the run ends.
CREATE TABLE checkpoint (
    run   BLOB PRIMARY KEY CHECK (length(run) = 16),
    data  BLOB NOT NULL
) STRICT;

CREATE TABLE skip (
    id           INTEGER PRIMARY KEY,
    tenant       INTEGER NOT NULL REFERENCES tenant (id),
    job          INTEGER NOT NULL REFERENCES job (id),
    reason       INTEGER NOT NULL CHECK (reason BETWEEN 0 AND 3), -- missed, skipped, coalesced, paused
    detail       TEXT,
    count        INTEGER NOT NULL CHECK (count >= 1),
    exact        INTEGER NOT NULL CHECK (exact IN (0, 1)),
    first        INTEGER NOT NULL,
    last         INTEGER NOT NULL,
    recorded_at  INTEGER NOT NULL,
    CHECK (first <= last)
) STRICT;
CREATE INDEX skip_job ON skip (job);
CREATE INDEX skip_tenant ON skip (tenant);
CREATE INDEX skip_age ON skip (recorded_at);

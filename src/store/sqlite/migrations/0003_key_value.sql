-- What jobs keep for themselves, from the first key until the job is removed.

-- A key keeps its number when its value changes: keys are listed by it.
CREATE TABLE kv (
    number  INTEGER PRIMARY KEY,
    job     INTEGER NOT NULL REFERENCES job (id),
    key     TEXT NOT NULL CHECK (key <> ''),
    value   BLOB NOT NULL,
    UNIQUE (job, key)
) STRICT;

-- What would otherwise be summed at each write.
CREATE TABLE kv_usage (
    job    INTEGER PRIMARY KEY REFERENCES job (id),
    keys   INTEGER NOT NULL CHECK (keys >= 0),
    bytes  INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT;

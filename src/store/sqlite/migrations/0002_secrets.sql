-- Secrets, sealed under a key that is not in here.
CREATE TABLE secret (
    tenant      INTEGER NOT NULL REFERENCES tenant (id),
    name        TEXT NOT NULL,
    sealed      BLOB NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

-- A short result stands in its attempt's own row: what is kept apart costs two entries more of each run. (The bound is also in the code.)
ALTER TABLE attempt ADD COLUMN short BLOB CHECK (length(short) <= 256 AND (short IS NULL OR result IS NOT NULL));

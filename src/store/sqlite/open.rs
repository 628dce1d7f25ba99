//! Opening: the directory, the lock, the connections, the schema; and what SQLite's errors mean here.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use super::log::FILE_BYTES_MAX;
use super::writer::Db;
use crate::store::StoreError;

/// Numbered from 1, forward only. One that has been released is never changed.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_jobs_and_runs.sql"),
    include_str!("migrations/0002_secrets.sql"),
    include_str!("migrations/0003_key_value.sql"),
    include_str!("migrations/0004_short_results.sql"),
];

/// Marks the file as ours: "bell".
const APPLICATION_ID: i32 = 0x6265_6c6c;

const WRITER_CACHE_KIB: i32 = 64 << 10;
const READER_CACHE_KIB: i32 = 4 << 10;
const CARRIER_CACHE_KIB: i32 = 64;
/// Small pieces of memory that the writer's connection has at hand, so that it seldom asks the allocator for one: SQLite's own
/// 40 are all taken by the statements that are kept.
const PIECES: i32 = 1_000;
const PIECE_BYTES: i32 = 1_200;
/// Statements kept prepared for each connection.
const STATEMENTS_MAX: usize = 100;
/// How long one connection waits for another, which holds the file for moments only.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// The database file that `path` means: itself where it ends in `.db`, else `bellcage.db` in that directory.
pub(super) fn file_of(path: &Path) -> PathBuf {
    if path.extension().is_some_and(|extension| extension == "db") { path.to_owned() } else { path.join("bellcage.db") }
}

/// Makes what is missing and takes the lock, which is ours until the file returned is closed, however this process ends.
pub(super) fn lock(file: &Path) -> Result<File, StoreError> {
    let trouble = |e: std::io::Error| io_failed(file, &e);
    if let Some(directory) = file.parent().filter(|d| !d.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(trouble)?;
        refuse_read_only(directory)?;
    }
    if file.exists() {
        refuse_read_only(file)?;
    }
    let mut name = file.as_os_str().to_owned();
    name.push(".lock");
    let mut lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(name).map_err(trouble)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(e)) => return Err(trouble(e)),
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Where it cannot be read, it is unknown: that is no reason to say anything else.
            let _ = lock.take(20).read_to_string(&mut pid);
            let pid = if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
            return Err(StoreError::Locked { path: file.to_owned(), pid });
        }
    }
    lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| write!(lock, "{}", std::process::id())).map_err(trouble)?;
    Ok(lock)
}

/// A superuser may write where nobody may: what is marked read-only stays so.
fn refuse_read_only(path: &Path) -> Result<(), StoreError> {
    let metadata = path.metadata().map_err(|e| io_failed(path, &e))?;
    if metadata.permissions().readonly() {
        return Err(StoreError::ReadOnly { path: path.to_owned(), detail: "it is marked read-only".to_owned() });
    }
    Ok(())
}

/// The writer's connection, with the schema up to date.
pub(super) fn writer(file: &Path) -> Result<Db, StoreError> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(file).map_err(|e| io_failed(file, &e))?;
    without_statistics();
    let db = connect(file, WRITER_CACHE_KIB)?;
    set_pieces(&db.connection);
    let prepare = || {
        let connection = &db.connection;
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = {FILE_BYTES_MAX};"
        ))
    };
    let found = version(&db)?;
    prepare().map_err(|e| failed(file, &e))?;
    migrate(&db, found).map_err(|e| failed(file, &e))?;
    Ok(db)
}

/// What carries the log over into the file.
pub(super) fn carrier(file: &Path) -> Result<Db, StoreError> {
    connect(file, CARRIER_CACHE_KIB)
}

/// SQLite counts the memory it has taken, which costs a lock at each allocation and which nobody asks for.
fn without_statistics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the arguments are those that the option takes. It must not run beside another call into SQLite: the first store
        // of this process is being opened, and nothing else in it uses SQLite. Once SQLite is in use the call is refused, which does no harm.
        unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0) };
    });
}

fn set_pieces(connection: &Connection) {
    // SAFETY: the handle is open, and the arguments are those that the option takes: null asks SQLite to allocate the pieces itself.
    // A connection that has pieces in use already refuses, which does no harm.
    unsafe { ffi::sqlite3_db_config(connection.handle(), ffi::SQLITE_DBCONFIG_LOOKASIDE, std::ptr::null_mut::<std::ffi::c_void>(), PIECE_BYTES, PIECES) };
}

pub(super) fn reader(file: &Path) -> Result<Db, StoreError> {
    let db = connect(file, READER_CACHE_KIB)?;
    db.connection.execute_batch("PRAGMA query_only = ON").map_err(|e| failed(file, &e))?;
    Ok(db)
}

fn connect(file: &Path, cache_kib: i32) -> Result<Db, StoreError> {
    let open = || {
        let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY_WAIT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        // Plans do not depend on the values bound: else a statement is compiled anew whenever they change.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        // Every reference is written by code that has just read what it refers to; `check` looks for broken ones.
        connection
            .execute_batch(&format!("PRAGMA foreign_keys = OFF; PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -{cache_kib};"))?;
        Ok(Db { connection, path: file.to_owned() })
    };
    open().map_err(|e| failed(file, &e))
}

/// The schema's version: 0 for a new file. Refuses what is not ours, or newer.
fn version(db: &Db) -> Result<usize, StoreError> {
    let number = |sql: &str| db.connection.query_row(sql, (), |row| row.get::<_, i64>(0)).map_err(|e| failed(&db.path, &e));
    let (application, version) = (number("PRAGMA application_id")?, number("PRAGMA user_version")?);
    if application != i64::from(APPLICATION_ID) && number("SELECT count(*) FROM sqlite_schema")? > 0 {
        return Err(StoreError::Corrupt { path: db.path.clone(), detail: "it is an SQLite database, but not one of bellcage's".to_owned() });
    }
    let known = MIGRATIONS.len();
    match usize::try_from(version) {
        Ok(version) if version <= known => Ok(version),
        _ => Err(StoreError::Newer { path: db.path.clone(), found: u32::try_from(version).unwrap_or(u32::MAX), known: known as u32 }),
    }
}

fn migrate(db: &Db, from: usize) -> rusqlite::Result<()> {
    for (number, migration) in MIGRATIONS.iter().enumerate().skip(from) {
        let to = number + 1;
        let sql = format!("BEGIN IMMEDIATE; {migration} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {to}; COMMIT;");
        db.connection.execute_batch(&sql)?;
    }
    Ok(())
}

fn io_failed(path: &Path, error: &std::io::Error) -> StoreError {
    let detail = error.to_string();
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { path: path.to_owned(), detail },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Backend(format!("{}: {detail}", path.display())),
    }
}

/// What an error of SQLite's means to a caller.
pub(super) fn failed(path: &Path, error: &rusqlite::Error) -> StoreError {
    use rusqlite::Error as E;
    let (path, detail) = (path.to_owned(), error.to_string());
    match (error, error.sqlite_error_code()) {
        (_, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
        | (E::FromSqlConversionFailure(..) | E::InvalidColumnType(..) | E::IntegralValueOutOfRange(..) | E::Utf8Error(..), _) => {
            StoreError::Corrupt { path, detail }
        }
        (_, Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen)) => StoreError::ReadOnly { path, detail },
        (_, Some(ErrorCode::DiskFull)) => StoreError::Full,
        (_, Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)) => StoreError::Refused(detail),
        _ => StoreError::Backend(detail),
    }
}

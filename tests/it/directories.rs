//! Directories that attempts are given, by guests that try what they can with them, in real worker processes.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use bellcage::executor::{AttemptReport, AttemptRequest, Directory, Executor as _, Workers, WorkersConfig};
use bellcage::job::{Outcome, RunResult};

use crate::support::{cage, wat};

/// What a guest does in its first directory. Each step prints 0, or the error that it was given.
pub enum Step<'a> {
    /// Makes a file, or empties it, and writes so many KiB, each of `x`.
    Write(&'a str, u32),
    /// Reads the beginning of a file and prints it in place of 0.
    Read(&'a str),
    MakeDirectory(&'a str),
    Link(&'a str, &'a str),
    HardLink(&'a str, &'a str),
    Rename(&'a str, &'a str),
    Remove(&'a str),
    /// The same in the second directory.
    Second(Box<Step<'a>>),
}

use Step::{HardLink, Link, MakeDirectory, Read, Remove, Rename, Second, Write};

const NO_SPACE: &str = "51";
const NO_ENTRY: &str = "44";

/// A preview 1 program that does these steps.
pub fn guest(steps: &[Step<'_>]) -> Vec<u8> {
    let (mut data, mut code) = (String::new(), String::new());
    let mut next = 70_000;
    for step in steps {
        let call = step.code(3, &mut |text| {
            let at = next;
            data.push_str(&format!("(data (i32.const {at}) {:?})\n", text));
            next += 256;
            format!("(i32.const {at}) (i32.const {})", text.len())
        });
        code.push_str(&format!("(call $say {call})\n"));
    }
    wat::component(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
            (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "path_symlink" (func $symlink (param i32 i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "path_link" (func $link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "path_rename" (func $rename (param i32 i32 i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
            (memory (export "memory") 3)
            (global $file (mut i32) (i32.const 0))
            (func $put (param $at i32) (param $length i32)
                (i32.store (i32.const 0) (local.get $at)) (i32.store (i32.const 4) (local.get $length))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
            (func $say (param $error i32)
                (if (i32.ge_s (local.get $error) (i32.const 0)) (then
                    (i32.store8 (i32.const 16) (i32.add (i32.const 48) (i32.div_u (local.get $error) (i32.const 10))))
                    (i32.store8 (i32.const 17) (i32.add (i32.const 48) (i32.rem_u (local.get $error) (i32.const 10))))
                    (if (i32.lt_s (local.get $error) (i32.const 10))
                        (then (call $put (i32.const 17) (i32.const 1)))
                        (else (call $put (i32.const 16) (i32.const 2))))))
                (i32.store8 (i32.const 16) (i32.const 10))
                (call $put (i32.const 16) (i32.const 1)))
            (func $opened (param $in i32) (param $at i32) (param $length i32) (param $how i32) (param $rights i64) (result i32)
                (local $error i32)
                (local.set $error (call $open (local.get $in) (i32.const 1) (local.get $at) (local.get $length) (local.get $how)
                    (local.get $rights) (local.get $rights) (i32.const 0) (i32.const 32)))
                (global.set $file (i32.load (i32.const 32)))
                (local.get $error))
            (func $fill (param $in i32) (param $at i32) (param $length i32) (param $kib i32) (result i32)
                (local $error i32)
                (local.set $error (call $opened (local.get $in) (local.get $at) (local.get $length) (i32.const 9) (i64.const 64)))
                (if (local.get $error) (then (return (local.get $error))))
                (memory.fill (i32.const 4096) (i32.const 120) (i32.const 1024))
                (block $done (loop $again
                    (br_if $done (i32.eqz (local.get $kib)))
                    (i32.store (i32.const 0) (i32.const 4096)) (i32.store (i32.const 4) (i32.const 1024))
                    (local.set $error (call $write (global.get $file) (i32.const 0) (i32.const 1) (i32.const 8)))
                    (br_if $done (local.get $error))
                    (local.set $kib (i32.sub (local.get $kib) (i32.const 1)))
                    (br $again)))
                (drop (call $close (global.get $file)))
                (local.get $error))
            (func $show (param $in i32) (param $at i32) (param $length i32) (result i32)
                (local $error i32)
                (local.set $error (call $opened (local.get $in) (local.get $at) (local.get $length) (i32.const 0) (i64.const 2)))
                (if (local.get $error) (then (return (local.get $error))))
                (i32.store (i32.const 0) (i32.const 4096)) (i32.store (i32.const 4) (i32.const 16))
                (local.set $error (call $read (global.get $file) (i32.const 0) (i32.const 1) (i32.const 8)))
                (if (local.get $error) (then (return (local.get $error))))
                (call $put (i32.const 4096) (i32.load (i32.const 8)))
                (i32.const -1))
            (func (export "_start") {code})
            {data})"#
    ))
}

impl Step<'_> {
    fn code(&self, fd: u32, text: &mut impl FnMut(&str) -> String) -> String {
        match self {
            Write(path, kib) => format!("(call $fill (i32.const {fd}) {} (i32.const {kib}))", text(path)),
            Read(path) => format!("(call $show (i32.const {fd}) {})", text(path)),
            MakeDirectory(path) => format!("(call $mkdir (i32.const {fd}) {})", text(path)),
            Link(target, path) => format!("(call $symlink {} (i32.const {fd}) {})", text(target), text(path)),
            HardLink(from, to) => format!("(call $link (i32.const {fd}) (i32.const 0) {} (i32.const {fd}) {})", text(from), text(to)),
            Rename(from, to) => format!("(call $rename (i32.const {fd}) {} (i32.const {fd}) {})", text(from), text(to)),
            Remove(path) => format!("(call $unlink (i32.const {fd}) {})", text(path)),
            Second(step) => step.code(fd + 1, text),
        }
    }
}

async fn run(directories: Vec<Directory>, steps: &[Step<'_>]) -> AttemptReport {
    let request = cage::request(&guest(steps)).await;
    cage::workers(1).run(AttemptRequest { directories, ..request }).await
}

/// What each step printed.
#[track_caller]
fn said(report: &AttemptReport) -> Vec<String> {
    assert_eq!(report.outcome, Outcome::Succeeded, "{report:?}");
    let Some(RunResult::Text(text)) = &report.result else { panic!("{report:?}") };
    String::from_utf8_lossy(text).lines().map(str::to_owned).collect()
}

fn scratch(kib: u64) -> Directory {
    Directory::scratch("/scratch".to_owned(), kib << 10)
}

fn listed(path: &Path, write: bool) -> Directory {
    Directory::listed("/data".to_owned(), "data".parse().unwrap(), path.to_owned(), write)
}

/// A directory with a file, beside another with a secret.
fn host() -> tempfile::TempDir {
    let host = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for (path, text) in [("data/known", "known"), ("data/inner/deep", "deep"), ("secret", "secret")] {
        let path = host.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    host
}

#[tokio::test]
async fn a_scratch_directory_is_empty_writable_and_new_for_each_attempt() {
    let steps = [
        Read("left"),
        Write("left", 1),
        Read("left"),
        MakeDirectory("d"),
        Write("d/f", 1),
        Rename("d/f", "g"),
        Link("g", "l"),
        Read("l"),
        Remove("g"),
        Read("g"),
    ];
    for _ in 0..2 {
        let report = run(vec![scratch(1024)], &steps).await;
        let x = "x".repeat(16);
        assert_eq!(said(&report), [NO_ENTRY, "0", &x, "0", "0", "0", "0", &x, "0", NO_ENTRY]);
    }
}

#[tokio::test]
async fn a_scratch_directory_has_exactly_the_room_that_it_was_given() {
    let report = run(vec![scratch(256)], &[Write("a", 128), Write("b", 128), Write("c", 1), Remove("a"), Write("c", 128), Write("d", 1)]).await;
    assert_eq!(said(&report), ["0", "0", NO_SPACE, "0", "0", NO_SPACE]);
}

#[tokio::test]
async fn a_listed_directory_can_be_read_and_not_written_unless_it_is_granted_so() {
    let host = host();
    let data = host.path().join("data");
    let steps = [Read("known"), Read("inner/deep"), Write("new", 1), Write("known", 1), MakeDirectory("d"), Remove("known"), Rename("known", "other")];
    let said = said(&run(vec![listed(&data, false)], &steps).await);
    assert_eq!(said[..2], ["known", "deep"]);
    assert!(said[2..].iter().all(|error| error.parse::<u32>().is_ok_and(|error| error > 0)), "{said:?}");
    assert_eq!(std::fs::read(data.join("known")).unwrap(), b"known");
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 2);
}

#[tokio::test]
async fn what_is_written_in_a_writable_directory_stays() {
    let host = host();
    let data = host.path().join("data");
    let report = run(vec![listed(&data, true)], &[Write("new", 2), MakeDirectory("d"), Rename("known", "d/known"), Remove("inner/deep")]).await;
    assert_eq!(said(&report), ["0", "0", "0", "0"]);
    assert_eq!(std::fs::read(data.join("new")).unwrap(), [b'x'; 2048]);
    assert_eq!(std::fs::read(data.join("d/known")).unwrap(), b"known");
    assert!(!data.join("inner/deep").exists());
}

#[tokio::test]
async fn no_path_leads_out_of_a_directory() {
    let host = host();
    let data = host.path().join("data");
    let outside = host.path().join("secret");
    symlink(&outside, data.join("absolute")).unwrap();
    symlink("../secret", data.join("relative")).unwrap();
    symlink("..", data.join("up")).unwrap();
    let absolute = outside.to_string_lossy().into_owned();
    let steps = [
        Read("../secret"),
        Read("inner/../../secret"),
        Read(&absolute),
        Read("/etc/passwd"),
        Read("absolute"),
        Read("relative"),
        Read("up/secret"),
        Write("../new", 1),
        Write("absolute", 1),
        Write("up/new", 1),
        Rename("known", "../known"),
        Rename("../secret", "known"),
        HardLink("../secret", "mine"),
        HardLink("absolute", "mine2"),
        Remove("../secret"),
        MakeDirectory("../d"),
        Read("known"),
    ];
    let said = said(&run(vec![listed(&data, true)], &steps).await);
    let (last, tries) = said.split_last().unwrap();
    // The link itself may be linked to; it still leads nowhere.
    let refused = |(n, error): (usize, &String)| n == 13 || error.parse::<u32>().is_ok_and(|error| error > 0);
    assert!(tries.iter().enumerate().all(refused), "{said:?}");
    assert_eq!(last, "known");
    assert_eq!(std::fs::read(&outside).unwrap(), b"secret");
    assert_eq!(std::fs::read_dir(host.path()).unwrap().count(), 2, "nothing was made beside it");
}

#[tokio::test]
async fn a_guest_leaves_no_links_for_others_in_a_listed_directory_and_makes_what_it_likes_of_its_own() {
    let host = host();
    let data = host.path().join("data");
    let said = said(
        &run(vec![listed(&data, true), scratch(64)], &[Link("known", "l"), Second(Box::new(Link("../../etc/passwd", "l"))), Second(Box::new(Read("l")))]).await,
    );
    assert!(said[0].parse::<u32>().unwrap() > 0 && !data.join("l").exists(), "{said:?}");
    assert_eq!(said[1], "0");
    assert!(said[2].parse::<u32>().is_ok_and(|error| error > 0), "{said:?}");
}

#[tokio::test]
async fn another_directory_than_those_given_is_not_reached_and_none_without_a_grant() {
    let report = run(Vec::new(), &[Read("known"), Write("new", 1)]).await;
    assert!(said(&report).iter().all(|error| error == "8"), "{report:?}");
}

#[tokio::test]
async fn a_listed_directory_that_is_gone_refuses_the_attempt_and_does_not_say_where_it_was() {
    let host = host();
    let report = run(vec![listed(&host.path().join("none"), false)], &[Read("known")]).await;
    let error = report.error.unwrap();
    assert_eq!((report.outcome, error.code.as_str()), (Outcome::Refused, "directory-missing"));
    assert!(!error.message.contains(&*host.path().to_string_lossy()), "{}", error.message);
}

/// Where files may be used at all, it is Landlock that says which.
#[cfg(debug_assertions)]
#[tokio::test]
async fn an_escaped_guest_that_has_a_directory_opens_no_file_beside_it() {
    let config = WorkersConfig { escapes: true, ..cage::workers_config(1, 1) };
    let request = AttemptRequest { directories: vec![scratch(64)], program: "escape: open beside".to_owned(), ..cage::request(&wat::tiny()).await };
    let report = Workers::start(config).expect("worker processes").run(request).await;
    assert_eq!(report.outcome, Outcome::Succeeded, "{report:?}");
}

#[tokio::test]
async fn an_attempt_with_directories_is_refused_where_it_would_share_a_process() {
    let request = cage::request(&wat::tiny()).await;
    let report = cage::pool(1).run(AttemptRequest { directories: vec![scratch(64)], ..request }).await;
    assert_eq!((report.outcome, report.error.unwrap().code.as_str()), (Outcome::Refused, "isolation-not-offered"));
}

#[tokio::test]
async fn a_file_that_nobody_may_read_is_refused() {
    let host = host();
    let data = host.path().join("data");
    std::fs::set_permissions(data.join("known"), PermissionsExt::from_mode(0o000)).unwrap();
    let said = said(&run(vec![listed(&data, false)], &[Read("known"), Read("inner/deep")]).await);
    // The superuser of this machine has no such power in there.
    assert_eq!(said, ["2", "deep"]);
}

/// Without them there is no file system of one's own, and what the operator listed can be had all the same.
#[cfg(debug_assertions)]
#[tokio::test]
async fn a_machine_without_namespaces_refuses_scratch_directories_alone() {
    let host = host();
    let config = WorkersConfig { no_namespaces: true, ..cage::workers_config(1, 1) };
    assert!(bellcage::executor::scratch_is_offered(&config).is_err());
    let workers = Workers::start(config).expect("worker processes");
    let request = cage::request(&guest(&[Read("known")])).await;
    let report = workers.run(AttemptRequest { directories: vec![listed(&host.path().join("data"), false)], ..request.clone() }).await;
    assert_eq!(said(&report), ["known"]);
    let report = workers.run(AttemptRequest { directories: vec![scratch(64)], ..request }).await;
    let error = report.error.unwrap();
    assert_eq!((report.outcome, error.code.as_str()), (Outcome::Refused, "scratch-unavailable"), "{}", error.message);
}

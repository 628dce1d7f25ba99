//! Directories, from the operator's list to the guest that was granted one.

use crate::directories::{Step, guest};
use crate::support::command::Place;

#[test]
fn a_job_is_granted_directories_by_the_names_that_the_operator_lists() {
    let place = Place::default();
    let data = place.path("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("known"), "known").unwrap();
    place.write("bellcage.toml", format!("[directories.data]\npath = {:?}\n[executor]\nscratch_max = \"1MiB\"\n", data));
    let _server = place.serve(&[]);
    let steps = [Step::Read("known"), Step::Write("known", 1), Step::Second(Box::new(Step::Write("new", 64))), Step::Second(Box::new(Step::Write("more", 1)))];
    let file = place.write("files.wasm", guest(&steps));
    place.bellcage(&["component", "push", &file.to_string_lossy()]).ok();
    let add = |dirs: &[&str]| place.bellcage(&[&["job", "add", "a", "--component", "files", "--manual", "--on-conflict", "replace"][..], dirs].concat());
    add(&["--dir", "date"]).refused(2, "this server lists no directory \"date\"", "it lists: data");
    add(&["--dir", "data:write"]).refused(2, "the directory \"data\" is listed for reading only", "leave write out");
    add(&["--dir", "scratch=2MiB"]).refused(2, "a scratch directory of 2MiB is above the most that is allowed, 1MiB", "see the caps");
    add(&["--dir", "scratch=1KiB", "--dir", "data@/scratch"]).refused(2, "two directories are granted at \"/scratch\"", "let each");
    add(&["--dir", "data@/in", "--dir", "scratch=64KiB"]).ok();
    let ran = place.bellcage(&["trigger", "a", "--wait"]).ok();
    let said: Vec<_> = ran.lines().collect();
    assert_eq!((said[0], said[2], said[3]), ("known", "0", "51"), "{ran}");
    assert_ne!(said[1], "0");
    assert_eq!(place.json(&["job", "show", "a"])["spec"]["grants"]["dirs"][0], serde_json::json!({ "name": "data", "at": "/in" }));
}

#[test]
fn a_server_lists_nothing_of_its_own_for_jobs() {
    let place = Place::default();
    std::fs::create_dir_all(place.path("files/inner")).unwrap();
    std::os::unix::fs::symlink(place.path("files"), place.path("link")).unwrap();
    let listed = |path: &str| place.write("bellcage.toml", format!("[directories.all]\npath = {:?}\nwrite = true\n", place.path(path)));
    for (path, data) in [("files", "files/inner/data"), ("link", "files/data"), ("files", "files")] {
        listed(path);
        let data = place.path(data);
        std::fs::create_dir_all(&data).unwrap();
        std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let data = data.to_string_lossy();
        place.bellcage(&["serve", "--listen", "127.0.0.1:0", "--data", &data]).refused(1, "directories.all: ", "list another directory");
        let checks = place.bellcage(&["doctor", "--json", "--set", &format!("store.data={data}")]).json();
        let check = checks["checks"].as_array().unwrap().iter().find(|check| check["id"] == "directories").unwrap().clone();
        assert_eq!(check["level"], "problem", "{check}");
    }
}

#[test]
fn no_directory_with_the_program_in_it_is_listed_for_writing() {
    let place = Place::default();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_bellcage"));
    let listed = |write: bool| place.write("bellcage.toml", format!("[directories.bin]\npath = {:?}\nwrite = {write}\n", program.parent().unwrap()));
    listed(true);
    place.bellcage(&["serve", "--listen", "127.0.0.1:0"]).refused(1, "directories.bin: ", "list another directory");
    listed(false);
    let _server = place.serve(&[]);
}

#[test]
fn a_directory_that_is_not_there_is_told_by_doctor() {
    let place = Place::default();
    place.write("bellcage.toml", format!("[directories.gone]\npath = {:?}\n", place.path("gone")));
    let checks = place.bellcage(&["doctor", "--json"]).json();
    let check = checks["checks"].as_array().unwrap().iter().find(|check| check["id"] == "directories").unwrap().clone();
    assert_eq!(check["level"], "warning", "{check}");
    assert!(check["message"].as_str().unwrap().starts_with("directories.gone: "), "{check}");
}

#[test]
fn a_server_that_gives_no_processes_refuses_jobs_that_need_one_when_they_are_added() {
    let place = Place::default();
    place.write("bellcage.toml", "[executor]\nkind = \"pool\"\n");
    let _server = place.serve(&[]);
    let file = place.write("tiny.wasm", crate::support::wat::tiny());
    place.bellcage(&["component", "push", &file.to_string_lossy()]).ok();
    place.bellcage(&["job", "add", "a", "--component", "tiny", "--manual", "--dir", "scratch"]).refused(
        2,
        "this server gives no attempt a process of its own, which",
        "leave isolation and directories out",
    );
    let jobs = place.write("jobs.toml", "[job.b]\ncomponent = \"tiny\"\ntrigger = \"manual\"\nisolation = \"process-per-run\"\n");
    let applied = place.bellcage(&["job", "apply", "-f", &jobs.to_string_lossy()]);
    assert!(applied.code != 0 && applied.stderr.contains("isolation-not-offered") || applied.stdout.contains("isolation-not-offered"), "{applied:?}");
    place.bellcage(&["job", "add", "c", "--component", "tiny", "--manual"]).ok();
}

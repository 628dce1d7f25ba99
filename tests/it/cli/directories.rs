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

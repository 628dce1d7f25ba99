//! `bellcage new`, and `component show --schema`.

use serde_json::json;

use crate::support::command::Place;

#[test]
fn a_new_project_is_written_under_its_name_and_the_next_commands_are_told() {
    let place = Place::default();
    let made = place.bellcage(&["new", "--lang", "rust", "greeter"]).ok();
    assert!(made.starts_with("made greeter/, 10 files;") && made.contains("\n  cargo build --release --target wasm32-wasip2\n"), "{made}");
    let read = |path: &str| std::fs::read_to_string(place.path(path)).unwrap();
    assert!(read("greeter/Cargo.toml").contains("bellcage-job"));
    assert!(read("greeter/README.md").starts_with("# greeter\n"));
    assert_eq!(read("greeter/bellcage-job/wit/job.wit"), include_str!("../../../wit/job.wit"));
    for lang in ["python", "js", "c", "go"] {
        let made = place.json(&["new", "--lang", lang, &format!("in-{lang}")]);
        for file in made["files"].as_array().unwrap() {
            assert!(!read(file.as_str().unwrap()).contains("{{name}}"), "{file}");
        }
        assert_eq!(made["next"][0], format!("cd in-{lang}"));
    }
}

#[test]
fn a_new_project_overwrites_nothing() {
    let place = Place::default();
    place.write("greeter", "mine");
    place.bellcage(&["new", "--lang", "c", "greeter"]).refused(4, "greeter is there already", "choose another name");
    assert_eq!(std::fs::read(place.path("greeter")).unwrap(), b"mine");
    place.bellcage(&["new", "--lang", "c", "../greeter"]).refused(
        2,
        "\"../greeter\" is not a name for a project",
        "use lower-case letters, digits and hyphens, a letter first, at most 60: nightly-report",
    );
}

#[test]
fn the_schema_of_an_entry_is_one_json_schema() {
    let place = Place::default();
    let _server = place.serve(&[]);
    for guest in ["luhn", "wordcount", "distance"] {
        let file = place.write(&format!("{guest}.wasm"), crate::support::cage::built_guest(guest));
        place.bellcage(&["component", "push", file.to_str().unwrap()]).ok();
    }
    let schema = place.json(&["component", "show", "--schema", "luhn:valid"]);
    assert_eq!((&schema["properties"]["number"]["type"], &schema["required"]), (&json!("string"), &json!(["number"])));
    assert_eq!(place.json(&["component", "show", "--schema", "luhn"]), schema, "the only entry need not be named");
    assert_eq!(place.json(&["component", "show", "--schema", "wordcount:run"]), json!({ "$schema": "https://json-schema.org/draft/2020-12/schema" }));
    place.bellcage(&["component", "show", "--schema", "distance"]).refused(3, "component \"distance\" has no entry \"main\"", "it has: ");
}

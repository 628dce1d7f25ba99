use crate::support::command::Place;

/// Every command, by the words that lead to it.
const COMMANDS: &[&[&str]] = &[
    &[],
    &["dev"],
    &["serve"],
    &["new"],
    &["run"],
    &["component"],
    &["component", "push"],
    &["component", "list"],
    &["component", "show"],
    &["component", "rm"],
    &["job"],
    &["job", "add"],
    &["job", "apply"],
    &["job", "list"],
    &["job", "show"],
    &["job", "pause"],
    &["job", "resume"],
    &["job", "rm"],
    &["calendar"],
    &["calendar", "set"],
    &["calendar", "list"],
    &["calendar", "show"],
    &["calendar", "rm"],
    &["secret"],
    &["secret", "set"],
    &["secret", "list"],
    &["secret", "rm"],
    &["runs"],
    &["runs", "list"],
    &["runs", "show"],
    &["runs", "logs"],
    &["runs", "watch"],
    &["runs", "cancel"],
    &["limits"],
    &["limits", "suggest"],
    &["trigger"],
    &["backfill"],
    &["next"],
    &["explain"],
    &["explain", "run"],
    &["explain", "cron"],
    &["explain", "error"],
    &["config"],
    &["config", "show"],
    &["explain", "firing"],
    &["calendar"],
    &["calendar", "set"],
    &["calendar", "list"],
    &["calendar", "show"],
    &["calendar", "rm"],
    &["secret"],
    &["secret", "set"],
    &["secret", "list"],
    &["secret", "rm"],
    &["simulate"],
    &["doctor"],
    &["bench"],
    &["completions"],
];

#[test]
fn every_command_says_what_it_is_for() {
    let place = Place::default();
    for words in COMMANDS {
        let text = place.bellcage(&[words, &["--help"][..]].concat()).ok();
        // What stands under every command is in the first snapshot alone.
        let own = if words.is_empty() { text.as_str() } else { text.split("\nEverywhere:").next().unwrap_or_default() };
        insta::assert_snapshot!(format!("help_{}", words.join("_")), own);
    }
}

#[test]
fn every_command_that_is_listed_has_a_snapshot() {
    let place = Place::default();
    for words in COMMANDS {
        let help = place.bellcage(&[words, &["--help"][..]].concat()).ok();
        let Some((_, list)) = help.split_once("\nCommands:\n") else { continue };
        for line in list.lines().take_while(|line| !line.is_empty()) {
            let name = line.split_whitespace().next().unwrap_or_default();
            let full = [*words, &[name][..]].concat();
            assert!(COMMANDS.contains(&full.as_slice()), "{full:?} has no snapshot of its help");
        }
    }
}

#[test]
fn completions_are_made_for_the_usual_shells() {
    let place = Place::default();
    for (shell, sign) in [("bash", "complete -F _bellcage"), ("zsh", "#compdef bellcage"), ("fish", "complete -c bellcage")] {
        assert!(place.bellcage(&["completions", shell]).ok().contains(sign), "{shell}");
    }
    assert_eq!(place.bellcage(&["completions", "teletype"]).code, 2);
}

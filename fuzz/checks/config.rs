//! Configurations: any text is refused with its line, or read, and what was read says the same when it is written out.

use std::path::Path;

use bellcage::config::Loaded;

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = Path::new("bellcage.toml");
    match Loaded::from_text(path, text) {
        Ok(loaded) => {
            let settings = loaded.settings();
            let mut again = String::new();
            for setting in settings.iter().filter(|setting| setting.key != "server.token") {
                again.push_str(&written(&setting.key, &setting.value.to_string()));
                assert_eq!(loaded.is_default(&setting.key), setting.origin.to_string() == "default");
                let one = Loaded::from_text(path, &again).map(|loaded| loaded.settings());
                let same = one.as_ref().is_ok_and(|settings| settings.iter().any(|other| other.key == setting.key && other.value == setting.value));
                assert!(same, "{again}: {one:?}");
                again.clear();
            }
        }
        Err(error) => {
            let message = error.to_string();
            assert!(message.starts_with("bellcage.toml:"), "{message}");
            assert!(!error.code().is_empty());
            let _ = error.hint();
        }
    }
}

/// A tenant's name may have dots in it.
fn written(key: &str, value: &str) -> String {
    if let Some((tenant, limit)) = key.strip_prefix("tenant.").and_then(|rest| rest.rsplit_once(".limits.")) {
        return format!("[tenant.\"{tenant}\".limits]\n{limit} = {value}\n");
    }
    let (section, key) = key.split_once('.').expect("a setting stands in a section");
    format!("[{section}]\n{key} = {value}\n")
}

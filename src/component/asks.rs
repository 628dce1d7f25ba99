//! Which grants a component asks for, read from what it imports.

use crate::job::GrantKind;

use super::Inspection;

/// Interfaces through which a grant reaches a guest: by full name, or `package:` for any of a package.
const REACHED_BY: [(GrantKind, &str); 4] = [
    (GrantKind::Env, "wasi:cli/environment"),
    (GrantKind::Dirs, "wasi:filesystem/preopens"),
    (GrantKind::Http, "wasi:http/outgoing-handler"),
    (GrantKind::Kv, "wasi:keyvalue/"),
];

impl Inspection {
    /// What a job of it could be granted to any effect, each once, in the order of `GrantKind`. An import is no proof of use:
    /// see `GrantKind::is_imported_by_libraries`.
    pub fn asks(&self) -> Vec<GrantKind> {
        let imported = |wanted: &str| {
            let names = self.imports.iter().map(|import| import.split_once('@').map_or(&**import, |(name, _)| name));
            names.into_iter().any(|name| if wanted.ends_with('/') { name.starts_with(wanted) } else { name == wanted })
        };
        REACHED_BY.iter().filter(|(_, interface)| imported(interface)).map(|(kind, _)| *kind).collect()
    }

    /// What it asks for and `before` did not.
    pub fn asks_more_than(&self, before: &Self) -> Vec<GrantKind> {
        let before = before.asks();
        self.asks().into_iter().filter(|kind| !before.contains(kind)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use GrantKind::{Dirs, Env, Http, Kv};

    fn importing(imports: &[&str]) -> Inspection {
        Inspection { entries: Vec::new(), imports: imports.iter().map(|&name| name.to_owned()).collect(), adapted: None }
    }

    #[test]
    fn grants_are_derived_from_the_interfaces_that_would_use_them_in_any_version() {
        for (imports, asks) in [
            (&["wasi:http/outgoing-handler@0.2.3", "wasi:http/types@0.2.3"][..], &[Http][..]),
            (&["wasi:keyvalue/atomics@0.2.0-draft", "wasi:keyvalue/store@0.2.0-draft"], &[Kv]),
            (&["wasi:keyvalue/store@0.2.0-draft", "wasi:cli/environment@0.2.6", "wasi:filesystem/preopens@0.2.6"], &[Env, Dirs, Kv]),
            // Types alone reach nothing, and sockets are granted to nobody.
            (&["wasi:http/types@0.2.3", "wasi:filesystem/types@0.2.6", "wasi:sockets/tcp@0.2.6", "wasi:cli/stdout@0.2.6", "env"], &[]),
        ] {
            assert_eq!(importing(imports).asks(), asks, "{imports:?}");
        }
    }

    #[test]
    fn only_what_is_new_is_more() {
        let before = importing(&["wasi:cli/environment@0.2.0", "wasi:keyvalue/store@0.2.0-draft"]);
        let after = importing(&["wasi:cli/environment@0.2.6", "wasi:keyvalue/store@0.2.0-draft", "wasi:http/outgoing-handler@0.2.6"]);
        assert_eq!((after.asks_more_than(&before), before.asks_more_than(&after)), (vec![Http], vec![]));
    }
}

//! Definitions by their text, as it is stored: many jobs differ in nothing but their name, and what one of them says
//! is parsed once and kept once for all.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use crate::job::JobSpec;

/// How many are kept at most.
const PLACES: usize = 2_048;
/// Bytes of a text that is kept. Longer ones hold much that is a job's own.
const TEXT_BYTES_MAX: usize = 2_048;

/// Each text has one place, by its hash. It is kept there when it comes a second time, and no other of the same place between: one
/// that a job has to itself displaces nothing, and costs no copy.
#[derive(Default)]
pub(super) struct Definitions {
    /// None, or `PLACES`.
    places: Vec<Place>,
    hasher: RandomState,
}

#[derive(Clone, Default)]
struct Place {
    /// The hash of the last text that was not the one kept.
    seen: u64,
    kept: Option<(Box<str>, Arc<JobSpec>)>,
}

impl Definitions {
    /// What a text says.
    pub(super) fn read(&mut self, text: &str) -> serde_json::Result<Arc<JobSpec>> {
        self.find(text, || serde_json::from_str(text).map(Arc::new))
    }

    /// A definition's text, and the definition as it is shared.
    pub(super) fn write(&mut self, definition: &Arc<JobSpec>) -> serde_json::Result<(String, Arc<JobSpec>)> {
        let text = serde_json::to_string(&**definition)?;
        let shared = self.find(&text, || Ok(definition.clone()))?;
        Ok((text, shared))
    }

    fn find(&mut self, text: &str, make: impl FnOnce() -> serde_json::Result<Arc<JobSpec>>) -> serde_json::Result<Arc<JobSpec>> {
        if text.len() > TEXT_BYTES_MAX {
            return make();
        }
        let hash = self.hasher.hash_one(text);
        self.places.resize(PLACES, Place::default());
        let place = &mut self.places[hash as usize % PLACES];
        if let Some((known, definition)) = &place.kept
            && **known == *text
        {
            return Ok(definition.clone());
        }
        let definition = make()?;
        if place.seen == hash {
            place.kept = Some((text.into(), definition.clone()));
        }
        place.seen = hash;
        Ok(definition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(n: usize) -> String {
        format!(r#"{{"component":"tiny","trigger":"manual","priority":{n}}}"#)
    }

    fn twice(definitions: &mut Definitions, text: &str) -> Arc<JobSpec> {
        definitions.read(text).unwrap();
        definitions.read(text).unwrap()
    }

    #[test]
    fn a_definition_that_comes_again_is_shared() {
        let mut definitions = Definitions::default();
        let shared = twice(&mut definitions, &text(1));
        let other = definitions.read(&text(2)).unwrap();
        assert!(Arc::ptr_eq(&shared, &definitions.read(&text(1)).unwrap()));
        assert_eq!((shared.priority, other.priority), (1, 2));
    }

    #[test]
    fn a_definition_that_is_written_is_known_as_it_will_be_read() {
        let mut definitions = Definitions::default();
        let own: Arc<JobSpec> = Arc::new(serde_json::from_str(&text(1)).unwrap());
        definitions.write(&own).unwrap();
        let (written, shared) = definitions.write(&own).unwrap();
        assert!(Arc::ptr_eq(&shared, &own));
        assert!(Arc::ptr_eq(&definitions.read(&written).unwrap(), &own));
    }

    #[test]
    fn definitions_that_come_once_displace_none() {
        let mut definitions = Definitions::default();
        let shared = twice(&mut definitions, &text(0));
        for n in 1..=3 * PLACES {
            definitions.read(&text(n)).unwrap();
        }
        assert!(Arc::ptr_eq(&shared, &definitions.read(&text(0)).unwrap()));
        assert_eq!(definitions.places.iter().filter(|place| place.kept.is_some()).count(), 1);
    }

    #[test]
    fn a_long_definition_is_not_kept() {
        let mut definitions = Definitions::default();
        let long = format!(r#"{{"component":"tiny","trigger":"manual","args":["{}"]}}"#, "x".repeat(TEXT_BYTES_MAX));
        let first = twice(&mut definitions, &long);
        assert!(!Arc::ptr_eq(&first, &definitions.read(&long).unwrap()));
    }

    #[test]
    fn what_cannot_be_read_is_refused_each_time() {
        let mut definitions = Definitions::default();
        assert!(definitions.read("{}").is_err() && definitions.read("{}").is_err());
    }
}

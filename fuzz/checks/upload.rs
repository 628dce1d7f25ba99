//! Uploads: any bytes are refused with an error, or understood, and what is understood survives being stored.

use bellcage::component::Inspection;
use bellcage::executor::examine_upload;

/// A larger one costs the compiler too much for a fuzzer.
const BYTES_MAX: usize = 8 << 10;

pub fn check(data: &[u8]) {
    if data.len() > BYTES_MAX {
        return;
    }
    match examine_upload(data) {
        Ok(None) => {}
        Ok(Some(inspection)) => check_inspection(&inspection),
        Err(error) => assert!(!error.code().is_empty() && !error.to_string().contains('\0')),
    }
}

fn check_inspection(inspection: &Inspection) {
    let stored = serde_json::to_vec(inspection).expect("an inspection is plain data");
    let read: Inspection = serde_json::from_slice(&stored).expect("what was stored can be read");
    assert_eq!(read, *inspection);
    for entry in &inspection.entries {
        // Names from outside may not be what a reference can say; they are then refused, not mistaken.
        if let Ok(named) = entry.full_name().parse() {
            let _ = inspection.entry(&named);
        }
        let _ = entry.arguments_schema();
        assert!(entry.signature.chars().count() <= 2_001);
    }
}

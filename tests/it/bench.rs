//! `bellcage bench` and the guest that it measures with.

use std::path::Path;

use bellcage::job::{Limits, Outcome};

use crate::support::cage::{self, ReportExt as _};

#[tokio::test]
async fn the_committed_guest_is_what_its_text_says_and_does_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/demo");
    let built = wat::parse_file(folder.join("tiny.wat")).expect("the text is a component");
    let committed = folder.join("tiny.wasm");
    if std::env::var_os("BELLCAGE_RENEW").is_some() {
        std::fs::write(&committed, &built).expect("the folder can be written");
    }
    assert!(std::fs::read(&committed).is_ok_and(|c| c == built), "renew it: BELLCAGE_RENEW=1 tests/run -- --test it bench");
    let report = cage::run(&built, Limits::default()).await;
    assert_eq!((report.outcome, report.stdout().as_str()), (Outcome::Succeeded, "done\n"), "{}", report.message());
}

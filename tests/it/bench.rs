//! `bellcage bench` and the guest that it measures with.

use std::path::Path;

use bellcage::job::{Limits, Outcome};

use crate::support::cage::{self, ReportExt as _};

#[tokio::test]
async fn the_committed_guests_are_what_their_texts_say_and_the_tiny_one_does_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/demo");
    for name in ["tiny", "asleep"] {
        let built = wat::parse_file(folder.join(name).with_extension("wat")).expect("the text is a component");
        let committed = folder.join(name).with_extension("wasm");
        if std::env::var_os("BELLCAGE_RENEW").is_some() {
            std::fs::write(&committed, &built).expect("the folder can be written");
        }
        assert!(std::fs::read(&committed).is_ok_and(|c| c == built), "renew it: BELLCAGE_RENEW=1 cargo test --test it bench");
    }
    let tiny = std::fs::read(folder.join("tiny.wasm")).expect("it was just read");
    let report = cage::run(&tiny, Limits::default()).await;
    assert_eq!((report.outcome, report.stdout().as_str()), (Outcome::Succeeded, "done\n"), "{}", report.message());
}

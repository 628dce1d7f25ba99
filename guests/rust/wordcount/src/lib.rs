//! The most frequent words of some documents. Counts a document at a time and keeps a checkpoint after each, so that a later
//! attempt goes on where an earlier one ended; with `batch`, an attempt counts that many and asks for another.
use std::collections::BTreeMap;
use std::time::Duration;

use bellcage_job::{job, Context, Failure};
use pthread_stubs as _;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Input {
    documents: Vec<Document>,
    #[serde(default = "three")]
    top: usize,
    /// Documents an attempt; all when absent.
    batch: Option<usize>,
    /// Between two documents.
    #[serde(default)]
    pause_ms: u64,
}

fn three() -> usize {
    3
}

#[derive(Deserialize)]
struct Document {
    name: String,
    text: String,
}

#[derive(Default, Serialize, Deserialize)]
struct Counted {
    documents: usize,
    words: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct Summary {
    documents: usize,
    words: u64,
    distinct: usize,
    top: Vec<(String, u64)>,
    attempt: u32,
}

fn wordcount(input: Input, context: &Context) -> Result<Summary, Failure> {
    let mut counted: Counted = context.load()?.unwrap_or_default();
    let total = input.documents.len();
    if counted.documents > 0 {
        context.info(format!("attempt {} goes on after {} documents", context.attempt(), counted.documents));
    }
    for (n, document) in input.documents.iter().skip(counted.documents).enumerate() {
        if context.is_cancelled() {
            context.warn(format!("cancelled after {} documents", counted.documents));
            return Err(Failure::new("cancelled"));
        }
        if input.batch == Some(n) {
            return Err(Failure::retry_after(Duration::from_secs(1), format!("{} of {total} documents counted", counted.documents)));
        }
        if document.text.trim().is_empty() {
            return Err(Failure::permanent(format!("document {:?} is empty", document.name)));
        }
        for word in document.text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            *counted.words.entry(word.to_lowercase()).or_default() += 1;
        }
        counted.documents += 1;
        context.save(&counted)?;
        context.progress(counted.documents, total, &document.name);
        if input.pause_ms > 0 {
            std::thread::sleep(Duration::from_millis(input.pause_ms));
        }
    }
    Ok(summary(counted, input.top, context.attempt()))
}

fn summary(counted: Counted, top: usize, attempt: u32) -> Summary {
    let (words, distinct) = (counted.words.values().sum(), counted.words.len());
    let mut by_count: Vec<_> = counted.words.into_iter().collect();
    by_count.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    by_count.truncate(top);
    Summary { documents: counted.documents, words, distinct, top: by_count, attempt }
}

job!(wordcount);

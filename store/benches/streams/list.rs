//! Measures lists of names, page by page.

use std::error::Error;
use std::time::{Duration, Instant};

use quorate_proto::{Category, ListRequest, ListTarget};
use quorate_store::Reader;

use crate::memory_mib;

/// Times lists of all streams, of the streams of a category that does not exist, and of all categories.
pub(crate) fn measure(reader: &Reader) -> Result<(), Box<dyn Error>> {
    let none = ListTarget::StreamsOf(Category::new("none")?);
    for (what, listed) in [
        ("streams", ListTarget::Streams),
        ("category", none),
        ("categories", ListTarget::Categories),
    ] {
        let before = memory_mib("VmRSS:");
        let mut request = ListRequest::of(listed);
        let (mut names, mut pages, mut slowest) = (0, 0, Duration::ZERO);
        let (start, mut first) = (Instant::now(), None);
        loop {
            let begun = Instant::now();
            let page = reader.names(&request)?;
            slowest = slowest.max(begun.elapsed());
            first.get_or_insert(begun.elapsed());
            pages += 1;
            names += page.names.len();
            let Some(after) = page.after else { break };
            request.after = after;
        }
        println!(
            "listing {what}: {names} names, {pages} pages in {:.3?}; first page {:.2?}, slowest {slowest:.2?}; \
             memory {before} to {} MiB",
            start.elapsed(),
            first.unwrap_or_default(),
            memory_mib("VmRSS:"),
        );
    }
    Ok(())
}

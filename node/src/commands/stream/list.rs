//! `quorate stream list`: streams, categories, paths and types by name, as they come in.

use std::io::{self, Write};

use clap::Args;
use quorate_client::{Client, ListEntry, ListRequest, ListedStream};
use quorate_proto::{Category, Path};
use serde::Serialize;

use crate::cli::{Exit, Global, connect};
use crate::output::{buffered, count_of, next_or_flush, write_json, write_line};

/// What is listed, and how much of it.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only streams of this category, in whatever path. They are looked for among all streams, so this takes as
    /// long as the whole list; `--prefix order-` is quick, and finds those that are in no path.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["path", "what"])]
    category: Option<Category>,
    /// Only streams in this path.
    #[arg(long, value_name = "NAME", conflicts_with = "what")]
    path: Option<Path>,
    #[command(flatten)]
    what: What,
    /// Only names that begin so.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    prefix: String,
    /// Only names after this one, in the order of their bytes; it need not be there.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    after: String,
    /// At most so many.
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    /// The streams too of which no event can be read any more: deleted, truncated, too old.
    #[arg(long, conflicts_with = "what")]
    all: bool,
    /// The system's too, whose names begin with `$`.
    #[arg(long)]
    system: bool,
}

#[derive(Args, Debug)]
#[group(id = "what", multiple = false)]
struct What {
    /// List categories.
    #[arg(long)]
    categories: bool,
    /// List paths.
    #[arg(long)]
    paths: bool,
    /// List types of events.
    #[arg(long)]
    types: bool,
}

/// The kind of the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Stream,
    Category,
    Path,
    Type,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Stream => "stream",
            Kind::Category => "category",
            Kind::Path => "path",
            Kind::Type => "type",
        }
    }

    /// Returns a count of names of this kind, for a person.
    fn count_of(self, count: u64) -> String {
        match self {
            Kind::Category if count != 1 => count_of(count, "categorie"),
            kind => count_of(count, kind.word()),
        }
    }
}

impl ListArgs {
    fn kind(&self) -> Kind {
        match self.what {
            What { categories: true, .. } => Kind::Category,
            What { paths: true, .. } => Kind::Path,
            What { types: true, .. } => Kind::Type,
            _ => Kind::Stream,
        }
    }

    fn request(&self, client: &Client) -> ListRequest {
        let request = match (self.kind(), &self.category, &self.path) {
            (Kind::Stream, Some(category), _) => client.streams().of_category(category.as_str()),
            (Kind::Stream, None, Some(path)) => client.streams().in_path(path.as_str()),
            (Kind::Stream, None, None) => client.streams(),
            (Kind::Category, ..) => client.categories(),
            (Kind::Path, ..) => client.paths(),
            (Kind::Type, ..) => client.types(),
        };
        let mut request = request.prefix(self.prefix.as_str()).after(self.after.as_str());
        if let Some(limit) = self.limit {
            request = request.limit(limit);
        }
        if self.all {
            request = request.with_removed();
        }
        if self.system { request.with_system() } else { request }
    }
}

/// Runs the command.
pub(crate) async fn list(args: ListArgs, global: &Global) -> Result<(), Exit> {
    let client = connect(global).await?;
    let kind = args.kind();
    let mut names = args.request(&client).consistency(global.consistency).list().await?;
    let mut output = buffered();
    let mut count = 0;
    while let Some(listed) = next_or_flush(&mut output, names.try_next()).await?? {
        count += 1;
        if global.json() {
            write_json(&mut output, &NameLine::new(kind, &listed))?;
        } else {
            if count == 1 {
                write_head(&mut output, kind)?;
            }
            write_plain(&mut output, &listed)?;
        }
    }
    if !global.json() {
        writeln!(output, "{} as of position {}", kind.count_of(count), names.as_of())?;
    }
    Ok(output.flush()?)
}

fn write_head(output: &mut impl Write, kind: Kind) -> io::Result<()> {
    match kind {
        Kind::Stream => writeln!(output, "{:>12}  {:>12}  stream", "events", "version"),
        _ => writeln!(output, "{:>12}  {}", "events", kind.word()),
    }
}

fn write_plain(output: &mut impl Write, listed: &ListEntry) -> io::Result<()> {
    let events = listed.events.map_or("?".to_owned(), |events| events.to_string());
    let name = &listed.name;
    match listed.stream {
        Some(ListedStream { version, closed, .. }) => {
            let closed = if closed { "  (closed)" } else { "" };
            write_line(output, format_args!("{events:>12}  {version:>12}  {name}{closed}"))
        }
        None => write_line(output, format_args!("{events:>12}  {name}")),
    }
}

/// A name as one line of JSON.
#[derive(Default, Serialize)]
struct NameLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'a str>,
    /// Absent if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_version: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    closed: bool,
}

impl<'a> NameLine<'a> {
    fn new(kind: Kind, listed: &'a ListEntry) -> NameLine<'a> {
        let name = Some(listed.name.as_str());
        let line = match kind {
            Kind::Stream => NameLine { stream: name, ..NameLine::default() },
            Kind::Category => NameLine { category: name, ..NameLine::default() },
            Kind::Path => NameLine { path: name, ..NameLine::default() },
            Kind::Type => NameLine { r#type: name, ..NameLine::default() },
        };
        NameLine {
            events: listed.events,
            version: listed.stream.map(|stream| stream.version.0),
            first_version: listed.stream.map(|stream| stream.first_version.0),
            closed: listed.stream.is_some_and(|stream| stream.closed),
            ..line
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_client::Version;

    use super::*;

    #[test]
    fn a_name_is_one_compact_line_without_what_is_not_known() {
        let stream = ListedStream { version: Version(7), first_version: Version(3), closed: false };
        let order = ListEntry { name: "order-42".into(), events: Some(5), stream: Some(stream) };
        let closed = ListedStream { version: Version(7), first_version: Version(8), closed: true };
        let gone = ListEntry { events: Some(0), stream: Some(closed), ..order.clone() };
        let category = ListEntry { name: "order".into(), events: None, stream: None };
        for (kind, listed, json, plain) in [
            (
                Kind::Stream,
                &order,
                r#"{"stream":"order-42","events":5,"version":7,"first_version":3}"#,
                "           5             7  order-42\n",
            ),
            (
                Kind::Stream,
                &gone,
                r#"{"stream":"order-42","events":0,"version":7,"first_version":8,"closed":true}"#,
                "           0             7  order-42  (closed)\n",
            ),
            (Kind::Category, &category, r#"{"category":"order"}"#, "           ?  order\n"),
        ] {
            let line = serde_json::to_string(&NameLine::new(kind, listed)).expect("a line");
            assert_eq!(line, json);
            let mut written = Vec::new();
            write_plain(&mut written, listed).expect("memory");
            assert_eq!(String::from_utf8(written).expect("text"), plain);
        }
        assert_eq!(Kind::Category.count_of(2), "2 categories");
        assert_eq!(Kind::Category.count_of(1), "1 category");
    }
}

//! The stream, the category or the path that a command is about.

use clap::Args;
use quorate_proto::{Category, Path, Scope, StreamName};

use crate::cli::Exit;

/// The stream, category or path whose settings a command shows or changes.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct Whose {
    /// The stream.
    stream: Option<StreamName>,
    /// All streams of this category.
    #[arg(long, value_name = "NAME")]
    category: Option<Category>,
    /// All streams in this path.
    #[arg(long, value_name = "NAME")]
    path: Option<Path>,
}

pub(super) fn named(scope: &Scope) -> String {
    match scope {
        Scope::Stream(name) => format!("`{name}`"),
        Scope::Category(name) => format!("the category `{name}`"),
        Scope::Path(name) => format!("the path `{name}`"),
    }
}

impl Whose {
    pub(super) fn scope(self) -> Result<Scope, Exit> {
        let stream = self.stream.map(Scope::Stream);
        let category = self.category.map(Scope::Category);
        stream
            .or(category)
            .or(self.path.map(Scope::Path))
            .ok_or_else(|| Exit::usage("a stream, --category or --path is needed"))
    }
}

//! As much of Markdown as the documents' tests need: tables, fences, code words, links.

use std::fs;
use std::path::{Path, PathBuf};

/// One document of the project.
pub(super) struct Document {
    /// Its path from the project's root.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// A path from the project's root.
pub(super) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The text of a file of the project.
pub(super) fn file(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every document of the project: those at its root and those in docs/.
pub(super) fn documents() -> Vec<Document> {
    let mut names = Vec::new();
    for folder in ["", "docs/"] {
        for entry in fs::read_dir(path(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                names.push(format!("{folder}{name}"));
            }
        }
    }
    names.sort();
    names.iter().map(|name| Document::read(name)).collect()
}

impl Document {
    /// Reads a document by its path from the project's root.
    pub(super) fn read(name: &str) -> Self {
        Self { name: name.into(), path: path(name), text: file(name) }
    }

    /// The cells of each row of the table with these headings; panics if there is none, or no row.
    pub(super) fn table(&self, headings: &[&str]) -> Vec<Vec<String>> {
        let mut lines = self.text.lines().map(cells);
        let found = lines.any(|line| line == headings);
        assert!(found, "{} has no table {headings:?}", self.name);
        let rows: Vec<_> = lines.skip(1).take_while(|line| !line.is_empty()).collect();
        assert!(!rows.is_empty(), "{}: the table {headings:?} is empty", self.name);
        assert!(rows.iter().all(|row| row.len() == headings.len()), "{}: {rows:?}", self.name);
        rows
    }

    /// The text of each code fence of this language, also of indented ones.
    pub(super) fn fences(&self, language: &str) -> Vec<String> {
        let (mut blocks, mut open) = (Vec::new(), None::<(bool, String)>);
        for line in self.text.lines() {
            match (line.trim_start().strip_prefix("```"), open.as_mut()) {
                (Some(name), None) => open = Some((name == language, String::new())),
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (None, Some((_, block))) => {
                    block.push_str(line);
                    block.push('\n');
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a code fence without end", self.name);
        blocks.into_iter().filter(|(wanted, _)| *wanted).map(|(_, block)| block).collect()
    }

    /// Where each link leads.
    pub(super) fn links(&self) -> impl Iterator<Item = &str> {
        self.text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
    }
}

/// The cells of a table's line; none for any other line.
fn cells(line: &str) -> Vec<String> {
    match line.strip_prefix('|').and_then(|line| line.trim_end().strip_suffix('|')) {
        Some(inner) => inner.split('|').map(|cell| cell.trim().to_owned()).collect(),
        None => Vec::new(),
    }
}

/// What stands between single backticks, line by line.
pub(super) fn ticked(text: &str) -> impl Iterator<Item = &str> {
    outside_fences(text).flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The lines that are in no code fence.
pub(super) fn outside_fences(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

//! Holds the picture of the crate against its source: who may use whom, what stays pure, how long
//! a file may be.
//!
//! It reads text, not types: a `use crate::a::b` or a path `crate::a::b` in `src` is an arrow.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Places in layers: a place may use those of its own line and of the lines above it, never those
/// below. The first name that matches a module's path counts, so `session::state` is not `session`.
const LAYERS: &[&[&str]] = &[
    &["resp", "mode", "lock"],
    &["command", "session::state", "session::pipeline"],
    &["table", "upstream", "ledger", "scripts", "config", "metrics", "telemetry", "crash"],
    &["degraded", "router", "health", "repair"],
    &["session", "worker", "admin"],
    // The model drives what decides, in tests alone.
    &["app", "model"],
    &["cli", "main"],
];

/// Places that decide and do nothing else.
const PURE: &[&str] = &[
    "resp",
    "command",
    "lock",
    "session::state",
    "session::pipeline",
    "router",
    "mode",
    "ledger::entry",
    "ledger::fold",
    "ledger::store",
    "ledger::committer",
    "ledger::memory::medium",
    "ledger::sheets::probe::figures",
    "ledger::sheets::probe::pairs",
    "ledger::sheets::projection::grid",
    "ledger::sheets::projection::look",
    "ledger::sheets::projection::past",
    "ledger::sheets::projection::sieve",
    "ledger::sheets::projection::terms",
    "ledger::sheets::projection::watch",
    "repair::plan",
    "repair::command",
    "repair::pass",
    "repair::watch",
    "upstream::tracker::speech",
    "model",
];

/// Pure as far as their own file goes; what lies in them need not be.
const PURE_ALONE: &[&str] = &["ledger"];

/// What a pure place never names.
const IMPURE: &[&str] = &[
    "tokio",
    "dashmap",
    "mio::",
    "std::net",
    "std::fs",
    "std::thread",
    "rusqlite",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "axum",
    "hyper",
];

/// The most lines of a file before its tests.
const LONGEST: usize = 500;

/// One source file: its module path, and its text without tests.
struct Source {
    file: PathBuf,
    module: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut sources) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                sources.push(source(&root, path));
            }
        }
    }
    sources.sort_by(|a, b| a.file.cmp(&b.file));
    assert!(sources.len() > 5, "the sources are where this test looks");
    sources
}

fn source(root: &Path, file: PathBuf) -> Source {
    let text = fs::read_to_string(&file).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
    let relative = file.strip_prefix(root).unwrap().with_extension("");
    let names = relative.iter().map(|name| name.to_string_lossy().into_owned());
    Source { module: names.collect::<Vec<_>>().join("::"), code, file }
}

/// True for files of unit tests, which may use what they like and be as long as they are.
fn is_test(module: &str) -> bool {
    module.split("::").any(|name| matches!(name, "tests" | "testing"))
}

/// True if `module` is `place` or lies inside it.
fn lies_in(module: &str, place: &str) -> bool {
    module.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The layer of a module by its most exact name; none for `lib` and what the picture lacks.
fn layer(module: &str) -> Option<usize> {
    let places =
        LAYERS.iter().enumerate().flat_map(|(at, line)| line.iter().map(move |p| (at, *p)));
    let fitting = places.filter(|(_, place)| lies_in(module, place));
    fitting.max_by_key(|(_, place)| place.len()).map(|(at, _)| at)
}

/// Paths that a file names behind `crate::` (`lockside::` in main), groups in braces included.
fn arrows(source: &Source) -> BTreeSet<String> {
    let code: String = source.code.lines().filter(|line| !is_comment(line)).collect();
    let mut found = BTreeSet::new();
    for prefix in ["crate::", "lockside::"] {
        for (at, _) in code.match_indices(prefix) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if !before.is_alphanumeric() && before != '_' {
                found.extend(expand(&code[at + prefix.len()..]));
            }
        }
    }
    found
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// `a::b` of `a::b;`, and `a::b` and `c` of `{a::b, c}` (one level is enough for the first names).
fn expand(text: &str) -> Vec<String> {
    let path = |text: &str| -> String {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
        text[..end.unwrap_or(text.len())].trim_end_matches(':').to_owned()
    };
    let head = path(text);
    let behind = &text[head.len()..];
    let group = behind.strip_prefix("::").unwrap_or(behind).strip_prefix('{');
    let Some(group) = group else { return vec![head] };
    let prefix = if head.is_empty() { String::new() } else { format!("{head}::") };
    let mut depth = 0;
    let end = group.find(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        depth < 0
    });
    let items = group[..end.unwrap_or(group.len())].split(',');
    items.map(|item| format!("{prefix}{}", path(item.trim()))).collect()
}

#[test]
fn arrows_never_go_back() {
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(own) = layer(&source.module) else { continue };
        if is_test(&source.module) {
            continue;
        }
        for arrow in arrows(&source) {
            if layer(&arrow).is_some_and(|used| used > own) {
                wrong.push(format!("{} uses {arrow}", source.file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows go back:\n{}", wrong.join("\n"));
}

#[test]
fn places_below_nothing_use_only_themselves() {
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(place) = ["resp", "mode"].iter().find(|place| lies_in(&source.module, place))
        else {
            continue;
        };
        let foreign = arrows(&source).into_iter().filter(|arrow| layer(arrow).is_some());
        wrong.extend(
            foreign
                .filter(|arrow| !lies_in(arrow, place))
                .map(|arrow| format!("{} uses {arrow}", source.file.display())),
        );
    }
    assert!(wrong.is_empty(), "not by itself:\n{}", wrong.join("\n"));
}

#[test]
fn places_that_decide_are_pure() {
    let mut wrong = Vec::new();
    for source in sources() {
        let pure = PURE.iter().any(|place| lies_in(&source.module, place))
            || PURE_ALONE.contains(&source.module.as_str());
        if !pure || is_test(&source.module) {
            continue;
        }
        for (number, line) in source.code.lines().enumerate().filter(|(_, line)| !is_comment(line))
        {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!("{}:{}: {word}", source.file.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "a pure place names:\n{}", wrong.join("\n"));
}

#[test]
fn every_place_is_in_the_picture() {
    let known = |module: &str| module == "lib" || layer(module).is_some();
    let strange: Vec<_> =
        sources().into_iter().map(|source| source.module).filter(|module| !known(module)).collect();
    assert!(strange.is_empty(), "no layer for {strange:?}: add it here and to ARCHITECTURE.md");
}

#[test]
fn every_file_says_what_it_is_and_stays_short() {
    let mut wrong = Vec::new();
    for source in sources() {
        let lines = source.code.lines().count();
        if !source.code.starts_with("//!") {
            wrong.push(format!("{}: does not begin with //!", source.file.display()));
        }
        if lines > LONGEST && !is_test(&source.module) {
            wrong.push(format!("{}: {lines} lines", source.file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_arrows_sees_them() {
    assert_eq!(expand("a::b;"), ["a::b"]);
    assert_eq!(expand("{a::b, c::D};"), ["a::b", "c::D"]);
    assert_eq!(expand("a::{b, c::D};"), ["a::b", "a::c::D"]);
    assert_eq!((layer("session::state"), layer("session::drive")), (Some(1), Some(4)));
    assert_eq!(layer("lock::rule"), Some(0));
}

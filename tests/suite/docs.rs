//! Holds the documents to the truth: names, keys, commands, bytes and links in README,
//! ARCHITECTURE, CHANGELOG and docs/ against the code they speak of.
//!
//! It reads Markdown by line: tables, code fences, words between backticks, links. A document that
//! loses a table fails here too, because a test that finds nothing to compare is no test.

mod markdown;

use std::collections::BTreeSet;
use std::path::PathBuf;

use lockside::command::{Class, KeyspaceUse, LockUse, lookup};
use lockside::config::{self, Settings, Sources};
use lockside::lock::envelope::scripts;
use lockside::lock::value::{self, Stamp, Unique};

use crate::support::lockside::{command, direct};
use crate::support::{Redis, Subject};
use markdown::{Document, documents, ticked};

/// Settings from this text as the configuration file `name`.
fn load(name: &str, text: &str) -> Result<Settings, config::Problems> {
    let file = Some((PathBuf::from(name), text.to_owned()));
    Settings::load(&Sources { file, ..Sources::default() })
}

/// The keys of the example configuration: `max_clients` stands as `[limits] max_clients`. Keys without
/// a default stand behind a `#` without a space.
fn configuration_keys() -> BTreeSet<String> {
    let line = |line: &'static str| match line.strip_prefix('#') {
        Some(key) if !key.is_empty() && !key.starts_with(' ') => key,
        _ => line,
    };
    let lines = config::EXAMPLE.lines().filter(|line| *line != "user = []").map(line);
    let example: toml::Table = lines.collect::<Vec<_>>().join("\n").parse().unwrap();
    let mut keys = BTreeSet::new();
    for (key, value) in &example {
        match value {
            toml::Value::Table(table) => {
                keys.extend(table.keys().map(|inner| format!("[{key}] {inner}")));
            }
            toml::Value::Array(list) if list.iter().any(toml::Value::is_table) => {
                let tables = list.iter().filter_map(toml::Value::as_table);
                keys.extend(tables.flatten().map(|(inner, _)| format!("[[{key}]] {inner}")));
            }
            _ => drop(keys.insert(format!("top level {key}"))),
        }
    }
    keys
}

#[test]
fn the_readme_names_every_configuration_key_and_no_other() {
    let readme = Document::read("README.md");
    let mut named = BTreeSet::new();
    for row in readme.table(&["table", "keys"]) {
        let table = row[0].trim_matches('`');
        named.extend(ticked(&row[1]).map(|key| format!("{table} {key}")));
    }
    assert_eq!(named, configuration_keys());
}

#[test]
fn every_configuration_in_a_document_is_valid() {
    let mut found = 0;
    for document in documents() {
        for block in document.fences("toml") {
            found += 1;
            let loaded = load(&document.name, &block);
            assert!(loaded.is_ok(), "{}: {}\n{block}", document.name, loaded.unwrap_err());
        }
    }
    assert!(found > 0);
}

#[test]
fn the_bad_configuration_is_refused_in_the_words_of_the_readme() {
    let text = "[limits]\nmax_clients = \"many\"\n\n[[rule]]\nname = \"x\"\nkeys = [\"lock:*\"]\n\
                mode = \"forever\"\n";
    let problems = load("bad.toml", text).unwrap_err().to_string();
    let shown = Document::read("README.md").fences("text");
    assert!(shown.iter().any(|block| block.trim_end() == problems), "{problems}\n{shown:?}");
    assert_eq!(config::EXIT_BAD_CONFIGURATION, 64);
}

#[test]
fn environment_names_are_those_of_the_configuration() {
    let readme = Document::read("README.md");
    let named: BTreeSet<String> = readme
        .table(&["variable", "sets"])
        .iter()
        .flat_map(|row| ticked(&row[0]).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(named, config::VARIABLES.map(str::to_owned).into());
}

#[test]
fn subcommands_and_flags_are_those_of_the_command_line() {
    let help = command().arg("--help").output().unwrap();
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let listed = help.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    let exists = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let mut existing: BTreeSet<String> = listed.lines().filter_map(exists).collect();
    assert!(existing.remove("help"));

    let readme = Document::read("README.md");
    let rows = readme.table(&["command", "what it does", "exit codes"]);
    let word = |row: &Vec<String>| ticked(&row[0]).next()?.split(' ').nth(1).map(str::to_owned);
    assert_eq!(rows.iter().filter_map(word).collect::<BTreeSet<_>>(), existing);

    for name in existing {
        let output = command().args([name.as_str(), "--help"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let row = rows.iter().find(|row| word(row).as_deref() == Some(&name)).unwrap();
        let flags = row[0].split(['[', ']', ' ', '`']).filter(|word| word.starts_with("--"));
        flags.for_each(|flag| assert!(text.contains(flag), "{name} {flag}"));
    }
    let flags = ticked(&readme.text).filter(|word| word.starts_with("--"));
    let other = ["--at", "--user", "--db", "--direct"];
    for flag in flags.filter(|flag| !other.contains(flag)) {
        assert!(help.contains(flag), "{flag}");
    }
}

#[test]
fn lockside_subcommands_are_those_of_its_help() {
    if direct() {
        return;
    }
    let redis = Redis::start();
    let subject = Subject::start(&redis);
    let help = subject.client().ask("LOCKSIDE HELP");
    let exists = |line: &str| {
        let word = line.strip_prefix('+')?.split(' ').next()?;
        let plain = word.bytes().all(|byte| byte.is_ascii_uppercase());
        (plain && !word.is_empty() && !["LOCKSIDE", "A"].contains(&word)).then(|| word.to_owned())
    };
    let existing: BTreeSet<String> = help.split("\r\n").filter_map(exists).collect();
    let readme = Document::read("README.md");
    let named = ticked(&readme.text).filter_map(|code| code.strip_prefix("LOCKSIDE "));
    let named = named.filter_map(|rest| rest.split(' ').next()).map(str::to_owned);
    assert_eq!(named.collect::<BTreeSet<_>>(), existing);
}

/// What the table of commands calls this class.
fn kind(class: Class) -> &'static str {
    match class {
        Class::Plain => "plain",
        Class::Keyspace(KeyspaceUse::FlushDb | KeyspaceUse::FlushAll | KeyspaceUse::SwapDb) => {
            "keyspace"
        }
        Class::State(_) => "state",
        Class::Lock(lock_use) => match lock_use {
            LockUse::Get | LockUse::Mget | LockUse::Exists | LockUse::Look => "read",
            // SET stands in two rows; with NX it is an acquire.
            LockUse::Set => "overwrite",
            LockUse::Setnx => "acquire",
            LockUse::Delete | LockUse::Getdel => "release",
            LockUse::Computed => "computed",
            LockUse::Content => "content",
            LockUse::Inside => "look inside",
            LockUse::Script { .. } => "script",
            LockUse::Refused(_) => "refused",
            LockUse::StoreRefused(_) => "refused as destination",
        },
    }
}

#[test]
fn every_row_of_the_command_table_says_what_the_code_does() {
    for row in Document::read("docs/commands.md").table(&["commands", "kind", "what happens"]) {
        for name in ticked(&row[0]).filter(|name| *name != "NX") {
            let spec = lookup(name.as_bytes());
            let class = spec.unwrap_or_else(|| panic!("{name} is in no table")).class;
            let acquires = class == Class::Lock(LockUse::Set) && row[1] == "acquire";
            assert!(acquires || kind(class) == row[1], "{name}: {class:?}, not {}", row[1]);
        }
    }
}

#[test]
fn no_command_with_a_decision_of_its_own_is_left_out() {
    let document = Document::read("docs/commands.md");
    let rows = document.table(&["commands", "kind", "what happens"]);
    let named: BTreeSet<String> = rows
        .iter()
        .flat_map(|row| ticked(&row[0]).map(str::to_lowercase).collect::<Vec<_>>())
        .collect();
    let source = markdown::file("src/command/table.rs");
    let mut decided = 0;
    for entry in source.split("spec(\"").skip(1) {
        let name = entry.split('"').next().unwrap();
        let Some(spec) = lookup(name.as_bytes()) else { panic!("{name}") };
        if matches!(spec.class, Class::Lock(_) | Class::Keyspace(_)) {
            decided += 1;
            assert!(named.contains(name), "{name} is not in docs/commands.md");
        }
    }
    assert!(decided > 50, "{decided}");
}

#[test]
fn links_lead_to_files() {
    let mut found = 0;
    for document in documents() {
        for target in document.links() {
            let path = target.split('#').next().unwrap();
            if path.is_empty() || target.starts_with("https://") {
                continue;
            }
            found += 1;
            let folder = document.path.parent().unwrap();
            assert!(folder.join(path).exists(), "{}: {target}", document.name);
        }
    }
    assert!(found > 5, "{found}");
}

#[test]
fn words_between_backticks_end_on_their_line() {
    for document in documents() {
        let mut lines = markdown::outside_fences(&document.text);
        let open = lines.find(|line| line.matches('`').count() % 2 == 1);
        assert_eq!(open, None, "{}", document.name);
    }
}

#[test]
fn paths_and_make_targets_exist() {
    let makefile = markdown::file("Makefile");
    let mut found = 0;
    for document in documents() {
        for code in ticked(&document.text) {
            if let Some(target) = code.strip_prefix("make ") {
                assert!(makefile.contains(&format!("\n{target}:")), "{}: {code}", document.name);
            } else if code.starts_with("src/") || code.starts_with("tests/") {
                found += 1;
                assert!(markdown::path(code).exists(), "{}: {code}", document.name);
            }
        }
    }
    assert!(found > 5, "{found}");
}

#[test]
fn the_architecture_names_every_module_in_its_order() {
    let source = markdown::file("src/lib.rs");
    let declared = source.lines().filter_map(|line| {
        line.strip_prefix("pub mod ").or(line.strip_prefix("mod "))?.strip_suffix(';')
    });
    let declared: Vec<String> = declared.map(str::to_owned).collect();
    let document = Document::read("ARCHITECTURE.md");
    let rows = document.table(&["module", "one sentence", "pure"]);
    let named: Vec<String> = rows.iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    assert_eq!(named, declared);
}

#[test]
fn the_captured_bytes_have_the_lengths_that_they_say() {
    let document = Document::read("ARCHITECTURE.md");
    let mut found = 0;
    for block in document.fences("text") {
        for item in block.split(['\n']).flat_map(|line| line.split("  ")) {
            let Some((length, text)) =
                item.trim().strip_prefix('$').and_then(|i| i.split_once(' '))
            else {
                continue;
            };
            found += 1;
            assert_eq!(length.parse(), Ok(text.len()), "{item}");
        }
    }
    assert!(found > 10, "{found}");
}

#[test]
fn the_captured_script_is_the_one_that_is_sent() {
    let sha = String::from_utf8_lossy(&scripts::PERSIST.sha).into_owned();
    assert!(Document::read("ARCHITECTURE.md").text.contains(&sha), "the script is now {sha}");
}

#[test]
fn the_stored_values_shown_are_what_would_be_stored() {
    let readme = Document::read("README.md");
    let rows = readme.table(&["client value", "stored value with `stamp = \"auto\"`"]);
    let mut stamped = 0;
    for row in rows {
        let client = ticked(&row[0]).next().unwrap();
        // A row without a value of its own says: the same.
        let stored = ticked(&row[1]).next().unwrap_or(client);
        let timestamp = stored.get(stored.len().saturating_sub(19)..).unwrap_or_default();
        let nonce = stored.split_once(":~").and_then(|(_, rest)| rest.split(':').next());
        let random = nonce.map_or(0, |nonce| u64::from_str_radix(nonce, 16).unwrap());
        stamped += usize::from(stored != client);
        let unique =
            Unique::new(timestamp, random).or(Unique::new("01-01-2026 00:00:00", 0)).unwrap();
        let made = value::stamp(client.as_bytes(), Stamp::Auto, &unique);
        assert_eq!(String::from_utf8_lossy(&made), stored);
        assert_eq!(value::strip(stored.as_bytes(), Stamp::Auto), client.as_bytes());
    }
    assert_eq!(stamped, 2);
}

#[test]
fn the_version_is_in_the_changelog() {
    let heading = format!("## {}", env!("CARGO_PKG_VERSION"));
    assert!(Document::read("CHANGELOG.md").text.contains(&heading), "{heading}");
}

//! The `[[user]]` tables: who may use locks while Redis can't be asked (SPEC 6).

use super::reader::Table;
use crate::config::problem::Wrong;
use crate::config::user::{self, MAX_USERS, PasswordDigest, User};
use crate::lock::rule::{MAX_RULES, Rule, RuleId};

/// Reads all users. `rules` are those in force: a user may name them alone.
pub(super) fn read(users: &mut Vec<User>, rules: &[Rule], table: &mut Table<'_, '_>) {
    table.tables("user", MAX_USERS, |table| {
        let Draft { name, password, rules } = draft(rules, table);
        let taken = !name.is_empty() && users.iter().any(|user| user.name == name);
        table.check("name", || match taken {
            true => Err(Wrong::new(format!("{name:?} stands twice"), "a name of its own")),
            false => Ok(()),
        });
        // What is missing has been noted as a problem.
        users.extend(password.map(|password| User { name, password, rules }));
    });
}

/// A user being read.
struct Draft {
    name: String,
    password: Option<PasswordDigest>,
    rules: Vec<RuleId>,
}

fn draft(known: &[Rule], table: &mut Table<'_, '_>) -> Draft {
    let mut draft = Draft { name: String::new(), password: None, rules: ids(known).collect() };
    table.require("name", r#"a name such as "worker""#);
    table.value("name", &mut draft.name, user::name);
    let both = table.has("password") && table.has("password_sha256");
    if !table.has("password_sha256") {
        table.require("password", "a password, or its password_sha256");
    }
    table.value("password", &mut draft.password, |text| user::password(text).map(Some));
    table.value("password_sha256", &mut draft.password, |text| {
        PasswordDigest::parse(text).map(Some)
    });
    table.check("password", || match both {
        true => Err(Wrong::new("stands beside password_sha256", "one of them")),
        false => Ok(()),
    });
    table.list("rules", &mut draft.rules, |name| rule(known, name));
    draft.rules.sort_unstable();
    draft.rules.dedup();
    draft
}

fn ids(rules: &[Rule]) -> impl Iterator<Item = RuleId> {
    (0..).map(RuleId).take(rules.len().min(MAX_RULES))
}

fn rule(rules: &[Rule], name: &str) -> Result<RuleId, Wrong> {
    let place = rules.iter().position(|rule| rule.name == name);
    place.and_then(|place| ids(rules).nth(place)).ok_or_else(|| {
        let names: Vec<String> = rules.iter().map(|rule| format!("{:?}", rule.name)).collect();
        Wrong::new(
            format!("{name:?} is the name of no rule"),
            format!("some of {}", names.join(", ")),
        )
    })
}

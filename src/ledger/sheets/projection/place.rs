//! Where the tabs are: the business tab by its title, once, and then by its id; the look-up tab; and the sieve,
//! which is made if need be. The sieve's title has the business tab's id, so that one that people have renamed is
//! found again by the next run.

use std::time::Duration;

use google_sheets4::api as google;
use sha2::{Digest, Sha256};

use super::grid::ORIGIN;
use super::sieve;
use super::terms::Terms;
use crate::config::Projection;
use crate::ledger::sheets::api::{Api, Ask, Tab, View};
use crate::ledger::sheets::errors::Failure;
use crate::ledger::sheets::{FIRST_REGISTRY, FIRST_SIEVE, id, requests};

/// The tabs of a projection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) tab: i32,
    pub(super) title: String,
    pub(super) sieve: i32,
    pub(super) lookup: Option<(i32, String)>,
}

/// What there is of them, and nothing is made. None: Lockside's own tab, which is to be made.
pub(super) fn seek(tabs: &View, terms: &Terms, ledger: &str) -> Result<Option<Place>, Failure> {
    let (wanted, sieve, prefix) = names(terms, ledger);
    let known = tabs.get(&sieve).and_then(|tab| tab.title.strip_prefix(&prefix)?.parse().ok());
    let found = by_title(tabs, wanted).or_else(|| by_id(tabs, known?));
    let lookup = lookup(tabs, terms)?;
    match found {
        Some((tab, title)) => Ok(Some(Place { tab, title, sieve, lookup })),
        None if terms.settings().is_own_tab() => Ok(None),
        None => Err(Failure::no(missing(wanted, tabs))),
    }
}

/// The tab that is wanted, its sieve, and how that one's title begins.
fn names<'t>(terms: &'t Terms, ledger: &str) -> (&'t str, i32, String) {
    let settings = terms.settings();
    let wanted = if settings.is_own_tab() { Projection::OWN_TAB } else { &settings.tab };
    let number = number(ledger, wanted);
    let sieve = id(FIRST_SIEVE + number % (FIRST_REGISTRY - FIRST_SIEVE));
    (wanted, sieve, format!("{ledger} sieve #gid="))
}

fn number(ledger: &str, wanted: &str) -> u64 {
    let hash = Sha256::digest(format!("{ledger}/{wanted}"));
    u64::from_be_bytes(*hash.first_chunk().unwrap_or(&[0; 8]))
}

fn lookup(tabs: &View, terms: &Terms) -> Result<Option<(i32, String)>, Failure> {
    let name = &*terms.settings().lookup_tab;
    if name.is_empty() {
        return Ok(None);
    }
    by_title(tabs, name).ok_or_else(|| Failure::no(missing(name, tabs))).map(Some)
}

/// Finds the tabs, and makes those that are Lockside's own.
pub(super) fn find(
    api: &mut Api,
    terms: &Terms,
    ledger: &str,
    patience: &mut Duration,
) -> Result<Place, Failure> {
    let settings = terms.settings();
    let tabs = api.call(&Ask::Tabs, true, patience)?;
    let (wanted, sieve, prefix) = names(terms, ledger);
    let number = number(ledger, wanted);
    let old = tabs.get(&sieve);
    if let Some(strange) = old.filter(|tab| !tab.title.starts_with(&prefix)) {
        return Err(Failure::no(format!(
            "the tab {:?} (#gid={sieve}) stands where Lockside needs a hidden one: copy it, and delete it",
            strange.title
        )));
    }
    let known = old.and_then(|tab| tab.title.strip_prefix(&prefix)?.parse().ok());
    let mut batch = Vec::new();
    let (tab, title) = match by_title(&tabs, wanted).or_else(|| by_id(&tabs, known?)) {
        Some(found) => found,
        None if settings.is_own_tab() => {
            let tab = id(FIRST_SIEVE / 2 + number % (FIRST_SIEVE / 2));
            batch.extend(own_tab(tab, settings));
            (tab, wanted.to_owned())
        }
        None => return Err(Failure::no(missing(wanted, &tabs))),
    };
    let sieve_title = format!("{prefix}{tab}");
    if tabs.get(&tab).is_some_and(|known| known.rows < 2) {
        // Without a row below the header there is nothing to read, which Google refuses.
        batch.push(requests::grow(tab, 1));
    }
    match old {
        None => batch.extend(requests::tab(sieve, &sieve_title, sieve::SIZE, &[vec![HINT.into()]])),
        Some(old) if old.title != sieve_title => batch.push(requests::rename(sieve, &sieve_title)),
        Some(_) => {}
    }
    if !batch.is_empty() {
        api.call(&Ask::Write(batch, Vec::new()), false, patience)?;
    }
    let lookup = lookup(&tabs, terms)?;
    Ok(Place { tab, title, sieve, lookup })
}

const HINT: &str = "Lockside writes other tabs through this one";

fn by_title(tabs: &View, title: &str) -> Option<(i32, String)> {
    let is_it = |(_, tab): &(&i32, &Tab)| tab.title.trim() == title;
    tabs.iter().find(is_it).map(|(id, tab)| (*id, tab.title.clone()))
}

fn by_id(tabs: &View, id: i32) -> Option<(i32, String)> {
    tabs.get(&id).map(|tab| (id, tab.title.clone()))
}

/// A tab for people, which they see and may change.
fn own_tab(tab: i32, settings: &Projection) -> Vec<google::Request> {
    let headers = [&*settings.key_column, &settings.holder_column, &settings.since_column, ORIGIN];
    let headers = headers.into_iter().filter(|name| !name.is_empty());
    let headers: Vec<_> = headers.map(str::to_owned).collect();
    requests::open_tab(tab, Projection::OWN_TAB, (2, headers.len()), &[headers])
}

fn missing(title: &str, tabs: &View) -> String {
    let visible = tabs.values().map(|tab| format!("{:?}", tab.title)).take(30);
    let visible: Vec<_> = visible.collect();
    format!(
        "the spreadsheet has no tab {title:?} for people; its tabs are {}. Nothing is shown to people",
        visible.join(", ")
    )
}

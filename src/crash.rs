//! Named places where a debug build ends as kill -9 would, for tests of what survives it.
//!
//! `LOCKSIDE_CRASH_FILE` names a file; whoever comes to the place whose name stands in it removes
//! the file and aborts: no destructor runs, nothing is flushed. Without the variable, or without the
//! file, nothing happens. With `pass` before the name only the file is removed, so that a test sees
//! that somebody was there. A release build has none of this: [`here`] is empty there.

/// Ends the process if the file names this place.
#[cfg(debug_assertions)]
pub fn here(place: &str) {
    use std::sync::OnceLock;

    static FILE: OnceLock<Option<std::path::PathBuf>> = OnceLock::new();
    let file = FILE.get_or_init(|| std::env::var_os("LOCKSIDE_CRASH_FILE").map(Into::into));
    let Some(file) = file else { return };
    // Not there: nobody wants a crash now.
    let Ok(wanted) = std::fs::read_to_string(file) else { return };
    let passes = wanted.trim().strip_prefix("pass ");
    if passes.unwrap_or(wanted.trim()) == place {
        // Removed first, or the next process would end at the same place.
        let _ = std::fs::remove_file(file);
        if passes.is_none() {
            std::process::abort();
        }
    }
}

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn here(_place: &str) {}

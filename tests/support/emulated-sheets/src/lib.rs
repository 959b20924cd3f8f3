//! tmp
#![allow(dead_code)]
mod a1; mod api; mod batch; mod book; mod cell; mod error; mod format; mod formula; mod input; mod mask; mod messages; mod metadata; mod render; mod sheet; mod values;
/// What the documentation leaves open, and a test may want either way.
#[derive(Clone, Debug)]
pub struct Rules {
    /// a
    pub metadata_follows_sort: bool,
}

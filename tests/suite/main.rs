//! Integration tests.

mod envelope;

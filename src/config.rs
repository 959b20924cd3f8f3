//! File, environment and flags into typed settings that are already valid.

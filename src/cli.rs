//! Arguments into a running process, a check, or a question to a running one.

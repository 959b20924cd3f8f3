//! Which command, which keys, which class.

//! Bad input and limits (SPEC 9): Lockside stays up, its memory bounded, other clients go on.

mod abuse;
mod configured;
mod slow;

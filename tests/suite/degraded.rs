//! The degraded engine against a real redis-server: the same commands get the same replies, byte
//! for byte, but for what `known` names.

mod contents;
mod edges;
mod engine;
mod fair;
mod known;
mod random;
mod sandbox;
mod scripts;

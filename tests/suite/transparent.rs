//! Traffic that has nothing to do with locks: the same bytes to Redis and to Lockside give the
//! same replies or the same close, at every cut of the input (SPEC 5, 9).

mod blocking;
mod connection;
mod data;
mod heavy;
mod malformed;
mod pubsub;
mod random;
mod scripts;
mod upstream;

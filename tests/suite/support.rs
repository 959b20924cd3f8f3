//! What every test stands on: processes, raw clients, scripts of a conversation, waiting.
//!
//! Nothing here asserts anything about Lockside; it only starts, sends, reads and waits, each with
//! a deadline. It uses no code of the crate, so that a mistake there can't hide itself.

pub(crate) mod client;
pub(crate) mod fault_proxy;
pub(crate) mod locks;
pub(crate) mod lockside;
pub(crate) mod monitor;
pub(crate) mod process;
pub(crate) mod redis;
pub(crate) mod relay;
pub(crate) mod scenario;
pub(crate) mod wait;
pub(crate) mod wire;
pub(crate) mod words;

pub(crate) use client::Client;
pub(crate) use fault_proxy::{Fault, FaultProxy};
pub(crate) use lockside::{Settings, Subject, direct};
pub(crate) use monitor::Monitor;
pub(crate) use redis::Redis;
pub(crate) use relay::{Relay, Trouble};
pub(crate) use wait::{PATIENCE, poll_for, wait_until};

//! Timestamps and nonces for stored values (SPEC 4).

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Clock;
use crate::lock::value::{self, Stamp, Unique};

/// Stamps values with the time in the configured time zone.
#[derive(Debug, Clone)]
pub struct Stamper {
    zone: TimeZone,
}

impl Stamper {
    /// Timestamps will be written in `zone`.
    pub fn new(zone: TimeZone) -> Self {
        Self { zone }
    }

    /// The stored form of a client's value, unique to this call where the value itself is not.
    pub fn stamp(&self, client_value: &[u8], mode: Stamp, clock: &Clock) -> Arc<[u8]> {
        if value::stays(client_value, mode) {
            return Arc::from(client_value);
        }
        Arc::from(&*value::stamp(client_value, mode, &self.unique(clock)))
    }

    /// The time and the random bits of one stamp.
    pub fn unique(&self, clock: &Clock) -> Unique {
        let timestamp = self.timestamp(clock.unix_ms());
        // The text is made by `timestamp`, which always has the shape that `Unique` wants.
        Unique::new(&timestamp, clock.random()).unwrap_or_else(|| unreachable!("{timestamp}"))
    }

    /// The marker of a grant that is made without Redis (SPEC 6).
    pub fn marker(&self, worker: &str, clock: &Clock) -> Arc<str> {
        let (timestamp, random) = (self.timestamp(clock.unix_ms()), clock.random());
        format!("DEGRADED:{worker}:{timestamp}:{random:016x}").into()
    }

    /// When a stored value was stamped, in milliseconds since the Unix epoch, if it says so.
    pub fn read_timestamp(&self, stored: &[u8]) -> Option<u64> {
        let text = value::stamped_at(stored)?;
        let civil = jiff::civil::DateTime::strptime("%d-%m-%Y %H:%M:%S", text).ok()?;
        let at = self.zone.to_timestamp(civil).ok()?.as_millisecond();
        u64::try_from(at).ok()
    }

    /// `DD-MM-YYYY HH:MM:SS` in the configured time zone.
    pub fn timestamp(&self, unix_ms: u64) -> String {
        let at = i64::try_from(unix_ms)
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .unwrap_or(Timestamp::UNIX_EPOCH)
            .to_zoned_datetime(self.zone.clone());
        format!(
            "{:02}-{:02}-{:04} {:02}:{:02}:{:02}",
            at.day(),
            at.month(),
            at.year(),
            at.hour(),
            at.minute(),
            at.second()
        )
    }
}

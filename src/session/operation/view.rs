//! Values of locks as their clients wrote them (SPEC 4).

use crate::lock::value;
use crate::resp::encode;
use crate::resp::reply::{Kind, Reply};
use crate::session::Shared;

/// Writes a reply with the values of lock keys stripped: `keys` has one entry for a single value,
/// or one for each element of an array; `None` where the element belongs to no lock.
pub(super) fn show(frame: &[u8], keys: &[Option<Vec<u8>>], shared: &Shared, out: &mut Vec<u8>) {
    match Reply::parse(frame) {
        Some((Reply::Aggregate { kind: Kind::Array, count, .. }, _)) => {
            let Some((reply, _)) = Reply::parse(frame) else { return };
            encode::array(out, usize::try_from(count).unwrap_or(usize::MAX));
            let keys = keys.iter().chain(std::iter::repeat(&None));
            for (element, key) in reply.elements().zip(keys) {
                show_one(element, key.as_deref(), shared, out);
            }
        }
        _ => show_one(frame, keys.first().and_then(|key| key.as_deref()), shared, out),
    }
}

fn show_one(frame: &[u8], key: Option<&[u8]>, shared: &Shared, out: &mut Vec<u8>) {
    match (Reply::parse(frame), key) {
        (Some((Reply::Bulk(stored), _)), Some(key)) => {
            encode::bulk(out, value::strip(stored, shared.stamp_of(key)));
        }
        _ => out.extend_from_slice(frame),
    }
}

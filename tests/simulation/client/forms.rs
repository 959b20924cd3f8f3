//! In which words a client asks for its locks, and what it is told: SET, MSETNX, MULTI, and the
//! scripts of lock libraries, by their text or by their SHA1.

use lockside::lock::envelope::sha1_hex;
use lockside::resp::reply::Reply;

use crate::clock::Rng;
use crate::process::Fleet;

/// aioredlock and many others: one key.
const SET: &str = "return redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])";

/// node-redlock: all keys or none.
const ALL: &str = "
    for i, key in ipairs(KEYS) do
        if redis.call('exists', key) == 1 then return 0 end
    end
    for i, key in ipairs(KEYS) do redis.call('set', key, ARGV[1], 'PX', ARGV[2]) end
    return #KEYS";

/// Compare and delete; so many keys were the client's.
pub(crate) const RELEASE: &str = "
    local count = 0
    for i, key in ipairs(KEYS) do
        if redis.call('get', key) == ARGV[1] then
            redis.call('del', key)
            count = count + 1
        end
    end
    return count";

/// python-redis-lock: looks at what is left before it asks for more.
const EXTEND: &str = "
    if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
    local left = redis.call('pttl', KEYS[1])
    if left < 0 then return 0 end
    return redis.call('pexpire', KEYS[1], left + ARGV[2])";

/// node-redlock: so much from now on.
const PROLONG: &str = "
    if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
    return redis.call('pexpire', KEYS[1], ARGV[2])";

/// A script by which a client asks for more time.
pub(crate) fn extend(fleet: Fleet) -> &'static str {
    if fleet == Fleet::Ttl { PROLONG } else { EXTEND }
}

/// How a client asks for its locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `SET NX` of one key.
    Set,
    /// A script that takes one key.
    SetScript,
    /// A script that takes all keys or none.
    AllScript,
    /// `MSETNX`.
    Msetnx,
    /// `MULTI`, a `SET NX` for each key, `EXEC`: each for itself.
    Multi,
}

/// What a client is told of one of its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Granted,
    No,
    Unknown,
}

impl Form {
    /// One that can take so many keys.
    pub(crate) fn draw(rng: &mut Rng, keys: usize) -> Self {
        match keys {
            1 => *rng.pick(&[Self::Set, Self::Set, Self::SetScript, Self::AllScript, Self::Multi]),
            _ => *rng.pick(&[Self::AllScript, Self::AllScript, Self::Msetnx, Self::Multi]),
        }
    }

    /// The script, if it is one.
    fn text(self) -> Option<&'static str> {
        match self {
            Self::SetScript => Some(SET),
            Self::AllScript => Some(ALL),
            Self::Set | Self::Msetnx | Self::Multi => None,
        }
    }

    /// What is sent. `knows`: a script is named by its SHA1.
    pub(crate) fn commands(
        self,
        keys: &[Vec<u8>],
        token: &str,
        ttl: u64,
        knows: bool,
        rng: &mut Rng,
    ) -> Vec<Vec<Vec<u8>>> {
        if let Some(text) = self.text() {
            return vec![script(text, keys, &[token, &ttl.to_string()], knows)];
        }
        let set = |key: &Vec<u8>, rng: &mut Rng| {
            let mut words = vec![b"SET".to_vec(), key.clone(), token.into(), b"NX".to_vec()];
            match rng.below(3) {
                0 if ttl.is_multiple_of(1000) => {
                    words.extend([b"EX".to_vec(), (ttl / 1000).to_string().into()]);
                }
                // The TTL of a lock of a persistent rule is not used.
                1 if ttl >= 30_000 => {}
                _ => words.extend([b"PX".to_vec(), ttl.to_string().into()]),
            }
            words
        };
        match self {
            Self::Multi => {
                let sets = keys.iter().map(|key| set(key, rng));
                let all = std::iter::once(vec![b"MULTI".to_vec()]).chain(sets);
                all.chain([vec![b"EXEC".to_vec()]]).collect()
            }
            Self::Msetnx => {
                let pairs = keys.iter().flat_map(|key| [key.clone(), token.into()]);
                vec![std::iter::once(b"MSETNX".to_vec()).chain(pairs).collect()]
            }
            _ => vec![set(&keys[0], rng)],
        }
    }

    /// What the replies say of each key.
    pub(crate) fn read(self, keys: usize, replies: &[Reply<'_>]) -> Vec<Told> {
        let one = |reply: &Reply<'_>| match reply {
            Reply::Simple(b"OK") => Told::Granted,
            Reply::Integer(count) if *count > 0 => Told::Granted,
            Reply::Error(text) if contains(text, b"unknown outcome") => Told::Unknown,
            _ => Told::No,
        };
        let Some((last, before)) = replies.split_last() else { return vec![Told::No; keys] };
        match (self, last) {
            (Self::Multi, Reply::Aggregate { .. }) => {
                last.elements().map(|element| one(&Reply::parse(element).unwrap().0)).collect()
            }
            // MULTI itself may have failed with its link: then each SET was one by itself.
            (Self::Multi, _) => {
                let own = |reply: &Reply<'_>| match one(reply) {
                    Told::No => one(last),
                    told => told,
                };
                before[before.len() - keys..].iter().map(own).collect()
            }
            _ => vec![one(last); keys],
        }
    }
}

/// EVAL, or EVALSHA.
pub(crate) fn script(text: &str, keys: &[Vec<u8>], args: &[&str], knows: bool) -> Vec<Vec<u8>> {
    let name = match knows {
        true => vec![b"EVALSHA".to_vec(), sha1_hex(text.as_bytes()).to_vec()],
        false => vec![b"EVAL".to_vec(), text.into()],
    };
    let count = keys.len().to_string().into_bytes();
    let args = args.iter().map(|arg| arg.as_bytes().to_vec());
    name.into_iter().chain([count]).chain(keys.iter().cloned()).chain(args).collect()
}

pub(crate) fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

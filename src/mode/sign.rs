//! By what an outage shows itself: failed connects, silence, and Redis's own error replies
//! (SPEC 2). Pure.

/// One way in which Redis is not there, or takes no lock writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sign {
    /// A connection was refused, or there is no way to the host.
    Refused,
    /// A connection was not made in time.
    ConnectTimeout,
    /// A connection ended while a reply was due.
    Reset,
    /// No reply in time: a hung process, dropped packets, `CLIENT PAUSE`.
    Silent,
    /// It answers, but lock writes get no reply in time: `CLIENT PAUSE … WRITE`, a slow disk.
    WritesHang,
    /// What answers speaks no RESP.
    NotRedis,
    /// `-LOADING`: the data set is being read.
    Loading,
    /// `-MASTERDOWN`: a replica without its master that answers nothing.
    MasterDown,
    /// `-CLUSTERDOWN`.
    ClusterDown,
    /// `-READONLY`: the node is a replica, for example since a failover.
    ReadOnly,
    /// `-MISCONF`: the data set can't be saved.
    Misconf,
    /// `-OOM`: `maxmemory` is reached and nothing may be evicted.
    OutOfMemory,
    /// `-NOREPLICAS`: fewer replicas than `min-replicas-to-write`.
    NoReplicas,
    /// `-BUSY`: a script runs for longer than `busy-reply-threshold`.
    Busy,
    /// `-ERR max number of clients reached`: says something about this connection alone.
    MaxClients,
}

impl Sign {
    /// All signs.
    pub const ALL: [Self; 15] = [
        Self::Refused,
        Self::ConnectTimeout,
        Self::Reset,
        Self::Silent,
        Self::WritesHang,
        Self::NotRedis,
        Self::Loading,
        Self::MasterDown,
        Self::ClusterDown,
        Self::ReadOnly,
        Self::Misconf,
        Self::OutOfMemory,
        Self::NoReplicas,
        Self::Busy,
        Self::MaxClients,
    ];

    /// What an error reply (code and text, without the `-`) says of Redis's state; none for an
    /// error that concerns its command alone, such as `WRONGTYPE`.
    pub fn of_error(text: &[u8]) -> Option<Self> {
        let code = text.split(|byte| *byte == b' ').next().unwrap_or_default();
        Some(match code {
            b"LOADING" => Self::Loading,
            b"MASTERDOWN" => Self::MasterDown,
            b"CLUSTERDOWN" => Self::ClusterDown,
            b"READONLY" => Self::ReadOnly,
            b"MISCONF" => Self::Misconf,
            b"OOM" => Self::OutOfMemory,
            b"NOREPLICAS" => Self::NoReplicas,
            b"BUSY" => Self::Busy,
            b"ERR" if text.starts_with(b"ERR max number of clients") => Self::MaxClients,
            _ => return None,
        })
    }

    /// True if Redis answers all the same: traffic on other keys goes there, and its errors are
    /// the client's (SPEC 2).
    pub fn is_reachable(self) -> bool {
        match self {
            Self::Refused
            | Self::ConnectTimeout
            | Self::Reset
            | Self::Silent
            | Self::NotRedis
            | Self::Loading
            | Self::MasterDown
            | Self::ClusterDown => false,
            Self::WritesHang
            | Self::ReadOnly
            | Self::Misconf
            | Self::OutOfMemory
            | Self::NoReplicas
            | Self::Busy
            | Self::MaxClients => true,
        }
    }

    /// The label in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Reset => "reset",
            Self::Silent => "timeout",
            Self::WritesHang => "write_timeout",
            Self::NotRedis => "protocol",
            Self::Loading => "loading",
            Self::MasterDown => "masterdown",
            Self::ClusterDown => "clusterdown",
            Self::ReadOnly => "readonly",
            Self::Misconf => "misconf",
            Self::OutOfMemory => "oom",
            Self::NoReplicas => "noreplicas",
            Self::Busy => "busy",
            Self::MaxClients => "max_clients",
        }
    }

    /// What it means, for people: stands behind the upstream's address.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Refused => "refuses connections",
            Self::ConnectTimeout => "does not accept a connection in time",
            Self::Reset => "closes connections",
            Self::Silent => "does not answer in time",
            Self::WritesHang => "answers, but not to writes",
            Self::NotRedis => "does not answer as a Redis",
            Self::Loading => "is loading its data set",
            Self::MasterDown => "has lost its master",
            Self::ClusterDown => "says that its cluster is down",
            Self::ReadOnly => "is a replica and takes no writes",
            Self::Misconf => "takes no writes: it can't save its data set",
            Self::OutOfMemory => "takes no writes: its memory is full",
            Self::NoReplicas => "takes no writes: it has too few replicas",
            Self::Busy => "runs a script and serves nothing else",
            Self::MaxClients => "has no room for another client",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_replies_of_redis() {
        let rows: [(&str, Option<Sign>); 11] = [
            ("LOADING Redis is loading the dataset in memory", Some(Sign::Loading)),
            ("MASTERDOWN Link with MASTER is down", Some(Sign::MasterDown)),
            ("CLUSTERDOWN The cluster is down", Some(Sign::ClusterDown)),
            ("READONLY You can't write against a read only replica.", Some(Sign::ReadOnly)),
            ("MISCONF Redis is configured to save RDB snapshots", Some(Sign::Misconf)),
            ("OOM command not allowed when used memory > 'maxmemory'.", Some(Sign::OutOfMemory)),
            ("NOREPLICAS Not enough good replicas to write.", Some(Sign::NoReplicas)),
            ("BUSY Redis is busy running a script.", Some(Sign::Busy)),
            ("ERR max number of clients reached", Some(Sign::MaxClients)),
            ("BUSYKEY Target key name already exists.", None),
            ("WRONGTYPE Operation against a key", None),
        ];
        for (text, sign) in rows {
            assert_eq!(Sign::of_error(text.as_bytes()), sign, "{text}");
        }
        assert_eq!(Sign::of_error(b""), None);
    }

    #[test]
    fn words_differ() {
        let mut words: Vec<_> = Sign::ALL.iter().map(|sign| sign.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Sign::ALL.len());
    }
}

//! What comes on repair's link, as `repair::link` reads it.

use super::*;
use lockside::lock::envelope::scripts;
use lockside::repair::plan::Found;

impl Process {
    /// The link stands: which run is it?
    pub(crate) fn mender_link_up(&mut self, id: u64) {
        if self.mender.link.as_ref().is_some_and(|link| link.id == id) {
            let mut bytes = Vec::new();
            encode::command(&mut bytes, &[b"INFO", b"server"]);
            self.mender.acts.push(Act::Send(id, bytes));
        }
    }

    /// The link has ended.
    pub(crate) fn mender_link_down(&mut self, id: u64, why: &str) {
        if self.mender.link.as_ref().is_some_and(|link| link.id == id) {
            self.mender_link_failed(why);
            self.mender.at = clock::now();
        }
    }

    pub(super) fn mender_link_failed(&mut self, why: &str) {
        self.mender.drop_link();
        match std::mem::replace(&mut self.mender.waits, Waits::Nothing) {
            Waits::Link(command, run) => {
                self.mender.next_connect = clock::now() + RECONNECT;
                if let Some(run) = run {
                    self.shared.reports.pass_ended(run, false);
                }
                if command.is_some() {
                    self.answered(Answer::Failed("Redis can't be reached".into()));
                }
            }
            Waits::Answer(_) => self.answered(Answer::Failed(why.into())),
            Waits::Counter(run, _) => self.shared.reports.pass_ended(run, false),
            waits => self.mender.waits = waits,
        }
    }

    /// Bytes of Redis.
    pub(crate) fn mender_reply(&mut self, id: u64, bytes: &[u8]) {
        let Some(link) = self.mender.link.as_mut().filter(|link| link.id == id) else { return };
        link.replies.extend_from_slice(bytes);
        let replies = link.replies.clone();
        let Some((reply, _)) = Reply::parse(&replies) else { return };
        link.replies.clear();
        self.mender.at = clock::now();
        match std::mem::replace(&mut self.mender.waits, Waits::Nothing) {
            Waits::Link(command, wanted) => {
                let run = health::run_id(reply.text().unwrap());
                link.run = Some(run.clone());
                self.met(run.clone());
                match (command, wanted) {
                    (_, Some(wanted)) if wanted == run => {
                        self.begin_full(Purpose::Asked, Some(wanted));
                    }
                    (_, Some(wanted)) => self.shared.reports.pass_ended(wanted, false),
                    (Some(command), None) => self.send(command),
                    (None, None) => {}
                }
            }
            Waits::Counter(run, command) => match &reply {
                Reply::Error(text) if text.starts_with(b"NOSCRIPT") => {
                    self.mender.acts.push(Act::Send(id, encoded(&command, true)));
                    self.mender.waits = Waits::Counter(run, command);
                }
                _ => self.shared.reports.pass_ended(run, true),
            },
            Waits::Answer(command) => match &reply {
                Reply::Error(text) if text.starts_with(b"NOSCRIPT") => {
                    self.mender.acts.push(Act::Send(id, encoded(&command, true)));
                    self.mender.waits = Waits::Answer(command);
                }
                Reply::Error(text) => {
                    self.answered(Answer::Refused(String::from_utf8_lossy(text).into()));
                }
                reply => {
                    let answer = read(&command, reply);
                    self.answered(answer);
                }
            },
            waits => self.mender.waits = waits,
        }
    }

    fn met(&mut self, run: Arc<str>) {
        if self.mender.run.as_ref() != Some(&run) {
            self.shared.reports.verify(&run);
            self.mender.run = Some(run);
        }
    }

    fn answered(&mut self, answer: Answer) {
        if let Some(mut frame) = self.mender.frames.pop() {
            frame.pass.answer(answer, &*self.desk);
            self.mender.frames.push(frame);
            self.pause_a_moment();
        }
    }
}

fn read(command: &Command, reply: &Reply<'_>) -> Answer {
    let items: Vec<_> = reply.elements().map(|element| Reply::parse(element).unwrap().0).collect();
    let number = |reply: &Reply<'_>| match reply {
        Reply::Integer(number) => *number,
        other => panic!("{other:?} where repair expects a number"),
    };
    match &command.body {
        Body::Script { script, .. } if script.sha == scripts::LOOK.sha => {
            let found = items.chunks_exact(3).map(|item| {
                let ttl_ms = u64::try_from(number(&item[2])).ok();
                match item[0].text().unwrap() {
                    b"n" => Found::Missing,
                    _ => Found::Value { stored: item[1].text().unwrap().to_vec(), ttl_ms },
                }
            });
            Answer::Found(found.collect())
        }
        Body::Script { .. } => Answer::Marks(items.iter().map(number).collect()),
        Body::Scan { .. } => {
            let cursor = std::str::from_utf8(items[0].text().unwrap()).unwrap().parse().unwrap();
            let keys = items[1]
                .elements()
                .map(|element| Reply::parse(element).unwrap().0.text().unwrap().to_vec());
            Answer::Scanned { cursor, keys: keys.collect() }
        }
    }
}

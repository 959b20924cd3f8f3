//! How requests come in. Pure.

use super::super::{Ask, Asker, Ticket, Unavailable};
use super::request::{Request, Size};
use super::{Committer, QUEUE_BYTES, QUEUE_ROWS};

impl Committer {
    /// As [`super::super::Door::submit`].
    ///
    /// # Errors
    /// Nothing was, and nothing will be written.
    pub fn submit(&mut self, asker: Asker, asks: Vec<Ask>) -> Result<Ticket, Unavailable> {
        self.admit(asker, &asks)?;
        let request = Request::new(Ticket(self.last_ticket + 1), asker, asks);
        self.has_room(request.size())?;
        Ok(self.take_in(request))
    }

    /// As [`super::super::Door::submit_together`].
    ///
    /// # Errors
    /// Nothing was, and nothing will be written.
    pub fn submit_together(
        &mut self,
        asker: Asker,
        requests: Vec<Vec<Ask>>,
    ) -> Result<Vec<Ticket>, Unavailable> {
        requests.iter().try_for_each(|asks| self.admit(asker, asks))?;
        let tickets = (self.last_ticket + 1..).map(Ticket);
        let made = requests.into_iter().zip(tickets);
        let mut made: Vec<_> =
            made.map(|(asks, ticket)| Request::new(ticket, asker, asks)).collect();
        self.has_room(made.iter().map(Request::size).fold(Size::default(), std::ops::Add::add))?;
        let tied = made.len().saturating_sub(1);
        made.iter_mut().take(tied).for_each(|request| request.is_tied = true);
        Ok(made.into_iter().map(|request| self.take_in(request)).collect())
    }

    fn admit(&self, asker: Asker, asks: &[Ask]) -> Result<(), Unavailable> {
        if let (Asker::Session(..), Some(trouble)) = (asker, &self.trouble) {
            return Err(Unavailable::NotAnswering(trouble.clone()));
        }
        if self.is_ending {
            return Err(Unavailable::NotAnswering("it is being closed".into()));
        }
        if self.refuses_grants() && asks.iter().any(|ask| matches!(ask, Ask::Grant(..))) {
            return Err(Unavailable::NotAnswering("Redis does not decide now".into()));
        }
        Ok(())
    }

    fn has_room(&self, more: Size) -> Result<(), Unavailable> {
        let total = self.queue.size() + more;
        let is_full = total.rows + self.lazy.len() > QUEUE_ROWS || total.bytes > QUEUE_BYTES;
        if is_full { Err(Unavailable::Full) } else { Ok(()) }
    }

    fn take_in(&mut self, request: Request) -> Ticket {
        let ticket = request.ticket;
        self.last_ticket = ticket.0;
        if request.is_lazy() {
            self.lazy.extend(request.into_wants());
            return ticket;
        }
        for key in request.releases() {
            *self.releasing.entry(key.clone()).or_default() += 1;
        }
        if let Some(fleet) = &mut self.fleet {
            fleet.submitted(request.parts.iter().map(|part| &part.ask));
        }
        self.queue.push(request);
        ticket
    }
}

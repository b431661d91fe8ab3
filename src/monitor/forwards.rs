//! The forwards of one connection: what the ssh process asks for, by its number and by init's. Their
//! sockets pass through; how many bytes went over one, the ssh process says.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use tracing::{info, warn};

use crate::account::{Event, Refusals};
use crate::base::{escape, escape_to, fail};
use crate::sys::{Errno, random};
use crate::wire::forward::{Kind, MAX_FORWARDS, MAX_LISTENERS, NoForward, Place, Target};
use crate::wire::init::{Open, Order};
use crate::wire::login::Reply;

use super::cell::Unsent;
use super::serve::Served;
use super::ssh::End;

/// Longest name of whoever connected that is kept: an address and a port.
const MAX_PEER: usize = 64;

/// Between two lines that say how many forwards have none: these are outside of the allowance.
const PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug)]
enum State {
    /// init was asked. Kept to ask once more if the cell ends before it answers.
    Asked(Option<Box<Open>>),
    /// It is open.
    Open,
    /// The ssh process gave it up before init answered.
    Left,
}

/// Whether the ssh process has the sockets.
enum Taken {
    Yes,
    No,
}

/// What is forwarded, or listened for.
#[derive(Debug)]
struct Forward {
    /// The ssh process's number.
    number: u32,
    kind: Kind,
    listens: bool,
    /// For the audit file: escaped.
    target: String,
    peer: Option<String>,
    state: State,
    since: Instant,
    /// The variables that lead to it.
    variables: Vec<(&'static str, String)>,
}

/// Forwards by init's number.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    next: u64,
    by_number: BTreeMap<u64, Forward>,
    refusals: Refusals,
    /// Of those that ended, how many have no line, and when that was said last.
    unlisted: u64,
    said: Option<Instant>,
    /// Of the agent, for every session; and of the newest display, for the next.
    agent: Vec<(&'static str, String)>,
    display: Vec<(&'static str, String)>,
}

impl Forwards {
    /// The variables of a session that starts now.
    pub(super) fn variables(&mut self) -> Vec<(&'static str, String)> {
        self.agent.iter().cloned().chain(std::mem::take(&mut self.display)).collect()
    }

    fn count(&self, listens: bool) -> usize {
        self.by_number.values().filter(|forward| forward.listens == listens).count()
    }

    fn find(&self, number: u32) -> Option<u64> {
        self.by_number.iter().find(|(_, forward)| forward.number == number).map(|(own, _)| *own)
    }

    /// A number for init that was not used before.
    fn number(&mut self) -> u64 {
        self.next = self.next.saturating_add(1);
        self.next
    }
}

fn forward(number: u32, kind: Kind, listens: bool, target: &str, peer: Option<&str>) -> Forward {
    let peer = peer.map(|peer| escape_to(MAX_PEER, peer));
    let (state, variables) = (State::Asked(None), Vec::new());
    Forward { number, kind, listens, target: escape(target), peer, state, since: Instant::now(), variables }
}

impl Served<'_> {
    pub(super) fn connect(&mut self, number: u32, target: Target, peer: &str) -> Result<(), End> {
        let asked = forward(number, target.kind(), false, &target.to_string(), Some(peer));
        self.unused(number)?;
        if self.forwards.count(false) >= MAX_FORWARDS {
            return self.no_forward(&asked, NoForward::TooMany, "the connection has too many forwards");
        }
        let own = self.forwards.number();
        match self.grant.connect(own, target) {
            Ok(open) => self.ask_to_open(asked, open),
            Err(why) => self.no_forward(&asked, NoForward::Prohibited, why),
        }
    }

    pub(super) fn listen(&mut self, number: u32, place: Place) -> Result<(), End> {
        let mut asked = forward(number, place.kind(), true, &place.to_string(), None);
        self.unused(number)?;
        if self.forwards.count(true) >= MAX_LISTENERS {
            return self.no_forward(&asked, NoForward::TooMany, "the connection has too many listeners");
        }
        let own = self.forwards.number();
        // As sshd names it: nobody else in the cell can know it, or make it first.
        let secret = random::bytes::<8>().map_err(|errno| End::Failed(fail("making a name", "", errno).to_string()))?;
        let directory = format!("/tmp/ssh-{:016x}", u64::from_be_bytes(secret));
        let name = format!("agent.{own}");
        asked.variables = match &place {
            Place::Agent => vec![("SSH_AUTH_SOCK", format!("{directory}/{name}"))],
            Place::Display { screen, .. } => {
                vec![("DISPLAY", screen.to_string()), ("XAUTHORITY", format!("{directory}/Xauthority"))]
            }
            Place::Tcp { .. } | Place::Unix { .. } => Vec::new(),
        };
        match self.grant.listen(own, place, &directory, &name) {
            Ok(open) => self.ask_to_open(asked, open),
            Err(why) => self.no_forward(&asked, NoForward::Prohibited, why),
        }
    }

    /// Two of one number could not be told apart.
    fn unused(&self, number: u32) -> Result<(), End> {
        match self.forwards.find(number) {
            None => Ok(()),
            Some(_) => Err(End::OutOfTurn("a forward with a number that is in use")),
        }
    }

    fn ask_to_open(&mut self, mut asked: Forward, open: Open) -> Result<(), End> {
        let again = Some(Box::new(open.clone()));
        let own = open.forward;
        let order = Order::Open(Box::new(open));
        let sent = self.send_to_this_or_the_next(&order)?;
        asked.state = State::Asked(again);
        self.await_answer(sent, own, asked)
    }

    /// `asked` is open or refused when init says so, if it was told.
    fn await_answer(&mut self, sent: Result<(), Unsent>, own: u64, asked: Forward) -> Result<(), End> {
        match sent {
            Ok(()) => {
                self.forwards.by_number.insert(own, asked);
                Ok(())
            }
            Err(Unsent::Link(why)) => self.no_forward(&asked, NoForward::Failed, &format!("init: {why}")),
            Err(Unsent::NoCell(failure)) => self.no_forward(&asked, NoForward::Failed, &failure.to_string()),
        }
    }

    /// Somebody connected to a listener. One that is gone meanwhile is none of ours any more.
    pub(super) fn accepted(&mut self, number: u32, listener: u32, peer: &str) -> Result<(), End> {
        self.unused(number)?;
        if self.forwards.count(false) >= MAX_FORWARDS {
            return Err(End::OutOfTurn("more forwards than it may"));
        }
        let Some(listener) = self.forwards.find(listener).and_then(|own| self.forwards.by_number.get(&own)) else {
            return Ok(());
        };
        let mut accepted = forward(number, listener.kind, false, "", Some(peer));
        accepted.target.clone_from(&listener.target);
        accepted.state = State::Open;
        let own = self.forwards.number();
        self.forwards.by_number.insert(own, accepted);
        Ok(())
    }

    /// The ssh process has closed its end.
    pub(super) fn forward_ended(&mut self, number: u32, bytes: (u64, u64)) -> Result<(), End> {
        let Some(own) = self.forwards.find(number) else { return Ok(()) };
        let Some(forward) = self.forwards.by_number.get_mut(&own) else { return Ok(()) };
        if let State::Asked(_) = forward.state {
            forward.state = State::Left;
            return Ok(());
        }
        let Some(forward) = self.forwards.by_number.remove(&own) else { return Ok(()) };
        self.forward_receipt(&forward, Some(bytes));
        self.close_listener(own, &forward)
    }

    fn close_listener(&mut self, own: u64, forward: &Forward) -> Result<(), End> {
        if !forward.listens {
            return Ok(());
        }
        if forward.kind == Kind::Agent {
            self.forwards.agent.clear();
        }
        match self.cell.as_ref().map(|cell| cell.link.send(&Order::Close { forward: own })) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(_gone)) => self.cell_gone(),
        }
    }

    /// Hands on what init has opened, or has it closed.
    pub(super) fn opened(&mut self, own: u64, number: u16, fds: Vec<OwnedFd>) -> Result<(), End> {
        let handed_on = self.hand_on(own, number, &fds);
        if !matches!(handed_on, Ok(Taken::Yes)) {
            self.unwanted.part_with(fds);
        }
        handed_on.map(|_taken| ())
    }

    fn hand_on(&mut self, own: u64, number: u16, fds: &[OwnedFd]) -> Result<Taken, End> {
        let Some(forward) = self.forwards.by_number.get_mut(&own) else {
            return self.distrust("Opened").map(|()| Taken::No);
        };
        let fits = match (forward.listens, fds.len()) {
            (_, 1) => true,
            (listens, 2) => listens,
            _ => false,
        };
        match forward.state {
            State::Asked(_) if fits => {}
            State::Left if fits => {
                let Some(forward) = self.forwards.by_number.remove(&own) else { return Ok(Taken::No) };
                return self.close_listener(own, &forward).map(|()| Taken::No);
            }
            State::Asked(_) | State::Open | State::Left => return self.distrust("Opened").map(|()| Taken::No),
        }
        forward.state = State::Open;
        let mut variables = std::mem::take(&mut forward.variables);
        match forward.kind {
            Kind::Agent => self.forwards.agent = variables,
            Kind::X11 => {
                // The screen was known before, the display is now.
                if let Some((_, display)) = variables.iter_mut().find(|(name, _)| *name == "DISPLAY") {
                    *display = format!(":{number}.{display}");
                }
                self.forwards.display = variables;
            }
            Kind::DirectTcp | Kind::DirectUnix | Kind::Tcp | Kind::Unix => {}
        }
        let reply = Reply::ForwardOpened { forward: forward.number, port: number };
        let fds: Vec<_> = fds.iter().map(std::os::fd::AsFd::as_fd).collect();
        self.ssh.reply(&reply, &fds).map(|()| Taken::Yes)
    }

    pub(super) fn not_opened(&mut self, own: u64, step: &str, errno: i32) -> Result<(), End> {
        let Some(forward) = self.forwards.by_number.remove(&own) else { return self.distrust("NotOpened") };
        let why = format!("{}: {}", escape(step), Errno::from_raw(errno));
        match forward.state {
            State::Left => Ok(()),
            State::Asked(_) | State::Open => self.no_forward(&forward, NoForward::Failed, &why),
        }
    }

    fn no_forward(&mut self, forward: &Forward, why: NoForward, reason: &str) -> Result<(), End> {
        if let Some(unlisted) = self.forwards.refusals.list() {
            let (kind, tenant) = (forward.kind.name(), self.grant.name());
            warn!("{} {tenant}: {kind} {} refused: {reason}", self.conn.id, forward.target);
            let refused = Event::ForwardRefused {
                connection: self.conn.id,
                tenant,
                kind,
                target: &forward.target,
                peer: forward.peer.as_deref(),
                reason: reason.to_owned(),
                unlisted,
            };
            if !self.house.record_within(tenant, &refused) {
                self.forwards.refusals.take_back(unlisted);
            }
        }
        self.ssh.reply(&Reply::ForwardRefused { forward: forward.number, why }, &[])
    }

    /// `bytes`: into the cell and out of it; `None`: the ssh process ended before it could say.
    fn forward_receipt(&mut self, forward: &Forward, bytes: Option<(u64, u64)>) {
        let (connection, tenant) = (self.conn.id, self.grant.name());
        let (kind, target, seconds) = (forward.kind.name(), forward.target.as_str(), forward.since.elapsed().as_secs());
        let event = if forward.listens {
            Event::ListenEnd { connection, tenant, kind, target, seconds }
        } else {
            let (peer, to_cell, to_client) = (forward.peer.as_deref(), bytes.map(|b| b.0), bytes.map(|b| b.1));
            Event::ForwardEnd { connection, tenant, kind, target, peer, to_cell, to_client, seconds }
        };
        if !self.house.record_within(tenant, &event) {
            self.forwards.unlisted = self.forwards.unlisted.saturating_add(1);
            if self.forwards.said.is_none_or(|said| said.elapsed() >= PAUSE) {
                self.say_unlisted_forwards();
            }
        }
    }

    fn say_unlisted_forwards(&mut self) {
        self.forwards.said = Some(Instant::now());
        let forwards = std::mem::take(&mut self.forwards.unlisted);
        if forwards > 0 {
            let (connection, tenant) = (self.conn.id, self.grant.name());
            self.house.audit.record(&Event::ForwardsUnlisted { connection, tenant, forwards });
        }
    }

    /// The cell ended: what was open in it is closed, what it had not begun is asked for once more.
    pub(super) fn forwards_gone(&mut self) -> Result<(), End> {
        // Nobody waits for these, and nobody will answer.
        self.forwards.by_number.retain(|_, forward| !matches!(forward.state, State::Left));
        let asked: Vec<u64> = self
            .forwards
            .by_number
            .iter()
            .filter(|(_, forward)| matches!(forward.state, State::Asked(_)))
            .map(|(own, _)| *own)
            .collect();
        if self.forwards.by_number.len() > asked.len() {
            self.forwards.agent.clear();
            self.forwards.display.clear();
            // Answered by a `ForwardEnded` for each.
            self.ssh.reply(&Reply::ForwardsGone, &[])?;
        }
        for own in asked {
            let Some(mut forward) = self.forwards.by_number.remove(&own) else { continue };
            let State::Asked(again) = std::mem::replace(&mut forward.state, State::Asked(None)) else { continue };
            match again {
                Some(mut open) => {
                    info!("{} {}: the cell ended just then; trying the next one", self.conn.id, self.grant.name());
                    open.forward = self.forwards.number();
                    let own = open.forward;
                    let sent = self.send(&Order::Open(open));
                    self.await_answer(sent, own, forward)?;
                }
                None => self.no_forward(&forward, NoForward::Failed, "the cell ended")?,
            }
        }
        Ok(())
    }

    /// The connection has ended: what the ssh process did not report.
    pub(super) fn wind_up_forwards(&mut self) {
        for forward in std::mem::take(&mut self.forwards.by_number).into_values() {
            if let State::Open = forward.state {
                self.forward_receipt(&forward, None);
            }
        }
        self.say_unlisted_forwards();
    }
}

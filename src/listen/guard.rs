//! Who is turned away before a process is forked for them, and what is written down about it.

use std::{net::SocketAddr, os::fd::BorrowedFd, time::Instant};

use tracing::{debug, info, warn};

use crate::account::{Audit, Event, Refusals};
use crate::base::Block;
use crate::config::settings::Server;
use crate::sys::{net, random};
use crate::wire::control::{Answer, MAX_PENALTIES, Penalty};

use super::callers::Callers;
use super::monitors::News;
use super::penalties::{Penalised, Refused, Source};
use super::startups::Counts;

/// What the listener remembers of strangers.
#[derive(Debug, Default)]
pub(super) struct Guard {
    penalised: Penalised,
    refusals: Refusals,
    starts: Refusals,
    callers: Refusals,
}

impl Guard {
    /// Whom a connection counts for, under the config of this moment.
    pub(super) fn block(server: &Server, peer: SocketAddr) -> Block {
        Block::around(peer.ip(), server.penalties.netblock4, server.penalties.netblock6)
    }

    /// Whether a connection from `peer` may be served; if not, it is told, and that is written down.
    pub(super) fn admits(
        &mut self,
        server: &Server,
        counts: &Counts,
        connection: BorrowedFd<'_>,
        peer: SocketAddr,
        audit: &mut Audit,
    ) -> bool {
        let source = Source::Address(peer.ip());
        let reason = if self.penalised.refuses(&server.penalties, source, Instant::now()) {
            "penalty"
        } else if let Err(full) = counts.judge(server, Self::block(server, peer), draw()) {
            full.reason()
        } else {
            return true;
        };
        // sshd's words. Best effort: nothing is owed to a connection that is not taken.
        if let Err(errno) = net::send_now(connection, b"Not allowed at this time\r\n") {
            debug!("telling {peer} that it is refused: {errno}");
        }
        if let Some(unlisted) = self.refusals.list() {
            info!("connection from {peer} refused: {reason}");
            audit.record(&Event::ConnectionRefused { peer, reason, unlisted });
        }
        false
    }

    /// Whether a process of this host may be attended to; if not, that is written down.
    pub(super) fn admits_caller(&mut self, server: &Server, callers: &Callers, uid: u32, audit: &mut Audit) -> bool {
        let now = Instant::now();
        let reason = if self.penalised.refuses(&server.penalties, Source::Account(uid), now) {
            "penalty"
        } else if let Err(reason) = callers.judge(server, uid, draw, now) {
            reason
        } else {
            return true;
        };
        if let Some(unlisted) = self.callers.list() {
            info!("caller of uid {uid} turned away: {reason}");
            audit.record(&Event::CallerTurnedAway { uid, reason, unlisted });
        }
        false
    }

    /// Takes in how connections ended, or that somebody logged in.
    pub(super) fn learn(&mut self, server: &Server, news: Vec<News>, audit: &mut Audit) {
        let now = Instant::now();
        for (source, outcome) in news {
            let Some(outcome) = outcome else {
                self.penalised.forgive(&server.penalties, source, now);
                continue;
            };
            let started = self.penalised.add(&server.penalties, source, outcome, now);
            let Some(Refused { origin, cause, left }) = started else { continue };
            if let Some(unlisted) = self.starts.list() {
                let (source, cause, seconds) = (origin.to_string(), cause.name(), left.as_secs());
                warn!("connections from {source} are refused for {seconds} s, at last for {cause}");
                audit.record(&Event::PenaltyStart { source, cause, seconds, unlisted });
            }
        }
    }

    /// Who is turned away, for `cellblock list`.
    pub(super) fn answer(&self) -> Answer {
        let (refused, count) = self.penalised.refused(Instant::now(), MAX_PENALTIES);
        let penalties =
            refused.into_iter().map(|Refused { origin, cause, left }| Penalty { source: origin, cause, left });
        Answer::Penalties { penalties: penalties.collect(), count: u64::try_from(count).unwrap_or(u64::MAX) }
    }
}

/// For `max_startups`.
fn draw() -> u32 {
    random::bytes::<4>().map_or(0, u32::from_ne_bytes)
}

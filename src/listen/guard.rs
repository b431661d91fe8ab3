//! Who is turned away before a process is forked for them, and what is written down about it.

use std::{net::SocketAddr, os::fd::BorrowedFd, time::Instant};

use tracing::{debug, info, warn};

use crate::account::{Audit, Event, Refusals};
use crate::base::Block;
use crate::config::settings::Server;
use crate::sys::{net, random};
use crate::wire::control::{Answer, MAX_PENALTIES, Penalty};

use super::monitors::News;
use super::penalties::{Penalised, Refused};
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
        let draw = random::bytes::<4>().map_or(0, u32::from_ne_bytes);
        let reason = if self.penalised.refuses(&server.penalties, peer.ip(), Instant::now()) {
            "penalty"
        } else if let Err(full) = counts.judge(server, Self::block(server, peer), draw) {
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

    /// A process of this host was turned away: writes it down.
    pub(super) fn turned_away(&mut self, uid: u32, reason: &'static str, audit: &mut Audit) {
        if let Some(unlisted) = self.callers.list() {
            info!("caller of uid {uid} turned away: {reason}");
            audit.record(&Event::CallerTurnedAway { uid, reason, unlisted });
        }
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
            let Some(Refused { block, cause, left }) = started else { continue };
            if let Some(unlisted) = self.starts.list() {
                let (source, cause, seconds) = (block.to_string(), cause.name(), left.as_secs());
                warn!("connections from {source} are refused for {seconds} s, at last for {cause}");
                audit.record(&Event::PenaltyStart { source, cause, seconds, unlisted });
            }
        }
    }

    /// Who is turned away, for `cellblock list`.
    pub(super) fn answer(&self) -> Answer {
        let (refused, count) = self.penalised.refused(Instant::now(), MAX_PENALTIES);
        let penalties =
            refused.into_iter().map(|Refused { block, cause, left }| Penalty { source: block, cause, left });
        Answer::Penalties { penalties: penalties.collect(), count: u64::try_from(count).unwrap_or(u64::MAX) }
    }
}

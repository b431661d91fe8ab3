//! From a fresh ssh process to an identity, or to the end.

use std::{mem, time::Instant};

use jiff::Timestamp;
use tracing::{error, info};

use crate::account::Event;
use crate::auth::{
    Claim, Refused, certified_fingerprint, even_out, even_out_list, even_out_password, fingerprint, prove,
    prove_certificate, prove_password,
};
use crate::base::{Secret, escape, escape_to};
use crate::config::settings::Tenant;
use crate::policy::Identity;
use crate::wire::login::{Method, Reply, Request, Setup, TriedMethod};

use super::dialogue::Dialogue;
use super::pam::Pam;
use super::phase::Phase;
use super::pipeline::{Conn, House};
use super::progress::{Progress, Proved};
use super::ssh::{End, Ssh};

/// Offers that one connection may make for every failure that it may have: accepted offers are no
/// failures, and a client makes one before each signature.
const OFFERS_PER_TRY: u32 = 2;

/// Longest name that was tried in the audit file: twice what a tenant's can have.
const MAX_USER: usize = 64;

/// What is known of a try that the SSH library refused by itself, whose name and method it keeps.
const UNASKED: &str = "no such method, a wrong signature, a certificate out of date or a password to be changed";

/// Waits until somebody is proved to be there. Everyone gets the same words, whatever is wrong.
pub(super) fn wait_for_identity(ssh: &mut Ssh, conn: &Conn, house: &mut House) -> Result<Proved, End> {
    let deadline = conn.accepted + house.login_grace;
    let mut door = Login {
        tries: Tries { failed: 0, offers: 0, listed: false, most: house.setup.max_auth_tries },
        progress: Progress::default(),
        dialogue: None,
        deadline,
        ssh,
        conn,
        house,
    };
    loop {
        if door.tries.are_over() {
            return Err(End::Tries);
        }
        let request = door.ssh.wait(deadline, door.house.told())?;
        if let Some(proved) = door.answer(request)? {
            return Ok(proved);
        }
    }
}

/// A connection that nobody is logged in to.
pub(super) struct Login<'a> {
    tries: Tries,
    pub(super) progress: Progress,
    /// What keyboard-interactive has asked and is not yet answered.
    pub(super) dialogue: Option<Dialogue>,
    pub(super) deadline: Instant,
    pub(super) ssh: &'a mut Ssh,
    pub(super) conn: &'a Conn,
    pub(super) house: &'a mut House,
}

impl Login<'_> {
    fn answer(&mut self, request: Request) -> Result<Option<Proved>, End> {
        let started = Instant::now();
        // What was refused unasked may be of before the questions.
        if !matches!(request, Request::Answers { .. } | Request::RefusedUnasked { .. }) {
            self.abandon();
        }
        match request {
            Request::Confined => {
                self.ssh.enter(Phase::LoggingIn);
                // From here on the keys are in the process that uses them, and in the listener.
                let host_keys = mem::take(&mut self.house.setup.host_keys);
                let setup = Setup { host_keys, ..self.house.setup.clone() };
                self.ssh.reply(&Reply::Setup(Box::new(setup)), &[])?;
            }
            Request::OfferKey { user, key } => {
                self.tries.offers = self.tries.offers.saturating_add(1);
                let certified = self.house.certificates;
                match self.judge_key(&user, &key, certified) {
                    Err(refused) if !certified || refused == Refused::NotInTurn => {
                        let key = Some(fingerprint(&key));
                        self.refuse(&user, Method::PublicKey.name(), key, &refused.to_string());
                        self.say_no(&user, started, even_out)?;
                    }
                    // Any may be the key of a certificate, which is seen only when it has signed: one that is
                    // authorized is answered as late as one that is not.
                    Ok(_) | Err(_) => {
                        if certified {
                            even_out(started);
                        }
                        self.ssh.reply(&Reply::KeyAcceptable, &[])?;
                    }
                }
            }
            Request::LogIn { user, key } => match self.judge_key(&user, &key, false) {
                Ok(proved) => return self.pass(Method::PublicKey, &user, proved, None),
                Err(refused) => {
                    let key = Some(fingerprint(&key));
                    self.refuse(&user, Method::PublicKey.name(), key, &refused.to_string());
                    self.say_no(&user, started, even_out)?;
                }
            },
            Request::Password { user, password } => match self.judge_password(&user, &password) {
                Ok(proved) => return self.pass(Method::Password, &user, proved, None),
                Err(refused) => {
                    self.refuse(&user, Method::Password.name(), None, &refused.to_string());
                    let even = if refused == Refused::NotInTurn { even_out } else { even_out_password };
                    self.say_no(&user, started, even)?;
                }
            },
            Request::LogInByCertificate { user, certificate } => match self.judge_certificate(&user, &certificate) {
                Ok(proved) => return self.pass(Method::PublicKey, &user, proved, None),
                Err(refused) => {
                    let key = Some(certified_fingerprint(&certificate));
                    self.refuse(&user, "certificate", key, &refused.to_string());
                    self.say_no(&user, started, even_out)?;
                }
            },
            Request::KeyboardInteractive { user } => return self.begin(user, started),
            Request::Answers { user, answers } => return self.hear(&user, answers, started),
            Request::TriedMethod { user, method } => {
                if let Some(name) = self.tries.name(method) {
                    self.refuse(&user, name, None, "method is not offered");
                }
                self.say_no(&user, started, even_out_list)?;
            }
            Request::RefusedUnasked { tries } => self.count_unasked(tries),
            Request::GaveUp { why } => return Err(End::GaveUp(why)),
            // The table of phases lets none of these through before somebody is logged in.
            Request::StartSession { .. } | Request::SignalSession { .. } | Request::LeaveSession { .. } => {
                return Err(End::OutOfTurn("session request"));
            }
            Request::Connect { .. }
            | Request::Listen { .. }
            | Request::Accepted { .. }
            | Request::ForwardEnded { .. } => return Err(End::OutOfTurn("request for a forward")),
            Request::Note { .. } => {}
        }
        Ok(None)
    }

    /// `user` passed `method`: that was all, or there is more to come.
    pub(super) fn pass(
        &mut self,
        method: Method,
        user: &str,
        proved: (Identity, Tenant),
        pam: Option<Pam>,
    ) -> Result<Option<Proved>, End> {
        let Some(mut all) = self.progress.pass(method, proved, pam) else {
            info!("{} \"{}\" passed {}; more is asked for", self.conn.id, escape(user), method.name());
            let next = self.progress.next(user, self.house);
            self.ssh.reply(&Reply::LoginRefused { next, partial: true }, &[])?;
            return Ok(None);
        };
        match self.check_account(&mut all)? {
            Ok(()) => Ok(Some(all)),
            Err(refused) => {
                self.refuse(user, method.name(), None, &refused.to_string());
                self.progress = Progress::default();
                let next = self.progress.next(user, self.house);
                self.ssh.reply(&Reply::LoginRefused { next, partial: false }, &[])?;
                Ok(None)
            }
        }
    }

    /// Refuses what came at `started`. What the answer holds is looked up first: that takes longer for a tenant
    /// than for nobody.
    pub(super) fn say_no(&mut self, user: &str, started: Instant, even: fn(Instant)) -> Result<(), End> {
        let next = self.progress.next(user, self.house);
        even(started);
        self.ssh.reply(&Reply::LoginRefused { next, partial: false }, &[])
    }

    /// See [`prove`] for `to_the_end`.
    fn judge_key(&mut self, user: &str, key: &[u8], to_the_end: bool) -> Result<(Identity, Tenant), Refused> {
        self.is_turn_of(Method::PublicKey, user)?;
        report(self.house, prove(&self.claim(user, key), &*self.house.tenant, &*self.house.key_lines, to_the_end))
    }

    fn judge_certificate(&mut self, user: &str, certificate: &[u8]) -> Result<(Identity, Tenant), Refused> {
        self.is_turn_of(Method::PublicKey, user)?;
        let claim = self.claim(user, certificate);
        report(self.house, prove_certificate(&claim, &*self.house.tenant, &*self.house.key_lines))
    }

    fn claim<'a>(&self, user: &'a str, key: &'a [u8]) -> Claim<'a> {
        Claim { user, key, peer: self.conn.ends.peer.ip(), now: Timestamp::now().as_second() }
    }

    /// Whether `user` is asked for this now. Elsewhere nothing is looked for, computed or started, for tenants or not:
    /// the answer, or its time, would tell of what there is.
    pub(super) fn is_turn_of(&mut self, method: Method, user: &str) -> Result<(), Refused> {
        let in_turn = self.progress.next(user, self.house).contains(&method);
        in_turn.then_some(()).ok_or(Refused::NotInTurn)
    }

    fn judge_password(&mut self, user: &str, password: &Secret) -> Result<(Identity, Tenant), Refused> {
        self.is_turn_of(Method::Password, user)?;
        let judged = match self.house.hashing.wait() {
            Ok(_leave) => prove_password(user, password, self.conn.ends.peer.ip(), &*self.house.tenant),
            Err(failure) => Err(Refused::Config(failure.to_string())),
        };
        report(self.house, judged)
    }

    /// Counts tries that the SSH library refused by itself; more than are left make no difference.
    fn count_unasked(&mut self, tries: u32) {
        for _ in 0..tries.min(self.tries.left()) {
            self.refuse("", "other", None, UNASKED);
        }
    }

    /// Counts a failure, and writes it down.
    pub(super) fn refuse(&mut self, user: &str, method: &'static str, key: Option<String>, reason: &str) {
        self.tries.failed = self.tries.failed.saturating_add(1);
        self.house.tally.failed();
        let (conn, user) = (self.conn, escape_to(MAX_USER, user));
        info!("{} login refused for \"{user}\" from {}: {reason}", conn.id, conn.ends.peer);
        self.house.audit.record(&Event::LoginRefused {
            connection: &conn.id,
            peer: conn.ends.peer,
            user,
            method,
            key,
            reason: reason.to_owned(),
        });
    }
}

/// What is wrong with ourselves is for the admin; whether the name was nobody's counts for what this
/// connection is penalised by.
pub(super) fn report<T>(house: &House, judged: Result<T, Refused>) -> Result<T, Refused> {
    if let Err(refused) = &judged {
        house.tally.named_nobody(matches!(refused, Refused::Name(_) | Refused::Unknown));
    }
    if let Err(Refused::Config(why)) = &judged {
        error!("{why}");
    }
    judged
}

struct Tries {
    failed: u32,
    offers: u32,
    /// Whether the list of methods was asked for.
    listed: bool,
    most: u32,
}

impl Tries {
    fn are_over(&self) -> bool {
        self.failed >= self.most || self.offers > self.most.saturating_mul(OFFERS_PER_TRY)
    }

    fn left(&self) -> u32 {
        self.most.saturating_sub(self.failed)
    }

    /// What to call a try of `method`. `None`: clients ask for the list of methods this way, and once
    /// that is no try.
    fn name(&mut self, method: TriedMethod) -> Option<&'static str> {
        match method {
            TriedMethod::None => mem::replace(&mut self.listed, true).then_some("none"),
            TriedMethod::Certificate => Some("certificate"),
        }
    }
}

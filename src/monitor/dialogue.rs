//! `keyboard-interactive` (RFC 4256): rounds of questions by PAM and answers by the client, of a login that
//! begins or goes on with it; and PAM's word on logins by other methods (OpenSSH's `UsePAM`).

use std::time::Instant;

use tracing::error;

use crate::auth::{Candidate, Refused, even_out, even_out_password};
use crate::base::Secret;
use crate::wire::login::{Method, Reply};
use crate::wire::pam::MAX_TEXT;

use super::login::{Login, report};
use super::pam::{About, Pam, Said};
use super::progress::Proved;
use super::ssh::End;

/// Questions that are open.
#[derive(Debug)]
pub(super) struct Dialogue {
    /// The user name as sent.
    user: String,
    candidate: Candidate,
    pam: Pam,
    /// How many answers are asked for.
    asked: usize,
}

impl Login<'_> {
    /// The client wants to be asked as `user`.
    pub(super) fn begin(&mut self, user: String, started: Instant) -> Result<Option<Proved>, End> {
        if let Err(refused) = self.is_turn_of(Method::KeyboardInteractive, &user) {
            return self.give_up(&user, &refused.to_string(), started);
        }
        let candidate = Candidate::new(&user, &self.house.stranger.pam_service, &*self.house.tenant);
        let about = About { service: candidate.service(), user: candidate.user(), peer: self.conn.ends.peer.ip() };
        match Pam::start(self.house.pam.as_ref(), about, true, self.deadline) {
            Ok(pam) => self.go_on(Dialogue { user, candidate, pam, asked: 0 }, started),
            Err(failure) => self.end(&user, candidate, Err(Refused::Config(failure.to_string())), started, None),
        }
    }

    /// What the client answers to the last questions.
    pub(super) fn hear(&mut self, user: &str, answers: Vec<Secret>, started: Instant) -> Result<Option<Proved>, End> {
        let Some(dialogue) = self.dialogue.take().filter(|dialogue| dialogue.user == user) else {
            return self.give_up(user, "these answers were not asked for", started);
        };
        if answers.len() != dialogue.asked || answers.iter().any(|answer| answer.expose().len() > MAX_TEXT) {
            return self.give_up(user, "these are not answers to what was asked", started);
        }
        match dialogue.pam.answer(dialogue.candidate.answers(answers)) {
            Ok(()) => self.go_on(dialogue, started),
            Err(why) => {
                let Dialogue { candidate, pam, .. } = dialogue;
                self.end(user, candidate, Err(Refused::Pam(why)), started, Some(pam))
            }
        }
    }

    /// The client does something else: the questions are void, and were a try.
    pub(super) fn abandon(&mut self) {
        if let Some(dialogue) = self.dialogue.take() {
            let reason = "keyboard-interactive was given up";
            self.refuse(&dialogue.user, Method::KeyboardInteractive.name(), None, reason);
        }
    }

    fn give_up(&mut self, user: &str, reason: &str, started: Instant) -> Result<Option<Proved>, End> {
        self.refuse(user, Method::KeyboardInteractive.name(), None, reason);
        self.say_no(user, started, even_out)?;
        Ok(None)
    }

    /// Waits for PAM, and passes on what it asks, or ends.
    fn go_on(&mut self, mut dialogue: Dialogue, started: Instant) -> Result<Option<Proved>, End> {
        let word = match dialogue.pam.listen(self.deadline, self.house.told())? {
            Said::Ask { text, prompts } => {
                dialogue.asked = prompts.len();
                self.dialogue = Some(dialogue);
                self.ssh.reply(&Reply::Ask { text, prompts }, &[])?;
                return Ok(None);
            }
            Said::Passed => Ok(()),
            Said::Refused(why) => Err(Refused::Pam(why)),
        };
        let Dialogue { user, candidate, pam, asked: _ } = dialogue;
        self.end(&user, candidate, word, started, Some(pam))
    }

    fn end(
        &mut self,
        user: &str,
        candidate: Candidate,
        word: Result<(), Refused>,
        started: Instant,
        pam: Option<Pam>,
    ) -> Result<Option<Proved>, End> {
        // A broken service is the admin's matter, whoever was asked about.
        if let Err(Refused::Config(why)) = &word {
            error!("{why}");
        }
        match report(self.house, candidate.judge(word, self.conn.ends.peer.ip())) {
            Ok(proved) => self.pass(Method::KeyboardInteractive, user, proved, pam),
            Err(refused) => {
                self.refuse(user, Method::KeyboardInteractive.name(), None, &refused.to_string());
                self.say_no(user, started, even_out_password)?;
                Ok(None)
            }
        }
    }

    /// Whether PAM lets the tenant of `proved`, who is through, use the account. Where it was asked by
    /// keyboard-interactive, it has said so.
    pub(super) fn check_account(&mut self, proved: &mut Proved) -> Result<Result<(), Refused>, End> {
        if proved.pam.is_some() || !proved.tenant.use_pam {
            return Ok(Ok(()));
        }
        let tenant = &proved.tenant;
        let about = About { service: &tenant.pam_service, user: tenant.name.as_str(), peer: self.conn.ends.peer.ip() };
        let mut pam = match Pam::start(self.house.pam.as_ref(), about, false, self.deadline) {
            Ok(pam) => pam,
            Err(failure) => return Ok(report(self.house, Err(Refused::Config(failure.to_string())))),
        };
        Ok(match pam.listen(self.deadline, self.house.told())? {
            Said::Passed => {
                proved.pam = Some(pam);
                Ok(())
            }
            Said::Refused(why) => Err(Refused::Pam(why)),
            Said::Ask { .. } => Err(Refused::Pam("a module wants to ask, and there is nobody to".to_owned())),
        })
    }
}

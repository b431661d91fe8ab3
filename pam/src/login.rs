//! The life of this process: judge, open, wait for the end, close.

use std::ffi::CString;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::set_name;

use crate::base::Secret;
use crate::ffi::{self, Conversation, Limit, Message, Outcome, Pam};
use crate::link::{Gone, Link};
use crate::wire::{MAX_PROMPTS, MAX_SAID, MAX_TEXT, Order, Prompt, SESSION_SECONDS, Word};

/// Where the monitor puts the link.
const LINK: i32 = 3;

/// By so many seconds a module that hangs outlives the patience of a monitor, which ends this process if it
/// still can.
const GRACE: u32 = 2;

/// Serves the monitor behind descriptor 3.
pub(crate) fn run() -> Result<(), Gone> {
    let link = Link::new(ffi::take_descriptor(LINK).ok_or(Gone)?);
    settle()?;
    // The end comes with the link alone: a session that was opened must be closed.
    ffi::let_signals_pass();
    let Order::Begin { service, user, peer, authenticate, seconds } = link.hear()? else { return Err(Gone) };
    let limit = Limit::start(seconds.saturating_add(GRACE)).ok_or(Gone)?;
    let texts = [service, user, peer].map(|text| CString::new(text).map_err(|_nul| Gone));
    let [service, user, peer] = texts;
    let (service, user, peer) = (service?, user?, peer?);
    let mut talk = Talk { link: &link, is_open: authenticate, said: String::new() };
    let mut pam = match Pam::start(&service, &user, &peer, &mut talk) {
        Ok(pam) => pam,
        Err(why) => return link.say(&Word::Refused(format!("starting PAM: {why}"))),
    };
    let judged = judge(&mut pam, authenticate);
    let unsaid = pam.conversation().show_the_rest()?;
    if let Err(why) = judged {
        let why = if unsaid.is_empty() { why } else { format!("{why} ({})", unsaid.trim_end()) };
        return link.say(&Word::Refused(why));
    }
    link.say(&Word::Passed)?;
    set(&limit, 0)?;
    // Without this order, the login went no further: there is nothing to close.
    let Order::OpenSession = link.hear()? else { return Err(Gone) };
    pam.conversation().is_open = false;
    set(&limit, SESSION_SECONDS + GRACE)?;
    if let Err(why) = pam.open_session(authenticate) {
        return link.say(&Word::Refused(format!("session: {why}")));
    }
    let text = std::mem::take(&mut pam.conversation().said);
    let served = set(&limit, 0).and_then(|()| link.say(&Word::SessionOpened { text }));
    if served.is_ok() {
        // Nothing comes but the end.
        drop(link.hear());
    }
    let limited = set(&limit, SESSION_SECONDS);
    pam.close_session();
    served.and(limited)
}

fn set(limit: &Limit, seconds: u32) -> Result<(), Gone> {
    limit.set(seconds).then_some(()).ok_or(Gone)
}

/// What is typed is in no core file and no tracer's hands, and ps(1) shows a name instead of a number.
fn settle() -> Result<(), Gone> {
    set_name(c"cellblock-pam").map_err(|_errno| Gone)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|_errno| Gone)
}

fn judge(pam: &mut Pam<'_, Talk<'_>>, authenticate: bool) -> Result<(), String> {
    if authenticate {
        pam.authenticate().map_err(|why| format!("authentication: {why}"))?;
    }
    match pam.may_use_account() {
        Ok(Outcome::Done) => Ok(()),
        Ok(Outcome::PasswordExpired) if authenticate => {
            pam.change_expired_password().map_err(|why| format!("changing the expired password: {why}"))
        }
        Ok(Outcome::PasswordExpired) => Err("account: the password has expired".to_owned()),
        Err(why) => Err(format!("account: {why}")),
    }
}

/// Passes on what modules say, while somebody listens.
#[derive(Debug)]
struct Talk<'a> {
    link: &'a Link,
    /// Whether the user can be asked: not once they are in, nor where they came by a key.
    is_open: bool,
    /// What was said since the last round.
    said: String,
}

impl Talk<'_> {
    fn note(&mut self, text: &str) {
        let room = MAX_SAID.saturating_sub(self.said.len());
        self.said.push_str(cut(text, room.saturating_sub(1)));
        if room > 0 {
            self.said.push('\n');
        }
    }

    /// Shows what no prompt followed, as sshd does; what the user cannot be shown is given back.
    fn show_the_rest(&mut self) -> Result<String, Gone> {
        let text = std::mem::take(&mut self.said);
        if text.is_empty() || !self.is_open {
            return Ok(text);
        }
        self.link.say(&Word::Ask { text, prompts: Vec::new() })?;
        match self.link.hear()? {
            Order::Answers(none) if none.is_empty() => Ok(String::new()),
            Order::Answers(_) | Order::Begin { .. } | Order::OpenSession => Err(Gone),
        }
    }
}

impl Conversation for Talk<'_> {
    fn converse(&mut self, messages: Vec<Message>) -> Option<Vec<Option<Secret>>> {
        let asks = messages.iter().filter(|message| message.prompt.is_some()).count();
        if asks > MAX_PROMPTS || asks > 0 && !self.is_open {
            return None;
        }
        let mut prompts = Vec::new();
        for message in &messages {
            match message.prompt {
                Some(echo) => prompts.push(Prompt { text: cut(&message.text, MAX_TEXT).to_owned(), echo }),
                None => self.note(&message.text),
            }
        }
        let mut answers = Vec::new();
        if asks > 0 {
            let text = std::mem::take(&mut self.said);
            self.link.say(&Word::Ask { text, prompts }).ok()?;
            let Ok(Order::Answers(given)) = self.link.hear() else { return None };
            if given.len() != asks {
                return None;
            }
            answers = given;
        }
        let mut answers = answers.into_iter();
        Some(messages.iter().map(|message| message.prompt.and_then(|_echo| answers.next())).collect())
    }
}

/// At most `most` bytes of it.
fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

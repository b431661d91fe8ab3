//! The life of this process: judge, open, wait for the end, close.

use std::ffi::CString;

use crate::base::Secret;
use crate::ffi::{self, Conversation, Message, Outcome, Pam};
use crate::link::{Gone, Link};
use crate::messages::{MAX_PROMPTS, MAX_TEXT, Order, Prompt, SESSION_SECONDS, Word};

/// Where the monitor puts the link.
const LINK: i32 = 3;

/// Serves the monitor behind descriptor 3.
pub(crate) fn run() -> Result<(), Gone> {
    // The end comes with the link alone: a session that was opened must be closed.
    ffi::ignore_signals();
    let link = Link::new(ffi::take_descriptor(LINK));
    let Order::Begin { service, user, peer, authenticate, seconds } = link.hear()? else { return Err(Gone) };
    // By then the monitor has given up; a module that hangs ends here.
    ffi::end_after(seconds.saturating_add(SESSION_SECONDS));
    let mut talk = Talk { link: &link, is_open: authenticate, said: String::new() };
    let texts = [service, user, peer].map(|text| CString::new(text).map_err(|_nul| Gone));
    let [service, user, peer] = texts;
    let (service, user, peer) = (service?, user?, peer?);
    let mut pam = match Pam::start(&service, &user, &peer, &mut talk) {
        Ok(pam) => pam,
        Err(why) => return link.say(&Word::Refused(format!("starting PAM: {why}"))),
    };
    if let Err(why) = judge(&mut pam, authenticate) {
        return link.say(&Word::Refused(why));
    }
    link.say(&Word::Passed)?;
    ffi::end_after(0);
    // Without this order, the login went no further: there is nothing to close.
    let Order::OpenSession = link.hear()? else { return Err(Gone) };
    pam.conversation().is_open = false;
    ffi::end_after(SESSION_SECONDS);
    let opened = pam.open_session();
    ffi::end_after(0);
    match opened {
        Ok(()) => {
            let told = link.say(&Word::SessionOpened);
            if told.is_ok() {
                // Nothing comes but the end.
                drop(link.hear());
            }
            ffi::end_after(SESSION_SECONDS);
            pam.close_session();
            told
        }
        Err(why) => link.say(&Word::Refused(format!("session: {why}"))),
    }
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
    is_open: bool,
    /// What was said since the last question.
    said: String,
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
                Some(echo) => prompts.push(Prompt { text: cut(&message.text, MAX_TEXT), echo }),
                None if self.said.len() < MAX_TEXT => {
                    self.said.push_str(&cut(&message.text, MAX_TEXT));
                    self.said.push('\n');
                }
                None => {}
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
fn cut(text: &str, most: usize) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

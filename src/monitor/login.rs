//! From a fresh ssh process to an identity, or to the end.

use std::{mem, time::Instant};

use jiff::Timestamp;
use tracing::{error, info};

use crate::account::Event;
use crate::auth::{Claim, Refused, certified_fingerprint, even_out, fingerprint, prove, prove_certificate};
use crate::base::escape;
use crate::config::settings::Tenant;
use crate::policy::Identity;
use crate::wire::login::{Reply, Request, Setup, TriedMethod};

use super::phase::Phase;
use super::pipeline::{Conn, House};
use super::ssh::{End, Ssh};

/// Offers that one connection may make for every failure that it may have: accepted offers are no
/// failures, and a client makes one before each signature.
const OFFERS_PER_TRY: u32 = 2;

/// Waits until somebody is proved to be there. Everyone gets the same words, whatever is wrong.
pub(super) fn wait_for_identity(ssh: &mut Ssh, conn: &Conn, house: &mut House) -> Result<(Identity, Tenant), End> {
    let deadline = conn.accepted + house.login_grace;
    let mut tries = Tries { failed: 0, offers: 0, most: house.setup.max_auth_tries };
    loop {
        if tries.failed >= tries.most || tries.offers > tries.most.saturating_mul(OFFERS_PER_TRY) {
            return Err(End::Tries);
        }
        let request = ssh.wait(deadline, house.told())?;
        let started = Instant::now();
        match request {
            Request::Confined => {
                ssh.enter(Phase::LoggingIn);
                // From here on the keys are in the process that uses them, and in the listener.
                let host_keys = mem::take(&mut house.setup.host_keys);
                let setup = Setup { host_keys, ..house.setup.clone() };
                ssh.reply(&Reply::Setup(Box::new(setup)), &[])?;
            }
            Request::OfferKey { user, key } => {
                tries.offers = tries.offers.saturating_add(1);
                let judged = judge(house, conn, &user, &key);
                // It may be the key of a certificate, which is seen only when it has signed.
                let acceptable = judged.is_ok() || house.certificates;
                if let Err(refused) = judged {
                    if !acceptable {
                        tries.failed = tries.failed.saturating_add(1);
                        record_refusal(house, conn, &user, "publickey", Some(fingerprint(&key)), &refused.to_string());
                    }
                    even_out(started);
                }
                ssh.reply(&Reply::KeyAcceptable(acceptable), &[])?;
            }
            Request::LogIn { user, key } => match judge(house, conn, &user, &key) {
                Ok(proved) => return Ok(proved),
                Err(refused) => {
                    tries.failed = tries.failed.saturating_add(1);
                    record_refusal(house, conn, &user, "publickey", Some(fingerprint(&key)), &refused.to_string());
                    even_out(started);
                    ssh.reply(&Reply::LoginRefused, &[])?;
                }
            },
            Request::LogInByCertificate { user, certificate } => {
                let claim = claim(conn, &user, &certificate);
                match logged(prove_certificate(&claim, &*house.tenant, &*house.file_keys)) {
                    Ok(proved) => return Ok(proved),
                    Err(refused) => {
                        tries.failed = tries.failed.saturating_add(1);
                        let key = Some(certified_fingerprint(&certificate));
                        record_refusal(house, conn, &user, "certificate", key, &refused.to_string());
                        even_out(started);
                        ssh.reply(&Reply::LoginRefused, &[])?;
                    }
                }
            }
            Request::TriedMethod { user, method } => {
                if let Some(name) = method_name(method) {
                    tries.failed = tries.failed.saturating_add(1);
                    record_refusal(house, conn, &user, name, None, "method is not offered");
                }
            }
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
    }
}

struct Tries {
    failed: u32,
    offers: u32,
    most: u32,
}

fn judge(house: &House, conn: &Conn, user: &str, key: &[u8]) -> Result<(Identity, Tenant), Refused> {
    logged(prove(&claim(conn, user, key), &*house.tenant, &*house.file_keys))
}

fn claim<'a>(conn: &Conn, user: &'a str, key: &'a [u8]) -> Claim<'a> {
    Claim { user, key, peer: conn.ends.peer.ip(), now: Timestamp::now().as_second() }
}

fn logged(judged: Result<(Identity, Tenant), Refused>) -> Result<(Identity, Tenant), Refused> {
    if let Err(Refused::Config(why)) = &judged {
        error!("{why}");
    }
    judged
}

/// `None`: clients ask for the list of methods this way; it is no try.
fn method_name(method: TriedMethod) -> Option<&'static str> {
    match method {
        TriedMethod::None => None,
        TriedMethod::Password => Some("password"),
        TriedMethod::KeyboardInteractive => Some("keyboard-interactive"),
        TriedMethod::Certificate => Some("certificate"),
    }
}

fn record_refusal(house: &mut House, conn: &Conn, user: &str, method: &'static str, key: Option<String>, reason: &str) {
    let user = escape(user);
    info!("{} login refused for \"{user}\" from {}: {reason}", conn.id, conn.ends.peer);
    house.audit.record(&Event::LoginRefused {
        connection: &conn.id,
        peer: conn.ends.peer,
        user,
        method,
        key,
        reason: reason.to_owned(),
    });
}

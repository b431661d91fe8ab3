//! SSH's requests, translated: each is asked of the monitor, entered in the table, or refused.
//!
//! Every answer is given inside the callback: russh keeps one flag per channel for "wants a reply".

use std::sync::atomic::Ordering;

use cellblock::wire::{
    forward::Place,
    login::{Request, TriedMethod},
    session::Program,
    variables::is_taken,
};
use russh::{
    Channel, ChannelId, ChannelOpenFailure, Pty, Sig,
    keys::Certificate,
    server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey},
};

use super::{
    algorithms,
    end::End,
    flow::Overrun,
    forwards::Times,
    overheard, requests,
    translator::{MOST_EVER, Translator, reject},
};

/// With more than this waiting for one program, its pump gets a turn before the next packet.
const CROWDED: usize = 128 << 10;

impl From<Overrun> for End {
    fn from(_overrun: Overrun) -> Self {
        Self::Overrun
    }
}

impl Handler for Translator {
    type Error = End;

    async fn authentication_banner(&mut self) -> Result<Option<String>, End> {
        Ok(self.banner.take())
    }

    async fn auth_none(&mut self, user: &str) -> Result<Auth, End> {
        self.refuse(user, TriedMethod::None).await
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, End> {
        self.log_in(Request::Password { user: requests::user(user), password: requests::password(password) }).await
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, End> {
        let user = requests::user(user);
        let request = match response {
            None => Request::KeyboardInteractive { user },
            Some(given) => Request::Answers { user, answers: requests::answers(given) },
        };
        self.log_in(request).await
    }

    /// The library has checked the signature of the certified key, by an algorithm that the offer
    /// before was judged by; all of the certificate is the monitor's to judge.
    async fn auth_openssh_certificate(&mut self, user: &str, certificate: &Certificate) -> Result<Auth, End> {
        let Some(blob) = requests::certificate(certificate) else {
            return self.refuse(user, TriedMethod::Certificate).await;
        };
        self.log_in(Request::LogInByCertificate { user: requests::user(user), certificate: blob }).await
    }

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, End> {
        let key = requests::key(offer.public_key).filter(|_| algorithms::may_sign(offer.algorithm));
        let Some(key) = key else { return Ok(Auth::reject()) };
        Ok(match self.monitor.ask_offer_key(requests::user(user), key).await? {
            Ok(()) => Auth::Accept,
            Err(refused) => reject(&refused),
        })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, End> {
        let blob = requests::key(key.public_key).filter(|_| algorithms::may_sign(key.algorithm));
        let Some(key) = blob else { return Ok(Auth::reject()) };
        self.log_in(Request::LogIn { user: requests::user(user), key }).await
    }

    async fn auth_succeeded(&mut self, _session: &mut Session) -> Result<(), End> {
        self.login_is_through.store(true, Ordering::Relaxed);
        overheard::login_is_through();
        self.activity.limit(self.logged_in.as_ref().and_then(|may| may.idle_timeout));
        self.forwards.limit(self.logged_in.as_ref().and_then(|may| may.forward_timeout));
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), End> {
        // The half that reads must go: russh would wait for a reader once 100 messages are unread.
        let (_reader, writer) = channel.split();
        let id = writer.id();
        if self.logged_in.is_none() {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        } else if self.opened < MOST_EVER && self.channels.open(id, writer) {
            self.opened += 1;
            self.confirmations.opened_by_client(id);
            self.flow.open(u32::from(id));
            reply.accept().await;
        } else {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
        }
        Ok(())
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), End> {
        let size = requests::window_size(columns, rows, width, height);
        let terminal =
            requests::terminal(term, size, modes).filter(|_| self.logged_in.as_ref().is_some_and(|may| may.pty));
        let done = self.channels.prepare(id, |preparing| {
            let first = preparing.terminal.is_none() && terminal.is_some();
            if first {
                preparing.terminal = terminal;
            }
            first
        });
        Self::answer(id, done, session)
    }

    async fn env_request(&mut self, id: ChannelId, name: &str, value: &str, session: &mut Session) -> Result<(), End> {
        let taken = self.logged_in.as_ref().is_some_and(|may| is_taken(name, &may.accept_env));
        let done = taken
            && self.channels.prepare(id, |preparing| requests::set_variable(&mut preparing.environment, name, value));
        Self::answer(id, done, session)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), End> {
        self.start(id, Program::Shell, session).await
    }

    async fn exec_request(&mut self, id: ChannelId, line: &[u8], session: &mut Session) -> Result<(), End> {
        match requests::command(line) {
            Ok(program) => self.start(id, program, session).await,
            Err(why) => match self.channels.start(id) {
                Some(preparing) => self.refuse_program(id, false, preparing, why, session).await,
                None => Ok(session.channel_failure(id)?),
            },
        }
    }

    async fn subsystem_request(&mut self, id: ChannelId, name: &str, session: &mut Session) -> Result<(), End> {
        match requests::subsystem(name) {
            Some(program) => self.start(id, program, session).await,
            None => Ok(session.channel_failure(id)?),
        }
    }

    async fn window_change_request(
        &mut self,
        id: ChannelId,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        session: &mut Session,
    ) -> Result<(), End> {
        let done = self.channels.resize(id, requests::window_size(columns, rows, width, height));
        Self::answer(id, done, session)
    }

    async fn signal(&mut self, id: ChannelId, signal: Sig, session: &mut Session) -> Result<(), End> {
        let may = self.logged_in.as_ref().is_some_and(|may| may.signals);
        let request = self.channels.running(id).filter(|_| may).zip(requests::signal(&signal));
        if let Some((channel, signal)) = request {
            self.monitor.tell(&Request::SignalSession { channel, signal }).await?;
        }
        Self::answer(id, request.is_some(), session)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        single_connection: bool,
        protocol: &str,
        cookie: &str,
        screen: u32,
        session: &mut Session,
    ) -> Result<(), End> {
        // Like a terminal, for a session that has no program yet.
        let done = match requests::display(protocol, cookie, screen) {
            Some(display) if self.channels.prepare(id, |_preparing| true) => {
                let times = if single_connection { Times::Once } else { Times::Always };
                self.forwards.listen(display, Some(id), times, session.handle()).await.is_some()
            }
            Some(_) | None => false,
        };
        Self::answer(id, done, session)
    }

    async fn agent_request(&mut self, id: ChannelId, session: &mut Session) -> Result<bool, End> {
        if !self.channels.prepare(id, |_preparing| true) {
            return Ok(false);
        }
        // One for all sessions of the connection, as in sshd.
        let handle = session.handle();
        let there = self.forwards.has_agent()
            || self.forwards.listen(Place::Agent, None, Times::Always, handle).await.is_some();
        Ok(there)
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        from: &str,
        from_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), End> {
        let target = requests::tcp_target(host, port);
        self.connect(channel, target, &requests::peer(from, from_port), reply).await
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), End> {
        self.connect(channel, requests::unix_target(path), "", reply).await
    }

    async fn channel_open_confirmation(
        &mut self,
        id: ChannelId,
        _max_packet_size: u32,
        _window_size: u32,
        _session: &mut Session,
    ) -> Result<(), End> {
        // Ours: what listens in the cell opens them.
        if !self.confirmations.confirm(id) {
            return Err(End::Unasked);
        }
        // Data may be the next that comes.
        self.flow.open(u32::from(id));
        Ok(())
    }

    async fn tcpip_forward(&mut self, address: &str, port: &mut u32, session: &mut Session) -> Result<bool, End> {
        let Some(place) = requests::tcp_place(address, *port).filter(|_| self.logged_in.is_some()) else {
            return Ok(false);
        };
        match self.forwards.listen(place, None, Times::Always, session.handle()).await {
            Some(chosen) => {
                *port = u32::from(chosen);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    async fn cancel_tcpip_forward(&mut self, address: &str, port: u32, _session: &mut Session) -> Result<bool, End> {
        Ok(self.forwards.cancel_port(address, port).await)
    }

    async fn streamlocal_forward(&mut self, path: &str, session: &mut Session) -> Result<bool, End> {
        let Some(place) = requests::unix_place(path).filter(|_| self.logged_in.is_some()) else { return Ok(false) };
        Ok(self.forwards.listen(place, None, Times::Always, session.handle()).await.is_some())
    }

    async fn cancel_streamlocal_forward(&mut self, path: &str, _session: &mut Session) -> Result<bool, End> {
        Ok(self.forwards.cancel_path(path).await)
    }

    fn adjust_window(&mut self, id: ChannelId, target: u32) -> u32 {
        self.flow.granted(u32::from(id), target)
    }

    async fn window_adjusted(&mut self, id: ChannelId, window: u32, _session: &mut Session) -> Result<(), End> {
        self.ahead.given(u32::from(id), window);
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], session: &mut Session) -> Result<(), End> {
        let waiting = self.flow.push(u32::from(id), data, session.window_size(&id))?;
        if waiting > CROWDED {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn extended_data(
        &mut self,
        id: ChannelId,
        _kind: u32,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), End> {
        // Clients have no use for it on a session (RFC 4254, 5.2).
        Ok(self.flow.ignore(u32::from(id), data.len(), session.window_size(&id))?)
    }

    async fn channel_eof(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), End> {
        self.flow.end(u32::from(id));
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), End> {
        self.confirmations.closed(id);
        if self.forwards.closed_by_client(id) {
            self.flow.end(u32::from(id));
            return Ok(());
        }
        self.flow.close(u32::from(id));
        self.forwards.session_ended(id).await;
        if let Some(channel) = self.channels.close(id) {
            self.ends.forget(channel);
            self.monitor.tell(&Request::LeaveSession { channel }).await?;
        }
        Ok(())
    }
}
